"""Settings: the only module that reads or writes environment variables.

``Settings.from_environment()`` validates every variable it knows and reports the first problem in one sentence.
Add a setting here, and nowhere else, when a user must be able to change a behaviour without changing code.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path

from clickstream_assets.errors import SettingsError

_MIB = 1024 * 1024

#: bytes that the key for pseudonyms has at least
PII_KEY_BYTES = 32


@dataclass(frozen=True)
class Limits:
    """Caps that keep one hostile or broken landing file from costing more than itself."""

    #: bytes of one file after decompression
    file_bytes: int = 20 * 1024 * _MIB
    #: decompressed bytes per compressed byte, applied once a file has given 16 MiB; DEFLATE itself ends at 1032
    compression_ratio: int = 200
    #: bytes of one record; a longer one is rejected as ``too_long``
    record_bytes: int = _MIB
    #: columns of one file
    columns: int = 1000


@dataclass(frozen=True)
class Catalog:
    """Which Iceberg catalog knows the lake's tables: ``sql``, ``glue``, which boto3 finds, or ``rest`` at ``uri``."""

    kind: str
    uri: str | None
    #: held by the processes of this home while one of them makes something in the catalog
    lock: Path


@dataclass(frozen=True)
class Redshift:
    """Where a Redshift database is, who opens it, and the role by which COPY reads the lake."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    ssl: bool
    copy_role_arn: str


@dataclass(frozen=True)
class SparkJobs:
    """Which service runs raw → cleaned as jobs, and where it finds the package.

    ``job``: of Glue, the job's name. ``application`` and ``role_arn``: of EMR Serverless, which application runs jobs,
    and what they may do.
    """

    service: str
    package_uri: str
    job: str = ""
    application: str = ""
    role_arn: str = ""


@dataclass(frozen=True)
class Ga4:
    """Which GA4 property is asked, and how; without ``property_id`` none is.

    ``credentials``: file of a service account. ``endpoint``: a server of the tests, asked without credentials.
    ``time_zone``: the property's; None where its first response says.
    """

    property_id: str | None
    credentials: Path | None
    endpoint: str | None
    time_zone: str | None


@dataclass(frozen=True)
class Settings:
    """What a run needs to know about its surroundings; immutable, made once per process."""

    environment: str
    home: Path
    landing_uri: str
    lake_uri: str
    catalog: Catalog
    redshift: Redshift | None
    start_date: date
    spark_remote: str | None
    #: None where raw → cleaned is a step's own work, or that of ``spark_remote``
    spark_jobs: SparkJobs | None
    rejected_share: float
    sensor_seconds: int
    #: SQS queue of S3's notifications; without it landing is listed
    arrivals_queue: str | None
    #: days for which landing files with personal data are kept
    landing_retention_days: int
    lock_timeout: float
    duckdb_memory: str
    ga4: Ga4
    #: where the tables are declared whose changes are taken; None for the file that comes with the package
    cdc_tables: Path | None
    #: where the pages of the dashboards are written
    dashboards_uri: str
    #: days for which older snapshots of the lake's tables are kept
    snapshot_days: int
    #: for pseudonyms of persons; None where it is to be made in the home folder
    pii_key: bytes | None = field(repr=False)
    #: who answers for the assets, as Dagster shows it: ``team:name`` or an e-mail address
    owner: str
    #: a backfill whose estimate is above one of these is refused; None: no limit
    backfill_minutes: float | None
    backfill_dollars: float | None
    #: a file of prices that are others than those that come with the package
    prices: Path | None
    limits: Limits

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read and validate the environment.

        Raises:
            SettingsError: the first variable that is missing or unusable, and what to set it to.
        """
        env = os.environ if environ is None else environ
        environment = _choice(env, "CLICKSTREAM_ENVIRONMENT", ("local", "aws"))
        on_aws = environment == "aws"
        home = _home(env)
        landing_uri = _root(env, "CLICKSTREAM_LANDING_URI", None if on_aws else home / "landing")
        lake_uri = _root(env, "CLICKSTREAM_LAKE_URI", None if on_aws else home / "lake")
        defaults = Limits()
        return cls(
            environment=environment,
            home=home,
            landing_uri=landing_uri,
            lake_uri=lake_uri,
            catalog=_catalog(env, home, on_aws=on_aws),
            redshift=_redshift(env, lake_uri, on_aws=on_aws),
            start_date=_date(env, "CLICKSTREAM_START_DATE", "2024-01-01"),
            spark_remote=_spark_remote(env),
            spark_jobs=_spark_jobs(env, lake_uri),
            rejected_share=_number(env, "CLICKSTREAM_MAX_REJECTED_SHARE", 0.5, least=0.0, most=1.0),
            sensor_seconds=int(_number(env, "CLICKSTREAM_SENSOR_SECONDS", 30, least=1)),
            arrivals_queue=_arrivals_queue(env, landing_uri),
            landing_retention_days=int(_number(env, "CLICKSTREAM_LANDING_RETENTION_DAYS", 30, least=1)),
            lock_timeout=_number(env, "CLICKSTREAM_LOCK_TIMEOUT_SECONDS", 600, least=0),
            ga4=_ga4(env),
            cdc_tables=_file(env, "CLICKSTREAM_CDC_TABLES"),
            dashboards_uri=_root(env, "CLICKSTREAM_DASHBOARDS_URI", home / "dashboards"),
            snapshot_days=int(_number(env, "CLICKSTREAM_SNAPSHOT_DAYS", 7, least=1)),
            pii_key=_pii_key(env, on_aws=on_aws),
            owner=_owner(env),
            duckdb_memory=_memory(env, "CLICKSTREAM_DUCKDB_MEMORY", "1500MB"),
            backfill_minutes=_limit(env, "CLICKSTREAM_BACKFILL_MINUTES"),
            backfill_dollars=_limit(env, "CLICKSTREAM_BACKFILL_DOLLARS"),
            prices=_file(env, "CLICKSTREAM_PRICES"),
            limits=Limits(
                file_bytes=int(_number(env, "CLICKSTREAM_MAX_FILE_BYTES", defaults.file_bytes, least=1)),
                compression_ratio=int(
                    _number(env, "CLICKSTREAM_MAX_COMPRESSION_RATIO", defaults.compression_ratio, least=1)
                ),
                record_bytes=int(_number(env, "CLICKSTREAM_MAX_RECORD_BYTES", defaults.record_bytes, least=64)),
                columns=int(_number(env, "CLICKSTREAM_MAX_COLUMNS", defaults.columns, least=1)),
            ),
        )

    @property
    def lake_on_s3(self) -> bool:
        """Whether those who read the lake have to be told of S3."""
        return self.lake_uri.startswith("s3://")

    @cached_property
    def warehouse_path(self) -> Path:
        """The DuckDB file."""
        return self.home / "warehouse.duckdb"

    @cached_property
    def dagster_home(self) -> Path:
        """Dagster's own storage: runs, event log, schedules."""
        return self.home / "dagster"

    @cached_property
    def dbt_state(self) -> Path:
        """Where dbt leaves the SQL that it ran and its account of the last run."""
        return self.home / "dbt"

    def dbt_environment(self) -> dict[str, str]:
        """The variables that ``dbt_project/profiles.yml`` reads."""
        return {
            "CLICKSTREAM_DBT_DUCKDB_PATH": str(self.warehouse_path),
            "CLICKSTREAM_DBT_DUCKDB_MEMORY": self.duckdb_memory,
        }


