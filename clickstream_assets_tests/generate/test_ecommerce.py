"""The e-commerce generator, judged by code that shares nothing with it: csv, gzip, datetime and decimal."""

import csv
import gzip
import io
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import pairwise

import pytest

from clickstream_assets.generate import Generated, generator

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 6)  # six days: every kind of rejected file, compressed and not
ROWS = 1_500
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)?", re.ASCII)


def made(
    first: date = FIRST, last: date = LAST, rows: int = ROWS, **options: object
) -> tuple[Generated, dict[str, bytes]]:
    files: dict[str, bytes] = {}
    result = generator("ecommerce")(files.__setitem__, first=first, last=last, rows_per_day=rows, **options)  # type: ignore[arg-type]
    assert result.paths == list(files)
    return result, files


def text_of(path: str, content: bytes) -> str:
    plain = gzip.decompress(content) if path.endswith(".gz") else content
    return plain.decode("utf-8-sig", errors="surrogateescape")


def moment_of(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if TIMESTAMP.fullmatch(text) else None
    except ValueError:
        return None
    return moment and (moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC))


def broken_rules(row: dict[str, str]) -> list[str]:
    """All rules that a record breaks, in the order in which they are tried."""
    event, amount = row["eventtype"], row["amount"]
    try:
        bad_amount = amount != "" and not (Decimal(amount).is_finite() and Decimal(amount) >= 0)
    except InvalidOperation:
        bad_amount = True
    broken = {
        "missing_user_id": not row["userid"],
        "missing_event_type": not event,
        "missing_product_id": event in ("product_view", "add_to_cart", "purchase") and not row["productid"],
        "missing_amount": event == "purchase" and not amount,
        "bad_timestamp": moment_of(row["timestamp"]) is None,
        "bad_amount": bad_amount,
    }
    return [rule for rule, breaks in broken.items() if breaks]


def records(files: dict[str, bytes]) -> tuple[list[tuple[date, dict[str, str]]], Counter[str]]:
    """Good records with their ingestion date, and the count of the others by rule, of the files that load once."""
    good: list[tuple[date, dict[str, str]]] = []
    bad: Counter[str] = Counter()
    for path, content in files.items():
        if "rejected" in path or "copy" in path:
            continue
        header, *rows = csv.reader(io.StringIO(text_of(path, content), newline=""), strict=True)
        for fields in rows:
            row = dict(zip(map(str.lower, header), fields, strict=False))
            if len(fields) != len(header):
                bad["ragged"] += 1
            elif any("\udc80" <= letter <= "\udcff" for field in fields for letter in field):
                bad["bad_encoding"] += 1
            elif rules := broken_rules(row):
                assert len(rules) == 1, (rules, row)
                bad[rules[0]] += 1
            else:
                good.append((date.fromisoformat(path.split("=")[1][:10]), row))
    return good, bad


@pytest.mark.parametrize("faults", [False, True])
def test_the_same_arguments_give_the_same_bytes_and_another_seed_gives_others(faults: bool) -> None:
    assert made(faults=faults) == made(faults=faults)
    assert made(faults=faults)[1] != made(faults=faults, seed=1)[1]


@pytest.mark.parametrize("faults", [False, True])
def test_a_range_equals_the_sum_of_its_days(faults: bool) -> None:
    whole, files = made(faults=faults)
    by_day: dict[str, bytes] = {}
    rows, planted = 0, Counter[str]()
    for n in range((LAST - FIRST).days + 1):
        day = FIRST + timedelta(n)
        result, made_that_day = made(day, day, faults=faults)
        by_day |= made_that_day
        rows += result.rows
        planted.update(result.faults)
    assert (by_day, rows, planted) == (files, whole.rows, whole.faults)


