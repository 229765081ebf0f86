"""Pulls in landing: what their files say, which pulls are whole, and which one counts for a date.

A pull is one or several pages, a file each. It is whole when no page is missing, its pages agree on how many rows there
are, and so many landed. Of a date's whole pulls the newest counts, and takes the place of all others: Google gives rows
other labels later, and what is not in the newest pull is no longer so.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import orjson

from clickstream_assets.errors import RejectedFile
from clickstream_assets.ga4.reports import Report
from clickstream_assets.parsing.content import Readable
from clickstream_assets.settings import known_time_zone

if TYPE_CHECKING:
    from clickstream_assets.domains import Landing
    from clickstream_assets.parsing.formats import Batch
    from clickstream_assets.settings import Limits
    from clickstream_assets.storage.files import FileInfo, Files

DATA_API, APPFLOW = "data_api", "appflow"

PUBLISHED, SUPERSEDED, INCOMPLETE = "published", "superseded", "incomplete"
OTHER_TIME_ZONE, UNREADABLE = "other_time_zone", "unreadable"

#: why a whole file is rejected, for the reference page; each counts as one record
RULES = {
    "incomplete_pull": "A file of a GA4 pull that is not whole: a page is missing, or has other rows than Google says.",
    "other_time_zone": "A file of a GA4 pull that is in another time zone than the property's.",
}

#: how the files of pulls are called; the stamp is when the pull began, UTC
_NAME = re.compile(r"ga4_events_([0-9]{4}-[0-9]{2}-[0-9]{2}_[0-9]{6})(?:_p(0*(?:[2-9]|[1-9][0-9]+)))?\.(?i:json)")
_STAMP = "%Y-%m-%d_%H%M%S"

#: where a row starts. In a text the quotes would be escaped.
_ROW = re.compile(rb'\{\s*"dimensionValues"\s*:')
_VALUES = re.compile(rb'"dimensionValues"\s*:')

_CHUNK = 8 * 1024 * 1024

#: of pulls that were made together, when one repeats rows: the collector pulls again at once then
_TOGETHER = timedelta(hours=1)

#: a stamp so far ahead is no clock that runs ahead: its pull would stand for the date for ever
_AHEAD = timedelta(days=1)

#: what a bigint holds in any case
_DIGITS = re.compile("[0-9]{1,18}")
_MOST = 10**18

#: characters of a file that a message shows
_SHOWN = 100

#: days from which on a report's whole landing folder is listed
_FEW = 10


def stamp_of(path: str) -> datetime | None:
    """When the pull of a file began, UTC; None where the name is not that of a pull's file."""
    match = _NAME.fullmatch(path.rpartition("/")[2])
    try:
        return datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC) if match else None
    except ValueError:
        return None


def file_name(stamp: datetime, page: int = 1) -> str:
    """What a page's file is called."""
    return f"ga4_events_{stamp.astimezone(UTC):{_STAMP}}" + (f"_p{page:03}" if page > 1 else "") + ".json"


@dataclass(frozen=True)
class Page:
    """A file of a pull. ``problem``: why it cannot be read, if so. ``count``: how many rows it has.

    ``rows``: the values of each, in the order of ``names``, which are the API's; ``lines``: on which line each starts,
    where that can be told.
    """

    info: FileInfo
    content_hash: str
    number: int
    problem: str | None = None
    count: int = 0
    rows: Sequence[Sequence[str]] = field(default=(), repr=False)
    names: Sequence[str] = ()
    lines: Sequence[int] | None = field(default=None, repr=False)
    row_count: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)
    quota: Mapping[str, Any] = field(default_factory=dict)
    synthetic: bool = False


