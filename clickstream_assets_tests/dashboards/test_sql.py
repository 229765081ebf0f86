"""What pages ask the warehouse: SQL that DuckDB and Redshift both read, of columns that are there."""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify

from clickstream_assets import dashboards
from clickstream_assets.dashboards.page import Dataset
from clickstream_assets_tests.conftest import Home

DATASETS = {
    f"{entry.name}.{dataset.name}": (entry, dataset)
    for entry in dashboards.PAGES
    for dataset in dashboards.load(entry.name).datasets
    if dataset.rows is None
}

#: tables with a row for every event or sale: no page reads them
_FACTS = {
    "sales.sales_fact",
    "sales.sales_fact_changes",
    "sales_cleaned.sales_cleaned",
    "ecommerce.events",
    "ecommerce.events_cleaned",
    "clickstream.events_cleaned",
    "clickstream.events_enhanced",
    "clickstream_cleaned.events_cleaned",
}

#: columns that say who a person is
_PERSONS = {"customer_id", "customer_key", "full_name", "email", "user_id", "visitor_id", "visitor_key", "person"}

#: functions that both warehouses have under the same name, for what pages ask
_FUNCTIONS = {
    *("abs", "avg", "cast", "coalesce", "count", "dense_rank", "extract", "max", "min", "nullif", "replace", "right"),
    *("row_number", "split_part", "sum"),
}


def _names(sql: str) -> set[str]:
    return {
        f"{table.db}.{table.name}" for table in sqlglot.parse_one(sql, read="redshift").find_all(exp.Table) if table.db
    }


def problems(dataset: Dataset, columns: dict[str, Any]) -> list[str]:
    """What is wrong with a dataset's SQL, given the columns of all tables by schema and table."""
    found = []
    sql = f"{dataset.sql} order by {dataset.order}"
    for dialect in ("duckdb", "redshift"):
        try:
            tree = qualify(
                sqlglot.parse_one(sql, read=dialect), schema=columns, dialect=dialect, validate_qualify_columns=True
            )
        except SqlglotError as error:
            found.append(f"{dialect}: {error}")
            continue
        assert isinstance(tree, exp.Select)
        if tree.named_selects != [column.name for column in dataset.columns]:
            found.append(f"{dialect} selects {tree.named_selects}")
    # As they are written: sqlglot has one name for what is ifnull here and nvl there.
    others = set(re.findall(r"(\w+)\(", sql)) - _FUNCTIONS
    if others:
        found.append(f"calls {sorted(others)}")
    if _names(dataset.sql) != set(dataset.tables):
        found.append(f"reads {sorted(_names(dataset.sql))}, and says {sorted(dataset.tables)}")
    return found


@pytest.fixture(scope="module")
def columns(shown: Home) -> dict[str, Any]:
    """Types by schema, table and column."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for schema, table, column, kind in shown.query(
        "select table_schema, table_name, column_name, data_type from information_schema.columns"
    ):
        found.setdefault(schema, {}).setdefault(table, {})[column] = kind
    return {**found}


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_is_read_by_both_warehouses(columns: dict[str, Any], name: str) -> None:
    assert problems(DATASETS[name][1], columns) == []


@pytest.mark.parametrize("name", DATASETS)
def test_a_page_is_made_after_what_it_reads_and_reads_no_facts(name: str) -> None:
    entry, dataset = DATASETS[name]
    # What runs say of themselves is no asset.
    assert {name for name in dataset.tables if not name.startswith("ops.")} <= set(entry.after)
    assert not set(dataset.tables) & _FACTS


@pytest.mark.parametrize("page", [entry.name for entry in dashboards.PAGES])
def test_nothing_is_described_that_no_page_shows(page: str) -> None:
    shown = dashboards.load(page).datasets
    module = importlib.import_module(f"{dashboards.__name__}.pages.{page}")
    assert {one.name for one in vars(module).values() if isinstance(one, Dataset)} == {one.name for one in shown}
    if page != "health":  # which is made after what ends a domain's run, to tell of it
        assert {name for one in shown for name in one.tables} == set(dashboards.described(page).after)


@pytest.mark.parametrize("name", DATASETS)
def test_no_row_is_one_person(name: str) -> None:
    dataset = DATASETS[name][1]
    assert not {column.name for column in dataset.columns} & _PERSONS
    grouped = [by.name for group in sqlglot.parse_one(dataset.sql, read="redshift").find_all(exp.Group) for by in group]
    assert not set(grouped) & _PERSONS


def test_a_damaged_dataset_is_noticed(columns: dict[str, Any]) -> None:
    dataset = dashboards.load("product").charts[0].dataset
    assert problems(dataset, columns) == []
    for good, bad in (
        ("products.brand", "products.colour"),
        ("coalesce(", "ifnull("),
        ("sum(sales) as sales", "sum(sales) as sold"),
        ("sales.product_dim", "sales.location_dim"),
        ("sum(quantity)", "list(quantity)"),
    ):
        assert good in dataset.sql
        damaged = Dataset(
            dataset.name, dataset.tables, dataset.columns, dataset.grain, dataset.order, dataset.sql.replace(good, bad)
        )
        assert problems(damaged, columns), bad