@pytest.mark.parametrize("rows", [1, 2, 7, 10, 19, 333, ROWS])
def test_without_faults_every_record_is_good_and_of_the_documented_shape(rows: int) -> None:
    result, files = made(rows=rows)
    good, bad = records(files)
    assert (result.faults, bad) == ({}, {})
    assert result.rows == len(good)
    assert set(Counter(day for day, _ in good).values()) == {rows}
    assert {path.split("/")[-1] for path in files} == {"events-0000.csv", "events-0000.csv.gz"}
    for path, content in files.items():
        assert text_of(path, content).startswith("UserID,SessionID,Timestamp,EventType,ProductID,Amount,Outcome\n")
    for day, row in good:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", row["timestamp"])
        evening_before = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=9)
        assert evening_before <= moment_of(row["timestamp"]) < evening_before + timedelta(hours=33)  # type: ignore[operator]
        with_product = row["eventtype"] in ("product_view", "add_to_cart", "purchase")
        assert re.fullmatch(r"prod_\d{4}" if with_product else "", row["productid"])
        assert re.fullmatch(r"\d+\.\d\d" if row["eventtype"] == "purchase" else "", row["amount"])
        assert row["outcome"] == ("purchase" if row["eventtype"] == "purchase" else "")
        assert int(row["userid"]) > 0 and int(row["sessionid"]) > 0


def test_sessions_are_in_time_order_belong_to_one_day_and_their_numbers_grow() -> None:
    sessions: dict[tuple[int, int], list[tuple[date, str]]] = defaultdict(list)
    for day, row in records(made()[1])[0]:
        sessions[int(row["userid"]), int(row["sessionid"])].append((day, row["timestamp"]))
    last_of_user: dict[int, date] = {}
    for (user, _), events in sorted(sessions.items()):
        assert events == sorted(set(events))
        assert len({day for day, _ in events}) == len({moment[:10] for _, moment in events}) == 1
        assert last_of_user.get(user, FIRST) <= events[0][0]
        last_of_user[user] = events[0][0]
    assert len({user for user, _ in sessions}) < len({(user, events[0][0]) for (user, _), events in sessions.items()})


def test_the_data_tell_a_story() -> None:
    good, _ = records(made(FIRST, FIRST + timedelta(13), 5_000)[1])
    reached: dict[tuple[str, bool], set[tuple[str, str]]] = defaultdict(set)
    prices: dict[str, set[str]] = defaultdict(set)
    for day, row in good:
        key = (row["userid"], row["sessionid"])
        for name in ("any", row["eventtype"]):
            reached[name, day.weekday() > 4].add(key)
        if row["amount"]:
            prices[row["productid"]].add(row["amount"])
    for weekend in (False, True):
        funnel = ("any", "product_view", "add_to_cart", "purchase")
        for wider, narrower in pairwise(funnel):
            assert reached[narrower, weekend] < reached[wider, weekend]
    rate = {w: len(reached["purchase", w]) / len(reached["any", w]) for w in (False, True)}
    assert 0.02 < rate[False] < rate[True] < 0.1
    assert all(len(amounts) == 1 for amounts in prices.values())
    late = sum(not row["timestamp"].startswith(str(day)) for day, row in good) / len(good)
    assert 0.01 < late < 0.03
    daily_users = len({(day, row["userid"]) for day, row in good}) / 14
    assert 5_000 / 11 < daily_users < 5_000 / 6
    viewed = Counter(row["productid"] for _, row in good if row["productid"])
    assert sum(n for _, n in viewed.most_common(90)) > 0.1 * sum(viewed.values())  # a hundredth of the products


