"""Records of DynamoDB Streams: operations, the ten types of attributes, keys, and what of a file is rejected."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickstream_assets.cdc import dynamodb
from clickstream_assets.cdc.declared import Declared
from clickstream_assets.errors import RejectedFile
from clickstream_assets.parsing.content import text_of
from clickstream_assets.parsing.formats import Broken
from clickstream_assets.settings import Limits

CARTS = Declared("dynamodb", "carts", "carts", ("cart_id",))
PATH = "cdc/dynamodb/carts/year=2024/month=01/day=05/a.json"
KEY = {"cart_id": {"S": "c1"}}
JSON = ("key", "before", "after", "types")


def record(event: str = "MODIFY", *, further: Mapping[str, Any] | None = None, **parts: Any) -> dict[str, Any]:
    """A stream record; ``parts`` of its dynamodb part, None for one that it is to be without."""
    inner = {"Keys": KEY, "SequenceNumber": "100", "ApproximateCreationDateTime": 1704412800} | parts
    return {"eventName": event, "dynamodb": {k: v for k, v in inner.items() if v is not None}} | dict(further or {})


def read(content: bytes, path: str = PATH, declared: Declared = CARTS) -> tuple[list[dict[str, Any]], list[Broken]]:
    """The changes of a file, JSON read, each with its line; and the broken records. Every record is one of both."""
    rows: list[dict[str, Any]] = []
    broken: list[Broken] = []
    found = 0
    for batch in dynamodb.reader(declared, path)(text_of(io.BytesIO(content), path, Limits()), (), Limits()):
        found += batch.found
        broken += batch.broken
        for row, line in zip(batch.rows.to_pylist(), batch.lines, strict=True):
            parsed = {name: json.loads(row[name]) for name in JSON if row[name]}
            rows.append(row | parsed | {"line": int(line)})
    assert found == len(rows) + len(broken)
    return rows, broken


def lines(*records: Any) -> bytes:
    return "".join(f"{json.dumps(one)}\n" for one in records).encode()


def one(given: Mapping[str, Any], declared: Declared = CARTS) -> dict[str, Any]:
    (row,), broken = read(lines(given), declared=declared)
    assert broken == []
    return row


def image(**attributes: Any) -> dict[str, Any]:
    return KEY | attributes


def test_the_events_are_operations() -> None:
    new, old = image(a={"S": "new"}), image(a={"S": "old"})
    after, before = {"cart_id": "c1", "a": "new"}, {"cart_id": "c1", "a": "old"}
    rows, broken = read(
        lines(
            record("INSERT", NewImage=new),
            record("MODIFY", NewImage=new, OldImage=old),
            record("REMOVE", OldImage=old),
            record("SCAN", NewImage=new, SequenceNumber="0", ApproximateCreationDateTime=None),
        )
    )
    assert broken == []
    assert [(row["kind"], row["op"], row["before"], row["after"]) for row in rows] == [
        ("change", "I", None, after),
        ("change", "U", before, after),
        ("change", "D", before, None),
        ("load", "L", None, after),
    ]
    assert [row["line"] for row in rows] == [1, 2, 3, 4]
    assert {tuple(row["key"]) for row in rows} == {("c1",)}
    assert [row["sequence"] for row in rows] == ["100".zfill(48)] * 3 + ["0" * 48]
    assert [row["committed_at"] for row in rows] == [datetime(2024, 1, 5, tzinfo=UTC)] * 3 + [None]
    assert rows[0]["types"] == {"a": "varchar", "cart_id": "varchar"}


def test_a_stream_of_keys_only_tells_the_keys() -> None:
    rows, _ = read(lines(record("INSERT"), record("MODIFY"), record("REMOVE")))
    assert [(row["before"], row["after"]) for row in rows] == [
        (None, {"cart_id": "c1"}),
        (None, {"cart_id": "c1"}),
        ({"cart_id": "c1"}, None),
    ]


@pytest.mark.parametrize("name", ["principalId", "PrincipalId"])
def test_what_dynamodb_deletes_itself_has_the_reason_ttl(name: str) -> None:
    ttl = {"userIdentity": {name: "dynamodb.amazonaws.com", "type": "Service"}}
    assert one(record("REMOVE", further=ttl))["reason"] == "ttl"
    assert one(record("MODIFY", further=ttl))["reason"] is None
    assert one(record("REMOVE", further={"userIdentity": {name: "somebody"}}))["reason"] is None
    assert one(record("REMOVE", further={"userIdentity": None}))["reason"] is None


NESTED = {
    "M": {
        "n": {"N": "12.50"},
        "big": {"N": "12345678901234567890123456789012345678"},
        "l": {"L": [{"S": 'a"b'}, {"NULL": True}, {"BOOL": False}, {"M": {}}, {"B": "AP8="}]},
        "s": {"NS": ["10", "9", "-1.5"]},
    }
}


@pytest.mark.parametrize(
    ("attribute", "text", "kind"),
    [
        ({"S": 'é "q" \\ \n'}, 'é "q" \\ \n', "varchar"),
        ({"S": ""}, "", "varchar"),
        ({"N": "12.50"}, "12.50", "number"),
        ({"N": "-007.10"}, "-7.10", "number"),
        ({"N": "+1E3"}, "1000", "number"),
        ({"N": "-0"}, "0", "number"),
        ({"N": "1.5E-7"}, "0.00000015", "number"),
        ({"N": "1E125"}, "1E+125", "number"),
        ({"N": "12345678901234567890123456789012345678"}, "12345678901234567890123456789012345678", "number"),
        ({"BOOL": True}, "true", "boolean"),
        ({"BOOL": False}, "false", "boolean"),
        ({"B": "AP8="}, "AP8=", "binary"),
        ({"NULL": True}, None, None),
        ({"SS": ["b", "a"]}, '["a","b"]', "json"),
        ({"NS": ["10", "9", "1.50"]}, "[1.50,9,10]", "json"),
        ({"BS": ["BQ==", "AP8="]}, '["AP8=","BQ=="]', "json"),
        ({"L": []}, "[]", "json"),
        (
            NESTED,
            '{"n":12.50,"big":12345678901234567890123456789012345678,'
            '"l":["a\\"b",null,false,{},"AP8="],"s":[-1.5,9,10]}',
            "json",
        ),
    ],
)
def test_the_ten_types_of_attributes(attribute: dict[str, Any], text: str | None, kind: str | None) -> None:
    row = one(record(NewImage=image(a=attribute)))
    assert row["after"] == {"cart_id": "c1", "a": text}
    assert row["types"] == {"cart_id": "varchar"} | ({"a": kind} if kind else {})


def test_the_same_set_of_types_is_the_same_text() -> None:
    first, second = {"b": {"S": "x"}, "a": {"N": "1"}}, {"a": {"N": "2"}, "b": {"S": "y"}}
    texts = set()
    for batch in dynamodb.reader(CARTS, PATH)(
        io.BytesIO(lines(record(NewImage=KEY | first), record(NewImage=second | KEY))), (), Limits()
    ):
        texts |= set(batch.rows["types"].to_pylist())
    assert texts == {'{"a":"number","b":"varchar","cart_id":"varchar"}'}


def test_numbers_that_are_one_are_one_key() -> None:
    declared = replace(CARTS, primary_key=("shop", "n"))
    keys = [
        one(record(Keys={"n": {"N": text}, "Shop": {"S": "eu"}}), declared)["key"]
        for text in ("1", "1.0", "1E0", "+01", "100E-2")
    ]
    assert keys == [["eu", "1"]] * 5
    assert one(record(Keys={"n": {"N": "-0.0"}, "shop": {"S": "eu"}}), declared)["key"] == ["eu", "0"]
    assert one(record(Keys={"n": {"N": "1E2"}, "shop": {"S": "eu"}}), declared)["key"] == ["eu", "100"]
    assert one(record(Keys={"n": {"N": "0.10"}, "shop": {"S": "eu"}}), declared)["key"] == ["eu", "0.1"]


@settings(deadline=None, max_examples=50)
@given(st.decimals(allow_nan=False, allow_infinity=False, places=6), st.integers(-20, 20))
def test_a_number_stays_what_it_is(value: Decimal, exponent: int) -> None:
    text = f"{value}E{exponent}"
    given = record(NewImage=image(a={"N": text}, l={"L": [{"N": text}]}))
    after = one(given)["after"]
    assert Decimal(after["a"]) == Decimal(text)
    assert json.loads(after["l"], parse_float=Decimal, parse_int=Decimal) == [Decimal(text)]
    assert sum(map(str.isdigit, f"{Decimal(text):f}")) > 38 or "E" not in after["a"]


@pytest.mark.parametrize(
    ("time", "is_"),
    [
        (1704412800.5, datetime(2024, 1, 5, 0, 0, 0, 500000, tzinfo=UTC)),
        ("2024-01-05T01:00:00+01:00", datetime(2024, 1, 5, tzinfo=UTC)),
        ("2024-01-05T00:00:00Z", datetime(2024, 1, 5, tzinfo=UTC)),
        ("2024-01-05 00:00:00", datetime(2024, 1, 5, tzinfo=UTC)),
        (None, None),
    ],
)
def test_times(time: Any, is_: datetime | None) -> None:
    assert one(record(ApproximateCreationDateTime=time))["committed_at"] == is_


@pytest.mark.parametrize(
    ("given", "broken"),
    [
        ({"a": 1}, "not_a_record"),
        ({"eventName": "INSERT", "dynamodb": {"SequenceNumber": "1"}}, "not_a_record"),
        ({"Records": [record()]}, "not_a_record"),
        (record("UPSERT"), "bad_op"),
        ({"dynamodb": record()["dynamodb"]}, "bad_op"),
        (record(SequenceNumber=None), "bad_sequence"),
        (record(SequenceNumber="x"), "bad_sequence"),
        (record(SequenceNumber=12), "bad_sequence"),
        (record(SequenceNumber="1" * 49), "bad_sequence"),
        (record(ApproximateCreationDateTime="soon"), "bad_commit_time"),
        (record(ApproximateCreationDateTime=1704412800000), "bad_commit_time"),
        (record(ApproximateCreationDateTime=True), "bad_commit_time"),
        (record(Keys={}), "missing_key"),
        (record(Keys={"id": {"S": "c1"}}), "missing_key"),
        (record(Keys={"cart_id": {"S": ""}}), "missing_key"),
        (record(Keys={"cart_id": {"BOOL": True}}), "bad_value"),
        (record(NewImage=image(a={"N": "one"})), "bad_value"),
        (record(NewImage=image(a={"N": "NaN"})), "bad_value"),
        (record(NewImage=image(a={"N": 1})), "bad_value"),
        (record(NewImage=image(a={"S": 1})), "bad_value"),
        (record(NewImage=image(a={"X": "1"})), "bad_value"),
        (record(NewImage=image(a={"S": "1", "N": "1"})), "bad_value"),
        (record(NewImage=image(a={})), "bad_value"),
        (record(NewImage=image(a="1")), "bad_value"),
        (record(NewImage=image(a={"B": "no base64!"})), "bad_value"),
        (record(NewImage=image(a={"BOOL": "true"})), "bad_value"),
        (record(NewImage=image(a={"NS": ["1", "x"]})), "bad_value"),
        (record(NewImage=image(a={"SS": [1]})), "bad_value"),
        (record(NewImage=image(a={"L": [{"M": {"x": {"N": "1."}, "y": 1}}]})), "bad_value"),
        (record(NewImage="x"), "bad_value"),
        (record(NewImage=image(a={"S": "1"}, A={"S": "2"})), "column_collision"),
        (record(NewImage=image(a={"S": "\0"})), "bad_encoding"),
        (record(NewImage=image(**{"a" * 64: {"S": "x"}})), "long_column"),
    ],
)
def test_a_bad_record_costs_itself_alone(given: Any, broken: str) -> None:
    rows, (one_broken,) = read(lines(record(), given, record()))
    assert [row["line"] for row in rows] == [1, 3]
    assert (one_broken.rule, one_broken.line, one_broken.record_number) == (broken, 2, 2)


def test_text_between_records_and_records_without_a_line_of_their_own() -> None:
    whole = json.dumps(record()).encode()
    rows, broken = read(whole + whole + b"\n" + whole[:-4] + b"\nno record\n" + whole + b'\n{"a": 1,}\n[1]\n' + whole)
    assert [row["line"] for row in rows] == [1, 1, 4, 7]
    assert [(one.rule, one.line) for one in broken] == [
        ("bad_json", 2),  # up to where the next record begins, the line that is none with it
        ("bad_json", 5),
        ("not_an_object", 6),
    ]


def test_a_record_that_is_nested_without_end_costs_itself_alone() -> None:
    deep: Any = {"S": "x"}
    for _ in range(450):
        deep = {"L": [deep]}
    given = json.dumps(record(NewImage=image(a=deep))).encode()
    rows, broken = read(lines(record()) + given + b"\n" + lines(record()))
    assert len(rows) + len(broken) == 3
    assert [row["line"] for row in rows if "a" not in row["after"]] == [1, 3]


def test_gzip_and_names() -> None:
    rows, _ = read(gzip.compress(lines(record(), record())), PATH + ".gz")
    assert len(rows) == 2
    with pytest.raises(RejectedFile, match=r"does not end in \.json"):
        dynamodb.reader(CARTS, "a/b.ndjson")


def test_attributes_get_names_that_every_warehouse_takes() -> None:
    row = one(record(NewImage=image(**{"Unit Price": {"N": "1"}, "op": {"S": "x"}, "_id": {"S": "y"}})))
    assert row["after"] == {"cart_id": "c1", "unit_price": "1", "op_": "x", "_id_": "y"}
