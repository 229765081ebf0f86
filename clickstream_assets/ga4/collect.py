"""Pulls reports day by day and lands every page as it came; what is made of them is not decided here.

A pull is all pages of a report of one day, which share a stamp: the second at which it began. Pulls are added, never
changed. Callers see to it that no other process collects into the same landing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from clickstream_assets.errors import ClickstreamError, IncompleteCollection
from clickstream_assets.ga4.property import AccessRefused, Property, PullFailed, QuotaExhausted
from clickstream_assets.ga4.reports import REPORTS, Report
from clickstream_assets.settings import known_time_zone

if TYPE_CHECKING:
    from clickstream_assets.platform import Platform
    from clickstream_assets.storage.files import Files

#: how often a report is pulled whose rows move meanwhile
TIMES = 3

#: what is in landing when its numbers are made up
MARKER = "ga4/_SYNTHETIC"

#: where answers of a property are in landing, and what AppFlow delivers of one
_ROOTS = ("ga4", "appflow/ga4")

#: failed pulls that a message names, and the reasons that it gives
_NAMED, _REASONS = 5, 3

#: the zone in which days begin first; for a property that has not said its own yet
_FIRST_ZONE = timezone(timedelta(hours=14))


@dataclass(frozen=True)
class Pull:
    """A pull that landed ``pages`` with ``rows``; ``stamp``: when it began, UTC. ``whole``: that is all there is."""

    report: str
    day: date
    stamp: datetime
    pages: int
    rows: int
    whole: bool


@dataclass(frozen=True)
class Collected:
    """What landed, in the order of pulling: also pulls that broke off, and those whose rows moved."""

    pulls: tuple[Pull, ...]
    synthetic: bool = False

    def __str__(self) -> str:
        """In a few words."""
        rows = sum(pull.rows for pull in self.pulls)
        whose = " of a made-up property, as no GA4_PROPERTY_ID is set" if self.synthetic else ""
        return f"{len(self.pulls):,} pulls with {rows:,} rows{whose}"


class PullsFailed(IncompleteCollection):
    """Some reports of some days were not pulled whole; ``collected`` is what landed nonetheless."""

    def __init__(self, message: str, collected: Collected):
        super().__init__(message)
        self.collected = collected


def utcnow() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)


def collect(
    platform: Platform,
    days: Iterable[date],
    *,
    source: Property,
    reports: Mapping[str, Report] = REPORTS,
    now: Callable[[], datetime] = utcnow,
    tell: Callable[[str], None],
    zone: ZoneInfo | None = None,
) -> Collected:
    """Pull all reports of all days that have begun in the property's ``zone``, the earliest first.

    A report that fails costs that day of it alone. Without ``zone`` the property's first response says it. ``tell`` is
    given a line for each pull.

    Raises:
        PullsFailed: some were not pulled whole; says which, why, and what to do.
        ClickstreamError: numbers that are made up would land beside real ones.
    """
    landing = platform.landing
    if source.synthetic:
        _mark(landing)
    puller = _Puller(landing, source, now, tell, zone)
    wanted = [(day, report) for day in sorted(set(days)) for report in reports.values()]
    failed: list[tuple[date, Report]] = []
    reasons: dict[str, None] = {}
    later: set[date] = set()
    for number, (day, report) in enumerate(wanted):
        if not puller.has_begun(day):
            if day not in later:
                tell(f"{day} has not begun where the property is: not pulled")
            later.add(day)
            continue
        try:
            puller.pull(report, day)
        except (QuotaExhausted, AccessRefused) as why:
            tell(str(why))
            failed += [(day, report) for day, report in wanted[number:] if puller.has_begun(day)]
            reasons[str(why)] = None
            break
        except PullFailed as why:
            tell(f"{report.name} of {day}: {why}")
            failed.append((day, report))
            reasons[str(why)] = None
    collected = Collected(tuple(puller.pulls), source.synthetic)
    if failed:
        named = ", ".join(f"{report.name} of {day}" for day, report in failed[:_NAMED])
        more = f" and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
        # The last reason is the one that ended it all, if any did.
        why_not = "; ".join(reason.rstrip(".") for reason in list(reasons)[-_REASONS:])
        raise PullsFailed(f"GA4 was not pulled whole for {named}{more}: {why_not}.", collected)
    return collected


def synthetic_allowed(landing: Files) -> bool:
    """Whether numbers that are made up may land: such are there already, or nothing at all of a property."""
    return landing.read(MARKER) is not None or not any(landing.files(root) for root in _ROOTS)


def _mark(landing: Files) -> None:
    if not synthetic_allowed(landing):
        raise ClickstreamError(
            f"{landing.root} has pulls of a real GA4 property, beside which no numbers are made up: set "
            "CLICKSTREAM_LANDING_URI to another folder, or GA4_PROPERTY_ID to the property's number."
        )
    if landing.read(MARKER) is None:
        landing.write(MARKER, b"")


class _Puller:
    """Pulls from one property into one landing; ``pulls``: what has landed."""

    def __init__(
        self,
        landing: Files,
        source: Property,
        now: Callable[[], datetime],
        tell: Callable[[str], None],
        zone: ZoneInfo | None,
    ):
        self._landing = landing
        self._source = source
        self._now = now
        self._tell = tell
        self._zone = zone
        self.pulls: list[Pull] = []

    def has_begun(self, day: date) -> bool:
        """Whether it is that day already where the property is."""
        return day <= self._now().astimezone(self._zone or _FIRST_ZONE).date()

    def pull(self, report: Report, day: date) -> None:
        """Pull until the rows stood still meanwhile.

        Raises:
            PullFailed: a page was not answered, or the pages do not make a whole.
        """
        for _ in range(TIMES):
            if self._once(report, day):
                return
        raise PullFailed(
            f"the rows moved while they were read, {TIMES} times: run the same command again later, when the property "
            "has counted that day."
        )

    def _once(self, report: Report, day: date) -> bool:
        """Pull, and say whether the rows stood still."""
        folder = f"ga4/{report.name}/date={day}"
        stamp = self._free(folder)
        pages, rows, row_count = 0, 0, 0
        seen: set[tuple[str, ...]] = set()
        whole = False
        try:
            while True:
                # Answers do not say which rows they start at: it is for the caller to count.
                body = self._source.run_report(report, day, offset=rows)
                pages += 1
                self._landing.write(_path(folder, stamp, pages), body)
                page = _Page.of(body)
                self._learn(page)
                moved = pages > 1 and (page.row_count != row_count or not seen.isdisjoint(page.keys))
                row_count = page.row_count
                rows += len(page.keys)
                if moved or rows > row_count:
                    return False
                if rows == row_count:
                    whole = True
                    return True
                if not page.keys:
                    raise PullFailed(
                        f"the answers ended after {rows:,} of {row_count:,} rows: run the same command again."
                    )
                seen.update(page.keys)
        finally:
            if pages:
                self.pulls.append(Pull(report.name, day, stamp, pages, rows, whole))
                extent = f"{rows:,} rows" if whole else f"{rows:,} of {row_count:,} rows, not whole"
                self._tell(f"{report.name} of {day}: {extent}")

    def _free(self, folder: str) -> datetime:
        """The present second, or the first after it that no other pull of the folder has."""
        taken = {info.path for info in self._landing.files(folder)}
        stamp = self._now().astimezone(UTC).replace(microsecond=0)
        while any(path.startswith(_start(folder, stamp)) for path in taken):
            stamp += timedelta(seconds=1)
        return stamp

    def _learn(self, page: _Page) -> None:
        if self._zone is None and page.time_zone is not None and known_time_zone(page.time_zone):
            self._zone = ZoneInfo(page.time_zone)


@dataclass(frozen=True)
class _Page:
    """What of a page matters for the next one. Google leaves out what is zero or empty."""

    row_count: int
    keys: list[tuple[str, ...]]
    time_zone: str | None

    @classmethod
    def of(cls, body: bytes) -> _Page:
        try:
            content: dict[str, Any] = json.loads(body)
            return cls(
                row_count=int(content.get("rowCount", 0)),
                keys=[tuple(one.get("value", "") for one in row["dimensionValues"]) for row in content.get("rows", ())],
                time_zone=content.get("metadata", {}).get("timeZone"),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise PullFailed(
                "an answer that landed is not a report as the Data API gives them: look at it, and at what answers."
            ) from error


def _start(folder: str, stamp: datetime) -> str:
    return f"{folder}/ga4_events_{stamp:%Y-%m-%d_%H%M%S}"


def _path(folder: str, stamp: datetime, page: int) -> str:
    return f"{_start(folder, stamp)}.json" if page == 1 else f"{_start(folder, stamp)}_p{page:03}.json"
