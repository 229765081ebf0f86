"""Totals of money, hop by hop: what landing files say, what raw has of them, and what cleaned has of that.

They agree to the cent, day by day, or the day is not published. Each side is read by other code than that which made
its rows: files are split here and not by Arrow's CSV reader, and the sums are DuckDB's, where the rows are the
transform's. From cleaned on, a test of dbt holds the fact to the same.

Only plain amounts count, on both sides: numbers below 10^10 of at most two decimals, an empty one being zero. What else
a file may write, an exponent or a third decimal, the transform's own tests look at. A record that cannot be read as one
has no amounts; it counts in the ledger.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clickstream_assets.grammars import BLANKS
from clickstream_assets.parsing import delimited
from clickstream_assets.parsing.arrow_csv import match_header
from clickstream_assets.storage.staged import Check
from clickstream_assets.storage.warehouse import identifier

if TYPE_CHECKING:
    from decimal import Decimal

    import duckdb

    from clickstream_assets.domains import Feed
    from clickstream_assets.schemas import Table
    from clickstream_assets.settings import Limits
    from clickstream_assets.storage.files import Files
    from clickstream_assets.storage.lake import Lake, Snapshot
    from clickstream_assets.storage.staged import StagedFile

NAME = "totals_agree"

#: days that are summed at the same time: DuckDB and Arrow let go of the interpreter
_AT_ONCE = 2

#: days that a message names, and days whose totals are shown with a run
_NAMED, _SHOWN = 3, 60

#: where a row stands: what tells the rows of a day apart
_PLACE = ("source_file", "source_line")


@dataclass(frozen=True)
class Totals:
    """Sums by name, and how many rows they are of."""

    rows: int
    sums: Mapping[str, Decimal | None]

    def __str__(self) -> str:
        return ", ".join(f"{name} {value or 0:,.2f}" for name, value in self.sums.items()) + f" of {self.rows:,} rows"


#: of a day, what one side says and what the other has
Sides = tuple[date, Totals, Totals]

#: gives the one row of a query of some tables
Ask = Callable[..., tuple[Any, ...]]


def loaded(
    feed: Feed,
    landing: Files,
    lake: Lake,
    limits: Limits,
    files: Mapping[date, Sequence[str]],
    rows: Iterable[StagedFile],
) -> Check:
    """Whether the staged raw rows have what the landing files that were read, ``files`` by day, say.

    What stays of earlier runs was compared when it was loaded.
    """
    table, staged = feed.raw, _by_day(rows)
    columns = _columns(table)

    def sides(day: date, ask: Ask) -> Sides:
        said = [texts for path in files[day] for texts in _split(feed, landing, limits, path, columns)]
        of_files = pc.field("source_file").isin(list(files[day]))
        has = _read(lake, table, staged.get(day, []), columns, of_files)
        total, _ = _of_texts(table, ask, has)
        texts = _together(said, table, columns)
        return day, total if texts.equals(has) else _of_texts(table, ask, texts)[0], total

    return _check([day for day, paths in sorted(files.items()) if paths], sides, "landing", "raw")


def cleaned(lake: Lake, source: Snapshot, target: Table, days: Iterable[date], files: Iterable[StagedFile]) -> Check:
    """Whether the staged cleaned rows have what the raw rows say of which they were made."""
    table, staged = source.table, _by_day(files)
    texts, names = [*_columns(table), *_PLACE], [*target.totals, *_PLACE]

    def sides(day: date, ask: Ask) -> Sides:
        paths = [lake.files.relative(file.uri) for file in source.of(day)]
        said, others = _of_texts(table, ask, raw := _read(lake, table, paths, texts))
        rows = _read(lake, target, staged.get(day, []), names)
        if others or said.rows != rows.num_rows:
            said, has = _of_both(table, target, ask, raw, rows)
            return day, said, has
        return day, said, Totals(rows.num_rows, {name: pc.sum(rows[name]).as_py() for name in target.totals})

    return _check([day for day in days if source.rows(day)], sides, "raw", "cleaned")


def _check(days: Sequence[date], sides: Callable[[date, Ask], Sides], before: str, after: str) -> Check:
    import duckdb

    with (
        duckdb.connect(config={"threads": 1}) as connection,  # days are summed side by side
        ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="totals") as threads,
    ):
        found = list(threads.map(lambda day: sides(day, partial(_ask, connection)), days))
    wrong = {day: f"{has} instead of {said}" for day, said, has in found if said != has}
    named = "; ".join(f"{day}: {what}" for day, what in list(wrong.items())[:_NAMED])
    more = f"; and {len(wrong) - _NAMED} more days" if len(wrong) > _NAMED else ""
    text = (
        f"{after} has other totals than {before} on {named}{more}; this is a defect, please report it"
        if wrong
        else f"{before} and {after} agree to the cent on {len(found)} day(s)"
    )
    return Check(NAME, frozenset(wrong), text, {"totals": {str(day): str(has) for day, _, has in found[:_SHOWN]}})


def _by_day(files: Iterable[StagedFile]) -> dict[date, list[str]]:
    found: dict[date, list[str]] = defaultdict(list)
    for file in files:
        found[file.day].append(file.path)
    return found


def _columns(table: Table) -> list[str]:
    """The columns that the totals of a raw table are made of."""
    named = set(re.findall(r"[a-z_]+", " ".join(table.totals.values())))
    return [name for name in table.record if name in named]


def _read(
    lake: Lake, table: Table, paths: Sequence[str], columns: Sequence[str], where: pc.Expression | None = None
) -> pa.Table:
    tables = []
    for path in paths:
        with lake.files.open_random(path) as source:
            tables.append(pq.read_table(source, columns=list(columns), filters=where, partitioning=None))
    return _together(tables, table, columns)


def _together(tables: Sequence[pa.Table], table: Table, columns: Sequence[str]) -> pa.Table:
    wanted = pa.schema([table.arrow.field(name) for name in columns])
    return pa.concat_tables(tables) if tables else wanted.empty_table()


def _split(feed: Feed, landing: Files, limits: Limits, path: str, columns: Sequence[str]) -> list[pa.Table]:
    """Some fields, as text, of a file's readable records."""
    with landing.open(path) as content:
        reader = delimited.read(feed.format.text_of(content, path, limits), limits)
        places = match_header(reader.header, columns).known
        return [pa.table(_fields(block, places)) for block in reader.blocks if len(block.lines)]


