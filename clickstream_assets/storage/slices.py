"""Rows that arrived on one day, written apart by the days on which they happened; of a large day by hour, too.

A file has the rows of one event date, so that what lies below raw reads the files of a date and no others. A date with
many rows gets a file for each hour: then an arrival that touches an hour makes that hour again and not the day. Small
dates get one file, since each file costs: 9,600 of them, 400 days by hour, take 0.8 s to list.
"""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from clickstream_assets.schemas import Table
from clickstream_assets.storage.lake import ROW_GROUP, Lake, StagedWriter
from clickstream_assets.storage.staged import StagedFile

#: rows of a date from which on each hour has a file of its own
BY_HOUR = 100_000

#: rows per row group of such a file: a day of 24 files is written at once
_ROW_GROUP_OF_HOUR = 16_384

#: rows held in memory until the fullest file gets its own, and files open at a time
_HELD, _OPEN = 400_000, 100

Slice = tuple[date, int | None]


class SlicedWriter:
    """Writes the staged files of one day of a table; see ``StagedWriter``."""

    def __init__(self, lake: Lake, table: Table, day: date, schema: pa.Schema):
        self._lake = lake
        self._table = table
        self._day = day
        self._schema = schema
        self._by = table.partition[0] if len(table.partition) > 1 else None
        self._rows: dict[date, int] = {}
        self._writers: dict[Slice, StagedWriter] = {}
        self._closed: list[StagedFile] = []

    def append(self, rows: pa.Table) -> None:
        """Take rows of any dates."""
        if self._by is None:
            self._write((self._day, None), rows)
            return
        for happened in pc.unique(rows[self._by]).to_pylist():
            of_date = rows.filter(pc.equal(rows[self._by], happened))
            before = self._rows.get(happened, 0)
            self._rows[happened] = before + of_date.num_rows
            if self._table.hour is None or self._rows[happened] < BY_HOUR:
                self._write((happened, None), of_date)
                continue
            if before < BY_HOUR and (writer := self._writers.get((happened, None))) is not None:
                of_date = pa.concat_tables([*writer.take_back(), of_date])
            self._write_hours(happened, of_date)
        self._bound()

    def close(self) -> list[StagedFile]:
        """Finish the files."""
        return self._closed + [file for writer in self._writers.values() for file in writer.close()]

    def _write_hours(self, happened: date, rows: pa.Table) -> None:
        hours = rows[self._table.hour]
        for hour in pc.unique(hours).to_pylist():
            self._write((happened, hour), rows.filter(pc.equal(hours, hour)))

    def _write(self, place: Slice, rows: pa.Table) -> None:
        if place not in self._writers:
            size = ROW_GROUP if place[1] is None else _ROW_GROUP_OF_HOUR
            self._writers[place] = StagedWriter(self._lake, self._table, self._day, self._schema, row_group=size)
        self._writers[place].append(rows)

    def _bound(self) -> None:
        """Keep within bounds what rows of very many dates would hold."""
        while sum(writer.held for writer in self._writers.values()) > _HELD:
            max(self._writers.values(), key=lambda writer: writer.held).flush()
        if len(self._writers) > _OPEN:
            open_ones = [place for place, writer in self._writers.items() if writer.is_open]
            for place in open_ones[:-_OPEN]:
                self._closed += self._writers.pop(place).close()
