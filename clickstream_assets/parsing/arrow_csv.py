"""Comma-separated files: columns matched by name, values read by Arrow from the records that ``delimited`` found."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.csv as pacsv

from clickstream_assets.errors import ClickstreamError, RejectedFile
from clickstream_assets.parsing import delimited
from clickstream_assets.parsing.content import Readable
from clickstream_assets.parsing.formats import Batch
from clickstream_assets.settings import Limits


def read(stream: Readable, columns: Sequence[str], limits: Limits) -> Iterator[Batch]:
    """Read a file with a header; ``columns`` are found in it by name, in any order and case.

    Raises:
        RejectedFile: there is no readable header, or a column is missing or there twice.
    """
    reader = delimited.read(stream, limits)
    places = match_header(reader.header, columns)
    return (_batch(block, places) for block in reader.blocks)


def _batch(block: delimited.Block, columns: Columns) -> Batch:
    rows = parse(block, columns)
    return Batch(block.found, rows, block.lines, block.numbers, block.broken)


@dataclass(frozen=True)
class Columns:
    """Where a file has the table's columns (``known``) and what else it has (``unknown``)."""

    count: int
    known: dict[str, int]
    unknown: dict[str, int]


def match_header(header: Sequence[str], required: Sequence[str]) -> Columns:
    """Match a header to the table's columns by name, whatever its order and case.

    Raises:
        RejectedFile: a required column is missing or there twice.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(header):
        places[name.casefold()].append(index)
    missing = [name for name in required if name.casefold() not in places]
    if missing:
        raise RejectedFile(f"the header lacks {', '.join(missing)}", f"; it has {', '.join(header)[:500]}")
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
    return Columns(len(header), known, unknown)


def parse(block: delimited.Block, columns: Columns) -> pa.Table:
    """The values of a block's readable records as text: the columns that are known, and ``extra``."""
    count = len(block.lines)
    if not count:
        return pa.table({name: pa.array([], pa.string()) for name in (*columns.known, "extra")})
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
    if parsed.num_rows != count:
        raise ClickstreamError(
            f"{count:,} records were found from line {block.lines[0]} on and {parsed.num_rows:,} were read; this is a "
            "defect of the reader, please report it with the file"
        )
    values = {name: parsed.column(index) for name, index in columns.known.items()}
    return pa.table(values | {"extra": _extra(parsed, columns, count)})


def _extra(parsed: pa.Table, columns: Columns, count: int) -> pa.Array:
    if not columns.unknown:
        return pa.nulls(count, pa.string())
    values = [parsed.column(index).to_pylist() for index in columns.unknown.values()]
    names = list(columns.unknown)
    return pa.array(
        (json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) for row in zip(*values, strict=True)),
        pa.string(),
    )
