"""Landing → raw: which files of a day count, and their records as staged Parquet, each field as text.

Two passes. The first reads a file from end to end (hash, checksum, caps, binary or not), so that a file that must be
rejected whole is known before any of its rows is written; the second writes the records of the files that count. A file
counts unless the same content already stands for the domain under a smaller (day, path).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from hashlib import sha256

from clickstream_assets.domains import Feed
from clickstream_assets.errors import ClickstreamError, RejectedFile
from clickstream_assets.parsing.content import Hashed, Prefixed, text_of
from clickstream_assets.parsing.rows import REJECTED_FILE, DayWriter
from clickstream_assets.schemas import QUARANTINE
from clickstream_assets.settings import Limits
from clickstream_assets.storage.files import FileInfo, Files, misnamed
from clickstream_assets.storage.lake import Lake
from clickstream_assets.storage.staged import Account, LandingFile, Staged, StagedFile, count_by_day

LOADED, DUPLICATE, REJECTED = "loaded", "duplicate_file", REJECTED_FILE

_READ_BYTES = 1024 * 1024

Progress = Callable[[str], None]

#: a place where a content lies: its day and its path; the smallest one stands for the content
Place = tuple[date, str]


@dataclass(frozen=True)
class _Inspected:
    """A landing file after the first pass; ``problem`` says why it must be rejected whole."""

    info: FileInfo
    day: date
    content_hash: str
    problem: str | None


class LandingLoader:
    """Stages the landing files of a feed for its raw table."""

    def __init__(self, feed: Feed, *, landing: Files, lake: Lake, limits: Limits):
        self.feed = feed
        self._reader = feed.format.load()
        self._landing = landing
        self._lake = lake
        self._limits = limits

    def stage(self, days: Sequence[date], known: Iterable[LandingFile], *, run_id: str, progress: Progress) -> Staged:
        """Read the files of ``days`` and stage their rows, rejects and accounts.

        ``known``: the domain's rows of ``ops.landing_files``. When a file of these days takes over from, or makes way
        for, a copy on another day, that day is staged too: the result's ``days`` may be more than was asked.
        """
        by_path = {file.path: file for file in known}
        inspected: dict[date, list[_Inspected]] = {}
        wanted = set(days)
        while missing := sorted(wanted - inspected.keys()):
            for number, day in enumerate(missing, start=1):
                inspected[day] = [self._inspect(info, day) for info in self._files(day, progress)]
                if inspected[day]:
                    progress(f"inspected {day} ({number} of {len(missing)} days, {len(inspected[day])} files)")
            owners = _owners(inspected, by_path.values())
            wanted |= _touched(inspected, by_path.values(), owners)
        return self._write(inspected, by_path.values(), owners, run_id=run_id, progress=progress)

    def _files(self, day: date, progress: Progress) -> list[FileInfo]:
        found, suffixes = self._landing.files(self.feed.folder(day)), " or ".join(self.feed.format.suffixes)
        if others := [file.path for file in found if not self.feed.format.has(file.path)]:
            progress(f"left out, since their names do not end in {suffixes}: {', '.join(others)[:500]}")
        return [file for file in found if self.feed.format.has(file.path)]

    def _inspect(self, info: FileInfo, day: date) -> _Inspected:
        if problem := misnamed(info.path):
            return _Inspected(info, day, sha256(f"{info.path}\0{info.etag}".encode()).hexdigest(), problem)
        with self._landing.open(info.path) as raw:
            content = Hashed(text_of(raw, info.path, self._limits))
            try:
                first = content.read(_READ_BYTES)
                if b"\0" in first:
                    raise RejectedFile("it is binary, not text: it has NUL bytes")
                self._reader(Prefixed(first, content), self.feed.columns, self._limits)
                while content.read(_READ_BYTES):
                    pass
            except RejectedFile as error:
                return _Inspected(info, day, self._hash_of_bytes(info), str(error))
        return _Inspected(info, day, content.hexdigest(), None)

    def _hash_of_bytes(self, info: FileInfo) -> str:
        """For a file whose content cannot be had."""
        with self._landing.open(info.path) as raw:
            hashed = Hashed(raw)
            while hashed.read(_READ_BYTES):
                pass
        return hashed.hexdigest()

    def _write(
        self,
        inspected: dict[date, list[_Inspected]],
        known: Iterable[LandingFile],
        owners: dict[str, Place],
        *,
        run_id: str,
        progress: Progress,
    ) -> Staged:
        current = self._lake.snapshot(self.feed.raw, inspected)
        rejected_before = self._lake.snapshot(QUARANTINE, inspected)
        files: list[StagedFile] = []
        quarantine: list[StagedFile] = []
        accounts: list[Account] = []
        landing_files: list[LandingFile] = []
        rules: Counter[str] = Counter()
        standing: dict[date, list[LandingFile]] = defaultdict(list)
        for entry in known:
            standing[entry.partition_date].append(entry)
        for day in sorted(inspected):
            writer = DayWriter(self.feed.raw, self._lake, day, run_id)
            present = {f.info.path for f in inspected[day]}
            gone = [_still_owns(f, owners) for f in standing[day] if f.path not in present]
            landing_files += gone
            if kept := {f.path for f in gone if f.status != DUPLICATE}:
                writer.carry_over(current, rejected_before, kept)
            for file in inspected[day]:
                landing_files.append(self._write_file(file, owners, writer, run_id))
                progress(f"read {file.info.path} ({file.info.size / 1e6:,.1f} MB)")
            written, rejects = writer.close()
            files += written
            quarantine += rejects
            rules.update(writer.rules)
            rows_out, rejected = count_by_day(written)[day], count_by_day(rejects)[day]
            accounts.append(Account(day, writer.found, rows_out, rejected=rejected))
        return Staged(
            self.feed.raw,
            sorted(inspected),
            files,
            quarantine,
            accounts,
            run_id,
            landing_root=self.feed.root,
            landing_files=landing_files,
            rejected_by_rule=dict(rules),
            together=_linked(inspected, known),
        )

    def _write_file(self, file: _Inspected, owners: dict[str, Place], writer: DayWriter, run_id: str) -> LandingFile:
        entry = LandingFile(file.info.path, file.info.size, file.content_hash, file.day, 0, LOADED, run_id)
        if file.problem is not None:
            writer.reject_file(file.info.path, file.problem)
            return replace(entry, status=REJECTED, rows=1)
        if owners[file.content_hash] != (file.day, file.info.path):
            return replace(entry, status=DUPLICATE)
        with self._landing.open(file.info.path) as raw:
            content = Hashed(text_of(raw, file.info.path, self._limits))
            try:
                batches = self._reader(content, self.feed.columns, self._limits)
                rows = writer.write_file(file.info.path, file.content_hash, batches)
            except RejectedFile as error:  # the first pass found nothing wrong
                raise ClickstreamError(f"{file.info.path} changed while it was read ({error}): run again.") from error
        if content.hexdigest() != file.content_hash:
            raise ClickstreamError(f"{file.info.path} changed while it was read: run again.")
        return replace(entry, rows=rows)


def _owners(inspected: dict[date, list[_Inspected]], known: Iterable[LandingFile]) -> dict[str, Place]:
    """For each content, the (day, path) that stands for it: the smallest of those that can be read."""
    present = {file.info.path for files in inspected.values() for file in files}
    candidates: dict[str, list[Place]] = defaultdict(list)
    for day, files in inspected.items():
        for file in files:
            if file.problem is None:
                candidates[file.content_hash].append((day, file.info.path))
    for known_file in known:
        # A copy on a day of this run that is no longer in landing can stand for its content only if it already does.
        here = known_file.partition_date in inspected
        cannot = known_file.status == REJECTED or (here and known_file.status == DUPLICATE)
        if known_file.path not in present and not cannot:
            candidates[known_file.content_hash].append((known_file.partition_date, known_file.path))
    return {content: min(places) for content, places in candidates.items()}


def _linked(inspected: dict[date, list[_Inspected]], known: Iterable[LandingFile]) -> list[set[date]]:
    """Days that share a content, now or before: its rows may move from one to the other."""
    days: dict[str, set[date]] = defaultdict(set)
    for day, files in inspected.items():
        for file in files:
            days[file.content_hash].add(day)
    for known_file in known:
        days[known_file.content_hash].add(known_file.partition_date)
    return [shared & inspected.keys() for shared in days.values() if len(shared & inspected.keys()) > 1]


def _still_owns(file: LandingFile, owners: dict[str, Place]) -> LandingFile:
    """A file that landing no longer has keeps its rows unless another copy has come to stand for its content."""
    if file.status == LOADED and owners[file.content_hash] != (file.partition_date, file.path):
        return replace(file, status=DUPLICATE, rows=0)
    return file


def _touched(
    inspected: dict[date, list[_Inspected]], known: Iterable[LandingFile], owners: dict[str, Place]
) -> set[date]:
    """Other days on which a file's status changes."""
    days = set()
    for file in known:
        if file.partition_date not in inspected and file.status != REJECTED:
            owns = owners[file.content_hash] == (file.partition_date, file.path)
            if owns != (file.status == LOADED):
                days.add(file.partition_date)
    return days
