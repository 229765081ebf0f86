"""Totals of landing, raw and cleaned agree to the cent, or the day is not published."""

from __future__ import annotations

import csv
import dataclasses
import io
import random
from collections.abc import Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F

from clickstream_assets import guards, totals
from clickstream_assets.domains import DOMAINS
from clickstream_assets.generate import generator
from clickstream_assets.generate.sales import COLUMNS
from clickstream_assets.parsing import arrow_csv
from clickstream_assets.run import RunFailed
from clickstream_assets.settings import Limits
from clickstream_assets.storage.spark import Split
from clickstream_assets.storage.staged import Check
from clickstream_assets.transforms import sales
from clickstream_assets_tests.conftest import Home, use_home
from clickstream_assets_tests.sales.landed import DAY, FEEDS, land, put, stage_cleaned, stage_raw

FEED = FEEDS["sales"]
SALE = "{},2024-03-01,c1,p1,l1,{},{},{},{}"


def checks(home: Home, *days: date) -> tuple[Check, Check]:
    """The check of raw and that of cleaned, of what has landed."""
    staged = stage_raw(home, FEED, days or (DAY,)), stage_cleaned(home, FEED, days or (DAY,))
    (raw,), (cleaned,) = (one.findings for one in staged)
    assert raw.name == cleaned.name == totals.NAME
    return raw, cleaned


def shown(check: Check, day: date = DAY) -> str:
    return str(check.metadata["totals"][str(day)])


def test_the_sums_are_those_of_the_files(home: Home) -> None:
    land(home, "sales", "a.csv", SALE.format(1, 2, "9.99", "", "1.20"), SALE.format(2, 1, "0.01", "", ""))
    land(home, "sales", "b.csv", SALE.format(3, 3, "100", "12.5", "7"))
    raw, cleaned = checks(home)
    assert raw.passed and raw.description == "landing and raw agree to the cent on 1 day(s)"
    assert cleaned.passed and cleaned.description == "raw and cleaned agree to the cent on 1 day(s)"
    both = "gross_amount 319.99, discount 12.50, tax_amount 8.20, net_amount 315.69 of 3 rows"
    assert shown(raw) == shown(cleaned) == both


def test_what_was_rejected_and_copies_are_in_raw_alone(home: Home) -> None:
    land(
        *(home, "sales", "a.csv", SALE.format(1, 2, "9.99", "", ""), SALE.format(1, 1, "5", "", "")),
        *(
            SALE.format(2, 0, "7", "", ""),
            SALE.format(3, 1, "3", "4", ""),
            SALE.format(4, 1, "2.345", "", ""),
            "5,short",
        ),
    )
    raw, cleaned = checks(home)
    assert raw.passed and cleaned.passed
    assert home.ledger("sales_raw.sales_raw", "2024-03-01") == (6, 5, 1, 0, 0, 0)
    assert home.ledger("sales_cleaned.sales_cleaned", "2024-03-01") == (5, 2, 2, 1, 0, 0)
    # 2.345 is no plain amount, so that its sale counts on neither side; of the copies one is kept, whichever.
    assert shown(raw) == "gross_amount 27.98, discount 4.00, tax_amount 0.00, net_amount 23.98 of 5 rows"
    assert shown(cleaned) in {
        f"gross_amount {gross}, discount 0.00, tax_amount 0.00, net_amount {gross} of 1 rows"
        for gross in (19.98, "5.00")
    }


def test_a_file_that_is_there_already_is_not_compared_again_and_a_new_one_beside_it_is(home: Home) -> None:
    land(home, "sales", "a.csv", SALE.format(1, 1, "1", "", ""))
    checks(home)
    land(home, "sales", "b.csv", SALE.format(2, 1, "2", "", ""))
    raw, cleaned = checks(home)
    assert raw.passed and "of 1 rows" in shown(raw) and "gross_amount 2.00" in shown(raw)
    assert cleaned.passed and "gross_amount 3.00" in shown(cleaned) and "of 2 rows" in shown(cleaned)
    raw, _ = checks(home)
    assert raw.passed and raw.description == "landing and raw agree to the cent on 0 day(s)"


