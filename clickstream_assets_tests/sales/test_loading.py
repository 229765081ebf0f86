"""Snapshots and sales from landing to their cleaned tables."""

from __future__ import annotations

import json
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from clickstream_assets.generate import generator
from clickstream_assets_tests.conftest import Home, use_home
from clickstream_assets_tests.sales.landed import FEEDS, land, load

SALE = "{},2024-03-01,c1,p1,l1,{},9.99,{},"


def test_a_key_is_the_same_with_blanks_around_it(home: Home) -> None:
    land(home, "sales", "a.csv", SALE.format("7", 1, ""), SALE.format(" 7", 2, ""), SALE.format("7\u00a0", 3, ""))
    land(home, "sales", "b.csv", SALE.format("8", 1, ""))
    assert load(home, feeds=["sales"]) == {"duplicate": 2}
    assert home.query("select sale_id, count(*) from sales_cleaned.sales_cleaned group by 1 order by 1") == [
        ("7", 1),
        ("8", 1),
    ]
    assert home.ledger("sales_cleaned.sales_cleaned", "2024-03-01") == (4, 2, 0, 2, 0, 0)


def test_a_rejected_row_does_not_take_the_place_of_a_good_one_with_its_key(home: Home) -> None:
    land(home, "sales", "a.csv", SALE.format("7", 1, ""), SALE.format("7", 0, ""), SALE.format("", 1, ""))
    assert load(home, feeds=["sales"]) == {"bad_quantity": 1, "missing_sale_id": 1}
    assert home.query("select sale_id, quantity from sales_cleaned.sales_cleaned") == [("7", 1)]


def test_which_copy_stays_does_not_depend_on_what_came_first(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {
        "a.csv": ["c1,Ba,Do,,Boise,Idaho", "c2,Fi,Gu,,,"],
        "b.csv": ["c1 ,Ba,Do,,Austin,Texas", "c2 ,Fi,Gu,,Denver,"],
    }
    found = []
    for order in (("a.csv", "b.csv"), ("b.csv", "a.csv")):
        home = use_home(tmp_path / order[0], monkeypatch)
        for name in order:
            land(home, "customers", name, *rows[name])
            load(home, feeds=["customers"])
        assert home.ledger("sales_cleaned.customers_cleaned", "2024-03-01") == (4, 2, 0, 2, 0, 0)
        found.append(home.table("sales_cleaned.customers_cleaned"))
    assert found[0] == found[1]


def test_the_same_snapshot_on_another_day_is_no_copy_and_on_the_same_day_it_is(home: Home) -> None:
    """Prices that go up and down again: on the third day things are as on the first."""
    for day, price in ((1, "1.00"), (2, "2.00"), (3, "1.00")):
        land(home, "products", "a.csv", f"p1,Lamp,Home,Lighting,Acme,{price}", day=date(2024, 3, day))
    land(home, "products", "b.csv", "p1,Lamp,Home,Lighting,Acme,1.00", day=date(2024, 3, 3))
    days = [date(2024, 3, n) for n in (1, 2, 3)]
    assert load(home, *days, feeds=["products"]) == {}
    assert home.query("select unit_price from sales_cleaned.products_cleaned order by load_date") == [
        (Decimal("1.00"),),
        (Decimal("2.00"),),
        (Decimal("1.00"),),
    ]
    assert home.query("select partition_date, status from ops.landing_files where status <> 'loaded'") == [
        (date(2024, 3, 3), "duplicate_file")
    ]
    assert load(home, date(2024, 3, 3), feeds=["products"]) == {}
    assert home.one("select count(*) from sales_cleaned.products_cleaned") == (3,)


def test_columns_that_no_table_knows_are_kept_in_both(home: Home) -> None:
    header = "LOCATION_ID,store_name,city,state,region,country,opened"
    land(home, "locations", "a.csv", "l1,Market,Boise,Idaho,West,United States,2019", header=header)
    load(home, feeds=["locations"])
    for relation in ("spectrum_sales.locations_raw", "sales_cleaned.locations_cleaned"):
        (extra,) = home.one(f"select extra from {relation}")
        assert json.loads(extra) == {"opened": "2019"}


@pytest.mark.parametrize("rows", [30, 700])
def test_the_generators_tally_is_what_comes_out(home: Home, rows: int) -> None:
    first, last = date(2024, 3, 1), date(2024, 3, 4)
    made = generator("sales")(home.platform.landing.write, first=first, last=last, rows_per_day=rows, faults=True)
    days = [first + timedelta(n) for n in range(4)]
    expected = dict(made.faults)
    late, corrected, copies = (expected.pop(name) for name in ("late_customer", "corrected_sale", "duplicate_file"))
    assert load(home, *days) == expected
    raw_in = home.one("select sum(rows_in)::bigint from ops.row_ledger where asset like 'sales_raw.%'")
    assert raw_in == (made.rows + expected["rejected_file"],)
    assert home.one("select count(*) from ops.landing_files where status = 'duplicate_file'") == (copies,)
    assert home.one("select count(*) from sales_cleaned.sales_cleaned") == (4 * rows + corrected + late,)
    assert home.one("select count(*) - count(distinct sale_id) from sales_cleaned.sales_cleaned") == (corrected,)
    unknown = """
        select count(*) from sales_cleaned.sales_cleaned as s where not exists (
            select * from sales_cleaned.customers_cleaned as c
            where c.customer_id = s.customer_id and c.load_date {})
    """
    assert home.one(unknown.format("<= s.load_date")) == (late,)
    # Those who come within two days have come, but for those of the last two days.
    (never,) = home.one(unknown.format("is not null"))
    assert 0 < never < late
    for feed in ("product", "location"):
        assert home.one(
            f"select count(*) from sales_cleaned.sales_cleaned where {feed}_id not in "
            f"(select {feed}_id from sales_cleaned.{feed}s_cleaned)"
        ) == (0,)
    assert set(FEEDS) == {"customers", "products", "locations", "sales"}
