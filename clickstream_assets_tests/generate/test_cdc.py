"""The CDC generator, judged by code that shares nothing with it: gzip, json, csv, pyarrow and a dictionary."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickstream_assets.generate import Generated, generator

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 4)
ROWS = 1_000
CARTS = re.compile(r"cdc/dynamodb/carts/year=(\d{4})/month=(\d\d)/day=(\d\d)/\1\2\3T\d{6}Z-[\w-]+\.json\.gz")
DMS = re.compile(r"cdc/dms/shop/(orders|customers)/(LOAD[0-9A-F]{8}|\d{8}-\d{9})\.(csv|csv\.gz|parquet)")
CUSTOMER = ("customer_id", "email", "full_name", "country", "segment", "credit_limit", "updated_at")
TYPES = {"S", "N", "B", "SS", "NS", "BS", "M", "L", "NULL", "BOOL"}


@cache
def made(
    first: date = FIRST, last: date = LAST, rows: int = ROWS, faults: bool = False, seed: int = 0
) -> tuple[Generated, dict[str, bytes]]:
    files: dict[str, bytes] = {}
    result = generator("cdc")(files.__setitem__, first=first, last=last, rows_per_day=rows, faults=faults, seed=seed)
    assert result.paths == list(files), "no file is written twice"
    return result, files


def opened(path: str, content: bytes) -> bytes | None:
    """The bytes of a file; None of one that is cut short."""
    try:
        return gzip.decompress(content) if path.endswith(".gz") else content
    except EOFError:
        return None


def carts(files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """The records of all files that can be read, each content once, in the order of files and lines."""
    seen = set()
    for path, content in files.items():
        whole = opened(path, content) if path.startswith("cdc/dynamodb/") else None
        if whole is not None and content not in seen:
            seen.add(content)
            yield from ((path, line) for line in whole.splitlines())


def orders(files: dict[str, bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, content in files.items():
        if path.startswith("cdc/dms/shop/orders/") and DMS.fullmatch(path):
            yield from ((path, row) for row in pq.read_table(io.BytesIO(content)).to_pylist())


def customers(files: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    for path, content in files.items():
        whole = opened(path, content) if path.startswith("cdc/dms/shop/customers/") else None
        if whole is not None:
            yield from ((path, r) for r in csv.reader(io.StringIO(whole.decode(errors="surrogateescape"))))


def broken_cart(line: bytes) -> str | None:
    """Which rule a record of a cart breaks."""
    try:
        record = json.loads(line)
    except ValueError:
        return "bad_json"
    if "dynamodb" not in record:
        return "not_a_record"
    changes = record["dynamodb"]
    broken = {
        "bad_op": record["eventName"] not in ("INSERT", "MODIFY", "REMOVE"),
        "missing_key": not changes["Keys"].get("cart_id"),
        "bad_sequence": not re.fullmatch(r"\d{21,40}", changes["SequenceNumber"]),
        "column_collision": len({name.lower() for name in changes.get("NewImage", {})})
        < len(changes.get("NewImage", {})),
    }
    assert sum(broken.values()) <= 1, record
    return next((rule for rule, breaks in broken.items() if breaks), None)


def is_time(text: str) -> bool:
    try:
        datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)
    except ValueError:
        return False
    return True


def broken_order(row: dict[str, Any]) -> str | None:
    broken = {
        "bad_op": row["Op"] not in ("I", "U", "D"),
        "missing_key": row["order_id"] is None,
        "bad_commit_time": not is_time(row["commit_ts"]),
        "bad_sequence": row["change_seq"] is not None and not row["change_seq"].isdigit(),
    }
    assert sum(broken.values()) <= 1, row
    return next((rule for rule, breaks in broken.items() if breaks), None)


def customer(path: str, fields: list[str], headers: dict[str, list[str]]) -> tuple[str, dict[str, str]] | str | None:
    """Operation and values; or the rule that is broken; None of a header."""
    if "customer_id" in fields:
        headers[path] = fields
        return None
    names = headers.get(path, ["Op", *CUSTOMER])
    if "/LOAD" in path and len(fields) == len(CUSTOMER):
        fields = ["I", *fields]
    if len(fields) != len(names):
        return "ragged"
    row = dict(zip(names, fields, strict=True))
    op = row.pop("Op")
    broken = {
        "bad_op": op not in ("I", "U", "D"),
        "missing_key": not row["customer_id"],
        "bad_encoding": any("\udc80" <= letter <= "\udcff" for letter in "".join(fields)),
    }
    assert sum(broken.values()) <= 1, row
    return next((rule for rule, breaks in broken.items() if breaks), None) or (op, row)


def judged(files: dict[str, bytes]) -> tuple[int, Counter[str]]:
    """Records, and what is wrong with them and with the files."""
    wrong, count = Counter[str](), 0
    sequences = Counter[str]()
    for _, line in carts(files):
        count += 1
        if rule := broken_cart(line):
            wrong[rule] += 1
        else:
            sequences[json.loads(line)["dynamodb"]["SequenceNumber"]] += 1
    wrong["duplicate"] = sequences.total() - len(sequences)
    for _, row in orders(files):
        count += 1
        wrong[broken_order(row) or ""] += 1
    headers: dict[str, list[str]] = {}
    for path, fields in customers(files):
        found = customer(path, fields, headers)
        count += found is not None
        wrong[found if isinstance(found, str) else ""] += 1
    readable = Counter(files[path] for path in files if CARTS.fullmatch(path))
    wrong["duplicate_file"] = sum(readable.values()) - len(readable)
    wrong["rejected_file"] = sum(
        not (CARTS.fullmatch(path) or DMS.fullmatch(path)) or opened(path, content) is None
        for path, content in files.items()
    )
    del wrong[""]
    return count, +wrong


@pytest.mark.parametrize("faults", [False, True])
def test_the_same_arguments_give_the_same_bytes_and_another_seed_gives_others(faults: bool) -> None:
    assert made.__wrapped__(FIRST, LAST, 300, faults) == made.__wrapped__(FIRST, LAST, 300, faults)
    one, other = made(FIRST, LAST, 300, faults)[1], made(FIRST, LAST, 300, faults, seed=1)[1]
    # Only an empty file under a name that is none is the same.
    assert all("/part-" in path for path, content in one.items() if content in other.values())


def test_another_process_gives_the_same_bytes() -> None:
    """Nothing hangs on the order of sets or on hashes, which differ between processes."""
    code = (
        "import hashlib, sys; from datetime import date; from clickstream_assets.generate import generator\n"
        "h = hashlib.sha256()\n"
        "generator('cdc')(lambda p, c: h.update(p.encode() + c), first=date(2024, 1, 1), last=date(2024, 1, 2), "
        "rows_per_day=100, faults=True)\nprint(h.hexdigest())"
    )
    runs = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout for _ in range(2)}
    assert len(runs) == 1 and len(runs.pop()) == 65


@pytest.mark.parametrize("faults", [False, True])
def test_a_longer_range_begins_with_the_files_of_a_shorter_one(faults: bool) -> None:
    result, whole = made(faults=faults)
    for days in (1, 3):
        some = made(last=FIRST + timedelta(days - 1), faults=faults)[1]
        assert list(some.items()) == list(whole.items())[: len(some)]
    assert result.rows > made(last=FIRST, faults=faults)[0].rows


@pytest.mark.parametrize("rows", [1, 2, 5, 30, ROWS])
@pytest.mark.parametrize("faults", [False, True])
def test_the_counts_of_planted_faults_and_rows_are_what_the_files_show(rows: int, faults: bool) -> None:
    result, files = made(rows=rows, faults=faults)
    count, wrong = judged(files)
    assert (count, dict(wrong)) == (result.rows, result.faults)
    days = (LAST - FIRST).days + 1
    if faults:
        assert set(result.faults) == {
            *("bad_json", "not_a_record", "bad_op", "missing_key", "bad_sequence", "column_collision"),
            *("bad_commit_time", "ragged", "bad_encoding", "duplicate", "duplicate_file", "rejected_file"),
        }
    else:
        assert result.rows == 2 * max(20, rows // 5) + days * rows and not result.faults


def test_paths_are_those_of_landing_and_days_those_of_the_changes() -> None:
    _, files = made()
    assert all(CARTS.fullmatch(path) or DMS.fullmatch(path) for path in files)
    for path, line in carts(files):
        when = datetime.fromtimestamp(json.loads(line)["dynamodb"]["ApproximateCreationDateTime"], UTC)
        assert f"year={when:%Y}/month={when:%m}/day={when:%d}/" in path
    for path, row in orders(files):
        if "/LOAD" not in path:
            stamp = datetime.strptime(path.rpartition("/")[2][:18], "%Y%m%d-%H%M%S%f").replace(tzinfo=UTC)
            assert datetime.fromisoformat(row["commit_ts"]).replace(tzinfo=UTC) < stamp
    names = [path.rpartition("/")[2] for path in files if "customers/LOAD" in path]
    assert names[9:] == ["LOAD0000000A.csv", "LOAD0000000B.csv"]


def test_changes_of_carts_follow_from_what_was_there() -> None:
    state: dict[str, dict[str, Any]] = {}
    seen, types = Counter[str](), set[str]()
    records = sorted(
        (json.loads(line) for _, line in carts(made()[1])), key=lambda r: int(r["dynamodb"]["SequenceNumber"])
    )
    for record in records:
        change = record["dynamodb"]
        key, old, new = change["Keys"]["cart_id"]["S"], change.get("OldImage"), change.get("NewImage")
        assert old == state.get(key)
        assert (record["eventName"] == "INSERT", record["eventName"] == "REMOVE") == (old is None, new is None)
        types |= {kind for image in (old, new) if image for value in image.values() for kind in value}
        seen[record["eventName"]] += 1
        seen["ttl"] += record.get("userIdentity", {}).get("principalId") == "dynamodb.amazonaws.com"
        state.pop(key, None)
        if new:
            state[key] = new
    assert types == TYPES
    assert min(seen.values()) > 10 and len(seen) == 4
    by_file = defaultdict[str, list[int]](list)
    for path, line in carts(made()[1]):
        by_file[path].append(int(json.loads(line)["dynamodb"]["SequenceNumber"]))
    assert all(numbers == sorted(numbers) for numbers in by_file.values())
    assert len({path.split("shardId-")[1].split("-")[1] for path in by_file}) == 2, "two shards"


def test_changes_of_orders_follow_from_what_was_there() -> None:
    state: dict[int, dict[str, Any]] = {}
    seen = Counter[str]()
    order = sorted(orders(made()[1]), key=lambda one: (one[1]["commit_ts"], int(one[1]["change_seq"] or 0)))
    ties = Counter(row["commit_ts"] for path, row in order if "/LOAD" not in path)
    assert max(ties.values()) > 1
    for path, row in order:
        key, op = row["order_id"], row["Op"]
        assert (op == "I") == (key not in state), (path, row)
        seen["load" if "/LOAD" in path else op] += 1
        seen["moved"] += op == "U" and row["region"] != state[key]["region"]
        state.pop(key, None)
        if op != "D":
            state[key] = row
    assert min(seen[name] for name in ("load", "I", "U", "D", "moved")) > 10
    numbers = [row["change_seq"] for path, row in orders(made()[1]) if "/LOAD" not in path]
    assert numbers == sorted(numbers) and len(set(numbers)) == len(numbers)
    assert all(len(number) == 35 for number in numbers)


def test_orders_get_a_column_on_the_third_day() -> None:
    columns = defaultdict[str, set[bool]](set)
    for path, content in made()[1].items():
        if "/orders/2" in path:
            schema = pq.read_schema(io.BytesIO(content))
            columns[path.rpartition("/")[2][:8]].add("channel" in schema.names)
            assert schema.field("amount").type == pa.decimal128(12, 2)
    assert columns == {"20240101": {False}, "20240102": {False}, "20240103": {True}, "20240104": {True}}


def test_changes_of_customers_follow_from_what_was_there() -> None:
    state: dict[str, dict[str, str]] = {}
    seen, headers = Counter[str](), dict[str, list[str]]()
    files = sorted(customers(made()[1]), key=lambda one: (0 if "/LOAD" in one[0] else 1, one[0]))
    for path, fields in files:
        found = customer(path, fields, headers)
        if found is None:
            continue
        assert not isinstance(found, str)
        op, row = found
        key, old_key = row["customer_id"], row.get("BI_customer_id", row["customer_id"])
        before = {name: value for name, value in row.items() if name.startswith("BI_")}
        values = {name: value for name, value in row.items() if name not in before}
        assert (op == "I") == (old_key not in state), (path, row)
        if before:
            assert {f"BI_{name}": value for name, value in state[old_key].items()} == before and old_key != key
            seen["renumbered"] += 1
        seen["key only"] += op == "D" and not row["email"]
        seen["load" if "/LOAD" in path else op] += 1
        seen["with Op" if "/LOAD" in path and len(fields) == 8 else "other"] += 1
        state.pop(old_key, None)
        if op != "D":
            state[key] = values
    assert min(seen[name] for name in ("load", "with Op", "I", "U", "D", "key only", "renumbered")) > 5
    assert any(path.endswith(".csv.gz") for path, _ in files)
    emails = {values["email"].rpartition("@")[2] for values in state.values()}
    assert emails == {"example.com"}


def test_progress_is_told_each_day_after_its_files() -> None:
    seen: list[tuple[date, int]] = []
    files: dict[str, bytes] = {}
    generator("cdc")(
        files.__setitem__,
        first=FIRST,
        last=date(2024, 1, 2),
        rows_per_day=50,
        progress=lambda day: seen.append((day, len(files))),
    )
    assert [day for day, _ in seen] == [FIRST, date(2024, 1, 2)]
    assert 0 < seen[0][1] < seen[1][1] == len(files)


@pytest.mark.parametrize(
    "wrong", [{"last": date(2023, 12, 31)}, {"rows": 0}, {"seed": -1}], ids=lambda it: next(iter(it))
)
def test_arguments_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"at least 1|is after the last"):
        made(**wrong)
