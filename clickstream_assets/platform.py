"""The platform: landing, lake, warehouse and engine of one set of settings, opened when first used.

Assets, the CLI and tests get at storage through ``Platform`` and nothing else; it is also a Dagster resource.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from clickstream_assets.settings import Settings
from clickstream_assets.storage.locks import process_lock

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from clickstream_assets.storage.files import Files
    from clickstream_assets.storage.lake import Lake
    from clickstream_assets.storage.warehouse import Warehouse


@dataclass(frozen=True)
class Platform:
    """What a step needs to reach data."""

    settings: Settings

    @cached_property
    def landing(self) -> Files:
        """Files as other systems delivered them."""
        from clickstream_assets.storage import files

        return files.at(self.settings.landing_uri)

    @cached_property
    def lake(self) -> Lake:
        """The Iceberg tables."""
        from clickstream_assets.storage import files
        from clickstream_assets.storage.lake import Lake

        return Lake(files.at(self.settings.lake_uri), self.settings.catalog)

    @cached_property
    def warehouse(self) -> Warehouse:
        """Views, the ledger, and what dbt builds."""
        settings = self.settings
        if settings.redshift is not None:
            from clickstream_assets.storage.redshift_warehouse import RedshiftWarehouse

            return RedshiftWarehouse(settings.redshift, self.lake.files)
        from clickstream_assets.storage.duckdb_warehouse import DuckDBWarehouse

        return DuckDBWarehouse(settings.warehouse_path, lock_timeout=settings.lock_timeout, on_s3=settings.lake_on_s3)

    @cached_property
    def pii_key(self) -> bytes:
        """The key for pseudonyms.

        Raises:
            ClickstreamError: there is none although there are pseudonyms, or it is damaged.
        """
        from clickstream_assets import pii_key
        from clickstream_assets.schemas import CLICKSTREAM_RAW

        return pii_key.find(self.settings, in_use=lambda: self.lake.version(CLICKSTREAM_RAW) is not None)

    @property
    def spark(self) -> SparkSession:
        """The engine of the transforms; starting it takes half a second."""
        from clickstream_assets.storage.spark import session

        return session(self.settings.spark_remote, on_s3=self.settings.lake_on_s3)

    @contextlib.contextmanager
    def exclusive(self, domain: str, what: str, *, timeout: float | None = None) -> Iterator[None]:
        """Let no other process write to a domain meanwhile: a step holds this from its first read to its last commit.

        Without it two runs could load the same content twice, or publish one's rows and the other's quarantine. What a
        killed process left half published is finished first.

        Raises:
            Busy: another process is still at it after ``timeout`` seconds (the lock timeout of the settings, unless it
                is given); names that process.
        """
        from clickstream_assets.storage.publishing import reconcile

        lock = process_lock(self.settings.home / "locks" / domain, f"the domain {domain}")
        wait = self.settings.lock_timeout if timeout is None else timeout
        with lock.held(what, timeout=wait):
            with self.warehouse.locked(what, timeout=wait):
                reconcile(self.lake, self.warehouse, domain)
            yield
