"""Landing → ``cdc_raw.changes``: every change of every declared table, as its files tell it.

The day of a file is that on which it was first seen, since full loads have none in their names; it stays the same when
the file is written again. All tables are one raw table here, whose days are staged together; each target of a day has
data files of its own. How files are compared, counted and kept is that of every raw table: see ``parsing.landing``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from hashlib import sha256
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clickstream_assets.cdc import dms, dynamodb
from clickstream_assets.cdc.declared import DMS, MOST, Declared
from clickstream_assets.errors import ClickstreamError, RejectedFile
from clickstream_assets.parsing import content
from clickstream_assets.parsing.content import Readable
from clickstream_assets.parsing.formats import Batch, Reader
from clickstream_assets.parsing.landing import LOADED, Content, FilesLoader, Place, Progress, Published, Way
from clickstream_assets.schemas import CDC_CHANGES
from clickstream_assets.settings import Limits
from clickstream_assets.storage.files import FileInfo, misnamed
from clickstream_assets.storage.staged import LandingFile, Staged

if TYPE_CHECKING:
    from clickstream_assets.platform import Platform

#: the folder of landing with the files of all tables
ROOT = "cdc"

#: folders that are named in a message
_NAMED = 5


@dataclass(frozen=True)
class Loading:
    """What is to be published of ``cdc_raw.changes``.

    ``rewritten``: targets of which published changes are taken away or told otherwise: what was made of them must be
    made anew, since a change that is gone cannot be taken back. ``others``: folders with files of no declared table,
    which are left alone.
    """

    staged: Staged
    rewritten: frozenset[str]
    others: tuple[str, ...] = ()


def stage(platform: Platform, declared: Sequence[Declared], *, run_id: str, today: date, progress: Progress) -> Loading:
    """Read what is new or changed in landing; ``today`` becomes the day of files that were never seen.

    The caller has the domain for itself. Nothing new: no days.

    Raises:
        ClickstreamError: a file changed while it was read.
    """
    known = platform.warehouse.landing_files(ROOT)
    loader = _Loader(platform, declared, known, today=today, progress=progress)
    days = loader.days()
    if not days:
        nothing = Staged(CDC_CHANGES, [], [], [], [], run_id, landing_roots=(ROOT,))
        return Loading(nothing, frozenset(), loader.others)
    staged = loader.stage(days, known, run_id=run_id, progress=progress)
    now = {file.path: file for file in staged.landing_files}
    there = set(staged.days)
    gone = [f for f in known if f.status == LOADED and f.partition_date in there and now.get(f.path) != f]
    return Loading(staged, frozenset(filter(None, map(loader.target_then, gone))) | loader.restored, loader.others)


class _Loader(FilesLoader):
    """Stages the files of all declared tables, each read as its declaration says."""

    def __init__(
        self,
        platform: Platform,
        declared: Sequence[Declared],
        known: Sequence[LandingFile],
        *,
        today: date,
        progress: Progress,
    ):
        limits = platform.settings.limits
        super().__init__(CDC_CHANGES, (ROOT,), landing=platform.landing, lake=platform.lake, limits=limits)
        self._tables = {one.folder: one for one in declared}
        self._how = {one.folder: _identity(one, limits) for one in declared}
        self._known = {file.path: file for file in known}
        self._today = today
        #: targets of changes that the lake has of files of which nothing is known
        self.restored: frozenset[str] = frozenset()
        standing: dict[date, dict[str, LandingFile]] = defaultdict(dict)
        for file in known:
            standing[file.partition_date][file.path] = file
        self._unsound = self._not_as_known(standing)
        seen = self._seen(self._unsound)
        self._by_day: dict[date, list[FileInfo]] = defaultdict(list)
        others, there = set(), set()
        for info in self._landing.files(ROOT):
            there.add(info.path)
            if self._table_of(info.path) is None:
                others.add(_folder(info.path) or info.path)
                continue
            day = self._known[info.path].partition_date if info.path in self._known else seen.get(info.path, today)
            self._by_day[day].append(info)
        #: folders with files of no declared table
        self.others = tuple(sorted(others))
        if lost := sorted(seen.keys() - self._known.keys() - there):
            raise ClickstreamError(
                f"{CDC_CHANGES.name} has rows of {len(lost):,} files of which ops.landing_files knows nothing and that "
                f"are not in landing, e.g. {lost[0]}: without the one or the other they would be lost. Bring back the "
                "warehouse, or these files."
            )
        rows_of = {one.target: _row_of(one) for one in declared}
        for file in known:
            target, row_of = self._read_then(file)
            stays = file.status == LOADED and (file.path not in there or self._table_of(file.path) is None)
            if stays and row_of != rows_of.get(target, row_of):
                raise ClickstreamError(
                    f"{file.path} was read as rows of cdc.{target} when that was another table or had another primary "
                    "key, and is no file of it in landing now: its rows would stand beside those that are keyed "
                    "otherwise. Give the entry another target."
                )
        if others:
            some = ", ".join(sorted(others)[:_NAMED]) + (" and others" if len(others) > _NAMED else "")
            progress(f"left alone, since no such tables are declared: {some}")

    def days(self) -> list[date]:
        """Days with files that are new, were written again, or are to be read in another way; and damaged ones."""
        new = {day for day, files in self._by_day.items() if any(map(self._is_new, files))}
        return sorted(new | self._unsound)

    def target_then(self, file: LandingFile) -> str:
        """The target that a file's changes were of when it was loaded."""
        return self._read_then(file)[0]

    def _read_then(self, file: LandingFile) -> tuple[str, str]:
        """That, and what its rows were rows of: see ``_identity``."""
        target, _, how = (file.read_as or "").rpartition(" ")[2].partition(":")
        return target, how.partition(":")[0]

    def _is_new(self, info: FileInfo) -> bool:
        known = self._known.get(info.path)
        version = info.etag if misnamed(info.path) else self._landing.version(info)
        return known is None or known.read_as != f"{version} {self._how[_folder(info.path) or '']}"

    def _not_as_known(self, standing: dict[date, dict[str, LandingFile]]) -> set[date]:
        """Days of which the lake has other rows than is known, e.g. since a table or the books were lost."""
        published = Published(self._lake, self._table, standing)
        days = standing.keys() | set(self._lake.snapshot(self._table).days)
        published.look(days)
        return {day for day in days if not published.sound(day)}

    def _seen(self, days: Collection[date]) -> dict[str, date]:
        """The days of files, as the lake has them."""
        seen: dict[str, date] = {}
        targets = set()
        for file in self._lake.snapshot(self._table, days).files if days else ():
            targets.add(str(file.partition[0]))
            with self._lake.files.open_random(self._lake.files.relative(file.uri)) as source:
                paths = pc.unique(pq.read_table(source, columns=["source_file"], partitioning=None)[0]).to_pylist()
            seen |= {path: min(file.day, seen.get(path, file.day)) for path in paths}
        self.restored = frozenset(targets)
        return seen

    def _table_of(self, path: str) -> Declared | None:
        return self._tables.get(_folder(path) or "")

    def _files(self, day: date, progress: Progress) -> list[FileInfo]:
        return self._by_day.get(day, [])

    def _content(self, content_hash: str, place: Place) -> Content:
        """Changes of DMS may have their order from the name of their file alone: under another they are others."""
        _, path = place
        folder, name = _folder(path) or "", PurePosixPath(path).name
        ordered = folder.startswith(f"{ROOT}/{DMS}/") and not dms.is_load(name)
        return content_hash, f"{folder}/{name}" if ordered else folder

    def _way(self, path: str) -> Way:
        declared = self._table_of(path)
        if declared is None:
            raise ValueError(f"{path} is no file of a declared table")
        of_source = dms if declared.source == DMS else dynamodb
        try:
            read = of_source.reader(declared, path)
        except RejectedFile as error:
            read = _refusing(error)
        binary = path.lower().endswith(dms.PARQUET_SUFFIXES)
        identity = self._how[declared.folder]
        return Way(content.text_of, _with_origin(read, declared, path), (), identity, bool(declared.personal), binary)


