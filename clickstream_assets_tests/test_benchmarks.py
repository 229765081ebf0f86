"""The benchmark compares like with like: every contender gives the same rows, rejects and answers on the same file."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from benchmarks import (
    backfill,
    cdc,
    clickstream,
    commits,
    data,
    ecommerce,
    history,
    hops,
    huge,
    measuring,
    models,
    product,
    sales,
    start,
    ticks,
)
from benchmarks.measuring import Measured, Target
from benchmarks.peers import default_graph
from clickstream_assets_tests.conftest import HEADER, Home, use_home
from clickstream_assets_tests.events import event, land

FOLDER = Path(data.__file__).parent
PEERS = {
    "pyspark": "pyspark_jvm.py", "duckdb": "duckdb_sql.py", "polars": "polars_script.py", "pandas": "pandas_script.py",
}  # fmt: skip
GRAPH = "default graph"
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
    """What the contenders made of one file: the product's home, and a folder for each peer.

    ``dbt``: what dbt did in the product's run.
    """

    home: Home
    peers: Path
    dbt: dict[str, float] = field(default_factory=dict)

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
        dbt = models.of_run(home.path, "ecommerce", lambda: home.run(str(data.DAY)))
        printed = {process.args[1].name: process.communicate()[1].decode() for process in peers.values()}
        failed = {process.args[1].name for process in peers.values() if process.returncode}
        assert not failed, [printed[name][-3000:] for name in failed]
        # Each of its steps would be a process that imports Dagster: here they are steps of one.
        environment.setenv("DEFAULT_GRAPH_INPUT", str(source))
        pickles = dg.FilesystemIOManager(base_dir=str(folder / "graph" / "storage"))
        dg.materialize(list(default_graph.defs.assets or ()), resources={"io_manager": pickles})
        default_graph.export(folder / "graph", folder / GRAPH, data.DAY)
        yield Made(home, folder, dbt)


@pytest.fixture(params=[*PEERS, GRAPH])
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


def test_the_driver_writes_its_results_and_leaves_what_others_measured(tmp_path: Path) -> None:
    results = tmp_path / "RESULTS.md"
    by_hand = f"{huge.TITLE}\nMeasured on 2026-01-02: by hand\n\n## Targets\n| how large | small | 1 | met |"
    kept = f"{by_hand}\n\n{clickstream.TITLE}\nstays\n"
    results.write_text(f"# Results\na summary of before\n\n{ecommerce.TITLE}\nfound before\n\n{kept}")
    options = ["--rows", "500", "--rounds", "1", "--only", "ecommerce", "--contenders", "de"]
    options += ["--data", tmp_path / "data", "--results", results]
    done = subprocess.run([sys.executable, FOLDER / "run.py", *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = results.read_text()
    summary, _, rest = text.partition(f"\n{ecommerce.TITLE}\n")
    assert done.stdout.strip().endswith(summary.strip()), "the table of all targets is what is printed last"
    assert summary.startswith("# Results\n") and "before" not in text
    assert "| how large | small | 1 | met | 2026-01-02 |" in summary
    assert rest.startswith("Measured on ") and rest.endswith(f"\n\n{kept}")
    assert "| d | plain DuckDB script |" in rest
    assert str(tmp_path) not in text
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["rows=500"]


def test_the_targets_of_all_parts_are_one_table() -> None:
    targets = [Target("how fast", "< 1 s", "0.5 s", True), Target("how large", "< 1 GB", "2 GB", False)]
    one = "\n".join(
        [*measuring.heading("# One results", "so.", ["duckdb"]), *measuring.section(targets), "", "| x | met |"]
    )
    other = "# Other results\nWritten by `make bench` on 2026-11-20: so.\n\n## Targets\n| target | found | |\n"
    other += "|---|---:|---|\n| small | 3 | met |\n\n## More\n| large | 4 | met |"
    lines = measuring.summary("# All", [one, other, "# Third\nwithout targets"]).splitlines()
    today = one.partition(" on ")[2][:10]
    assert lines[0] == "# All" and lines[4:] == [
        "|---|---|---:|---|---|",
        f"| how fast | < 1 s | 0.5 s | met | {today} |",
        f"| how large | < 1 GB | 2 GB | **missed** | {today} |",
        "| Other | small | 3 | met | 2026-11-20 |",
    ]


def test_targets_of_ecommerce_are_met_and_missed_at_their_limits() -> None:
    def runs(seconds: float, memory: float = 1) -> list[Measured]:
        phases = dict.fromkeys(("raw", "cleaned", "gold", "bronze", "silver"), seconds / 3) | {"session": 10.0}
        return [Measured(seconds, int(memory * 1e9), 1, phases)]

    def judged(found: dict[str, list[Measured]]) -> dict[str, bool]:
        seconds = {name: ecommerce.work_seconds(name, one) for name, (one,) in found.items()}
        return {f"{t.question}: {t.wanted}": t.met for t in ecommerce._targets(found, seconds, 2_000_000)}

    met = judged({"a": runs(2.49), "c": runs(15), "e": runs(1), "b": runs(14.9), "b10": runs(148, 3.9)})
    missed = judged({"a": runs(2.51), "c": runs(14.9), "e": runs(1), "b": runs(15.1), "b10": runs(152, 4.1)})
    assert met.keys() == missed.keys() and len(met) == 5
    assert set(met.values()) == {True} and set(missed.values()) == {False}
    assert judged({"a": runs(2.4), "e": runs(1)}) == {
        "2,000,000 e-commerce rows, engine steps: ≤ 2.5 × the Polars script": True
    }


def test_a_large_day_is_several_files_with_users_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "FILE_ROWS", 300)
    first = data.make(tmp_path, 700)
    files = sorted(first.parent.iterdir())
    assert [path.name for path in files] == ["events-001.csv", "events-002.csv", "events.csv"]
    product.land(first, tmp_path / "home")
    assert len(list((tmp_path / "home").rglob("*.csv"))) == 3
    users = [{line.partition(",")[0] for line in path.read_text().splitlines()[1:]} for path in files]
    assert [len(path.read_text().splitlines()) for path in files] == [301, 101, 301]
    for number, of_file in ((1, users[0]), (2, users[1])):
        assert {user.partition("-")[2] for user in of_file} == {str(number)}
    assert all(user.isdigit() for user in users[2])
    text = huge.report(Measured(500, int(8.1e9), 1, {"raw": 100, "cleaned": 200, "gold": 179}), first, 700)
    assert "in 3 file(s)" in text and "| < 480 s | 479 s | met |" in text
    assert "| memory < 8 GB | 8.10 GB | **missed** |" in text


def test_the_default_graph_is_what_dagster_does_by_default(tmp_path: Path) -> None:
    """A process for each step, and pickles between them: here of one step, since each imports Dagster."""
    command, environment = ecommerce.graph(data.make(tmp_path, 20), tmp_path)
    done = subprocess.run([*command[:-1], "bronze"], env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("STEP_WORKER_STARTED") == 1
    assert len(pickle.loads((tmp_path / "storage" / "bronze").read_bytes())) == 20


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
    assert text.startswith("# Results\n") and f"\n{cdc.TITLE}\n" in text and "a table of 40,000 rows" in text
    assert "| full load | 40,000 |" in text and "| a batch of keys anywhere | 2,000 |" in text
    part, _, summary = reversed(text.partition(f"\n{cdc.TITLE}\n"))
    assert "| 1,000 changes of keys of one bucket | the files of that bucket alone | " in part
    assert part.count("| met |") == summary.count("| met |") == 3


def test_what_is_measured_of_sales_is_reported_and_judged() -> None:
    def runs(seconds: float, memory: float, following: float) -> dict[str, list[Measured]]:
        days = [Measured(following + n, 1, 1, {"dbt": 2}) for n in (0, -3, 3)]
        return {"all": [Measured(seconds, int(memory * 1e9), 400)], "next": days}

    met = sales.report({29: runs(20, 1, 10), 365: runs(299, 2.9, 12)}, 1000)
    assert "| 365 days of 1,000 sales in one run | < 5 minutes | 299 s | met |" in met
    assert "| memory < 3 GB | 2.90 GB | met |" in met
    assert "| day 366 of 1,000 sales | ≤ 1.2 × day 30 | 1.20 × | met |" in met
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
    text = clickstream.report(found | {"engines10": [tenfold]}, 2000, 1, 450.0)
    assert "450 bytes of JSON each" in text
    assert "| ≤ 10.5 × the time of 2,000 | 11.00 × | **missed** |" in text
    assert "| memory < 2 GB | 0.00 GB | met |" in text


def test_the_steps_of_clickstream_are_printed_for_the_driver(
    tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(product, "event_steps", lambda *given: {"given": [str(one) for one in given]})
    monkeypatch.setattr(sys, "argv", ["product.py", "clickstream", "landing", str(home.path)])
    product.main()
    assert json.loads(capsys.readouterr().out) == {"given": ["landing", str(home.path), str(data.DAY)]}


def test_after_a_history_a_new_day_and_an_old_one_take_turns(
    tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    last, counts = history.LAST, [Counter[date]()]

    def run(domain: str, folder: Path, first: date, day: date) -> Measured:
        environment = {"CLICKSTREAM_HOME": str(folder)}
        monkeypatch.setenv(*environment.popitem())
        summary = Home(folder).run(str(first), str(day), domain=domain)
        rows = Home(folder).query("select event_date, count(*) from clickstream.events_enhanced group by 1")
        counts.append(Counter(dict(rows)))
        return Measured(1, 1, 1, product.layer_seconds(folder, summary.run_ids))

    found = history.after(tmp_path, "clickstream", [3], 300, 1, run=run)
    _, made, with_new, with_late = counts
    assert with_new - made == {last + timedelta(days=1): 300}
    assert with_late - with_new == {last + timedelta(days=1): 3}
    (kinds,) = found.values()
    assert list(kinds) == [history.FIRST, history.REPAIR]
    phases = [measured.phases for (measured,) in kinds.values()]
    assert [list(of) for of in phases] == [list(product.LAYERS)] * 2
    assert min(seconds for of in phases for seconds in of.values()) > 0


def test_a_history_is_kept_until_it_is_too_long_or_of_other_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[date, date]] = []

    def run(domain: str, home: Path, first: date, last: date) -> Measured:
        landed = sorted((home / "landing" / domain).iterdir())
        assert landed[0].name.endswith(str(history.LAST - timedelta(days=1))) and landed[-1].name.endswith(str(last))
        ran.append((first, last))
        return Measured(1, 1, 1)

    def after() -> list[tuple[date, date]]:
        ran.clear()
        history.after(tmp_path, "ecommerce", [2], 5, 1, run=run)
        return list(ran)

    begin, last = history.LAST - timedelta(days=1), history.LAST
    new = [last + timedelta(days=number) for number in range(1, 4)]
    assert after() == [(begin, last), (new[0], new[0])]
    assert after() == [(begin, last), (new[0], new[0])], "two more of two are too many"
    monkeypatch.setattr(history, "_spare", lambda days, rounds: 8)
    assert after() == [(new[1], new[1])]
    monkeypatch.setattr(history, "CODE", Path(data.__file__).parent)
    assert after() == [(begin, last), (new[0], new[0])]
    assert json.loads((tmp_path / "ecommerce-2" / "stamp.json").read_text())["done"] == 3

    def breaks_off(*_: object) -> Measured:
        raise measuring.BenchmarkFailed("broke off")

    with pytest.raises(measuring.BenchmarkFailed):
        history.after(tmp_path, "ecommerce", [2], 5, 1, run=breaks_off)
    assert after() == [(begin, last), (new[0], new[0])], "what broke off has a day that was not run"


def test_what_is_measured_of_histories_is_reported_and_judged() -> None:
    def runs(seconds: float) -> list[Measured]:
        return [Measured(seconds, 1, 1, dict.fromkeys(product.LAYERS, seconds / 4))]

    found = {
        "sales": {40: {history.FIRST: runs(10)}, 400: {history.FIRST: runs(12)}},
        "clickstream": {n: {history.FIRST: runs(10), history.REPAIR: runs(n / 30)} for n in (40, 400)},
        "cdc": {40: {history.FIRST: runs(10)}, 400: {history.FIRST: runs(12.1)}},
    }
    text = history.report(found, 5000, 1)
    assert "| one day's run with 400 days of history vs 40: sales | ≤ 1.2 × | 1.20 × | met |" in text
    assert "vs 40: cdc | ≤ 1.2 × | 1.21 × | **missed** |" in text
    assert (
        "| repair of an old day after 400 days, steps: clickstream | ≤ 1.2 × those of a new day | 1.33 × | **mis"
        in text
    )


def test_a_year_is_filled_at_once_and_some_of_its_days_alone(tmp_path: Path) -> None:
    ran: list[tuple[str, ...]] = []
    day = [str(backfill.FIRST + timedelta(days=number)) for number in range(10)]

    def run(home: Path, arguments: Sequence[str]) -> Measured:
        landed = {path.name for path in (home / "landing/d").iterdir()}
        ran.append((home.name, *arguments[1:], str(len(landed))))
        return Measured(10 if home.name == "backfill" else 1, 1, 1)

    for number in range(10):
        path = tmp_path / "source" / str(backfill.FIRST + timedelta(days=number)) / "d" / str(number)
        path.parent.mkdir(parents=True)
        path.touch()

    def of(domain: str, all_runs: bool) -> list[tuple[str, ...]]:
        ran.clear()
        found = backfill.measure([tmp_path / "source"], tmp_path / "work", 10, all_runs=all_runs, run=run)
        assert found.seconds == 10 * 2 and found.of_runs == 10 * len(backfill.DOMAINS)
        assert found.measured_days == (10 if all_runs else 5)
        text = backfill.report(found, 1000)
        assert "| 2.5 × (50 s) | **missed** |" in text and ("an estimate" in text) != all_runs
        assert ran[0] == ("backfill", "--from", str(backfill.FIRST), "--to", day[9], "10")
        return [one for one in ran if one[1] == domain]

    assert of("sales", False) == [
        ("daily", "sales", "--date", day[0], "1"),
        ("daily", "sales", "--date", day[5], "6"),
        ("daily", "sales", "--date", day[6], "7"),
        ("daily", "sales", "--date", day[8], "9"),
        ("daily", "sales", "--date", day[9], "10"),
    ]
    assert of("cdc", True) == [("backfill", "cdc", "10"), *(("daily", "cdc", str(n)) for n in range(1, 11))]


def test_generated_days_land_one_by_one(tmp_path: Path) -> None:
    """Each file in the folder of its day, of every domain; what two days share is of the first."""
    last = backfill.FIRST + timedelta(days=2)
    for domain in history.DOMAINS:
        source = data.days(tmp_path, domain, 6, backfill.FIRST, last)
        assert sorted(path.name for path in source.iterdir()) == [f"2025-01-0{n}" for n in (1, 2, 3)]
        data.land_days(source, tmp_path / domain, last, last)
        landed = [path.relative_to(tmp_path / domain) for path in (tmp_path / domain).rglob("*") if path.is_file()]
        assert landed
        if domain != "cdc":
            days = ("2025-01-03", "year=2025/month=01/day=03")
            assert all(any(day in str(path) for day in days) for path in landed), landed


def test_dbt_starts_once_in_a_run_and_parses_nothing(made: Made) -> None:
    found = made.dbt
    assert (found["starts"], found["parses"], found["others"]) == (1, 0, 0)
    assert found["models"] > 10 and found["tests"] > 10
    assert 0 < found["besides"] < found["seconds"]
    text = models.report({"ecommerce": found, "sales": found | {"starts": 2, "others": 1}})
    assert "| start-up paid once per run | 2 start(s) | **missed** |" in text
    assert "| partial parsing kept warm | 0 parse(s) | met |" in text
    assert "| only the models of the domain | 1 of others | **missed** |" in text


def test_the_engines_are_still_called_so() -> None:
    with product._timed_engines() as took:
        assert took == {}


def test_the_hops_of_a_run_add_up_to_it(tmp_path: Path, home: Home) -> None:
    product.land_tiny(home.path, product.land(data.make(tmp_path, 3000), home.path))
    found = hops.measure("ecommerce", home.path, data.DAY, data.DAY)
    for layer in product.LAYERS:
        wanted = {"compute", "orchestrate"} | ({"read", "publish"} if layer != "enhanced" else {"check"})
        assert {hop for hop, seconds in found[layer].items() if seconds > 0} >= wanted
    assert found["raw"]["write"] > 0
    steps = product.steps(home.path, data.DAY)
    assert [sum(found[layer].values()) for layer in product.LAYERS] == pytest.approx(list(steps.values()))
    phases = {f"{layer} {hop}": seconds for layer, of in found.items() for hop, seconds in of.items()}
    table = hops.table([Measured(1, 1, 1, phases)] * 3)
    assert table[0].startswith("| | read | compute |") and table[5].startswith("| between |  |")


def test_a_start_is_measured_and_judged_by_that_of_dagster(tmp_path: Path) -> None:
    found = start.measure(tmp_path, 1)
    assert {name: len(runs) for name, runs in found.items()} == {"dagster": 1, "graph": 1, "help": 1}
    (one,) = found["dagster"]
    assert 0 < one.phases["inside"] < one.wall
    assert (one.wall, one.cpu) < (found["graph"][0].wall, found["graph"][0].cpu)

    def judged(graph: float, command: float) -> str:
        seconds = {"dagster": 1, "graph": graph, "help": command}
        return start.report({name: [Measured(wall, 1, 1, {"inside": 1})] for name, wall in seconds.items()})

    assert judged(3.5, 0.4).count("| met |") == 2
    assert judged(3.6, 0.41).count("| **missed** |") == 2


def test_a_tick_of_the_real_sensor_finds_nothing_new_on_a_folder_and_on_s3(tmp_path: Path) -> None:
    found = ticks.measure(tmp_path, 1200, 30, 1)
    assert {place: (tick.files, tick.requests) for place, (tick,) in found.items()} == {
        "folder": (1200, 0), "S3": (1200, 0)
    }  # fmt: skip
    assert ticks.report(found).count("| met |") == 4
    slow = ticks.Tick(2.1, 1, 64 * 1024, 1, 1200)
    assert ticks.report({"folder": [slow], "S3": [slow]}).count("| **missed** |") == 4


def test_tables_of_many_commits_are_compared_with_fresh_ones(tmp_path: Path) -> None:
    found = commits.measure(tmp_path, 20, 4, 1, 1)
    assert found.kept.files == found.growth[-1].files == 20
    assert (found.growth[-1].snapshots, found.kept.snapshots, found.kept.manifests) == (20, 1, 1)
    with_upkeep, without = found.simulated["with upkeep"][-1], found.simulated["without"][-1]
    assert with_upkeep.files == without.files == 24 * commits.FILES + 1
    assert with_upkeep.manifests < without.manifests == 25
    assert "| published | 20 |" in commits.report(found)
    for name, value in (("after upkeep", 2.1), ("fresh", 1.0)):
        found.planning[name] = {what: [value] for what in found.planning[name]}
    assert commits.report(found).count("| **missed** |") == 4


def _sorted(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows in an order of their own; decimals and floats as numbers that can be compared between engines."""
    return sorted((tuple(map(_plain, row)) for row in rows), key=repr)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:.2f}"
    if isinstance(value, float):
        return f"{value:.9g}"
    return value if not isinstance(value, date) else value.isoformat()