def _fields(block: delimited.Block, places: Mapping[str, int]) -> dict[str, Any]:
    count = len(block.lines)
    if not block.quoted:
        text = block.good.replace(b"\r\n", b"\n").decode()
        lines = pc.list_flatten(pc.split_pattern(pa.array([text]), "\n"))
        fields = pc.split_pattern(lines.slice(0, count), ",")
        if len(lines) == count + (len(lines[-1].as_py()) == 0):  # else lines end in another way than by \n or \r\n
            return {name: pc.list_element(fields, place) for name, place in places.items()}
    records = list(csv.reader(io.StringIO(block.good.decode(), newline="")))
    return {name: pa.array([record[place] for record in records], pa.string()) for name, place in places.items()}


def _number(column: str) -> str:
    """SQL of a plain amount's value, wide enough for its products; null for any other text."""
    name = identifier(column)
    trimmed = f"trim({name}, $blanks)"  # 1 µs each with all blanks that there are: of the few that need it
    return (
        f"case when coalesce({name}, '') = '' then 0 when {_exact(name)} then {_cents(name)}::decimal(38, 2) "
        f"when {trimmed} = '' then 0 when {_exact(trimmed)} then {_cents(trimmed)}::decimal(38, 2) end as {name}"
    )


def _cents(text: str) -> str:
    return f"try_cast({text} as decimal(12, 2))"


def _exact(text: str) -> str:
    return f"{_cents(text)} = try_cast({text} as decimal(18, 6))"


def _numbers(table: Table) -> str:
    return ", ".join(map(_number, _columns(table)))


def _sums(names: Iterable[str]) -> str:
    return ", ".join(f"cast(sum({name}) as decimal(38, 2))" for name in names)


def _of_texts(table: Table, ask: Ask, texts: pa.Table) -> tuple[Totals, int]:
    """Totals of all rows, as far as their amounts are plain; and of how many they are not."""
    sql = (
        f"with numbers as (select {_numbers(table)} from texts) "
        f"select count(*), {_sums(table.totals.values())}, count(*) - count(*) filter ({_plain(table)}) from numbers"
    )
    rows, *sums, others = ask(sql, texts=texts)
    return Totals(rows, dict(zip(table.totals, sums, strict=True))), others


def _of_both(table: Table, target: Table, ask: Ask, texts: pa.Table, rows: pa.Table) -> tuple[Totals, Totals]:
    """Totals of the rows that both have, as far as the amounts are plain in raw; a row that raw has not is too many.

    Rejected rows and copies are in raw alone, and count for neither.
    """
    computed = ", ".join(f"{expression} as {identifier(name)}" for name, expression in table.totals.items())
    place, names = ", ".join(_PLACE), [identifier(name) for name in target.totals]
    sql = (
        f"with numbers as (select {place}, {_numbers(table)} from texts), "
        f"said as (select {place}, {computed}, {_plain(table)} as plain from numbers) "
        f"select count(said.plain), {_sums(f'said.{name}' for name in names)}, "
        f"count(*), {_sums(f'cleaned.{name}' for name in names)} "
        f"from cleaned left join said using ({place}) where coalesce(said.plain, true)"
    )
    found = ask(sql, texts=texts, cleaned=rows)
    sides = found[: len(found) // 2], found[len(found) // 2 :]
    said, has = (Totals(count, dict(zip(table.totals, sums, strict=True))) for count, *sums in sides)
    return said, has


def _plain(table: Table) -> str:
    return " and ".join(f"{identifier(name)} is not null" for name in _columns(table))


def _ask(connection: duckdb.DuckDBPyConnection, sql: str, **tables: pa.Table) -> tuple[Any, ...]:
    """The one row that a query of some tables gives."""
    with connection.cursor() as cursor:
        for name, rows in tables.items():
            cursor.register(name, rows)
        return cursor.execute(sql, {"blanks": BLANKS}).fetchone() or ()
