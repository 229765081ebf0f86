"""Glue and EMR Serverless as far as a step sees them, and a cluster of one machine that runs what they are given.

The two APIs take, tell and stop job runs as AWS documents it; no emulator among our test servers runs a Spark job or
lets itself be told how one ended. A run is the packaged script in a real ``spark-submit`` on Java, with exactly the
arguments that the API got, files from the bucket, and a Python that has nothing of this project: where the package
lacks something, the run fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tarfile
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyspark
from dagster_pipes import decode_param

from clickstream_assets_tests.servers import S3Server
from clickstream_assets_tests.spark_jobs.webhdfs import Gateway

ACCOUNT = "123456789012"
APPLICATION, GLUE_JOB, ROLE = "00f1abcdef", "clickstream-cleaning", f"arn:aws:iam::{ACCOUNT}:role/clickstream-job"

#: what Glue 5.0 has installed, as far as a job may use it
GLUE_HAS = (
    "pyarrow",
    "boto3",
    "botocore",
    "s3transfer",
    "jmespath",
    "dateutil",
    "six.py",
    "urllib3",
    "numpy",
    "pandas",
)
GLUE_HAS += ("numpy.libs", "pandas.libs", "pytz", "tzdata", "pyarrow.libs")


@dataclass
class Run:
    """A job run: its id, what was asked for, what the step tells the job, its process. ``reason``: why it failed."""

    id: str
    request: Mapping[str, Any]
    told: Mapping[str, Any]
    process: subprocess.Popen[bytes] | None = None
    log: Path | None = None
    stopped: bool = False
    reason: str | None = None

    @property
    def state(self) -> str:
        if self.stopped:
            return "STOPPED"
        if self.process is None:
            return "FAILED" if self.reason else "RUNNING"
        code = self.process.poll()
        return "RUNNING" if code is None else "SUCCEEDED" if code == 0 else "FAILED"

    def stop(self) -> None:
        self.stopped = True
        self.kill()

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=10)


@dataclass
class Cluster(contextlib.AbstractContextManager["Cluster"]):
    """Both APIs at one address.

    ``script``: that of the Glue job. ``packages``: the folder with PySpark and the libraries that Glue has.
    ``refuses``: why a run fails before it begins; ``idle``: runs begin and do nothing.
    """

    s3: S3Server
    storage: Gateway
    folder: Path
    script: str
    packages: Path = Path(pyspark.__file__).parent.parent
    refuses: str | None = None
    idle: bool = False
    runs: list[Run] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._server = _Api(("127.0.0.1", 0), _Handler)
        self._server.cluster = self
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        for run in self.runs:
            run.kill()
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which boto3 finds the APIs."""
        endpoint = f"http://127.0.0.1:{self._server.server_port}"
        return {"AWS_ENDPOINT_URL_GLUE": endpoint, "AWS_ENDPOINT_URL_EMR_SERVERLESS": endpoint}

    def glue(self, request: Mapping[str, Any]) -> Run:
        """StartJobRun of Glue: the script is the job's own, everything else is among the arguments."""
        run = self._new("jr_", request, request["Arguments"]["--dagster-pipes-context"])
        if self._begins(run):
            work = self.folder / run.id
            arguments = dict(request["Arguments"])
            libraries = [self._download(uri, work) for uri in arguments.pop("--extra-py-files").split(",")]
            given = {"--JOB_NAME": request["JobName"], "--JOB_RUN_ID": run.id, **arguments}
            program = [str(self._download(self.script, work)), *(part for pair in given.items() for part in pair)]
            self._submit(run, work, ["--py-files", ",".join(map(str, libraries))], program, _glue(work, self.packages))
        return run

    def emr(self, request: Mapping[str, Any]) -> Run:
        """StartJobRun of EMR Serverless: spark-submit reads script and files from the bucket; archives are unpacked."""
        driver = request["jobDriver"]["sparkSubmit"]
        options = shlex.split(driver["sparkSubmitParameters"])
        settings = dict(option.split("=", 1) for option in options[1::2])
        assert set(options[::2]) == {"--conf"}
        run = self._new("00", request, settings["spark.emr-serverless.driverEnv.DAGSTER_PIPES_CONTEXT"])
        if self._begins(run):
            work = self.folder / run.id
            work.mkdir()
            archive, name = settings.pop("spark.archives").split("#")
            with tarfile.open(self._download(archive, work)) as packed:
                packed.extractall(work / name, filter="data")
            start = "spark.emr-serverless.driverEnv."
            variables = {key.removeprefix(start): value for key, value in settings.items() if key.startswith(start)}
            kept = {key: value for key, value in settings.items() if not key.startswith(start)}
            options = [part for key, value in kept.items() for part in ("--conf", f"{key}={value}")]
            self._submit(run, work, options, [driver["entryPoint"]], variables)
        return run

    def _new(self, start: str, request: Mapping[str, Any], context: str) -> Run:
        place = decode_param(context)
        told = json.load(self.s3.client.get_object(Bucket=place["bucket"], Key=place["key"])["Body"])
        run = Run(f"{start}{uuid.uuid4().hex}", request, told["extras"])
        self.runs.append(run)
        return run

    def _begins(self, run: Run) -> bool:
        run.reason = self.refuses
        return not self.idle and not self.refuses

    def _download(self, uri: str, work: Path) -> Path:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        work.mkdir(exist_ok=True)
        path = work / key.rpartition("/")[2]
        self.s3.client.download_file(bucket, key, str(path))
        return path

    def _submit(
        self, run: Run, work: Path, options: Sequence[str], program: Sequence[str], variables: Mapping[str, str]
    ) -> None:
        spark = self.packages / "pyspark"
        ours = {
            "spark.master": "local[2]", "spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1",
            "spark.sql.shuffle.partitions": "2", "spark.driver.memory": "1g",
            "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
            **self.storage.spark_settings,
        }  # fmt: skip
        confs = [part for key, value in ours.items() for part in ("--conf", f"{key}={value}")]
        python = dict.fromkeys(("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"), _PYTHON)
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "JAVA_HOME", "LANG") if name in os.environ},
            **self.s3.environment,
            **variables,
            **python,  # wherever it is on this machine
            "SPARK_HOME": str(spark),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "TMPDIR": str(work),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        run.log = work / "log.txt"
        with run.log.open("wb") as log:
            run.process = subprocess.Popen(
                [str(spark / "bin" / "spark-submit"), *confs, *options, *program],
                cwd=work, env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip


#: not the virtual environment's: that has this project, and all that the package might have forgotten
_PYTHON = str(getattr(sys, "_base_executable", sys.executable))


def _glue(work: Path, packages: Path) -> dict[str, str]:
    """Variables of a Python that has what Glue has."""
    site = work / "site"
    site.mkdir()
    for name in GLUE_HAS:
        if (packages / name).exists():
            (site / name).symlink_to(packages / name)
    return {"PYTHONPATH": str(site)}


class _Api(ThreadingHTTPServer):
    daemon_threads = True
    cluster: Cluster


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Api

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, body: Mapping[str, Any], status: int = 200, **headers: str) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        cluster = self.server.cluster
        if target := self.headers.get("X-Amz-Target"):
            self._glue(target.partition(".")[2], request)
        elif (path := urlsplit(self.path).path) == f"/applications/{APPLICATION}/jobruns":
            run = cluster.emr(request)
            self._answer({"applicationId": APPLICATION, "jobRunId": run.id, "arn": f"{ROLE}/{run.id}"})
        else:
            self._unknown(path)

    def _glue(self, operation: str, request: Mapping[str, Any]) -> None:
        cluster = self.server.cluster
        if request["JobName"] != GLUE_JOB:
            self._answer({"__type": "EntityNotFoundException", "Message": f"Job {request['JobName']} not found"}, 400)
        elif operation == "StartJobRun":
            self._answer({"JobRunId": cluster.glue(request).id})
        elif operation == "GetJobRun":
            run = self._run(request["RunId"])
            told = {"Id": run.id, "JobName": GLUE_JOB, "JobRunState": run.state, "LogGroupName": "/aws-glue/jobs"}
            self._answer({"JobRun": told | ({"ErrorMessage": run.reason} if run.reason else {})})
        elif operation == "BatchStopJobRun":
            for name in request["JobRunIds"]:
                self._run(name).stop()
            done = [{"JobName": GLUE_JOB, "JobRunId": name} for name in request["JobRunIds"]]
            self._answer({"SuccessfulSubmissions": done, "Errors": []})
        else:
            self._answer({"__type": "UnknownOperationException", "Message": operation}, 400)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == f"/applications/{APPLICATION}":
            self._answer({"application": {"applicationId": APPLICATION, "type": "Spark", "state": "STARTED"}})
        elif found := re.fullmatch(rf"/applications/{APPLICATION}/jobruns/(\w+)(/dashboard)?", path):
            run = self._run(found[1])
            if found[2]:
                self._answer({"url": f"http://127.0.0.1:{self.server.server_port}/dashboard/{run.id}"})
                return
            state = {"SUCCEEDED": "SUCCESS", "STOPPED": "CANCELLED"}.get(run.state, run.state)
            told = {"applicationId": APPLICATION, "jobRunId": run.id, "state": state, "stateDetails": run.reason or ""}
            self._answer({"jobRun": told})
        else:
            self._unknown(path)

    def do_DELETE(self) -> None:
        run = self._run(urlsplit(self.path).path.rpartition("/")[2])
        run.stop()
        self._answer({"applicationId": APPLICATION, "jobRunId": run.id})

    def _run(self, name: str) -> Run:
        (found,) = (run for run in self.server.cluster.runs if run.id == name)
        return found

    def _unknown(self, path: str) -> None:
        told = {"message": f"{path} does not exist"}
        self._answer(told, 404, X_Amzn_ErrorType="ResourceNotFoundException")
