"""A made-up GA4 property: answers as Google's Data API does, of a small shop that nobody visits.

A finished day is drawn once, as visits: a visit belongs to a user, comes from one source and sees some pages, and every
page seen is one hit with its views and events. A report groups the hits. So views and events add up over all reports of
a day, while users and sessions are counted apart in each row and do not. What the property tells of a day depends on
the seed, the rows of a day, the day and its age alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from clickstream_assets.ga4.property import PAGE_ROWS, PullFailed
from clickstream_assets.ga4.reports import Report

Ints: TypeAlias = npt.NDArray[np.int64]

GROWS_FROM = date(2024, 1, 1)
GROWTH = 1.0003  # of the hits beyond the first of a row, from one day to the next
GROWS_DAYS = 3_650  # before and after; further off nothing grows
WEEKDAYS = (1.1, 1.05, 1.05, 1.0, 0.95, 0.7, 0.8)
EXTRA_HITS = 1.6  # beyond the one that every row has, to a row, on an ordinary day
MORE_PAGES = 0.55  # how often a visit goes on to another page
SEEN = (0.6, 0.977, 0.985)  # share of a day's hits that is told on the day itself and on the next two; then all
RELABELLED_DAYS = 2  # for so many days, the day itself included, some visits have a provisional source

NO_PAGE = "(not set)"  # of events that are sent without a page, and so without a view
NAMED_PAGES = (
    "/",
    "/shop",
    "/shop/sale",
    "/search",
    "/cart",
    "/checkout",
    "/checkout/thanks",
    "/guide/größentabelle",
    "/shipping-and-returns",
    "/about",
    "/contact",
    NO_PAGE,
)
SHELVES = ("shoes", "jackets", "bags", "tents", "shirts", "lamps")

SOURCES: dict[tuple[str, str], float] = {  # source and medium: how many of the visits
    ("google", "organic"): 30,
    ("(direct)", "(none)"): 20,
    ("google", "cpc"): 14,
    ("newsletter", "email"): 10,
    ("bing", "organic"): 5,
    ("m.facebook.com", "referral"): 4,
    ("instagram", "paid_social"): 4,
    ("t.co", "referral"): 3,
    ("duckduckgo", "organic"): 2.5,
    ("bing", "cpc"): 2,
    ("partner-news.example", "referral"): 1.5,
    ("pinterest.com", "referral"): 1.2,
    ("autumn-flyer", "qr"): 0.8,
    ("affiliates.example", "affiliate"): 0.6,
    ("ecosia.org", "organic"): 0.5,
    ("chatgpt.com", "(not set)"): 0.4,
}
PROVISIONAL: dict[tuple[str, str], tuple[tuple[str, str], float]] = {  # of which source: told at first, in what share
    ("newsletter", "email"): (("(not set)", "(not set)"), 0.5),
    ("google", "cpc"): (("google", "organic"), 0.1),
}

# An answer's rows, as Google breaks their lines.
_DIMENSION = '\n        {\n          "value": %s\n        }'
_METRIC = '\n        {\n          "value": "%d"\n        }'
_ROW = '    {{\n      "dimensionValues": [{}\n      ],\n      "metricValues": [{}\n      ]\n    }}'

# Allowances of a standard property by how long they last, with what is left when nothing was asked.
_TOKENS = {"tokensPerDay": 200_000, "tokensPerHour": 40_000, "tokensPerProjectPerHour": 14_000}
_OTHERS = {
    "concurrentRequests": 10,
    "serverErrorsPerProjectPerHour": 10,
    "potentiallyThresholdedRequestsPerHour": 120,
}
_QUOTA_ZONE = ZoneInfo("America/Los_Angeles")  # whose midnight fills up the day's tokens


@dataclass(frozen=True)
class Visits:
    """What is visited on a day, where that is not what the property itself makes up.

    ``pages``, ``sources``: how much each is visited; the sources are those of ``SOURCES``. ``extra_hits``: beyond the
    one that every row has, to a row.
    """

    pages: Mapping[str, float]
    sources: Mapping[tuple[str, str], float]
    extra_hits: float


def utcnow() -> datetime:
    """This moment."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class _Hits:
    """The hits of a finished day, one element a hit; `codes` point into `labels`, which are sorted."""

    labels: dict[str, list[str]]  # by dimension
    codes: dict[str, Ints]
    at_first: dict[str, Ints]  # as long as the sources are provisional
    session: Ints
    user: Ints
    views: Ints
    events: Ints
    order: Ints  # place in the order in which Google comes to know them: 0, 1, …


@dataclass(frozen=True)
class _Answer:
    """All rows of a report, column by column; dimensions as JSON text."""

    dimensions: list[list[str]]
    metrics: list[list[int]]
    rows: int


