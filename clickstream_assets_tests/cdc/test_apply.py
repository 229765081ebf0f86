"""Applying changes: types, refusals, accounts, full loads, and which files are touched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from pyiceberg.expressions import EqualTo

from clickstream_assets.cdc import apply as applying
from clickstream_assets.cdc import merge as merging
from clickstream_assets.cdc import tables
from clickstream_assets.cdc.apply import Applied, Reconciled
from clickstream_assets.cdc.declared import DMS, DYNAMODB, Declared
from clickstream_assets.errors import ClickstreamError
from clickstream_assets.platform import Platform
from clickstream_assets.schemas import CDC_CHANGES, QUARANTINE
from clickstream_assets.storage.staged import Account, Staged
from clickstream_assets_tests.cdc.model import DAY, Change, found, model, ordered, publish, tables_of
from clickstream_assets_tests.conftest import Home, use_home

ORDERS = Declared(DMS, "orders", "orders", ("id",), schema="shop", complete_loads=True)
CARTS = Declared(DYNAMODB, "carts", "carts", ("id",))
HOUR = 3600


@pytest.fixture
def platform(home: Home) -> Platform:
    return home.platform


@pytest.fixture(params=["sqlite", "glue"])
def either(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """A lake in a folder, and one on S3 with the Glue catalog."""
    further = {}
    if request.param == "glue":
        request.getfixturevalue("on_glue")
        further = {"CLICKSTREAM_CATALOG": "glue", "CLICKSTREAM_LAKE_URI": request.getfixturevalue("s3_root")}
    return use_home(tmp_path / "home", monkeypatch, **further).platform


def change(
    n: int, types: dict[str, str] | None = None, /, *, op: str = "I", file: str | None = None, **row: Any
) -> Change:
    """The n-th change of a table: at the n-th second, in a file of its own."""
    told = {name: value if value is None else str(value) for name, value in row.items()}
    given = None if types is None else {"id": "bigint", **types}
    common = {"second": n, "number": n, "types": given}
    name = file or f"20260101-00000{n:04}"
    if op == "D":
        return Change("D", (told["id"],), name, n, before=told, **common)
    return Change(op, (told["id"],), name, n, after=told, kind="load" if op == "L" else "change", **common)


def take(platform: Platform, declared: Declared, *changes: Change, **options: Any) -> Applied:
    """Publish changes and apply them."""
    if changes:
        publish(platform.lake, declared.target, changes)
    done = applying.apply(platform, declared, run_id="a-run", **options)
    platform.lake.publish_quarantine(done.refused)
    assert not any(account.missing for account in done.accounts)
    return done


def rows(platform: Platform, declared: Declared) -> dict[str, dict[str, Any]]:
    return found(platform, declared)[0]


def values(platform: Platform, declared: Declared, column: str) -> list[Any]:
    return sorted(row[column] for row in rows(platform, declared).values())


def types(platform: Platform, declared: Declared) -> dict[str, str]:
    iceberg = platform.lake.iceberg(declared.name)
    own = set(tables.STATE)
    return {field.name: str(field.field_type) for field in iceberg.schema().fields if field.name not in own}


def quarantine(platform: Platform) -> list[tuple[str, str, str]]:
    content = [row for file in platform.lake.snapshot(QUARANTINE).files for row in _content(platform, file.uri)]
    return sorted((row["asset"], row["rule"], row["payload"]) for row in content)


def _content(platform: Platform, uri: str) -> list[dict[str, Any]]:
    with platform.lake.files.open_random(platform.lake.files.relative(uri)) as source:
        return pq.read_table(source, partitioning=None).to_pylist()


def files(platform: Platform, name: str) -> set[str]:
    return {task.file.file_path for task in platform.lake.iceberg(name).scan().plan_files()}


def test_without_changes_there_are_no_tables(platform: Platform) -> None:
    done = take(platform, ORDERS)
    assert (done.history, done.state, done.changes, done.accounts) == (None, None, 0, ())


def test_what_was_applied_is_not_applied_again(platform: Platform) -> None:
    first = take(platform, ORDERS, change(1, id=1, v="a"))
    again = take(platform, ORDERS)
    assert (again.history, again.state, again.changes) == (first.history, first.state, 0)
    assert again.accounts == first.accounts == (Account(DAY, 1, 1),)


def test_copies_are_counted_as_such(platform: Platform) -> None:
    one = change(1, id=1, v="a")
    take(platform, ORDERS, one)
    done = take(platform, ORDERS, replace(one, file="Z", day=DAY + timedelta(days=1)))
    assert done.accounts == (Account(DAY, 1, 1), Account(DAY + timedelta(days=1), 1, 0, duplicate=1))


@pytest.mark.parametrize("where", ["key = '[\"2\"]'", "key = '[\"1\"]' and op = 'I'"])
def test_a_change_that_gets_lost_does_not_pass_as_a_copy(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    one = change(1, id=1, v="a")
    take(platform, ORDERS, one)
    publish(platform.lake, "orders", [replace(one, file="Z"), change(2, op="U", id=1, v="b"), change(3, id=2, v="a")])
    whole = merging.Merge._parsed

    def parsed(self: merging.Merge, raw: Any, buckets: Any) -> str:
        return whole(self, raw, buckets, where=f" and not ({where})")

    monkeypatch.setattr(merging.Merge, "_parsed", parsed)
    with pytest.raises(ClickstreamError, match=r"Of 4 changes of cdc\.orders .* nothing was published"):
        applying.apply(platform, ORDERS, run_id="a-run")
    monkeypatch.undo()
    assert values(platform, ORDERS, "v") == ["a"]
    assert take(platform, ORDERS).accounts == (Account(DAY, 4, 3, duplicate=1),)
    assert values(platform, ORDERS, "v") == ["a", "b"]


def test_a_copy_that_comes_before_its_original_takes_its_place(platform: Platform) -> None:
    one = change(1, id=1, v="a")
    take(platform, ORDERS, one)
    done = take(platform, ORDERS, replace(one, file="0", day=DAY + timedelta(days=1)))
    assert done.accounts == (Account(DAY, 1, 0, duplicate=1), Account(DAY + timedelta(days=1), 1, 1))


def test_a_copy_is_none_any_more_once_something_came_between(platform: Platform) -> None:
    """All at one moment, without a number: their files tell their order."""
    ops = {"F1": ("I", "a"), "F2": ("U", "b"), "F3": ("D", "b"), "F4": ("U", "b")}
    changes = {file: replace(change(1, op=op, id=1, v=v, file=file), number=None) for file, (op, v) in ops.items()}
    take(platform, ORDERS, *(changes[file] for file in ("F1", "F2", "F4")))
    assert len(found(platform, ORDERS)[1]) == 2
    done = take(platform, ORDERS, changes["F3"])
    assert sorted(version.file for version in found(platform, ORDERS)[1]) == ["F1", "F2", "F3", "F4"]
    assert done.accounts == (Account(DAY, 4, 4),)


def test_numbers_get_a_type_that_holds_them(either: Platform) -> None:
    kinds = {"id": "number", "n": "number", "m": "number"}
    take(either, CARTS, change(1, kinds, id=1, n=5, m=1))
    assert types(either, CARTS) == {"id": "long", "m": "long", "n": "long"}
    done = take(either, CARTS, change(2, kinds, id=2, n="0.125", m="1" * 30))
    assert done.rebuilt
    assert types(either, CARTS) == {"id": "long", "m": "decimal(38, 0)", "n": "decimal(38, 4)"}
    assert values(either, CARTS, "n") == [Decimal("0.125"), Decimal(5)]
    assert values(either, CARTS, "m") == [Decimal(1), Decimal("1" * 30)]
    take(either, CARTS, change(3, {**kinds, "n": "varchar"}, id=3, n="many", m=3))
    assert values(either, CARTS, "n") == ["0.125", "5", "many"]


def test_numbers_of_a_column_that_had_another_name_count_too(platform: Platform) -> None:
    declared = replace(CARTS, renames={"old" * 22: "n"})
    kinds = {"id": "number"}
    take(
        platform,
        declared,
        change(1, kinds | {"old" * 22: "number"}, id=1, **{"old" * 22: "1.5"}),
        change(2, kinds | {"n": "number"}, id=2, n=2),
    )
    assert values(platform, declared, "n") == [Decimal("1.5"), Decimal(2)]


def test_an_older_snapshot_of_a_column_with_another_type_is_still_read(either: Platform) -> None:
    take(either, CARTS, change(1, {"id": "number", "n": "number"}, id=1, n=5))
    iceberg = either.lake.iceberg(CARTS.name)
    before = iceberg.current_snapshot().snapshot_id
    take(either, CARTS, change(2, {"id": "number", "n": "varchar"}, id=2, n="x"))
    then = either.lake.iceberg(CARTS.name).scan(snapshot_id=before).to_arrow().to_pylist()
    assert [row["n"] for row in then] == [5]


def test_columns_are_widened_and_added_without_writing_rows_again(either: Platform) -> None:
    take(either, ORDERS, change(1, {"v": "integer", "r": "real"}, id=1, v=5, r="0.1"))
    before = files(either, ORDERS.name)
    done = take(
        either, ORDERS, change(2, {"v": "bigint", "r": "double", "w": "date"}, id=3, v=2**40, r="0.1", w="2026-01-01")
    )
    assert not done.rebuilt and before < files(either, ORDERS.name), "both keys would be in one bucket"
    assert types(either, ORDERS) == {"id": "long", "v": "long", "r": "double", "w": "date"}
    there = rows(either, ORDERS)
    assert [row["w"] for _, row in sorted(there.items())] == [None, date(2026, 1, 1)]
    assert take(either, ORDERS, replay=True).rebuilt
    assert rows(either, ORDERS) == there, "what was a real is the same number when it is read again"


def test_every_type_comes_through(platform: Platform) -> None:
    kinds = {
        "a": "varchar", "b": "boolean", "c": "integer", "d": "double", "e": "decimal(20,3)", "f": "date",
        "g": "timestamp", "h": "timestamptz", "i": "json", "j": "binary", "k": "real",
    }  # fmt: skip
    told = {
        "a": "x", "b": "true", "c": "7", "d": "1.5", "e": "12345678901234567.125", "f": "2026-01-02",
        "g": "2026-01-02 03:04:05.000006", "h": "2026-01-02 03:04:05.000006+00", "i": '{"x": [1]}', "j": "AAE=",
        "k": "1.5",
    }  # fmt: skip
    take(platform, ORDERS, change(1, kinds, id=1, **told), change(2, kinds, id=2, **dict.fromkeys(told)))
    (row, nothing) = (row for _, row in sorted(rows(platform, ORDERS).items()))
    assert nothing == {"id": 2, **dict.fromkeys(told)}
    moment = datetime(2026, 1, 2, 3, 4, 5, 6)
    assert row == {
        "id": 1, "a": "x", "b": True, "c": 7, "d": 1.5, "e": Decimal("12345678901234567.125"), "f": date(2026, 1, 2),
        "g": moment, "h": moment.replace(tzinfo=UTC), "i": '{"x": [1]}', "j": b"\x00\x01", "k": 1.5,
    }  # fmt: skip


def test_a_narrowed_column_waits_until_it_is_declared(either: Platform) -> None:
    narrowed = change(2, {"v": "integer"}, id=2, v=7)
    done = take(either, ORDERS, change(1, {"v": "bigint"}, id=1, v=2**40), narrowed)
    assert values(either, ORDERS, "v") == [2**40]
    assert done.accounts == (Account(DAY, 2, 1, rejected=1),)
    assert [refusal.rule for refusal in done.refusals] == ["narrowed_column"]
    (kept,) = quarantine(either)
    assert kept[:2] == ("cdc.orders", "narrowed_column") and '"v":"7"' in kept[2].replace(" ", "")
    declared = replace(ORDERS, types={"v": "bigint"})
    done = take(either, declared)
    assert done.rebuilt and values(either, ORDERS, "v") == [7, 2**40]
    assert done.accounts == (Account(DAY, 2, 2),) and quarantine(either) == []


def test_an_older_file_that_comes_later_may_change_the_verdict_of_another(platform: Platform) -> None:
    """By then it was the first one, and had nothing to be compared with."""
    take(platform, ORDERS, change(2, {"v": "integer"}, id=2, v=7))
    done = take(platform, ORDERS, change(1, {"v": "bigint"}, id=1, v=1))
    assert done.rebuilt and values(platform, ORDERS, "v") == [1]
    assert done.accounts == (Account(DAY, 2, 1, rejected=1),)


def test_a_renamed_column_waits_until_it_is_declared(platform: Platform) -> None:
    take(platform, ORDERS, change(1, {"qty": "integer"}, id=1, qty=1))
    done = take(platform, ORDERS, change(2, {"quantity": "integer"}, id=2, quantity=2))
    assert [kept[1] for kept in quarantine(platform)] == ["renamed_column"] and len(done.refusals) == 1
    take(platform, replace(ORDERS, renames={"qty": "quantity"}))
    assert values(platform, ORDERS, "quantity") == [1, 2] and quarantine(platform) == []


def test_a_value_that_is_none_of_its_declared_type_is_refused_alone(platform: Platform) -> None:
    declared = replace(ORDERS, types={"v": "integer"})
    done = take(platform, declared, change(1, id=1, v="1"), change(2, id=2, v="1.5"), change(3, id=3, v="x"))
    assert values(platform, declared, "v") == [1] and done.accounts == (Account(DAY, 3, 1, rejected=2),)
    assert [kept[1] for kept in quarantine(platform)] == ["bad_value"] * 2


def test_a_delete_with_a_bad_value_deletes(platform: Platform) -> None:
    declared = replace(ORDERS, types={"v": "integer"})
    take(platform, declared, change(1, id=1, v="1"), change(2, op="D", id=1, v="x"))
    assert rows(platform, declared) == {}


def test_what_is_refused_of_persons_is_not_kept(platform: Platform) -> None:
    declared = replace(ORDERS, types={"v": "integer"}, personal=("v",))
    take(platform, declared, change(1, id=1, v="somebody"))
    (kept,) = quarantine(platform)
    assert "somebody" not in kept[2] and "personal" in kept[2]


def test_rows_that_a_load_lacks_were_deleted_by_then(platform: Platform) -> None:
    load = [change(n, op="L", id=n, v="a", file="LOAD00000001") for n in (10, 11)]
    done = take(platform, ORDERS, change(1, id=10, v="a"), change(2, id=12, v="a"), change(30, id=13, v="a"), *load)
    assert sorted(rows(platform, ORDERS)) == ['["10"]', '["11"]', '["13"]']
    (absent,) = (v for v in found(platform, ORDERS)[1] if v.reason == "absent_from_load")
    assert absent.key == '["12"]' and absent.open
    assert done.reconciled == (
        Reconciled("2026-01-01T00:00:10+00:00", ranges(10, 11, 12), ranges(11, 12), 0, 1, 1, first=True),
    ), "11 was missing and 12 unexpected; 13 came after the load"
    done = take(platform, ORDERS, change(20, op="U", id=12, v="b"))
    assert sorted(rows(platform, ORDERS)) == ['["10"]', '["11"]', '["12"]', '["13"]'], "it was there after all"


def ranges(*keys: int) -> int:
    """How many buckets the keys are in."""
    return len({tables.bucket(f'["{key}"]') for key in keys})


def test_a_load_of_which_a_file_is_refused_deletes_nothing(platform: Platform) -> None:
    take(platform, ORDERS, *(change(n, {"v": "bigint"}, id=n, v=n) for n in (1, 2, 3)))
    load = [
        change(HOUR + n, {"v": kind}, op="L", id=n, v=n, file=f"LOAD0000000{n}")
        for n, kind in ((1, "bigint"), (2, "integer"))
    ]
    done = take(platform, ORDERS, *load)
    assert [refusal.rule for refusal in done.refusals] == ["narrowed_column"] and done.reconciled == ()
    assert values(platform, ORDERS, "v") == [1, 2, 3]
    take(platform, replace(ORDERS, types={"v": "bigint"}))
    assert values(platform, ORDERS, "v") == [1, 2]


def test_a_load_is_compared_with_what_was_known_before_it_whenever_that_came(platform: Platform) -> None:
    load = [change(HOUR + n, op="L", id=n, v="a", file="LOAD00000001") for n in (1, 2)]
    first = take(platform, ORDERS, change(2 * HOUR, op="U", id=1, v="c"), *load).reconciled
    assert first == (Reconciled("2026-01-01T01:00:01+00:00", ranges(2), ranges(2), 0, 1, 0, first=True),)
    (one,) = (row for row in rows(platform, ORDERS).values() if row["id"] == "1")
    assert one["v"] == "c"
    again = [change(5 * HOUR + n, op="L", id=n, v=v, file="LOAD00000002") for n, v in ((1, "c"), (2, "b"), (3, "a"))]
    before = [change(4 * HOUR, op="U", id=2, v="b"), change(4 * HOUR, id=3, v="a"), change(4 * HOUR, id=4, v="a")]
    midst = replace(change(5 * HOUR + 2, op="U", id=1, v="d"), file="20260101-050000000")
    done = take(platform, ORDERS, *again, *before, midst, change(6 * HOUR, op="D", id=4))
    told = Reconciled("2026-01-01T05:00:01+00:00", ranges(2, 3), 0, 0, 0, 0)
    assert done.reconciled == (told,), "what came with it had happened before, and 1 and 4 changed since it began"
    assert values(platform, ORDERS, "v") == ["a", "b", "d"]


@pytest.mark.parametrize("declared", [ORDERS, CARTS], ids=["dms", "dynamodb"])
def test_a_load_without_a_place_finds_nothing(platform: Platform, declared: Declared) -> None:
    """All that is known came after it, so that nothing can be missing."""
    take(platform, declared, change(1, id=1, v="a"), change(2, id=2, v="a"))
    load = [replace(change(n, op="L", id=n, v="b", file="LOAD1"), second=None, number=None) for n in (2, 3)]
    if declared is CARTS:
        load = [replace(one, number=0) for one in load]
    (told,) = take(platform, declared, *load).reconciled
    assert told.first and told.differing_after == 0 and values(platform, declared, "v") == ["a", "a", "b"]


def test_a_scan_is_compared_with_the_changes_up_to_its_number(platform: Platform) -> None:
    take(platform, CARTS, *(change(n, id=n, v="a") for n in (1, 2, 3)))
    scan = [replace(change(9, op="L", id=n, v="a", file=f"scan-{n}"), number=3) for n in (1, 3, 4, 5)]
    (told,) = take(platform, CARTS, *scan, change(5, id=5, v="a")).reconciled
    (ranges_of, differing) = (ranges(1, 2, 3, 4), ranges(2, 4))
    assert told == Reconciled(told.load, ranges_of, differing, 0, missing=1, unexpected=1), "5 came after 3"


def test_a_load_that_finds_what_is_there_says_so(either: Platform) -> None:
    take(either, ORDERS, *(change(n, id=n, v="a") for n in (1, 2, 3)))
    load = [change(HOUR + n, op="L", id=n, v="a", file="LOAD00000001") for n in (1, 2, 3)]
    done = take(either, ORDERS, *load)
    assert done.reconciled == (Reconciled("2026-01-01T01:00:01+00:00", ranges(1, 2, 3), 0, 0, 0, 0),)
    other = [change(4 * HOUR + n, op="L", id=n, v="b" if n == 1 else "a", file="LOAD00000002") for n in (1, 2, 4)]
    done = take(either, ORDERS, *other)
    assert done.reconciled == (
        Reconciled("2026-01-01T04:00:01+00:00", ranges(1, 2, 3, 4), ranges(1, 3, 4), 0, missing=1, unexpected=1),
    )
    assert sorted(rows(either, ORDERS)) == ['["1"]', '["2"]', '["4"]']


def test_a_key_that_changed_is_followed_or_told(platform: Platform) -> None:
    moved = replace(change(2, op="U", id=2, v="a"), old_key=("1",), before={"id": "1", "v": "a"})
    assert take(platform, ORDERS, change(1, id=1, v="a"), moved).warnings == ()
    assert list(rows(platform, ORDERS)) == ['["2"]']
    done = take(platform, ORDERS, change(3, op="U", id=3, v="a"))
    assert "1 updates of keys that were never inserted" in done.warnings[0]
    assert take(platform, ORDERS, change(4, op="U", id=3, v="b")).warnings == ()


def of_bucket(bucket: int, count: int) -> Iterable[int]:
    keys = (n for n in range(10_000) if tables.bucket(f'["{n}"]') == bucket)
    return [next(keys) for _ in range(count)]


def test_a_batch_touches_the_files_of_its_buckets_only(platform: Platform) -> None:
    take(platform, ORDERS, *(change(n, id=n, v="a", file="F") for n in range(1, 200)))
    before = {name: files(platform, name) for name in ("cdc.orders", "cdc.orders_history")}
    assert len(before["cdc.orders"]) == tables.BUCKETS
    take(platform, ORDERS, *(change(1000 + n, op="U", id=n, v="b", file="G") for n in of_bucket(3, 5)))
    after = {name: files(platform, name) for name in before}
    assert len(before["cdc.orders"] - after["cdc.orders"]) == len(after["cdc.orders"] - before["cdc.orders"]) == 1
    assert len(before["cdc.orders_history"] - after["cdc.orders_history"]) == 1
    assert len(after["cdc.orders_history"] - before["cdc.orders_history"]) == 2, (
        "the newest versions and the older ones"
    )


def test_another_partition_column_moves_the_rows(either: Platform) -> None:
    changes = [change(n, id=n, v="ab"[n % 2]) for n in range(1, 6)]
    take(either, ORDERS, *changes)
    declared = replace(ORDERS, partition_by="v")
    take(either, declared, change(9, op="U", id=1, v="a"))
    assert len(files(either, ORDERS.name)) == 2
    state, _ = model([*changes, change(9, op="U", id=1, v="a")], declared, ["id", "v"])
    assert rows(either, declared) == state


def test_a_table_is_partitioned_by_a_column_as_soon_as_it_is_there(platform: Platform) -> None:
    declared = replace(ORDERS, partition_by="region")
    done = take(platform, declared, change(1, id=1), change(2, id=2))
    assert "partitioned by region, and no change has this column" in done.warnings[0]
    assert take(platform, declared, change(3, id=3, region="eu")).warnings == ()
    assert values(platform, declared, "id") == ["1", "2", "3"] and len(files(platform, declared.name)) == 2
    changed = replace(declared, types={"region": "integer"})
    with pytest.raises(ClickstreamError, match="partitioned by region, whose type changes to integer: declare another"):
        take(platform, changed)


def test_a_process_that_dies_between_the_commits_leaves_work_for_the_next(platform: Platform) -> None:
    take(platform, ORDERS, change(1, id=1, v="a"))
    publish(platform.lake, "orders", [change(2, op="U", id=1, v="b")])

    def die(line: str) -> None:
        raise KeyboardInterrupt(line)

    with pytest.raises(KeyboardInterrupt, match="changes applied"):
        applying.apply(platform, ORDERS, run_id="killed", progress=die)
    assert values(platform, ORDERS, "v") == ["a"]
    assert take(platform, ORDERS).changes == 0
    assert values(platform, ORDERS, "v") == ["b"]


def test_a_table_that_others_change_meanwhile_is_looked_at_again(platform: Platform) -> None:
    take(platform, ORDERS, change(1, id=1, v="a"), change(2, id=2, v="a"))
    publish(platform.lake, "orders", [change(3, op="U", id=1, v="b")])

    def interfere(line: str) -> None:
        if line.endswith("changes applied"):
            other = tables.CdcTable.find(platform.lake, ORDERS.name)
            other.commit(other.files(), [], {}, run_id="another")

    done = applying.apply(platform, ORDERS, run_id="a-run", progress=interfere)
    assert values(platform, ORDERS, "v") == ["a", "b"]
    assert done.state == platform.lake.iceberg(ORDERS.name).current_snapshot().snapshot_id


@pytest.mark.parametrize("suffix", ["", "_history"])
def test_a_table_that_was_dropped_is_made_again(platform: Platform, suffix: str) -> None:
    take(platform, ORDERS, change(1, id=1, v="a"))
    before = found(platform, ORDERS)
    platform.lake._catalog.drop_table(f"{ORDERS.name}{suffix}")
    take(platform, ORDERS)
    assert found(platform, ORDERS) == before
    take(platform, ORDERS, change(2, op="U", id=1, v="b"))
    assert values(platform, ORDERS, "v") == ["b"]


def test_raw_rows_that_were_taken_away_are_gone_here_too(platform: Platform) -> None:
    take(platform, ORDERS, change(1, id=1, v="a"), replace(change(2, id=2, v="a"), day=DAY + timedelta(days=1)))
    platform.lake.publish(Staged(CDC_CHANGES, [DAY], (), (), (), "a-run"))
    done = take(platform, ORDERS)
    assert done.rebuilt and list(rows(platform, ORDERS)) == ['["2"]']
    assert done.accounts == (Account(DAY + timedelta(days=1), 1, 1),)


def test_when_all_raw_rows_are_taken_away_the_tables_are_empty(platform: Platform) -> None:
    take(platform, ORDERS, change(1, id=1, v="a"))
    platform.lake.publish(Staged(CDC_CHANGES, [DAY], (), (), (), "a-run"))
    assert take(platform, ORDERS).rebuilt
    assert tables_of(platform, ORDERS) == ([], [])
    take(platform, ORDERS, change(2, id=2, v="b"))
    assert values(platform, ORDERS, "v") == ["b"]


def test_when_all_changes_are_refused_nothing_is_done_again(platform: Platform) -> None:
    declared = replace(ORDERS, types={"v": "integer"})
    done = take(platform, declared, change(1, id=1, v="x"))
    assert done.accounts == (Account(DAY, 1, 0, rejected=1),)
    assert not take(platform, declared).rebuilt


def test_a_rebuild_that_was_asked_for_happens_once(platform: Platform) -> None:
    applying.request_rebuild(platform.lake, ORDERS)  # nothing to make anew
    take(platform, ORDERS, change(1, id=1, v="a"))
    applying.request_rebuild(platform.lake, ORDERS)
    before = found(platform, ORDERS)
    assert take(platform, ORDERS).rebuilt and not take(platform, ORDERS).rebuilt
    assert found(platform, ORDERS) == before


def test_columns_with_the_names_of_files_old_and_new(platform: Platform) -> None:
    """A column that comes later is null in rows of older files, also when their file is written again."""
    keys = list(of_bucket(5, 3))
    take(platform, ORDERS, *(change(n, id=key, v="a") for n, key in enumerate(keys, start=1)))
    take(platform, ORDERS, change(10, op="U", id=keys[0], v="b", w="x"))
    state, history = tables_of(platform, ORDERS)
    assert sorted(str(row["w"]) for row in state) == ["None", "None", "x"]
    assert len(history) == 4


def test_the_history_of_a_table_is_the_models(platform: Platform) -> None:
    changes = [change(1, id=1, v="a"), change(2, op="U", id=1, v="b"), change(3, op="D", id=1), change(4, id=1, v="c")]
    take(platform, ORDERS, *changes)
    state, history = model(changes, ORDERS, ["id", "v"])
    assert (rows(platform, ORDERS), ordered(found(platform, ORDERS)[1])) == (state, ordered(history))


def test_columns_may_have_any_names(platform: Platform) -> None:
    """Those of the raw table, and of what the merge needs."""
    names = [*CDC_CHANGES.arrow.names, "n", "t", "h", "filename", "op_", "_key_", "of", "select", "keys", "number"]
    take(platform, ORDERS, change(1, None, id=1, **{name: f"{name}'s" for name in names if name != "op"}))
    load = Change("L", ("1",), "LOAD1", 1, {"id": "1", "key": "new"}, second=2, kind="load")
    take(platform, ORDERS, load, Change("L", ("2",), "LOAD1", 2, {"id": "2", "t": "x"}, second=2, kind="load"))
    take(platform, ORDERS, Change("L", ("2",), "LOAD2", 1, {"id": "2", "t": "y"}, second=2 * HOUR, kind="load"))
    (row,) = rows(platform, ORDERS).values()
    assert row["t"] == "y" and row["key"] is None


def test_the_tables_are_shown_as_they_are(platform: Platform) -> None:
    assert tables.shown(platform.lake, ORDERS.name) is None
    take(platform, ORDERS, change(1, {"v": "integer"}, id=1, v=1), change(2, {"v": "bigint"}, id=2, v=2))
    sql = tables.shown(platform.lake, ORDERS.name)
    with duckdb.connect() as connection:
        shown = connection.execute(f"select id, v, _changed_at is null from ({sql}) order by id").fetchall()
    assert shown == [(1, 1, False), (2, 2, False)]


@pytest.mark.parametrize(
    ("kind", "values_of"),
    [
        ("date", ("2026-01-02", "1969-12-31")),
        ("integer", ("1", "-1")),
        ("bigint", ("5000000000", "1")),
        ("boolean", ("true", "false")),
        ("decimal(10,2)", ("1.25", "-3.00")),
        ("decimal(38,2)", ("1.25", "-3.00")),
        ("timestamp", ("2026-01-02 03:04:05.000006", "1969-12-31 00:00:00")),
        ("timestamptz", ("2026-01-02 03:04:05.000006+00", "2026-01-02 00:00:00+00")),
        ("varchar", ("é" * 40, "a/b=c 'd'")),
    ],
)
def test_the_rows_may_be_partitioned_by_a_column_of_any_type(
    platform: Platform, kind: str, values_of: tuple[str, str]
) -> None:
    declared = replace(ORDERS, partition_by="p")
    changes = [change(n, {"p": kind}, id=n, p=value) for n, value in enumerate((*values_of, None), start=1)]
    take(platform, declared, *changes)
    iceberg = platform.lake.iceberg(declared.name)
    rows = {row["id"]: row["p"] for row in iceberg.scan().to_arrow().to_pylist()}
    assert len(rows) == len(list(iceberg.scan().plan_files())) == 3 and rows[3] is None
    first = EqualTo("p", literal_of(rows[1]))
    assert [row["id"] for row in iceberg.scan(first).to_arrow().to_pylist()] == [1]
    assert len(list(iceberg.scan(first).plan_files())) == 1, "the other partitions are not opened"
    take(platform, declared, change(9, {"p": kind}, op="U", id=1, p=values_of[1]))
    assert [row["id"] for row in iceberg.refresh().scan(first).to_arrow().to_pylist()] == []


def literal_of(value: Any) -> Any:
    """A value as a filter of pyiceberg takes it."""
    return value.isoformat() if isinstance(value, date) else value


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_of_dynamodb_no_version_begins_before_the_one_that_precedes_it(
    platform: Platform, order: tuple[int, ...]
) -> None:
    """The items of a resync have the time of the scan, and the changes that follow may be older."""
    told = [("I", 0, 10), ("L", 60, 10), ("U", 30, 20)]  # operation, minute, sequence
    changes = [
        Change(
            *(op, ("1",), f"{n}.json", 1),
            after={"id": "1", "v": str(n)},
            kind="load" if op == "L" else "change",
            second=60 * minute,
            number=number,
            types={"id": "varchar", "v": "varchar"},
        )
        for n, (op, minute, number) in enumerate(told)
    ]
    for n in order:
        take(platform, CARTS, changes[n])
    _, history = found(platform, CARTS)
    hours = [(v.op, v.valid_from.hour, v.valid_to and v.valid_to.hour) for v in sorted(history, key=lambda v: v.file)]
    assert hours == [("I", 0, 1), ("L", 1, 1), ("U", 1, None)]


def test_of_dms_a_load_deletes_what_it_has_not_only_where_it_is_declared_complete(platform: Platform) -> None:
    """What it lacks may be in a file that is still to come; the comparison counts it all the same."""
    told = replace(ORDERS, complete_loads=False)
    take(platform, told, change(1, id=1, v="a"), change(2, id=2, v="b"))
    done = take(platform, told, change(9, op="L", file="LOAD00000001", id=2, v="b"))
    assert rows(platform, told).keys() == {'["1"]', '["2"]'}
    assert [load.unexpected for load in done.reconciled] == [1]
    assert take(platform, ORDERS).rebuilt, "a declaration that says more is followed at once"
    assert rows(platform, ORDERS).keys() == {'["2"]'}
