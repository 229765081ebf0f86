"""Which days must be made again because what they were made from has changed. No Dagster here.

Nothing is remembered between runs: the ledger says from which rows a cleaned day was made, raw says which it has now,
and where they differ the day is pending; likewise from cleaned to the events of the models.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING

from clickstream_assets.days import last_day
from clickstream_assets.domains import Domain
from clickstream_assets.platform import Platform
from clickstream_assets.storage.staged import Account

if TYPE_CHECKING:
    from clickstream_assets.storage.lake import Snapshot


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
        raw = [platform.lake.snapshot(feed.raw, by=feed.cleaned.day) for feed in domain.feeds]
        made_from = {feed.cleaned.name: now for feed, now in zip(domain.feeds, raw, strict=True)}
        made_from |= {model.name: platform.lake.snapshot(model.source) for model in domain.row_models}
        made = platform.warehouse.accounts_of(made_from)
    behind = {day for asset, now in made_from.items() for day in _behind(now, made[asset])}
    first, last = platform.settings.start_date, last_day()
    return {
        day: " ".join(f"{now.version(day)}:{now.rows(day)}" for now in raw) for day in behind if first <= day <= last
    }


def lake_versions(platform: Platform, domain: Domain) -> tuple[int | None, ...]:
    """The snapshots of a domain's tables: as long as they are the same, no day becomes pending."""
    return tuple(platform.lake.version(table) for table in domain.tables)


def _behind(now: Snapshot, made: Mapping[date, Account]) -> set[date]:
    """The days on which the rows are others now than those that an account names."""
    nothing = Account(date.min, 0, 0)
    was = {day: made.get(day, nothing) for day in now.days | made.keys()}
    return {day for day, account in was.items() if now.since(day, account.source_snapshot, account.rows_in) != []}