def dagster_home_of_process() -> Path:
    """The home of the Dagster instance that this process has opened, or would open."""
    home = os.environ.get("DAGSTER_HOME")
    return Path(home) if home else Settings.from_environment().dagster_home


def export(variables: Mapping[str, str]) -> None:
    """Set process environment variables for libraries that can be configured in no other way."""
    os.environ.update(variables)


@contextlib.contextmanager
def exported(variables: Mapping[str, str]) -> Iterator[None]:
    """The same for a while; what was there before is put back."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def aws_region() -> str | None:
    """``AWS_REGION``, which boto3 alone among AWS's libraries does not read."""
    return os.environ.get("AWS_REGION") or None


def _catalog(env: Mapping[str, str], home: Path, *, on_aws: bool) -> Catalog:
    kinds = ("glue", "rest", "sql") if on_aws else ("sql", "glue", "rest")
    kind = _choice(env, "CLICKSTREAM_CATALOG", kinds)
    path = home / "catalog.db"
    uri = f"sqlite:///{path}" if kind == "sql" else None
    if kind == "rest":
        uri = _needed(env, "CLICKSTREAM_CATALOG_URI", "with CLICKSTREAM_CATALOG=rest give the address of the catalog")
        if not re.fullmatch(r"https?://\S+", uri):
            raise SettingsError(f"CLICKSTREAM_CATALOG_URI is {uri!r}: give an http or https address.")
    return Catalog(kind, uri, path.with_suffix(".db.lock"))


