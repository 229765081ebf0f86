"""What the tests share: a home folder of their own, files to land in it, and runs in this process."""

from __future__ import annotations

import atexit
import functools
import gzip
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from clickstream_assets import domains
from clickstream_assets.platform import Platform
from clickstream_assets.settings import Settings
from clickstream_assets.storage.duckdb_warehouse import DuckDBWarehouse
from clickstream_assets_tests import redshift, servers
from clickstream_assets_tests.redshift import Twin
from clickstream_assets_tests.servers import S3Server

HEADER = "UserID,SessionID,Timestamp,EventType,ProductID,Amount,Outcome"

#: columns that say when and by which run, not what; two results are equal when they are so without them
LINEAGE = {
    "ingestion_timestamp",
    "ingested_at",
    "processed_at",
    "run_id",
    "recorded_at",
    "quarantined_at",
    "dbt_updated_at",
    "source_snapshot",
}


@dataclass(frozen=True)
class Home:
    """A home folder and what can be done in it. ``further``: settings beside the home."""

    path: Path
    further: Mapping[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, str]:
        return {"CLICKSTREAM_HOME": str(self.path), **self.further}

    @property
    def settings(self) -> Settings:
        return Settings.from_environment(self.variables)

    @property
    def platform(self) -> Platform:
        return Platform(self.settings)

    def landing(self, day: str) -> Path:
        return self.path / "landing" / "ecommerce" / f"ingestion_date={day}"

    def land(self, day: str, name: str, *records: str, header: str = HEADER) -> Path:
        """Put a file into landing; gzipped when its name ends in ``.gz``."""
        folder = self.landing(day)
        folder.mkdir(parents=True, exist_ok=True)
        content = "".join(f"{line}\n" for line in (header, *records)).encode()
        path = folder / name
        path.write_bytes(gzip.compress(content, mtime=0) if name.endswith(".gz") else content)
        return path

    def run(self, first: str, last: str | None = None, *, domain: str = "ecommerce", repairs: bool = True) -> Any:
        from clickstream_assets.run import run_domain

        if not self.settings.dagster_home.exists():
            shutil.copytree(_empty_storage(), self.settings.dagster_home)
        start, end = date.fromisoformat(first), date.fromisoformat(last or first)
        return run_domain(domains.domain(domain), start, end, repairs=repairs)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        return self.platform.warehouse.query(sql)[1]

    def one(self, sql: str) -> tuple[Any, ...]:
        (row,) = self.query(sql)
        return row

    def table(self, name: str) -> list[tuple[Any, ...]]:
        """All rows of a relation without its lineage columns, in an order of their own."""
        return _plain(*self.platform.warehouse.query(f"select * from {name}"))

    def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every table and view, as ``table`` gives it."""
        warehouse, names = self.platform.warehouse, self.relations()
        if not isinstance(warehouse, DuckDBWarehouse):
            return {name: _plain(*warehouse.query(f"select * from {name}")) for name in names}
        with warehouse.reader("a test") as connection:  # seen at one moment, and opened once
            found = {}
            for name in names:
                result = connection.execute(f"select * from {name}")
                found[name] = _plain([column[0] for column in result.description], result.fetchall())
            return found

    def ledger(self, asset: str, day: str) -> tuple[int, ...]:
        """rows_in, rows_out, rejected, duplicate, late, filtered of a partition."""
        return self.one(
            "select rows_in, rows_out, rejected, duplicate, late, filtered from ops.row_ledger "
            f"where asset = '{asset}' and partition_date = '{day}'"
        )

    def relations(self) -> Sequence[str]:
        """Every table and view of the warehouse, less what only Redshift needs and what depends on files' times."""
        return [
            name
            for (name,) in self.query(
                "select table_schema || '.' || table_name from information_schema.tables "
                "where table_schema not in ('pg_catalog', 'information_schema') "
                "and table_name not in ('load_lock', 'landing_versions') "
                "order by 1"
            )
        ]


@functools.cache
def _empty_storage() -> Path:
    """Dagster's storage of a new home: to make it takes 0.2 s of work, and a second of waiting for the disk."""
    from clickstream_assets.run import instance

    folder = tempfile.TemporaryDirectory(prefix="storage-")
    atexit.register(folder.cleanup)
    settings = Settings.from_environment({"CLICKSTREAM_HOME": folder.name})
    with instance(settings):
        return settings.dagster_home


