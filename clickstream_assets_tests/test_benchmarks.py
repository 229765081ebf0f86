"""The benchmark compares like with like: every contender gives the same rows, rejects and answers on the same file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from benchmarks import cdc, clickstream, data, product, sales
from benchmarks.measuring import Measured
from clickstream_assets_tests.conftest import HEADER, Home, use_home
from clickstream_assets_tests.events import event, land

FOLDER = Path(data.__file__).parent
FIRST, REPAIR = clickstream.FIRST, clickstream.REPAIR
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


#: events that break a rule each, and of those that look odd and are good
BROKEN_EVENTS = (
    *({"event_id": wrong} for wrong in ("", None)),
    *({"event_type": wrong} for wrong in (" ", None)),
    *({"timestamp": wrong} for wrong in (None, "", "yesterday", "18:00:26", 2024, "2024-02-30T00:00:00Z")),
    *({"timestamp": wrong} for wrong in ("2023-12-31 23:59:59", "2024-07-04T00:00:00Z", "2024-01-01T00:00:00+01:00")),
    *({"quantity": wrong} for wrong in (-1, 1.5, "many", 3_000_000_000)),
    *({"price": wrong} for wrong in (-19.99, "free", "NaN", 10_000_000_000)),
)
ODD_EVENTS = (
    {"timestamp": "2024-07-03T01:00:00+02:00"},
    {"timestamp": "2024-07-03 23:59:59.999999"},
    {"timestamp": 1719907200123},
    {"event_type": " click ", "user_id": " ", "session_id": 7},
    {"quantity": 2.0, "price": 19.995, "currency": "eur"},
    {"quantity": "3", "price": 0.005, "properties": {"a": [1, None, "ö"], "b": {}}},
    {"quantity": 2147483648, "price": 1e2},
    {"page_url": "https://shop.example.com?utm_source=a%20b&utm_campaign=c+d#utm_term=e"},
    {"page_url": "/p/1?x=1&gclid=1", "referrer": "http://WWW.Example.com:80/x?y"},
    {"page_url": "", "referrer": "here", "user_agent": "python-requests/2.31.0"},
)


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
    results.write_text(f"# Results\nfound before\n\n{clickstream.TITLE}\nstays\n")
    options = ["--rows", "500", "--rounds", "1", "--only", "ecommerce", "--contenders", "de"]
    options += ["--data", tmp_path / "data", "--results", results]
    done = subprocess.run([sys.executable, FOLDER / "run.py", *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = results.read_text()
    assert text == done.stdout[: len(text)]
    assert "| d | plain DuckDB script |" in text
    assert text.startswith("# Results\nWritten by") and text.endswith(f"\n\n{clickstream.TITLE}\nstays\n")
    assert str(tmp_path) not in text
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["rows=500"]


def test_the_results_of_others_stay_when_only_clickstream_is_measured(tmp_path: Path) -> None:
    results = tmp_path / "RESULTS.md"
    before = (FOLDER / "RESULTS.md").read_text().partition(clickstream.TITLE)[0].strip()
    results.write_text(f"{before}\n\n{clickstream.TITLE}\nfound before\n\n{sales.TITLE}\nof sales\n")
    code = f"""if True:
        import run, pathlib
        results = pathlib.Path({str(results)!r})
        run.write(results, run.written(results) | {{"clickstream": "{clickstream.TITLE} of now"}})
    """
    subprocess.run([sys.executable, "-c", code], cwd=FOLDER, check=True)
    assert results.read_text() == f"{before}\n\n{clickstream.TITLE} of now\n\n{sales.TITLE}\nof sales\n"


def test_a_day_of_sales_is_run_for_the_first_time_after_as_many_days_as_are_told(tmp_path: Path) -> None:
    sales.generate(tmp_path / "made", 5, 3)
    asked = []

    def run(home: Path, first: date, last: date) -> Measured:
        landed = sorted(path.name[-5:] for path in (home / "landing/sales/sales").iterdir())
        asked.append((f"{first:%m-%d}", f"{last:%m-%d}", landed))
        return Measured(1, 1, 1)

    found = sales.after(tmp_path / "made", tmp_path / "home", 2, run=run)
    assert (len(found["all"]), len(found["next"])) == (1, sales.ROUNDS)
    days = [f"01-0{day}" for day in range(1, 6)]
    assert asked == [("01-01", "01-02", days[:2])] + [(day, day, days[:n]) for n, day in enumerate(days, 1) if n > 2]


def test_changes_are_applied_and_reported(tmp_path: Path) -> None:
    results = tmp_path / "RESULTS.md"
    command = [sys.executable, "run.py", "--only", "cdc", "--cdc-rows", "40000", "--cdc-changes", "2000"]
    subprocess.run([*command, "--data", str(tmp_path), "--results", str(results)], cwd=FOLDER, check=True)
    text = results.read_text()
    assert text.startswith(f"{cdc.TITLE}\n") and "a table of 40,000 rows" in text
    assert "| full load | 40,000 |" in text and "| a batch of keys anywhere | 2,000 |" in text
    assert "| 1,000 changes of keys of one bucket replace the files of that bucket alone | " in text
    assert text.count("| met |") == 3


def test_what_is_measured_of_sales_is_reported_and_judged() -> None:
    def runs(seconds: float, memory: float, following: float) -> dict[str, list[Measured]]:
        days = [Measured(following + n, 1, 1, {"dbt": 2}) for n in (0, -3, 3)]
        return {"all": [Measured(seconds, int(memory * 1e9), 400)], "next": days}

    met = sales.report({29: runs(20, 1, 10), 365: runs(299, 2.9, 12)}, 1000)
    assert "| 365 days in one run in under 5 minutes | 299 s | met |" in met
    assert "| peak memory under 3 GB | 2.90 GB | met |" in met
    assert "| the run of day 366 in at most 1.2 × that of day 30 | 1.20 × | met |" in met
    assert "| day 366 | 12.0 | 1.0 | 0.00 GB | dbt 2.00 |" in met and "**missed**" not in met
    missed = sales.report({29: runs(20, 1, 10), 365: runs(301, 3.1, 12.5)}, 1000)
    assert missed.count("**missed**") == 3


@pytest.fixture(scope="module")
def events_made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Made, dict[str, list[Measured]]]]:
    """What the engines and DuckDB made of the same events, and what they took."""
    folder = tmp_path_factory.mktemp("events")
    source = data.events(folder / "data", 2000)
    with pytest.MonkeyPatch.context() as environment:
        home = use_home(folder / "home", environment)
        odd = [
            event(f"odd-{number}", "2024-07-02T10:00:00Z") | more
            for number, more in enumerate((*BROKEN_EVENTS, *ODD_EVENTS))
        ]
        land(Home(folder), str(data.DAY), "odd.gz", *odd, between="")
        os.rename(next((folder / "landing").rglob("odd.gz")), next(source.rglob("*.gz")).with_name("odd.gz"))
        duckdb = clickstream.measure("duckdb", source, folder / "duckdb")
        engines = Measured(1, 1, 1, product.event_steps(source, home.path, data.DAY))
        yield Made(home, folder), {"engines": [engines], "duckdb": [duckdb]}


def test_the_script_keeps_the_same_clickstream_events(events_made: tuple[Made, dict[str, list[Measured]]]) -> None:
    made, _ = events_made
    columns = (
        "event_id, event_type, user_id, session_id, event_ts, event_hour, page_url, page_path, utm_source, utm_medium, "
        "utm_campaign, utm_term, utm_content, click_id, referrer, referrer_host, user_agent, is_bot, product_id, "
        "quantity, price, currency, revenue, properties, event_date"
    )
    # Less the events of the warm-up and those that came later.
    of_both = f"select {columns} from clickstream.events_cleaned where event_id not like 'plain-%'"
    wanted = _sorted(made.home.query(of_both))
    assert len(wanted) == 2000 - 8 + len(ODD_EVENTS)
    assert made.of_peer("duckdb", "silver", f"select {columns} from found") == wanted
    assert made.of_peer("duckdb", "bronze", "select count(*) from found") == [(2000 + len(BROKEN_EVENTS + ODD_EVENTS),)]
    assert made.home.one("select count(*) from clickstream.events_cleaned") == (len(wanted) + 2 + 3 * data.INTRADAY,)


def test_what_is_measured_of_clickstream_is_reported(events_made: tuple[Made, dict[str, list[Measured]]]) -> None:
    _, found = events_made
    (engines,) = found["engines"]
    assert list(engines.phases) == [
        *(f"{step} {part}" for step in ("raw", "cleaned") for part in ("stage", "guards", "publish")),
        *("intraday raw", "intraday cleaned"),
    ]
    assert min(engines.phases.values()) > 0
    tenfold = Measured(1, 1, 1, {name: 11 * seconds for name, seconds in engines.phases.items()})
    days = {name: [Measured(1, 1, 1, {"raw": 1, "cleaned": 1, "dbt": dbt})] for name, dbt in ((FIRST, 3), (REPAIR, 5))}
    text = clickstream.report(found | {"engines10": [tenfold]}, {40: days}, 2000, 1, 450.0)
    assert "450 bytes of JSON each" in text
    assert "| 10 times the events in at most 10.5 × the time | 11.00 × | **missed** |" in text
    assert "after 40 days in at most 1.2 × the first run of a new day | 1.40 × | **missed** |" in text
    assert "| peak memory under 2 GB | 0.00 GB | met |" in text


def test_the_steps_of_clickstream_are_printed_for_the_driver(
    tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(product, "event_steps", lambda *given: {"given": [str(one) for one in given]})
    monkeypatch.setattr(sys, "argv", ["product.py", "clickstream", "landing", str(home.path)])
    product.main()
    assert json.loads(capsys.readouterr().out) == {"given": ["landing", str(home.path), str(data.DAY)]}


def test_after_a_history_a_new_day_and_an_old_one_take_turns(tmp_path: Path, home: Home) -> None:
    last, counts = clickstream.HISTORY_LAST, [Counter[date]()]

    def run(folder: Path, first: date, day: date) -> Measured:
        assert folder == home.path
        home.run(str(first), str(day), domain="clickstream")
        rows = home.query("select event_date, count(*) from clickstream.events_enhanced group by 1")
        counts.append(Counter(dict(rows)))
        return Measured(1, 1, 1, product.steps(folder, day, product.EVENT_STEPS) if first == day else {})

    source = data.events(tmp_path, 100, days=3, last=last)
    found = clickstream.after_history(source, home.path, 3, 1, run=run, events=300)
    assert not home.path.exists()
    _, history, with_new, with_late = counts
    assert with_new - history == {last + timedelta(days=1): 300}
    assert with_late - with_new == {last - timedelta(days=1): 3}
    assert [list(measured.phases) for (measured,) in found.values()] == [["raw", "cleaned", "dbt"]] * 2
    assert min(seconds for (measured,) in found.values() for seconds in measured.phases.values()) > 0


def _sorted(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows in an order of their own; decimals and floats as numbers that can be compared between engines."""
    return sorted((tuple(map(_plain, row)) for row in rows), key=repr)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:.2f}"
    if isinstance(value, float):
        return f"{value:.9g}"
    return value if not isinstance(value, date) else value.isoformat()