class SyntheticProperty:
    """A property whose numbers are made up and say so: every answer has the key ``synthetic``.

    A finished day has exactly ``rows_per_day`` rows by page, source and medium. Numbers move as Google's do: a day in
    progress has about 60 % of them and fewer rows, the next two days 97 to 99 %; for two days some visits have a
    provisional source, so rows vanish when it is corrected. Neither quotas nor errors stop it.
    """

    synthetic = True

    def __init__(
        self,
        rows_per_day: int = 250,
        seed: int = 0,
        time_zone: str = "Europe/Berlin",
        now: Callable[[], datetime] = utcnow,
        visits: Visits | None = None,
    ) -> None:
        if rows_per_day < 1 or seed < 0:
            raise ValueError(f"Rows per day must be at least 1 and the seed 0 or more, not {rows_per_day} and {seed}.")
        self._rows, self._seed, self._zone, self._now = rows_per_day, seed, ZoneInfo(time_zone), now
        self._visits = visits
        self._drawn: tuple[date, _Hits] | None = None
        self._answered: tuple[object, _Answer] | None = None
        self._consumed: dict[str, tuple[object, int]] = {}  # by allowance: the day or hour, and its tokens

    def run_report(self, report: Report, day: date, *, offset: int, limit: int = PAGE_ROWS) -> bytes:
        """One page of a report of one day, in the property's time zone, ordered by all dimensions.

        A day that has not begun has no rows. More than ``PAGE_ROWS`` rows are not given, however many are asked for.

        Raises:
            PullFailed: the report has a dimension or metric that is not made up, or there is no such page.
        """
        known = {"date", "pagePath", "source", "medium", "sessions", "totalUsers", "screenPageViews", "eventCount"}
        if unknown := [name for name in report.columns if name not in known]:
            raise PullFailed(
                f"The synthetic property does not know {', '.join(unknown)}: take it out of the report "
                f"{report.name}, or set GA4_PROPERTY_ID to ask Google."
            )
        if offset < 0 or limit < 1:
            raise PullFailed(
                f"There is no page of {limit} rows from row {offset} on: ask for one row or more, from row 0 on."
            )
        now = self._now()
        age = (now.astimezone(self._zone).date() - day).days
        answer = self._answer(report, day, age) if age >= 0 else _Answer([], [], 0)
        page = slice(offset, min(offset + min(limit, PAGE_ROWS), answer.rows))
        head: dict[str, Any] = {
            "synthetic": True,
            "dimensionHeaders": [{"name": name} for name in report.dimensions],
            "metricHeaders": [{"name": metric.name, "type": "TYPE_INTEGER"} for metric in report.metrics],
        }
        tail: dict[str, Any] = {"rowCount": answer.rows} if answer.rows else {}
        tail |= {
            "metadata": {"currencyCode": "EUR", "timeZone": self._zone.key},
            "propertyQuota": self._quota(now, rows=max(page.stop - page.start, 0)),
            "kind": "analyticsData#runReport",
        }
        return _body(head, answer, page, tail)

    def _answer(self, report: Report, day: date, age: int) -> _Answer:
        # Kept for the next page of the same report.
        asked = (tuple(report.columns), day, min(age, len(SEEN)))
        answered = self._answered
        if answered is None or answered[0] != asked:
            drawn = self._drawn
            if drawn is None or drawn[0] != day:
                self._drawn = drawn = day, _draw(day, self._rows, self._seed, self._visits)
            self._answered = answered = asked, _grouped(drawn[1], report, age)
        return answered[1]

    def _quota(self, now: datetime, rows: int) -> dict[str, dict[str, int]]:
        tokens = 1 + rows // 5_000
        quota = {}
        for name, allowed in _TOKENS.items():
            local = now.astimezone(_QUOTA_ZONE if name == "tokensPerDay" else UTC)
            window = local.date() if name == "tokensPerDay" else local.replace(minute=0, second=0, microsecond=0)
            before, consumed = self._consumed.get(name, (window, 0))
            consumed = tokens + (consumed if before == window else 0)
            self._consumed[name] = window, consumed
            quota[name] = {"consumed": tokens, "remaining": max(allowed - consumed, 0)}
        return quota | {name: {"consumed": 0, "remaining": allowed} for name, allowed in _OTHERS.items()}


