"""Landing → raw: which files of a day count, and their records as staged Parquet, each field as text.

Two passes over a file. The first reads it from end to end (hash, checksum, caps, binary or not), so that a file that
must be rejected whole is known before any of its rows is written; the second writes the records of the files that
count. A file counts unless the same content already stands for the domain under a smaller (day, path), or,
where a day's files say how things are on that day (``Feed.by_day``), under a smaller path of that day.

A file that is as it was when it was read last is not read again. Where files were only added to a day, its published
rows stay as they are and the new ones are put beside them: an arrival costs the arrival, not the day.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

from clickstream_assets.domains import Feed
from clickstream_assets.errors import ClickstreamError, RejectedFile
from clickstream_assets.parsing.content import Hashed, Prefixed, Readable
from clickstream_assets.parsing.formats import Reader, Shape
from clickstream_assets.parsing.rows import REJECTED_FILE, DayWriter
from clickstream_assets.schemas import QUARANTINE, Table
from clickstream_assets.settings import Limits
from clickstream_assets.storage.files import FileInfo, Files, misnamed
from clickstream_assets.storage.lake import Lake
from clickstream_assets.storage.staged import Account, Check, LandingFile, Staged, StagedFile, count_by_day

if TYPE_CHECKING:
    from clickstream_assets.platform import Platform

LOADED, DUPLICATE, REJECTED = "loaded", "duplicate_file", REJECTED_FILE

_READ_BYTES = 1024 * 1024

#: published files of a day from which on they are put together when more are added: each costs whoever reads the table
MOST_FILES = 500

#: files that are read at the same time: what reads them lets go of the interpreter most of the time
_AT_ONCE = 2

Progress = Callable[[str], None]

#: a place where a content lies: its day and its path; the smallest one stands for the content
Place = tuple[date, str]

#: what files that are copies of each other share: a content's hash, and within what it must not come again, e.g. the
#: day of a feed whose days stand alone
Content = tuple[str, date | str | None]


#: seconds between two lines of ``paced``
_PACE = 0.5


def paced(progress: Progress) -> Progress:
    """The same for lines of which each takes the place of the one before: those that follow too soon are left out.

    Dagster commits each line by itself: of 2,190 small files of a year a line each took a fifth of the step.
    """
    last = float("-inf")

    def tell(line: str) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= _PACE:
            last = now
            progress(line)

    return tell


@dataclass(frozen=True)
class _Inspected:
    """A landing file after the first pass; ``problem`` says why it must be rejected whole.

    ``read_as``: its version and how it is read. ``was``: what is known of it, where it is as it was then.
    """

    info: FileInfo
    day: date
    content_hash: str
    problem: str | None
    read_as: str
    was: LandingFile | None = None

    @property
    def place(self) -> Place:
        return self.day, self.info.path


@dataclass(frozen=True)
class Way:
    """How a file is read: from bytes to text, and from there to batches of records that have ``columns``.

    ``identity``: all that the rows depend on besides the file, which is read again when it changes. ``personal``:
    whether its records name persons. ``binary``: whether it is no text, so that NUL bytes say nothing.
    """

    text_of: Callable[[Readable, str, Limits], Readable]
    reader: Reader
    columns: Sequence[str]
    identity: str
    personal: bool
    binary: bool = False


def loader(feed: Feed, platform: Platform) -> LandingLoader:
    """The loader of a feed whose files are rows that count unless they are copies."""
    shape, limits = feed.load_shape(platform), platform.settings.limits
    return LandingLoader(feed, landing=platform.landing, lake=platform.lake, limits=limits, shape=shape)


class FilesLoader(ABC):
    """Stages landing files for a raw table: those of some days, of which a subclass says where and how they are."""

    def __init__(self, table: Table, roots: Sequence[str], *, landing: Files, lake: Lake, limits: Limits):
        self._table = table
        self._roots = roots
        self._landing = landing
        self._lake = lake
        self._limits = limits

    @abstractmethod
    def _files(self, day: date, progress: Progress) -> list[FileInfo]:
        """The files of a day."""

    @abstractmethod
    def _way(self, path: str) -> Way:
        """How a file is read."""

    @abstractmethod
    def _content(self, content_hash: str, place: Place) -> Content:
        """What a file shares with its copies, and with no other file."""

    def _writer(self, day: date, run_id: str) -> DayWriter:
        return DayWriter(self._table, self._lake, day, run_id)

    def _sealed(self, content_hash: str) -> str:
        """A file's hash as it is stored."""
        return content_hash

    def _compared(self, read: Mapping[date, Sequence[str]], rows: Sequence[StagedFile]) -> list[Check]:
        """What comes of comparing the files that were read, by day, with the rows that were staged."""
        return []

    def stage(self, days: Sequence[date], known: Iterable[LandingFile], *, run_id: str, progress: Progress) -> Staged:
        """Read the files of ``days`` and stage their rows, rejects and accounts.

        ``known``: the domain's rows of ``ops.landing_files``. When a file of these days takes over from, or makes way
        for, a copy on another day, that day is staged too: the result's ``days`` may be more than was asked.
        """
        standing: dict[date, dict[str, LandingFile]] = defaultdict(dict)
        by_path: dict[str, LandingFile] = {}
        for file in known:
            by_path[file.path] = standing[file.partition_date][file.path] = file
        published = Published(self._lake, self._table, standing)
        inspected: dict[date, list[_Inspected]] = {}
        wanted = set(days)
        moving = paced(progress)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="landing") as threads:
            while missing := sorted(wanted - inspected.keys()):
                published.look(missing)
                for number, day in enumerate(missing, start=1):
                    was = standing[day] if published.sound(day) else {}
                    found = self._files(day, progress)
                    inspected[day] = list(threads.map(partial(self._inspect, day=day, was=was), found))
                    if new := sum(file.was is None for file in inspected[day]):
                        moving(f"inspected {day} ({number} of {len(missing)} days, {new} files)")
                owners = self._owners(inspected, by_path.values())
                wanted |= self._touched(inspected, by_path.values(), owners)
            return self._write(inspected, standing, published, owners, threads, run_id=run_id, progress=moving)

    def _inspect(self, info: FileInfo, *, day: date, was: Mapping[str, LandingFile]) -> _Inspected:
        way = self._way(info.path)
        if problem := misnamed(info.path):
            content_hash = sha256(f"{info.path}\0{info.etag}".encode()).hexdigest()
            return _Inspected(info, day, content_hash, problem, f"{info.etag} {way.identity}")
        read_as = f"{self._landing.version(info)} {way.identity}"
        known = was.get(info.path)
        if known is not None and known.read_as == read_as:
            problem = "it was rejected before" if known.status == REJECTED else None
            return _Inspected(info, day, known.content_hash, problem, read_as, known)
        with self._landing.open(info.path) as raw:
            content = Hashed(way.text_of(raw, info.path, self._limits))
            try:
                first = b""
                while len(first) < _READ_BYTES and (more := content.read(_READ_BYTES - len(first))):
                    first += more  # a stream may give less than it was asked for
                if b"\0" in first and not way.binary:
                    raise RejectedFile("it is binary, not text: it has NUL bytes")
                way.reader(Prefixed(first, content), way.columns, self._limits)
                while content.read(_READ_BYTES):
                    pass
            except RejectedFile as error:
                problem = error.plain if way.personal else str(error)
                return _Inspected(info, day, self._hash_of_bytes(info), problem, read_as)
        return _Inspected(info, day, self._sealed(content.hexdigest()), None, read_as)

    def _hash_of_bytes(self, info: FileInfo) -> str:
        """For a file whose content cannot be had."""
        with self._landing.open(info.path) as raw:
            hashed = Hashed(raw)
            while hashed.read(_READ_BYTES):
                pass
        return self._sealed(hashed.hexdigest())

    def _write(
        self,
        inspected: dict[date, list[_Inspected]],
        standing: dict[date, dict[str, LandingFile]],
        published: Published,
        owners: dict[Content, Place],
        threads: ThreadPoolExecutor,
        *,
        run_id: str,
        progress: Progress,
    ) -> Staged:
        files: list[StagedFile] = []
        quarantine: list[StagedFile] = []
        kept: list[StagedFile] = []
        kept_quarantine: list[StagedFile] = []
        accounts: list[Account] = []
        landing_files: list[LandingFile] = []
        read: dict[date, list[str]] = defaultdict(list)
        rules: Counter[str] = Counter()
        for day in sorted(inspected):
            writer = self._writer(day, run_id)
            present = {f.info.path for f in inspected[day]}
            gone = [self._still_owns(f, owners) for f in standing[day].values() if f.path not in present]
            entries = [(file, self._entry(file, owners, run_id)) for file in inspected[day]]
            # Rows that the lake has and that stay: of files that are gone, and of those that are as they were.
            stay = gone + [entry for file, entry in entries if entry == file.was]
            landing_files += stay
            of_stay = {f.path for f in stay if f.status != DUPLICATE}
            leave = {f.path for f in standing[day].values() if f.status != DUPLICATE} - of_stay
            few = len(published.rows.get(day, ())) <= MOST_FILES
            if of_stay and not leave and few and published.sound(day):
                kept += published.rows.get(day, [])
                kept_quarantine += published.rejects.get(day, [])
                writer.found += sum(f.rows for f in stay)
                rules += self._lake.count_values(published.rejects.get(day, []), "rule")
            elif of_stay:
                writer.carry_over(published.rows.get(day, []), published.rejects.get(day, []), of_stay)
            new = [pair for pair in entries if pair[1] != pair[0].was]
            for written in threads.map(partial(self._write_file, writer), *zip(*new, strict=True)) if new else ():
                landing_files.append(written)
                if written.status == LOADED:
                    read[day].append(written.path)
                progress(f"read {written.path} ({written.size / 1e6:,.1f} MB)")
            rows, rejects = writer.close()
            files += rows
            quarantine += rejects
            rules.update(writer.rules)
            rows_out = count_by_day([*rows, *kept])[day]
            rejected = count_by_day([*rejects, *kept_quarantine])[day]
            accounts.append(Account(day, writer.found, rows_out, rejected=rejected))
        return Staged(
            self._table,
            sorted(inspected),
            files,
            quarantine,
            accounts,
            run_id,
            kept,
            kept_quarantine,
            landing_roots=self._roots,
            landing_files=landing_files,
            rejected_by_rule=dict(rules),
            together=self._linked(inspected, [file for of_day in standing.values() for file in of_day.values()]),
            findings=self._compared(read, files),
        )

    def _entry(self, file: _Inspected, owners: dict[Content, Place], run_id: str) -> LandingFile:
        """What will be known of a file; its rows are not counted yet. Equal to what is known when nothing changes."""
        status = LOADED
        if file.problem is not None:
            status = REJECTED
        elif owners[self._content(file.content_hash, file.place)] != file.place:
            status = DUPLICATE
        if file.was is not None and file.was.status == status:
            return file.was
        info, rows = file.info, 1 if status == REJECTED else 0
        return LandingFile(info.path, info.size, file.content_hash, file.day, rows, status, run_id, file.read_as)

    def _write_file(self, writer: DayWriter, file: _Inspected, entry: LandingFile) -> LandingFile:
        if entry.status == REJECTED:
            writer.reject_file(file.info.path, str(file.problem))
        if entry.status != LOADED:
            return entry
        way = self._way(file.info.path)
        with self._landing.open(file.info.path) as raw:
            content = Hashed(way.text_of(raw, file.info.path, self._limits))
            try:
                batches = way.reader(content, way.columns, self._limits)
                rows = writer.write_file(file.info.path, file.content_hash, batches, personal=way.personal)
            except RejectedFile as error:  # the first pass found nothing wrong
                raise ClickstreamError(
                    f"{file.info.path} changed while it was read ({error.plain}): run again."
                ) from None
        if self._sealed(content.hexdigest()) != file.content_hash:
            raise ClickstreamError(f"{file.info.path} changed while it was read: run again.")
        return replace(entry, rows=rows)

    def _owners(self, inspected: dict[date, list[_Inspected]], known: Iterable[LandingFile]) -> dict[Content, Place]:
        """For each content, the (day, path) that stands for it: the smallest of those that can be read."""
        present = {file.info.path for files in inspected.values() for file in files}
        candidates: dict[Content, list[Place]] = defaultdict(list)
        for files in inspected.values():
            for file in files:
                if file.problem is None:
                    candidates[self._content(file.content_hash, file.place)].append(file.place)
        for known_file in known:
            # A copy on a day of this run that is no longer in landing stands for its content only if it already does.
            here = known_file.partition_date in inspected
            cannot = known_file.status == REJECTED or (here and known_file.status == DUPLICATE)
            if known_file.path not in present and not cannot:
                place = known_file.partition_date, known_file.path
                candidates[self._content(known_file.content_hash, place)].append(place)
        return {content: min(places) for content, places in candidates.items()}

    def _linked(self, inspected: dict[date, list[_Inspected]], known: Iterable[LandingFile]) -> list[set[date]]:
        """Days that share a content, now or before: its rows may move from one to the other."""
        days: dict[Content, set[date]] = defaultdict(set)
        for day, files in inspected.items():
            for file in files:
                days[self._content(file.content_hash, file.place)].add(day)
        for known_file in known:
            place = known_file.partition_date, known_file.path
            days[self._content(known_file.content_hash, place)].add(known_file.partition_date)
        return [shared & inspected.keys() for shared in days.values() if len(shared & inspected.keys()) > 1]

    def _still_owns(self, file: LandingFile, owners: dict[Content, Place]) -> LandingFile:
        """A file that landing no longer has keeps its rows unless another copy has come to stand for its content."""
        place = file.partition_date, file.path
        if file.status == LOADED and owners[self._content(file.content_hash, place)] != place:
            return replace(file, status=DUPLICATE, rows=0)
        return file

    def _touched(
        self, inspected: dict[date, list[_Inspected]], known: Iterable[LandingFile], owners: dict[Content, Place]
    ) -> set[date]:
        """Other days on which a file's status changes."""
        days = set()
        for file in known:
            if file.partition_date not in inspected and file.status != REJECTED:
                place = file.partition_date, file.path
                owns = owners[self._content(file.content_hash, place)] == place
                if owns != (file.status == LOADED):
                    days.add(file.partition_date)
        return days


