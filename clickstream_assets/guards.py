"""Guards as Dagster knows them: specs for an asset's blocking checks, and the events of a step that staged its rows.

A guard is evaluated on staged files, before they are published. A failed one is reported as a check result and keeps
its days from being published; those stay as they were. A check that runs after the fact belongs elsewhere.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg

from clickstream_assets import partitions
from clickstream_assets.platform import Platform
from clickstream_assets.schemas import QUARANTINE, Table
from clickstream_assets.storage import publishing
from clickstream_assets.storage.staged import (
    CONTRACT,
    GUARDS,
    PRIVACY,
    PULL_WARNINGS,
    PULLS,
    TOTALS,
    Account,
    Check,
    Staged,
    StagedFile,
)

if TYPE_CHECKING:
    import pyarrow.parquet as pq

#: files that are searched at the same time
_THREADS = 2

#: partitions listed one by one in the metadata of a run
_LISTED = 60

#: metadata of a check: the days on which it failed
FAILED_DAYS = "failed_days"

#: days named in a message
_NAMED = 5


def specs(table: Table) -> list[dg.AssetCheckSpec]:
    """The checks that ``report`` will report for an asset."""
    return [
        dg.AssetCheckSpec(name, asset=table.key, blocking=name not in PULL_WARNINGS, description=description)
        for name, description in _guards(table).items()
    ]


def _guards(table: Table) -> dict[str, str]:
    wanted = (
        (PRIVACY, table.pseudonymous),
        (PULLS, table.pulled),
        (CONTRACT, table.contract),
        (TOTALS, bool(table.totals)),
    )
    return GUARDS | {name: text for guards, has in wanted if has for name, text in guards.items()}


def report(
    context: dg.AssetExecutionContext, staged: Staged, platform: Platform
) -> Iterator[dg.AssetCheckResult | dg.Output[Staged]]:
    """Check results, then the output with its metadata.

    A day on which a guard fails stays as it was, and costs itself alone: the other days are published. If it is one of
    the run's partitions the step fails; if it is one that the run only repairs, the step goes on without it.

    Raises:
        dagster.Failure: a guard failed on a partition of the run; retrying would find the same rows.
    """
    by_partition = context.assets_def.partitions_def is not None  # else all days are asked for
    # What has no partitions has many sources: a bad file of one must not keep the others from their rows.
    limit = platform.settings.rejected_share if by_partition else 1.0
    checks = staged.checks(rejected_share=limit)
    if staged.table.pseudonymous:
        checks.append(_no_personal_data(staged, platform))
    if staged.table.contract:
        checks.append(_keeps_contract(staged, platform))
    failed = {day for check in checks if not check.warns for day in check.failed}
    sound = staged.without(failed)
    if len(sound.days) < len(staged.days):
        kept = [*sound.quarantine, *sound.kept_quarantine]
        sound = replace(sound, rejected_by_rule=platform.lake.count_values(kept, "rule"))
    asked = set(partitions.days(context.partition_keys)) if by_partition else set(staged.days)
    stops = bool(asked - set(sound.days))
    rejects = sorted([*staged.quarantine, *staged.kept_quarantine], key=lambda file: (file.day not in failed, file.day))
    shown = platform.lake.preview(rejects)
    for check in checks:
        yield dg.AssetCheckResult(
            check_name=check.name,
            asset_key=staged.table.key,
            passed=check.passed,
            severity=dg.AssetCheckSeverity.ERROR if stops and not check.warns else dg.AssetCheckSeverity.WARN,
            description=check.description,
            metadata={**check.metadata, FAILED_DAYS: sorted(map(str, check.failed)), **_where(shown)},
        )
    if stops:
        if sound.days:
            publishing.publish(platform.lake, platform.warehouse, sound)
            for event in materializations(sound, set(sound.days)) if by_partition else ():
                context.log_event(event)
        raise _failure(staged, sound, checks)
    for account in sound.accounts:
        if by_partition and account.day in asked:
            context.add_asset_metadata(_of_partition(account), staged.table.key, account.day.isoformat())
    yield dg.Output(sound, metadata=_of_run(sound, platform))


def _no_personal_data(staged: Staged, platform: Platform) -> Check:
    """Look for addresses in every text of the staged rows and rejects; says where they are, and not what."""
    import pyarrow.parquet as pq

    from clickstream_assets import privacy

    def look(table: Table, file: StagedFile) -> tuple[date, set[str]]:
        with platform.lake.files.open_random(file.path) as source:
            repeating = _repeating(pq.read_metadata(source))
            leaks = privacy.scan(pq.ParquetFile(source, read_dictionary=repeating))
            return file.day, {f"{table.name}.{column}" for column in leaks}

    files = [(staged.table, file) for file in staged.files] + [(QUARANTINE, file) for file in staged.quarantine]
    found: dict[date, set[str]] = {}
    with ThreadPoolExecutor(_THREADS) as threads:
        for day, columns in threads.map(look, *zip(*files, strict=True)) if files else ():
            if columns:
                found.setdefault(day, set()).update(columns)
    where = ", ".join(sorted(set().union(*found.values())))
    text = (
        f"e-mail or IP addresses in {where} of {', '.join(map(str, sorted(found)[:_NAMED]))}; "
        "this is a defect of the redaction, please report it"
        if found
        else f"none in {len(staged.files) + len(staged.quarantine)} file(s)"
    )
    return Check("no_personal_data", frozenset(found), text)


def _keeps_contract(staged: Staged, platform: Platform) -> Check:
    """Look at the rows of each day; says which checks do not hold and for how many rows, and nothing of what is there.

    The files of a day are looked at together, since a key may be in two of them.
    """
    from clickstream_assets import contract

    files: dict[date, list[contract.Opened]] = defaultdict(list)
    for file in (*staged.files, *staged.kept):
        files[file.day].append(partial(platform.lake.files.open_random, file.path))
    with ThreadPoolExecutor(_THREADS) as threads:
        looked_at = dict(zip(files, threads.map(partial(contract.breaches, staged.table), files.values()), strict=True))
    found = {day: breaches for day, breaches in looked_at.items() if breaches}
    every = sum(found.values(), Counter[contract.Breach]())
    what = ", ".join(f"{breach} ({rows:,})" for breach, rows in every.most_common())
    text = (
        f"of {', '.join(map(str, sorted(found)[:_NAMED]))}: {what}; this is a defect of the transform, please report it"
        if found
        else f"kept on {len(files)} day(s)"
    )
    return Check("keeps_contract", frozenset(found), text, {str(breach): rows for breach, rows in every.items()})


def _repeating(footer: pq.FileMetaData) -> list[str]:
    """Texts that a file holds as a dictionary, mostly: each of its entries is looked at once."""
    if not footer.num_row_groups:
        return []
    group = footer.row_group(0)
    columns = [group.column(n) for n in range(footer.num_columns)]
    return [
        column.path_in_schema
        for column in columns
        if column.physical_type == "BYTE_ARRAY" and column.total_uncompressed_size < 16 * column.num_values
    ]


def materializations(staged: Staged, days: Collection[date]) -> Iterator[dg.AssetMaterialization]:
    """For published days that Dagster does not log by itself: the step fails, or the run did not ask for them."""
    for account in staged.accounts:
        if account.day in days:
            yield dg.AssetMaterialization(
                staged.table.key, partition=account.day.isoformat(), metadata=_of_partition(account)
            )


def _failure(staged: Staged, sound: Staged, checks: Sequence[Check]) -> dg.Failure:
    reasons = "; ".join(
        f"{check.name}: {check.description}" for check in checks if not check.passed and not check.warns
    )
    left_out = sorted(set(staged.days) - set(sound.days))
    days = ", ".join(map(str, left_out[:_NAMED])) + (", …" if len(left_out) > _NAMED else "")
    rest = " The other days of the run are published, and the next run goes on with them." if sound.days else ""
    return dg.Failure(f"{staged.table.name} was not published for {days}: {reasons}.{rest}", allow_retries=False)


def _where(rejects: list[dict[str, Any]]) -> dict[str, dg.MetadataValue[Any]]:
    """Where the first rejected records stand; not what is in them."""
    rows = [{name: reject[name] for name in ("rule", "source_file", "source_line")} for reject in rejects]
    return {"first_rejected": dg.MetadataValue.md(_markdown(rows))} if rows else {}


def _of_partition(account: Account) -> dict[str, Any]:
    return {
        "rows_in": account.rows_in,
        "rows": account.rows_out,
        "rejected": account.rejected,
        "dagster/partition_row_count": account.rows_out,
    }


def _of_run(staged: Staged, platform: Platform) -> dict[str, Any]:
    """What is known of all partitions of the run together."""
    metadata: dict[str, Any] = {
        "partitions": _partitions(staged.accounts),
        "rejected_by_rule": dict(staged.rejected_by_rule),
        "nulls": platform.lake.null_counts(staged.files),
    }
    # Names of persons are in their table, and not in Dagster's log of events.
    hidden = {*staged.table.personal, "extra"} if staged.table.personal else set()
    preview = [
        {name: value for name, value in row.items() if name not in hidden}
        for row in platform.lake.preview(staged.files)
    ]
    if preview:
        metadata["preview"] = dg.MetadataValue.md(_markdown(preview))
    return metadata


def _partitions(accounts: Sequence[Account]) -> dg.MetadataValue[Any]:
    listed = [account for account in accounts if account.rows_in][:_LISTED]
    rows = [
        {"partition": a.day.isoformat(), "in": a.rows_in, "out": a.rows_out, "rejected": a.rejected} for a in listed
    ]
    return dg.MetadataValue.md(_markdown(rows) if rows else "_nothing landed_")


def _markdown(rows: list[dict[str, Any]]) -> str:
    def cell(value: object) -> str:
        return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")[:60]

    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([cell(row[name]) for name in names] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
