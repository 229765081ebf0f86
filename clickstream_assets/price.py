"""What a backfill will take before it begins: files, bytes, rows, time, disk, and on AWS dollars. No Dagster here.

Time comes from recorded runs. Of each hop of a domain, seconds = fixed + a × pieces + b × rows, none of them below 0.
A piece is a day; in raw it is a file that is read, since Firehose delivers a thousand of them for a day. Where this
home has no runs of the domain the three are those of the benchmark's machine; those that it has move them, so that one
run tells how fast the machine is, and runs of several sizes tell all three. What lies in landing is listed, never
guessed. Nothing is written, and nobody waits for it longer than for a query.
"""

from __future__ import annotations

import itertools
import math
import pkgutil
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from clickstream_assets import layers
from clickstream_assets.errors import ClickstreamError
from clickstream_assets.storage import s3
from clickstream_assets.storage.staged import LandingFile

if TYPE_CHECKING:
    from clickstream_assets.domains import Domain, Feed
    from clickstream_assets.platform import Platform
    from clickstream_assets.records import Recorded, Records
    from clickstream_assets.settings import Settings
    from clickstream_assets.storage.files import FileInfo, Files

HOPS = (layers.RAW, layers.CLEANED, layers.ENHANCED)

#: folders that are listed at the same time, and bytes of an object that one request brings
_AT_ONCE, _REQUEST_BYTES = 8, 8 * 1024 * 1024

#: how much a run counts beside the benchmark: with one run the benchmark's shape stays, from a few on it is theirs
_PRIOR_WEIGHT = 0.05

#: a run of whose days fewer have its rows still, since they were run again, says nothing any more
_STILL_THERE = 0.9

#: the true time is taken to be within this factor of the estimate: without a run, with one or two, with more
_FACTORS = (3.0, 2.0, 1.5)

#: an estimate of so many times what any run was is no better than one from a single run
_FAR = 10

#: rows that are cleaned at once, unless a day has more: they decide what memory is needed
_ROWS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Pace:
    """Seconds of a hop: ``fixed`` for a run, more per ``piece``, a file in raw and else a day, and per million rows."""

    fixed: float
    piece: float
    million: float

    def parts(self, pieces: int, rows: float) -> tuple[float, float, float]:
        """The seconds of each."""
        return self.fixed, self.piece * pieces, self.million * rows / 1e6

    def seconds(self, pieces: int, rows: float) -> float:
        """All of them."""
        return sum(self.parts(pieces, rows))


@dataclass(frozen=True)
class Measured:
    """What is known of a domain before its first run.

    ``row_bytes``: of a row in landing, plain and gzipped. ``lake_file``, ``lake_row``: bytes that a day adds to the
    lake, raw and cleaned together: for a file of Parquet, and for a row. ``memory``: gigabytes, and more per million
    rows that are cleaned at once. ``collected``: where days are fetched, rows of one.
    """

    paces: Mapping[str, Pace]
    row_bytes: tuple[float, float]
    lake_file: float
    lake_row: float
    memory: tuple[float, float]
    collected: float = 0


