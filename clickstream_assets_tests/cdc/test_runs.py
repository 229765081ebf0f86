"""`clickstream run cdc` as its users run it: landing files in, tables, history, books and checks out."""

from __future__ import annotations

import base64
import contextlib
import csv
import gzip
import io
import json
import os
import random
import secrets
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

from clickstream_assets import cli, run
from clickstream_assets.cdc import apply as applying
from clickstream_assets.cdc import declared as declarations
from clickstream_assets.cdc import merge, outcome, tables
from clickstream_assets.generate import Generated, generator
from clickstream_assets.run import instance, run_cdc
from clickstream_assets.storage.duckdb_warehouse import DuckDBWarehouse
from clickstream_assets_tests import forked
from clickstream_assets_tests.cdc.model import Change, Version, found, model
from clickstream_assets_tests.conftest import Home, use_home
from clickstream_assets_tests.redshift import Twin
from clickstream_assets_tests.servers import S3Server

FIRST, LAST, ROWS = date(2024, 1, 1), date(2024, 1, 3), 60

#: one table for what is small: CSV with a header, and a commit time in each row
ORDERS: dict[str, Any] = {"source": "dms", "schema": "shop", "table": "orders", "primary_key": ["id"]}
EXTRAS: dict[str, Any] = {"source": "dms", "schema": "shop", "table": "extras", "primary_key": ["id"]}
DAMAGED = gzip.compress(b"Op,commit_ts,id,v\nI,2024-01-02 10:00:00,7,a\n")


@pytest.fixture(autouse=True)
def _graph() -> Iterator[None]:
    """The graph depends on the tables that are declared, and is loaded once per process."""
    run._definitions.cache_clear()
    yield
    run._definitions.cache_clear()


@dataclass(frozen=True)
class Ran:
    """What a run left in Dagster's books: metadata by asset, and by name whether a check passed and what it said."""

    metadata: Mapping[str, Mapping[str, Any]]
    checks: Mapping[str, tuple[bool, str]]


class Shop:
    """A home whose tables a test declares, and whose landing files it writes."""

    def __init__(self, home: Home, patch: pytest.MonkeyPatch, *entries: dict[str, Any]):
        self.home = home
        self.platform = home.platform
        self._yaml = home.path.parent / "tables.yml"
        patch.setenv("CLICKSTREAM_CDC_TABLES", str(self._yaml))
        self.declare(*(entries or (ORDERS,)))

    def declare(self, *entries: dict[str, Any]) -> None:
        self._yaml.write_text(yaml.safe_dump({"tables": list(entries)}))
        run._definitions.cache_clear()

    def put(self, path: str, content: bytes) -> Path:
        file = self.home.path / "landing" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def orders(self, name: str, *rows: str, columns: str = "id,v", table: str = "orders") -> Path:
        """A file with a header; each row: operation, commit time and values."""
        lines = (f"Op,commit_ts,{columns}", *rows)
        return self.put(f"cdc/dms/shop/{table}/{name}", "".join(f"{line}\n" for line in lines).encode())

    def run(self, *, replay: bool = False) -> Ran:
        (run_id,) = run_cdc(replay=replay)
        return self.ran(run_id)

    def ran(self, run_id: str) -> Ran:
        metadata: dict[str, dict[str, Any]] = {}
        checks = {}
        with instance(self.home.settings) as storage:
            for entry in storage.all_logs(run_id):
                event = entry.dagster_event
                if event and event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION:
                    made = event.step_materialization_data.materialization
                    metadata[".".join(made.asset_key.path)] = {n: v.value for n, v in made.metadata.items()}
                elif event and event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                    check = event.asset_check_evaluation_data
                    checks[check.check_name] = (check.passed, str(check.description))
        return Ran(metadata, checks)

    def rows(self, table: str = "orders", columns: str = "id, v") -> list[tuple[Any, ...]]:
        return sorted(self.home.query(f"select {columns} from cdc.{table}"), key=repr)

    def refused(self, asset: str = "cdc.orders") -> list[tuple[Any, ...]]:
        return sorted(self.home.query(f"select rule, payload from ops.quarantine where asset = '{asset}'"))

    def snapshots(self) -> dict[str, int | None]:
        names = [
            "cdc_raw.changes",
            *(f"cdc.{t}{s}" for t in ("orders", "carts", "customers") for s in ("", "_history")),
        ]
        found = {name: self.platform.lake.iceberg(name) for name in names}
        return {n: i.current_snapshot().snapshot_id for n, i in found.items() if i is not None}


@pytest.fixture
def shop(home: Home, monkeypatch: pytest.MonkeyPatch) -> Shop:
    return Shop(home, monkeypatch)


# --- the model of generated files: json, csv, pyarrow and a dictionary ---


