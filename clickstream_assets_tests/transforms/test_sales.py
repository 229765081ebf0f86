"""Cleaning customers, products, locations and sales on Sail, judged by Python's ``re``, ``decimal`` and ``date``.

Every case is one raw row; all rows of a feed are cleaned at once, and each is then looked at by its line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clickstream_assets.domains import domain
from clickstream_assets.schemas import QUARANTINE
from clickstream_assets.storage.spark import session
from clickstream_assets.transforms import sales

DAY = date(2026, 3, 2)
LOADED = datetime(2026, 3, 2, 12, tzinfo=UTC)
Row = dict[str, Any]
FEEDS = {feed.root.removeprefix("sales/"): feed for feed in domain("sales").feeds}

GOOD: dict[str, Row] = {
    "customers": {"customer_id": "C1", "first_name": "Bado", "last_name": "Fiku", "email": "bado@example.com",
                  "city": "Boise", "state": "Idaho"},
    "products": {"product_id": "P1", "product_name": "Lamp", "category": "Home", "subcategory": "Lighting",
                 "brand": "Acme", "unit_price": "9.99"},
    "locations": {"location_id": "L1", "store_name": "Market", "city": "Boise", "state": "Idaho", "region": "West",
                  "country": "United States"},
    "sales": {"sale_id": "S1", "sale_date": "2026-03-02", "customer_id": "C1", "product_id": "P1",
              "location_id": "L1", "quantity": "2", "unit_price": "9.99", "discount": "1.98", "tax_amount": "1.44"},
}  # fmt: skip

BLANK = [None, "", " ", "\t\u00a0", "\u3000"]
LONG = "é" * 32_768

#: feed, rule → the changes that break it alone, in the order in which rules are tried
BREAKS: dict[str, dict[str, list[Row]]] = {
    "customers": {
        "missing_customer_id": [{"customer_id": text} for text in BLANK],
        "bad_email": [{"email": text} for text in (
            "nobody", "@", "a@", "@example.com", "a@b", "a@b.", "a@.b", "a@b..c", "a@@b.c", "a@b@c.d", "a b@c.d",
            "a@b c.d", "a\u00a0b@c.d", "a@b.c\nd", "a@b.c d", "Bado <a@b.c>\n x", "a@b.c,d@e f.g")],
        "text_too_long": [{name: LONG} for name in ("customer_id", "first_name", "state")],
    },
    "products": {
        "missing_product_id": [{"product_id": text} for text in BLANK],
        "bad_unit_price": [{"unit_price": text} for text in (
            *BLANK, "abc", "-0.01", "NaN", "inf", "10000000000", "9999999999.995", "1,5", "$5", "1 000")],
        "text_too_long": [{"product_name": LONG}, {"brand": "x" * 65_536}],
    },
    "locations": {
        "missing_location_id": [{"location_id": text} for text in BLANK],
        "text_too_long": [{"store_name": LONG}, {"country": LONG}],
    },
    "sales": {
        **{f"missing_{key}": [{key: text} for text in BLANK]
           for key in ("sale_id", "customer_id", "product_id", "location_id")},
        "bad_sale_date": [{"sale_date": text} for text in (
            *BLANK, "2026-03-04", "1999-12-31", "2026-02-29", "2026-02-30", "2026-13-01", "2026-00-10", "2026-3-2",
            "20260302", "02.03.2026", "03/02/2026", "2026-03-02T00:00:00", "2026-03-02 10:00:00", "2026-03", "2026",
            "18:00:26", "9999-12-31", "0001-01-01", "today", "٢٠٢٦-٠٣-٠٢", "+2026-03-02", "12026-03-02")],
        "bad_quantity": [{"quantity": text} for text in (
            *BLANK, "0", "00", "-1", "+1", "1.0", "2.5", "1e3", "1000000000", "99999999999999999999", "two", "٣",
            "1 000", "0x1")],
        "bad_unit_price": [{"unit_price": text} for text in (*BLANK, "abc", "-0.01", "NaN", "10000000000")],
        "bad_discount": [{"discount": text} for text in ("abc", "-0.01", "10%", "10000000000", "NaN")],
        "bad_tax_amount": [{"tax_amount": text} for text in ("abc", "-0.01", "inf", "10000000000")],
        "gross_too_large": [
            {"quantity": "999999999", "unit_price": "9999999999.99"},
            {"quantity": "100000000", "unit_price": "10000000"},
            {"quantity": "999999999", "unit_price": "9999999999.99", "discount": "9999999999.99"},
        ],
        "discount_above_gross": [
            {"discount": "19.99"}, {"discount": "19.985"}, {"unit_price": "0", "discount": "0.01"},
            {"discount": "9999999999.99"},
        ],
        "text_too_long": [{name: LONG} for name in ("sale_id", "location_id")],
    },
}  # fmt: skip

#: feed → changes that break no rule, with what comes out of the columns that they are about
KEPT: dict[str, list[tuple[Row, Row]]] = {
    "customers": [
        ({}, {"customer_id": "C1", "first_name": "Bado", "email": "bado@example.com", "state": "Idaho"}),
        *(({"email": text}, {"email": None}) for text in BLANK),
        *(({"email": text}, {"email": text.strip()}) for text in (
            " a@b.c ", "A.B+c@Sub.Example.ORG", "ä@münchen.example", "'o@x.y", "a@b.c.d.e", "a,b@c.d")),
        ({"customer_id": "\u00a0C1\t"}, {"customer_id": "C1"}),
        (dict.fromkeys(("first_name", "last_name", "city", "state"), " "),
         dict.fromkeys(("first_name", "last_name", "city", "state"))),
        ({"customer_id": "null"}, {"customer_id": "null"}),
        ({"first_name": "é" * 32_767}, {"first_name": "é" * 32_767}),
    ],
    "products": [
        *(({"unit_price": text}, {"unit_price": Decimal(value)}) for text, value in (
            ("0", "0.00"), (" 5 ", "5.00"), ("2.675", "2.68"), ("2.674", "2.67"), ("9999999999.99", "9999999999.99"),
            ("1e3", "1000.00"), ("+5", "5.00"), (".5", "0.50"), ("-0", "0.00"))),
        ({"brand": None, "product_name": ""}, {"brand": None, "product_name": None}),
    ],
    "locations": [({"region": "", "country": " \n"}, {"location_id": "L1", "region": None, "country": None})],
    "sales": [
        ({}, {"gross_amount": Decimal("19.98"), "net_amount": Decimal("19.44"), "tax_amount": Decimal("1.44")}),
        *(({"discount": text}, {"discount": Decimal("0.00"), "net_amount": Decimal("21.42")}) for text in BLANK),
        *(({"tax_amount": text}, {"tax_amount": Decimal("0.00")}) for text in BLANK),
        *(({"sale_date": text}, {"sale_date": day}) for text, day in (
            ("2000-01-01", date(2000, 1, 1)), ("2026-03-03", date(2026, 3, 3)), (" 2024-02-29 ", date(2024, 2, 29)))),
        *(({"quantity": text}, {"quantity": number}) for text, number in (
            ("1", 1), ("007", 7), (" 5 ", 5), ("999999999", 999_999_999), ("0" * 40 + "5", 5))),
        ({"discount": "19.98"}, {"net_amount": Decimal("1.44")}),
        ({"discount": "19.984"}, {"discount": Decimal("19.98"), "net_amount": Decimal("1.44")}),
        ({"unit_price": "0"} | {"discount": "0"}, {"gross_amount": Decimal("0.00"), "net_amount": Decimal("1.44")}),
        ({"unit_price": "1.005"}, {"unit_price": Decimal("1.01"), "gross_amount": Decimal("2.02")}),
        ({"quantity": "999999999", "unit_price": "1000000.00", "discount": ""},
         {"gross_amount": Decimal("999999999000000.00"), "net_amount": Decimal("999999999000001.44")}),
        ({"tax_amount": "9999999999.99"}, {"tax_amount": Decimal("9999999999.99")}),
    ],
}  # fmt: skip


def cleaned(spark: Any, folder: Path, feed: str, rows: Sequence[Row]) -> tuple[dict[int, Row], dict[int, Row]]:
    """Accepted and rejected rows by their place in the list, from 0; ``rows`` go through a real file."""
    raw = FEEDS[feed].raw
    lineage = {"ingestion_timestamp": LOADED, "source_file": "a.csv", "content_hash": "ab" * 32, "load_date": DAY}
    full = [{**row, **lineage, "source_line": n + 2, "record_number": n + 1} for n, row in enumerate(rows)]
    pq.write_table(pa.Table.from_pylist(full, raw.arrow), folder / f"{feed}.parquet")
    frame = spark.read.schema(raw.spark).parquet(str(folder / f"{feed}.parquet"))
    split = FEEDS[feed].load_transform().over(frame)(frame)
    sides = [side.toArrow() for side in (split.accepted, split.rejected)]
    kept = sides[0].select(FEEDS[feed].cleaned.arrow.names)
    assert [(f.name, str(f.type)) for f in kept.schema] == [(f.name, str(f.type)) for f in FEEDS[feed].cleaned.arrow]
    assert set(sides[1].column_names) == set(QUARANTINE.arrow.names) - {"asset", "run_id", "partition_hour"}
    accepted, rejected = ({entry["source_line"] - 2: entry for entry in side.to_pylist()} for side in (kept, sides[1]))
    assert sorted([*accepted, *rejected]) == list(range(len(rows)))
    return accepted, rejected


@pytest.fixture(scope="module")
def spark() -> Any:
    return session(None)


@pytest.mark.parametrize("feed", FEEDS)
def test_each_rule_rejects_the_row_that_breaks_it_alone(spark, tmp_path, feed) -> None:
    cases = [(rule, change) for rule, changes in BREAKS[feed].items() for change in changes]
    accepted, rejected = cleaned(spark, tmp_path, feed, [{**GOOD[feed], **change} for _, change in cases])
    assert accepted == {}
    assert [(rejected[n]["rule"], cases[n][1]) for n in rejected] == [cases[n] for n in rejected]


@pytest.mark.parametrize("feed", FEEDS)
def test_the_first_broken_rule_is_the_one_named(spark, tmp_path, feed) -> None:
    rules = list(BREAKS[feed])
    pairs = [(a, b) for n, a in enumerate(rules) for b in rules[n + 1 :]]
    pairs = [(a, b) for a, b in pairs if not BREAKS[feed][a][0].keys() & BREAKS[feed][b][-1].keys()]
    rows = [{**GOOD[feed], **BREAKS[feed][b][-1], **BREAKS[feed][a][0]} for a, b in pairs]
    _, rejected = cleaned(spark, tmp_path, feed, [*rows, {}])
    assert [rejected[n]["rule"] for n in range(len(rows))] == [first for first, _ in pairs]
    assert rejected[len(rows)]["rule"] == rules[0]
    assert [rule.name for rule in FEEDS[feed].load_transform().rules] == rules


@pytest.mark.parametrize("feed", FEEDS)
def test_what_breaks_no_rule_is_typed_and_trimmed(spark, tmp_path, feed) -> None:
    rows = [{**GOOD[feed], **change, "extra": '{"a": "b"}'} for change, _ in KEPT[feed]]
    accepted, rejected = cleaned(spark, tmp_path, feed, rows)
    assert rejected == {}
    for number, (change, wanted) in enumerate(KEPT[feed]):
        assert {name: accepted[number][name] for name in wanted} == wanted, change
        assert accepted[number]["extra"] == '{"a": "b"}' and accepted[number]["load_date"] == DAY


@pytest.mark.parametrize("feed", ["products", "locations", "sales"])
def test_a_rejected_record_is_kept_as_it_came(spark, tmp_path, feed) -> None:
    row = {**GOOD[feed], f"{feed[:-1]}_id": " "}
    _, rejected = cleaned(spark, tmp_path, feed, [row])
    assert json.loads(rejected[0]["payload"]) == row


def test_of_a_rejected_customer_the_id_is_kept_where_it_is_one(spark, tmp_path) -> None:
    ids = ["C1", " cust-0007 ", "42", "Bado", "bado@example.com", "Bado Fiku", "B1@x.y", "C1C", "1" * 19, ""]
    _, rejected = cleaned(
        spark, tmp_path, "customers", [{**GOOD["customers"], "customer_id": i, "email": "x"} for i in ids]
    )
    kept = [json.loads(rejected[n]["payload"]) for n in range(len(ids))]
    assert kept == [{"customer_id": "C1"}, {"customer_id": "cust-0007"}, {"customer_id": "42"}, *[{}] * 7]


def judge(row: Row) -> str | None:
    """What the specification makes of a sale."""

    def money(name: str, empty: str | None = None) -> Decimal | None:
        text = (row[name] or "").strip() or empty or ""
        if not re.fullmatch(r"\d+(\.\d*)?|\.\d+", text, re.ASCII):
            return None
        value = Decimal(text).quantize(Decimal("0.01"), ROUND_HALF_UP)
        return value if value <= Decimal("9999999999.99") else None

    for name in ("sale_id", "customer_id", "product_id", "location_id"):
        if not (row[name] or "").strip():
            return f"missing_{name}"
    try:
        text = (row["sale_date"] or "").strip()
        day = date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) else date.min
    except ValueError:
        day = date.min
    if not date(2000, 1, 1) <= day <= DAY + timedelta(1):
        return "bad_sale_date"
    text = (row["quantity"] or "").strip()
    if not re.fullmatch(r"\d+", text, re.ASCII) or not 0 < int(text) < 10**9:
        return "bad_quantity"
    price, discount, tax = money("unit_price"), money("discount", "0"), money("tax_amount", "0")
    if price is None:
        return "bad_unit_price"
    if discount is None:
        return "bad_discount"
    if tax is None:
        return "bad_tax_amount"
    if int(text) * price >= 10**15:
        return "gross_too_large"
    return "discount_above_gross" if discount > int(text) * price else None


NUMBER = st.one_of(
    st.decimals(0, 100, places=3).map(str),
    st.decimals(0, 10**11, places=2).map(str),
    st.sampled_from(["", " ", "x", None, "-1", ".5", "5.", "9999999999.99"]),
)
SALE = st.fixed_dictionaries(
    {
        **dict.fromkeys(("sale_id", "customer_id", "product_id", "location_id"), st.sampled_from(["a", " b ", "c"])),
        "sale_date": st.one_of(
            st.dates(date(1999, 12, 1), date(2026, 3, 10)).map(str), st.sampled_from(["", "2026-02-30", None])
        ),
        "quantity": st.one_of(st.integers(0, 9).map(str), st.integers(0, 10**10).map(str), st.sampled_from(["", "x"])),
        **dict.fromkeys(("unit_price", "discount", "tax_amount"), NUMBER),
    }
)


@settings(
    max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # each example is up to 80 rows in one query
@given(rows=st.lists(SALE, min_size=1, max_size=80))
def test_any_sale_comes_out_once_on_the_side_that_python_says(spark, tmp_path, rows) -> None:
    accepted, rejected = cleaned(spark, tmp_path, "sales", rows)
    for number, row in enumerate(rows):
        rule = judge(row)
        assert (rejected[number]["rule"] if number in rejected else None) == rule, row
        if rule is None:
            out = accepted[number]
            assert out["gross_amount"] == out["quantity"] * out["unit_price"]
            assert out["net_amount"] == out["gross_amount"] - out["discount"] + out["tax_amount"] >= out["tax_amount"]


def test_the_key_that_is_compared_is_the_one_that_comes_out() -> None:
    for transform, feed in zip(
        (sales.CUSTOMERS, sales.PRODUCTS, sales.LOCATIONS, sales.SALES), FEEDS.values(), strict=True
    ):
        assert transform.unique == feed.cleaned.unique and transform.same is not None
