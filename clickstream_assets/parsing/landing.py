"""Landing → raw: which files of a day count, and their records as staged Parquet, one column of text each.

Two passes. ``inspect`` reads a file once from end to end (hash, checksum, caps, binary or not), so that a file that
must be rejected whole is known before any of its rows is written. ``stage`` then writes the records of the files that
count. A file counts unless the same content already stands for the domain under a smaller (day, path).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from clickstream_assets.errors import RejectedFile
from clickstream_assets.parsing import delimited
from clickstream_assets.schemas import QUARANTINE, Table
from clickstream_assets.settings import Limits
from clickstream_assets.storage.files import FileInfo, Files
from clickstream_assets.storage.lake import Lake, Snapshot
from clickstream_assets.storage.staged import Account, LandingFile, Staged, StagedFile, count_by_day

LOADED, DUPLICATE, REJECTED = "loaded", "duplicate_file", "rejected_file"

#: a file smaller than this decompressed is never called a bomb
_RATIO_FROM_BYTES = 16 * 1024 * 1024
_READ_BYTES = 1024 * 1024

#: rows per row group: DuckDB and Spark work on row groups in parallel, and 128 k rows of eleven columns are about 2 MB
_ROW_GROUP = 131_072

Progress = Callable[[str], None]


@dataclass(frozen=True)
class _Inspected:
    """A landing file after the first pass; ``problem`` says why it must be rejected whole."""

    info: FileInfo
    day: date
    content_hash: str
    problem: str | None


class LandingLoader:
    """Stages the landing files of a domain's delimited text for one raw table.

    ``folder``: where the domain's days lie, as a pattern of the day, e.g. ``ecommerce/ingestion_date={day}``.
    ``required``: the table's columns that a file must have; found by name, in any order and case.
    """

    def __init__(
        self, *, table: Table, folder: str, required: Sequence[str], landing: Files, lake: Lake, limits: Limits
    ):
        self.table = table
        self.folder = folder
        self.required = tuple(required)
        self._landing = landing
        self._lake = lake
        self._limits = limits

    def stage(self, days: Sequence[date], known: Iterable[LandingFile], *, run_id: str, progress: Progress) -> Staged:
        """Read the files of ``days`` and stage their rows, rejects and accounts.

        ``known``: the domain's rows of ``ops.landing_files``. When a file of these days takes over from, or makes way
        for, a copy on another day, that day is staged too: the result's ``days`` may be more than was asked.
        """
        known = {file.path: file for file in known}
        inspected: dict[date, list[_Inspected]] = {}
        wanted = set(days)
        while missing := sorted(wanted - inspected.keys()):
            for number, day in enumerate(missing, start=1):
                inspected[day] = [self._inspect(info, day) for info in self._files(day)]
                if inspected[day]:
                    progress(f"inspected {day} ({number} of {len(missing)} days, {len(inspected[day])} files)")
            owners = _owners(inspected, known.values())
            wanted |= _touched(inspected, known.values(), owners)
        return self._write(inspected, known, owners, run_id=run_id, progress=progress)

    def _files(self, day: date) -> list[FileInfo]:
        names = (".csv", ".csv.gz")
        return [f for f in self._landing.files(self.folder.format(day=day)) if f.path.lower().endswith(names)]

    def _inspect(self, info: FileInfo, day: date) -> _Inspected:
        digest = hashlib.sha256()
        problem = None
        with self._landing.open(info.path) as raw:
            try:
                stream = _content(_Hashed(raw, digest), info.path, self._limits)
                first = stream.read(_READ_BYTES)
                if b"\0" in first:
                    raise RejectedFile("it is binary, not text: it has NUL bytes")
                header = delimited.read(_Prefix(first, stream), self._limits).header
                _columns(header, self.required)
                while stream.read(_READ_BYTES):
                    pass
            except RejectedFile as error:
                problem = str(error)
                while chunk := raw.read(_READ_BYTES):  # the hash is of the whole file all the same
                    digest.update(chunk)
        return _Inspected(info, day, digest.hexdigest(), problem)

    def _write(
        self,
        inspected: dict[date, list[_Inspected]],
        known: dict[str, LandingFile],
        owners: dict[str, tuple[date, str]],
        *,
        run_id: str,
        progress: Progress,
    ) -> Staged:
        current = self._lake.snapshot(self.table, inspected)
        rejected_before = self._lake.snapshot(QUARANTINE, inspected)
        files: list[StagedFile] = []
        quarantine: list[StagedFile] = []
        accounts: list[Account] = []
        landing_files: list[LandingFile] = []
        rules: Counter[str] = Counter()
        for day in sorted(inspected):
            writer = _DayWriter(self.table, self._lake, day, run_id)
            standing = [f for f in known.values() if f.partition_date == day]
            present = {f.info.path for f in inspected[day]}
            gone = [_still_owns(f, owners) for f in standing if f.path not in present]
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
        return Staged(self.table, sorted(inspected), files, quarantine, accounts, run_id, landing_files, dict(rules))

    def _write_file(
        self, file: _Inspected, owners: dict[str, tuple[date, str]], writer: _DayWriter, run_id: str
    ) -> LandingFile:
        entry = LandingFile(file.info.path, file.info.size, file.content_hash, file.day, 0, LOADED, run_id)
        if file.problem is not None:
            writer.reject_file(file.info.path, file.problem)
            return replace(entry, status=REJECTED, rows=1)
        if owners[file.content_hash] != (file.day, file.info.path):
            return replace(entry, status=DUPLICATE)
        with self._landing.open(file.info.path) as raw:
            stream = _content(raw, file.info.path, self._limits)
            reader = delimited.read(stream, self._limits)
            columns = _columns(reader.header, self.required)
            rows = writer.write_file(file.info.path, file.content_hash, columns, reader)
        return replace(entry, rows=rows)


def _owners(inspected: dict[date, list[_Inspected]], known: Iterable[LandingFile]) -> dict[str, tuple[date, str]]:
    """For each content, the (day, path) that stands for it: the smallest of those that can be read."""
    present = {file.info.path for files in inspected.values() for file in files}
    candidates: dict[str, list[tuple[date, str]]] = defaultdict(list)
    for day, files in inspected.items():
        for file in files:
            if file.problem is None:
                candidates[file.content_hash].append((day, file.info.path))
    for file in known:
        # A copy on a day of this run that is no longer in landing can stand for its content only if it already does.
        here = file.partition_date in inspected
        if file.path not in present and file.status != REJECTED and not (here and file.status == DUPLICATE):
            candidates[file.content_hash].append((file.partition_date, file.path))
    return {content: min(places) for content, places in candidates.items()}


def _still_owns(file: LandingFile, owners: dict[str, tuple[date, str]]) -> LandingFile:
    """A file that landing no longer has keeps its rows unless another copy has come to stand for its content."""
    if file.status == LOADED and owners[file.content_hash] != (file.partition_date, file.path):
        return replace(file, status=DUPLICATE, rows=0)
    return file


def _touched(
    inspected: dict[date, list[_Inspected]], known: Iterable[LandingFile], owners: dict[str, tuple[date, str]]
) -> set[date]:
    """Other days on which a file's status changes."""
    days = set()
    for file in known:
        if file.partition_date not in inspected and file.status != REJECTED:
            owns = owners[file.content_hash] == (file.partition_date, file.path)
            if owns != (file.status == LOADED):
                days.add(file.partition_date)
    return days


