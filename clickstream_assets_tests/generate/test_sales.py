"""The sales generator, judged by code that shares nothing with it: csv, gzip, datetime and decimal."""

import csv
import gzip
import io
import re
from collections import Counter, defaultdict
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation

import pytest

from clickstream_assets.generate import Generated, generator

FIRST, LAST = date(2024, 3, 1), date(2024, 3, 6)
DAYS = [FIRST + timedelta(n) for n in range(6)]
ROWS = 600
KEYS = {"customers": "customer_id", "products": "product_id", "locations": "location_id", "sales": "sale_id"}
Row = dict[str, str]


def made(
    first: date = FIRST, last: date = LAST, rows: int = ROWS, **options: object
) -> tuple[Generated, dict[str, bytes]]:
    files: dict[str, bytes] = {}
    result = generator("sales")(files.__setitem__, first=first, last=last, rows_per_day=rows, **options)  # type: ignore[arg-type]
    assert result.paths == list(files)
    return result, files


def money(text: str, empty: bool = False) -> Decimal | None:
    try:
        value = Decimal(text or "0") if text or empty else Decimal("NaN")
    except InvalidOperation:
        return None
    return value if value.is_finite() and value >= 0 else None


def broken_rules(feed: str, day: date, row: Row) -> list[str]:
    """All rules that a record breaks."""
    needed = ("sale_id", "customer_id", "product_id", "location_id") if feed == "sales" else (KEYS[feed],)
    broken = {f"missing_{name}": not row[name].strip() for name in needed}
    if feed == "customers":
        broken["bad_email"] = bool(row["email"]) and not re.fullmatch(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+", row["email"])
    if feed in ("products", "sales"):
        broken["bad_unit_price"] = money(row["unit_price"]) is None
    if feed == "sales":
        try:
            sold = date.fromisoformat(row["sale_date"]) if len(row["sale_date"]) == 10 else date.max
        except ValueError:
            sold = date.max
        broken["bad_sale_date"] = not date(2000, 1, 1) <= sold <= day
        broken["bad_quantity"] = not re.fullmatch(r"0*[1-9]\d{0,8}", row["quantity"].strip())
        broken["bad_discount"] = money(row["discount"], empty=True) is None
        broken["bad_tax_amount"] = money(row["tax_amount"], empty=True) is None
        if not any(broken.values()):
            gross = Decimal(row["quantity"]) * Decimal(row["unit_price"])
            broken["gross_too_large"] = gross >= 10**15
            broken["discount_above_gross"] = (money(row["discount"], empty=True) or 0) > gross
    return [rule for rule, breaks in broken.items() if breaks]


def records(files: dict[str, bytes]) -> tuple[dict[str, list[tuple[date, Row]]], Counter[str]]:
    """Good records of each feed with their load date, and the count of the others by rule, of files that load once."""
    good: dict[str, list[tuple[date, Row]]] = defaultdict(list)
    bad: Counter[str] = Counter()
    for path, content in files.items():
        if "rejected" in path or "copy" in path:
            continue
        feed, day = path.split("/")[1], date.fromisoformat(path.split("=")[1][:10])
        plain = gzip.decompress(content) if path.endswith(".gz") else content
        text = plain.decode("utf-8-sig", errors="surrogateescape")
        header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        for fields in rows:
            row = dict(zip(header, fields, strict=False))
            if len(fields) != len(header):
                bad["ragged"] += 1
            elif any("\udc80" <= letter <= "\udcff" for field in fields for letter in field):
                bad["bad_encoding"] += 1
            elif rules := broken_rules(feed, day, row):
                assert len(rules) == 1, (rules, row)
                bad[rules[0]] += 1
            else:
                good[feed].append((day, row))
    return good, bad


@pytest.mark.parametrize("faults", [False, True])
def test_the_same_arguments_give_the_same_bytes_and_another_seed_gives_others(faults: bool) -> None:
    assert made(faults=faults) == made(faults=faults)
    assert made(faults=faults)[1] != made(faults=faults, seed=1)[1]


def test_a_range_equals_the_sum_of_its_days() -> None:
    whole, files = made()
    by_day: dict[str, bytes] = {}
    rows = 0
    for day in DAYS:
        result, of_day = made(day, day)
        by_day |= of_day
        rows += result.rows
    assert (by_day, rows) == (files, whole.rows)


@pytest.mark.parametrize("rows", [1, 9, 333, 5_000])
def test_without_faults_every_record_is_good_and_every_sale_names_members_of_its_day(rows: int) -> None:
    result, files = made(rows=rows)
    good, bad = records(files)
    assert (result.faults, bad) == ({}, {})
    assert result.rows == sum(map(len, good.values()))
    assert Counter(day for day, _ in good["sales"]) == dict.fromkeys(DAYS, rows)
    members = {feed: {(day, row[key]) for day, row in good[feed]} for feed, key in KEYS.items()}
    for feed in KEYS:
        assert len(members[feed]) == len(good[feed]), "a key is there twice in a day"
    for day, row in good["sales"]:
        assert row["sale_date"] in (str(day), str(day - timedelta(1)))
        for feed in ("customers", "products", "locations"):
            assert (day, row[KEYS[feed]]) in members[feed]
    assert len(good["customers"]) / 6 == pytest.approx(max(20, rows / 5), rel=0.1, abs=30)
    assert min(Counter(day for day, _ in good["products"]).values()) >= 10
    assert 10 <= max(Counter(day for day, _ in good["locations"]).values()) <= 100


def test_nobody_is_real_and_some_have_no_address() -> None:
    people = [row for _, row in records(made()[1])[0]["customers"]]
    addresses = {row["email"] for row in people}
    assert "" in addresses
    assert all(re.fullmatch(r"[a-z]+\.[a-z]+\.\d+@example\.(com|org)", text) for text in addresses - {""})
    assert all(
        re.fullmatch(r"([a-z]{2}){2,3}", row[name].lower()) for row in people for name in ("first_name", "last_name")
    )


def test_a_few_members_change_and_a_few_appear() -> None:
    good, _ = records(made(FIRST, FIRST + timedelta(13), 2_000)[1])
    for feed in ("customers", "products"):
        versions: dict[str, set[tuple[str, ...]]] = defaultdict(set)
        for _, row in good[feed]:
            versions[row[KEYS[feed]]].add(tuple(row.values()))
        changed = sum(len(found) > 1 for found in versions.values())
        assert 0 < changed < len(versions) / 4, feed
        first = {row[KEYS[feed]] for day, row in good[feed] if day == FIRST}
        assert 0 < len(versions.keys() - first) < len(first) / 5, feed


@pytest.mark.parametrize("rows", [1, 9, 40, ROWS])
def test_the_counts_of_planted_faults_add_up(rows: int) -> None:
    result, files = made(rows=rows, faults=True)
    good, bad = records(files)
    share = max(1, rows // 500)
    expected = dict(result.faults)
    late, corrected, duplicate = (expected.pop(name) for name in ("late_customer", "corrected_sale", "duplicate"))
    assert expected == bad | {"rejected_file": 6, "duplicate_file": 6}
    assert result.rows == sum(map(len, good.values())) + bad.total()
    keys = Counter((feed, day, row[KEYS[feed]].strip()) for feed in good for day, row in good[feed])
    assert duplicate == sum(count - 1 for count in keys.values()) == 6 * (share + 1)
    known, unknown, arrived = set[str](), [], set[str]()
    quantities: dict[str, list[int]] = defaultdict(list)
    for day in DAYS:
        known |= {row["customer_id"] for loaded, row in good["customers"] if loaded == day}
        for loaded, row in good["sales"]:
            if loaded == day:
                unknown += [row["customer_id"]] if row["customer_id"] not in known else []
    arrived = {row["customer_id"] for _, row in good["customers"]} & set(unknown)
    assert len(unknown) == late == 6 * share and 0 < len(arrived) < late
    days_of: dict[str, set[date]] = defaultdict(set)
    for day, row in good["sales"]:
        days_of[row["sale_id"]].add(day)
        quantities[row["sale_id"]].append(int(row["quantity"]))
    again = {sale: days for sale, days in days_of.items() if len(days) > 1}
    assert len(again) == corrected == 5 * share
    assert all(len(set(quantities[sale])) == 2 for sale in again)
    assert Counter(day for day, _ in good["sales"])[FIRST] == rows + share + share


def test_one_file_a_day_has_a_column_that_no_table_knows() -> None:
    files = made(faults=True)[1]
    odd = [content for path, content in files.items() if "odd" in path]
    assert len(odd) == 6 and all(content.startswith(b"\xef\xbb\xbfchannel,") and b"\r\n" in content for content in odd)


@pytest.mark.parametrize(
    "wrong", [{"last": date(2024, 2, 28)}, {"rows": 0}, {"seed": -1}, {"first": date(1999, 12, 31)}], ids=str
)
def test_arguments_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"at least 1|is after the last|is before"):
        made(**wrong)  # type: ignore[arg-type]
