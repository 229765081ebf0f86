"""Have raw → cleaned done by a job of AWS Glue or EMR Serverless, by Dagster Pipes.

The job gets its work, and reports, by objects in a staging folder of the table, which is removed when it is done; where
the step is killed the folder goes with the lake's other orphans. What comes back are staged files and counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster_aws.pipes import (
    PipesEMRServerlessClient,
    PipesGlueClient,
    PipesS3ContextInjector,
    PipesS3MessageReader,
)

from clickstream_assets.errors import ClickstreamError
from clickstream_assets.spark_jobs import package, wire
from clickstream_assets.storage import files, s3
from clickstream_assets.storage.cleaning import Elsewhere

if TYPE_CHECKING:
    from clickstream_assets.domains import Feed
    from clickstream_assets.platform import Platform
    from clickstream_assets.settings import SparkJobs
    from clickstream_assets.storage.shaping import Cleaned, Work

#: seconds between looks for messages, and at the state of a job on EMR Serverless; Glue's client looks every 5 s
_INTERVAL = 5.0

#: where EMR Serverless has the Python that the package is for; before EMR 7.13 its default is 3.9
_EMR_PYTHON = "/usr/bin/python3.11"


class Jobs(Elsewhere):
    """One job run for all work of a step, however many groups of days that is."""

    def __init__(self, context: dg.AssetExecutionContext, platform: Platform, feed: Feed, jobs: SparkJobs):
        self._context = context
        self._lake = platform.lake
        self._feed = feed
        self._jobs = jobs

    def clean(self, work: Sequence[Work]) -> list[Cleaned]:
        """Run the job and wait for it. Whoever interrupts the step stops the job run.

        Raises:
            ClickstreamError: the package is not where it should be, or the job could not be started, or it failed.
        """
        if not work:
            return []
        self._expect_package()
        folder = self._lake.new_staging_folder(self._feed.cleaned)
        try:
            messages = self._run(folder, work)
        finally:
            with suppress(OSError):  # what is left is an orphan, and no reason to fail, or to hide one
                self._lake.files.delete_folder(folder)
        cleaned = [wire.cleaned(message[wire.CLEANED]) for message in messages if wire.CLEANED in message]
        if len(cleaned) != len(work):
            raise ClickstreamError(
                f"The {self._name} said that it is done, and reported {len(cleaned)} of {len(work)} groups of days: "
                "run again."
            )
        return cleaned

    @property
    def _name(self) -> str:
        jobs = self._jobs
        return f"Glue job {jobs.job}" if jobs.job else f"job on the EMR Serverless application {jobs.application}"

    def _expect_package(self) -> None:
        """Look for the package before a job is paid for that could not find it."""
        uri = self._jobs.package_uri
        there = {info.path for info in files.at(uri).files("")}
        wanted = {package.archive()[0], package.SCRIPT} | (set() if self._jobs.job else {package.DEPENDENCIES})
        if missing := wanted - there:
            raise ClickstreamError(
                f"{uri}/{min(missing)} is not there: give `make package` with this version and upload build/package, "
                "or set CLICKSTREAM_SPARK_PACKAGE_URI to where it is."
            )

    def _run(self, folder: str, work: Sequence[Work]) -> Sequence[dict[str, Any]]:
        """Start a job run and wait for its end; what it reported."""
        from botocore.exceptions import BotoCoreError, ClientError

        api = s3.client(self._jobs.service)
        started: dict[str, Any] = {}
        api.meta.events.register(
            f"after-call.{self._jobs.service}.StartJobRun", lambda parsed, **_: started.update(parsed)
        )
        bucket, _, prefix = self._lake.files.uri(folder).removeprefix("s3://").partition("/")
        client = s3.client()
        context = PipesS3ContextInjector(bucket=bucket, client=client, key_prefix=f"{prefix}/")
        messages = _Messages(bucket, prefix, client)
        extras = wire.request(self._lake.files.uri(), client.meta.region_name, self._feed.transform, work)
        try:
            if self._jobs.job:
                glue = PipesGlueClient(context, messages, client=api)
                done = glue.run(context=self._context, start_job_run_params=self._glue(), extras=extras)
            else:
                emr = PipesEMRServerlessClient(api, context, messages, poll_interval=_INTERVAL)
                done = emr.run(context=self._context, start_job_run_params=self._emr(), extras=extras)
        except (ClientError, BotoCoreError) as error:
            raise ClickstreamError(self._lost(api, started, error)) from error
        except RuntimeError as error:  # what both clients raise when the job has failed
            raise ClickstreamError(self._failed(api, started, messages.reported)) from error
        return done.get_custom_messages()

    def _glue(self) -> dict[str, Any]:
        zipped = f"{self._jobs.package_uri}/{package.archive()[0]}"
        return {"JobName": self._jobs.job, "Arguments": {"--extra-py-files": zipped}}

    def _emr(self) -> dict[str, Any]:
        uri = self._jobs.package_uri
        settings = {
            "spark.submit.pyFiles": f"{uri}/{package.archive()[0]}",
            "spark.archives": f"{uri}/{package.DEPENDENCIES}#dependencies",
            "spark.emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON": _EMR_PYTHON,
            "spark.emr-serverless.driverEnv.PYSPARK_PYTHON": _EMR_PYTHON,
            "spark.executorEnv.PYSPARK_PYTHON": _EMR_PYTHON,
        }
        submit = {
            "entryPoint": f"{uri}/{package.SCRIPT}",
            "sparkSubmitParameters": " ".join(f"--conf {name}={value}" for name, value in settings.items()),
        }
        return {
            "applicationId": self._jobs.application,
            "executionRoleArn": self._jobs.role_arn,
            "name": f"clean {self._feed.cleaned.name}",
            "jobDriver": {"sparkSubmit": submit},
        }

    def _lost(self, api: Any, started: dict[str, Any], error: Exception) -> str:
        """The job could not be started, or the service does not say any more how it is; then it is stopped."""
        if (run := _run_of(started)) is None:
            return (
                f"The {self._name} could not be started: {error}. Look at the settings CLICKSTREAM_GLUE_JOB or "
                "CLICKSTREAM_EMR_…, and at what this process may do."
            )
        with suppress(Exception):  # nobody may be there to hear it
            self._stop(api, run)
        return f"The {self._name} was lost sight of, and its run {run} stopped: {error}. Run again."

    def _stop(self, api: Any, run: str) -> None:
        if self._jobs.job:
            api.batch_stop_job_run(JobName=self._jobs.job, JobRunIds=[run])
        else:
            api.cancel_job_run(applicationId=self._jobs.application, jobRunId=run)

    def _failed(self, api: Any, started: dict[str, Any], reported: Sequence[dict[str, Any]]) -> str:
        run = _run_of(started)
        if self._jobs.job:
            found = api.get_job_run(JobName=self._jobs.job, RunId=run)["JobRun"]
            state, why = found["JobRunState"], found.get("ErrorMessage")
            logs = f"in CloudWatch, in the stream {run} of {found.get('LogGroupName') or '/aws-glue/jobs'}/error"
        else:
            found = api.get_job_run(applicationId=self._jobs.application, jobRunId=run)["jobRun"]
            state, why = found["state"], found.get("stateDetails")
            logs = (
                "what `aws emr-serverless get-dashboard-for-job-run "
                f"--application-id {self._jobs.application} --job-run-id {run}` leads to"
            )
        told = [message[wire.FAILED] for message in reported if wire.FAILED in message]
        reason = " ".join(str(told[0] if told else why or "the service does not say why").split()).rstrip(".")
        return f"The {self._name}, run {run}, ended as {state}: {reason}. Its logs are {logs}."


class _Messages(PipesS3MessageReader):
    """Messages in a folder of ours, where Dagster's reader would take one in the root of the bucket."""

    def __init__(self, bucket: str, folder: str, client: Any):
        super().__init__(interval=_INTERVAL, bucket=bucket, client=client)
        self._folder = folder
        self._handler: Any = None

    @contextmanager
    def read_messages(self, handler: Any) -> Iterator[Any]:
        self._handler = handler
        with super().read_messages(handler) as params:
            yield params

    @contextmanager
    def get_params(self) -> Iterator[Any]:
        with super().get_params() as params:
            yield {**params, "key_prefix": self._folder}

    @property
    def reported(self) -> Sequence[dict[str, Any]]:
        """What the job has reported by now, also where it failed."""
        return self._handler.get_custom_messages() if self._handler else ()


def _run_of(started: dict[str, Any]) -> str | None:
    """The id of the run that was started, as either service calls it."""
    found: str | None = started.get("JobRunId") or started.get("jobRunId")
    return found
