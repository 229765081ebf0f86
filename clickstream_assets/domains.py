"""The domains: what arrives, how it is read, and which tables are made from it.

Adding a domain means its tables in ``schemas``, a transform with its rules in ``transforms``, its models in
``dbt_project/models``, and an entry here that names them and the format of its files: the assets, the job, the sensor,
the repairs and the reference page follow from the entry. No Dagster here, and no engine until a transform is loaded.
"""

from __future__ import annotations

import pkgutil
import re
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from string import Formatter
from typing import TYPE_CHECKING, Protocol, cast

from clickstream_assets.errors import ClickstreamError
from clickstream_assets.ga4.reports import REPORTS, Report
from clickstream_assets.parsing.formats import APPFLOW, CSV, GA4_PAGES, JSON, Format
from clickstream_assets.schemas import (
    CLICKSTREAM_CLEANED,
    CLICKSTREAM_EVENT,
    CLICKSTREAM_RAW,
    ECOMMERCE_CLEANED,
    ECOMMERCE_RAW,
    GA4_PULLS,
    GA4_TABLES,
    SALES_CUSTOMERS_CLEANED,
    SALES_CUSTOMERS_RAW,
    SALES_LOCATIONS_CLEANED,
    SALES_LOCATIONS_RAW,
    SALES_PRODUCTS_CLEANED,
    SALES_PRODUCTS_RAW,
    SALES_SALES_CLEANED,
    SALES_SALES_RAW,
    Table,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from clickstream_assets.parsing.formats import Shape
    from clickstream_assets.platform import Platform
    from clickstream_assets.storage.staged import LandingFile, Staged
    from clickstream_assets.transforms.rules import Transform


#: the ways in which a landing pattern may write a day: whole, or one part at a time
_SPLIT = {"": ("year", "-", "month", "-", "day"), "%Y": ("year",), "%m": ("month",), "%d": ("day",)}
_PARTS = ("year", "month", "day")
_WRITTEN = {"year": "YYYY", "month": "MM", "day": "DD", "-": "-"}
_MATCHED = {"year": "(?P<year>[0-9]{4})", "month": "(?P<month>[0-9]{2})", "day": "(?P<day>[0-9]{2})"}


class Loader(Protocol):
    """Stages a feed's raw table from what is in landing."""

    def stage(
        self, days: Sequence[date], known: Iterable[LandingFile], *, run_id: str, progress: Callable[[str], None]
    ) -> Staged:
        """Read the files of ``days``; ``known``: what ``ops.landing_files`` has of the feed's."""
        ...


@dataclass(frozen=True)
class Landing:
    """Where files of one format arrive.

    ``pattern``: their days' folders, as a pattern of the day below the landing root: ``{day}`` for YYYY-MM-DD, or
    ``{day:%Y}``, ``{day:%m}`` and ``{day:%d}``.
    """

    pattern: str
    format: Format

    @cached_property
    def root(self) -> str:
        """The folder that holds these files and no others, e.g. ``ecommerce``."""
        return self.pattern.partition("{")[0].rpartition("/")[0]

    @property
    def key(self) -> list[str]:
        """The Dagster asset key of what arrives."""
        return ["landing", self.root.replace("/", "_")]

    def folder(self, day: date) -> str:
        """Where the files of a day are."""
        return self.pattern.format(day=day)

    def day_of(self, folder: str) -> date | None:
        """The day whose files are in a folder or below it; None where no day's are."""
        match = self._folders.fullmatch(folder)
        try:
            return date(*(int(match[part]) for part in _PARTS)) if match else None
        except ValueError:
            return None

    @property
    def layout(self) -> str:
        """The pattern as people write it, e.g. ``ecommerce/ingestion_date=YYYY-MM-DD``."""
        return "".join(
            literal + "".join(_WRITTEN[part] for part in _SPLIT[spec or ""]) if name else literal
            for literal, name, spec, _ in Formatter().parse(self.pattern)
        )

    @cached_property
    def _folders(self) -> re.Pattern[str]:
        pattern = ""
        for literal, name, spec, _ in Formatter().parse(self.pattern):
            pattern += re.escape(literal)
            if name:
                pattern += "".join(_MATCHED.get(part, part) for part in _SPLIT[spec or ""])
        return re.compile(pattern + "(/.*)?", re.DOTALL)


@dataclass(frozen=True)
class Feed:
    """One kind of landing files, and the two tables made from them.

    ``landing`` and ``format``: where its files arrive and in which format, see ``Landing``. ``also``: further places,
    whose rows stand in for those of the first.
    ``transform``: from ``raw`` to ``cleaned``, as ``module:name``. ``fields``: what is read of a record, where that is
    not what ``raw`` has of it. ``shape``: what makes ``raw``'s columns of these then, as ``module:function`` of a
    platform. ``loader``: what stages ``raw``, as ``module:function`` of a feed and a platform. ``by_day``: a day's
    files say how things are on that day, so that the same content on another day is no copy.
    """

    landing: str
    format: Format
    raw: Table
    cleaned: Table
    transform: str
    fields: tuple[str, ...] = ()
    shape: str | None = None
    also: tuple[Landing, ...] = ()
    loader: str = "clickstream_assets.parsing.landing:loader"
    by_day: bool = False

    @cached_property
    def landings(self) -> tuple[Landing, ...]:
        """The places where its files arrive."""
        return (Landing(self.landing, self.format), *self.also)

    @property
    def root(self) -> str:
        """The first landing folder that holds the feed's files and no other's, e.g. ``ecommerce``."""
        return self.landings[0].root

    @property
    def roots(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(landing.root for landing in self.landings)

    @property
    def columns(self) -> tuple[str, ...]:
        """What is read of a record: the columns of the raw table that are not made here, or what ``fields`` says."""
        return self.fields or self.raw.record

    def folder(self, day: date) -> str:
        """Where the files of a day are, first of all."""
        return self.landings[0].folder(day)

    def load_loader(self, platform: Platform) -> Loader:
        """What stages the raw table."""
        return cast("Loader", pkgutil.resolve_name(self.loader)(self, platform))

    def load_shape(self, platform: Platform) -> Shape | None:
        """What makes the raw table's columns; None where they are the record's own.

        Raises:
            ClickstreamError: it cannot be had, e.g. for want of a key.
        """
        return cast("Shape", pkgutil.resolve_name(self.shape)(platform)) if self.shape else None

    def load_transform(self) -> Transform:
        """The transform and its rules; imports PySpark."""
        return cast("Transform", pkgutil.resolve_name(self.transform))


@dataclass(frozen=True)
class RowModel:
    """A dbt model with one row per row of a cleaned table, and so with rows in the ledger; ``day``: its partition.

    ``absorbed``: for one whose rows are fewer, the relation in which dbt notes how many of each table and day it has
    taken account of (``source``, the partition, ``absorbed_rows``).
    """

    name: str
    source: Table
    day: str
    absorbed: str | None = None


@dataclass(frozen=True)
class Domain:
    """Data that belongs together: its feeds, and those of its dbt models that the ledger accounts for.

    ``further``: tables made from landing besides those of the feeds. ``collect``: what fetches the files of days before
    they are loaded, where they do not arrive by themselves, as ``module:function``; ``to_collect``: what says of which
    days it would; ``collector``: the asset that does.
    """

    name: str
    feeds: tuple[Feed, ...]
    row_models: tuple[RowModel, ...]
    further: tuple[Table, ...] = ()
    collect: str | None = None
    to_collect: str | None = None
    collector: tuple[str, str] | None = None

    @property
    def landings(self) -> tuple[Landing, ...]:
        """The places where its files arrive."""
        return tuple(landing for feed in self.feeds for landing in feed.landings)

    @property
    def collectors(self) -> list[list[str]]:
        """The key of the asset that fetches its files, if one does: whatever reads them comes after it."""
        return [list(self.collector)] if self.collector else []

    @property
    def tables(self) -> tuple[Table, ...]:
        """Its tables of the lake."""
        return (*(table for feed in self.feeds for table in (feed.raw, feed.cleaned)), *self.further)


def _ga4(report: Report) -> Feed:
    raw, cleaned = GA4_TABLES[report.name]
    return Feed(
        landing=f"ga4/{report.name}/date={{day}}",
        format=GA4_PAGES,
        raw=raw,
        cleaned=cleaned,
        transform=f"clickstream_assets.transforms.ga4:{report.table.upper()}",
        fields=tuple(report.columns),
        loader="clickstream_assets.ga4.loading:loader",
        also=(Landing("appflow/ga4/date={day}", APPFLOW),) if report.name == "ga_events" else (),
    )


def _sales(raw: Table, cleaned: Table) -> Feed:
    name = raw.key[1].removesuffix("_raw")
    return Feed(
        landing=f"sales/{name}/load_date={{day}}",
        format=CSV,
        raw=raw,
        cleaned=cleaned,
        transform=f"clickstream_assets.transforms.sales:{name.upper()}",
        by_day=True,
    )


DOMAINS = {
    domain.name: domain
    for domain in (
        Domain(
            "ecommerce",
            feeds=(
                Feed(
                    landing="ecommerce/ingestion_date={day}",
                    format=CSV,
                    raw=ECOMMERCE_RAW,
                    cleaned=ECOMMERCE_CLEANED,
                    transform="clickstream_assets.transforms.ecommerce:EVENTS",
                ),
            ),
            row_models=(RowModel("ecommerce.events", source=ECOMMERCE_CLEANED, day="ingestion_date"),),
        ),
        Domain(
            "clickstream",
            feeds=(
                Feed(
                    landing="clickstream/year={day:%Y}/month={day:%m}/day={day:%d}",
                    format=JSON,
                    raw=CLICKSTREAM_RAW,
                    cleaned=CLICKSTREAM_CLEANED,
                    transform="clickstream_assets.transforms.clickstream:EVENTS",
                    fields=CLICKSTREAM_EVENT,
                    shape="clickstream_assets.parsing.events:shape",
                ),
            ),
            row_models=(RowModel("clickstream.events_enhanced", source=CLICKSTREAM_CLEANED, day="event_date"),),
        ),
        Domain(
            "ga4",
            feeds=tuple(_ga4(report) for report in REPORTS.values()),
            row_models=tuple(
                RowModel(f"analytics.{model}", source=GA4_TABLES["ga_events"][1], day="event_date")
                for model in ("ga4_events_cleaned", "ga4_events_enhanced")
            ),
            further=(GA4_PULLS,),
            collect="clickstream_assets.ga4.sources:collect_days",
            to_collect="clickstream_assets.ga4.sources:days_to_collect",
            collector=("landing", "ga4_data_api"),
        ),
        Domain(
            "sales",
            feeds=(
                _sales(SALES_CUSTOMERS_RAW, SALES_CUSTOMERS_CLEANED),
                _sales(SALES_PRODUCTS_RAW, SALES_PRODUCTS_CLEANED),
                _sales(SALES_LOCATIONS_RAW, SALES_LOCATIONS_CLEANED),
                _sales(SALES_SALES_RAW, SALES_SALES_CLEANED),
            ),
            row_models=tuple(
                RowModel(f"sales.{model}", source=cleaned, day="load_date", absorbed="sales.absorbed_load_dates")
                for model, cleaned in (
                    ("customer_dim", SALES_CUSTOMERS_CLEANED),
                    ("product_dim", SALES_PRODUCTS_CLEANED),
                    ("location_dim", SALES_LOCATIONS_CLEANED),
                    ("sales_fact", SALES_SALES_CLEANED),
                )
            ),
        ),
    )
}


def domain(name: str) -> Domain:
    """The domain of that name.

    Raises:
        ClickstreamError: there is none; lists those there are.
    """
    if name not in DOMAINS:
        raise ClickstreamError(f"There is no domain {name!r}: choose {', '.join(DOMAINS)}.")
    return DOMAINS[name]
