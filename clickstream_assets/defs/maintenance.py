"""Upkeep of the storage that the other assets share: small files, old snapshots, files that nobody refers to.

They follow each other at night, as each leaves work for the next one. No reader is disturbed: a file goes when no
snapshot that is kept refers to it, and not before it is a day old.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from clickstream_assets.defs import cdc
from clickstream_assets.defs.jobs import CDC
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

    with _every_domain(platform, "removing orphan files"):
        swept = sweep(
            platform.lake,
            older_than=timedelta(hours=config.older_than_hours),
            dry_run=config.dry_run,
        )
    for entry in swept:
        if entry.left:
            context.log.warning("The files of %s are left alone: %s.", entry.table.lake, entry.left)
    rows = [(e.table.lake, e.files, e.size, e.left or "") for e in swept]
    files, size = sum(e.files for e in swept), sum(e.size for e in swept)
    return dg.MaterializeResult(
        metadata={
            "files_found": files,
            "files_removed": 0 if config.dry_run else files,
            "bytes_freed": 0 if config.dry_run else size,
            "tables": _table(("table", "orphans", "bytes", "left alone"), rows),
        }
    )


@dg.asset(
    key=["ops", "compacted_files"],
    group_name="ops",
    kinds={"iceberg"},
    description=(
        "Puts small files of change data together, in each partition that has five or more of them: each run adds "
        "some. One row per table in its metadata; it holds none itself. What the old files take is free when their "
        "snapshots have expired."
    ),
)
def compacted_files(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Compact the raw changes, the histories and the current states."""
    from clickstream_assets.cdc.compaction import compact

    with platform.exclusive(CDC, "compacting files"):
        done = compact(platform, cdc.tables(), context.log.info)
    rows = [(t.table, t.files_before, t.files_after, t.size_before, t.size_after) for t in done]
    return dg.MaterializeResult(
        metadata={
            "files_before": sum(t.files_before for t in done),
            "files_after": sum(t.files_after for t in done),
            "bytes_before": sum(t.size_before for t in done),
            "bytes_after": sum(t.size_after for t in done),
            "tables": _table(("table", "small files", "files now", "bytes", "bytes now"), rows),
        }
    )


class SnapshotsConfig(dg.Config):
    """What is kept."""

    days: int | None = Field(
        default=None, ge=0, description="Keep so many days, whatever CLICKSTREAM_SNAPSHOT_DAYS says."
    )


@dg.asset(
    key=["ops", "expired_snapshots"],
    group_name="ops",
    kinds={"iceberg"},
    description=(
        "Puts the manifests of each table together, and lets go of snapshots that have not been current for "
        "CLICKSTREAM_SNAPSHOT_DAYS days (7 unless set): so far back a table can be asked how it was. One row per table "
        "in its metadata; it holds none itself. The files are removed by orphan_files."
    ),
)
def expired_snapshots(
    context: dg.AssetExecutionContext, config: SnapshotsConfig, platform: dg.ResourceParam[Platform]
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Put manifests together and expire old snapshots, of every table of the lake."""
    from clickstream_assets.cdc.compaction import show
    from clickstream_assets.storage.maintenance import expire, merge_manifests
    from clickstream_assets.storage.orphans import is_ours, tables

    days = platform.settings.snapshot_days if config.days is None else config.days
    with _every_domain(platform, "expiring snapshots"):
        show(platform, cdc.tables())  # a view over files that nobody refers to any more would lose them
        ours = [table.lake for table in tables(platform.lake) if is_ours(platform.lake, table)]
        merged = [merge_manifests(platform.lake, name) for name in ours]
        done = [expire(platform.lake, name, older_than=timedelta(days=days)) for name in ours]
    for table in done:
        if table.snapshots:
            context.log.info("%s: %d snapshots expired, %d are kept", table.table, table.snapshots, table.kept)
    manifests = {table.table: (table.before, table.after) for table in merged}
    rows = [(t.table, t.snapshots, t.kept, t.files, t.size, *manifests[t.table]) for t in done if t.kept]
    return dg.MaterializeResult(
        metadata={
            "snapshots_expired": sum(t.snapshots for t in done),
            "snapshots_kept": sum(t.kept for t in done),
            "files_to_remove": sum(t.files for t in done),
            "bytes_to_free": sum(t.size for t in done),
            "manifests_before": sum(t.before for t in merged),
            "manifests_after": sum(t.after for t in merged),
            "tables": _table(
                ("table", "expired", "kept", "files to remove", "bytes to free", "manifests", "manifests now"), rows
            ),
        }
    )


@contextmanager
def _every_domain(platform: Platform, what: str) -> Iterator[None]:
    """Nobody writes to the lake meanwhile."""
    with ExitStack() as held:
        for name in (*DOMAINS, CDC):  # in one order everywhere, so that two of these cannot wait for each other
            held.enter_context(platform.exclusive(name, what))
        yield


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> dg.MarkdownMetadataValue:
    cells = [[f"{value:,}" if isinstance(value, int) else str(value) for value in row] for row in rows]
    lines = [list(head), ["---"] * len(head), *cells]
    return dg.MetadataValue.md("\n".join("| " + " | ".join(line) + " |" for line in lines))


def _nightly(asset: dg.AssetsDefinition, minute: int) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name=f"{asset.key.path[-1]}_daily",
        target=[asset],
        cron_schedule=f"{minute} 3 * * *",
        execution_timezone="UTC",
        # It reads metadata, and what it removes is old; on when there is a daemon, as the sensors are.
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Every night at 03:{minute:02} UTC.",
    )


def definitions() -> dg.Definitions:
    """The schedules; assets of the module are found by themselves."""
    nightly = zip((compacted_files, expired_snapshots, orphan_files), (0, 15, 30), strict=True)
    return dg.Definitions(schedules=[_nightly(asset, minute) for asset, minute in nightly])
