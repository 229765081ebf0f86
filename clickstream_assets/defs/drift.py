"""Checks of every table: is it still as it is registered, in the catalog and in the lake? They read metadata only.

They belong to an asset of their own, since a run of a table runs all checks that belong to the table; what these look
at changes by other hands than a run's.
"""

import dagster as dg

from clickstream_assets.domains import DOMAINS
from clickstream_assets.platform import Platform
from clickstream_assets.schemas import CDC_CHANGES, QUARANTINE, Table

CATALOG = dg.AssetSpec(
    key=["ops", "catalog"],
    group_name="ops",
    description="The tables of the lake as the catalog knows them, each with a check against the registry.",
    kinds={"iceberg"},
)


def tables() -> dict[str, Table]:
    """The tables of the lake by the names of their checks."""
    found = [*(table for domain in DOMAINS.values() for table in domain.tables), CDC_CHANGES, QUARANTINE]
    return {table.lake.replace(".", "_"): table for table in found}


def definitions() -> dg.Definitions:
    """A check per table, and the schedule that runs them all."""
    job = dg.define_asset_job(
        "schema_drift",
        selection=dg.AssetSelection.checks(*(dg.AssetCheckKey(CATALOG.key, name) for name in tables())),
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
    checks = [_check(name, table) for name, table in tables().items()]
    return dg.Definitions(assets=[CATALOG], asset_checks=checks, jobs=[job], schedules=[nightly])


def _check(name: str, table: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=CATALOG.key,
        name=name,
        description=f"The catalog and the files of {table.lake} have the registered columns, types and partitions.",
    )
    def as_registered(platform: dg.ResourceParam[Platform]) -> dg.AssetCheckResult:
        from clickstream_assets.storage.drift import FILES, drift

        found = drift(platform.lake, table)
        return dg.AssetCheckResult(
            passed=not found,
            description="; ".join(found) or f"As registered; looked at the {FILES} newest files at most.",
            metadata={"differences": found},
        )

    return as_registered
