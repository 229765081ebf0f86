"""Landing to ``cdc_raw.changes`` through a real lake and the real books: days, copies, replacements, accounts."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickstream_assets.cdc import loading
from clickstream_assets.cdc.declared import Declared
from clickstream_assets.cdc.loading import Loading
from clickstream_assets.parsing.rows import WITHHELD
from clickstream_assets.platform import Platform
from clickstream_assets.schemas import CDC_CHANGES, QUARANTINE
from clickstream_assets.storage import publishing
from clickstream_assets.storage.staged import Account
from clickstream_assets_tests.conftest import Home

CARTS = Declared("dynamodb", "carts", "carts", ("cart_id",))
ORDERS = Declared("dms", "orders", "shop_orders", ("id",), schema="shop", columns=("id", "name"))
PEOPLE = Declared("dms", "people", "people", ("id",), schema="shop", columns=("id", "email"), personal=("email",))
DECLARED = (CARTS, ORDERS, PEOPLE)

ONE, TWO, THREE = date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 3)
FIRST, SECOND = "20240101-120000000.csv", "20240101-120500000.csv"
REJECT = ("source_line", "rule", "payload")
OF_CARTS = "cdc/dynamodb/carts/year=2024/month=01/day=01"


class Sources:
    """A home with files of changes: land, load, look."""

    def __init__(self, home: Home):
        self.home = home
        self.runs = 0
        self.said: list[str] = []

    @property
    def platform(self) -> Platform:
        return self.home.platform

    def put(self, path: str, content: str | bytes) -> Path:
        file = self.home.path / "landing" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def orders(self, name: str, content: str | bytes) -> Path:
        return self.put(f"cdc/dms/shop/orders/{name}", content)

    def carts(self, name: str, *keys: str, sequence: int = 1) -> Path:
        records = (
            {"eventName": "INSERT", "dynamodb": {"Keys": {"cart_id": {"S": key}}, "SequenceNumber": str(sequence + n)}}
            for n, key in enumerate(keys)
        )
        content = "".join(f"{json.dumps(one)}\n" for one in records).encode()
        return self.put(f"{OF_CARTS}/{name}", gzip.compress(content, mtime=0) if name.endswith(".gz") else content)

    def load(self, today: date = ONE, declared: Sequence[Declared] = DECLARED) -> Loading:
        """Stage and publish; nothing is published where there is nothing new. Every account must balance."""
        self.runs += 1
        platform = self.platform
        with platform.exclusive("cdc", "a test"):
            loaded = loading.stage(
                platform, declared, run_id=f"run-{self.runs}", today=today, progress=self.said.append
            )
            assert [account.missing for account in loaded.staged.accounts] == [0] * len(loaded.staged.days)
            if loaded.staged.days:
                publishing.publish(platform.lake, platform.warehouse, loaded.staged)
        return loaded

    def changes(self, *names: str) -> list[tuple[Any, ...]]:
        """Some columns of all changes, sorted."""
        platform, found = self.platform, []
        for file in platform.lake.snapshot(CDC_CHANGES).files:
            with platform.lake.files.open_random(platform.lake.files.relative(file.uri)) as source:
                rows = pq.read_table(source, partitioning=None).to_pylist()
            assert {(row["target"], row["first_seen"]) for row in rows} == {(file.partition[0], file.day)}
            found += [tuple(row[name] for name in names) for row in rows]
        return sorted(found, key=repr)

    def status(self) -> list[tuple[Any, ...]]:
        return self.home.query("select split_part(path, '/', -1), status, rows from ops.landing_files order by path")

    def rejects(self) -> list[tuple[Any, ...]]:
        platform, found = self.platform, []
        for file in platform.lake.snapshot(QUARANTINE).files:
            with platform.lake.files.open_random(platform.lake.files.relative(file.uri)) as source:
                rows = pq.read_table(source, partitioning=None).to_pylist()
            found += [
                (row["source_file"].split("/")[-1], row["source_line"], row["rule"], row["payload"]) for row in rows
            ]
        return sorted(found, key=repr)


@pytest.fixture
def sources(home: Home) -> Sources:
    return Sources(home)


def test_each_table_is_read_in_its_own_way(sources: Sources) -> None:
    sources.carts("a.json.gz", "c1", "c2")
    sources.orders("LOAD00000001.csv", "id,name\n1,Ann\n")
    sources.orders(FIRST, "U,1,Bob\n")
    sink = io.BytesIO()
    pq.write_table(pa.table({"Op": ["I"], "id": [7], "email": ["a"]}), sink)
    sources.put("cdc/dms/shop/people/20240101-120000000.parquet", sink.getvalue())
    loaded = sources.load()
    assert loaded.rewritten == frozenset()
    assert loaded.staged.accounts == [Account(ONE, 5, 5)]
    assert sources.changes("target", "kind", "op", "key", "file_name", "source_line") == [
        ("carts", "change", "I", '["c1"]', "a.json.gz", 1),
        ("carts", "change", "I", '["c2"]', "a.json.gz", 2),
        ("people", "change", "I", '["7"]', "20240101-120000000.parquet", 1),
        ("shop_orders", "change", "U", '["1"]', FIRST, 1),
        ("shop_orders", "load", "L", '["1"]', "LOAD00000001.csv", 2),
    ]
    assert sources.home.ledger("cdc_raw.changes", "2024-01-01") == (5, 5, 0, 0, 0, 0)
    # Of each target a file of its own: whoever applies changes reads those of one table.
    assert len(loaded.staged.files) == 3


def test_nothing_new_is_nothing_to_publish_and_new_files_have_the_day_of_their_arrival(sources: Sources) -> None:
    sources.orders(FIRST, "I,1,Ann\n")
    first = sources.load(ONE)
    (kept,) = first.staged.files
    assert sources.load(TWO).staged.days == []
    sources.orders(SECOND, "U,1,Bob\n")
    second = sources.load(TWO)
    assert (list(second.staged.days), second.staged.kept, second.rewritten) == ([TWO], [], frozenset())
    sources.carts("a.json", "c1")
    third = sources.load(TWO)
    # What was published of the day stays as it is: the new file is put beside it.
    assert [file.rows for file in third.staged.files] == [1]
    assert third.staged.kept == second.staged.files
    assert third.staged.accounts == [Account(TWO, 2, 2)]
    assert [file.path for file in first.staged.files] == [kept.path]
    assert sources.changes("first_seen", "target") == [(ONE, "shop_orders"), (TWO, "carts"), (TWO, "shop_orders")]


def test_a_file_that_is_replaced_keeps_its_day_and_its_target_is_told(sources: Sources) -> None:
    sources.orders(FIRST, "I,1,Ann\n")
    sources.carts("a.json", "c1")
    sources.load(ONE)
    sources.orders(FIRST, "I,1,Anna\nI,2,Bob\n")
    loaded = sources.load(TWO)
    assert list(loaded.staged.days) == [ONE]
    assert loaded.rewritten == {"shop_orders"}
    assert sources.changes("target", "key", "first_seen") == [
        ("carts", '["c1"]', ONE),
        ("shop_orders", '["1"]', ONE),
        ("shop_orders", '["2"]', ONE),
    ]
    assert [json.loads(row[0])["name"] for row in sources.changes("after") if "name" in row[0]] == ["Anna", "Bob"]


def test_a_copy_counts_once(sources: Sources) -> None:
    sources.carts("b.json", "c1")
    sources.load(ONE)
    sources.carts("c.json", "c1")
    assert sources.load(TWO).rewritten == frozenset()
    assert sources.status() == [("b.json", "loaded", 1), ("c.json", "duplicate_file", 0)]
    # It is found on a later day, so the first one stands for the content whatever it is called.
    sources.carts("a.json", "c1")
    assert sources.load(TWO).rewritten == frozenset()
    assert len(sources.changes("key")) == 1
    # When the content that was copied is another one, the first of the copies stands for the old one.
    sources.carts("b.json", "c9")
    assert sources.load(THREE).rewritten == {"carts"}
    assert sources.changes("key", "first_seen", "file_name") == [
        ('["c1"]', TWO, "a.json"),
        ('["c9"]', ONE, "b.json"),
    ]


def test_equal_contents_are_no_copies_where_the_name_says_when_it_was(sources: Sources) -> None:
    # Ann, Bob, and Ann again: to leave the last one out would leave Bob.
    sources.orders(FIRST, "U,1,Ann\n")
    sources.orders("20240101-120100000.csv", "U,1,Bob\n")
    sources.orders(SECOND, "U,1,Ann\n")
    sources.orders(f"again/{SECOND}", "U,1,Ann\n")
    sources.load()
    assert len(sources.changes("key")) == 3
    # Nor are files of different tables.
    sources.put(f"cdc/dms/shop/people/{FIRST}", "U,1,Ann\n")
    sources.load()
    assert len(sources.changes("key")) == 4
    # Of a full load nothing depends on the name.
    sources.orders("LOAD00000001.csv", "5,Eve\n")
    sources.orders("LOAD00000002.csv", "5,Eve\n")
    sources.load()
    assert len(sources.changes("key")) == 5


def test_a_file_that_is_gone_keeps_its_changes(sources: Sources) -> None:
    path = sources.orders(FIRST, "I,1,Ann\n")
    sources.load(ONE)
    path.unlink()
    assert sources.load(TWO).staged.days == []
    sources.orders(SECOND, "I,2,Bob\n")
    sources.load(ONE)
    assert len(sources.changes("key")) == 2
    assert sources.home.ledger("cdc_raw.changes", "2024-01-01") == (2, 2, 0, 0, 0, 0)


def test_a_changed_declaration_reads_the_files_of_its_table_again(sources: Sources) -> None:
    sources.orders(FIRST, "I,1,Ann\n")
    sources.orders("oddly named.csv", "I,1,Ann\n")
    sources.carts("a.json", "c1")
    sources.load(ONE)
    renamed = (CARTS, replace(ORDERS, columns=("name", "id")))
    loaded = sources.load(TWO, renamed)
    assert list(loaded.staged.days) == [ONE]
    assert loaded.rewritten == {"shop_orders"}
    assert sources.changes("target", "key") == [("carts", '["c1"]'), ("shop_orders", '["Ann"]')]
    # A new name here: what was made of the old one is to be made anew, too.
    moved = (CARTS, replace(ORDERS, columns=("name", "id"), target="orders"))
    assert sources.load(TWO, moved).rewritten == {"shop_orders"}
    assert sources.changes("target", "key") == [("carts", '["c1"]'), ("orders", '["Ann"]')]
    # What does not matter to the rows here reads nothing again.
    typed = (CARTS, replace(moved[1], types={"id": "bigint"}, partition_by="name"))
    assert sources.load(TWO, typed).staged.days == []


def test_files_of_tables_that_nobody_declared_are_named_and_left_alone(sources: Sources) -> None:
    sources.orders(FIRST, "I,1,Ann\n")
    sources.put("cdc/dms/shop/secrets/LOAD00000001.csv", "1\n")
    sources.put("cdc/readme.txt", "x")
    sources.load()
    assert any("cdc/dms/shop/secrets" in line and "cdc/readme.txt" in line for line in sources.said)
    assert [name for name, _, _ in sources.status()] == [FIRST]
    # One that is not declared any more keeps its changes, also where others of the day are read again.
    sources.carts("a.json", "c1")
    sources.load(ONE)
    sources.carts("a.json", "c2")
    sources.load(ONE, (CARTS,))
    assert sources.changes("target", "key") == [("carts", '["c2"]'), ("shop_orders", '["1"]')]


def test_rejects_are_counted_and_kept_and_persons_are_not(sources: Sources) -> None:
    sources.orders(FIRST, "I,1,Ann\nX,2,Bob\nI,3\n")
    sources.put("cdc/dms/shop/people/20240101-120000000.csv", "I,1,ann@example.org\nX,2,bob@example.org\nI,3\n")
    sources.orders("orders.csv", "I,1,Ann\n")
    sources.orders("20240101-130000000.csv.gz", gzip.compress(b"I,1,Ann\n" * 100)[:-9])
    sources.put(f"{OF_CARTS}/a.json", b"\0\0")
    loaded = sources.load()
    assert loaded.staged.accounts == [Account(ONE, 9, 2, rejected=7)]
    assert loaded.staged.rejected_by_rule == {"bad_op": 2, "ragged": 2, "rejected_file": 3}
    found = sources.rejects()
    assert [(name, line, rule) for name, line, rule, _ in found] == [
        ("20240101-120000000.csv", 2, "bad_op"),
        ("20240101-120000000.csv", 2, "bad_op"),
        ("20240101-120000000.csv", 3, "ragged"),
        ("20240101-120000000.csv", 3, "ragged"),
        ("20240101-130000000.csv.gz", None, "rejected_file"),
        ("a.json", None, "rejected_file"),
        ("orders.csv", None, "rejected_file"),
    ]
    texts = [text for *_, text in found]
    assert texts.count(WITHHELD) == 2
    assert not any("example.org" in text for text in texts)
    assert {"Op": "X", "id": "2", "name": "Bob"} in [json.loads(text) for text in texts if text.startswith("{")]
    assert "LOAD and hexadecimal digits" in texts[-1]
    # A file that is mended costs no published change.
    sources.orders("20240101-130000000.csv.gz", gzip.compress(b"I,4,Dan\n"))
    assert sources.load(TWO).rewritten == frozenset()
    assert sources.home.ledger("cdc_raw.changes", "2024-01-01") == (9, 3, 6, 0, 0, 0)


def test_a_lost_table_and_lost_books_are_made_good_from_landing(sources: Sources) -> None:
    sources.orders(FIRST, "I,1,Ann\n")
    sources.load(ONE)
    sources.carts("a.json", "c1")
    sources.load(TWO)
    before = sources.changes("target", "key", "first_seen")
    lake = sources.platform.lake
    lake._catalog.drop_table(CDC_CHANGES.lake)
    assert sources.load(THREE).rewritten == {"shop_orders", "carts"}
    assert sources.changes("target", "key", "first_seen") == before
    sources.platform.warehouse.transact(
        "a test",
        lambda transaction: [transaction.run(f"delete from ops.landing_{name}") for name in ("files", "versions")],
    )
    # The lake knows on which day each file was seen.
    assert sources.load(THREE).rewritten == {"shop_orders", "carts"}
    assert sources.changes("target", "key", "first_seen") == before


def test_what_a_killed_process_had_half_done_is_done_again(sources: Sources) -> None:
    sources.orders(FIRST, "I,1,Ann\n")
    platform = sources.platform
    staged = loading.stage(platform, DECLARED, run_id="killed", today=ONE, progress=sources.said.append).staged
    platform.lake.publish(staged)  # and no more: the books know nothing of it
    loaded = sources.load(TWO)
    assert list(loaded.staged.days) == [ONE]
    assert sources.changes("key", "first_seen") == [('["1"]', ONE)]
    assert sources.load(TWO).staged.days == []
