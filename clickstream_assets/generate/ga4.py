"""GA4 landing files: what pulls of the synthetic property leave behind, two of each report and day.

The early pull is made at noon of the day itself, the final one twenty days later, though its name has the day's last
second, so that a range of days equals its days. An empty file says that nothing of it was ever counted.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import numpy as np

from clickstream_assets.ga4.property import PAGE_ROWS
from clickstream_assets.ga4.reports import REPORTS, Report
from clickstream_assets.ga4.synthetic import NAMED_PAGES, SHELVES, SOURCES, SyntheticProperty, Visits
from clickstream_assets.generate import Generated
from clickstream_assets.generate.story import FIRST_PRODUCT, LAUNCHED_NAME, MEDIUM, SOURCE, Day, Story

EVENTS = "ga_events"  # the report that AppFlow delivers too, and that has the faults
LEAST_PAGE = 1_000  # rows
EARLY, BETWEEN, FINAL = time(12, tzinfo=UTC), time(18, tzinfo=UTC), time(23, 59, 59, tzinfo=UTC)
FINAL_DAYS = 20  # how old a day is when its final pull is made

# Faults. Those of a pull take turns, day by day; where there are fewer days, a day has several.
INCOMPLETE, BAD_METRIC, BAD_EVENT_DATE, SUPERSEDED, BAD_JSON = (
    "incomplete_pull",
    "bad_metric",
    "bad_event_date",
    "superseded",
    "bad_json",
)
TURNS = (INCOMPLETE, BAD_METRIC, BAD_EVENT_DATE)
NO_NUMBERS = ("12.5", "n/a")
APPFLOW_TOO_FROM, APPFLOW_ALONE_FROM = 3, 4  # days of a range

# In a story.
PAGES_PER_ROW = 0.5  # how many there are; of their pairs with sources a few are seen on a day
EXTRA_HITS = 5.0  # beyond the one that every row has, to a row
SKEW = 1.1  # of the pages, from the most to the least viewed
BUYING = ("/cart", "/checkout", "/checkout/thanks")
CAMPAIGN_VISITS = 60.0  # as ``SOURCES`` has those of an ordinary day
LAUNCHED_PAGE = f"/shop/tents/{LAUNCHED_NAME.lower().replace(' ', '-')}"


@dataclass(frozen=True)
class _Faults:
    """What goes wrong on a day: of ``TURNS``, and how AppFlow delivers it."""

    turns: tuple[str, ...] = ()
    appflow_too: bool = False
    appflow_alone: bool = False


def generate(
    write: Callable[[str, bytes], None],
    *,
    first: date,
    last: date,
    rows_per_day: int,
    seed: int = 0,
    faults: bool = False,
    progress: Callable[[date], None] | None = None,
    story: Story | None = None,
) -> Generated:
    """Writes the pulls of the days `first` to `last`, both included, with `rows_per_day` rows of ga_events each.

    Without faults a range's files are its days'; with them the first and the last day, and whose turn it is, depend
    on the range. `rows` are those of the pull that counts of each report and day, and the lines that AppFlow delivers
    alone, good or broken. `faults` are rows by rule; `incomplete_pull` and `superseded` are files. A day of fewer than
    5 rows gets no broken ones. In a story final pulls are named after the moment in which they are made, and AppFlow
    delivers nothing alone, so that the collector has no reason to pull the days again, but for those that it is told
    of too early. `write` gets paths relative to the landing root; `progress` is called after each day.
    ValueError for arguments that make no sense.
    """
    if first > last:
        raise ValueError(f"The first day, {first}, is after the last, {last}.")
    if rows_per_day < 1 or seed < 0:
        raise ValueError(f"Rows per day must be at least 1 and the seed 0 or more, not {rows_per_day} and {seed}.")
    paths: list[str] = []
    planted = Counter[str]()
    rows = 0

    def put(path: str, content: bytes) -> None:
        paths.append(path)
        write(path, content)

    days = [first + timedelta(n) for n in range((last - first).days + 1)]
    plan = _plan(len(days), alone=story is None) if faults else [_Faults()] * len(days)
    for day, of_day in zip(days, plan, strict=True):
        pulls = _Pulls(day, rows_per_day, seed, story)
        for report in REPORTS.values():
            if report.name == EVENTS and of_day != _Faults():
                rows += _faulty_events(put, pulls, report, of_day, planted)
                continue
            early, final = pulls.made(report, EARLY), pulls.made(report, FINAL)
            _put(put, report, day, pulls.named(EARLY), early)
            _put(put, report, day, pulls.named(FINAL), final)
            planted[SUPERSEDED] += len(early)
            rows += _row_count(final)
        if progress:
            progress(day)
    return Generated(paths, rows, {rule: count for rule, count in planted.items() if count} if faults else {})


def _plan(days: int, *, alone: bool) -> list[_Faults]:
    """The faults of each day of a range of so many. ``alone``: AppFlow may be the only one to deliver a day."""
    delivered = int(alone and days >= APPFLOW_ALONE_FROM)
    pulled = days - delivered
    places = min(len(TURNS), pulled)
    plan = [_Faults(appflow_alone=True)] * delivered
    for n in range(pulled):
        turns = tuple(rule for place, rule in enumerate(TURNS) if place % places == n % places)
        plan.append(_Faults(turns, appflow_too=days >= APPFLOW_TOO_FROM and n == pulled - 1))
    return plan


class _Pulls:
    """The pulls of one day, of a property of its own: its quota begins anew."""

    def __init__(self, day: date, average: int, seed: int, story: Story | None) -> None:
        told = story.on(day) if story else None
        self.day, self.rows, self.seed = day, told.rows(average) if told else average, seed
        self.page_rows = min(max(self.rows // 3, LEAST_PAGE), PAGE_ROWS)
        self._moment = datetime.combine(day, EARLY)
        self._story, self._average = story, average
        visits = _visits(told, average) if told else None
        self._property = SyntheticProperty(self.rows, seed, now=lambda: self._moment, visits=visits)

    def again(self) -> "_Pulls":
        """The same, whose quota begins anew."""
        return _Pulls(self.day, self._average, self.seed, self._story)

    def named(self, stamp: time) -> datetime:
        """The moment that the files of a pull have in their names."""
        moment = datetime.combine(self.day, stamp)
        if self._story is None or stamp != FINAL:
            return moment
        told = self._story.as_of
        final = moment + timedelta(FINAL_DAYS)
        return final if told is None else max(moment, min(final, told))

    def made(self, report: Report, stamp: time, page_rows: int | None = None) -> list[bytes]:
        """The pages of one pull, whole."""
        self._moment = datetime.combine(self.day, stamp) + timedelta(FINAL_DAYS if stamp == FINAL else 0)
        step = page_rows or self.page_rows
        pages: list[bytes] = []
        while not pages or len(pages) * step < _row_count(pages):
            pages.append(self._property.run_report(report, self.day, offset=len(pages) * step, limit=step))
        return pages


def _visits(told: Day, average: int) -> Visits:
    """What is visited on a day of a story: some pages far more than others, some for the campaign or the launch."""
    products = max(len(SHELVES), round(average * PAGES_PER_ROW))
    paths = [*NAMED_PAGES, *(f"/shop/{SHELVES[n % len(SHELVES)]}/{FIRST_PRODUCT + n}" for n in range(products))]
    pages = {path: (n + 2.0) ** -SKEW for n, path in enumerate(paths)}
    for path in BUYING:
        pages[path] *= told.conversion
    if told.launched:
        pages[LAUNCHED_PAGE] = told.launched * sum(pages.values())
    sources = dict(SOURCES)
    if told.campaign:
        sources[SOURCE, MEDIUM] = CAMPAIGN_VISITS
    return Visits(pages, sources, EXTRA_HITS)


def _faulty_events(
    put: Callable[[str, bytes], None], pulls: _Pulls, report: Report, faults: _Faults, planted: Counter[str]
) -> int:
    """A day's files of ga_events with its faults, counted into `planted`; the rows that count."""
    day = pulls.day
    early, final = pulls.made(report, EARLY), pulls.made(report, FINAL)
    count = _row_count(final)
    lines = list(_lines(final)) if faults.appflow_alone or faults.appflow_too else []
    if faults.appflow_alone:
        middle = lines[len(lines) // 2]
        lines.insert(len(lines) // 2, middle[: len(middle) // 2])
        planted[BAD_JSON] += 1
        _put_appflow(put, day, lines)
        return len(lines)
    _put(put, report, day, pulls.named(EARLY), early)
    planted[SUPERSEDED] += len(early)
    if INCOMPLETE in faults.turns:
        half = -(-_row_count(early) // 2)
        apart = pulls.again()  # what it asks leaves the other answers' quota alone
        cut = apart.made(report, BETWEEN, min(half, pulls.page_rows))[:-1]
        _put(put, report, day, pulls.named(BETWEEN), cut)
        planted[INCOMPLETE] += len(cut)
    _put(put, report, day, pulls.named(FINAL), _spoilt(final, pulls, faults, planted))
    if faults.appflow_too:
        _put_appflow(put, day, lines)
        planted[SUPERSEDED] += 1
    return count


def _spoilt(pages: Sequence[bytes], pulls: _Pulls, faults: _Faults, planted: Counter[str]) -> list[bytes]:
    """A pull some of whose rows break a rule, one each: no more than two of five."""
    day = pulls.day
    rules = [rule for rule in (BAD_METRIC, BAD_EVENT_DATE) if rule in faults.turns]
    each = min(max(1, pulls.rows // 500), pulls.rows // 5)
    rng = np.random.default_rng([pulls.seed, day.toordinal(), pulls.rows, 1])
    spoilt = rng.choice(pulls.rows, size=each * len(rules), replace=False).tolist()
    split = [page.split(b'"dimensionValues"') for page in pages]  # a row each, after what is before the first
    for n, at in enumerate(spoilt):
        rule = rules[n % len(rules)]
        planted[rule] += 1
        page, row = divmod(at, pulls.page_rows)
        if rule == BAD_METRIC:
            pattern, value = rb'("metricValues": \[\s*\{\s*"value": ")\d+', NO_NUMBERS[(day.toordinal() + n) % 2]
        else:
            pattern, value = rb'("value": ")\d{8}(?=")', f"{day - timedelta(1):%Y%m%d}"
        split[page][row + 1] = re.sub(pattern, rb"\g<1>" + value.encode(), split[page][row + 1], count=1)
    return [b'"dimensionValues"'.join(page) for page in split]


def _put(put: Callable[[str, bytes], None], report: Report, day: date, stamp: datetime, pages: Sequence[bytes]) -> None:
    for number, page in enumerate(pages, 1):
        further = f"_p{number:03}" if number > 1 else ""
        put(f"ga4/{report.name}/date={day}/ga4_events_{stamp:%Y-%m-%d_%H%M%S}{further}.json", page)


def _put_appflow(put: Callable[[str, bytes], None], day: date, lines: Sequence[str]) -> None:
    put(f"appflow/ga4/date={day}/part-0000.json", "".join(f"{line}\n" for line in lines).encode())


def _lines(pages: Sequence[bytes]) -> Iterator[str]:
    """The rows of a pull as AppFlow writes them: one JSON object each."""
    for page in map(json.loads, pages):
        names = [header["name"] for header in page["dimensionHeaders"] + page["metricHeaders"]]
        for row in page.get("rows", []):
            values = [value["value"] for value in row["dimensionValues"] + row["metricValues"]]
            yield json.dumps(dict(zip(names, values, strict=True)) | {"synthetic": True}, ensure_ascii=False)


def _row_count(pages: Sequence[bytes]) -> int:
    """The rows of a whole pull, as its pages say."""
    found = re.search(rb'\n  "rowCount": (\d+)', pages[0])
    return int(found[1]) if found else 0