@dataclass(frozen=True)
class Pull:
    """The pages of a report and date that were asked for together, in order and without their rows.

    ``rows``: how many landed. ``repeated``: those whose dimensions an earlier row has. ``totals``: sums of the metrics,
    by the API's names; None where one was not asked for, or is not a number everywhere.
    """

    report: Report
    stamp: datetime
    pages: Sequence[Page]
    rows: int
    repeated: int
    totals: Mapping[str, int | None]

    @classmethod
    def of(cls, report: Report, stamp: datetime, pages: Sequence[Page]) -> Pull:
        """Sum up what was read; the rows themselves are let go."""
        width = len(report.dimensions)
        rows = sum(page.count for page in pages)
        keys = {tuple(row[:width]) for page in pages for row in page.rows}
        totals = {metric.name: _total(pages, metric.name) for metric in report.metrics}
        ordered = sorted(pages, key=lambda page: (page.number, page.info.path))
        return cls(
            report, stamp, [replace(page, rows=(), lines=None) for page in ordered], rows, rows - len(keys), totals
        )

    @property
    def row_count(self) -> int:
        """Rows that there are, by the last page's account."""
        return self.pages[-1].row_count

    @property
    def synthetic(self) -> bool:
        """Whether the numbers are made up."""
        return any(page.synthetic for page in self.pages)

    @property
    def time_zone(self) -> str | None:
        """The property's time zone."""
        return next((zone for page in self.pages if (zone := said(page.metadata, "timeZone"))), None)

    def flagged(self, name: str) -> bool:
        """Whether a page's metadata have something to say under that name."""
        return any(page.metadata.get(name) for page in self.pages)

    @property
    def unreadable(self) -> str | None:
        """Which page cannot be read, and why."""
        return next((f"{p.info.path}: {p.problem}" for p in self.pages if p.problem), None)

    @property
    def missing(self) -> str | None:
        """Why it is not whole; None where it is."""
        if self.unreadable:
            return None
        numbers = [page.number for page in self.pages]
        if gone := sorted(set(range(1, numbers[-1] + 1)) - set(numbers)):
            return f"page {gone[0]} is missing"
        for page, following in pairwise(self.pages):
            if page.number == following.number:
                return f"page {page.number} is there twice, {page.info.path} and {following.info.path}"
        counts = sorted({page.row_count for page in self.pages})
        if len(counts) > 1:
            return f"its pages do not agree on how many rows there are: {', '.join(map(str, counts))}"
        zones = sorted({zone for page in self.pages if (zone := said(page.metadata, "timeZone"))})
        if len(zones) > 1:
            return f"its pages do not agree on the time zone: {', '.join(zones)}"
        if self.rows != counts[0]:
            return f"{self.rows:,} of {counts[0]:,} rows landed"
        return None


def said(content: Mapping[str, Any], name: str) -> str | None:
    """A text of the metadata; None where there is none."""
    value = content.get(name)
    return value if isinstance(value, str) and value else None


def number(value: object) -> int | None:
    """A whole number as the API writes it, as a number or as text; None for what a bigint does not hold."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return None
    if isinstance(value, str):
        value = int(value) if _DIGITS.fullmatch(value) else -1
    return value if 0 <= value < _MOST else None


def _total(pages: Sequence[Page], name: str) -> int | None:
    total = 0
    for page in pages:
        if page.problem or (page.rows and name not in page.names):
            return None
        place = page.names.index(name) if page.rows else 0
        column = [row[place] for row in page.rows]
        if not all(map(_DIGITS.fullmatch, column)):
            return None
        total += sum(map(int, column))
    return number(total)


@dataclass(frozen=True)
class Chosen:
    """What became of a date's pulls. ``status``: by pull, with the reason where it cannot be used, oldest first."""

    pulls: Sequence[Pull]
    status: Sequence[tuple[str, str | None]]

    @property
    def published(self) -> Pull | None:
        """The pull that counts; None where none of those at hand does."""
        return next((p for p, (status, _) in zip(self.pulls, self.status, strict=True) if status == PUBLISHED), None)


def read_pulls(
    landing: Files, files: Iterable[FileInfo], report: Report, day: date, limits: Limits
) -> tuple[list[Pull], list[Page]]:
    """The pulls of a date, oldest first, and files that belong to none since their names do not tell."""
    by_stamp: dict[datetime, list[FileInfo]] = defaultdict(list)
    strangers = []
    for info in files:
        stamp = stamp_of(info.path)
        if stamp is None or stamp > datetime.now(UTC) + _AHEAD:
            when = "does not tell when it was pulled" if stamp is None else "says that it was pulled in the future"
            digest = hashlib.sha256(f"{info.path}\0{info.etag}".encode()).hexdigest()
            strangers.append(Page(info, digest, 1, f"its name {when}: name it like {file_name(datetime.now(UTC))}"))
        else:
            by_stamp[stamp].append(info)
    pulls = [
        Pull.of(report, stamp, [read_page(landing, info, report, day, limits) for info in by_stamp[stamp]])
        for stamp in sorted(by_stamp)
    ]
    return pulls, strangers


def choose(pulls: Sequence[Pull], *, zone: str | None, elsewhere: Elsewhere | None = None) -> Chosen:
    """Which of a date's pulls counts: the newest whole one in the property's time zone; Google's before made-up ones.

    ``elsewhere``: the pull that is published already and whose files are gone: none before it counts.
    """
    status: list[tuple[str, str | None]] = []
    whole: list[int] = []
    for place, pull in enumerate(pulls):
        if pull.unreadable:
            status.append((UNREADABLE, pull.unreadable))
        elif pull.missing:
            status.append((INCOMPLETE, pull.missing))
        elif zone is not None and pull.time_zone is not None and pull.time_zone != zone:
            status.append((OTHER_TIME_ZONE, f"it is in {pull.time_zone}, and the property in {zone}"))
        else:
            whole.append(place)
            status.append((SUPERSEDED, None))
    real = [n for n in whole if not pulls[n].synthetic]
    if candidates := real or whole:
        # One with repeated rows has others left out: another one of the same collection is better.
        newest = max(pulls[n].stamp for n in candidates)
        near = [n for n in candidates if newest - pulls[n].stamp < _TOGETHER]
        best = max(near, key=lambda n: (not pulls[n].repeated, pulls[n].stamp))
        if elsewhere is None or elsewhere.yields_to(pulls[best]):
            status[best] = (PUBLISHED, None)
    return Chosen(pulls, status)


