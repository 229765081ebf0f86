"""A warehouse with cleaned sales and snapshots that are written by hand, and the star that they should make.

Without the pipeline: a DuckDB file with the cleaned tables as dbt's sources describe them, the ledger and the run
window, and dbt in this process. ``expected`` works the star out in the simplest way, from all days at once.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from clickstream_assets import dbt
from clickstream_assets.settings import Settings
from clickstream_assets_tests.model_warehouse import ModelWarehouse, OnTwin

DAY = timedelta(days=1)
FIRST = date(2026, 3, 1)
Row = dict[str, Any]
#: the rows of each feed that a load date has
Days = Mapping[date, Mapping[str, Sequence[Row]]]

#: the columns of each dimension: of its id, and those whose change makes a version
MEMBERS = {
    "customer": ("customer_id", ("first_name", "last_name", "email", "city", "state")),
    "product": ("product_id", ("product_name", "category", "subcategory", "brand", "unit_price")),
    "location": ("location_id", ("store_name", "city", "state", "region", "country")),
}
FEEDS = ("customers", "products", "locations", "sales")
MEASURES = ("quantity", "gross_amount", "discount", "tax_amount", "net_amount")

#: the relations of the star, without the lists of work and what a run leaves for itself
TABLES = (
    "customer_dim", "product_dim", "location_dim", "date_dim", "sales_fact", "mv_daily_sales", "mv_product_performance",
)  # fmt: skip
MARTS = ("executive_dashboard", "product_dashboard", "customer_dashboard", "geographic_dashboard")


def described() -> dict[str, dict[str, str]]:
    """The columns of the cleaned tables with their types, by feed, as dbt's sources tell them."""
    manifest = dbt._parsed(dbt.manifest(Settings.from_environment()))
    return {
        one.name.removesuffix("_cleaned"): {name: str(column.data_type) for name, column in one.columns.items()}
        for one in manifest.sources.values()
        if "sales" in one.tags
    }


class Warehouse(ModelWarehouse):
    """A warehouse with the cleaned tables of sales; ``days``: what they have, by load date and feed."""

    tag = "sales"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.days: dict[date, dict[str, list[Row]]] = defaultdict(dict)
        self.columns = described()
        tables = {f"sales_cleaned.{feed}_cleaned": list(columns.items()) for feed, columns in self.columns.items()}
        tables["ops.run_window"] = [("domain", "varchar"), ("partition_date", "date")]
        tables["ops.row_ledger"] = [("asset", "varchar"), ("partition_date", "date"), ("rows_out", "bigint")]
        self.create(tables)

    def load(self, days: Days) -> None:
        """Give these load dates these rows and no others; they are the run window."""
        statements = ["delete from ops.run_window where domain = 'sales'"]
        for day, feeds in days.items():
            self.days[day] = {feed: list(feeds.get(feed, ())) for feed in FEEDS}
            statements.append(f"insert into ops.run_window values ('sales', '{day}')")
            for feed, rows in self.days[day].items():
                asset = f"sales_cleaned.{feed}_cleaned"
                statements += [
                    f"delete from {asset} where load_date = '{day}'",
                    f"delete from ops.row_ledger where asset = '{asset}' and partition_date = '{day}'",
                    f"insert into ops.row_ledger values ('{asset}', '{day}', {len(rows)})",
                ]
                values = [
                    ", ".join(_literal((row | {"load_date": day}).get(name)) for name in self.columns[feed])
                    for row in rows
                ]
                if values:
                    statements.append(f"insert into {asset} values ({'), ('.join(values)})")
        self.execute(*statements)

    def run(self, days: Days, select: str = "tag:sales") -> None:
        """Load these days and make the models."""
        self.load(days)
        self.dbt("run", select=select)

    def rows(self, name: str, columns: str = "*") -> list[tuple[Any, ...]]:
        return self.query(f"select {columns} from sales.{name}")

    def tables(self) -> dict[str, list[list[str]]]:
        return {name: texts(self.rows(name)) for name in TABLES}


class OnRedshift(OnTwin, Warehouse):
    """The same in a database of Redshift's twin."""


def _literal(value: Any) -> str:
    return "null" if value is None else "'" + str(value).replace("'", "''") + "'"


def texts(rows: Sequence[Sequence[Any]]) -> list[list[str]]:
    """Rows as they can be compared, whichever driver they are from, in an order of their own."""

    def text(value: Any) -> str:
        return f"{value:.2f}" if isinstance(value, Decimal) else str(value)

    return sorted([text(value) for value in row] for row in rows)


def customer(id_: str, **columns: Any) -> Row:
    return {"customer_id": id_, "first_name": "Ada", "last_name": id_, "email": f"{id_}@example.com"} | columns


def product(id_: str, **columns: Any) -> Row:
    price = Decimal("2.50")
    return {"product_id": id_, "product_name": f"Product {id_}", "category": "tools", "unit_price": price} | columns


def location(id_: str, **columns: Any) -> Row:
    return {"location_id": id_, "store_name": f"Store {id_}", "region": "North", "country": "DE"} | columns


