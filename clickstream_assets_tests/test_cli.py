"""The command line as its users meet it: what it prints, on which stream, and how it ends."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from clickstream_assets import cli
from clickstream_assets.domains import DOMAINS
from clickstream_assets.generate.story import Story
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

    ran = clickstream(home, "run", "ecommerce", *days, "--format", "json")
    account = json.loads(ran.stdout)
    assert (account["domain"], account["days"], account["repaired"]) == ("ecommerce", ["2024-03-01", "2024-03-02"], [])
    assert len(account["run_ids"]) == 2 and account["seconds"] > 0
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
    told = json.loads(clickstream(home, "status", "--format", "json").stdout)
    assert set(told) == {"tables", "ledger", "rejected", "landing_files"}
    raw = next(row for row in told["tables"] if row["asset"] == "ecommerce_raw.events_raw")
    assert (raw["partitions"], raw["newest"], raw["hours_ago"]) == (2, "2024-03-02", 0)
    assert datetime.now(UTC) - datetime.fromisoformat(raw["last_run"]) < timedelta(hours=1)
    assert {row["rule"]: row["rows"] for row in told["rejected"]} == {
        rule: int(count) for rule, count in planted.items() if rule != "duplicate_file"
    }


def test_the_days_of_a_story_differ(home: Home) -> None:
    days = ["--from", "2024-03-01", "--to", "2024-03-07", "--rows-per-day", "300"]
    clickstream(home, "generate", "ecommerce", *days, "--story")
    sizes = {}
    for path in (home.path / "landing").rglob("events-0000.csv*"):
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        sizes[date.fromisoformat(path.parent.name[-10:])] = len(text.splitlines()) - 1
    story = Story(date(2024, 3, 1), date(2024, 3, 7))
    assert sizes == {day: story.on(day).rows(300) for day in sizes} and len(sizes) == 7
    assert min(sizes, key=sizes.__getitem__) == story.outage


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
            "There is no domain 'nothing': choose ecommerce, clickstream, ga4, sales, cdc.",
        ),
        (["run", "ecommerce", "--date", "2023-12-31"], "2023-12-31 is not a partition: they run from 2024-01-01"),
        (["run", "ecommerce", "--date", "2999-01-01"], "2999-01-01 is not a partition"),
        (["run", "ecommerce", "--from", "2024-03-02", "--to", "2024-03-01"], "swap them"),
        (["query", "create table t (n int)"], "CREATE is not a query"),
        (["query", "selec"], "The query failed"),
        (["query", " "], "The query is empty"),
        (["query", "select * from time"], "Table with name time does not exist"),
        (["query", "select 1 as a, 2 as a", "--format", "json"], "More than one column is called a"),
        (
            ["generate", "nothing", "--from", "2024-03-01", "--to", "2024-03-01", "--rows-per-day", "1"],
            "There is no domain 'nothing': choose ecommerce, clickstream, ga4, sales, cdc.",
        ),
        (["ga4", "drift", "--report", "nothing"], "choose ga_events, ga_daily, ga_sources, ga_pages"),
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


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing"], "No such command 'nothing'"),
        (["run", "ecommerce"], "Give either --date, or --from and --to."),
        (["run", "ecommerce", "--date", "yesterday"], "does not match the format"),
        (["run", "cdc", "--date", "2024-03-01"], "cdc takes no dates"),
        (["run", "ecommerce", "--date", "2024-03-01", "--replay"], "--replay is for cdc"),
        (["query"], "Give either the SQL, or --file."),
        (["query", "select 1", "--file", "-"], "Give either the SQL, or --file."),
        (["status", "--format", "csv"], "'csv' is not one of"),
    ],
)
def test_what_is_not_understood_ends_with_exit_code_2(
    home: Home, arguments: list[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert says in printed.err


def test_the_statement_of_a_query_may_be_in_a_file_or_come_in(home: Home, tmp_path: Path) -> None:
    (tmp_path / "one.sql").write_text("select 'é' as letter")
    wanted = [{"letter": "é"}]
    found = CliRunner().invoke(cli.main, ["query", "--file", str(tmp_path / "one.sql"), "--format", "json"])
    assert json.loads(found.output) == wanted
    found = CliRunner().invoke(cli.main, ["query", "--file", "-", "--format", "json"], input="select 'é' as letter")
    assert json.loads(found.output) == wanted


def test_what_was_done_is_one_json_value(home: Home) -> None:
    days = ["--from", "2024-03-01", "--to", "2024-03-02"]
    told = {}
    for command in (
        ["generate", "clickstream", *days, "--rows-per-day", "20", "--faults"],
        ["ga4", "pull", *days],
        ["retention", "--dry-run"],
    ):
        done = CliRunner().invoke(cli.main, [*command, "--format", "json"])
        assert done.exit_code == 0, done.stderr
        told[command[0]] = json.loads(done.stdout)
    generated = told["generate"]
    assert sum(generated["faults"].values()) > 0 and generated["records"] > 40
    assert all((home.path / "landing" / path).is_file() for path in generated["files"])
    pulls = told["ga4"]["pulls"]
    assert told["ga4"]["synthetic"] is True
    assert sorted({(pull["report"], pull["day"]) for pull in pulls}) == [
        (f"ga_{report}", f"2024-03-0{day}") for report in ("daily", "events", "pages", "sources") for day in (1, 2)
    ]
    listed = {row["path"]: row for row in told["retention"]}
    assert set(listed) == set(generated["files"])  # none of which was loaded
    assert {row["status"] for row in listed.values()} == {"not_loaded"}
    assert {row["domain"] for row in listed.values()} == {"clickstream"}


def on_a_terminal(home: Home, *arguments: str) -> tuple[str, str]:
    """What a command prints on standard output, and what it shows on a terminal that is its standard error."""
    controller, terminal = pty.openpty()
    command = Path(sys.executable).with_name("clickstream")
    environment = {**os.environ, "CLICKSTREAM_HOME": str(home.path), "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen([command, *arguments], stdout=subprocess.PIPE, stderr=terminal, env=environment) as process:
        os.close(terminal)
        shown = b""
        with contextlib.suppress(OSError):  # Linux says so when the other end is closed
            while some := os.read(controller, 65536):
                shown += some
        assert process.stdout is not None
        printed = process.stdout.read()
    os.close(controller)
    assert process.returncode == 0, shown.decode()
    return printed.decode(), shown.decode()


def test_long_work_has_a_bar_on_a_terminal_and_none_in_a_file(home: Home) -> None:
    days = ["--from", "2024-03-01", "--to", "2024-03-05"]
    generate = ["generate", "ecommerce", *days, "--rows-per-day", "20"]
    printed, shown = on_a_terminal(home, *generate)
    assert "generating ecommerce" in shown and "/5" in shown and "100 records" in shown
    assert printed == ""
    done = clickstream(home, *generate)
    assert len(done.stderr.splitlines()) == 1 and "generating" not in done.stderr
    _, shown = on_a_terminal(home, "ga4", "pull", *days)
    assert "pulling GA4" in shown and "/20" in shown


#: every command with its names
COMMANDS = [[], *([name, *rest] for name, command in cli.main.commands.items()
                  for rest in ([[]] + [[sub] for sub in getattr(command, "commands", ())]))]  # fmt: skip


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_help_reads_well(names: list[str], width: int) -> None:
    shown = CliRunner().invoke(cli.main, [*names, "--help"], terminal_width=width).output
    _, *lines = shown.splitlines()
    assert [line for line in lines if len(line) > width or line.endswith("...")] == []
    summary = shown.split("\n\n")[1]
    assert re.match(r"\s+[A-Z]", summary) and summary.rstrip().endswith((".", ":"))


def commands(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        yield from commands(command) if isinstance(command, click.Group) else [command]


def test_every_command_and_option_is_explained() -> None:
    for command in commands(cli.main):
        assert command.help, command.name
        options = [option for option in command.params if isinstance(option, click.Option)]
        assert [option.name for option in options if not option.help] == []


def test_help_names_the_domains_that_there_are() -> None:
    for command in ("run", "generate"):
        text = " ".join(CliRunner().invoke(cli.main, [command, "--help"]).output.split())
        listed = re.search(r"DOMAIN is ([a-z0-9, ]+) or ([a-z0-9]+)\.", text)
        assert listed and [*listed[1].split(", "), listed[2]] == [*DOMAINS, "cdc"]


def test_the_shell_completes_domains() -> None:
    variables = {"_CLICKSTREAM_COMPLETE": "bash_complete", "COMP_WORDS": "clickstream run c", "COMP_CWORD": "2"}
    command = Path(sys.executable).with_name("clickstream")
    done = subprocess.run([command], capture_output=True, text=True, env={**os.environ, **variables}, check=True)
    assert done.stdout.split() == ["plain,clickstream", "plain,cdc"]


def test_help_comes_at_once_as_it_imports_nothing_heavy(home: Home) -> None:
    program = (
        "import sys\nfrom clickstream_assets.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('dagster', 'duckdb', 'pyarrow', 'pyspark', 'dbt', 'rich', 'yaml') if m in sys.modules])"
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