#: Rates and memory are those of benchmarks/RESULTS.md of 2026-11-22, "Where the time goes": of e-commerce what 2 and 20
#: million rows took, of clickstream 1 and 10 million, and a day of 20,000 after 40; of sales 29 and 365 days of 100,000
#: with the shares of the hops on day 30. It says nothing of GA4, of small days, and of bytes: these were measured on a
#: machine of the same kind, on days of 100 and 50,000 or 200,000 rows and on 60 days of 100.
BENCHMARK = {
    "ecommerce": Measured(
        {
            layers.RAW: Pace(1.3, 0.008, 0.47),
            layers.CLEANED: Pace(1.6, 0.005, 0.80),
            layers.ENHANCED: Pace(3.7, 0.011, 0.97),
        },
        row_bytes=(55, 14), lake_file=8_000, lake_row=76, memory=(1.1, 0.12),
    ),
    "clickstream": Measured(
        {
            layers.RAW: Pace(1.1, 0.013, 9.4),
            layers.CLEANED: Pace(0.7, 0.014, 5.5),
            layers.ENHANCED: Pace(4.0, 0.045, 9.0),
        },
        row_bytes=(450, 76), lake_file=25_000, lake_row=169, memory=(1.55, 0.21),
    ),
    "ga4": Measured(
        {
            layers.RAW: Pace(1.2, 0.005, 100),
            layers.CLEANED: Pace(1.2, 0.03, 5),
            layers.ENHANCED: Pace(2.5, 0.035, 60),
        },
        row_bytes=(800, 100), lake_file=7_000, lake_row=98, memory=(0.9, 1.0), collected=400,
    ),
    "sales": Measured(
        {
            layers.RAW: Pace(1.2, 0.007, 1.9),
            layers.CLEANED: Pace(1.3, 0.039, 2.0),
            layers.ENHANCED: Pace(3.0, 0.009, 2.9),
        },
        row_bytes=(65, 20), lake_file=6_000, lake_row=54, memory=(0.8, 0.6),
    ),
}  # fmt: skip

#: seconds that a command takes once, to start and to load the graph ("rest" of b in RESULTS.md); that a domain takes
#: besides its steps; and that a request to a GA4 property takes; requests of a day
START_SECONDS, _AROUND_SECONDS, _REQUEST_SECONDS, _REQUESTS = 5.3, 0.7, 1.0, 4


@dataclass(frozen=True)
class Range:
    """An estimate, and the least and the most that it may come to be."""

    low: float
    estimate: float
    high: float

    @classmethod
    def within(cls, estimate: float, factor: float) -> Range:
        """An estimate that may be wrong by a factor."""
        return cls(*(round(number, 4) for number in (estimate / factor, estimate, estimate * factor)))

    def __add__(self, other: Range) -> Range:
        """Both together."""
        return Range(*(round(sum(pair), 4) for pair in zip(self.ends, other.ends, strict=True)))

    @property
    def ends(self) -> tuple[float, float, float]:
        """Its three numbers."""
        return self.low, self.estimate, self.high


@dataclass
class Extent:
    """What landing has of some days of a domain, and what of it would be read.

    ``files``, ``bytes``: all of it. ``files_to_read``, ``bytes_to_read``: what was not loaded as it is; ``gets``:
    requests for these. ``rows``: of each day, known where it was loaded and else estimated by bytes; ``rows_to_read``.
    ``collected``: days that would be fetched first. ``loads``: pairs of a table and a day with rows.
    """

    files: int = 0
    bytes: int = 0
    files_to_read: int = 0
    bytes_to_read: int = 0
    gets: int = 0
    rows_to_read: float = 0
    rows: Counter[date] = field(default_factory=Counter)
    collected: int = 0
    loads: int = 0

    @property
    def pieces(self) -> int:
        """Files that raw reads, those that will have been fetched included: a request is a file, mostly."""
        return self.files_to_read + _REQUESTS * self.collected


@dataclass(frozen=True)
class DomainPrice:
    """The price of some days of a domain; see ``Extent``.

    ``hops``: seconds by hop. ``lake_bytes``: how much the lake grows. ``memory_bytes``: of the process, at most.
    ``dollars``: None where nothing of it is on AWS; ``dollars_month``: for keeping what is added. ``runs``: recorded
    runs that it comes from; ``source`` says so.
    """

    domain: str
    days: int
    days_to_collect: int
    files: int
    bytes: int
    files_to_read: int
    bytes_to_read: int
    rows_to_read: int
    rows: int
    seconds: Range
    hops: Mapping[str, float]
    lake_bytes: int
    memory_bytes: int
    dollars: Range | None
    dollars_month: float | None
    runs: int
    source: str


@dataclass(frozen=True)
class Price:
    """The price of a backfill: of its domains, and all in all. ``above``: why it is above the budget, if it is."""

    domains: Sequence[DomainPrice]
    seconds: Range
    dollars: Range | None
    above: str | None