@dataclass(frozen=True)
class Elsewhere:
    """A published pull whose files are no longer in landing."""

    stamp: datetime
    synthetic: bool

    def yields_to(self, pull: Pull) -> bool:
        """Whether a pull in landing takes its place."""
        return (not pull.synthetic, pull.stamp) > (not self.synthetic, self.stamp)


def first_zone(pulls: Iterable[Pull]) -> str | None:
    """The time zone that the first whole pull says."""
    whole = [pull for pull in pulls if pull.time_zone and not pull.unreadable and not pull.missing]
    return min(whole, key=lambda pull: pull.stamp).time_zone if whole else None


def read_page(landing: Files, info: FileInfo, report: Report, day: date, limits: Limits) -> Page:
    """A file of a pull; where it cannot be read the page says why."""
    match = _NAME.fullmatch(info.path.rpartition("/")[2])
    page = Page(info, "", int(match[2] or 1) if match else 1)
    if info.size > limits.file_bytes:
        problem = f"it is larger than {limits.file_bytes:,} bytes (CLICKSTREAM_MAX_FILE_BYTES)"
        digest = hashlib.sha256(f"{info.path}\0{info.etag}".encode()).hexdigest()
        return replace(page, content_hash=digest, problem=problem)
    with landing.open(info.path) as raw:
        content = b"".join(_chunks(raw))
    page = replace(page, content_hash=hashlib.sha256(content).hexdigest())
    try:
        return _read(content, page, report, day)
    except RejectedFile as error:
        return replace(page, problem=str(error))


def _chunks(stream: Readable) -> Iterable[bytes]:
    while chunk := stream.read(_CHUNK):
        yield chunk


def _read(content: bytes, page: Page, report: Report, day: date) -> Page:
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        try:  # which takes some things that the other does not, and says more clearly what is wrong
            body = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise RejectedFile(f"it is not valid JSON: {str(error)[:_SHOWN]}") from error
    if not isinstance(body, dict):
        raise RejectedFile("it is not the Data API's response: a JSON object is expected")
    try:
        return _parsed(body, content, page, report, day)
    except (TypeError, AttributeError, KeyError, ValueError, OverflowError) as error:
        what = f"{type(error).__name__} {error}"[:_SHOWN].encode(errors="backslashreplace").decode()
        raise RejectedFile(f"it is not the Data API's response: {what}") from error


def _parsed(body: Mapping[str, Any], content: bytes, page: Page, report: Report, day: date) -> Page:
    if "error" in body:
        raise RejectedFile("it is an error of the Data API, not a report")
    dimensions = [str(one["name"]) for one in body.get("dimensionHeaders", ())]
    metrics = [str(one["name"]) for one in body.get("metricHeaders", ())]
    rows = body.get("rows", [])
    # Without rows there may be no headers either. A metric may have been added to the report since.
    if rows or dimensions or metrics:
        differing = sorted(set(dimensions) ^ set(report.dimensions))
        if differing or len(dimensions) != len(report.dimensions):
            raise RejectedFile(
                f"it is not the report {report.name}, with another dimension its numbers are others: "
                f"{', '.join(differing) or 'one is there twice'}"
            )
        if not any(metric.name in metrics for metric in report.metrics):
            raise RejectedFile(f"it is not the report {report.name}: it has none of its metrics")
    names = [*report.dimensions, *(metric.name for metric in report.metrics if metric.name in metrics)]
    names += [name for name in metrics if name not in names]
    order = [(*dimensions, *metrics).index(name) for name in names] if rows else []
    values = []
    for place, row in enumerate(rows, start=1):
        # An empty text may be left out.
        given = [one.get("value", "") for one in row.get("dimensionValues", ())]
        given += [one.get("value", "") for one in row.get("metricValues", ())]
        if len(given) != len(order):
            raise RejectedFile(f"row {place} has {len(given)} values instead of {len(order)}")
        try:
            "".join(given).encode()  # half a surrogate pair is no text either: a ValueError
        except TypeError:
            raise RejectedFile(f"row {place} has a value that is no text") from None
        values.append([given[n] for n in order])
    # The other count, by those who look for their key and do not parse: the totals of a report have it too.
    others = sum(len(body.get(name) or ()) for name in ("totals", "maximums", "minimums"))
    if (found := len(_VALUES.findall(content)) - others) != len(values):
        raise RejectedFile(f"{found:,} rows are found in it and {len(values):,} are read from it")
    if values and not any(row[0] in (f"{day:%Y%m%d}", f"{day}") for row in values):
        raise RejectedFile(f"its rows are of {values[0][0][:_SHOWN]}, and its folder is that of {day}")
    metadata = {name: value for name, value in dict(body.get("metadata") or {}).items() if _is_text(value)}
    if (zone := said(metadata, "timeZone")) and not known_time_zone(zone):
        raise RejectedFile(f"its time zone {zone!r} is not known")
    row_count = number(body.get("rowCount", 0))
    if row_count is None:
        raise RejectedFile("its rowCount is no number")
    starts = [match.start() for match in _ROW.finditer(content)]
    return replace(
        page,
        count=len(values),
        rows=values,
        names=names,
        lines=_lines(content, starts) if len(starts) == len(values) else None,
        row_count=row_count,
        metadata=metadata,
        quota=dict(body.get("propertyQuota") or {}),
        synthetic=body.get("synthetic") is True,
    )


