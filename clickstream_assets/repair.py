"""Which days must be made again because what they were made from has changed. No Dagster here.

Nothing is remembered between runs: raw says which snapshot last changed a day, the ledger says which one the cleaned
day was made from, and where they differ the day is pending. The CLI and the sensors ask the same function.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta

from clickstream_assets.domains import Domain
from clickstream_assets.platform import Platform

#: days recomputed for nothing are cheaper than another run, up to this many between two that are needed
MERGED_GAP = timedelta(days=7)


def pending_days(platform: Platform, domain: Domain) -> list[date]:
    """Cleaned days whose raw rows have changed since, in order."""
    raw = platform.lake.snapshot(domain.raw)
    made_from = platform.warehouse.source_snapshots(domain.cleaned.name)
    now = {file.day: raw.version(file.day) for file in raw.files}
    return sorted(day for day, version in made_from.items() if now.get(day) != version)


def ranges(days: Iterable[date]) -> list[tuple[date, date]]:
    """The fewest ranges, first and last day, that cover the days; gaps of up to 7 days are covered too."""
    merged: list[tuple[date, date]] = []
    for day in sorted(days):
        if merged and day - merged[-1][1] <= MERGED_GAP + timedelta(days=1):
            merged[-1] = (merged[-1][0], day)
        else:
            merged.append((day, day))
    return merged
