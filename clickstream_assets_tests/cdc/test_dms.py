"""Files of DMS: names, headers, operations, types, and what of a file is rejected."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickstream_assets.cdc import dms
from clickstream_assets.cdc.declared import Declared
from clickstream_assets.errors import RejectedFile
from clickstream_assets.parsing.content import text_of
from clickstream_assets.parsing.formats import Broken
from clickstream_assets.settings import Limits

ORDERS = Declared("dms", "orders", "orders", ("id",), schema="shop", columns=("id", "name", "amount"))
PAIRS = replace(ORDERS, primary_key=("id", "region"), columns=("id", "region", "name"))
LOAD, CHANGES = "cdc/dms/shop/orders/LOAD0000000A.csv", "cdc/dms/shop/orders/20240105-120000123.csv"
STAMP = datetime(2024, 1, 5, 12, 0, 0, 123000, tzinfo=UTC)
STEM = "20240105-120000123"
PARQUET = CHANGES.replace("csv", "parquet")

JSON = ("key", "old_key", "before", "after", "types")

Rows = list[dict[str, Any]]


def read(
    content: bytes | str, path: str = CHANGES, declared: Declared = ORDERS, **limits: int
) -> tuple[Rows, list[Broken]]:
    """The changes of a file, JSON read, each with its line; and the broken records. Every record is one of both."""
    raw = content.encode() if isinstance(content, str) else content
    caps = Limits(**limits)
    rows: Rows = []
    broken: list[Broken] = []
    found = 0
    for batch in dms.reader(declared, path)(text_of(io.BytesIO(raw), path, caps), (), caps):
        found += batch.found
        broken += batch.broken
        for row, line in zip(batch.rows.to_pylist(), batch.lines, strict=True):
            parsed = {
                name: json.loads(row[name]) for name in ("key", "old_key", "before", "after", "types") if row[name]
            }
            rows.append(row | parsed | {"line": int(line)})
    assert found == len(rows) + len(broken)
    return rows, broken


def parquet(columns: dict[str, Any], schema: pa.Schema | None = None) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns, schema=schema), sink)
    return sink.getvalue()


def picked(rows: Rows, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


@pytest.mark.parametrize("header", ["Op,id,name,amount\n", "", "OP,ID,Name,AMOUNT\r\n", "\ufeffOp,id,name,amount\n"])
def test_changes_are_read_with_a_header_and_without_one(header: str) -> None:
    rows, broken = read(header + "I,1,Ann,2.50\nU,1,,3\n\nD,1,,\n")
    assert broken == []
    first = 2 if header else 1
    assert picked(rows, "kind", "op", "key", "line") == [
        ("change", "I", ["1"], first),
        ("change", "U", ["1"], first + 1),
        ("change", "D", ["1"], first + 3),
    ]
    assert picked(rows, "before", "after") == [
        (None, {"id": "1", "name": "Ann", "amount": "2.50"}),
        (None, {"id": "1", "name": None, "amount": "3"}),
        ({"id": "1"}, None),
    ]
    assert {row["committed_at"] for row in rows} == {STAMP}
    assert {row["sequence"] for row in rows} == {""}
    assert rows[0]["types"] == {"amount": "varchar", "id": "varchar", "name": "varchar"}


def test_a_byte_order_mark_is_no_part_of_the_first_record() -> None:
    (row,), _ = read("\ufeffI,1,Ann,2\n")
    assert row["op"] == "I"


@pytest.mark.parametrize(
    "content", ["1,Ann,2\n", "I,1,Ann,2\n", "id,name,amount\n1,Ann,2\n", "Op,id,name,amount\nU,1,Ann,2\n"]
)
def test_rows_of_a_full_load_are_loads_whatever_their_op_says(content: str) -> None:
    (row,), broken = read(content, LOAD)
    assert broken == []
    assert (row["kind"], row["op"], row["key"], row["committed_at"]) == ("load", "L", ["1"], None)
    assert row["after"] == {"id": "1", "name": "Ann", "amount": "2"}


def test_gzip_and_quotes() -> None:
    rows, _ = read(gzip.compress(b'I,1,"a ""b"", \n c",2\nD,"2",,\n'), CHANGES + ".gz")
    assert picked(rows, "key", "line") == [(["1"], 1), (["2"], 3)]
    assert rows[0]["after"]["name"] == 'a "b", \n c'


def test_commit_time_and_sequence_come_from_their_columns_and_are_no_columns() -> None:
    content = (
        "Op,id,commit_ts,change_seq\n"
        "I,1,2024-01-05 11:00:00.123456,20240105110000000000000000000000001\n"
        "U,1,2024-01-05T12:30:00+02:00,007\n"
        "U,1,,\n"
    )
    rows, _ = read(content)
    assert [row["committed_at"] for row in rows] == [
        datetime(2024, 1, 5, 11, 0, 0, 123456, tzinfo=UTC),
        datetime(2024, 1, 5, 10, 30, tzinfo=UTC),
        STAMP,
    ]
    assert [row["sequence"] for row in rows] == ["20240105110000000000000000000000001".zfill(48), "7".zfill(48), ""]
    assert {tuple(row["after"]) for row in rows} == {("id",)}


def test_other_columns_are_the_commit_time_and_the_sequence_where_that_is_declared() -> None:
    declared = replace(ORDERS, columns=("id", "at", "n", "commit_ts"), timestamp="at", sequence="n")
    (row,), _ = read("I,1,2024-01-05 11:00:00,12,x\n", declared=declared)
    assert (row["committed_at"], row["sequence"]) == (datetime(2024, 1, 5, 11, tzinfo=UTC), "12".zfill(48))
    assert row["after"] == {"id": "1", "commit_ts": "x"}
    with pytest.raises(RejectedFile, match="lacks at, which is declared as its timestamp"):
        read("Op,id\nI,1\n", declared=declared)
    (row,), _ = read("id\n1\n", LOAD, declared)  # full loads may be without it
    assert row["committed_at"] is None


@pytest.mark.parametrize(
    ("record", "rule"),
    [
        ("X,1,2024-01-05 11:00:00,1", "bad_op"),
        (",1,2024-01-05 11:00:00,1", "bad_op"),
        ("i,1,2024-01-05 11:00:00,1", "bad_op"),
        ("I,,2024-01-05 11:00:00,1", "missing_key"),
        ("I,1,soon,1", "bad_commit_time"),
        ("I,1,-infinity 1,1", "bad_commit_time"),
        ("I,1,2024-13-05 11:00:00,1", "bad_commit_time"),
        ("I,1,2024-01-05 11:00:00,x1", "bad_sequence"),
        ("I,1,2024-01-05 11:00:00,-1", "bad_sequence"),
        ("I,1,2024-01-05 11:00:00," + "1" * 49, "bad_sequence"),
        ("I,1,2024-01-05 11:00:00", "ragged"),
        ("I,1,2024-01-05 11:00:00,1,1", "ragged"),
    ],
)
def test_a_bad_record_costs_itself_alone(record: str, rule: str) -> None:
    good = "I,9,2024-01-05 11:00:00,1"
    rows, broken = read(f"Op,id,commit_ts,change_seq\n{good}\n{record}\n{good}\n")
    assert [row["line"] for row in rows] == [2, 4]
    assert [(one.rule, one.line, one.record_number) for one in broken] == [(rule, 3, 2)]
    if rule != "ragged":
        assert json.loads(broken[0].text)["id"] in ("", "1")


def test_bytes_that_are_no_text_and_long_records_are_rejected() -> None:
    rows, broken = read(b"I,2,ok,2\nI,1,\xff,2\nI,3," + b"x" * 200 + b",2\n", record_bytes=100)
    assert [row["key"] for row in rows] == [["2"]]
    assert [(one.rule, one.line) for one in broken] == [("bad_encoding", 2), ("too_long", 3)]


def test_a_key_may_have_several_columns_of_which_one_is_empty() -> None:
    rows, broken = read("I,1,,x\nI,,eu,x\nI,,,x\nD,1,eu,\n", declared=PAIRS)
    assert [row["key"] for row in rows] == [["1", ""], ["", "eu"], ["1", "eu"]]
    assert [one.rule for one in broken] == ["missing_key"]


def test_images_before_tell_what_a_row_and_its_key_were() -> None:
    content = (
        "Op,id,region,name,BI_id,BI_region,BI_name\n"
        "I,1,eu,Ann,,,\n"
        "U,1,us,Bob,1,eu,Ann\n"
        "U,1,us,Cid,1,us,Bob\n"
        "U,2,us,Cid,1,,Cid\n"
        "D,,,,2,us,Cid\n"
    )
    rows, broken = read(content, declared=PAIRS)
    assert broken == []
    assert picked(rows, "key", "old_key") == [
        (["1", "eu"], None),
        (["1", "us"], ["1", "eu"]),
        (["1", "us"], None),
        (["2", "us"], ["1", "us"]),
        (["2", "us"], None),
    ]
    assert [row["before"] for row in rows] == [
        None,
        {"id": "1", "region": "eu", "name": "Ann"},
        {"id": "1", "region": "us", "name": "Bob"},
        {"id": "1", "region": None, "name": "Cid"},
        {"id": "2", "region": "us", "name": "Cid"},
    ]
    assert rows[1]["after"] == {"id": "1", "region": "us", "name": "Bob"}


def test_the_values_of_a_deleted_row_are_kept_where_they_are_told() -> None:
    (row,), _ = read("D,1,Ann,\n")
    assert (row["before"], row["after"]) == ({"id": "1", "name": "Ann"}, None)


@pytest.mark.parametrize(
    ("content", "path", "declared", "says"),
    [
        (b"", CHANGES, ORDERS, "empty"),
        (b"I,1,Ann\n", CHANGES, replace(ORDERS, columns=()), "say in columns of dms/shop/orders"),
        (b"id,name\n1,Ann\n", CHANGES, ORDERS, "first column is not Op"),
        (b"1,Ann\n", LOAD, ORDERS, "has 2 fields, and 3 columns are declared"),
        (b"7,1,Ann,2\n", LOAD, ORDERS, "has 4 fields"),
        (b"Op,id,E Mail,e_mail\nI,1,a,b\n", CHANGES, ORDERS, "several of its columns are called e_mail"),
        (b"Op,id," + b"c" * 64 + b"\nI,1,a\n", CHANGES, ORDERS, "more than 63 characters: declare a shorter name"),
        (b"PAR1 and no more", PARQUET, ORDERS, "no Parquet file"),
        (parquet({"Op": ["I"], "name": ["a"]}), PARQUET, ORDERS, "lacks id"),
        (parquet({"id": [1]}), PARQUET, ORDERS, "first column is not Op"),
        (parquet({"Op": ["I"], "id": [1]})[:-9], PARQUET, ORDERS, "no Parquet file"),
    ],
)
def test_files_that_cannot_be_read_as_a_whole(content: bytes, path: str, declared: Declared, says: str) -> None:
    with pytest.raises(RejectedFile, match=says):
        read(content, path, declared)


def test_a_damaged_page_rejects_the_file_before_a_row_is_taken() -> None:
    whole = bytearray(parquet({"Op": ["I"] * 1000, "id": [f"{n:09}" for n in range(1000)]}))
    whole[len(whole) // 3] ^= 0xFF
    whole[200:400] = bytes(200)
    with pytest.raises(RejectedFile, match="no Parquet file"):
        dms.reader(ORDERS, PARQUET)(io.BytesIO(bytes(whole)), (), Limits())


@pytest.mark.parametrize(
    "name", ["LOAD00000001", "LOAD0000000A", "load00000FFF", "20240105-120000123", "20240105-120000123-1"]
)
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_names_that_dms_gives(name: str, suffix: str) -> None:
    found = dms.name_of(f"a/{name}{suffix}")
    assert found == dms.Name(name.lower().startswith("load"), None if found.load else STAMP, suffix == ".parquet")


@pytest.mark.parametrize(
    "name", ["LOAD.csv", "LOAD0G.csv", "20241305-120000123.csv", "a.csv", "LOAD1.json", "20240105.csv"]
)
def test_other_names_are_rejected(name: str) -> None:
    with pytest.raises(RejectedFile, match="LOAD and hexadecimal digits"):
        dms.name_of(f"a/{name}")


TYPED: Sequence[tuple[pa.DataType, Any, str | None, str | None]] = (
    (pa.string(), "é", "é", "varchar"),
    (pa.dictionary(pa.int32(), pa.string()), "x", "x", "varchar"),
    (pa.bool_(), True, "true", "boolean"),
    (pa.int8(), -1, "-1", "integer"),
    (pa.int32(), 7, "7", "integer"),
    (pa.uint32(), 2**32 - 1, "4294967295", "bigint"),
    (pa.int64(), 2**62, str(2**62), "bigint"),
    (pa.uint64(), 2**64 - 1, str(2**64 - 1), "decimal(20,0)"),
    (pa.float32(), 0.5, "0.5", "real"),
    (pa.float64(), 0.1, "0.1", "double"),
    (pa.decimal128(10, 2), Decimal("12.50"), "12.50", "decimal(10,2)"),
    (pa.decimal128(38, 0), Decimal(10**37), str(10**37), "decimal(38,0)"),
    (pa.decimal256(50, 0), Decimal(10**45), str(10**45), "varchar"),
    (pa.date32(), date(2024, 1, 5), "2024-01-05", "date"),
    (pa.timestamp("ms"), datetime(2024, 1, 5, 1, 2, 3), "2024-01-05 01:02:03.000000", "timestamp"),
    (pa.timestamp("ns"), 1_704_416_523_123_456_789, "2024-01-05 01:02:03.123456", "timestamp"),
    (
        pa.timestamp("us", "Europe/Berlin"),
        datetime(2024, 1, 5, tzinfo=UTC),
        "2024-01-05 00:00:00.000000+00",
        "timestamptz",
    ),
    (pa.binary(), b"\x00\xff", "AP8=", "binary"),
    (pa.list_(pa.int32()), [1, 2], "[1,2]", "json"),
    (pa.struct([("a", pa.int32())]), {"a": 1}, '{"a":1}', "json"),
    (pa.null(), None, None, None),
)


def test_parquet_has_types() -> None:
    count = len(TYPED)
    columns = {"Op": ["I", "I", "D"], "id": [1, 2, 3]}
    names = [f"V{n}" for n in range(count)]
    for name, (kind, value, _, _) in zip(names, TYPED, strict=True):
        columns[name] = pa.array([value, None, None], kind)
    rows, broken = read(parquet(columns), PARQUET)
    assert broken == []
    assert [row["line"] for row in rows] == [1, 2, 3]
    texts = {name.lower(): text for name, (_, _, text, _) in zip(names, TYPED, strict=True)}
    types = {name.lower(): kind for name, (_, _, _, kind) in zip(names, TYPED, strict=True) if kind is not None}
    assert rows[0]["after"] == {"id": "1"} | texts
    assert rows[1]["after"] == {"id": "2"} | dict.fromkeys(texts)
    assert rows[2]["before"] == {"id": "3"}
    assert rows[0]["types"] == {"id": "bigint"} | types


def test_parquet_has_times_sequences_and_faults() -> None:
    at = datetime(2024, 1, 5, 11, tzinfo=UTC)
    columns = {
        "Op": ["I", "U", "I", "I", None],
        "id": pa.array(["1", "2", None, "4", "5"]),
        "name": ["a", "b", "c", "d\0", "e"],
        "commit_ts": pa.array([at, None, at, at, at], pa.timestamp("us")),
        "change_seq": pa.array([Decimal(5), None, Decimal(7), Decimal(8), Decimal(9)], pa.decimal128(38, 0)),
    }
    rows, broken = read(parquet(columns), PARQUET)
    assert picked(rows, "key", "committed_at", "sequence") == [(["1"], at, "5".zfill(48)), (["2"], STAMP, "")]
    assert [(one.rule, one.line) for one in broken] == [("missing_key", 3), ("bad_encoding", 4), ("bad_op", 5)]
    _, broken = read(parquet({"Op": ["I"], "id": [1], "x": ["y" * 500]}), PARQUET, record_bytes=300)
    assert [one.rule for one in broken] == ["too_long"]


def test_a_parquet_load_needs_no_op() -> None:
    (row,), _ = read(parquet({"id": pa.array([1], pa.int32())}), LOAD.replace("csv", "parquet"))
    assert (row["op"], row["kind"], row["after"], row["types"]) == ("L", "load", {"id": "1"}, {"id": "integer"})


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
RECORDS = st.lists(st.tuples(st.sampled_from(["I", "U", "D", "X"]), TEXTS, TEXTS, TEXTS), max_size=30)


@settings(deadline=None, max_examples=60)
@given(records=RECORDS, header=st.booleans())
def test_any_records_are_those_that_pythons_csv_module_wrote(records: list[tuple[str, ...]], header: bool) -> None:
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, quoting=csv.QUOTE_ALL)
    writer.writerows([("Op", *ORDERS.columns), *records] if header or not records else records)
    rows, broken = read(sink.getvalue().removeprefix("\ufeff"))
    expected: list[tuple[Any, ...]] = []
    faults = []
    for op, *values in records:
        named = dict(zip(ORDERS.columns, (value or None for value in values), strict=True))
        if op == "X" or not values[0]:
            faults.append("bad_op" if op == "X" else "missing_key")
        elif op == "D":
            expected.append((op, [values[0]], {name: value for name, value in named.items() if value}, None))
        else:
            expected.append((op, [values[0]], None, named))
    assert picked(rows, "op", "key", "before", "after") == expected
    assert [one.rule for one in broken] == faults


@settings(deadline=None, max_examples=40)
@given(records=RECORDS)
def test_parquet_and_csv_of_the_same_texts_are_the_same_changes(records: list[tuple[str, ...]]) -> None:
    sink = io.StringIO(newline="")
    csv.writer(sink, quoting=csv.QUOTE_ALL).writerows([("Op", *ORDERS.columns), *records])
    columns = {
        name: pa.array([one[n] if n < 2 else one[n] or None for one in records], pa.string())
        for n, name in enumerate(("Op", *ORDERS.columns))
    }
    names = ("op", "key", "before", "after", "types", "committed_at", "sequence")
    of_csv, of_parquet = read(sink.getvalue()), read(parquet(columns), PARQUET)
    assert picked(of_csv[0], *names) == picked(of_parquet[0], *names)
    assert [one.rule for one in of_csv[1]] == [one.rule for one in of_parquet[1]]
