"""Policies, by name: when Dagster makes what lies below raw without being asked, and what it makes at the same time.

The sensor ``<domain>_repairs`` evaluates the conditions (``defs/repairs.py``). Add one here when an asset must be made
at another moment than these.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import dagster as dg

from clickstream_assets import domains, repair
from clickstream_assets.errors import Busy
from clickstream_assets.platform import Platform
from clickstream_assets.settings import Settings


@dataclass(frozen=True)
class MadeFromOlderRows(dg.AutomationCondition[dg.AssetKey]):
    """True for the days of a domain that ``repair.pending_days`` names: the rows that they were made from have changed.

    While a step has the domain for itself nothing is true: it may be the one that makes the day.
    """

    domain: str

    @property
    def name(self) -> str:
        """How the UI calls it."""
        return "made_from_older_rows"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        """The candidates that are pending for rows for which they were not asked for yet."""
        asked: dict[str, str] = json.loads(context.cursor or "{}")
        pending = _pending(self.domain, context.evaluation_time.isoformat())
        if pending is None:
            return dg.AutomationResult(context, context.get_empty_subset(), cursor=json.dumps(asked))
        changed = {day for day, rows in pending.items() if asked.get(day) != rows}
        true = context.candidate_subset.compute_intersection_with_partition_keys(changed)
        now = set(true.expensively_compute_partition_keys())
        asked = {day: rows if day in now else asked[day] for day, rows in pending.items() if day in now or day in asked}
        return dg.AutomationResult(context, true, cursor=json.dumps(asked))


#: by home and domain: the lake's versions for which no day was pending. A Redshift that is asked twice a minute whether
#: that is still so never falls asleep, at 3 dollars an hour.
_SETTLED: dict[tuple[Path, str], tuple[int | None, ...]] = {}


@lru_cache(maxsize=8)
def _pending(domain: str, evaluation: str) -> dict[str, str] | None:
    """Looked up once for all assets of an evaluation; None while a step has the domain."""
    platform = Platform(Settings.from_environment())
    place, versions = (platform.settings.home, domain), repair.lake_versions(platform, domains.domain(domain))
    if _SETTLED.get(place) == versions:
        return {}
    try:
        found = repair.pending(platform, domains.domain(domain), timeout=0)
    except Busy:
        return None
    if not found:
        _SETTLED[place] = versions
    return {str(day): rows for day, rows in found.items()}


def when_rows_change(domain: str) -> dg.AutomationCondition[dg.AssetKey]:
    """Once for each change of a day's rows, when nobody is making the day."""
    # The last operand: what is true of it is requested.
    return (~dg.AutomationCondition.in_progress() & MadeFromOlderRows(domain)).with_label("when_rows_change")


#: metadata of a page: when its tables were read, in seconds since 1970
READ_AT = "read_at"


@dataclass(frozen=True)
class OlderThanItsTables(dg.AutomationCondition[dg.AssetKey]):
    """True for a page when a table that it shows was made after the page had begun to read; once per change.

    Dagster's ``any_deps_updated().since(…)`` would miss a table that is made while the page is, or in the same half
    minute: the sensor then sees both at once.
    """

    @property
    def name(self) -> str:
        """How the UI calls it."""
        return "older_than_its_tables"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        """Its candidate, for events of its tables for which it was not asked for yet."""
        asked = int(context.cursor or 0)
        if context.candidate_subset.is_empty:  # somebody is at work on it: what was not asked for is not noted as such
            return dg.AutomationResult(context, context.get_empty_subset(), cursor=str(asked))
        tables = context.asset_graph.get(context.key).parent_keys
        instance = context.asset_graph_view.instance
        records = {record.asset_entry.asset_key: record.asset_entry for record in instance.get_asset_records(
            [context.key, *tables])}  # fmt: skip
        made = [
            entry.last_materialization_record
            for key, entry in records.items()
            if key != context.key and entry.last_materialization_record is not None
        ]
        last = records[context.key].last_materialization if context.key in records else None
        page = last.asset_materialization if last is not None else None
        read_at = page.metadata.get(READ_AT) if page is not None else None
        since = float(str(read_at.value)) if read_at is not None else 0.0
        newest = max((record.storage_id for record in made if record.timestamp > since), default=0)
        if newest <= asked:
            return dg.AutomationResult(context, context.get_empty_subset(), cursor=str(asked))
        return dg.AutomationResult(context, context.candidate_subset, cursor=str(newest))


def when_tables_change() -> Any:
    """Once for each change of what a page shows, when nobody is making the page or one of its tables."""
    condition = dg.AutomationCondition
    # The last operand: what is true of it, among the candidates that the others leave, is requested.
    return (~condition.in_progress() & ~condition.any_deps_in_progress() & OlderThanItsTables()).with_label(
        "when_tables_change"
    )


def pool(domain: str) -> str | None:
    """The pool of a domain's steps, of which one works at a time, on whichever machine: so does each of its tables.

    None with DuckDB, which one machine has: a file lock says the same there, and the kernel takes it from a process
    that was killed, where a place in a pool has to be freed.
    """
    return domain if Settings.from_environment().redshift else None
