"""Upkeep of the storage that the other assets share."""

from contextlib import ExitStack
from datetime import timedelta

import dagster as dg
from pydantic import Field

from clickstream_assets.domains import DOMAINS
from clickstream_assets.platform import Platform


class OrphanFilesConfig(dg.Config):
    """What is removed, and whether."""

    dry_run: bool = Field(default=False, description="Only count; remove nothing.")
    older_than_hours: float = Field(
        default=24, ge=0, description="Files that were touched since are left, in case somebody else is writing them."
    )


@dg.asset(
    key=["ops", "orphan_files"],
    group_name="ops",
    kinds={"iceberg"},
    description=(
        "Removes files of the lake that no snapshot refers to: what killed and failed runs left. "
        "One row per table in its metadata; it holds none itself. While it works, which takes seconds, no domain is "
        "written to; it waits for the steps at work."
    ),
)
def orphan_files(
    context: dg.AssetExecutionContext, config: OrphanFilesConfig, platform: dg.ResourceParam[Platform]
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Count and remove the orphans of every table."""
    from clickstream_assets.storage.orphans import sweep

    with ExitStack() as held:
        for name in DOMAINS:  # in one order everywhere, so that two of these cannot wait for each other
            held.enter_context(platform.exclusive(name, "removing orphan files"))
        swept = sweep(
            platform.lake,
            older_than=timedelta(hours=config.older_than_hours),
            dry_run=config.dry_run,
        )
    for entry in swept:
        if entry.left:
            context.log.warning("The files of %s are left alone: %s.", entry.table.lake, entry.left)
    rows = [f"| {e.table.lake} | {e.files:,} | {e.size:,} | {e.left or ''} |" for e in swept]
    files, size = sum(e.files for e in swept), sum(e.size for e in swept)
    return dg.MaterializeResult(
        metadata={
            "files_found": files,
            "files_removed": 0 if config.dry_run else files,
            "bytes_freed": 0 if config.dry_run else size,
            "tables": dg.MetadataValue.md(
                "\n".join(["| table | orphans | bytes | left alone |", "|---|---|---|---|", *rows])
            ),
        }
    )


daily = dg.ScheduleDefinition(
    name="orphan_files_daily",
    target=[orphan_files],
    cron_schedule="30 3 * * *",
    execution_timezone="UTC",
    # It reads metadata and removes what is a day old; on when there is a daemon, as the sensors are.
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night at 03:30 UTC.",
)


def definitions() -> dg.Definitions:
    """The schedule; assets of the module are found by themselves."""
    return dg.Definitions(schedules=[daily])