def estimate(platform: Platform, domains: Iterable[Domain], days: Sequence[date]) -> Price:
    """What ``clickstream run`` of these days would take, of each domain and in all.

    Raises:
        ClickstreamError: landing cannot be listed, the warehouse is held by somebody, or a price cannot be used.
    """
    from clickstream_assets import records

    tariff = prices(platform.settings.prices)
    with records.opened(platform.settings) as recorded:
        each = [_of_domain(platform, domain, days, recorded, tariff) for domain in domains]
    seconds = reduce(Range.__add__, (one.seconds for one in each), Range.within(START_SECONDS, _FACTORS[-1]))
    priced = [one.dollars for one in each if one.dollars is not None]
    dollars = reduce(Range.__add__, priced) if priced else None
    return Price(each, seconds, dollars, _above(platform.settings, seconds, dollars))


def _above(settings: Settings, seconds: Range, dollars: Range | None) -> str | None:
    """Why an estimate is above the budget; its middle counts."""
    least = (
        ("minutes", "CLICKSTREAM_BACKFILL_MINUTES", settings.backfill_minutes, seconds.estimate / 60),
        ("dollars", "CLICKSTREAM_BACKFILL_DOLLARS", settings.backfill_dollars, dollars.estimate if dollars else 0),
    )
    told = [
        f"{found:.2f} {unit}, above the {limit:g} of {name}"
        for unit, name, limit, found in least
        if limit is not None and found > limit
    ]
    return f"This backfill is estimated at {' and at '.join(told)}" if told else None


def _of_domain(
    platform: Platform, domain: Domain, days: Sequence[date], recorded: Records, tariff: Mapping[str, Any]
) -> DomainPrice:
    known, accounts = _books(platform, domain)
    extent = _extent(platform, domain, days, known)
    rows = sum(extent.rows.values())
    usual = BENCHMARK.get(domain.name, BENCHMARK["ecommerce"])
    points = _points(domain, recorded.of(domain), known, accounts)
    hops, misses, largest = {}, [], 0.0
    for hop in HOPS:
        fitted = fit(usual.paces[hop], points[hop])
        size = (extent.pieces, extent.rows_to_read) if hop == layers.RAW else (len(days), rows)
        hops[hop] = fitted.seconds(*size)
        misses += [fitted.seconds(pieces, count) / seconds - 1 for pieces, count, seconds in points[hop]]
        largest += max((seconds for *_, seconds in points[hop]), default=0.0)
    runs = max(len(points[hop]) for hop in HOPS)
    seconds = sum(hops.values())
    factor = _FACTORS[0 if not runs else 1 if runs < 3 or seconds > _FAR * largest else 2]
    if misses:
        factor = max(factor, 1 + 2 * math.sqrt(statistics.fmean(miss * miss for miss in misses)))
    asked = _REQUEST_SECONDS * _REQUESTS * extent.collected if platform.settings.ga4.property_id else 0
    time = Range.within(seconds + _AROUND_SECONDS + asked, factor)
    lake = _lake_bytes(platform, domain, usual, extent, rows, loaded=bool(accounts))
    base, million = usual.memory
    at_once = max(min(rows, _ROWS_AT_ONCE), max(extent.rows.values(), default=0))
    costs = _dollars(platform.settings, tariff, extent, hops, lake, feeds=len(domain.feeds), days=len(days))
    return DomainPrice(
        domain=domain.name,
        days=len(days),
        days_to_collect=extent.collected,
        files=extent.files,
        bytes=extent.bytes,
        files_to_read=extent.files_to_read,
        bytes_to_read=extent.bytes_to_read,
        rows_to_read=round(extent.rows_to_read),
        rows=round(rows),
        seconds=time,
        hops={hop: round(seconds, 2) for hop, seconds in hops.items()},
        lake_bytes=round(lake),
        memory_bytes=round((base + million * at_once / 1e6) * 1e9),
        dollars=Range.within(costs[0], factor) if costs else None,
        dollars_month=round(costs[1], 4) if costs else None,
        runs=runs,
        source=f"{runs} recorded run(s)" if runs else "the benchmark's machine: no run is recorded here yet",
    )


