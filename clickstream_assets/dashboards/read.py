"""Reading what a page shows: the rows of its datasets, cut to what a page takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import orjson

from clickstream_assets.dashboards.page import Column, Dataset, Page
from clickstream_assets.platform import Platform

#: bytes of data in one page, and rows that are read of one dataset
MOST_BYTES, MOST_ROWS = 2_000_000, 100_000

#: data that is read again with fewer rows would be another page: so much is left for what is not counted by the row
_ROOM = 0.98


@dataclass(frozen=True)
class Data:
    """The rows of a dataset in its order, newest days or largest first, and what was left out of them.

    ``missing``: tables that are not there yet, because their domain was never run.
    """

    dataset: Dataset
    rows: Sequence[tuple[Any, ...]]
    missing: tuple[str, ...] = ()
    cut: str = ""

    def encoded(self) -> dict[str, Any]:
        """For the page's script: a list per column; of texts and days each value once, and its place for each row."""
        columns = {}
        for index, column in enumerate(self.dataset.columns):
            values = [row[index] for row in self.rows]
            if column.kind in ("day", "month", "text"):
                places = {value: place for place, value in enumerate(dict.fromkeys(values))}
                columns[column.name] = {"values": list(places), "places": [places[value] for value in values]}
            else:
                columns[column.name] = {"values": values}
        return {
            "columns": columns,
            "kinds": {column.name: column.kind for column in self.dataset.columns},
            "day": self.dataset.day,
        }

    def records(self) -> list[dict[str, Any]]:
        """The rows as Vega takes them."""
        names = [column.name for column in self.dataset.columns]
        return [dict(zip(names, row, strict=True)) for row in self.rows]


def read(platform: Platform, page: Page, history: Any = None) -> list[Data]:
    """The data of a page: at most 2 MB, of datasets with days the newest ones, of the others the first in their order.

    A table that is not there yet gives no rows. ``history``: what knows of past runs, Dagster's instance.

    Raises:
        QueryRefused: a mart has other columns than the page expects.
    """
    there = _tables(platform)
    return fit([_read(platform, dataset, there, history) for dataset in page.datasets])


def _tables(platform: Platform) -> set[str]:
    """Relations of the warehouse, ``schema.table``."""
    _, rows = platform.warehouse.query("select table_schema || '.' || table_name from information_schema.tables")
    return {row[0] for row in rows}


def _read(platform: Platform, dataset: Dataset, there: set[str], history: Any) -> Data:
    missing = tuple(name for name in dataset.tables if name not in there)
    if missing:
        return Data(dataset, (), missing)
    if dataset.rows is not None:
        rows: Sequence[Sequence[Any]] = dataset.rows(platform, history)
    else:
        names, rows = platform.warehouse.query(
            # Around it, since Redshift takes the names of a SELECT's columns in its own ORDER BY by themselves alone.
            f"select * from ({dataset.sql}) as asked order by {dataset.order} limit {MOST_ROWS + 1}"  # noqa: S608
        )
        if names != [column.name for column in dataset.columns]:
            raise ValueError(f"The dataset {dataset.name} selects {names}, its columns have other names.")
    kept = [tuple(map(_plain, row, dataset.columns)) for row in rows]
    return _first(Data(dataset, kept), MOST_ROWS)


def _plain(value: Any, column: Column) -> Any:
    """What JSON has: days and times as text, UTC; numbers that are finite, or nothing."""
    if value is None:
        return None
    if column.kind == "flag":
        return bool(value)
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        value = int(value) if column.kind == "count" else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def fit(data: Sequence[Data], most: int = MOST_BYTES) -> list[Data]:
    """Leave rows out until the data of a page has at most so many bytes.

    Small datasets stay whole; the larger ones share what is left. A day is there with all its rows, or not at all.
    """
    fitted, sizes = list(data), [size(one) for one in data]
    left, order = most, sorted(range(len(sizes)), key=sizes.__getitem__)
    for place, index in enumerate(order):
        allowed = left // (len(order) - place)
        while sizes[index] > allowed and fitted[index].rows:
            rows = len(fitted[index].rows)
            fitted[index] = _first(fitted[index], min(rows - 1, int(rows * allowed / sizes[index] * _ROOM)))
            sizes[index] = size(fitted[index])
        left -= sizes[index]
    return fitted


def size(data: Data) -> int:
    """Bytes of a dataset in a page."""
    return len(embedded(data.encoded()).encode())


def embedded(content: Any) -> str:
    """JSON that can stand in a script element: no text of it ends the element."""
    text = orjson.dumps(content, option=orjson.OPT_SORT_KEYS).decode()
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _first(data: Data, most: int) -> Data:
    """The first rows, and a sentence that says so when others are left out."""
    if len(data.rows) <= most:
        return data
    dataset, rows = data.dataset, list(data.rows[:most])
    source = " and ".join(dataset.tables)
    if dataset.day is None:
        return Data(dataset, rows, cut=f"The first {len(rows):,} rows of {source}; the others are in the table.")
    place = [column.name for column in dataset.columns].index(dataset.day)
    broken = data.rows[most][place]
    while rows and rows[-1][place] == broken:
        rows.pop()
    oldest = f"from {rows[-1][place]} on" if rows else f"but none: one alone has more than {most:,} rows"
    return Data(dataset, rows, cut=f"The newest days, {oldest}; older ones are in {source}.")
