"""Which days must be made again because what they were made from has changed. No Dagster here.

Nothing is remembered between runs: raw says which snapshot last changed a day, the ledger says which one the cleaned
day was made from, and where they differ the day is pending; likewise from cleaned to the events of the models.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta

from clickstream_assets.domains import Domain
from clickstream_assets.platform import Platform
from clickstream_assets.schemas import Table

#: days recomputed for nothing are cheaper than another run, up to this many between two that are needed
MERGED_GAP = timedelta(days=7)


def pending_days(platform: Platform, domain: Domain, *, timeout: float | None = None) -> list[date]:
    """Days whose cleaned rows are not made from today's raw rows, or whose models not from today's cleaned rows.

    Raises:
        Busy: another process has the domain for itself for longer than ``timeout`` seconds.
    """
    with platform.exclusive(domain.name, "looking for days to repair", timeout=timeout):
        steps = [(feed.raw, feed.cleaned.name) for feed in domain.feeds]
        steps += [(model.source, model.name) for model in domain.row_models]
        pending = {day for source, asset in steps for day in _behind(platform, source, asset)}
    return sorted(day for day in pending if platform.settings.start_date <= day)


def _behind(platform: Platform, source: Table, asset: str) -> set[date]:
    snapshot = platform.lake.snapshot(source)
    now = {file.day: file.added for file in snapshot.files}
    made_from = platform.warehouse.source_snapshots(asset)
    return {day for day in now.keys() | made_from.keys() if now.get(day) != made_from.get(day)}


def ranges(days: Iterable[date]) -> list[tuple[date, date]]:
    """The fewest ranges, first and last day, that cover the days; gaps of up to 7 days are covered too."""
    merged: list[tuple[date, date]] = []
    for day in sorted(days):
        if merged and day - merged[-1][1] <= MERGED_GAP + timedelta(days=1):
            merged[-1] = (merged[-1][0], day)
        else:
            merged.append((day, day))
    return merged