#: a row of the ledger: its asset, run, partition and rows_in
_Account = tuple[str, str, date, int]


def _books(platform: Platform, domain: Domain) -> tuple[list[LandingFile], list[_Account]]:
    """What is known of a domain's landing files, and its ledger; nothing before the first run."""
    settings, warehouse = platform.settings, platform.warehouse
    if settings.redshift is None and not settings.warehouse_path.exists():
        return [], []
    if not warehouse.has_books():
        return [], []
    known = [file for feed in domain.feeds for root in feed.roots for file in warehouse.landing_files_seen(root)]
    tables = [table.name for feed in domain.feeds for table in (feed.raw, feed.cleaned)]
    return known, warehouse.accounts_seen(tables)


def _extent(platform: Platform, domain: Domain, days: Sequence[date], known: Iterable[LandingFile]) -> Extent:
    extent = Extent()
    by_path = {file.path: file for file in known}
    to_collect: set[date] = set()
    if domain.to_collect is not None:
        to_collect = set(pkgutil.resolve_name(domain.to_collect)(platform, days))
        extent.collected = len(to_collect)
    usual = BENCHMARK.get(domain.name, BENCHMARK["ecommerce"])
    for feed in domain.feeds:
        rows = _of_feed(extent, platform.landing, feed, days, by_path, usual)
        # A day that is fetched first has as many rows as the others, by and by.
        loaded = [count for count in rows.values() if count]
        mean = statistics.fmean(loaded) if loaded else usual.collected / len(domain.feeds)
        for day in to_collect - {day for day, count in rows.items() if count}:
            rows[day] = mean
            extent.rows_to_read += mean
        extent.rows.update(rows)
        extent.loads += 2 * sum(bool(count) for count in rows.values())
    return extent


def _of_feed(
    extent: Extent,
    landing: Files,
    feed: Feed,
    days: Sequence[date],
    known: Mapping[str, LandingFile],
    usual: Measured,
) -> dict[date, float]:
    """Add what landing has of a feed; the rows of its days."""
    from clickstream_assets.ga4.pulls import SUPERSEDED

    rows: dict[date, float] = defaultdict(float)
    present = set()
    row_bytes = _row_bytes(feed, known.values(), usual)
    times = 3 if feed.raw.totals else 2
    for day, file in _listed(landing, feed, days):
        present.add(file.path)
        extent.files += 1
        extent.bytes += file.size
        was = known.get(file.path)
        as_known = was is not None and was.read_as is not None and _version(was) == landing.version(file)
        if was is not None and as_known:
            rows[day] += was.rows
        if not as_known or (feed.raw.pulled and was is not None and was.status != SUPERSEDED):
            count = was.rows if was is not None and as_known else file.size / row_bytes[_is_gzip(file.path)]
            rows[day] += 0 if as_known else count
            extent.rows_to_read += count
            extent.files_to_read += 1
            extent.bytes_to_read += file.size
            extent.gets += times * max(1, math.ceil(file.size / _REQUEST_BYTES))
    asked = set(days)
    for was in known.values():
        if was.partition_date in asked and was.path not in present and was.path.startswith(_folders(feed)):
            rows[was.partition_date] += was.rows  # landing has expired, and raw has the rows
    return rows


def _listed(landing: Files, feed: Feed, days: Sequence[date]) -> list[tuple[date, FileInfo]]:
    """The files of a feed on some days, each with its day."""
    folders = [(day, place) for place in feed.landings for day in days]

    def files(folder: tuple[date, Any]) -> list[tuple[date, FileInfo]]:
        day, place = folder
        return [(day, file) for file in landing.files(place.folder(day)) if place.format.has(file.path)]

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="list") as threads:
        return list(itertools.chain.from_iterable(threads.map(files, folders)))


