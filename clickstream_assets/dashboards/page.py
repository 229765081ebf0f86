"""The words in which a page is written: columns, datasets, filters, tiles, charts.

Whether numbers may be added up is a property of a column, and it is kept: a chart that would add up what does not add
up, such as the visitors of two days, is refused when its page is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from clickstream_assets.platform import Platform

Kind = Literal["day", "month", "text", "flag", "count", "number", "money", "share", "seconds", "moment"]

#: d3 formats of what is a number
FORMATS = {"count": ",d", "number": ",.2f", "money": ",.2f", "share": ".1%", "seconds": ",.1f"}


class PageError(ValueError):
    """A page is written in a way that would show wrong numbers; the message names chart and column."""


@dataclass(frozen=True)
class Column:
    """A column of a dataset. ``adds``: values of different rows may be added up.

    ``within``: only those of the same of these, e.g. of one model of attribution, of which each has the whole.
    """

    name: str
    title: str
    kind: Kind
    adds: bool = False
    within: tuple[str, ...] = ()


def day(name: str, title: str = "Day") -> Column:
    """A UTC date, or a GA4 property's calendar date; pages are filtered by it."""
    return Column(name, title, "day")


def month(name: str = "month", title: str = "Month") -> Column:
    """A month, as the date of its first day; dates choose the months that they touch, whole."""
    return Column(name, title, "month")


def text(name: str, title: str) -> Column:
    """What rows are grouped and filtered by."""
    return Column(name, title, "text")


def count(name: str, title: str) -> Column:
    """A number of things each of which is in one row only."""
    return Column(name, title, "count", adds=True)


def money(name: str, title: str) -> Column:
    """An amount, two decimals, in the one currency of the data."""
    return Column(name, title, "money", adds=True)


def distinct(name: str, title: str) -> Column:
    """A number of people or sessions, of whom one may be in several rows: it is never added up."""
    return Column(name, title, "count")


def share(name: str, title: str) -> Column:
    """A part of a whole, 0 to 1: it is never added up."""
    return Column(name, title, "share")


@dataclass(frozen=True)
class Dataset:
    """What a page asks the warehouse for.

    ``sql``: one SELECT that DuckDB and Redshift both read, without an order. ``tables``: what it reads.
    ``grain``: the columns that tell rows apart. ``order``: SQL; when there are more rows than a page takes, the first
    of this order stay, so that it begins with the newest day or the largest amount.
    ``rows``: what is asked instead of the warehouse, with the history of runs where there is one.
    """

    name: str
    tables: tuple[str, ...]
    columns: tuple[Column, ...]
    grain: tuple[str, ...]
    order: str
    sql: str = ""
    rows: Callable[[Platform, Any], Sequence[Sequence[Any]]] | None = None

    def __post_init__(self) -> None:
        for name in self.grain:
            self.column(name)

    def column(self, name: str) -> Column:
        """The column of that name.

        Raises:
            PageError: there is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise PageError(f"The dataset {self.name} has no column {name}.")

    @property
    def day(self) -> str | None:
        """The column by which the page's dates choose rows, of days or of months."""
        return next((column.name for column in self.columns if column.kind in ("day", "month")), None)

    def check(self, where: str, measure: str, op: str, by: Sequence[str]) -> None:
        """Refuse a measure that would be wrong when it is computed over all rows of the groups ``by``.

        ``sum`` needs a column that adds up, or groups of one row. ``mean`` is one per day, and needs groups that have
        one row a day.

        Raises:
            PageError: names the chart and the column.
        """
        left, column = set(self.grain) - set(by), self.column(measure)
        if op == "sum" and ((column.adds and left.isdisjoint(column.within)) or not left):
            return
        if op == "mean" and left <= {self.day}:
            return
        raise PageError(
            f"{where}: {op} of {self.name}.{measure} by {', '.join(by) or 'nothing'} would count some of it twice: "
            f"one row is one {', '.join(self.grain)}."
        )


@dataclass(frozen=True)
class Filter:
    """A choice of one value, or all, of a column: it holds for the datasets that have the column."""

    column: str
    title: str


@dataclass(frozen=True)
class Tile:
    """One figure, in large. ``op``: ``sum``, ``mean`` (of the days that have it) or ``ratio``.

    ``measure``: the column; of a ratio the one above the line, and ``over`` the one below it.
    """

    title: str
    dataset: Dataset
    op: Literal["sum", "mean", "ratio"]
    measure: str
    over: str | None = None
    kind: Kind | None = None

    def __post_init__(self) -> None:
        dataset, where = self.dataset, f"tile {self.title!r}"
        if self.op == "ratio":
            for name in (self.measure, self.over or ""):
                dataset.check(where, name, "sum", ())
        else:
            dataset.check(where, self.measure, self.op, ())

    def described(self) -> dict[str, Any]:
        """For the page's script."""
        column = self.dataset.column(self.measure)
        kind = self.kind or ("number" if self.op in ("mean", "ratio") and column.kind == "count" else column.kind)
        return {
            "title": self.title,
            "dataset": self.dataset.name,
            "op": self.op,
            "measure": self.measure,
            "over": self.over,
            "kind": kind,
        }


@dataclass(frozen=True)
class Shown:
    """A column of the numbers below a chart: a field of what is drawn."""

    field: str
    title: str
    kind: Kind


@dataclass(frozen=True)
class Chart:
    """A chart. ``question``: its title, which it answers. ``spec``: Vega-Lite, without data; none for a table alone.

    ``shown``: the columns of the table that has the same numbers. ``by``: of a table alone, the columns of which it has
    one row each, with the sums of the others; none for the dataset's rows as they are.
    """

    name: str
    question: str
    dataset: Dataset
    spec: dict[str, Any] | None
    shown: tuple[Shown, ...]
    note: str = ""
    wide: bool = False
    by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Notice:
    """A sentence above the charts that is there when the flag of any row is set."""

    dataset: Dataset
    flag: str
    sentence: str

    def __post_init__(self) -> None:
        self.dataset.column(self.flag)


@dataclass(frozen=True)
class Page:
    """What is on a page; its title and where it belongs are in ``dashboards.PAGES``."""

    name: str
    tiles: tuple[Tile, ...]
    charts: tuple[Chart, ...]
    filters: tuple[Filter, ...] = ()
    notices: tuple[Notice, ...] = ()
    datasets: tuple[Dataset, ...] = field(init=False)

    def __post_init__(self) -> None:
        shown = [part.dataset for part in self.tiles] + [part.dataset for part in self.charts]
        shown += [notice.dataset for notice in self.notices]
        found = {dataset.name: dataset for dataset in shown}
        object.__setattr__(self, "datasets", tuple(found.values()))
        for chosen in self.filters:
            if not any(column.name == chosen.column for dataset in self.datasets for column in dataset.columns):
                raise PageError(f"The page {self.name} is filtered by {chosen.column}, which no dataset has.")