@dataclass(frozen=True)
class Told(Change):
    """A change with its time."""

    at: datetime | None = None

    @property
    def committed_at(self) -> datetime | None:
        return self.at


def _nested(typed: Mapping[str, Any]) -> Any:
    ((kind, value),) = typed.items()
    if kind == "M":
        return {name: _nested(one) for name, one in value.items()}
    if kind == "L":
        return [_nested(one) for one in value]
    if kind == "NS":
        return sorted(map(json.loads, value))
    if kind == "N":
        return json.loads(value)
    return sorted(value) if kind in ("SS", "BS") else value


def _text(typed: Mapping[str, Any]) -> str | None:
    ((kind, value),) = typed.items()
    if kind in ("S", "N", "B"):
        return str(value)
    if kind == "NULL":
        return None
    return json.dumps(_nested(typed))


def _image(image: Mapping[str, Any] | None) -> dict[str, str | None] | None:
    return None if image is None else {name: _text(typed) for name, typed in image.items()}


def carts_of(files: Mapping[str, bytes]) -> Iterator[Told]:
    seen = set()
    for path, content in sorted(files.items()):
        try:
            lines = gzip.decompress(content).splitlines()
        except EOFError:
            continue
        if content in seen:
            continue
        seen.add(content)
        for n, line in enumerate(lines, start=1):
            try:
                record = json.loads(line)
                key = record["dynamodb"]["Keys"]["cart_id"]["S"]
            except (ValueError, KeyError):
                continue
            if key.startswith("c"):
                change = record["dynamodb"]
                yield Told(
                    {"INSERT": "I", "MODIFY": "U", "REMOVE": "D"}[record["eventName"]],
                    (key,),
                    Path(path).name,
                    n,
                    _image(change.get("NewImage")),
                    _image(change.get("OldImage")),
                    number=int(change["SequenceNumber"]),
                    reason="ttl" if "userIdentity" in record else None,
                    at=datetime.fromtimestamp(change["ApproximateCreationDateTime"], UTC),
                )


def orders_of(files: Mapping[str, bytes]) -> Iterator[Told]:
    for path, content in files.items():
        name = Path(path).name
        if name.startswith("part-"):
            continue
        for n, row in enumerate(pq.read_table(io.BytesIO(content)).to_pylist(), start=1):
            op, at, number = row.pop("Op"), row.pop("commit_ts"), row.pop("change_seq")
            if row["order_id"] is None or row["order_id"] >= 10**12:
                continue
            texts = {column: _plain_text(value) for column, value in row.items()}
            load = name.startswith("LOAD")
            yield Told(
                "L" if load else op,
                (texts["order_id"] or "",),
                name,
                n,
                None if op == "D" else texts,
                texts if op == "D" else None,
                number=number and int(number),
                kind="load" if load else "change",
                at=datetime.fromisoformat(at).replace(tzinfo=UTC),
            )


def _plain_text(value: Any) -> str | None:
    if value is None or isinstance(value, bool):
        return None if value is None else str(value).lower()
    return str(value)


CUSTOMER = ("customer_id", "email", "full_name", "country", "segment", "credit_limit", "updated_at")


def customers_of(files: Mapping[str, bytes]) -> Iterator[Told]:
    for path, content in files.items():
        name = Path(path).name
        load = name.startswith("LOAD")
        text = (gzip.decompress(content) if name.endswith(".gz") else content).decode("latin-1")
        at = None if load else datetime.strptime(name[:18], "%Y%m%d-%H%M%S%f").replace(tzinfo=UTC)
        for n, fields in enumerate(csv.reader(io.StringIO(text)), start=1):
            op, *values = fields if fields[0] in ("I", "U", "D", "Op", "X", "u", "") else ["I", *fields]
            if op == "Op" or not values[0] or int(values[0]) >= 10**12:
                continue
            row, before = (
                {c: v or None for c, v in zip(CUSTOMER, part, strict=False)} for part in (values, values[7:])
            )
            moved = op == "U" and before and before["customer_id"] != row["customer_id"]
            yield Told(
                "L" if load else op,
                (values[0],),
                name,
                n,
                None if op == "D" else row,
                row if op == "D" else before or None,
                (values[7],) if moved else None,
                kind="load" if load else "change",
                at=at,
            )


def _truth(text: str) -> bool:
    return {"true": True, "false": False}[text]


def _number(text: Any) -> Any:
    return Decimal(text).normalize()