def sale(id_: str, day: date, who: str = "c", what: str = "p", where: str = "l", **columns: Any) -> Row:
    """A cleaned sale; its amounts follow from quantity, unit_price, discount and tax_amount."""
    row: Row = {
        "sale_id": id_,
        "sale_date": day,
        "customer_id": who,
        "product_id": what,
        "location_id": where,
        "quantity": 1,
        "unit_price": Decimal("10.00"),
        "discount": Decimal("0.00"),
        "tax_amount": Decimal("0.00"),
    } | columns
    gross = row["quantity"] * row["unit_price"]
    return row | {"gross_amount": gross, "net_amount": gross - row["discount"] + row["tax_amount"]}


def key(id_: str, valid_from: date | None = None) -> int:
    """The key of a member's first version, or of the later one from that date."""
    text = id_ if valid_from is None else f"{hashlib.md5(id_.encode()).hexdigest()}|{valid_from}"
    return int(hashlib.md5(text.encode()).hexdigest()[:15], 16)


def _versions(days: Mapping[date, Mapping[str, Sequence[Row]]], kind: str) -> dict[str, list[tuple[date, list[Any]]]]:
    """Of each member the dates on which it became other than before, with its attributes."""
    name, attributes = MEMBERS[kind]
    found: dict[str, list[tuple[date, list[Any]]]] = defaultdict(list)
    for day in sorted(days):
        for row in days[day].get(f"{kind}s", ()):
            said = [row.get(column) for column in attributes]
            before = found[row[name]]
            if not before or before[-1][1] != said:
                before.append((day, said))
    return found


def expected(days: Mapping[date, Mapping[str, Sequence[Row]]]) -> dict[str, list[list[str]]]:
    """The tables of the star, from what all days have in the end."""
    sales = {row["sale_id"]: (row, day) for day in sorted(days) for row in days[day].get("sales", ())}
    dims: dict[str, list[Sequence[Any]]] = {}
    keys: dict[str, dict[str, list[tuple[date, int]]]] = {}
    for kind, (name, attributes) in MEMBERS.items():
        versions = _versions(days, kind)
        rows: list[Sequence[Any]] = []
        keys[kind] = {}
        for id_, list_ in versions.items():
            froms = [day for day, _ in list_]
            keys[kind][id_] = [(day, key(id_, day if n else None)) for n, day in enumerate(froms)]
            for (day, said), (_, key_), until in zip(list_, keys[kind][id_], [*froms[1:], None], strict=True):
                if kind == "customer":
                    said = [" ".join(part for part in said[:2] if part) or None, *said[2:]]
                rows.append([key_, id_, *said, day, until, until is None, False])
        width = len(attributes) - (kind == "customer")
        for id_ in {row[name] for row, _ in sales.values()} - versions.keys():
            keys[kind][id_] = [(date.min, key(id_))]
            rows.append([key(id_), id_, *[None] * width, None, None, True, True])
        dims[f"{kind}_dim"] = rows

    def as_of(kind: str, row: Row) -> int:
        versions = keys[kind][row[MEMBERS[kind][0]]]
        return next((key_ for day, key_ in reversed(versions) if day <= row["sale_date"]), versions[0][1])

    def number(day: date) -> int:
        return int(day.strftime("%Y%m%d"))

    fact = [
        [
            key(id_),
            id_,
            *(as_of(kind, row) for kind in MEMBERS),
            number(row["sale_date"]),
            *(row[name] for name in MEASURES),
            row["sale_date"],
            day,
            *(row[name] for name, _ in MEMBERS.values()),
        ]
        for id_, (row, day) in sales.items()
    ]
    by_date: dict[date, list[Row]] = defaultdict(list)
    by_product: dict[str, list[Row]] = defaultdict(list)
    for row, _ in sales.values():
        by_date[row["sale_date"]].append(row)
        by_product[row["product_id"]].append(row)
    daily = [[day, number(day), len(rows), *_sums(rows)] for day, rows in by_date.items()]
    names = {id_: list_[-1][1] for id_, list_ in _versions(days, "product").items()}
    products = []
    order = sorted(by_product, key=lambda id_: (-_sums(by_product[id_])[-1], id_))
    for rank, id_ in enumerate(order, start=1):
        said = names.get(id_, [None] * 5)
        products.append([id_, said[0], said[1], said[3], len(by_product[id_]), *_sums(by_product[id_]), rank])
    dates = []
    if by_date:
        day, last = date(min(by_date).year, 1, 1), date(max(by_date).year, 12, 31)
        while day <= last:
            quarter = (day.month + 2) // 3
            dates.append([number(day), day, day.year, quarter, day.month, day.day, day.isoweekday() >= 6])
            day += DAY
    found = dims | {
        "date_dim": dates, "sales_fact": fact, "mv_daily_sales": daily, "mv_product_performance": products,
    }  # fmt: skip
    return {name: texts(found[name]) for name in TABLES}


def _sums(rows: Sequence[Row]) -> list[Any]:
    return [sum(row[name] for row in rows) for name in MEASURES]