class _DayWriter:
    """Writes one day's rows and rejects, and counts what it was given."""

    def __init__(self, table: Table, lake: Lake, day: date, run_id: str):
        self.found = 0
        self.rules: Counter[str] = Counter()
        self._table = table
        self._lake = lake
        self._day = day
        self._run_id = run_id
        self._now = datetime.now(UTC)
        self._path = lake.new_path(table, day)
        self._writer: pq.ParquetWriter | None = None
        self._rows = 0
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        self._rejects: list[dict[str, object]] = []
        self._carried_rejects: list[pa.Table] = []

    def carry_over(self, current: Snapshot, rejected: Snapshot, gone: set[str]) -> None:
        """Keep what landing no longer has: rows and rejects of those files, as they are."""
        mine = pc.field("source_file").isin(list(gone))
        for file in current.files:
            if file.day == self._day:
                kept = pq.read_table(file.uri, filters=mine).cast(self._table.arrow)
                self.found += kept.num_rows
                self._append(kept)
        of_asset = mine & (pc.field("asset") == self._table.name)
        for file in rejected.files:
            if file.day == self._day:
                kept = pq.read_table(file.uri, filters=of_asset).cast(QUARANTINE.arrow)
                self.found += kept.num_rows
                self.rules.update(kept["rule"].to_pylist())
                self._carried_rejects.append(kept)

    def reject_file(self, path: str, problem: str) -> None:
        """A file that cannot be read counts as one record."""
        self.found += 1
        self._reject(path, None, REJECTED, json.dumps({"error": problem}, ensure_ascii=False))

    def write_file(self, path: str, content_hash: str, columns: _Columns, reader: delimited.Reader) -> int:
        """Write a file's records; returns how many were found, broken ones included."""
        found = 0
        for block in reader.blocks:
            found += block.found
            for broken in block.broken:
                self._reject(path, broken.line, broken.rule, broken.text)
            if len(block.lines):
                self._append(self._parse(block, path, content_hash, columns))
        self.found += found
        return found

    def close(self) -> tuple[list[StagedFile], list[StagedFile]]:
        """Finish; the staged data file and the staged rejects, each a list of none or one."""
        self._flush()
        files = []
        if self._writer is not None:
            self._writer.close()
            self._sink.close()
            files = [StagedFile(self._path, self._rows, self._day)]
        tables = self._carried_rejects
        if self._rejects:
            tables = [*tables, pa.Table.from_pylist(self._rejects, schema=QUARANTINE.arrow)]
        rejects = [self._lake.write_quarantine(pa.concat_tables(tables), self._day)] if tables else []
        return files, [file for file in rejects if file.rows]

    def _parse(self, block: delimited.Block, path: str, content_hash: str, columns: _Columns) -> pa.Table:
        names = [f"c{n}" for n in range(columns.count)]
        # Arrow drops a byte order mark that its input starts with; here it is text of the first field.
        good = delimited.BOM + block.good if block.good.startswith(delimited.BOM) else block.good
        parsed = pacsv.read_csv(
            pa.BufferReader(good),
            # All in one: of a quoted CR LF that falls on the edge of two of its blocks, Arrow loses the LF.
            read_options=pacsv.ReadOptions(column_names=names, block_size=len(good)),
            parse_options=pacsv.ParseOptions(newlines_in_values=block.quoted),
            convert_options=pacsv.ConvertOptions(
                column_types={name: pa.string() for name in names}, strings_can_be_null=False
            ),
        )
        count = len(block.lines)
        if parsed.num_rows != count:
            raise RejectedFile(
                f"{path}: {count:,} records were found from line {block.lines[0]} on and {parsed.num_rows:,} were "
                "read; this is a defect of the reader, please report it with the file"
            )
        values = {name: parsed.column(index) for name, index in columns.known.items()}
        values |= {
            "ingestion_timestamp": _constant(pa.scalar(self._now, pa.timestamp("us", tz="UTC")), count),
            "source_file": _constant(pa.scalar(path), count),
            "source_line": pa.array(block.lines),
            "record_number": pa.array(block.numbers),
            "content_hash": _constant(pa.scalar(content_hash), count),
            "extra": _extra(parsed, columns, count),
            self._table.day: _constant(pa.scalar(self._day), count),
        }
        return pa.table([values[name] for name in self._table.arrow.names], schema=_written(self._table))

    def _append(self, rows: pa.Table) -> None:
        self._pending.append(rows.cast(_written(self._table)))
        self._pending_rows += rows.num_rows
        if self._pending_rows >= _ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if not self._pending_rows:
            return
        if self._writer is None:
            self._sink = self._lake.files.create(self._path)
            self._writer = pq.ParquetWriter(self._sink, _written(self._table), compression="snappy", store_schema=False)
        self._writer.write_table(pa.concat_tables(self._pending), row_group_size=_ROW_GROUP)
        self._rows += self._pending_rows
        self._pending, self._pending_rows = [], 0

    def _reject(self, path: str, line: int | None, rule: str, payload: str) -> None:
        self.rules[rule] += 1
        self._rejects.append(
            {
                "asset": self._table.name,
                "source_file": path,
                "source_line": line,
                "rule": rule,
                "payload": payload,
                "run_id": self._run_id,
                "quarantined_at": self._now,
                "partition_date": self._day,
            }
        )