class LandingLoader(FilesLoader):
    """Stages the landing files of a feed for its raw table."""

    def __init__(self, feed: Feed, *, landing: Files, lake: Lake, limits: Limits, shape: Shape | None = None):
        super().__init__(feed.raw, feed.roots, landing=landing, lake=lake, limits=limits)
        self.feed = feed
        self._shape = shape
        how = (feed.format, feed.columns, limits, shape.identity if shape else "")
        identity = sha256(repr(how).encode()).hexdigest()[:16]
        personal = bool(feed.raw.personal)
        self._one_way = Way(feed.format.text_of, feed.format.load(), feed.columns, identity, personal)

    def _files(self, day: date, progress: Progress) -> list[FileInfo]:
        found, suffixes = self._landing.files(self.feed.folder(day)), " or ".join(self.feed.format.suffixes)
        if others := [file.path for file in found if not self.feed.format.has(file.path)]:
            progress(f"left out, since their names do not end in {suffixes}: {', '.join(others)[:500]}")
        return [file for file in found if self.feed.format.has(file.path)]

    def _way(self, path: str) -> Way:
        return self._one_way

    def _content(self, content_hash: str, place: Place) -> Content:
        return content_hash, place[0] if self.feed.by_day else None

    def _writer(self, day: date, run_id: str) -> DayWriter:
        return DayWriter(self._table, self._lake, day, run_id, self._shape)

    def _sealed(self, content_hash: str) -> str:
        """The hash as it is stored. Of a file of one record, that of its content would give the record away."""
        return self._shape.seal(content_hash) if self._shape else content_hash

    def _compared(self, read: Mapping[date, Sequence[str]], rows: Sequence[StagedFile]) -> list[Check]:
        """The totals of money, where the feed has any."""
        if not self.feed.raw.totals:
            return []
        from clickstream_assets import totals  # with DuckDB, which other feeds do without

        return [totals.loaded(self.feed, self._landing, self._lake, self._limits, read, rows)]


class Published:
    """What the lake has of some days of a raw table: its files and those of its rejects.

    ``standing``: what is known of the landing files, by day and path.
    """

    def __init__(self, lake: Lake, table: Table, standing: Mapping[date, Mapping[str, LandingFile]]):
        self._lake = lake
        self._table = table
        self._standing = standing
        self.rows: dict[date, list[StagedFile]] = {}
        self.rejects: dict[date, list[StagedFile]] = {}

    def look(self, days: Collection[date]) -> None:
        """Look at further days."""
        for table, found in ((self._table, self.rows), (QUARANTINE, self.rejects)):
            for file in self._lake.snapshot(table, days).files:
                if table is QUARANTINE and file.partition[0] != self._table.name:
                    continue
                kept = StagedFile(self._lake.files.relative(file.uri), file.rows, file.day)
                found.setdefault(file.day, []).append(kept)

    def sound(self, day: date) -> bool:
        """Whether the lake has as many records as were loaded; not when somebody dropped a table, say."""
        known = self._standing.get(day, {}).values()
        there = sum(file.rows for found in (self.rows, self.rejects) for file in found.get(day, []))
        return there == sum(file.rows for file in known if file.status != DUPLICATE)
