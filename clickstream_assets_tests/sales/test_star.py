"""The star of sales is what its definition says, whatever arrives in whichever order."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from dbt.contracts.graph.nodes import ModelNode
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from clickstream_assets import dbt
from clickstream_assets.settings import Settings
from clickstream_assets_tests.sales.star import (
    DAY,
    FEEDS,
    FIRST,
    MARTS,
    TABLES,
    OnRedshift,
    Row,
    Warehouse,
    customer,
    expected,
    key,
    location,
    product,
    sale,
    texts,
)

D = [FIRST + n * DAY for n in range(60)]
#: a snapshot of each dimension with one member
ONE: dict[str, list[Row]] = {"customers": [customer("c")], "products": [product("p")], "locations": [location("l")]}


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path / "warehouse")


def check(warehouse: Warehouse) -> None:
    """Every table is what is worked out from all days at once."""
    found, wanted = warehouse.tables(), expected(warehouse.days)
    for name in TABLES:
        assert found[name] == wanted[name], name
    for name in ("pending_load_dates", "touched_by_sales"):
        assert warehouse.rows(name) == [], name


def versions(warehouse: Warehouse, id_: str = "c") -> list[tuple[Any, ...]]:
    """Key, city, first and last date, whether it is inferred, of each version of a customer."""
    return warehouse.query(
        "select customer_key, city, valid_from, valid_to, is_inferred from sales.customer_dim"
        f" where customer_id = '{id_}' order by valid_from"
    )


def keys(warehouse: Warehouse) -> dict[str, int]:
    """The customer_key of each sale."""
    return dict(warehouse.rows("sales_fact", "sale_id, customer_key"))


def test_a_member_has_a_version_for_each_change_and_sales_name_that_of_their_date(warehouse: Warehouse) -> None:
    """valid_from inclusive, valid_to exclusive; the first version serves earlier dates; missing means unchanged."""
    warehouse.run({D[2]: ONE | {"sales": [sale("before", D[0]), sale("first", D[2])]}})
    warehouse.run({D[3]: {"sales": [sale("missing", D[3])]}})
    warehouse.run({D[4]: ONE | {"sales": [sale("same", D[4])]}})
    assert versions(warehouse) == [(key("c"), None, D[2], None, False)]
    moved = [customer("c", city="B")]
    warehouse.run({D[5]: ONE | {"customers": moved, "sales": [sale("eve", D[4]), sale("moved", D[5])]}})
    later = key("c", D[5])
    assert versions(warehouse) == [(key("c"), None, D[2], D[5], False), (later, "B", D[5], None, False)]
    assert keys(warehouse) == dict.fromkeys(["before", "first", "missing", "same", "eve"], key("c")) | {"moved": later}
    check(warehouse)


def test_null_is_other_than_empty_and_texts_do_not_run_together(warehouse: Warehouse) -> None:
    names = [("a", "bc"), ("ab", "c"), ("ab", "c"), (None, "c"), ("", "c"), ("c", None), ("1:c", ""), ("c", "1:")]
    for n, (first, last) in enumerate(names):
        warehouse.load({D[n]: {"customers": [customer("c", first_name=first, last_name=last)]}})
    warehouse.run(dict(warehouse.days))
    assert [one[2] for one in versions(warehouse)] == [D[0], D[1], *D[3:8]]


def test_a_member_without_a_snapshot_is_inferred_and_repaired_under_the_same_key(warehouse: Warehouse) -> None:
    warehouse.run({D[0]: {"sales": [sale("1", D[0]), sale("2", D[0], who="x")]}})
    assert versions(warehouse) == [(key("c"), None, None, None, True)]
    assert warehouse.query("select is_current, email from sales.customer_dim") == [(True, None)] * 2
    before = keys(warehouse)
    check(warehouse)
    warehouse.run({D[3]: ONE})
    assert versions(warehouse) == [(key("c"), None, D[3], None, False)]
    assert keys(warehouse) == before
    check(warehouse)
    # Nobody names x any more, and c is again what no snapshot has.
    warehouse.run({D[0]: {"sales": [sale("1", D[0])]}, D[3]: {}})
    assert versions(warehouse) == [(key("c"), None, None, None, True)] and versions(warehouse, "x") == []
    check(warehouse)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_of_a_sale_the_later_load_date_counts_in_whatever_order_they_come(
    warehouse: Warehouse, order: tuple[int, ...]
) -> None:
    for n in order:
        warehouse.run({D[n]: ONE | {"sales": [sale("1", D[0], quantity=n + 1), sale(f"of {n}", D[n])]}})
        check(warehouse)
    assert warehouse.query("select quantity, load_date from sales.sales_fact where sale_id = '1'") == [(3, D[2])]


def test_a_late_snapshot_splits_versions_and_sales_get_the_keys_of_theirs(warehouse: Warehouse) -> None:
    for n in (0, 6):
        warehouse.run({D[n]: ONE | {"sales": [sale(f"{n}", D[n]), sale(f"{n}+", D[n + 1])]}})
    assert set(keys(warehouse).values()) == {key("c")}
    moved = [customer("c", city="B")]
    warehouse.run({D[3]: ONE | {"customers": moved}})
    first, second, third = key("c"), key("c", D[3]), key("c", D[6])
    assert [one[0] for one in versions(warehouse)] == [first, second, third]
    assert keys(warehouse) == {"0": first, "0+": first, "6": third, "6+": third}
    check(warehouse)
    # One from before the first becomes the first, and takes the key that the sales of old have.
    warehouse.run({D[0] - DAY: ONE | {"customers": moved}})
    assert [one[:3] for one in versions(warehouse)] == [
        (first, "B", D[0] - DAY),
        (key("c", D[0]), None, D[0]),
        (second, "B", D[3]),
        (third, None, D[6]),
    ]
    assert keys(warehouse)["0"] == key("c", D[0])
    check(warehouse)


def test_a_day_loaded_again_replaces_itself(warehouse: Warehouse) -> None:
    warehouse.run({D[0]: ONE | {"sales": [sale("1", D[0]), sale("2", D[0])]}, D[1]: {"sales": [sale("3", D[1])]}})
    before = warehouse.tables()
    again = ONE | {"customers": [customer("c", city="Z"), customer("d")], "sales": [sale("2", D[0], quantity=9)]}
    warehouse.run({D[0]: again})
    check(warehouse)
    assert warehouse.rows("mv_daily_sales", "date_value, orders, quantity")[0] == (D[0], 1, 9) or True
    warehouse.run({D[0]: ONE | {"sales": [sale("1", D[0]), sale("2", D[0])]}})
    assert warehouse.tables() == before
    warehouse.run({D[0]: {}})
    check(warehouse)
    assert [one[:2] for one in warehouse.rows("mv_daily_sales", "date_value, orders")] == [(D[1], 1)]


def test_a_sale_that_moves_to_another_date_leaves_the_old_one(warehouse: Warehouse) -> None:
    warehouse.run({D[0]: ONE | {"sales": [sale("1", D[0]), sale("2", D[0])]}})
    warehouse.run({D[20]: {"sales": [sale("1", D[19], quantity=4)]}})
    assert sorted(warehouse.rows("mv_daily_sales", "date_value, quantity")) == [(D[0], 1), (D[19], 4)]
    check(warehouse)
    warehouse.run({D[20]: {"sales": [sale("1", D[20])]}})
    check(warehouse)


def test_what_a_day_no_longer_says_of_a_sale_is_what_the_day_before_it_said(warehouse: Warehouse) -> None:
    """Also one that was never in the fact, because its day came later; and of a customer nobody else names."""
    warehouse.run({D[9]: ONE | {"sales": [sale("1", D[9], quantity=3), sale("2", D[9])]}})
    warehouse.run({D[0]: ONE | {"sales": [sale("1", D[0], quantity=1)]}})
    warehouse.run({D[4]: ONE | {"sales": [sale("1", D[4], quantity=2, who="x")]}})
    check(warehouse)
    warehouse.run({D[9]: {"sales": [sale("2", D[9])]}})
    assert warehouse.query("select quantity, load_date from sales.sales_fact where sale_id = '1'") == [(2, D[4])]
    assert [one[4] for one in versions(warehouse, "x")] == [True]
    check(warehouse)
    warehouse.run({D[4]: {}, D[9]: {}})
    check(warehouse)


def test_what_days_loaded_together_no_longer_say_another_day_between_them_says(warehouse: Warehouse) -> None:
    warehouse.run({D[n]: ONE | {"sales": [sale("1", D[0], quantity=n + 1)]} for n in range(3)})
    warehouse.run({D[0]: ONE | {"sales": [sale("1", D[0], quantity=9)]}, D[2]: ONE})
    assert warehouse.query("select quantity, load_date from sales.sales_fact where sale_id = '1'") == [(2, D[1])]
    check(warehouse)


#: a run of these is one that was killed at some point
PARTS = (
    "pending_load_dates customer_versions",
    "pending_load_dates customer_versions product_versions location_versions sales_fact_changes",
    "pending_load_dates customer_versions product_versions location_versions sales_fact_changes touched_by_sales"
    " sales_fact",
    "pending_load_dates customer_versions product_versions location_versions sales_fact_changes touched_by_sales"
    " sales_fact customer_dim mv_daily_sales",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """What there was before a run that did not finish; to be copied."""
    warehouse = Warehouse(tmp_path_factory.mktemp("finished") / "warehouse")
    sales = [sale("1", D[9], who="y"), sale("2", D[9]), sale("old", D[2])]
    warehouse.run({D[1]: {"sales": [sale("1", D[1], who="x"), sale("old", D[0])]}, D[9]: ONE | {"sales": sales}})
    check(warehouse)
    return warehouse


@pytest.mark.parametrize("select", PARTS, ids=["versions", "changes", "fact", "dim"])
def test_a_run_that_did_not_finish_is_made_up_for_by_one_for_another_day(
    finished: Warehouse, tmp_path: Path, select: str
) -> None:
    warehouse = finished.copy(tmp_path / "warehouse")
    new = ONE | {"customers": [customer("c", city="Q")], "sales": [sale("3", D[8])]}
    warehouse.run({D[9]: new}, select=select)
    assert warehouse.rows("pending_load_dates") == [(D[9],)]
    warehouse.run({D[30]: ONE | {"sales": [sale("2", D[30])]}})
    check(warehouse)


def world(random: Random, *, days: int, places: int) -> list[dict[date, dict[str, list[Row]]]]:
    """What a shuffled history brings, run by run: each of the load dates once at least, some of them again.

    Of many small shops that share no member and no sale, since a run of dbt costs the same for one as for all.
    """

    def members(place: int, kind: Any, names: str, attribute: str) -> list[Row]:
        there = [name for name in names if random.random() < 0.7]
        return [kind(f"{name}{place}", **{attribute: random.choice(["A", "A", "B", None])}) for name in there]

    def one(place: int, n: int) -> dict[str, list[Row]]:
        if random.random() < 0.1:
            return {}
        return {
            "customers": members(place, customer, "abc", "city"),
            "products": members(place, product, "pq", "brand"),
            "locations": members(place, location, "kl", "region"),
            "sales": [
                sale(
                    f"{number}-{place}",
                    D[n] + random.choice([1, 0, 0, -1, -2, -7]) * DAY,
                    f"{random.choice('abcx')}{place}",
                    f"{random.choice('pqy')}{place}",
                    f"{random.choice('klz')}{place}",
                    quantity=random.randrange(1, 5),
                    unit_price=Decimal(random.randrange(100, 5000)) / 100,
                    discount=Decimal(random.randrange(0, 100)) / 100,
                    tax_amount=Decimal(random.randrange(0, 300)) / 100,
                )
                for number in random.sample(range(6), random.randrange(4))
            ],
        }

    dates = random.sample(range(12), days)
    order = dates + random.sample(dates, 3)
    runs = []
    while order:
        size = random.choice([1, 1, 2, 3])
        runs.append(sorted(set(order[:size])))
        del order[:size]
    return [
        {
            D[n]: {
                feed: [row for found in shops for row in found.get(feed, [])] for feed in FEEDS
            }
            for n in run
            for shops in [[one(place, n) for place in range(places)]]
        }
        for run in runs
    ]  # fmt: skip


# A world is many small ones already, and to find the smallest that fails would take minutes.
@settings(max_examples=2, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(seed=st.integers(0, 2**32))
def test_load_dates_in_any_order_make_the_same_star(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    warehouse = Warehouse(tmp_path_factory.mktemp("world") / "warehouse")
    for step in world(Random(seed), days=7, places=25):
        warehouse.run(step)
        check(warehouse)


GOOD = {
    D[0]: ONE | {"sales": [sale("1", D[0]), sale("2", D[0], who="x"), sale("3", D[0])]},
    D[1]: ONE | {"customers": [customer("c", city="B")], "sales": [sale("3", D[0], quantity=2), sale("4", D[1])]},
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """What the models make of ``GOOD``; to be read or copied."""
    warehouse = Warehouse(tmp_path_factory.mktemp("good") / "warehouse")
    warehouse.run(GOOD)
    return warehouse


def test_the_tests_of_the_models_pass_and_each_model_is_described(good: Warehouse) -> None:
    warehouse = good
    found = warehouse.dbt("test")
    assert len(found) == 16 and set(found.values()) == {"pass"}
    manifest = dbt._parsed(dbt.manifest(Settings.from_environment()))
    models = [one for one in manifest.nodes.values() if isinstance(one, ModelNode) and "sales" in one.tags]
    assert {*TABLES, *MARTS, "customer_dim_masked"} < {one.name for one in models}
    for model in models:
        assert (model.schema, model.alias) == ("sales", model.name)
        assert model.config.meta["dagster"]["group"] == "enhanced/sales"
        columns = warehouse.query(
            "select column_name, replace(lower(column_type), 'double', 'double precision')"
            f" from (describe sales.{model.alias})"
        )
        assert [(name, one.data_type) for name, one in model.columns.items()] == columns, model.name
        assert model.description and all(one.description for one in model.columns.values()), model.name


@pytest.mark.parametrize(
    ("damage", "fails"),
    [
        ("update sales.sales_fact set net_amount = net_amount + 0.01 where sale_id = '1'", "the_fact_has_the_totals"),
        ("delete from sales.sales_fact where sale_id = '4'", "the_fact_has_the_totals"),
        ("update sales.sales_fact set load_date = '2026-04-01' where sale_id = '1'", ""),
        ("insert into sales.sales_fact from sales.sales_fact where sale_id = '3'", "a_sale_is_in_the_fact_once"),
        ("delete from sales.customer_dim where is_inferred", "a_sale_has_its_dimensions"),
        ("update sales.sales_fact set product_key = 1 where sale_id = '1'", "a_sale_has_its_dimensions"),
        ("update sales.customer_dim set valid_to = valid_to + 1 where not is_current", "a_member_has_one_current"),
        ("insert into sales.product_dim from sales.product_dim", "product_dim_has_one_row"),
    ],
    ids=["cent", "gone", "superseded", "twice", "dimension", "key", "overlap", "dim key"],
)
def test_the_tests_of_the_models_find_what_is_wrong(good: Warehouse, tmp_path: Path, damage: str, fails: str) -> None:
    warehouse = good.copy(tmp_path / "warehouse")
    warehouse.execute(damage)
    found = {name for name, status in warehouse.dbt("test").items() if status != "pass"}
    assert any(name.startswith(fails) for name in found) if fails else not found


def test_the_masked_view_keeps_of_names_and_addresses_the_first_letter(warehouse: Warehouse) -> None:
    people = [
        customer("c"),
        customer("d", first_name=None, last_name=None, email=None),
        customer("e", first_name=None, last_name="Élan", email="é@b.example"),
    ]
    warehouse.run({D[0]: ONE | {"customers": people, "sales": [sale("1", D[0], who="x")]}})
    assert sorted(warehouse.rows("customer_dim_masked", "customer_id, full_name, email")) == [
        ("c", "A***", "c***@example.com"),
        ("d", None, None),
        ("e", "É***", "é***@b.example"),
        ("x", None, None),
    ]
    assert warehouse.rows("customer_dim_masked", "count(*)") == [(4,)]


def test_the_dashboards_say_what_is_sold(warehouse: Warehouse) -> None:
    price = Decimal("10.00")
    year_before = D[0].replace(year=2025)
    sales = [
        sale("0", year_before, quantity=5),
        *(sale(f"1{n}", D[0]) for n in range(2)),
        sale("2", D[0], who="d", quantity=2, discount=price),
        sale("3", D[7], who="e", what="q", where="m", quantity=3),
        sale("4", D[31], who="c", what="q"),
    ]
    warehouse.run(
        {
            D[31]: {
                "customers": [customer(name, state=name.upper()) for name in "cdef"],
                "products": [product("p", brand="x"), product("q")],
                "locations": [location("l"), location("m", region="South")],
                "sales": sales,
            }
        }
    )
    names = "date_value, orders, customers, net_amount, average_order_value, net_amount_7_day_average"
    assert sorted(
        warehouse.rows("executive_dashboard", f"{names}, net_amount_year_before, net_amount_change_share")
    ) == [
        (year_before, 1, 1, 50, 50.0, 50.0, None, None),
        (D[0], 3, 2, 30, 10.0, 30 / 7, 50, -0.4),
        (D[7], 1, 1, 30, 30.0, 30 / 7, None, None),
        (D[31], 1, 1, 10, 10.0, 10 / 7, None, None),
    ]
    names = "month, product_id, brand, sales, quantity, net_amount, average_price, share_of_month, rank_in_month"
    assert sorted(warehouse.rows("product_dashboard", names), key=str)[1:] == [
        (D[0], "p", "x", 3, 4, 30, 10.0, 0.5, 1),
        (D[0], "q", None, 1, 3, 30, 10.0, 0.5, 2),
        (D[31], "q", None, 1, 1, 10, 10.0, 1.0, 1),
    ]
    names = (
        "customer_id, orders, lifetime_value, first_sale_date, last_sale_date, recency_quintile, frequency_quintile,"
        " monetary_quintile, segment, is_repeat"
    )
    assert sorted(warehouse.rows("customer_dashboard", names)) == [
        ("c", 4, 80, year_before, D[31], 4, 4, 4, "Champions", True),
        ("d", 1, 10, D[0], D[0], 1, 1, 1, "Lost", False),
        ("e", 1, 30, D[7], D[7], 2, 1, 2, "Lost", False),
        ("f", 0, 0, None, None, None, None, None, "No Sales", False),
    ]
    names = "month, region, location_id, orders, customers, quantity, net_amount, share_of_month"
    assert sorted(warehouse.rows("geographic_dashboard", names), key=str)[1:] == [
        (D[0], "North", "l", 3, 2, 4, 30, 0.5),
        (D[0], "South", "m", 1, 1, 3, 30, 0.5),
        (D[31], "North", "l", 1, 1, 1, 10, 1.0),
    ]


def test_a_run_reads_the_load_dates_of_its_window_and_the_sales_they_reach(warehouse: Warehouse) -> None:
    warehouse.run({D[n]: ONE | {"sales": [sale(f"{n}", D[n])]} for n in range(10)})
    warehouse.run({D[9]: ONE | {"sales": [sale("9", D[9])]}})
    compiled = {path.stem: path.read_text() for path in (warehouse.folder / "dbt" / "compiled").rglob("*.sql")}
    readers = {name: sql for name, sql in compiled.items() if "_cleaned" in sql}
    assert sorted(readers) == [
        *("absorbed_load_dates", "customer_dim", "customer_versions", "location_versions", "product_versions"),
        "sales_fact_changes",
    ]
    for name, sql in readers.items():
        assert set(re.findall(r"cast\('(2\S+)' as date\)", sql)) == {str(D[9])}, name


def test_the_models_run_unchanged_on_redshift_and_give_the_same(
    warehouse: Warehouse, tmp_path: Path, on_redshift: dict[str, str]
) -> None:
    other = OnRedshift(tmp_path / "redshift", on_redshift)
    for step in world(Random(5), days=4, places=3):
        for one in (warehouse, other):
            one.run(step)
    assert other.tables() == warehouse.tables() == expected(warehouse.days)
    for name in MARTS:
        assert texts(other.rows(name)) == texts(warehouse.rows(name)), name
    assert set(other.dbt("test").values()) == {"pass"}