#: per-file constants are dictionaries in memory and plain text in the file: 2 M rows of a 64-digit hash cost nothing
_CONSTANT_TEXT = ("source_file", "content_hash")


def _written(table: Table) -> pa.Schema:
    dictionary = pa.dictionary(pa.int32(), pa.string())
    return pa.schema([(f.name, dictionary if f.name in _CONSTANT_TEXT else f.type) for f in table.arrow])


def _constant(value: pa.Scalar, count: int) -> pa.Array:
    if pa.types.is_string(value.type):
        indices = pa.array(np.zeros(count, dtype=np.int32))
        return pa.DictionaryArray.from_arrays(indices, pa.array([value.as_py()]))
    return pa.repeat(value, count)


@dataclass(frozen=True)
class _Columns:
    """Where a file has the table's columns (``known``) and what else it has (``unknown``)."""

    count: int
    known: dict[str, int]
    unknown: dict[str, int]


def _columns(header: Sequence[str], required: Sequence[str]) -> _Columns:
    """Match a header to the table's columns by name, whatever its order and case.

    Raises:
        RejectedFile: a required column is missing or there twice.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(header):
        places[name.casefold()].append(index)
    missing = [name for name in required if name.casefold() not in places]
    if missing:
        raise RejectedFile(f"the header lacks {', '.join(missing)}; it has {', '.join(header)[:500]}")
    twice = [name for name in required if len(places[name.casefold()]) > 1]
    if twice:
        raise RejectedFile(f"the header has {', '.join(twice)} twice: it is not clear which one to read")
    known = {name: places[name.casefold()][0] for name in required}
    taken = set(known.values())
    unknown: dict[str, int] = {}
    for index, name in enumerate(header):
        if index not in taken:
            key = name or f"column_{index + 1}"
            while key in unknown:
                key += f"_{index + 1}"
            unknown[key] = index
    return _Columns(len(header), known, unknown)


def _extra(parsed: pa.Table, columns: _Columns, count: int) -> pa.Array:
    if not columns.unknown:
        return pa.nulls(count, pa.string())
    values = [parsed.column(index).to_pylist() for index in columns.unknown.values()]
    names = list(columns.unknown)
    return pa.array(
        (json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) for row in zip(*values, strict=True)),
        pa.string(),
    )


def _content(raw: BinaryIO, path: str, limits: Limits) -> BinaryIO:
    """The file's text bytes, decompressed where the name says so, within the caps."""
    return _Gzip(raw, limits) if path.lower().endswith(".gz") else _Plain(raw, limits)


