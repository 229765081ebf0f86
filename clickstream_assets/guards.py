"""Guards as Dagster knows them: specs for an asset's blocking checks, and the events of a step that staged its rows.

A guard is evaluated on staged files, before the IO manager publishes them. A failed one is reported as a check result
and ends the step; the published table stays as it was. A check that runs after the fact belongs elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
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


def report(staged: Staged, platform: Platform) -> Iterator[dg.AssetCheckResult | dg.Output[Staged]]:
    """Check results, then the output with its metadata.

    Raises:
        dagster.Failure: a blocking check failed; retrying would find the same rows.
    """
    checks = staged.checks(rejected_share=platform.settings.rejected_share)
    for check in checks:
        yield dg.AssetCheckResult(
            check_name=check.name,
            asset_key=staged.table.key,
            passed=check.passed,
            description=check.description,
            metadata=dict(check.metadata),
        )
    failed = [check for check in checks if not check.passed]
    if failed:
        raise _failure(staged.table, failed)
    yield dg.Output(staged, metadata=_metadata(staged, platform))


def _failure(table: Table, failed: list[Check]) -> dg.Failure:
    reasons = "; ".join(f"{check.name}: {check.description}" for check in failed)
    return dg.Failure(f"{table.name} was not published: {reasons}.", allow_retries=False)


def _metadata(staged: Staged, platform: Platform) -> dict[str, Any]:
    rows = sum(account.rows_out for account in staged.accounts)
    metadata: dict[str, Any] = {
        "rows_in": sum(account.rows_in for account in staged.accounts),
        "rows": rows,
        "rejected": sum(account.rejected for account in staged.accounts),
        "rejected_by_rule": dict(staged.rejected_by_rule),
        "nulls": platform.lake.null_counts(staged.files),
        "partitions": _partitions(staged.accounts),
    }
    if len(staged.accounts) == 1:
        metadata["dagster/partition_row_count"] = rows
    if preview := platform.lake.preview(staged.files):
        metadata["preview"] = dg.MetadataValue.md(_markdown(preview))
    return metadata


def _partitions(accounts: list[Account] | Any) -> dg.MetadataValue:
    listed = [a for a in accounts if a.rows_in][:_LISTED]
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
