"""Types of columns: functions of a set, whatever the order in which its members came."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickstream_assets.cdc import columns
from clickstream_assets.cdc.columns import FileTypes, Numbers, lub, wider
from clickstream_assets.cdc.declared import DMS, DYNAMODB, Declared

TYPES = (
    "varchar", "json", "boolean", "binary", "integer", "bigint", "real", "double", "date", "timestamp", "timestamptz",
    "decimal(10,2)", "decimal(12,2)", "decimal(12,4)",
)  # fmt: skip
ORDERS = Declared(DMS, "orders", "orders", ("id",), schema="shop")
CARTS = Declared(DYNAMODB, "carts", "carts", ("id",))


@given(st.sampled_from(TYPES), st.sampled_from(TYPES), st.sampled_from(TYPES))
def test_a_least_upper_bound_knows_no_order(one: str, two: str, three: str) -> None:
    assert lub(one, two) == lub(two, one) and lub(one, one) == one
    assert lub(lub(one, two), three) == lub(one, lub(two, three))


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("integer", "bigint", "bigint"),
        ("double", "real", "double"),
        ("decimal(10,2)", "decimal(12,2)", "decimal(12,2)"),
        ("decimal(10,2)", "decimal(12,4)", "varchar"),
        ("integer", "double", "varchar"),
        ("json", "varchar", "varchar"),
        ("date", "timestamp", "varchar"),
    ],
)
def test_types_that_meet(one: str, other: str, both: str) -> None:
    assert lub(one, other) == both


def test_only_what_iceberg_widens_is_wider() -> None:
    found = {(a, b) for a, b in itertools.permutations(TYPES, 2) if wider(a, b)}
    assert found == {("integer", "bigint"), ("real", "double"), ("decimal(10,2)", "decimal(12,2)")}


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [
        (Numbers(), "bigint"),
        (Numbers(18), "bigint"),
        (Numbers(19), "decimal(38,0)"),
        (Numbers(38), "decimal(38,0)"),
        (Numbers(1, 1), "decimal(38,2)"),
        (Numbers(36, 2), "decimal(38,2)"),
        (Numbers(36, 3), "varchar"),
        (Numbers(5, 9), "decimal(38,9)"),
        (Numbers(20, 18), "decimal(38,18)"),
        (Numbers(1, 19), "varchar"),
        (Numbers(1, 0, True), "varchar"),
    ],
)
def test_the_type_of_a_column_of_numbers(numbers: Numbers, kind: str) -> None:
    assert numbers.type == kind


def test_numbers_put_together_need_what_each_needs() -> None:
    assert Numbers(3, 0) | Numbers(1, 4) | Numbers(odd=True) == Numbers(3, 4, True)


def file(n: int, types: Mapping[str, str], *, full: bool = True, name: str | None = None) -> FileTypes:
    """The n-th file of the table."""
    moment = datetime(2026, 1, n, tzinfo=UTC)
    return FileTypes(name or f"202601{n:02}-000000000", json.dumps({"id": "bigint", **types}), moment, full)


def refused(*files: FileTypes, declared: Declared = ORDERS) -> dict[str, str]:
    """Rules by file name, the same for every order of the files."""
    (found,) = {
        tuple(sorted((name, refusal.rule) for (name, _), refusal in columns.judge(order, declared).items()))
        for order in itertools.permutations(files)
    }
    return dict(found)


def test_widened_and_added_columns_are_taken() -> None:
    files = (file(1, {"v": "integer"}), file(2, {"v": "bigint"}), file(3, {"v": "bigint", "w": "date"}))
    assert refused(*files) == {}
    assert columns.columns([f.types for f in files], {}, ORDERS) == {"id": "bigint", "v": "bigint", "w": "date"}


def test_a_narrowed_column_is_refused_until_its_type_is_declared() -> None:
    files = (file(1, {"v": "bigint"}), file(2, {"v": "integer"}), file(3, {"v": "bigint"}))
    assert refused(*files) == {files[1].file_name: columns.NARROWED}
    sentence = columns.judge(files, ORDERS)[files[1].file_name, files[1].types].sentence
    assert files[1].file_name in sentence and "v from bigint to integer" in sentence and "types" in sentence
    declared = replace(ORDERS, types={"v": "bigint"})
    assert refused(*files, declared=declared) == {}
    assert columns.columns([f.types for f in files], {}, declared)["v"] == "bigint"


def test_a_column_that_gives_place_to_another_may_have_been_renamed() -> None:
    files = (file(1, {"qty": "integer"}), file(2, {"quantity": "integer"}), file(3, {"qty": "integer"}))
    assert refused(*files) == {files[1].file_name: columns.RENAMED}
    assert "lacks qty and has quantity" in columns.judge(files, ORDERS)[files[1].file_name, files[1].types].sentence
    declared = replace(ORDERS, renames={"qty": "quantity"})
    assert refused(*files, declared=declared) == {}
    assert columns.columns([f.types for f in files], {}, declared) == {"id": "bigint", "quantity": "integer"}


def test_a_column_may_go_and_later_another_come() -> None:
    files = (file(1, {"v": "date", "w": "date"}), file(2, {"v": "date"}), file(3, {"v": "date", "x": "date"}))
    assert refused(*files) == {}


def test_a_file_of_deletes_may_lack_columns() -> None:
    assert refused(file(1, {"v": "date"}), file(2, {"w": "date"}, full=False)) == {}


def test_text_files_say_nothing_of_types() -> None:
    text = FileTypes("LOAD00000001", json.dumps({"id": "varchar", "v": "varchar"}), None, True)
    assert refused(text, file(1, {"v": "integer"}), file(2, {"v": "bigint"})) == {}
    assert columns.columns([text.types, file(1, {"v": "integer"}).types], {}, ORDERS)["v"] == "varchar"


def test_items_may_have_any_columns_of_any_type() -> None:
    types = [
        json.dumps(one) for one in ({"id": "number", "v": "number"}, {"id": "number", "v": "json"}, {"w": "binary"})
    ]
    assert columns.judge([FileTypes("", text, None, True) for text in types], CARTS) == {}
    found = columns.columns(types, {"id": Numbers(3)}, CARTS)
    assert found == {"id": "bigint", "v": "varchar", "w": "binary"} and next(iter(found)) == "id"


@pytest.mark.parametrize(
    ("text", "kind", "taken"),
    [
        ("12", "integer", True),
        ("12.0", "bigint", True),
        ("1.5", "integer", False),
        ("3000000000", "integer", False),
        ("1.25", "decimal(10,2)", True),
        ("1.2500", "decimal(10,2)", True),
        ("1.255", "decimal(10,2)", False),
        ("2026-01-02", "date", True),
        ("2026-01-02 00:00:00", "date", True),
        ("2026-01-02 10:00:00", "date", False),
        ("2026-01-02 10:00:00+00", "timestamptz", True),
        ("yes", "integer", False),
        ("AAE=", "binary", True),
        ("?", "binary", False),
        ("1e3", "double", True),
        ("x", "varchar", True),
    ],
)
def test_a_value_is_taken_as_it_is_or_not_at_all(text: str, kind: str, taken: bool) -> None:
    with duckdb.connect() as connection:
        (found,) = connection.execute(f"select {columns.exactly('t', kind)} from (select ? as t)", [text]).fetchone()
    assert (found is not None) == taken