def _plain(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    keep = [index for index, name in enumerate(names) if name not in LINEAGE]
    return sorted((tuple(_in_utc(row[index]) for index in keep) for row in rows), key=repr)


def _in_utc(value: Any) -> Any:
    """Each driver has its own idea of UTC."""
    return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo else value


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A fresh home folder that this process's runs use."""
    return use_home(tmp_path / "home", monkeypatch)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server for as long as the tests run."""
    with servers.s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def on_s3(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, and the environment in which every client finds it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return s3


@pytest.fixture
def s3_root(on_s3: S3Server) -> str:
    """A new prefix: SeaweedFS makes volumes for each bucket, and in the end there are too many."""
    return f"s3://{on_s3.bucket}/{uuid.uuid4().hex}"


@pytest.fixture
def bucket(on_s3: S3Server) -> str:
    """A new bucket."""
    name = f"b{uuid.uuid4().hex}"
    on_s3.client.create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="session")
def aws_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server for the services of AWS, of which S3 is the lesser one: see ``s3``."""
    with servers.aws(tmp_path_factory.mktemp("aws")) as endpoint:
        yield endpoint


@pytest.fixture
def on_glue(aws_endpoint: str, on_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment in which every client finds an empty Glue catalog there, and S3 where it was."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_GLUE", aws_endpoint)
    empty_glue()


def empty_glue() -> None:
    """Remove all databases of the catalog that the environment names."""
    import boto3

    glue = boto3.client("glue")
    for database in glue.get_databases()["DatabaseList"]:
        glue.delete_database(Name=database["Name"])


@pytest.fixture(scope="session")
def twin(s3: S3Server) -> Iterator[Twin]:
    """A twin of Redshift that loads from the S3 server."""
    with redshift.redshift(s3) as twin:
        yield twin


@pytest.fixture
def on_redshift(twin: Twin) -> Iterator[dict[str, str]]:
    """The variables with which a home finds a database of its own on the twin."""
    with twin.fresh_database() as name:
        yield twin.environment | {"REDSHIFT_DATABASE": name}


def use_home(path: Path, monkeypatch: pytest.MonkeyPatch, **further: str) -> Home:
    """Point the environment at a home folder; nothing of the caller's settings remains."""
    ours = [name for name in os.environ if name.startswith(("CLICKSTREAM_", "GA4_"))]
    for name in (*ours, "SPARK_REMOTE", "DAGSTER_HOME", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    home = Home(path, further)
    for name, value in home.variables.items():
        monkeypatch.setenv(name, value)
    return home


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=20, help="how often the kill test kills (make soak: 200)")
    parser.addoption("--screenshots", metavar="FOLDER", help="keep pictures of the dashboards' pages there")
    parser.addoption("--histories", type=int, default=16, help="random histories of change data (make soak: 400)")
    parser.addoption("--rows-per-day", type=int, default=2000, help="rows of each domain on a cluster (make soak)")
    parser.addoption("--write-golden", action="store_true", help="write what is compared with golden files anew")


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--kills"))


@pytest.fixture
def histories(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--histories"))


@pytest.fixture
def rows_per_day(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--rows-per-day"))


#: modules that take longest, or mostly wait, first: what is left at the end should be short
_LONG = (
    "kills", "docs", "daemon", "engines", "aws", "aws_faults", "lake", "end_to_end", "repair", "clickstream",
    "clickstream_models", "disk", "range_equals_days", "convergence", "dbt", "arrivals", "bad_input", "benchmarks",
    "installed", "replay",
    "repairs", "notifications", "guards", "orphans", "warehouse", "cli",
    "kills", "aws", "aws_faults", "daemon", "star", "runs", "range_equals_days", "loading", "arrivals", "lake",
    "end_to_end", "benchmarks", "installed", "convergence", "repairs", "clickstream_models", "dbt", "totals", "disk",
    "guards", "notifications", "repair", "clickstream", "bad_input", "random_pulls", "adding_a_domain", "cli",
    "models", "replay", "orphans", "apply", "architecture", "warehouse", "schedule", "contract",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        name = item.path.stem.removeprefix("test_")
        return _LONG.index(name) if name in _LONG else len(_LONG)

    items.sort(key=place)
