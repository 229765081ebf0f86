"""Guards as Dagster knows them: specs for an asset's blocking checks, and the events of a step that staged its rows.

A guard is evaluated on staged files, before the IO manager publishes them. A failed one is reported as a check result
and ends the step; the published table stays as it was. A check that runs after the fact belongs elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from clickstream_assets.platform import Platform
from clickstream_assets.schemas import Table
from clickstream_assets.storage.staged import GUARDS, Account, Check, Staged

#: partitions listed one by one in the metadata of a run
_LISTED = 60


def specs(table: Table) -> list[dg.AssetCheckSpec]:
    """The checks that ``report`` will report for an asset."""
    return [
        dg.AssetCheckSpec(name, asset=table.key, blocking=True, description=description)
        for name, description in GUARDS.items()
    ]


def definition_metadata(table: Table) -> dict[str, Any]:
    """What the registry knows of a table, as the UI shows it: its name and its columns."""
    columns = [dg.TableColumn(c.name, c.type, c.description) for c in table.columns]
    return {
        "dagster/table_name": table.warehouse or table.external or table.lake,
        "dagster/column_schema": dg.TableSchema(columns),
    }


def report(
    context: dg.AssetExecutionContext, staged: Staged, platform: Platform
) -> Iterator[dg.AssetCheckResult | dg.Output[Staged]]:
    """Check results, then the output with its metadata.

    Raises:
        dagster.Failure: a blocking check failed; retrying would find the same rows.
    """
    checks = staged.checks(rejected_share=platform.settings.rejected_share)
    rejects = platform.lake.preview(staged.quarantine)
    for check in checks:
        yield dg.AssetCheckResult(
            check_name=check.name,
            asset_key=staged.table.key,
            passed=check.passed,
            description=check.description,
            metadata={**check.metadata, **_where(rejects)},
        )
    failed = [check for check in checks if not check.passed]
    if failed:
        raise _failure(staged.table, failed)
    asked = set(context.partition_keys)
    for account in staged.accounts:
        if account.day.isoformat() in asked:
            context.add_asset_metadata(_of_partition(account), staged.table.key, account.day.isoformat())
    yield dg.Output(staged, metadata=_of_run(staged, platform))


def _failure(table: Table, failed: list[Check]) -> dg.Failure:
    reasons = "; ".join(f"{check.name}: {check.description}" for check in failed)
    return dg.Failure(f"{table.name} was not published: {reasons}.", allow_retries=False)


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
    if preview := platform.lake.preview(staged.files):
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
