"""The benchmark compares like with like: every contender gives the same rows, rejects and answers on the same file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from benchmarks import data, product
from clickstream_assets_tests.conftest import HEADER, Home, use_home

FOLDER = Path(data.__file__).parent
PEERS = {"pyspark": "pyspark_jvm.py", "duckdb": "duckdb_sql.py", "polars": "polars_script.py"}
if shutil.which("java") is None:
    del PEERS["pyspark"]  # a JVM is the one thing here that does not come from PyPI
TABLES = (
    "users", "sessions", "products", "event_types", "time", "top_products", "conversion_funnel", "daily_active_users",
    "user_segments", "revenue_metrics", "user_journeys", "weekday_weekend",
)  # fmt: skip

#: rows that break rules, some of them two, and rows that look odd and are good
ODD = """\
,1,2024-07-02 10:00:00,page_view,,,
,1,not a time,,,,
7,1,2024-07-02 10:00:00, ,,,
7,1,2024-07-02 10:00:00,product_view,,,
7,1,2024-07-02 10:00:00,add_to_cart,,abc,
7,1,2024-07-02 10:00:00,purchase,prod_1, ,purchase
7,1,18:00:26,page_view,,,
7,1,2024,page_view,,,
7,1,,page_view,,,
7,1,2024-02-30 00:00:00,page_view,,,
7,1,01/02/2024 10:00:00,page_view,,,
7,1,2024-07-02 10:00:00,purchase,prod_1,-5.00,purchase
7,1,2024-07-02 10:00:00,purchase,prod_1,NaN,purchase
7,1,2024-07-02 10:00:00,purchase,prod_1,inf,purchase
7,1,2024-07-02 10:00:00,purchase,prod_1,12 euro,purchase
7,1,2024-07-02 10:00:00,purchase,prod_1,9999999999.999,purchase
new,1,2024-07-06T10:00:00Z,purchase,prod_1,19.995,purchase
new,1,2024-07-06 12:00:01.25+02:00,add_to_cart,prod_1,,
new,1,2024-07-06 10:00:02.123456,product_view,prod_1,,
new,1,2024-07-06 10:00:03,add_to_cart,prod_1,0.125,
new, 1 ,2024-07-06 10:00:03,purchase,prod_1,1e2, purchase
new,2,2024-07-07 10:00:03,purchase,prod_2,0.005,"paid, ""later"", all"
new,,2024-07-07 10:00:04,survey,,3,
""".splitlines()


@dataclass(frozen=True)
class Made:
    """What the contenders made of one file: the product's home, and a folder for each peer."""

    home: Home
    peers: Path

    def of_peer(self, peer: str, path: str, sql: str) -> list[tuple[Any, ...]]:
        """SQL over the Parquet files that a peer wrote, as ``found``."""
        place = self.peers / peer / path
        files = place if place.is_file() else f"{place}/**/*.parquet"
        with duckdb.connect() as connection:
            connection.execute("set TimeZone = 'UTC'")
            return _sorted(connection.execute(f"with found as (from read_parquet('{files}')) {sql}").fetchall())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """The peers work in processes of their own while the product does in this one."""
    folder = tmp_path_factory.mktemp("bench")
    source = data.make(folder / "data", 2000)
    with source.open("a") as file:
        file.writelines(f"{line}\n" for line in ODD)
    peers = {
        peer: subprocess.Popen(
            [sys.executable, FOLDER / "peers" / script, source, folder / peer, "--journeys"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # For so few rows the JVM's second compiler costs more than it gives.
            # Spark Connect leaves variables behind that tell the next Spark to use it too.
            env={name: value for name, value in os.environ.items() if not name.startswith("SPARK_")}
            | {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1"},
        )
        for peer, script in PEERS.items()
    }
    with pytest.MonkeyPatch.context() as environment:
        home = use_home(folder / "home", environment)
        product.land(source, home.path)
        home.run(str(data.DAY))
        printed = {process.args[1].name: process.communicate()[1].decode() for process in peers.values()}
        failed = {process.args[1].name for process in peers.values() if process.returncode}
        assert not failed, [printed[name][-3000:] for name in failed]
        yield Made(home, folder)


@pytest.fixture(params=PEERS)
def peer(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_input_is_an_export_that_reads_as_written(tmp_path: Path) -> None:
    path = data.make(tmp_path, 300)
    lines = path.read_text().splitlines()
    assert lines[0] == HEADER
    assert len(lines) == 301
    assert path.read_bytes() == data.make(tmp_path / "again", 300).read_bytes()


def test_every_contender_keeps_the_same_events(made: Made, peer: str) -> None:
    columns = (
        "event_id, user_id, session_id, event_timestamp, event_date, event_type, product_id, amount, outcome, "
        "ingestion_date"
    )
    wanted = _sorted(made.home.query(f"select {columns} from ecommerce.events_cleaned"))
    assert len(wanted) == 2007
    assert made.of_peer(peer, "silver", f"select {columns} from found") == wanted
    assert made.of_peer(peer, "bronze", "select count(*) from found") == [(2000 + len(ODD),)]


def test_every_contender_rejects_the_same_records_for_the_same_reasons(made: Made, peer: str) -> None:
    wanted = made.home.query("select rule, source_line - 1 from ops.quarantine")
    assert Counter(rule for rule, _ in wanted) == {
        "missing_user_id": 2,
        "missing_event_type": 1,
        "missing_product_id": 2,
        "missing_amount": 1,
        "bad_timestamp": 5,
        "bad_amount": 5,
    }
    assert made.of_peer(peer, "rejected", "select rule, record_number from found") == _sorted(wanted)


@pytest.mark.parametrize("table", TABLES)
def test_every_contender_gives_the_same_answers(made: Made, peer: str, table: str) -> None:
    columns, rows = made.home.platform.warehouse.query(f"select * from ecommerce.{table}")
    names = ", ".join(f'"{column}"' for column in columns)
    path = f"gold/{table}" if peer == "pyspark" else f"gold/{table}.parquet"
    assert rows
    assert made.of_peer(peer, path, f"select {names} from found") == _sorted(rows)


def test_the_steps_of_a_run_are_read_from_its_records(made: Made) -> None:
    took = product.steps(made.home.path, data.DAY)
    assert list(took) == ["raw", "cleaned", "gold"]
    assert min(took.values()) > 0
    dbt = product.dbt_seconds(made.home.path)
    assert list(dbt) == ["dbt models", "dbt tests"]
    assert 0 < max(dbt.values()) < took["gold"]


def test_the_driver_writes_its_results(tmp_path: Path) -> None:
    results = tmp_path / "RESULTS.md"
    options = ["--rows", "500", "--rounds", "1", "--only", "de", "--data", tmp_path / "data", "--results", results]
    done = subprocess.run([sys.executable, FOLDER / "run.py", *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = results.read_text()
    assert text == done.stdout[: len(text)]
    assert "| d | plain DuckDB script |" in text
    assert str(tmp_path) not in text
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["rows=500"]


def _sorted(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows in an order of their own; decimals and floats as numbers that can be compared between engines."""
    return sorted((tuple(map(_plain, row)) for row in rows), key=repr)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:.2f}"
    if isinstance(value, float):
        return f"{value:.9g}"
    return value if not isinstance(value, date) else value.isoformat()
