"""Settings: defaults, and one sentence for each mistake."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from clickstream_assets.errors import SettingsError
from clickstream_assets.settings import Settings


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


def test_a_queue_is_for_landing_in_a_bucket() -> None:
    assert Settings.from_environment({"CLICKSTREAM_ARRIVALS_QUEUE_URL": ""}).arrivals_queue is None
    bucket = {"CLICKSTREAM_LANDING_URI": "s3://bucket/landing", "CLICKSTREAM_ARRIVALS_QUEUE_URL": "http://127.0.0.1/q"}
    assert Settings.from_environment(bucket).arrivals_queue == "http://127.0.0.1/q"


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
