"""The command line as its users meet it: what it prints, on which stream, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clickstream_assets import cli
from clickstream_assets_tests.conftest import Home


def clickstream(home: Home, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a process of its own."""
    command = Path(sys.executable).with_name("clickstream")
    environment = {**os.environ, "CLICKSTREAM_HOME": str(home.path)}
    done = subprocess.run([command, *arguments], capture_output=True, text=True, env=environment, check=False)
    if check:
        assert done.returncode == 0, done.stderr
    return done


def test_a_newcomer_generates_runs_and_queries(home: Home) -> None:
    days = ["--from", "2024-03-01", "--to", "2024-03-02"]
    made = clickstream(home, "generate", "ecommerce", *days, "--rows-per-day", "200", "--faults")
    planted = dict(line.split("\t") for line in made.stdout.splitlines())
    assert planted["missing_amount"] == "2"

    ran = clickstream(home, "run", "ecommerce", *days)
    assert ran.stdout == ""
    for line in ("ecommerce_raw.events_raw", "ecommerce.events_cleaned", "ecommerce_models", "2 day(s) done"):
        assert line in ran.stderr
    assert "400 rows, 12 rejected" in ran.stderr

    rejected = clickstream(
        home, "query", "select rule, count(*) as n from ops.quarantine group by 1", "--format", "json"
    )
    assert {row["rule"]: row["n"] for row in json.loads(rejected.stdout)} == {
        rule: int(count) for rule, count in planted.items() if rule != "duplicate_file"
    }
    shown = clickstream(home, "status").stdout
    assert "ecommerce_raw.events_raw" in shown
    assert "missing_amount" in shown
    assert "duplicate_file" in shown


def test_query_prints_tables_csv_and_json(home: Home) -> None:
    sql = "select 1 as n, 'a,\"b\"' as text, null as nothing, date '2024-03-01' as day, 1.50::decimal(12,2) as money"
    table = clickstream(home, "query", sql).stdout
    assert "money" in table
    assert "2024-03-01" in table
    (row,) = csv.DictReader(io.StringIO(clickstream(home, "query", sql, "--format", "csv").stdout))
    assert row == {"n": "1", "text": 'a,"b"', "nothing": "", "day": "2024-03-01", "money": "1.50"}
    (record,) = json.loads(clickstream(home, "query", sql, "--format", "json").stdout)
    exact = clickstream(
        home, "query", "select 9999999999999999.99::decimal(18,2) as m, 'nan'::double as x", "--format", "json"
    )
    assert exact.stdout == '[{"m": 9999999999999999.99, "x": null}]\n'
    assert record == {"n": 1, "text": 'a,"b"', "nothing": None, "day": "2024-03-01", "money": 1.5}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["run", "nothing", "--date", "2024-03-01"],
            "There is no domain 'nothing': choose ecommerce, clickstream, ga4, sales.",
        ),
        (["run", "ecommerce", "--date", "2023-12-31"], "2023-12-31 is not a partition: they run from 2024-01-01"),
        (["run", "ecommerce", "--date", "2999-01-01"], "2999-01-01 is not a partition"),
        (["run", "ecommerce", "--from", "2024-03-02", "--to", "2024-03-01"], "swap them"),
        (["query", "create table t (n int)"], "CREATE is not a query"),
        (["query", "selec"], "The query failed"),
        (["query", " "], "The query is empty"),
        (["query", "select * from time"], "Table with name time does not exist"),
        (["query", "select 1 as a, 2 as a", "--format", "json"], "More than one column is called a"),
        (["generate", "nothing", "--from", "2024-03-01", "--to", "2024-03-01", "--rows-per-day", "1"], "nothing"),
    ],
)
def test_a_mistake_is_one_line_on_standard_error_and_exit_code_1(
    home: Home, arguments: list[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 1
    printed = capfd.readouterr()
    assert printed.out == ""
    assert says in printed.err
    assert printed.err.startswith("clickstream: ")
    assert len(printed.err.strip().splitlines()) == 1


def test_a_failed_run_says_which_table_why_and_what_to_do(home: Home) -> None:
    home.land("2024-03-01", "a.csv", *[",1,2024-03-01 10:00:00,page_view,,,"] * 1200)
    done = clickstream(home, "run", "ecommerce", "--date", "2024-03-01", check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(
        "clickstream: ecommerce.events_cleaned was not published for 2024-03-01: rejected_share: more than 50%"
    )
    assert "missing_user_id 1,200" in last
    assert "CLICKSTREAM_MAX_REJECTED_SHARE" in last


def test_help_reads_well_and_imports_nothing_heavy(home: Home) -> None:
    program = (
        "import sys\nfrom clickstream_assets.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('dagster', 'duckdb', 'pyarrow', 'pyspark', 'dbt', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    for command in ("run", "query", "status", "generate", "demo", "dev"):
        assert f"\n  {command} " in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_bad_setting_is_one_sentence(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKSTREAM_START_DATE", "yesterday")
    done = clickstream(home, "status", check=False)
    assert done.returncode == 1
    assert done.stderr == "clickstream: CLICKSTREAM_START_DATE is 'yesterday': write it as YYYY-MM-DD.\n"