def _version(was: LandingFile) -> str:
    """The version in which a file was read."""
    return (was.read_as or "").partition(" ")[0]


def _folders(feed: Feed) -> tuple[str, ...]:
    return tuple(f"{root}/" for root in feed.roots)


def _is_gzip(path: str) -> bool:
    return path.endswith(".gz")


def _row_bytes(feed: Feed, known: Iterable[LandingFile], usual: Measured) -> tuple[float, float]:
    """Bytes of a row in landing, plain and gzipped, by what was loaded."""
    sizes: Counter[bool] = Counter()
    rows: Counter[bool] = Counter()
    for file in known:
        if file.status == "loaded" and file.rows and file.path.startswith(_folders(feed)):
            sizes[_is_gzip(file.path)] += file.size
            rows[_is_gzip(file.path)] += file.rows
    # Firehose's files are gzipped whatever they are called.
    plain, packed = usual.row_bytes
    return (
        sizes[False] / rows[False] if rows[False] else plain if feed.format.suffixes else packed,
        sizes[True] / rows[True] if rows[True] else packed,
    )


#: pieces, rows and seconds of a hop of a recorded run; see ``Pace``
_Point = tuple[int, float, float]


def _points(
    domain: Domain, runs: Iterable[Recorded], known: Iterable[LandingFile], accounts: Iterable[_Account]
) -> dict[str, list[_Point]]:
    """What recorded runs tell of each hop; of raw rows are those that it read, below it all that the days have."""
    of_hop = {feed.raw.name: layers.RAW for feed in domain.feeds}
    of_hop |= {feed.cleaned.name: layers.CLEANED for feed in domain.feeds}
    rows: Counter[tuple[str, str]] = Counter()
    files: Counter[str] = Counter()
    days: dict[tuple[str, str], set[date]] = defaultdict(set)
    for file in known:
        rows[layers.RAW, file.run_id] += file.rows
        files[file.run_id] += 1
        days[layers.RAW, file.run_id].add(file.partition_date)
    for asset, run_id, day, rows_in in accounts:
        hop = of_hop[asset]
        days[hop, run_id].add(day)
        if hop == layers.CLEANED:
            rows[hop, run_id] += rows_in
    points: dict[str, list[_Point]] = {hop: [] for hop in HOPS}
    for run in runs:
        for hop in HOPS:
            by = layers.RAW if hop == layers.RAW else layers.CLEANED
            there = len(days[by, run.run_id] & run.days)
            if run.seconds.get(hop) and there >= _STILL_THERE * len(run.days):
                pieces = files[run.run_id] if hop == layers.RAW else len(run.days)
                points[hop].append((pieces, rows[by, run.run_id], run.seconds[hop]))
    return points


def fit(usual: Pace, points: Sequence[_Point]) -> Pace:
    """The pace that recorded runs tell: least squares of their relative errors, no part below 0.

    ``usual`` is what is known without them. What they do not tell is as usual, but for how much faster or slower this
    machine is.
    """
    import numpy as np

    if not points:
        return usual
    parts = np.array([usual.parts(pieces, rows) for pieces, rows, _ in points])
    seconds = np.array([max(seconds, 0.01) for *_, seconds in points])
    ratios = seconds / parts.sum(axis=1)
    speed, weight = float(np.median(ratios)), math.sqrt(_PRIOR_WEIGHT) / float(ratios.max())
    matrix = np.vstack([parts / seconds[:, None], np.eye(3) * weight])
    wanted = np.concatenate([np.ones(len(points)), np.full(3, weight * speed)])
    found, least = np.full(3, speed), math.inf
    for some in (c for n in (1, 2, 3) for c in itertools.combinations(range(3), n)):
        factors = np.zeros(3)
        factors[list(some)] = np.linalg.lstsq(matrix[:, some], wanted, rcond=None)[0]
        error = float(np.square(matrix @ factors - wanted).sum())
        if (factors >= 0).all() and error < least:
            found, least = factors, error
    return Pace(
        *(float(one * factor) for one, factor in zip((usual.fixed, usual.piece, usual.million), found, strict=True))
    )