@cache
def _pages(rows: int) -> tuple[str, ...]:
    """Page paths from the most to the least viewed; a day's rows are a third of their pairs with sources, or less."""
    count = max(len(NAMED_PAGES) + len(SHELVES), -(-3 * rows // len(SOURCES)))
    products = (f"/shop/{SHELVES[n % len(SHELVES)]}/{1001 + n}" for n in range(count - len(NAMED_PAGES)))
    return *NAMED_PAGES, *products


def _draw(day: date, rows: int, seed: int, visits: Visits | None) -> _Hits:
    """The hits of a finished day, of exactly so many different pairs of page and source."""
    rng = np.random.default_rng([seed, day.toordinal(), rows])
    if visits is None:
        pages = _pages(rows)
        weight = np.outer((np.arange(len(pages)) + 3.0) ** -0.8, list(SOURCES.values())).ravel()
    else:
        pages = tuple(visits.pages)
        weight = np.outer(list(visits.pages.values()), [visits.sources[source] for source in SOURCES]).ravel()
    # The pairs that are seen today: the first of a race in which the popular ones run faster.
    arrival = rng.exponential(size=weight.size) / weight
    pairs = np.sort(np.argpartition(arrival, rows - 1)[:rows])
    shares = weight[pairs] / weight[pairs].sum()
    pace = WEEKDAYS[day.weekday()] * GROWTH ** min(max((day - GROWS_FROM).days, -GROWS_DAYS), GROWS_DAYS)
    extra = EXTRA_HITS * pace if visits is None else visits.extra_hits
    more = rng.choice(pairs, size=round(rows * extra), p=shares)
    pair = np.concatenate([pairs, more])
    page, source = np.divmod(pair[rng.permutation(pair.size)], len(SOURCES))
    by_source = np.argsort(source, kind="stable")
    page, source = page[by_source], source[by_source]
    begins = rng.random(pair.size) > MORE_PAGES
    begins |= np.diff(source, prepend=-1) != 0
    session = np.cumsum(begins) - 1
    sessions = int(session[-1]) + 1
    users = rng.integers(2 * sessions, size=sessions)  # some come more than once
    views = np.where(page == NAMED_PAGES.index(NO_PAGE), 0, 1 + rng.binomial(2, 0.08, pair.size))
    events = np.maximum(views, 1) + begins + rng.poisson(1.8, pair.size)

    final = list(SOURCES)
    labels = {"date": [day.isoformat().replace("-", "")], "pagePath": sorted(pages)}
    place = {path: n for n, path in enumerate(labels["pagePath"])}
    told = source.copy()  # beyond the final sources: the provisional ones
    for n, (of_source, (_, share)) in enumerate(PROVISIONAL.items()):
        changes = (rng.random(sessions) < share)[session] & (source == final.index(of_source))
        told[changes] = len(final) + n
    both = [*final, *(label for label, _ in PROVISIONAL.values())]
    codes = {"date": np.zeros(pair.size, np.int64), "pagePath": np.array([place[path] for path in pages])[page]}
    at_first = codes.copy()
    for n, name in enumerate(("source", "medium")):
        labels[name] = sorted({label[n] for label in both})
        code = np.array([labels[name].index(label[n]) for label in both])
        codes[name], at_first[name] = code[source], code[told]
    # Google comes to know visits, not single hits.
    order = np.empty(pair.size, np.int64)
    order[np.argsort(rng.permutation(sessions)[session], kind="stable")] = np.arange(pair.size)
    return _Hits(labels, codes, at_first, session, users[session], views, events, order)


def _grouped(hits: _Hits, report: Report, age: int) -> _Answer:
    """A report of the hits that are known of a day at an age, in days."""
    codes = hits.codes if age >= RELABELLED_DAYS else hits.at_first
    seen = hits.order < math.ceil(hits.order.size * SEEN[age]) if age < len(SEEN) else np.full(hits.order.size, True)
    key = np.zeros(int(seen.sum()), np.int64)
    for name in report.dimensions:
        key = key * len(hits.labels[name]) + codes[name][seen]
    groups, row = np.unique(key, return_inverse=True)

    def distinct(of_hit: Ints) -> Ints:
        """How many different ones each row has."""
        size = int(of_hit.max()) + 1
        counts: Ints = np.bincount(np.unique(row * size + of_hit[seen]) // size, minlength=groups.size)
        return counts

    def total(of_hit: Ints) -> Ints:
        sums: Ints = np.bincount(row, weights=of_hit[seen], minlength=groups.size).astype(np.int64)
        return sums

    measured: dict[str, Callable[[], Ints]] = {
        "sessions": lambda: distinct(hits.session),
        "totalUsers": lambda: distinct(hits.user),
        "screenPageViews": lambda: total(hits.views),
        "eventCount": lambda: total(hits.events),
    }
    dimensions: list[list[str]] = []
    rest = groups
    for name in reversed(tuple(report.dimensions)):
        rest, code = np.divmod(rest, len(hits.labels[name]))
        texts = [json.dumps(label, ensure_ascii=False) for label in hits.labels[name]]
        dimensions.insert(0, [texts[n] for n in code.tolist()])
    return _Answer(dimensions, [measured[metric.name]().tolist() for metric in report.metrics], groups.size)


def _body(head: dict[str, Any], answer: _Answer, page: slice, tail: dict[str, Any]) -> bytes:
    """An answer as JSON text; its rows are put together here, since the library takes ten times as long for them."""
    columns: list[list[Any]] = [*answer.dimensions, *answer.metrics]
    row = _ROW.format(
        ",".join([_DIMENSION] * len(answer.dimensions)),
        ",".join([_METRIC] * len(answer.metrics)),
    )
    rows = ",\n".join([row % values for values in zip(*(column[page] for column in columns), strict=True)])
    first, last = (json.dumps(part, ensure_ascii=False, indent=2) for part in (head, tail))
    between = f',\n  "rows": [\n{rows}\n  ],' if rows else ","
    return f"{first[:-2]}{between}{last[1:]}\n".encode()