#: what the text of a column is, where it is no text
TYPES: dict[str, dict[str, Callable[[str], Any]]] = {
    "carts": {
        **dict.fromkeys(("customer_id", "expires_at"), int),
        **dict.fromkeys(("lines", "coupons", "points", "pictures", "visitor"), json.loads),
        **dict.fromkeys(("cart_id", "note", "delivery"), str),
        "total": _number,
        "gift": _truth,
        "token": base64.b64decode,
    },
    "orders": {
        **dict.fromkeys(("order_id", "customer_id"), int),
        "amount": _number,
        "gift": _truth,
        "ordered_at": datetime.fromisoformat,
        **dict.fromkeys(("region", "status", "channel"), str),
    },
    "customers": {
        **dict.fromkeys(CUSTOMER, str),
        "customer_id": int,
        "credit_limit": _number,
        "updated_at": datetime.fromisoformat,
    },
}
READ = {"carts": carts_of, "orders": orders_of, "customers": customers_of}
DECLARED = {one.target: one for one in declarations.load()}


def changes_of(files: Mapping[str, bytes]) -> dict[str, list[Told]]:
    """The changes of each table that generated files have, those that break a rule left out."""
    by_table: dict[str, dict[str, bytes]] = defaultdict(dict)
    for path, content in files.items():
        by_table[next(part for part in path.split("/") if part in READ)][path] = content
    return {name: list(READ[name](of)) for name, of in by_table.items()}


def as_model(target: str, changes: Sequence[Change]) -> tuple[dict[str, Any], list[str]]:
    """State and history of a table, as the model makes them."""
    of = TYPES[target]
    state, history = model(changes, DECLARED[target], list(of))

    def typed(row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value if value is None else of[name](value) for name, value in sorted(row.items())}

    return {key: typed(row) for key, row in state.items()}, _listed(history, typed)


def as_found(home: Home, target: str) -> tuple[dict[str, Any], list[str]]:
    """State and history of a table, as the lake has them."""
    state, history = found(home.platform, DECLARED[target])
    of = TYPES[target]

    def plain(row: Mapping[str, Any]) -> dict[str, Any]:
        same: tuple[Any, ...] = (_number, json.loads)
        values = dict.fromkeys(of) | dict(row)
        return {n: of[n](v) if v is not None and of[n] in same else v for n, v in sorted(values.items())}

    return {key: plain(row) for key, row in state.items()}, _listed(history, plain)


def _listed(history: Sequence[Version], row: Callable[[Mapping[str, Any]], dict[str, Any]]) -> list[str]:
    return sorted(
        repr((v.key, v.op, v.reason, v.valid_from, v.valid_to, v.open, v.file, v.line, row(dict(v.row))))
        for v in history
    )


def is_the_models(home: Home, files: Mapping[str, bytes]) -> None:
    for target, changes in changes_of(files).items():
        state, history = as_model(target, changes)
        found_state, found_history = as_found(home, target)
        assert found_history == history, target
        assert found_state == state, target
        (count,) = home.one(f"select count(*) from cdc.{target}")
        (keys,) = home.one(f"select count(distinct _key) from cdc.{target}_history where _open and op <> 'D'")
        assert count == keys == len(state) > 0


# --- generated files, in one run and in many ---


@pytest.fixture(scope="module")
def made() -> tuple[Generated, dict[str, bytes]]:
    files: dict[str, bytes] = {}
    generated = generator("cdc")(files.__setitem__, first=FIRST, last=LAST, rows_per_day=ROWS, faults=True)
    return generated, files


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, made: tuple[Generated, dict[str, bytes]]) -> Home:
    """A home in which all files were taken in one run."""
    with pytest.MonkeyPatch.context() as patch:
        home = use_home(tmp_path_factory.mktemp("whole") / "home", patch)
        run._definitions.cache_clear()
        for path, content in made[1].items():
            home.platform.landing.write(path, content)
        run_cdc()
        variables = dict(home.variables)
    return Home(home.path, variables)


