"""Change data: what arrives, every change as it came, and of each declared table its current state and its history.

None of these has partitions: a change file belongs to no day, and a change to whatever its key says. A run applies what
has landed since the last one.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from clickstream_assets import about, arrivals, guards, layers, policies
from clickstream_assets.cdc import declared as declarations
from clickstream_assets.cdc import tables as made
from clickstream_assets.cdc.declared import DMS, DYNAMODB, Declared
from clickstream_assets.defs import jobs
from clickstream_assets.defs.jobs import CDC
from clickstream_assets.domains import Landing
from clickstream_assets.lineage import Origin
from clickstream_assets.parsing.formats import Format
from clickstream_assets.platform import Platform
from clickstream_assets.schemas import CDC_CHANGES
from clickstream_assets.settings import Settings

if TYPE_CHECKING:
    from clickstream_assets.cdc.apply import Applied, Reconciled

#: checks of a declared table that only warn
_WARNINGS = {
    "takes_every_change": "No change was refused: those that were wait in the quarantine until the declaration is "
    "corrected.",
    "agrees_with_full_load": "A full load that has just come finds the state as it says, key range by key range.",
    "keys_are_followed": "No update is of a key that was never inserted: its key may have been another one.",
}

#: the check of the raw changes that only warns, and folders that it names
_DECLARED, _NAMED = "folders_are_declared", 5

#: days that are listed in the metadata of a run
_LISTED = 30

#: landing files are looked at as if they were of this day: none of theirs matters
_ANY_DAY = date(2000, 1, 1)


class ChangesConfig(dg.Config):
    """What is applied."""

    replay: bool = Field(default=False, description="All changes again, and not only those that are new.")


def tables() -> tuple[Declared, ...]:
    """The tables that are declared."""
    return declarations.load(Settings.from_environment().cdc_tables)


def definitions() -> dg.Definitions:
    """The assets and their sensor; the job is with the others."""
    declared = tables()
    landings = [_landing(source, declared) for source in (DYNAMODB, DMS)]
    raw = _changes(declared)
    applied = [_applied(one) for one in declared]
    return dg.Definitions(assets=[*landings, raw, *applied], sensors=_sensors())


def _landing(source: str, declared: Sequence[Declared]) -> dg.AssetSpec:
    folders = ", ".join(f"`{one.folder}/`" for one in declared if one.source == source) or "no table is declared"
    what = "Records of DynamoDB Streams, one a line" if source == DYNAMODB else "Files of AWS DMS, CSV or Parquet"
    return dg.AssetSpec(
        key=["landing", f"cdc_{source}"],
        group_name=layers.group(layers.LANDING, CDC),
        kinds={source if source == DYNAMODB else "csv"},
        tags=about.personal_tag(any(one.personal for one in declared if one.source == source)),
        description=f"{what}: {folders}. Grain: one file per batch of changes.",
    )


def _changes(declared: Sequence[Declared]) -> dg.AssetsDefinition:
    @dg.asset(
        key=CDC_CHANGES.key,
        deps=[["landing", f"cdc_{source}"] for source in (DYNAMODB, DMS)],
        group_name=layers.group(layers.RAW, CDC),
        check_specs=[
            *guards.specs(CDC_CHANGES),
            dg.AssetCheckSpec(
                _DECLARED,
                asset=CDC_CHANGES.key,
                description="Each folder below cdc/ is that of a declared table: others are left alone.",
            ),
        ],
        io_manager_key="lake",
        pool=policies.pool(CDC),
        kinds={"arrow", "parquet", "iceberg"},
        description=CDC_CHANGES.description,
    )
    def changes(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> Iterator[Any]:
        from clickstream_assets.cdc import loading
        from clickstream_assets.cdc.apply import request_rebuild

        with platform.exclusive(CDC, f"loading {CDC_CHANGES.name}"):
            loaded = loading.stage(
                platform,
                declared,
                run_id=context.run.run_id,
                today=datetime.now(UTC).date(),
                progress=context.log.info,
            )
            for one in declared:
                if one.target in loaded.rewritten:  # said before the rows go: a change that is gone tells nothing
                    request_rebuild(platform.lake, one)
            yield _folders(loaded.others)
            yield from guards.report(context, loaded.staged, platform)

    return changes


def _folders(others: Sequence[str]) -> dg.AssetCheckResult:
    named = ", ".join(others[:_NAMED]) + (f" and {len(others) - _NAMED} more" if len(others) > _NAMED else "")
    text = f"left alone, since no such tables are declared in the file of CLICKSTREAM_CDC_TABLES: {named}"
    return dg.AssetCheckResult(
        check_name=_DECLARED,
        asset_key=CDC_CHANGES.key,
        passed=not others,
        severity=dg.AssetCheckSeverity.WARN,
        description=text if others else "all are",
    )


def _applied(declared: Declared) -> dg.AssetsDefinition:
    name = declared.name
    state, history = name.split("."), f"{name}_history".split(".")
    group = layers.group(layers.CLEANED, CDC)
    of = ".".join(part for part in (declared.schema, declared.table) if part)
    common: dict[str, Any] = {
        "deps": [CDC_CHANGES.key],
        "group_name": group,
        "kinds": {"duckdb", "parquet", "iceberg"},
        "tags": {f"personal/{column}": "" for column in declared.personal}
        | about.personal_tag(bool(declared.personal)),
    }
    specs = [
        dg.AssetSpec(
            state,
            description=f"{of} of {declared.source} as it is now: one row per row of the source.",
            metadata=_table(declared, name, made.STATE) | {"primary_key": ", ".join(declared.primary_key)},
            **common,
        ),
        dg.AssetSpec(
            history,
            description=f"All that {of} of {declared.source} has been: one row per change, valid from when it happened "
            "until the next change of the key.",
            metadata=_table(declared, f"{name}_history", made.HISTORY),
            **common,
        ),
    ]

    @dg.multi_asset(
        name=f"{CDC}_{declared.target}",
        specs=specs,
        check_specs=[
            dg.AssetCheckSpec(check, asset=state, description=description) for check, description in _WARNINGS.items()
        ],
        pool=policies.pool(CDC),
    )
    def applied(
        context: dg.AssetExecutionContext, config: ChangesConfig, platform: dg.ResourceParam[Platform]
    ) -> Iterator[Any]:
        from clickstream_assets.cdc import outcome
        from clickstream_assets.cdc.apply import apply

        run_id = context.run.run_id
        with platform.exclusive(CDC, f"applying the changes of {name}"):
            done = apply(platform, declared, run_id=run_id, replay=config.replay, progress=context.log.info)
            changed = outcome.record(platform, declared, done, run_id=run_id)
        yield from _checks(state, done)
        counts: dict[str, Any] = {
            "changes": done.changes,
            "made_anew": done.rebuilt,
            "partitions": dg.MetadataValue.md(_days(changed) or "_no new changes_"),
        }
        for key, table, snapshot in ((state, name, done.state), (history, f"{name}_history", done.history)):
            rows = outcome.rows(platform.lake, table)
            schema = _columns(declared, outcome.columns(platform.lake, table))
            yield dg.MaterializeResult(
                asset_key=key,
                metadata={
                    "snapshot": str(snapshot),
                    "dagster/row_count": rows,
                    "dagster/column_schema": dg.TableSchema(schema),
                    **counts,
                },
            )

    return applied


def _table(declared: Declared, name: str, own: Mapping[str, str]) -> dict[str, Any]:
    """What is known before any change: the columns that the declaration names, and those that every such table has."""
    said = dict.fromkeys((*declared.primary_key, *declared.columns, *declared.types, *declared.personal), "?")
    columns = _columns(declared, {**said, **declared.types, **own})
    row = [("cdc_raw", "changes", "before"), ("cdc_raw", "changes", "after")]
    of_change = {"op": "op", "valid_from": "committed_at", "_changed_at": "committed_at"} | {
        f"_{one}": one for one in ("reason", "sequence", "kind", "file_name", "source_line", "first_seen", "key")
    }
    origins: dict[str, list[Origin]] = dict.fromkeys(said, row) | {
        column: [("cdc_raw", "changes", of_change[column])] for column in own if column in of_change
    }
    return about.of_table(name, columns, origins) | {
        "dagster/storage_kind": "iceberg",
        "dagster/uri": about.lake_uri(Settings.from_environment(), name),
    }


def _columns(declared: Declared, columns: Mapping[str, str]) -> list[dg.TableColumn]:
    meanings = made.DOCS | dict.fromkeys(declared.primary_key, "Of the primary key.")
    return [
        dg.TableColumn(
            name,
            type_,
            meanings.get(name, "A column of the source."),
            tags={about.PERSONAL: ""} if name in declared.personal else {},
        )
        for name, type_ in columns.items()
    ]


def _checks(state: Sequence[str], done: "Applied") -> Iterator[dg.AssetCheckResult]:
    rejected = sum(account.rejected for account in done.accounts)
    refusals = "; ".join(refusal.sentence for refusal in done.refusals)
    differing = [load for load in done.reconciled if load.differing_before and not load.first]
    told = {
        "takes_every_change": (
            not rejected,
            f"{rejected:,} changes wait in ops.quarantine{f': {refusals}' if refusals else ''}" if rejected else "all",
        ),
        "agrees_with_full_load": (
            not differing,
            "; ".join(map(_told, done.reconciled)) or "no new full load",
        ),
        "keys_are_followed": (not done.warnings, "; ".join(done.warnings) or "every update is of a known key"),
    }
    for name, (passed, text) in told.items():
        yield dg.AssetCheckResult(
            check_name=name,
            asset_key=dg.AssetKey(state),
            passed=passed,
            severity=dg.AssetCheckSeverity.WARN,
            description=text,
        )


def _told(load: "Reconciled") -> str:
    if load.first:
        return "a full load before which nothing was there"
    return (
        f"of {load.ranges:,} key ranges {load.differing_before:,} differed from the load ({load.missing:,} keys were "
        f"missing, {load.unexpected:,} were there that it has not) and {load.differing_after:,} do now"
    )


def _days(accounts: Sequence[Any]) -> str:
    rows = [f"| {a.day} | {a.rows_in:,} | {a.rows_out:,} | {a.rejected:,} | {a.duplicate:,} |" for a in accounts]
    head = ["| first seen | in | out | rejected | duplicate |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows[-_LISTED:]]) if rows else ""


class _Undated(Landing):
    """Landing files whose folders say nothing of days."""

    def day_of(self, folder: str) -> date | None:
        """One day for all."""
        return _ANY_DAY


#: all change files, as the sensor looks at them: what is in them is told by their folders, and not here
_FILES = _Undated("cdc/{day}", Format(CDC, (), reader="", asks=""))


def _sensors() -> list[dg.SensorDefinition]:
    settings = Settings.from_environment()
    if settings.arrivals_queue:  # its sensor asks for this job too
        return []

    @dg.sensor(
        name=f"{CDC}_arrivals",
        job=jobs.changes(),
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Takes the changes of files that have landed or changed.",
    )
    def look(context: dg.SensorEvaluationContext, platform: dg.ResourceParam[Platform]) -> dg.SensorResult:
        cursors = arrivals.load(context.cursor)
        landing = arrivals.Arrivals(platform.landing, _FILES, first=_ANY_DAY, last=_ANY_DAY)
        new = landing.since(cursors.get(CDC), now_ns=time.time_ns())
        files = [file for found in new.days.values() for file in found]
        if new.left:
            context.log.info("%d more new files are left for the next looks.", new.left)
        reason = "\n".join(sorted(f"{file.path}\t{file.etag}" for file in files))
        key = hashlib.sha256(reason.encode()).hexdigest()[:16]
        return dg.SensorResult(
            run_requests=[dg.RunRequest(run_key=f"{CDC}:{key}")] if files else [],
            cursor=json.dumps({CDC: new.cursor}),
        )

    return [look]
