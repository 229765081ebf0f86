"""S3 as each client wants to be told of it.

boto3 knows all the ways in which endpoint, region and credentials are given (``AWS_*`` variables, profiles, roles of
machines and containers); the others know some of them. So boto3 finds them and the others are told.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from clickstream_assets.errors import ClickstreamError
from clickstream_assets.settings import aws_region

if TYPE_CHECKING:
    import duckdb
    import pyarrow.fs as pafs

#: how often a request is made before it is given up; the waits between double, up to 20 s
ATTEMPTS = 6

#: the same for DuckDB: waits of 0.2 s, 0.4 s and so on, 13 s in all
DUCKDB_RETRIES = {"http_retries": ATTEMPTS, "http_retry_wait_ms": 200, "http_retry_backoff": 2}

#: seconds to wait for a connection: the sensor has a minute for its look
CONNECT_SECONDS = 5

_IMPORTING = threading.Lock()


def is_s3(uri: str) -> bool:
    """Whether an address is one of S3."""
    return uri.startswith("s3://")


@dataclass(frozen=True)
class S3:
    """One S3 service and who we are there. ``endpoint``: its URL. ``assumed``: by a profile that assumes a role."""

    endpoint: str
    region: str
    key: str
    secret: str = field(repr=False)
    token: str | None = field(repr=False)
    assumed: bool = False

    @classmethod
    def find(cls) -> S3:
        """As boto3 finds them now.

        Raises:
            ClickstreamError: there are no credentials.
        """
        meta = client().meta
        found = _session().get_credentials()
        if found is None:
            raise ClickstreamError(
                "There are no credentials for S3: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            )
        frozen = found.get_frozen_credentials()
        assumed = found.method == "assume-role"
        return cls(meta.endpoint_url, meta.region_name, frozen.access_key, frozen.secret_key, frozen.token, assumed)

    @property
    def _scheme(self) -> str:
        return self.endpoint.partition("://")[0]

    @property
    def _host(self) -> str | None:
        """Host and port, or None for Amazon's own, which every client knows by the region."""
        host = self.endpoint.partition("://")[2].rstrip("/")
        return None if host in ("s3.amazonaws.com", f"s3.{self.region}.amazonaws.com") else host

    def arrow(self) -> pafs.S3FileSystem:
        """Arrow's file system.

        It finds credentials as boto3 does, and renews those that expire, but for profiles that assume a role: of those
        it is told the credentials, which are good for an hour.
        """
        import pyarrow.fs as pafs

        told = {"access_key": self.key, "secret_key": self.secret, "session_token": self.token} if self.assumed else {}
        return pafs.S3FileSystem(
            **told,
            region=self.region,
            scheme=self._scheme,
            endpoint_override=self._host,
            connect_timeout=CONNECT_SECONDS,
            retry_strategy=arrow_retries(),
        )

    @property
    def iceberg(self) -> dict[str, str]:
        """Properties of pyiceberg's catalog."""
        # Of itself it would give up after 0.4 s, in the middle of a commit.
        patience = {"s3.retry-strategy-impl": f"{__name__}.arrow_retries", "s3.connect-timeout": str(CONNECT_SECONDS)}
        told = {"s3.access-key-id": self.key, "s3.secret-access-key": self.secret, "s3.session-token": str(self.token)}
        return (
            {"s3.region": self.region, **patience}
            | ({"s3.endpoint": self.endpoint} if self._host else {})
            | (told if self.assumed else {})
        )

    @property
    def engine(self) -> dict[str, str]:
        """Variables that Sail reads."""
        variables = {"AWS_REGION": self.region, "AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret}
        variables |= {"AWS_SESSION_TOKEN": self.token} if self.token else {}
        variables |= {"AWS_ENDPOINT": self.endpoint} if self._host else {}
        return variables | ({"AWS_ALLOW_HTTP": "true"} if self._scheme == "http" else {})

    @property
    def dbt(self) -> dict[str, str]:
        """Variables of ``dbt_project/profiles.yml``; dbt keeps those that are named so out of its logs."""
        duckdb = self._duckdb
        return {f"DBT_ENV_SECRET_S3_{name}": str(value) for name, value in duckdb.items()}

    @property
    def _duckdb(self) -> dict[str, str]:
        return {
            "KEY_ID": self.key,
            "SECRET": self.secret,
            "SESSION_TOKEN": self.token or "",
            "REGION": self.region,
            "ENDPOINT": self._host or f"s3.{self.region}.amazonaws.com",
            "URL_STYLE": "path" if self._host else "vhost",
            "USE_SSL": str(self._scheme == "https").lower(),
        }

    def prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let a DuckDB connection read and write S3; the secret is in its memory only."""
        import_httpfs()
        connection.load_extension("httpfs")
        quoted = ", ".join(f"{name} '{value.replace(chr(39), chr(39) * 2)}'" for name, value in self._duckdb.items())
        connection.execute(f"create or replace temporary secret clickstream_s3 (type s3, {quoted})")
        for name, value in DUCKDB_RETRIES.items():
            connection.execute(f"set {name} = {value}")


def arrow_retries() -> pafs.S3RetryStrategy:
    """How Arrow tries again, in our hands and in pyiceberg's, which is told the name of this function."""
    import pyarrow.fs as pafs

    return pafs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS)


def client(service: str = "s3") -> Any:
    """boto3's client of a service; requests that are throttled or fail on the way are tried again.

    Raises:
        ClickstreamError: profile, region or endpoint cannot be used.
    """
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    retries = {"mode": "standard", "total_max_attempts": ATTEMPTS}
    try:
        return _session().client(service, config=Config(retries=retries, connect_timeout=CONNECT_SECONDS))
    except (BotoCoreError, ValueError) as error:
        raise ClickstreamError(f"{service.upper()} cannot be used: {error}") from error


def _session() -> Any:
    import boto3

    # Not the default session, which keeps the credentials that it found first.
    return boto3.Session(region_name=aws_region())


@cache
def _httpfs() -> None:
    from duckdb_extensions import import_extension

    import_extension("httpfs")


def import_httpfs() -> None:
    """Put DuckDB's extension where DuckDB looks for it: it comes from PyPI, nothing is downloaded."""
    with _IMPORTING:
        _httpfs()