@pytest.mark.parametrize("hop", ["raw", "cleaned"])
def test_a_wrong_cent_is_not_published(home: Home, monkeypatch: pytest.MonkeyPatch, hop: str) -> None:
    """One row of one of two days is read, or made, with another amount: the day stays as it was, the other is made."""
    land(home, "sales", "a.csv", SALE.format(1, 1, "5.00", "", ""))
    home.run("2024-03-01", domain="sales")
    before = home.table("sales.sales_fact")
    land(home, "sales", "a.csv", SALE.format(1, 1, "6.00", "", ""), SALE.format(2, 1, "7.00", "", "0.10"))
    land(home, "sales", "a.csv", SALE.format(3, 1, "8.00", "", ""), day=date(2024, 3, 2))

    def misread(block: Any, columns: Any, parse: Any = arrow_csv.parse) -> pa.Table:
        read = parse(block, columns)
        if "tax_amount" not in read.column_names:
            return read
        wrong = pa.array(["0.11" if tax == "0.10" else tax for tax in read["tax_amount"].to_pylist()])
        return read.set_column(read.column_names.index("tax_amount"), "tax_amount", wrong)

    def miscomputed(rows: Any) -> Split:
        split = sales.clean_sales(rows)
        cent = F.when(F.col("sale_id") == "2", 0.01).otherwise(0).cast("decimal(18,2)")
        net = (F.col("net_amount") + cent).cast("decimal(18,2)")
        return Split(split.accepted.withColumn("net_amount", net), split.rejected)

    if hop == "raw":
        monkeypatch.setattr(arrow_csv, "parse", misread)
    else:
        monkeypatch.setattr(sales, "SALES", dataclasses.replace(sales.SALES, apply=miscomputed))
    with pytest.raises(RunFailed, match=rf"sales.*_{hop} was not published for 2024-03-01: totals_agree") as refused:
        home.run("2024-03-01", "2024-03-02", domain="sales")
    tax, net = ("0.11", "13.11") if hop == "raw" else ("0.10", "13.11")
    assert f"tax_amount {tax}, net_amount {net} of 2 rows instead of" in str(refused.value)
    assert "net_amount 13.10 of 2 rows; this is a defect" in str(refused.value)
    assert [row for row in home.table("sales.sales_fact") if "3" not in row] == before
    monkeypatch.undo()
    home = use_home(home.path, monkeypatch)
    home.run("2024-03-01", "2024-03-02", domain="sales")
    assert home.one("select count(*), sum(net_amount) from sales.sales_fact") == (3, Decimal("21.10"))


def test_a_row_from_nowhere_or_a_lost_one_fails(home: Home) -> None:
    land(home, "sales", "a.csv", SALE.format(1, 1, "0", "", ""), SALE.format(2, 1, "0", "", ""))
    staged, lake = stage_cleaned_after_raw(home), home.platform.lake
    source = lake.snapshot(FEED.raw, [DAY])
    land(home, "sales", "a.csv", SALE.format(1, 1, "0", "", ""))
    stage_raw(home, FEED, [DAY])
    fewer = lake.snapshot(FEED.raw, [DAY])
    assert totals.cleaned(lake, source, FEED.cleaned, [DAY], staged.files).passed
    check = totals.cleaned(lake, fewer, FEED.cleaned, [DAY], staged.files)
    assert check.failed == {DAY} and "of 2 rows instead of gross_amount 0.00" in check.description


def stage_cleaned_after_raw(home: Home) -> Any:
    stage_raw(home, FEED, [DAY])
    return stage_cleaned(home, FEED, [DAY])


def test_the_checks_are_those_of_sales_alone_and_block() -> None:
    for domain in DOMAINS.values():
        for table in domain.tables:
            names = [spec.name for spec in guards.specs(table) if spec.blocking]
            assert (totals.NAME in names) == (table in (FEED.raw, FEED.cleaned))


