"""Cleaning e-commerce events on Sail, judged by Python's ``re``, ``decimal`` and ``datetime``.

Every case is one raw row; all rows are cleaned at once and each is then looked at by its record number.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from clickstream_assets.schemas import ECOMMERCE_CLEANED, ECOMMERCE_RAW, QUARANTINE
from clickstream_assets.storage.spark import session
from clickstream_assets.transforms import ecommerce

DAY = date(2026, 3, 2)
LOADED = datetime(2026, 3, 2, 12, tzinfo=UTC)
FIELDS = ("UserID", "SessionID", "Timestamp", "EventType", "ProductID", "Amount", "Outcome", "extra")
Row = dict[str, Any]

#: a purchase that breaks no rule
GOOD: Row = {
    "UserID": "u1", "SessionID": "7", "Timestamp": "2026-03-01T10:00:00", "EventType": "purchase",
    "ProductID": "p1", "Amount": "9.99", "Outcome": "success", "extra": None,
}  # fmt: skip

#: Unicode's White_Space, which is what Python strips less the four ASCII separators
BLANKS = "".join(char for char in map(chr, range(0x10000)) if char.isspace() and not "\x1c" <= char <= "\x1f")
EMPTY = [None, "", " ", "\t", "\n", "\r\n", "\xa0", "\x85", "\u2003", "\u3000", " \t\xa0 ", BLANKS]
NOT_EMPTY = ["0", "null", "None", "NaN", "-", '""', "\u200b", "\ufeff", "\x00", "\x1c"]

#: text and its value; None is bad_amount
AMOUNTS: dict[str, str | None] = {
    "2.675": "2.68", "0.125": "0.13", "1.005": "1.01", "0.004999999": "0.00", "0.005": "0.01", "0.995": "1.00",
    "0.00499999999999999": "0.00", "0.00499999999999999999999999999999999999999999999": "0.00",
    "2.6749": "2.67",
    "0": "0.00", "0.0": "0.00", "00012.5": "12.50", "000000000000000000000000000000000000000000001.5": "1.50",
    "1e3": "1000.00", "1E3": "1000.00", "1e+3": "1000.00", "1e03": "1000.00", "125e-3": "0.13",
    "1.2345e2": "123.45",
    "1.2345e1": "12.35", "5e-3": "0.01", "49e-4": "0.00", "0.05e-1": "0.01", "1e-99": "0.00", "0e99": "0.00",
    "123456789012e-2": "1234567890.12", ".5e1": "5.00", "5.e1": "50.00", "0.0000000001e12": "100.00",
    ".5": "0.50", "5.": "5.00", "+5": "5.00", "+.5": "0.50", "-0": "0.00", "-0.00": "0.00", "-.0": "0.00",
    "-0e5": "0.00", " 5 ": "5.00", "\t5.10\xa0": "5.10", "9999999999.99": "9999999999.99",
    "9999999999.994": "9999999999.99", "9999999999.9949999999999999999999": "9999999999.99",
    "1e9": "1000000000.00",
    "-0.001": None, "-1": None, "-1e-9": None, "-0.0000000000000000000001": None, "- 5": None, "--5": None,
    "9999999999.995": None, "10000000000": None, "12345678901": None, "1e10": None, "1e99": None, "1e100": None,
    "9" * 40: None, "9" * 400: None, "1,000": None, "1 000": None, "$5": None, "5 EUR": None, "5%": None,
    "1_000": None,
    "NaN": None, "nan": None, "inf": None, "-inf": None, "Infinity": None, "+Infinity": None, "null": None,
    "٣": None, "５": None, "1٣": None, "१.५": None, ".": None, "+": None, "e3": None, "1e": None, "1e+": None,
    "1e1.5": None,
    ".e1": None, "1.2.3": None, "0x10": None, "1d": None, "1f": None, "5L": None, "5D": None, "5BD": None,
    "true": None,
    "5\n5": None, "5\x00": None, "(5)": None, "½": None, "−5": None, "0-5": None, "+-5": None,
}  # fmt: skip

#: text and its UTC value as Python writes it; None is bad_timestamp
TIMES: dict[str, str | None] = {
    "2026-03-01T10:00:00": "2026-03-01T10:00:00", "2026-03-01 10:00:00": "2026-03-01T10:00:00",
    "2026-03-01T10:00:00Z": "2026-03-01T10:00:00", "2026-03-01 10:00:00Z": "2026-03-01T10:00:00",
    "2026-03-01T10:00:00+05:30": "2026-03-01T04:30:00", "2026-03-01T10:00:00-05:30": "2026-03-01T15:30:00",
    "2026-03-01T10:00:00+00:00": "2026-03-01T10:00:00", "2026-03-01T10:00:00-00:00": "2026-03-01T10:00:00",
    "2026-03-01T10:00:00+14:00": "2026-02-28T20:00:00", "2026-03-01T10:00:00-14:00": "2026-03-02T00:00:00",
    "2026-03-01T10:00:00+13:59": "2026-02-28T20:01:00", "2026-03-01T23:30:00-01:00": "2026-03-02T00:30:00",
    "2026-03-01T00:15:00+00:30": "2026-02-28T23:45:00", "2026-03-29T02:30:00": "2026-03-29T02:30:00",
    "2026-03-01T10:00:00.1": "2026-03-01T10:00:00.100000",
    "2026-03-01T10:00:00.12": "2026-03-01T10:00:00.120000",
    "2026-03-01T10:00:00.123": "2026-03-01T10:00:00.123000",
    "2026-03-01T10:00:00.1234": "2026-03-01T10:00:00.123400",
    "2026-03-01T10:00:00.12345": "2026-03-01T10:00:00.123450",
    "2026-03-01T10:00:00.123456": "2026-03-01T10:00:00.123456",
    "2026-03-01T10:00:00.1234567": "2026-03-01T10:00:00.123456",
    "2026-03-01T10:00:00.12345678": "2026-03-01T10:00:00.123456",
    "2026-03-01T10:00:00.123456789": "2026-03-01T10:00:00.123456",
    "2026-03-01T10:00:00.999999999": "2026-03-01T10:00:00.999999",
    "2026-12-31T23:59:59.9999999Z": "2026-12-31T23:59:59.999999",
    "2026-03-01T10:00:00.0000009+05:30": "2026-03-01T04:30:00",
    "1969-12-31T23:59:59.9999999": "1969-12-31T23:59:59.999999",
    "2026-03-01T10:00:00." + "123456789" * 5 + "Z": "2026-03-01T10:00:00.123456",
    " 2026-03-01T10:00:00": "2026-03-01T10:00:00", "2026-03-01T10:00:00 ": "2026-03-01T10:00:00",
    "\t2026-03-01T10:00:00Z\xa0\n": "2026-03-01T10:00:00",
    "2024-02-29T00:00:00": "2024-02-29T00:00:00", "2000-02-29T00:00:00": "2000-02-29T00:00:00",
    "2026-03-01T00:00:00": "2026-03-01T00:00:00", "2026-03-01T23:59:59": "2026-03-01T23:59:59",
    "0001-01-01T00:00:00": "0001-01-01T00:00:00", "0001-01-01T14:00:00+14:00": "0001-01-01T00:00:00",
    "1582-10-10T00:00:00": "1582-10-10T00:00:00", "1600-01-01T00:00:00.5": "1600-01-01T00:00:00.500000",
    "1969-12-31T23:59:59.5": "1969-12-31T23:59:59.500000",
    "9999-12-31T23:59:59.999999": "9999-12-31T23:59:59.999999",
    "9999-12-31T23:59:59.999999+14:00": "9999-12-31T09:59:59.999999",
    "2026-03-01T10:00:00+14:01": None, "2026-03-01T10:00:00-14:01": None, "2026-03-01T10:00:00+14:30": None,
    "2026-03-01T10:00:00+15:00": None, "2026-03-01T10:00:00+25:00": None, "2026-03-01T10:00:00+05:60": None,
    "2026-03-01T10:00:00+0530": None, "2026-03-01T10:00:00+05": None, "2026-03-01T10:00:00+5:30": None,
    "2026-03-01T10:00:00 +05:30": None, "2026-03-01T10:00:00 Z": None, "2026-03-01T10:00:00 UTC": None,
    "2026-03-01T10:00:00[Europe/Berlin]": None, "2026-03-01T10:00:00Europe/Berlin": None,
    "2026-03-01T10:00:00−05:30": None,
    "2023-02-29T00:00:00": None, "1900-02-29T00:00:00": None, "2026-02-30T00:00:00": None,
    "2026-04-31T00:00:00": None,
    "2026-13-01T00:00:00": None, "2026-00-01T00:00:00": None, "2026-03-00T00:00:00": None,
    "2026-03-32T00:00:00": None,
    "2026-03-01T24:00:00": None, "2026-03-01T25:00:00": None, "2026-03-01T23:60:00": None,
    "2026-12-31T23:59:60": None,
    "0000-01-01T00:00:00": None, "0000-12-31T23:59:59-14:00": "0001-01-01T13:59:59",
    "0001-01-01T00:00:00+00:01": None,
    "0001-01-01T13:59:59+14:00": None, "9999-12-31T23:59:59-00:01": None,
    "9999-12-31T23:59:59.999999-14:00": None,
    "10000-01-01T00:00:00": None, "+2026-03-01T10:00:00": None, "-2026-03-01T10:00:00": None,
    "26-03-01T10:00:00": None,
    "2026-03-01t10:00:00": None, "2026-03-01T10:00:00z": None, "2026-03-01T10:00:00,5": None,
    "2026-03-01T10:00:00.": None,
    "2026-03-01T10:00:00.Z": None, "2026-03-01T10:00:00.1.2": None, "2026-03-01T10:00:00.-5": None,
    "2026-03-01T10:00:00 trailing": None, "2026-03-01T10:00:00\n2026": None, "x2026-03-01T10:00:00": None,
    "2026-03-01  10:00:00": None, "2026-03-01\t10:00:00": None, "2026-03-01\xa010:00:00": None,
    "2026-03-01_10:00:00": None,
    "2026-03-01T 10:00:00": None, "2026-03-01": None, "2026-03": None, "2026": None, "2024": None,
    "18:00:26": None,
    "T18:00:26": None, "2026-03-01T10:00": None, "2026-03-01T10": None, "2026-3-1T10:00:00": None,
    "2026-03-01T1:00:00": None,
    "20260301T100000": None, "2026/03/01 10:00:00": None, "01.03.2026 10:00:00": None,
    "03/01/2026 10:00:00": None,
    "1772359200": None, "1772359200000": None, "1772359200.5": None, "٢٠٢٦-٠٣-٠١T١٠:٠٠:٠٠": None,
    "2026-03-01T10:00:0０": None, "２０２６-03-01T10:00:00": None, "2026-03-01T10:00:00.٣": None,
    "now": None, "today": None, "epoch": None, "yesterday": None, "null": None, "None": None,
    "infinity": None, "0": None,
    "2026-03-01T10:00:00\x00": None, "Sun, 01 Mar 2026 10:00:00 GMT": None, "": None, " ": None, "\xa0": None,
}  # fmt: skip

#: how to break each rule, in the order in which they are judged
BREAKS: dict[str, Row] = {
    "missing_user_id": {"UserID": ""},
    "missing_event_type": {"EventType": ""},
    "missing_product_id": {"ProductID": ""},
    "missing_amount": {"Amount": ""},
    "bad_timestamp": {"Timestamp": "18:00:26"},
    "bad_amount": {"Amount": "-1"},
    "text_too_long": {"Outcome": "é" * 32_768},
}


def row(**changes: str | None) -> Row:
    return {**GOOD, **changes}


def judge(raw: Row) -> tuple[str | None, Row]:
    """What the specification makes of a row: the rule that it breaks, or its typed values."""
    value = {name: (raw[name] or "").strip(BLANKS) or None for name in FIELDS}
    time, amount = as_time(value["Timestamp"] or ""), as_amount(value["Amount"] or "")
    rules = {
        "missing_user_id": value["UserID"] is None,
        "missing_event_type": value["EventType"] is None,
        "missing_product_id": value["ProductID"] is None
        and value["EventType"] in ("product_view", "add_to_cart", "purchase"),
        "missing_amount": value["Amount"] is None and value["EventType"] == "purchase",
        "bad_timestamp": time is None,
        "bad_amount": value["Amount"] is not None and amount is None,
        "text_too_long": any(
            len((raw[name] or "").encode()) > 65_535
            for name in ("UserID", "SessionID", "EventType", "ProductID", "Outcome")
        ),
    }
    typed = {
        "user_id": value["UserID"], "session_id": value["SessionID"], "event_timestamp": time,
        "event_date": time and time.date(), "event_type": value["EventType"], "product_id": value["ProductID"],
        "amount": amount, "outcome": value["Outcome"],
    }  # fmt: skip
    return next((rule for rule, broken in rules.items() if broken), None), typed


def as_time(text: str) -> datetime | None:
    found = re.fullmatch(
        r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d+))?(?:(Z)|([+-])(\d\d):([0-5]\d))?", text, re.ASCII
    )
    if found is None:
        return None
    day, clock, fraction, _, sign, hours, minutes = found.groups()
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    if offset > timedelta(hours=14):
        return None
    try:
        # Python has no year 0; the Gregorian calendar repeats every 400 years
        later = timedelta(days=146097) if day.startswith("0000") else timedelta(0)
        text = f"{day.replace('0000-', '0400-')} {clock}.{(fraction or '')[:6]:0<6}"
        naive = datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f")
        return (naive + (offset if sign == "-" else -offset) - later).replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # no such day or time; a UTC year before 1 or after 9999
        return None


def as_amount(text: str) -> Decimal | None:
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?", text, re.ASCII):
        return None
    with localcontext(prec=1000):
        value = Decimal(text)
        rounded = abs(value).quantize(Decimal("0.01"), ROUND_HALF_UP)
    return None if value < 0 or rounded > Decimal("9999999999.99") else rounded


def raw_table(rows: Sequence[Row]) -> pa.Table:
    """Rows as ``ecommerce_raw.events_raw`` holds them; the record number is the place in the list, from 1."""
    full = [
        {
            **raw, "ingestion_timestamp": LOADED, "source_file": "ecommerce/ingestion_date=2026-03-02/a.csv",
            "source_line": number + 1, "record_number": number, "content_hash": "ab" * 32, "ingestion_date": DAY,
        }
        for number, raw in enumerate(rows, start=1)
    ]  # fmt: skip
    return pa.Table.from_pylist(full, ECOMMERCE_RAW.arrow)


def cleaned(spark: Any, folder: Path, rows: Sequence[Row]) -> tuple[dict[int, Row], dict[int, Row], Any]:
    """Accepted and rejected rows by record number, and the split itself. ``rows`` go through a real file."""
    path = folder / "raw.parquet"
    pq.write_table(raw_table(rows), path)
    split = ecommerce.clean(spark.read.schema(ECOMMERCE_RAW.spark).parquet(str(path)))
    sides = [side.toArrow().to_pylist() for side in (split.accepted, split.rejected)]
    assert sum(map(len, sides)) == len(rows)
    accepted, rejected = ({entry["source_line"] - 1: entry for entry in side} for side in sides)
    return accepted, rejected, split


CASES: dict[str, Row] = {
    "good": GOOD,
    **{f"{rule} alone": row(**change) for rule, change in BREAKS.items()},
    **{
        f"{first} before {later}": row(**{**BREAKS[later], **BREAKS[first]})
        for n, first in enumerate(BREAKS)
        for later in list(BREAKS)[n + 1 :]
        if BREAKS[first].keys() != BREAKS[later].keys()
    },
    "everything wrong": dict.fromkeys(FIELDS),
    **{
        f"{field} {text!r}": row(**{field: text})
        for field in ("UserID", "EventType", "ProductID", "Amount", "Timestamp", "SessionID", "Outcome")
        for text in (*EMPTY, *NOT_EMPTY)
    },
    **{
        f"{kind} without {field}": row(EventType=kind, **{field: None})
        for field in ("ProductID", "Amount")
        for kind in ("product_view", "add_to_cart", "purchase", "page_view", "Purchase", " purchase\t", "购买")
    },
    "page_view with a bad amount": row(EventType="page_view", ProductID=None, Amount="free"),
    "blanks around everything": {name: value and f"\xa0 {value}\t\u3000" for name, value in GOOD.items()},
    **{f"{field} as long as it may be": row(**{field: "é" * 32_767 + "e"}) for field in ("UserID", "Outcome")},
    **{
        f"{field} longer than it may be": row(**{field: "x" * 65_536})
        for field in ("UserID", "SessionID", "EventType", "ProductID", "Outcome")
    },
    "blanks inside": row(UserID="a \xa0 b", ProductID="p\t1", Outcome="x\ny"),
    "unicode": row(UserID="Zoë 🛒", Outcome='say "hi", \\n \u2028 \x01\x7f', extra='{"k": "v\\"\\n"}'),
    **{f"amount {text[:60]!r}": row(Amount=text) for text in AMOUNTS},
    **{f"amount {text[:60]!r} of a page_view": row(Amount=text, EventType="page_view") for text in AMOUNTS},
    **{f"time {text!r}": row(Timestamp=text) for text in TIMES},
    **{
        f"payload {text!r}": row(UserID=None, SessionID=text, Outcome=text, extra=json.dumps({"k": text}))
        for text in ('"', "\\", "a\nb", "\r\n", "\t", "é", "🛒", "\u2028", "\x01", "\x7f", "{}", "</b>", "null", "")
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def spark() -> Any:
    return session(None)


@pytest.fixture(scope="module")
def results(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[int, Row], dict[int, Row], Any]:
    return cleaned(spark, tmp_path_factory.mktemp("raw"), list(CASES.values()))


def found(results: Any, case: str) -> tuple[str | None, Row]:
    """The rule that a case broke, and its row on the side where it is."""
    accepted, rejected, _ = results
    number = list(CASES).index(case) + 1
    assert (number in accepted) != (number in rejected)
    return (None, accepted[number]) if number in accepted else (rejected[number]["rule"], rejected[number])


@pytest.mark.parametrize("rule", BREAKS)
def test_each_rule_rejects_the_row_that_breaks_it_alone(results, rule) -> None:
    assert found(results, f"{rule} alone")[0] == rule


@pytest.mark.parametrize("case", [case for case in CASES if " before " in case])
def test_the_first_broken_rule_is_the_one_named(results, case) -> None:
    assert found(results, case)[0] == case.partition(" before ")[0]


def test_a_row_with_nothing_in_it_misses_its_user(results) -> None:
    assert found(results, "everything wrong")[0] == "missing_user_id"


def test_the_rules_are_registered_in_the_order_in_which_they_are_judged() -> None:
    assert [rule.name for rule in ecommerce.RULES] == list(BREAKS)


@pytest.mark.parametrize("text", EMPTY, ids=repr)
def test_any_white_space_is_nothing(results, text) -> None:
    assert found(results, f"UserID {text!r}")[0] == "missing_user_id"
    assert found(results, f"EventType {text!r}")[0] == "missing_event_type"
    assert found(results, f"ProductID {text!r}")[0] == "missing_product_id"
    assert found(results, f"Amount {text!r}")[0] == "missing_amount"
    assert found(results, f"Timestamp {text!r}")[0] == "bad_timestamp"
    assert found(results, f"SessionID {text!r}")[1]["session_id"] is None
    assert found(results, f"Outcome {text!r}")[1]["outcome"] is None


@pytest.mark.parametrize("text", NOT_EMPTY, ids=repr)
def test_text_that_merely_looks_empty_is_kept(results, text) -> None:
    assert found(results, f"UserID {text!r}")[1]["user_id"] == text
    assert found(results, f"Outcome {text!r}")[1]["outcome"] == text


def test_a_text_has_as_many_bytes_as_the_warehouse_takes(results) -> None:
    assert found(results, "UserID as long as it may be")[1]["user_id"] == "é" * 32_767 + "e"
    assert found(results, "Outcome as long as it may be")[0] is None
    for field in ("UserID", "SessionID", "EventType", "ProductID", "Outcome"):
        assert found(results, f"{field} longer than it may be")[0] == "text_too_long"


def test_only_events_that_name_a_product_need_one_and_only_purchases_need_an_amount(results) -> None:
    without = {field: {} for field in ("ProductID", "Amount")}
    for field, rules in without.items():
        for kind in ("page_view", "product_view", "add_to_cart", "purchase", " purchase\t", "Purchase"):
            rules[kind] = found(results, f"{kind} without {field}")[0]
    assert without["ProductID"] == {
        "page_view": None, "product_view": "missing_product_id", "add_to_cart": "missing_product_id",
        "purchase": "missing_product_id", " purchase\t": "missing_product_id", "Purchase": None,
    }  # fmt: skip
    assert {kind for kind, rule in without["Amount"].items() if rule} == {"purchase", " purchase\t"}
    assert set(without["Amount"].values()) == {None, "missing_amount"}


def test_an_amount_must_be_right_on_any_event(results) -> None:
    assert found(results, "page_view with a bad amount")[0] == "bad_amount"


@pytest.mark.parametrize(("text", "expected"), AMOUNTS.items(), ids=lambda value: repr(value)[:40])
def test_amounts_are_rounded_half_up_or_refused(results, text, expected) -> None:
    for case in (f"amount {text[:60]!r}", f"amount {text[:60]!r} of a page_view"):
        rule, entry = found(results, case)
        assert rule == (None if expected else "bad_amount")
        assert entry.get("amount") == (expected and Decimal(expected))
    assert as_amount(text.strip(BLANKS)) == (expected and Decimal(expected)), "the judge is wrong"


@pytest.mark.parametrize(("text", "expected"), TIMES.items(), ids=repr)
def test_time_stamps_of_the_grammar_become_utc_and_others_are_refused(results, text, expected) -> None:
    rule, entry = found(results, f"time {text!r}")
    assert rule == (None if expected else "bad_timestamp")
    if expected:
        assert entry["event_timestamp"] == datetime.fromisoformat(expected).replace(tzinfo=UTC)
        assert entry["event_date"] == datetime.fromisoformat(expected).date()
    judged = as_time(text.strip(BLANKS))
    assert (judged and judged.replace(tzinfo=None).isoformat()) == expected, "the judge is wrong"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[:50])
def test_every_case_is_as_python_judges_it(results, case) -> None:
    rule, entry = found(results, case)
    expected_rule, typed = judge(CASES[case])
    assert rule == expected_rule
    if rule is None:
        assert {name: entry[name] for name in typed} == typed
    else:
        payload = json.loads(entry["payload"])
        assert {name: payload.get(name) for name in FIELDS} == CASES[case]
        assert entry["partition_date"] == DAY and entry["source_file"].endswith("a.csv")


def test_the_event_id_is_the_hash_of_content_and_record_number(results) -> None:
    accepted, _, _ = results
    assert {number: entry["event_id"] for number, entry in accepted.items()} == {
        number: hashlib.sha256(f"{'ab' * 32}:{number}".encode()).hexdigest()[:32] for number in accepted
    }


def test_both_sides_have_the_registered_columns_and_types(results) -> None:
    *_, split = results

    def types(table: pa.Table) -> dict[str, str]:
        return {field.name: str(field.type).replace("Etc/UTC", "UTC") for field in table.schema}

    wanted = {field.name: str(field.type) for field in ECOMMERCE_CLEANED.arrow}
    assert types(split.accepted.limit(1).toArrow()) == wanted
    made_there = ("asset", "run_id", "partition_hour")
    kept = {field.name: str(field.type) for field in QUARANTINE.arrow if field.name not in made_there}
    assert types(split.rejected.limit(1).toArrow()) == kept


def test_no_rows_make_no_rows(spark, tmp_path) -> None:
    accepted, rejected, _ = cleaned(spark, tmp_path, [])
    assert accepted == rejected == {}


ANY_TEXT = st.one_of(
    st.none(),
    st.sampled_from(EMPTY + NOT_EMPTY),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
ANY_AMOUNT = st.one_of(
    ANY_TEXT,
    st.sampled_from(list(AMOUNTS)),
    st.text("0123456789.+-eE ", max_size=12),
    st.decimals(-1, 10**11, places=None).map(str),
    st.from_regex(r"[0-9]{0,10}\.[0-9]{1,20}", fullmatch=True),
    st.from_regex(r"[0-9]{1,13}\.?[0-9]{0,5}[eE][+-]?[0-9]{1,2}", fullmatch=True),
)
ANY_TIME = st.one_of(
    ANY_TEXT,
    st.sampled_from(list(TIMES)),
    st.datetimes().map(datetime.isoformat),
    st.from_regex(
        r"(000[01]|19\d\d|20\d\d|9999)-(0\d|1[0-2])-[0-3]\d[T ]([01]\d|2[0-4]):[0-5]\d:[0-6]\d(\.\d{1,12})?"
        r"(Z|[+-](0\d|1[0-5]):[0-6]\d)?".replace(r"\d", "[0-9]"),
        fullmatch=True,
    ),
)
ANY_ROW = (
    st.builds(lambda amount: row(Amount=amount), ANY_AMOUNT)
    | st.builds(lambda time: row(Timestamp=time), ANY_TIME)
    | st.fixed_dictionaries(
        {
            **dict.fromkeys(FIELDS, ANY_TEXT),
            "UserID": st.one_of(st.just("u1"), ANY_TEXT),
            "EventType": st.sampled_from(["purchase", "product_view", "page_view", " purchase", "", None]),
            "ProductID": st.one_of(st.just("p1"), ANY_TEXT),
            "Timestamp": ANY_TIME,
            "Amount": ANY_AMOUNT,
        }
    )
)


@settings(
    max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # each example is up to 60 rows in one query
@example(rows=[])
@given(rows=st.lists(ANY_ROW, max_size=60))
def test_any_rows_come_out_once_on_the_side_that_python_says(spark, tmp_path, rows) -> None:
    accepted, rejected, _ = cleaned(spark, tmp_path, rows)
    assert sorted([*accepted, *rejected]) == list(range(1, len(rows) + 1))
    for number, raw in enumerate(rows, start=1):
        rule, typed = judge(raw)
        if rule is None:
            assert number in accepted, (raw, rejected[number]["rule"])
            assert {name: accepted[number][name] for name in typed} == typed
        else:
            assert number in rejected and rejected[number]["rule"] == rule, raw
            payload = json.loads(rejected[number]["payload"])
            assert {name: payload.get(name) for name in FIELDS} == raw