def _is_text(value: object) -> bool:
    """Whether what is in it can be written; what is not a text is."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except ValueError:
        return False
    return True


def _lines(content: bytes, starts: Sequence[int]) -> list[int]:
    lines, line, at = [], 1, 0
    for start in starts:
        line += content.count(b"\n", at, start)
        at = start
        lines.append(line)
    return lines


def batch(page: Page, pull: Pull) -> Batch:
    """The rows of a page of a pull as columns of the raw table, less lineage."""
    import numpy as np
    import pyarrow as pa

    from clickstream_assets.parsing.formats import Batch

    report, count = pull.report, len(page.rows)
    known = report.columns
    columns = list(zip(*page.rows, strict=True)) if count else [()] * len(page.names)
    values: dict[str, Any] = {column: pa.nulls(count, pa.string()) for column in known.values()}
    for name, column in zip(page.names, columns, strict=True):
        if name in known:
            values[known[name]] = pa.array(column, pa.string())
    others = [(name, column) for name, column in zip(page.names, columns, strict=True) if name not in known]
    extra = [json.dumps({name: column[n] for name, column in others}) for n in range(count)] if others else None
    width = len(report.dimensions)
    values |= origin(count, DATA_API, pulled_at=pull.stamp, synthetic=pull.synthetic, zone=pull.time_zone)
    values |= {
        "row_key": pa.array([row_key(row[1:width]) for row in page.rows], pa.string()),
        "extra": pa.array(extra, pa.string()) if extra else pa.nulls(count, pa.string()),
    }
    lines = pa.nulls(count, pa.int64()) if page.lines is None else pa.array(page.lines, pa.int64())
    return Batch(
        found=page.count,
        rows=pa.table(values),
        lines=lines,
        numbers=np.arange(1, count + 1, dtype=np.int64),
    )


def origin(count: int, name: str, *, pulled_at: datetime | None, synthetic: bool, zone: str | None) -> dict[str, Any]:
    """Columns that say where rows come from."""
    import pyarrow as pa

    return {
        "pulled_at": pa.repeat(pa.scalar(pulled_at, pa.timestamp("us", tz="UTC")), count),
        "origin": pa.repeat(pa.scalar(name), count),
        "is_synthetic": pa.repeat(pa.scalar(synthetic), count),
        "time_zone": pa.repeat(pa.scalar(zone, pa.string()), count),
    }


def row_key(dimensions: Sequence[str | None]) -> str:
    """What tells a row from the others of its date; of the dimensions all but the date."""
    return hashlib.sha256(json.dumps(list(dimensions)).encode()).hexdigest()[:32]


def page(stream: Readable, columns: Sequence[str], limits: Limits) -> None:
    """Not read as records: a page is only understood together with the others of its pull.

    Raises:
        RejectedFile: always; ``loading.PullLoader`` reads pages.
    """
    raise RejectedFile("pages of the Data API are read whole")


def files_by_day(landing: Files, place: Landing, days: Sequence[date]) -> dict[date, list[FileInfo]]:
    """The files of days; of many days one listing, since each takes a request on S3."""
    found: dict[date, list[FileInfo]] = {day: [] for day in days}
    if len(days) > _FEW:
        for info in landing.files(place.root):
            day = place.day_of(info.path.rpartition("/")[0])
            if day in found:
                found[day].append(info)
    else:
        found = {day: landing.files(place.folder(day)) for day in days}
    return {day: [file for file in files if place.format.has(file.path)] for day, files in found.items()}
