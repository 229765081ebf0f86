"""Which days must be made again because what they were made from has changed. No Dagster here.

Nothing is remembered between runs: raw says which snapshot last changed a day, the ledger says which one the cleaned
day was made from, and where they differ the day is pending; likewise from cleaned to the events of the models.
"""

from __future__ import annotations

from datetime import date

from clickstream_assets.domains import Domain
from clickstream_assets.platform import Platform
from clickstream_assets.schemas import Table


def pending_days(platform: Platform, domain: Domain, *, timeout: float | None = None) -> list[date]:
    """Days whose cleaned rows are not made from today's raw rows, or whose models not from today's cleaned rows.

    Raises:
        Busy: another process has the domain for itself for longer than ``timeout`` seconds.
    """
    return sorted(pending(platform, domain, timeout=timeout))


def pending(platform: Platform, domain: Domain, *, timeout: float | None = None) -> dict[date, str]:
    """The days of ``pending_days``, each with the raw snapshots that hold its rows: another text is another change."""
    what = "looking for days to repair"
    with platform.exclusive(domain.name, what, timeout=timeout), platform.warehouse.locked(what, timeout=timeout):
        raw = [_versions(platform, feed.raw) for feed in domain.feeds]
        behind = {
            day
            for feed, now in zip(domain.feeds, raw, strict=True)
            for day in _behind(platform, now, feed.cleaned.name)
        }
        for model in domain.row_models:
            behind |= _behind(platform, _versions(platform, model.source), model.name)
    first = platform.settings.start_date
    return {day: " ".join(str(now.get(day)) for now in raw) for day in behind if first <= day}


def lake_versions(platform: Platform, domain: Domain) -> tuple[int | None, ...]:
    """The snapshots of a domain's tables: as long as they are the same, no day becomes pending."""
    tables = [table for feed in domain.feeds for table in (feed.raw, feed.cleaned)]
    return tuple(platform.lake.version(table) for table in tables)


def _versions(platform: Platform, table: Table) -> dict[date, int]:
    return {file.day: file.added for file in platform.lake.snapshot(table).files}


def _behind(platform: Platform, now: dict[date, int], asset: str) -> set[date]:
    made_from = platform.warehouse.source_snapshots(asset)
    return {day for day in now.keys() | made_from.keys() if now.get(day) != made_from.get(day)}