def _ga4(env: Mapping[str, str]) -> Ga4:
    found = Ga4(
        property_id=env.get("GA4_PROPERTY_ID") or None,
        credentials=Path(env["GOOGLE_APPLICATION_CREDENTIALS"]) if env.get("GOOGLE_APPLICATION_CREDENTIALS") else None,
        endpoint=env.get("GA4_API_ENDPOINT") or None,
        time_zone=env.get("GA4_TIME_ZONE") or None,
    )
    if found.property_id is not None and not re.fullmatch("[0-9]{1,20}", found.property_id):
        raise SettingsError(
            f"GA4_PROPERTY_ID is {found.property_id!r}: give the property's number, as in its settings."
        )
    if found.endpoint is not None and not re.fullmatch(r"https?://[^/\s]+", found.endpoint):
        raise SettingsError(f"GA4_API_ENDPOINT is {found.endpoint!r}: write it as http://host:port.")
    if found.property_id is not None and found.endpoint is None:
        path = found.credentials
        if path is None:
            raise SettingsError(
                "GA4_PROPERTY_ID is set and GOOGLE_APPLICATION_CREDENTIALS is not: give the file of a service account "
                "that may read the property, or unset both."
            )
        if not path.is_file():
            raise SettingsError(f"GOOGLE_APPLICATION_CREDENTIALS is {str(path)!r}: there is no such file.")
    if found.time_zone is not None and not known_time_zone(found.time_zone):
        raise SettingsError(f"GA4_TIME_ZONE is {found.time_zone!r}: give a name such as Europe/Berlin.")
    return found


def known_time_zone(name: str) -> bool:
    """Whether it is the name of a time zone."""
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # not found, a folder of names, no name at all
        return False
    return True


def _pii_key(env: Mapping[str, str], *, on_aws: bool) -> bytes | None:
    name = "CLICKSTREAM_PII_KEY"
    if not on_aws and not env.get(name):
        return None
    key = _needed(
        env, name, f"give {PII_KEY_BYTES} bytes or more that nobody can guess, from a secrets manager"
    ).encode()
    if len(key) < PII_KEY_BYTES:
        raise SettingsError(f"{name} has {len(key)} bytes: give {PII_KEY_BYTES} or more that nobody can guess.")
    return key


def _owner(env: Mapping[str, str]) -> str:
    owner = env.get("CLICKSTREAM_OWNER") or "team:data-engineering"
    if not re.fullmatch(r"team:\S(.*\S)?|[^@\s:]+@[^@\s:]+\.[^@\s:.]{2,}", owner):
        raise SettingsError(f"CLICKSTREAM_OWNER is {owner!r}: write it as team:name, or give an e-mail address.")
    return owner


def _arrivals_queue(env: Mapping[str, str], landing_uri: str) -> str | None:
    url = env.get("CLICKSTREAM_ARRIVALS_QUEUE_URL")
    if not url:
        return None
    if not re.fullmatch(r"https?://\S+", url):
        raise SettingsError(f"CLICKSTREAM_ARRIVALS_QUEUE_URL is {url!r}: give the queue's http or https address.")
    if not landing_uri.startswith("s3://"):
        raise SettingsError(
            f"CLICKSTREAM_ARRIVALS_QUEUE_URL is set and landing is {landing_uri!r}: set CLICKSTREAM_LANDING_URI to "
            "s3://bucket/prefix, as only S3 sends notifications, or unset the queue."
        )
    return url


def _redshift(env: Mapping[str, str], lake_uri: str, *, on_aws: bool) -> Redshift | None:
    if _choice(env, "CLICKSTREAM_WAREHOUSE", ("redshift", "duckdb") if on_aws else ("duckdb", "redshift")) == "duckdb":
        return None
    if not lake_uri.startswith("s3://"):
        raise SettingsError(f"CLICKSTREAM_LAKE_URI is {lake_uri!r}: Redshift loads from s3://bucket/prefix only.")
    role = _role(env, "REDSHIFT_COPY_ROLE_ARN", "give the role by which COPY reads the lake")
    return Redshift(
        host=_needed(env, "REDSHIFT_HOST", "give the host name of the cluster or workgroup"),
        port=int(_number(env, "REDSHIFT_PORT", 5439, least=1, most=65535)),
        database=_needed(env, "REDSHIFT_DATABASE", "give the database"),
        user=_needed(env, "REDSHIFT_USER", "give the user that loads"),
        password=_needed(env, "REDSHIFT_PASSWORD", "give the user's password"),
        ssl=_choice(env, "REDSHIFT_SSL", ("true", "false")) == "true",
        copy_role_arn=role,
    )


