"""The contract of cleaned tables: it can fail, in each of its words, and says nothing of what it saw."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickstream_assets import about, contract, guards, run
from clickstream_assets.domains import DOMAINS
from clickstream_assets.run import RunFailed
from clickstream_assets.schemas import SALES_CUSTOMERS_CLEANED, SALES_SALES_CLEANED, Table
from clickstream_assets.storage import cleaning
from clickstream_assets.storage.staged import Staged
from clickstream_assets_tests.conftest import Home
from clickstream_assets_tests.sales.landed import land

LINEAGE = {
    "extra": None, "source_file": "a.csv", "source_line": 2, "processed_at": datetime(2024, 3, 1, tzinfo=UTC),
    "load_date": date(2024, 3, 1),
}  # fmt: skip
SALE = {
    "sale_id": "s1", "sale_date": date(2024, 3, 1), "customer_id": "c1", "product_id": "p1", "location_id": "l1",
    "quantity": 2, "unit_price": Decimal("9.99"), "discount": Decimal("0.98"), "tax_amount": Decimal("0.00"),
    "gross_amount": Decimal("19.98"), "net_amount": Decimal("19.00"), **LINEAGE,
}  # fmt: skip
CUSTOMER = {
    "customer_id": "c1", "first_name": "Bado", "last_name": None, "email": "bado@example.com", "city": None,
    "state": None, **LINEAGE,
}  # fmt: skip


def found(folder: Path, table: Table, *files: pa.Table) -> dict[str, int]:
    for n, rows in enumerate(files):
        pq.write_table(rows, folder / f"{n}.parquet")
    opened = [(lambda n=n: open(folder / f"{n}.parquet", "rb")) for n in range(len(files))]  # noqa: SIM115
    return {str(breach): rows for breach, rows in contract.breaches(table, opened).items()}


def rows(table: Table, *changes: dict[str, Any]) -> pa.Table:
    good = SALE if table is SALES_SALES_CLEANED else CUSTOMER
    return pa.Table.from_pylist([{**good, **change} for change in changes], table.arrow)


def test_good_rows_keep_it(tmp_path: Path) -> None:
    assert found(tmp_path, SALES_SALES_CLEANED, rows(SALES_SALES_CLEANED, {}, {"sale_id": "s2"})) == {}
    assert (
        found(
            tmp_path, SALES_CUSTOMERS_CLEANED, rows(SALES_CUSTOMERS_CLEANED, {}, {"customer_id": "c2", "email": None})
        )
        == {}
    )
    assert found(tmp_path, SALES_SALES_CLEANED, rows(SALES_SALES_CLEANED)) == {}


@pytest.mark.parametrize(
    ("change", "breach"),
    [
        ({"sale_id": None}, "sale_id is null"),
        ({"sale_date": None}, "sale_date is null"),
        ({"sale_date": date(1999, 12, 31)}, "sale_date is less than 2000-01-01"),
        ({"customer_id": None}, "customer_id is null"),
        ({"quantity": 0}, "quantity is less than 1"),
        ({"quantity": None}, "quantity is null"),
        ({"unit_price": Decimal("-0.01")}, "unit_price is less than 0"),
        ({"tax_amount": None}, "tax_amount is null"),
        ({"net_amount": Decimal("-0.01")}, "net_amount is less than 0"),
        ({"discount": Decimal("19.99")}, "rows discount is more than gross_amount"),
        ({"load_date": None}, "load_date is null"),
        ({"source_line": 0}, "source_line is less than 1"),
    ],
)  # fmt: skip
def test_each_word_of_it_can_be_broken_alone(tmp_path: Path, change: dict[str, Any], breach: str) -> None:
    three = rows(SALES_SALES_CLEANED, {"sale_id": "a"}, {"sale_id": "b", **change}, {"sale_id": "c"})
    assert found(tmp_path, SALES_SALES_CLEANED, three) == {breach: 1}


@pytest.mark.parametrize("email", ["nobody", "a b@example.com", "a@b@example.com", "a@example", "@example.com", ""])
def test_the_shape_of_an_address(tmp_path: Path, email: str) -> None:
    some = rows(SALES_CUSTOMERS_CLEANED, {}, {"customer_id": "c2", "email": email})
    assert found(tmp_path, SALES_CUSTOMERS_CLEANED, some) == {"email is not of its shape": 1}


def test_a_key_is_there_once_in_all_files_of_a_day(tmp_path: Path) -> None:
    one, other = rows(SALES_SALES_CLEANED, {}, {"sale_id": "s2"}), rows(SALES_SALES_CLEANED, {}, {"sale_id": "s3"})
    assert found(tmp_path, SALES_SALES_CLEANED, one, other) == {"sale_id is there more than once": 1}


def test_columns_and_types_are_those_of_the_registry(tmp_path: Path) -> None:
    good = rows(SALES_SALES_CLEANED, {}, {"sale_id": "s2"})
    assert found(tmp_path, SALES_SALES_CLEANED, good.drop_columns(["tax_amount"]))
    assert found(tmp_path, SALES_SALES_CLEANED, good.append_column("more", pa.array([1, 2])))
    assert found(tmp_path, SALES_SALES_CLEANED, good.select([*reversed(good.column_names)]))
    quantity = good.column_names.index("quantity")
    assert found(tmp_path, SALES_SALES_CLEANED, good.set_column(quantity, "quantity", pa.array(["2", "2"])))
    price = good.column_names.index("unit_price")
    wider = good["unit_price"].cast(pa.decimal128(20, 4))
    assert found(tmp_path, SALES_SALES_CLEANED, good.set_column(price, "unit_price", wider))


def test_it_is_looked_at_whatever_the_environment_says(tmp_path: Path) -> None:
    from pandera.config import config_context

    with config_context(validation_enabled=False, validation_depth="SCHEMA_ONLY"):
        assert found(tmp_path, SALES_SALES_CLEANED, rows(SALES_SALES_CLEANED, {"quantity": 0})) != {}


def test_every_cleaned_sales_table_has_one_and_names_its_persons() -> None:
    for feed in DOMAINS["sales"].feeds:
        assert feed.cleaned.contract and feed.cleaned.unique == feed.cleaned.columns[0].name
        assert "keeps_contract" in [spec.name for spec in guards.specs(feed.cleaned)]
        assert "keeps_contract" not in [spec.name for spec in guards.specs(feed.raw)]
    assert SALES_CUSTOMERS_CLEANED.personal == ("first_name", "last_name", "email")
    columns = [about.column(column) for column in SALES_CUSTOMERS_CLEANED.columns]
    assert [c.name for c in columns if "personal" in c.tags] == list(SALES_CUSTOMERS_CLEANED.personal)


def test_rows_that_break_it_are_not_published_and_not_shown(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The staged file of one of two days is damaged: that day stays as it was, the other one is published."""
    land(home, "customers", "a.csv", "c1,Bado,Fiku,bado.fiku@example.com,Boise,Idaho")
    home.run("2024-03-01", domain="sales")
    land(home, "customers", "a.csv", "c1,Bado,Fiku,bado.fiku@example.com,Austin,Texas", "c2,Lona,Pero,,,")
    land(home, "customers", "a.csv", "c1,Bado,Fiku,,Austin,Texas", day=date(2024, 3, 2))
    stage = cleaning.stage

    def damaged(*arguments: Any, **named: Any) -> Staged:
        staged = stage(*arguments, **named)
        for file in staged.files:
            if file.day == date(2024, 3, 1) and named["target"] is SALES_CUSTOMERS_CLEANED:
                path = home.path / "lake" / file.path
                kept = pq.read_table(path, partitioning=None)
                email = pa.array(["Zuvito Zuvito@example.org"] * len(kept))
                pq.write_table(kept.set_column(kept.column_names.index("email"), "email", email), path)
        return staged

    monkeypatch.setattr(cleaning, "stage", damaged)
    with pytest.raises(
        RunFailed,
        match=r"customers_cleaned was not published for 2024-03-01: keeps_contract: .*email is not of its shape \(2\)",
    ) as refused:
        home.run("2024-03-01", "2024-03-02", domain="sales")
    assert home.query("select load_date::varchar, city from sales_cleaned.customers_cleaned order by 1") == [
        ("2024-03-01", "Boise"),
        ("2024-03-02", "Austin"),
    ]
    assert "Zuvito" not in str(refused.value)
    key = dg.AssetCheckKey(dg.AssetKey(SALES_CUSTOMERS_CLEANED.key), "keeps_contract")
    with run.instance(home.settings) as storage:
        (latest,) = storage.event_log_storage.get_asset_check_execution_history(key, limit=1)
    assert not latest.event.dagster_event.asset_check_evaluation_data.passed
    written = b"".join(path.read_bytes() for path in (home.path / "dagster").rglob("*") if path.is_file())
    for word in (b"Zuvito", b"Bado", b"Fiku", b"Lona", b"example.com", b"example.org"):
        assert word not in written
    assert b"keeps_contract" in written
