"""Settings: defaults, and one sentence for each mistake."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from clickstream_assets.errors import SettingsError
from clickstream_assets.settings import Settings, SparkJobs


def test_everything_has_a_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_environment({})
    assert settings.home == tmp_path / ".clickstream"
    assert settings.landing_uri == str(tmp_path / ".clickstream" / "landing")
    assert settings.start_date == date(2024, 1, 1)
    assert settings.rejected_share == 0.5


def test_landing_and_lake_may_be_buckets() -> None:
    names = ("CLICKSTREAM_LANDING_URI", "CLICKSTREAM_LAKE_URI")
    settings = Settings.from_environment(dict.fromkeys(names, "s3://my.bucket-1/a/b/"))
    assert settings.landing_uri == settings.lake_uri == "s3://my.bucket-1/a/b"


def test_a_budget_is_unset_or_a_number() -> None:
    unset = Settings.from_environment({"CLICKSTREAM_BACKFILL_MINUTES": ""})
    assert (unset.backfill_minutes, unset.backfill_dollars, unset.prices) == (None, None, None)
    limits = {"CLICKSTREAM_BACKFILL_MINUTES": "90", "CLICKSTREAM_BACKFILL_DOLLARS": "0"}
    settings = Settings.from_environment(limits)
    assert (settings.backfill_minutes, settings.backfill_dollars) == (90, 0)


def test_a_queue_is_for_landing_in_a_bucket() -> None:
    assert Settings.from_environment({"CLICKSTREAM_ARRIVALS_QUEUE_URL": ""}).arrivals_queue is None
    bucket = {"CLICKSTREAM_LANDING_URI": "s3://bucket/landing", "CLICKSTREAM_ARRIVALS_QUEUE_URL": "http://127.0.0.1/q"}
    assert Settings.from_environment(bucket).arrivals_queue == "http://127.0.0.1/q"


BUCKETS = {"CLICKSTREAM_LAKE_URI": "s3://bucket/lake", "CLICKSTREAM_SPARK_PACKAGE_URI": "s3://bucket/jobs/"}
ROLE = "arn:aws:iam::123456789012:role/clickstream-job"
GLUE = BUCKETS | {"CLICKSTREAM_SPARK_JOBS": "glue", "CLICKSTREAM_GLUE_JOB": "clickstream-cleaning"}
EMR = BUCKETS | {
    "CLICKSTREAM_SPARK_JOBS": "emr-serverless",
    "CLICKSTREAM_EMR_APPLICATION_ID": "00abc",
    "CLICKSTREAM_EMR_ROLE_ARN": ROLE,
}


def test_cleaning_may_be_a_job_of_one_of_two_services() -> None:
    assert Settings.from_environment({}).spark_jobs is None
    assert Settings.from_environment(GLUE).spark_jobs == SparkJobs("glue", "s3://bucket/jobs", "clickstream-cleaning")
    emr = SparkJobs("emr-serverless", "s3://bucket/jobs", application="00abc", role_arn=ROLE)
    assert Settings.from_environment(EMR).spark_jobs == emr


@pytest.mark.parametrize(
    ("given", "name", "value", "says"),
    [
        (GLUE, "CLICKSTREAM_SPARK_JOBS", "yarn", "supports 'none' or 'glue' or 'emr-serverless'"),
        (GLUE, "CLICKSTREAM_GLUE_JOB", "", "is not set: give the name of the Glue job"),
        (GLUE, "CLICKSTREAM_LAKE_URI", "", "give s3://bucket/prefix, which jobs can reach"),
        (GLUE, "CLICKSTREAM_SPARK_PACKAGE_URI", "", "is not set: give s3://bucket/prefix, where the files"),
        (GLUE, "CLICKSTREAM_SPARK_PACKAGE_URI", "build/package", "write it as s3://bucket/prefix"),
        (GLUE, "SPARK_REMOTE", "sc://host:15002", "are both set"),
        (EMR, "CLICKSTREAM_EMR_APPLICATION_ID", "", "is not set: give the id"),
        (EMR, "CLICKSTREAM_EMR_ROLE_ARN", "", "is not set: give the role"),
        (EMR, "CLICKSTREAM_EMR_ROLE_ARN", "clickstream-job", "write it as arn:aws:iam"),
    ],
)
def test_what_a_service_of_jobs_lacks_is_named(given: dict[str, str], name: str, value: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        Settings.from_environment(given | {name: value})
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("CLICKSTREAM_ENVIRONMENT", "staging", "CLICKSTREAM_ENVIRONMENT is 'staging'"),
        ("CLICKSTREAM_WAREHOUSE", "oracle", "CLICKSTREAM_WAREHOUSE is 'oracle'"),
        ("CLICKSTREAM_CATALOG", "hive", "CLICKSTREAM_CATALOG is 'hive'"),
        ("CLICKSTREAM_LANDING_URI", "gs://bucket/prefix", "this version supports folders and s3://bucket/prefix"),
        ("CLICKSTREAM_LANDING_URI", "s3://b/prefix", "write it as s3://bucket"),
        ("CLICKSTREAM_LANDING_URI", "s3://bucket//prefix", "write it as s3://bucket"),
        ("CLICKSTREAM_LAKE_URI", "file:///lake", "this version supports folders"),
        ("CLICKSTREAM_DUCKDB_MEMORY", "half", "a whole number of MB or GB"),
        ("CLICKSTREAM_DUCKDB_MEMORY", "0GB", "a whole number of MB or GB"),
        ("CLICKSTREAM_DUCKDB_MEMORY", "20MB", "from 100MB on"),
        ("CLICKSTREAM_LAKE_URI", "s3://bucket/../x", "write it as s3://bucket"),
        ("CLICKSTREAM_LAKE_URI", "s3://bucket/x\n", "write it as s3://bucket"),
        ("CLICKSTREAM_START_DATE", "01.01.2024", "write it as YYYY-MM-DD"),
        ("CLICKSTREAM_MAX_REJECTED_SHARE", "50%", "give a number"),
        ("CLICKSTREAM_MAX_REJECTED_SHARE", "1.5", "between 0 and 1"),
        ("CLICKSTREAM_HOME", "/tmp/a[1]", r"without \[ \] in its path"),
        ("CLICKSTREAM_HOME", "/etc/passwd", "not a folder that can be written to"),
        ("CLICKSTREAM_HOME", "/etc/passwd/below", "not a folder that can be written to"),
        ("CLICKSTREAM_BACKFILL_MINUTES", "an hour", "CLICKSTREAM_BACKFILL_MINUTES is 'an hour': give a number"),
        ("CLICKSTREAM_BACKFILL_DOLLARS", "-1", "give a number between 0 and inf"),
        ("CLICKSTREAM_PRICES", "/etc/no-such-prices.yml", "there is no such file"),
        ("SPARK_REMOTE", "localhost:15002", "sc://host:15002"),
        ("CLICKSTREAM_ARRIVALS_QUEUE_URL", "arn:aws:sqs:eu-central-1:123456789012:q", "http or https address"),
        ("CLICKSTREAM_ARRIVALS_QUEUE_URL", "https://sqs/q q", "http or https address"),
        ("CLICKSTREAM_ARRIVALS_QUEUE_URL", "https://sqs/q", "set CLICKSTREAM_LANDING_URI to s3://bucket/prefix"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_variable(name: str, value: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        Settings.from_environment({name: value})
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