@pytest.fixture
def at_whole(whole: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    return use_home(whole.path, monkeypatch)


def test_the_tables_and_the_books_are_what_the_files_say(
    at_whole: Home, made: tuple[Generated, dict[str, bytes]]
) -> None:
    generated, files = made
    home, planted = at_whole, Counter(generated.faults)
    is_the_models(home, files)
    changes = changes_of(files)
    rejected_files, twice = planted.pop("rejected_file"), planted.pop("duplicate_file")
    copies = planted.pop("duplicate")
    good = sum(map(len, changes.values()))
    assert good == generated.rows - sum(planted.values()), "the model has overlooked some"
    ledger = {
        asset: counts
        for asset, *counts in home.query(
            "select asset, sum(rows_in), sum(rows_out), sum(rejected), sum(duplicate), sum(late + filtered) "
            "from ops.row_ledger group by asset"
        )
    }
    rejected = sum(planted.values()) + rejected_files
    assert ledger.pop("cdc_raw.changes") == [good + rejected, good, rejected, 0, 0]
    assert ledger == {
        f"cdc.{target}": [len(of), len(of) - (copies if target == "carts" else 0), 0, copies * (target == "carts"), 0]
        for target, of in changes.items()
    }
    quarantine = dict(
        home.query("select rule, count(*) from ops.quarantine where asset = 'cdc_raw.changes' group by 1")
    )
    assert quarantine == planted | {"rejected_file": rejected_files}
    statuses = Counter(dict(home.query("select status, count(*) from ops.landing_files group by 1")))
    assert statuses == {
        "rejected_file": rejected_files,
        "duplicate_file": twice,
        "loaded": len(files) - rejected_files - twice,
    }


def test_a_second_run_changes_nothing_and_a_replay_gives_the_same(
    at_whole: Home, made: tuple[Generated, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(at_whole, monkeypatch)
    monkeypatch.delenv("CLICKSTREAM_CDC_TABLES")
    before, snapshots = at_whole.tables(), shop.snapshots()
    assert len(snapshots) == 7
    again = shop.run()
    assert shop.snapshots() == snapshots
    assert {of["changes"] for name, of in again.metadata.items() if name.startswith("cdc.")} == {0}
    assert at_whole.tables() == before
    replayed = shop.run(replay=True)
    assert {of["made_anew"] for name, of in replayed.metadata.items() if name.startswith("cdc.")} == {True}
    assert set(shop.snapshots().values()).isdisjoint(set(snapshots.values()) - {snapshots["cdc_raw.changes"]})
    assert at_whole.tables() == before
    is_the_models(at_whole, made[1])


def _die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_between_the_tables() -> None:
    """The history is committed, and the current state is not."""
    applying._Apply._state = _die


def die_before_the_books() -> None:
    """Both tables are committed, and the warehouse was not told."""
    outcome.record = _die


def die_before_the_raw_books() -> None:
    """The raw changes are committed, and the warehouse was not told."""
    DuckDBWarehouse.transact = _die


def test_files_in_any_order_over_runs_that_are_killed_give_the_same(
    home: Home, whole: Home, made: tuple[Generated, dict[str, bytes]]
) -> None:
    """Each run is killed; the one after it makes that good."""
    rng = random.Random(8)
    files = list(made[1].items())
    rng.shuffle(files)
    deaths = (None, die_between_the_tables, die_before_the_books, die_before_the_raw_books)
    landed: dict[str, bytes] = {}
    for n, death in enumerate(deaths):
        part = dict(files[n :: len(deaths)])
        for path, content in part.items():
            home.platform.landing.write(path, content)
        landed |= part
        command = forked.start(home, "run", "cdc", first=death)
        if death is None:
            end = time.monotonic() + 60
            while "changes that have landed" not in command.printed():
                assert time.monotonic() < end and command.process.is_alive(), command.printed()
                time.sleep(0.02)
            time.sleep(rng.uniform(0, 1))
            with contextlib.suppress(ProcessLookupError):  # it was faster
                os.killpg(int(command.process.pid or 0), signal.SIGKILL)
            command.process.join()
        else:
            assert command.join() == -signal.SIGKILL, command.printed()
        run_cdc()
        is_the_models(home, landed)
        told = dict(home.query("select asset, sum(rows_in) from ops.row_ledger where asset like 'cdc.%' group by 1"))
        assert told == {f"cdc.{target}": len(of) for target, of in changes_of(landed).items()}
    sums = (
        "select asset, sum(rows_in), sum(rows_out), sum(rejected), sum(duplicate) from ops.row_ledger "
        "group by 1 order by 1"
    )
    assert home.query(sums) == whole.query(sums)
    quarantine = "select asset, source_file, source_line, rule, payload from ops.quarantine order by all"
    assert home.query(quarantine) == whole.query(quarantine)


# --- what is refused ---


def _said(*arguments: str) -> tuple[int, str]:
    """Exit code and the last line on standard error."""
    done = CliRunner().invoke(cli.main, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done.exit_code, done.stderr.strip().splitlines()[-1]


def test_dates_are_refused_and_a_replay_of_another_domain(shop: Shop) -> None:
    for dates in (["--date", "2024-01-01"], ["--from", "2024-01-01", "--to", "2024-01-02"], ["--no-repair"]):
        code, said = _said("run", "cdc", *dates)
        assert (code, said) == (2, "Error: cdc takes no dates: it applies what has landed.")
    code, said = _said("run", "sales", "--replay", "--date", "2024-01-01")
    assert (code, said) == (2, "Error: --replay is for cdc: running a day of sales again replaces it.")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("tables: [", "is not YAML"),
        ("tables: [{source: dms, table: orders}]", "entry 1 (orders) lacks schema"),
        ("tables: 7", "must be a list of tables"),
        (None, "there is no such file"),
    ],
)
def test_a_declaration_that_cannot_be_used_is_one_sentence(
    home: Home, monkeypatch: pytest.MonkeyPatch, content: str | None, says: str
) -> None:
    path = home.path.parent / "mine.yml"
    monkeypatch.setenv("CLICKSTREAM_CDC_TABLES", str(path))
    if content is not None:
        path.write_text(content)
    for command in (["run", "cdc"], ["cdc", "dynamodb", "carts"]):
        done = CliRunner().invoke(cli.main, command)
        assert isinstance(done.exception, SystemExit), done.exc_info
        assert done.exit_code == 1 and done.stdout == ""
        (line,) = done.stderr.strip().splitlines()
        assert line.startswith("clickstream: ") and line.endswith(".") and str(path) in line
        assert says in line


def test_a_dynamodb_table_that_is_not_declared_is_one_sentence(shop: Shop) -> None:
    code, said = _said("cdc", "dynamodb", "baskets")
    assert code == 1 and said.startswith("clickstream: The DynamoDB table 'baskets' is not declared")


# --- columns and tables that come ---


def test_a_renamed_column_waits_and_a_new_table_is_one_entry(shop: Shop, capfd: pytest.CaptureFixture[str]) -> None:
    shop.orders("20240101-100000000.csv", "I,2024-01-01 10:00:00,1,a", "I,2024-01-01 10:00:01,2,a")
    shop.orders("20240101-100000000.csv", "I,2024-01-01 10:00:00,7,x", table="extras")
    ran = shop.run()
    said = "left alone, since no such tables are declared in the file of CLICKSTREAM_CDC_TABLES: cdc/dms/shop/extras"
    assert ran.checks["takes_every_change"][0] and ran.checks["folders_are_declared"] == (False, said)
    assert said in " ".join(capfd.readouterr().err.split()), "as the terminal has it"

    shop.orders("20240102-100000000.csv", "U,2024-01-02 10:00:00,1,b", "D,2024-01-02 10:00:01,2,", columns="id,w")
    ran = shop.run()  # and raises nothing
    passed, said = ran.checks["takes_every_change"]
    assert not passed and said.startswith("2 changes wait in ops.quarantine: 20240102-100000000.csv lacks v and has w")
    assert [rule for rule, _ in shop.refused()] == ["renamed_column"] * 2
    assert shop.rows() == [("1", "a"), ("2", "a")]
    assert shop.home.query(
        "select sum(rows_in), sum(rows_out), sum(rejected) from ops.row_ledger where asset = 'cdc.orders'"
    ) == [(4, 2, 2)]
    again = shop.run()
    assert not again.checks["takes_every_change"][0] and len(shop.refused()) == 2, "they go on waiting"

    shop.declare(ORDERS | {"renames": {"v": "w"}}, EXTRAS)
    ran = shop.run()
    assert ran.checks["takes_every_change"] == (True, "all") and ran.checks["folders_are_declared"][0]
    assert shop.refused() == [] and shop.rows(columns="id, w") == [("1", "b")]
    assert shop.rows("extras") == [("7", "x")]
    assert shop.home.query(
        "select sum(rows_in), sum(rows_out), sum(rejected) from ops.row_ledger where asset = 'cdc.orders'"
    ) == [(4, 4, 0)]


# --- files that are replaced, removed, damaged ---


def test_a_replaced_file_takes_its_changes_back_and_a_removed_one_keeps_them(shop: Shop) -> None:
    shop.orders("20240101-100000000.csv", "I,2024-01-01 10:00:00,1,a", "I,2024-01-01 10:00:01,2,a")
    removed = shop.orders("20240101-110000000.csv", "I,2024-01-01 11:00:00,3,a")
    damaged = shop.put("cdc/dms/shop/orders/20240102-100000000.csv.gz", DAMAGED[:-12])
    shop.run()
    assert shop.rows() == [("1", "a"), ("2", "a"), ("3", "a")]
    ((rule, _),) = shop.refused("cdc_raw.changes")
    assert rule == "rejected_file"

    shop.orders("20240101-100000000.csv", "I,2024-01-01 10:00:00,1,b")
    removed.unlink()
    ran = shop.run()
    assert ran.metadata["cdc.orders"]["made_anew"]
    assert shop.rows() == [("1", "b"), ("3", "a")]
    assert shop.rows("orders_history", "id, v, op") == [("1", "b", "I"), ("3", "a", "I")]

    damaged.write_bytes(DAMAGED)
    shop.run()
    assert shop.rows() == [("1", "b"), ("3", "a"), ("7", "a")] and shop.refused("cdc_raw.changes") == []
    shop.run(replay=True)
    assert shop.rows() == [("1", "b"), ("3", "a"), ("7", "a")]


# --- a long name of a column ---


def test_a_column_with_a_long_name_waits_for_a_shorter_one(shop: Shop) -> None:
    carts = {"source": "dynamodb", "table": "carts", "primary_key": ["id"]}
    shop.declare(ORDERS, carts)
    long = "c" * 64
    shop.orders("20240101-100000000.csv", "I,2024-01-01 10:00:00,1,a")
    shop.orders("20240101-110000000.csv", "I,2024-01-01 11:00:00,2,b,x", columns=f"id,v,{long}")
    of_carts = [
        {"eventName": "INSERT", "dynamodb": {"Keys": {"id": {"S": key}}, "NewImage": image, "SequenceNumber": key}}
        for key, image in (("1", {"id": {"S": "1"}}), ("2", {"id": {"S": "2"}, long: {"N": "1.5"}}))
    ]
    content = "".join(json.dumps(one) + "\n" for one in of_carts).encode()
    shop.put("cdc/dynamodb/carts/year=2024/month=01/day=01/a.json", content)
    shop.run()
    assert [rule for rule, _ in shop.refused("cdc_raw.changes")] == ["long_column", "rejected_file"]
    assert shop.rows() == [("1", "a")] and shop.rows("carts", "id") == [("1",)]
    shop.declare(ORDERS | {"renames": {long: "c"}}, carts | {"renames": {long: "c"}})
    shop.run()
    assert shop.refused("cdc_raw.changes") == []
    assert shop.rows("orders", "id, v, c") == [("1", "a", None), ("2", "b", "x")]
    assert shop.rows("carts", "id, c") == [("1", None), ("2", Decimal("1.5"))]


# --- full loads ---


def test_a_full_load_warns_of_what_was_missed_and_of_nothing_else(shop: Shop) -> None:
    shop.declare(ORDERS | {"complete_loads": True})

    def load(day: int, *rows: str) -> tuple[bool, str]:
        shop.orders(f"LOAD{day:08X}.csv", *(f"I,2024-01-{day:02} 00:00:00,{row}" for row in rows))
        return shop.run().checks["agrees_with_full_load"]

    shop.orders("20240101-100000000.csv", "U,2024-01-01 10:00:00,1,b")
    passed, said = load(1, "1,a", "2,a", "3,a")
    assert passed and said == "a full load before which nothing was there", "the first one"
    assert shop.rows() == [("1", "b"), ("2", "a"), ("3", "a")]

    shop.orders("20240101-230000000.csv", "I,2024-01-01 23:00:00,4,a", "D,2024-01-01 23:00:00,3,")
    shop.orders("20240102-100000000.csv", "U,2024-01-02 10:00:00,2,c", "I,2024-01-02 10:00:00,5,a")
    passed, said = load(2, "1,b", "2,a", "4,a")
    assert passed and " 0 differed " in said and said.endswith("0 do now"), said
    assert shop.rows() == [("1", "b"), ("2", "c"), ("4", "a"), ("5", "a")]

    passed, said = load(3, "1,b", "2,c", "5,a", "6,a", "7,a")
    assert not passed and "2 keys were missing, 1 were there that it has not" in said and said.endswith("0 do now")
    assert shop.rows() == [("1", "b"), ("2", "c"), ("5", "a"), ("6", "a"), ("7", "a")]
    assert shop.run().checks["agrees_with_full_load"] == (True, "no new full load")


def test_a_lost_change_stops_the_run_before_anything_is_published(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.orders("20240101-100000000.csv", "I,2024-01-01 10:00:00,1,a", "I,2024-01-01 10:00:00,2,a")
    whole = merge.Merge._parsed

    def parsed(self: merge.Merge, raw: Any, buckets: Any) -> str:
        return whole(self, raw, buckets, where=" and key like '%1%'")

    with monkeypatch.context() as patch:
        patch.setattr(merge.Merge, "_parsed", parsed)
        with pytest.raises(run.RunFailed, match=r"Of 2 changes of cdc\.orders .* nothing was published"):
            run_cdc()
    assert shop.home.query("select 1 from information_schema.tables where table_name = 'orders'") == []
    shop.run()
    assert shop.rows() == [("1", "a"), ("2", "a")]


# --- the sensor ---


def test_the_sensor_asks_once_for_new_files(shop: Shop) -> None:
    definitions = run._definitions()
    sensor = definitions.resolve_sensor_def("cdc_arrivals")
    cursor: str | None = None

    def look() -> list[str | None]:
        nonlocal cursor
        with (
            dg.DagsterInstance.ephemeral() as storage,
            dg.build_sensor_context(
                instance=storage, cursor=cursor, definitions=definitions, resources={"platform": shop.platform}
            ) as context,
        ):
            result = sensor(context)
        cursor = result.cursor
        return [request.run_key for request in result.run_requests]

    assert look() == []
    for hour in (10, 11):
        shop.orders(f"20240101-{hour}0000000.csv", "I,2024-01-01 10:00:00,1,a")
    (first,) = look()
    assert look() == []
    shop.orders("20240101-100000000.csv", "I,2024-01-01 10:00:00,1,bb")
    (replaced,) = look()
    shop.put("cdc/dynamodb/carts/year=2024/month=01/day=01/a.json", b"{}\n")
    (further,) = look()
    assert look() == []
    shop.orders("20240101-100000000.csv", "I,2024-01-01 10:00:00,1,ccc")
    (again,) = look()
    assert len({first, replaced, further, again}) == 4 and sensor.job_name == "cdc"


# --- upkeep ---


def test_upkeep_disturbs_no_reader_and_no_run(shop: Shop) -> None:
    for n in range(8):
        shop.orders(
            f"20240101-1{n}0000000.csv", *(f"{'U' if n else 'I'},2024-01-01 1{n}:00:00,{key},{n}" for key in (1, 2))
        )
        shop.run()
    before = shop.home.tables()
    lake, reader = shop.platform.lake, shop.platform.lake.iceberg("cdc.orders_history")
    assert reader is not None
    rows = shop.rows("orders_history", "id, v")
    select = tables.shown(lake, "cdc.orders_history")

    def upkeep(asset: str, **config: Any) -> dict[str, Any]:
        job = run._definitions().resolve_job_def(run._definitions().resolve_schedule_def(f"{asset}_daily").job_name)
        of_op = {"ops": {f"ops__{asset}": {"config": config}}} if config else {}
        with instance(shop.home.settings) as storage:
            result = job.execute_in_process(instance=storage, run_config=of_op)
        (event,) = result.asset_materializations_for_node(f"ops__{asset}")
        return {name: value.value for name, value in event.metadata.items()}

    def read() -> None:
        with duckdb.connect() as connection:
            assert sorted(connection.execute(f"select id, v from ({select})").fetchall()) == rows
        scanned = reader.scan(snapshot_id=reader.current_snapshot().snapshot_id).to_arrow().to_pylist()
        assert sorted((row["id"], row["v"]) for row in scanned) == rows

    done = upkeep("compacted_files")
    assert done["files_before"] > done["files_after"] > 0
    assert "| cdc.orders_history |" in done["tables"] and "| cdc_raw.changes | 8 | 1 |" in done["tables"]
    assert shop.home.tables() == before
    done = upkeep("expired_snapshots", days=0)
    assert done["snapshots_expired"] > 8
    assert shop.home.tables() == before
    read()
    done = upkeep("orphan_files", older_than_hours=24)
    assert done["files_removed"] == 0
    read()
    done = upkeep("orphan_files", older_than_hours=0)
    assert done["files_removed"] > 8
    assert shop.home.tables() == before
    with pytest.raises(duckdb.IOException), duckdb.connect() as connection:
        connection.execute(f"select id, v from ({select})").fetchall()

    snapshots = shop.snapshots()
    assert shop.run().metadata["cdc.orders"]["changes"] == 0 and shop.snapshots() == snapshots
    shop.orders("20240102-100000000.csv", "U,2024-01-02 10:00:00,1,x", "D,2024-01-02 10:00:00,2,")
    ran = shop.run()
    assert (ran.metadata["cdc.orders"]["made_anew"], ran.metadata["cdc.orders"]["changes"]) == (False, 2)
    assert shop.rows() == [("1", "x")] and len(shop.rows("orders_history")) == len(rows) + 2


# --- what must not happen ---


def test_what_a_row_says_is_in_its_tables_and_not_in_dagsters_books(shop: Shop) -> None:
    shop.declare(ORDERS | {"personal": ["v"]})
    shop.orders("20240101-100000000.csv", "I,2024-01-01 10:00:00,1,Zuvito", "X,2024-01-01 10:00:01,2,Zuvita")
    shop.run()
    assert shop.rows() == [("1", "Zuvito")]
    books = b"".join(path.read_bytes() for path in (shop.home.path / "dagster").rglob("*") if path.is_file())
    assert b"cdc_raw" in books and b"Zuvit" not in books
    assert "Zuvit" not in str(shop.refused("cdc_raw.changes"))


def test_a_file_of_which_nearly_all_is_bad_keeps_no_table_from_its_rows(shop: Shop) -> None:
    shop.declare(ORDERS, EXTRAS)
    shop.orders("20240101-100000000.csv", *["X,2024-01-01 10:00:00,1,a"] * 1200)
    shop.orders("20240101-100000000.csv", "I,2024-01-01 10:00:00,1,a", table="extras")
    shop.run()
    assert shop.rows("extras") == [("1", "a")]
    assert len(shop.refused("cdc_raw.changes")) == 1200


def test_rows_of_which_neither_books_nor_landing_tell_are_not_thrown_away(shop: Shop) -> None:
    """The warehouse is lost after landing has expired: a run says so, and goes on when the file is back."""
    gone = shop.orders("20240101-100000000.csv", "I,2024-01-01 10:00:00,1,a")
    shop.run()
    content = gone.read_bytes()
    gone.unlink()
    shop.home.settings.warehouse_path.unlink()
    shop.orders("20240101-110000000.csv", "I,2024-01-01 11:00:00,2,b")
    with pytest.raises(
        run.RunFailed, match=r"rows of 1 files of which ops.landing_files knows nothing .*100000000.csv"
    ):
        shop.run()
    gone.write_bytes(content)
    shop.run()
    assert shop.rows() == [("1", "a"), ("2", "b")]


def test_rows_of_another_key_or_table_do_not_come_beside_those_that_are_there(shop: Shop) -> None:
    """While the files are in landing they are read anew; of one that is gone the rows keep the key that they had."""
    both = "I,2024-01-01 10:00:00,1,a", "I,2024-01-01 10:00:00,2,b"
    file = shop.orders("20240101-100000000.csv", *both)
    shop.run()
    by_two = ORDERS | {"primary_key": ["id", "v"]}
    shop.declare(by_two)
    shop.run()
    assert shop.rows("orders", "_key") == [('["1","a"]',), ('["2","b"]',)]
    file.unlink()
    for entry in (ORDERS, EXTRAS | {"target": "orders"}):
        shop.declare(entry)
        shop.orders("20240102-100000000.csv", "I,2024-01-02 10:00:00,1,c", table=entry["table"])
        with pytest.raises(run.RunFailed, match=r"100000000.csv was read as rows of cdc.orders when .* another target"):
            shop.run()
        assert shop.rows("orders", "_key") == [('["1","a"]',), ('["2","b"]',)]
    shop.declare(ORDERS | {"target": "orders_by_id"})
    shop.run()
    assert shop.rows("orders_by_id") == [("1", "c")]


def test_columns_that_name_persons_are_tagged(shop: Shop) -> None:
    shop.declare(ORDERS | {"personal": ["v"]})
    graph = run._definitions().resolve_asset_graph()
    for name in ("orders", "orders_history"):
        tags = graph.get(dg.AssetKey(["cdc", name])).tags
        assert {tag for tag in tags if tag.startswith("personal")} == {"personal/v", "personal_data"}


def test_a_view_that_a_run_left_behind_is_made_right_before_its_files_go(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.orders("20240101-100000000.csv", "I,2024-01-01 10:00:00,1,a")
    shop.run()
    shop.orders("20240101-110000000.csv", "U,2024-01-01 11:00:00,1,b")
    with monkeypatch.context() as patch:
        patch.setattr(outcome, "record", lambda *_, **__: 1 / 0)
        with pytest.raises(run.RunFailed):
            shop.run()
    assert shop.rows() == [("1", "a")]
    graph = run._definitions()
    with instance(shop.home.settings) as storage:
        for name, config in (("expired_snapshots", {"days": 0}), ("orphan_files", {"older_than_hours": 0})):
            job = graph.resolve_job_def(graph.resolve_schedule_def(f"{name}_daily").job_name)
            job.execute_in_process(instance=storage, run_config={"ops": {f"ops__{name}": {"config": config}}})
    assert shop.rows() == [("1", "b")]


# --- on AWS ---


def _shown(value: Any) -> Any:
    """Bytes as the driver for Redshift has them."""
    return f"\\x{value.hex()}" if isinstance(value, bytes) else value


def test_on_aws_every_table_is_that_of_a_laptop(
    tmp_path: Path,
    at_whole: Home,
    made: tuple[Generated, dict[str, bytes]],
    on_glue: None,
    s3: S3Server,
    s3_root: str,
    twin: Twin,
    on_redshift: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = at_whole.tables()
    settings = on_redshift | {
        "CLICKSTREAM_ENVIRONMENT": "aws",
        "CLICKSTREAM_PII_KEY": secrets.token_hex(32),
        "CLICKSTREAM_LANDING_URI": f"{s3_root}/landing",
        "CLICKSTREAM_LAKE_URI": f"{s3_root}/lake",
    }
    home = use_home(tmp_path / "aws", monkeypatch, **settings)
    for path, content in made[1].items():
        home.platform.landing.write(path, content)
    run._definitions.cache_clear()
    run_cdc()
    for relation, rows in wanted.items():
        if relation.startswith("cdc.") or relation in ("ops.row_ledger", "ops.quarantine", "ops.landing_files"):
            assert home.table(relation) == sorted((tuple(map(_shown, row)) for row in rows), key=repr), relation