class _Hashed:
    """Feeds a digest with what is read."""

    def __init__(self, raw: BinaryIO, digest: hashlib._Hash):
        self._raw = raw
        self._digest = digest

    def read(self, size: int) -> bytes:
        chunk = self._raw.read(size)
        self._digest.update(chunk)
        return chunk


class _Prefix:
    """A stream of which the first bytes were read already, from its beginning."""

    def __init__(self, content: bytes, rest: BinaryIO):
        self._content = content
        self._rest = rest

    def read(self, size: int) -> bytes:
        if not self._content:
            return self._rest.read(size)
        head, self._content = self._content[:size], self._content[size:]
        return head


class _Plain:
    def __init__(self, raw: BinaryIO, limits: Limits):
        self._raw = raw
        self._limits = limits
        self._read = 0

    def read(self, size: int) -> bytes:
        chunk = self._raw.read(size)
        self._read += len(chunk)
        if self._read > self._limits.file_bytes:
            raise RejectedFile(f"it is larger than {self._limits.file_bytes:,} bytes (CLICKSTREAM_MAX_FILE_BYTES)")
        return chunk


class _Gzip:
    """Decompresses in bounded steps; a file that ends early or fails its checksum is rejected, never cut short."""

    def __init__(self, raw: BinaryIO, limits: Limits):
        self._counted = _Counted(raw)
        self._stream = gzip.GzipFile(fileobj=self._counted)  # type: ignore[arg-type]
        self._limits = limits
        self._read = 0

    def read(self, size: int) -> bytes:
        try:
            chunk = self._stream.read(size)
        except EOFError:
            raise RejectedFile("the gzip stream ends early: the file was cut short") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise RejectedFile(f"the gzip stream is damaged: {error}") from error
        self._read += len(chunk)
        if self._read > self._limits.file_bytes:
            raise RejectedFile(
                f"it is larger than {self._limits.file_bytes:,} bytes decompressed (CLICKSTREAM_MAX_FILE_BYTES)"
            )
        ratio = self._read / max(self._counted.count, 1)
        if self._read > _RATIO_FROM_BYTES and ratio > self._limits.compression_ratio:
            raise RejectedFile(
                f"it decompresses to more than {self._limits.compression_ratio} times its size "
                "(CLICKSTREAM_MAX_COMPRESSION_RATIO)"
            )
        return chunk


class _Counted:
    def __init__(self, raw: BinaryIO):
        self._raw = raw
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        chunk = self._raw.read(size)
        self.count += len(chunk)
        return chunk


def blocks_of(content: bytes, limits: Limits, block_bytes: int) -> Iterator[delimited.Block]:
    """The blocks of a file given as bytes; for tests and tools."""
    yield from delimited.read(io.BytesIO(content), limits, block_bytes=block_bytes).blocks