def test_with_all_faults_of_the_generator(home: Home) -> None:
    first, last = date(2024, 3, 1), date(2024, 3, 2)
    generator("sales")(home.platform.landing.write, first=first, last=last, rows_per_day=300, seed=5, faults=True)
    raw, cleaned = checks(home, first, last)
    assert raw.passed and cleaned.passed
    for day in (first, last):
        (net,) = home.one(f"select sum(net_amount) from sales_cleaned.sales_cleaned where load_date = '{day}'")
        assert f"net_amount {net:,.2f}" in shown(cleaned, day)


FIELD = st.text(st.sampled_from('a,"\n\r 0'), max_size=4) | st.from_regex(r"\A[0-9]{1,3}(\.[0-9]{1,2})?\Z")


@given(st.lists(st.lists(FIELD, min_size=3, max_size=3), min_size=1, max_size=8), st.sampled_from(["\n", "\r\n", "\r"]))
@settings(deadline=None, max_examples=200)
def test_fields_are_split_as_python_does(records: Sequence[Sequence[str]], end: str) -> None:
    from clickstream_assets.parsing import delimited

    text = io.StringIO()
    # Python's writer quotes only those line ends that it writes itself.
    quoting = csv.QUOTE_ALL if any(set("\r\n") & set(field) for of in records for field in of) else csv.QUOTE_MINIMAL
    csv.writer(text, lineterminator=end, quoting=quoting).writerows([["x", "y", "z"], *records])
    reader = delimited.read(io.BytesIO(text.getvalue().encode()), Limits())
    blocks = [block for block in reader.blocks if len(block.lines)]
    assert not any(block.broken for block in blocks)
    found = [totals._fields(block, {"z": 2, "x": 0}) for block in blocks]
    split = [row for of in found for row in zip(of["x"].to_pylist(), of["z"].to_pylist(), strict=True)]
    assert split == [(x, z) for x, _, z in records]


#: amounts as files may have them
AMOUNTS = (
    *("", " ", "0", "1", " 2.5\t", "3.10", "\u00a04", "+5", "-6", "7e1", "8.125", "1_000", "0x1f", "nan", "1e400"),
    *("9999999999.99", "9" * 30, "99999999999", "0.0049999999", "12.0000004", ".5", "5.", "\u0661", "1,5", "a"),
)


def test_whatever_an_amount_may_be_the_totals_agree(home: Home) -> None:
    """And they are those of Python's decimals, where all amounts are plain; half of the sales are copies."""
    days = [date(2024, 3, day) for day in range(1, 29)]
    chance = random.Random(7)
    said = {}
    for day in days:
        sales = [
            [str(n // 2), "2024-03-01", "c1", "p1", "l1", *chance.choices(AMOUNTS + ("1", "2.50") * 20, k=4)]
            for n in range(20)
        ]
        text = io.StringIO()
        csv.writer(text).writerows([COLUMNS["sales"], *sales])
        put(home, "sales", "a.csv", text.getvalue().encode(), day=day)
        said[day] = sum((plain(tax) or Decimal(0) for *_, tax in sales), Decimal(0))
    raw, cleaned = checks(home, *days)
    assert raw.passed, raw.description
    assert cleaned.passed, cleaned.description
    assert sum(home.ledger("sales_cleaned.sales_cleaned", str(day))[1] for day in days) > 20
    for day in days:
        assert f"tax_amount {said[day]:,.2f}" in shown(raw, day)


def plain(text: str) -> Decimal | None:
    """What the module says that an amount is."""
    stripped = text.strip(" \t\u00a0")
    if not stripped:
        return Decimal(0)
    try:
        number = Decimal(stripped) if stripped.isascii() else None
    except InvalidOperation:
        return None
    if number is None or not number.is_finite() or abs(number) >= 10**10:
        return None
    rounded = number.quantize(Decimal("0.000001"), rounding="ROUND_HALF_UP")
    return number.quantize(Decimal("0.01"), rounding="ROUND_HALF_UP") if rounded == round(rounded, 2) else None