def _lake_bytes(
    platform: Platform, domain: Domain, usual: Measured, extent: Extent, rows: float, *, loaded: bool
) -> float:
    """How much the lake grows: it keeps what was there before for some days."""
    row = usual.lake_row
    if loaded:
        files = [
            file
            for feed in domain.feeds
            for table in (feed.raw, feed.cleaned)
            for file in platform.lake.snapshot(table).files
        ]
        if there := sum(file.rows for file in files) / 2:
            row = max(sum(file.size for file in files) - usual.lake_file * len(files), 0) / there
    return extent.loads * usual.lake_file + rows * row


def _dollars(
    settings: Settings,
    tariff: Mapping[str, Any],
    extent: Extent,
    hops: Mapping[str, float],
    lake_bytes: float,
    *,
    feeds: int,
    days: int,
) -> tuple[float, float] | None:
    """Dollars for making the days, and a month for keeping them; None where nothing is on AWS.

    A further engine that costs by the hour is a further line here: its price of the hops that it works at.
    """
    on_s3 = s3.is_s3(settings.landing_uri), s3.is_s3(settings.lake_uri)
    if settings.environment != "aws" and settings.redshift is None and not any(on_s3):
        return None
    once, monthly = 0.0, 0.0
    storage, warehouse = tariff["s3"], tariff["redshift"]
    if on_s3[0]:
        once += (
            feeds * days * storage["thousand_puts"] + extent.gets * storage["thousand_gets"]
        ) / 1000  # lists, reads
    if on_s3[1]:
        puts = extent.loads * (1 + lake_bytes / max(extent.loads, 1) / _REQUEST_BYTES) + 2 * feeds * _COMMIT_PUTS
        once += puts * (storage["thousand_puts"] + _GETS_OF_A_PUT * storage["thousand_gets"]) / 1000
        monthly += lake_bytes / 1e9 * storage["gb_month"]
    if settings.redshift is not None:
        busy = max(hops[layers.CLEANED] + hops[layers.ENHANCED], warehouse["least_seconds"])
        once += busy / 3600 * warehouse["rpus"] * warehouse["rpu_hour"]
        monthly += lake_bytes / 1e9 * warehouse["gb_month"]
    once += sum(hops.values()) / 3600 * tariff["machine"]["hour"]
    return once, monthly


#: objects that a commit of a table writes besides its rows, and how often what was written is read in the run
_COMMIT_PUTS, _GETS_OF_A_PUT = 6, 8

_PRICES = Path(__file__).with_name("prices.yml")


def prices(path: Path | None = None) -> dict[str, Any]:
    """The prices of the package, with those of a file in their place.

    Raises:
        ClickstreamError: the file is no YAML, has a key that nobody asks for, or a price that is no number from 0 up.
    """
    import yaml

    usual: dict[str, Any] = yaml.safe_load(_PRICES.read_text(encoding="utf-8"))
    if path is None:
        return usual
    try:
        own = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ClickstreamError(f"{path} (CLICKSTREAM_PRICES) is no YAML: {' '.join(str(error).split())}") from None
    return _merged(usual, own, path, "")


def _merged(usual: Mapping[str, Any], own: object, path: Path, where: str) -> dict[str, Any]:
    if not isinstance(own, dict) or set(own) - set(usual):
        names = ", ".join(sorted(map(str, usual)))
        raise ClickstreamError(f"{path} (CLICKSTREAM_PRICES): {where or 'the file'} may have the keys {names} alone.")
    merged = dict(usual)
    for name, value in cast("dict[str, Any]", own).items():
        place = f"{where}.{name}" if where else name
        if isinstance(usual[name], dict):
            merged[name] = _merged(usual[name], value, path, place)
        elif isinstance(usual[name], str):
            merged[name] = str(value)
        elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ClickstreamError(f"{path} (CLICKSTREAM_PRICES): {place} is {value!r}: give a number from 0 up.")
        else:
            merged[name] = value
    return merged