def _folder(path: str) -> str | None:
    """The folder of the table whose file it is, e.g. ``cdc/dms/shop/orders``; None where it is nobody's."""
    parts = path.split("/")
    depth = 4 if parts[1:2] == [DMS] else 3
    return "/".join(parts[:depth]) if len(parts) > depth else None


def _identity(declared: Declared, limits: Limits) -> str:
    """All of a declaration that the rows depend on, after the name of the target."""
    how = (
        *(declared.source, declared.primary_key, declared.columns, declared.timestamp, declared.sequence),
        *(bool(declared.personal), limits),
        *([long] if (long := sorted(name for name in declared.renames if len(name) > MOST)) else ()),
    )
    return f"{declared.target}:{_row_of(declared)}:{sha256(repr(how).encode()).hexdigest()[:16]}"


def _row_of(declared: Declared) -> str:
    """What a row of the target is a row of: the table at the source, and its key."""
    return sha256(repr((declared.folder, declared.primary_key)).encode()).hexdigest()[:8]


def _refusing(error: RejectedFile) -> Reader:
    def refuse(stream: Readable, columns: Sequence[str], limits: Limits) -> Iterator[Batch]:
        raise RejectedFile(error.plain)

    return refuse


def _with_origin(read: Reader, declared: Declared, path: str) -> Reader:
    """The reader, whose rows have the table and the file's name besides."""
    name = PurePosixPath(path).name

    def with_origin(stream: Readable, columns: Sequence[str], limits: Limits) -> Iterator[Batch]:
        return map(added, read(stream, columns, limits))

    def added(batch: Batch) -> Batch:
        count = batch.rows.num_rows
        rows = batch.rows.append_column("file_name", pa.repeat(name, count))
        return replace(batch, rows=rows.append_column("target", pa.repeat(declared.target, count)))

    return with_origin