def _role(env: Mapping[str, str], name: str, what: str) -> str:
    role = _needed(env, name, what)
    if not re.fullmatch(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+", role):
        raise SettingsError(f"{name} is {role!r}: write it as arn:aws:iam::123456789012:role/name.")
    return role


def _needed(env: Mapping[str, str], name: str, what: str) -> str:
    value = env.get(name)
    if not value:
        raise SettingsError(f"{name} is not set: {what}.")
    return value


def _choice(env: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    value = env.get(name) or allowed[0]
    if value not in allowed:
        raise SettingsError(f"{name} is {value!r}: this version supports {' or '.join(map(repr, allowed))}.")
    return value


def _home(env: Mapping[str, str]) -> Path:
    home = Path(env.get("CLICKSTREAM_HOME") or ".clickstream").expanduser().absolute()
    # Spark takes the first four for patterns; the catalog's and dbt's addresses end at the others.
    if special := sorted(set(str(home)) & set("[]*?#%{}")):
        raise SettingsError(
            f"CLICKSTREAM_HOME is {str(home)!r}: choose a folder without {' '.join(special)} in its path."
        )
    existing = next(path for path in (home, *home.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise SettingsError(f"CLICKSTREAM_HOME is {str(home)!r}: {existing} is not a folder that can be written to.")
    return home


def _file(env: Mapping[str, str], name: str) -> Path | None:
    value = env.get(name)
    if not value:
        return None
    path = Path(value).expanduser().absolute()
    if not path.is_file():
        raise SettingsError(f"{name} is {value!r}: there is no such file.")
    return path


def _root(env: Mapping[str, str], name: str, default: Path | None) -> str:
    value = env.get(name)
    if not value:
        if default is None:
            raise SettingsError(f"{name} is not set: with CLICKSTREAM_ENVIRONMENT=aws give s3://bucket/prefix.")
        return str(default)
    if value.startswith("s3://"):
        parts = r"(/(?!\.{1,2}(/|$))[^/\s]+)*"
        if not re.fullmatch(rf"s3://[a-z0-9][a-z0-9.-]{{1,61}}[a-z0-9]{parts}/?", value):
            raise SettingsError(f"{name} is {value!r}: write it as s3://bucket or s3://bucket/prefix.")
        return value.rstrip("/")
    if "://" in value:
        raise SettingsError(f"{name} is {value!r}: this version supports folders and s3://bucket/prefix.")
    return str(Path(value).expanduser().absolute())


def _date(env: Mapping[str, str], name: str, default: str) -> date:
    value = env.get(name) or default
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise SettingsError(f"{name} is {value!r}: write it as YYYY-MM-DD.") from None


def _number(env: Mapping[str, str], name: str, default: float, *, least: float, most: float = float("inf")) -> float:
    value = env.get(name)
    if not value:
        return default
    try:
        number = float(value)
    except ValueError:
        raise SettingsError(f"{name} is {value!r}: give a number.") from None
    if not least <= number <= most:
        raise SettingsError(f"{name} is {value!r}: give a number between {least:g} and {most:g}.")
    return number


def _limit(env: Mapping[str, str], name: str) -> float | None:
    """A number that may be missing: there is no limit then."""
    limit = _number(env, name, float("inf"), least=0)
    return None if limit == float("inf") else limit


def _memory(env: Mapping[str, str], name: str, default: str) -> str:
    value = env.get(name) or default
    if not re.fullmatch(r"[1-9][0-9]{2,5}MB|[1-9][0-9]{0,3}GB", value):
        raise SettingsError(f"{name} is {value!r}: give a whole number of MB or GB from 100MB on, e.g. 4GB.")
    return value


def _spark_remote(env: Mapping[str, str]) -> str | None:
    value = env.get("SPARK_REMOTE") or None
    if value is not None and not value.startswith("sc://"):
        raise SettingsError(f"SPARK_REMOTE is {value!r}: give a Spark Connect address such as sc://host:15002.")
    return value


def _spark_jobs(env: Mapping[str, str], lake_uri: str) -> SparkJobs | None:
    service = _choice(env, "CLICKSTREAM_SPARK_JOBS", ("none", "glue", "emr-serverless"))
    if service == "none":
        return None
    if env.get("SPARK_REMOTE"):
        raise SettingsError("CLICKSTREAM_SPARK_JOBS and SPARK_REMOTE are both set: unset the one that is not meant.")
    if not lake_uri.startswith("s3://"):
        raise SettingsError(
            f"CLICKSTREAM_LAKE_URI is {lake_uri!r}: with CLICKSTREAM_SPARK_JOBS={service} give s3://bucket/prefix, "
            "which jobs can reach."
        )
    name = "CLICKSTREAM_SPARK_PACKAGE_URI"
    _needed(env, name, "give s3://bucket/prefix, where the files of `make package` are")
    package_uri = _root(env, name, None)
    if not package_uri.startswith("s3://"):
        raise SettingsError(f"{name} is {package_uri!r}: write it as s3://bucket/prefix.")
    if service == "glue":
        job = _needed(env, "CLICKSTREAM_GLUE_JOB", "give the name of the Glue job that runs clickstream_job.py")
        return SparkJobs(service, package_uri, job=job)
    application = _needed(env, "CLICKSTREAM_EMR_APPLICATION_ID", "give the id of the EMR Serverless application")
    role = _role(env, "CLICKSTREAM_EMR_ROLE_ARN", "give the role that jobs have")
    return SparkJobs(service, package_uri, application=application, role_arn=role)
