"""Which property is asked: Google's where one is set, else a made-up one, so that everything can be tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from clickstream_assets.errors import ClickstreamError
from clickstream_assets.ga4 import loading, pulls
from clickstream_assets.ga4.collect import Collected, collect, synthetic_allowed
from clickstream_assets.ga4.reports import REPORTS

if TYPE_CHECKING:
    from clickstream_assets.ga4.property import Property
    from clickstream_assets.platform import Platform

#: of the made-up property: its time zone where none is set
SYNTHETIC_TIME_ZONE = "Europe/Berlin"

#: a made-up day that was pulled less than this ago is not pulled again, nor one that had come to rest then
_FRESH, _AT_REST = timedelta(hours=6), timedelta(days=4)


def find(platform: Platform) -> Property | None:
    """The property to ask; None where files arrive by themselves.

    Raises:
        ClickstreamError: a property is set, and landing has made-up pulls.
    """
    settings = platform.settings
    allowed = synthetic_allowed(platform.landing)
    if settings.ga4.property_id is not None:
        if (allowed and platform.landing.files("ga4", hidden=True)) or loading.has_synthetic(platform):
            raise ClickstreamError(
                f"{settings.home} has numbers of a made-up property: set another CLICKSTREAM_HOME for the property "
                f"{settings.ga4.property_id}, and other CLICKSTREAM_LANDING_URI and CLICKSTREAM_LAKE_URI where those "
                "are set, so that they do not mix."
            )
        from clickstream_assets.ga4.client import DataApi

        return DataApi.of(settings.ga4)
    if settings.environment != "local" or not allowed or loading.has_real(platform):
        return None
    from clickstream_assets.ga4.synthetic import SyntheticProperty

    return SyntheticProperty(time_zone=settings.ga4.time_zone or SYNTHETIC_TIME_ZONE)


def collect_days(platform: Platform, days: Sequence[date], tell: Callable[[str], None]) -> Collected | None:
    """Pull all reports of these dates into landing; None where there is nobody to ask.

    Raises:
        PullsFailed: some were not pulled; the others are there.
    """
    source = find(platform)
    if source is None:
        return None
    name = loading.fixed_zone(platform) or (SYNTHETIC_TIME_ZONE if source.synthetic else None)
    if source.synthetic:
        days = [day for day in days if _wants_another(platform, day)]
    return collect(platform, days, source=source, zone=ZoneInfo(name) if name else None, tell=tell)


def days_to_collect(platform: Platform, days: Sequence[date]) -> list[date]:
    """The days of which ``collect_days`` would ask a property; nobody is asked, and nothing is written."""
    settings, today = platform.settings, datetime.now(UTC).date()
    begun = [day for day in days if day <= today]
    if settings.ga4.property_id is not None:
        return begun
    if settings.environment != "local" or not synthetic_allowed(platform.landing):
        return []
    return [day for day in begun if _wants_another(platform, day)]


def _wants_another(platform: Platform, day: date) -> bool:
    """Whether a made-up day is to be pulled again: so that running it twice gives the same."""
    now = datetime.now(UTC)
    for report in REPORTS.values():
        stamps = (pulls.stamp_of(info.path) for info in platform.landing.files(f"ga4/{report.name}/date={day}"))
        newest = max((stamp for stamp in stamps if stamp), default=None)
        if newest is None:
            return True
        at_rest = newest - datetime(day.year, day.month, day.day, tzinfo=UTC) > _AT_REST
        if not at_rest and now - newest > _FRESH:
            return True
    return False