@pytest.mark.parametrize("rows", [1, 9, 40, ROWS])
def test_the_counts_of_planted_faults_add_up(rows: int) -> None:
    result, files = made(rows=rows, faults=True)
    good, bad = records(files)
    days = (LAST - FIRST).days + 1
    assert result.faults == bad | {"rejected_file": days, "duplicate_file": days}
    assert set(bad.values()) == {days * max(1, rows // 500)}
    assert result.rows == len(good) + bad.total()
    assert set(Counter(day for day, _ in good).values()) == {rows}


def test_rejected_files_take_turns_and_cannot_be_read() -> None:
    files = {path: content for path, content in made(faults=True)[1].items() if "rejected" in path}
    assert len(files) == 6 and len(set(files.values())) == 6
    kinds = Counter[str]()
    for path, content in files.items():
        if path.endswith(".gz"):
            kinds["cut"] += 1
            with pytest.raises(EOFError):
                gzip.decompress(content)
        elif b"\0" in content:
            kinds["binary"] += 1
        else:
            kinds["column"] += 1
            rows = list(csv.reader(io.StringIO(content.decode())))
            assert {len(row) for row in rows} == {6} and "EventType" not in rows[0]
    assert kinds == {"cut": 2, "binary": 2, "column": 2}


def test_a_copy_is_byte_for_byte_the_first_file_of_its_day_and_sorts_after_it() -> None:
    files = made(faults=True)[1]
    copies = [path for path in files if "copy" in path]
    assert len(copies) == 6
    for path in copies:
        original = path.replace("copy", "0000")
        assert files[original] == files[path] and original < path
    assert len(set(files.values())) == len(files) - len(copies)


def test_oddities_are_there_and_change_no_event() -> None:
    files = made(FIRST, FIRST, 3_000, faults=True)[1]
    (path,) = (path for path in files if " " in path)
    content = files[path]
    assert content.startswith(b"\xef\xbb\xbfamount,campaign,userid,") and content.count(b"\r\n") == 301
    rows = list(csv.DictReader(io.StringIO(text_of(path, content), newline="")))
    assert len(rows) == 300 and "campaign" in rows[0]
    outcomes = {row["outcome"] for row in rows}
    assert all(any(sign in outcome for outcome in outcomes) for sign in ',"\n')
    for ending in (r".*\.\d{6}Z", r".*\+02:00", r"[^.+Z]*"):
        assert any(re.fullmatch(ending, row["timestamp"]) for row in rows)
    assert any(re.fullmatch(r"\d+\.\d{3}", row["amount"]) for row in rows)

    def essence(good: list[tuple[date, dict[str, str]]]) -> Counter[tuple[str, ...]]:
        return Counter(
            (
                *(row[name] for name in ("userid", "sessionid", "eventtype", "productid")),
                row["amount"][: row["amount"].find(".") + 3],
                str(moment_of(row["timestamp"]))[:19],
            )
            for _, row in good
        )

    assert essence(records(files)[0]) == essence(records(made(FIRST, FIRST, 3_000)[1])[0])


@pytest.mark.parametrize("faults", [False, True])
def test_a_large_day_is_several_files_of_at_most_half_a_million_records(faults: bool) -> None:
    day = date(2024, 1, 2)
    result, files = made(day, day, 500_001, faults=faults)
    sizes = [content.count(b"\n") - 1 for path, content in files.items() if "events-0" in path]
    assert len(sizes) == 2 and sizes[0] == 500_000
    odd = sum(content.count(b"\r\n") - 1 for path, content in files.items() if " " in path)
    assert sum(sizes) == result.rows - odd and (900 < odd <= 1_000) == faults


def test_progress_is_told_each_day_after_its_files() -> None:
    seen: list[tuple[date, int]] = []
    files: dict[str, bytes] = {}
    tell: Callable[[date], None] = lambda day: seen.append((day, len(files)))  # noqa: E731
    generator("ecommerce")(files.__setitem__, first=FIRST, last=date(2024, 1, 3), rows_per_day=5, progress=tell)
    assert seen == [(date(2024, 1, n), n) for n in (1, 2, 3)]


@pytest.mark.parametrize(
    "wrong",
    [{"last": date(2023, 12, 31)}, {"rows": 0}, {"seed": -1}, {"first": date(1999, 12, 31)}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_arguments_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"at least 1|is after the last|is before"):
        made(**wrong)  # type: ignore[arg-type]


def test_a_domain_without_generator_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'weather'.*ecommerce"):
        generator("weather")


def test_importing_the_package_does_not_import_numpy() -> None:
    code = "import sys, clickstream_assets.generate; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
