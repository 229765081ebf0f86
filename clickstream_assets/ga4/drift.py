"""How far past numbers moved between pulls of the same date, and whether they moved when they should not have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from clickstream_assets.errors import ClickstreamError
from clickstream_assets.ga4.reports import DATE, REPORTS, Report

if TYPE_CHECKING:
    from clickstream_assets.platform import Platform

#: days after which a date is final: dbt's ``ga4_days_until_final``
DAYS_UNTIL_FINAL = 14


def moved(platform: Platform, report_name: str, first: date, last: date) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and one row per date with two whole pulls or more, oldest first.

    Of each metric: what the newest pull says, how far that is from the first one, and that as a percentage.
    ``moved_when_final_percent``: the largest such move between pulls that were made when the date was final; null
    where there are not two of them. Sessions and users are those of the whole day, and so in ``ga_daily`` alone.

    Raises:
        ClickstreamError: there is no such report, or nothing was pulled twice.
    """
    if report_name not in REPORTS:
        raise ClickstreamError(f"There is no report {report_name!r}: choose {', '.join(REPORTS)}.")
    metrics = _metrics(REPORTS[report_name])
    found = _pulls(platform, report_name, metrics, first, last)
    rows = [_row(day, pulls, len(metrics)) for day, pulls in sorted(found.items()) if len(pulls) > 1]
    if not rows:
        raise ClickstreamError(
            f"no day from {first} to {last} has two whole pulls of {report_name} that are loaded: run them again "
            f"later, clickstream run ga4 --from {first} --to {last}."
        )
    names = [name for metric in metrics for name in (metric, f"{metric}_moved", f"{metric}_moved_percent")]
    return ["event_date", "pulls", "first_pulled_at", "last_pulled_at", *names, "moved_when_final_percent"], rows


def _metrics(report: Report) -> list[str]:
    whole_day = list(report.dimensions) == [DATE]
    return [metric.column for metric in report.metrics if metric.additive or whole_day]


def _pulls(
    platform: Platform, report: str, metrics: Sequence[str], first: date, last: date
) -> dict[date, list[tuple[Any, ...]]]:
    """By date the whole pulls, oldest first: when, then the metrics."""
    warehouse = platform.warehouse
    _, relations = warehouse.query(
        "select 1 from information_schema.tables where table_schema = 'analytics' and table_name = 'ga4_pulls'"
    )
    found: dict[date, list[tuple[Any, ...]]] = defaultdict(list)
    if relations:
        # Dates and names are the program's own: query takes no parameters.
        _, rows = warehouse.query(
            f"select event_date, pulled_at, {', '.join(metrics)} from analytics.ga4_pulls "  # noqa: S608
            f"where report = '{report}' and origin = 'data_api' and status in ('published', 'superseded') "
            f"and event_date between date '{first}' and date '{last}' order by event_date, pulled_at"
        )
        for day, *pull in rows:
            found[day].append(tuple(pull))
    return found


def _row(day: date, pulls: Sequence[tuple[Any, ...]], count: int) -> tuple[Any, ...]:
    (then, *first), (now, *last) = pulls[0], pulls[-1]
    moves = [(new, _difference(new, old), _percent(new, old)) for new, old in zip(last, first, strict=True)]
    final = [values for at, *values in pulls if _is_final(day, at)]
    between = [
        abs(percent)
        for earlier, later in pairwise(final)
        for place in range(count)
        if (percent := _percent(later[place], earlier[place])) is not None
    ]
    return (day, len(pulls), then, now, *(value for move in moves for value in move), max(between, default=None))


def _is_final(day: date, at: datetime) -> bool:
    # A day later than the view says, so that it is so in every time zone.
    return at.date() > day + timedelta(DAYS_UNTIL_FINAL + 1)


def _difference(new: int | None, old: int | None) -> int | None:
    return None if new is None or old is None else new - old


def _percent(new: int | None, old: int | None) -> float | None:
    return None if new is None or not old else round((new - old) / old * 100, 2)
