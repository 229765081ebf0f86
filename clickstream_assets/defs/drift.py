"""Checks of every table: is it still as it is registered, in the catalog and in the lake? They read metadata only."""

import dagster as dg

from clickstream_assets.domains import DOMAINS
from clickstream_assets.platform import Platform
from clickstream_assets.schemas import QUARANTINE, Table

NAME = "as_registered"


def _tables() -> list[Table]:
    """The tables of the lake."""
    feeds = [feed for domain in DOMAINS.values() for feed in domain.feeds]
    return [*(table for feed in feeds for table in (feed.raw, feed.cleaned)), QUARANTINE]


def keys() -> list[dg.AssetCheckKey]:
    """The checks, which no domain's job runs: what they look at changes by other hands than a run's."""
    return [dg.AssetCheckKey(dg.AssetKey(table.key), NAME) for table in _tables()]


def definitions() -> dg.Definitions:
    """A check per table, and the schedule that runs them all."""
    quarantine = dg.AssetSpec(
        key=QUARANTINE.key,
        group_name="ops",
        description=f"{QUARANTINE.description} Written by the steps that reject.",
        kinds={"iceberg"},
    )
    job = dg.define_asset_job(
        "schema_drift",
        selection=dg.AssetSelection.checks(*keys()),
        description="Compares catalog, lake and registry: columns, types, partitions.",
    )
    nightly = dg.ScheduleDefinition(
        name="schema_drift_daily",
        job=job,
        cron_schedule="45 3 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every night at 03:45 UTC.",
    )
    return dg.Definitions(
        assets=[quarantine], asset_checks=[_check(table) for table in _tables()], jobs=[job], schedules=[nightly]
    )


def _check(table: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=table.key,
        name=NAME,
        description="Catalog and files have the registered columns, types and partitions.",
    )
    def as_registered(platform: dg.ResourceParam[Platform]) -> dg.AssetCheckResult:
        from clickstream_assets.storage.drift import FILES, drift

        found = drift(platform.lake, table)
        return dg.AssetCheckResult(
            passed=not found,
            description="; ".join(found) or f"As registered; looked at the {FILES} newest files.",
            metadata={"differences": found},
        )

    return as_registered
