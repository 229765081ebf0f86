"""The dbt project: unit tests, both targets, one start per run, tests as asset checks, and the window protocol."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from functools import partial
from pathlib import Path

import pytest
from dagster_dbt import dbt_assets
from dbt.cli.main import dbtRunnerResult

from clickstream_assets import dbt, schemas
from clickstream_assets.definitions import defs
from clickstream_assets.domains import DOMAINS
from clickstream_assets.run import RunFailed
from clickstream_assets.settings import Settings, exported
from clickstream_assets_tests import forked
from clickstream_assets_tests.conftest import Home, use_home


def run_dbt(home: Home, *arguments: str) -> dbtRunnerResult:
    """dbt in this process, with the parse of the project that the runs use."""
    with exported(home.settings.dbt_environment()):
        parsed = dbt._parsed(dbt.manifest(home.settings))
        return dbt._invoke([*arguments, "--no-write-json"], target=home.path / "target", manifest=parsed)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home after the run of an empty day, to look at."""
    with pytest.MonkeyPatch.context() as patch:
        home = use_home(tmp_path_factory.mktemp("dbt") / "home", patch)
        parsed = dbt.manifest(home.settings).stat().st_ino
        home.run("2024-03-01")
        assert dbt.manifest(home.settings).stat().st_ino == parsed, "a new home uses the parse of the project"
        yield home


def test_models_and_tests_are_the_assets_and_checks_that_dagster_dbt_would_make(ran: Home) -> None:
    """Which has dbt select them by their tag, and takes five times as long."""
    path = dbt.manifest(ran.settings)
    described = json.loads(path.read_text())
    for domain in DOMAINS:
        asset = dbt_assets(
            manifest=described, select=f"tag:{domain}", dagster_dbt_translator=dbt.translator(path), name=domain
        )
        wanted = asset(lambda: None)
        assets, checks = dbt.specs(path, described, domain)
        assert {asset.key for asset in assets} == wanted.keys
        assert {check.key: check.blocking for check in checks} == {
            check.key: check.blocking for check in wanted.check_specs
        }
        assert checks


def test_unit_tests_give_rows_in_and_rows_out_for_each_answer(ran: Home) -> None:
    """Those of the other domain run in ``test_clickstream_models``. They take column types from the relations."""
    done = run_dbt(ran, "test", "--select", "test_type:unit,tag:ecommerce")
    assert done.success, (done.exception, done.result)
    units = dbt._parsed(dbt.manifest(ran.settings)).unit_tests
    tested = {units[result.node.unique_id].model for result in done.result}
    answers = {
        "top_products", "conversion_funnel", "daily_active_users", "user_segments", "revenue_metrics",
        "user_journeys", "weekday_weekend", "users", "sessions", "products", "event_types", "time",
    }  # fmt: skip
    assert answers <= tested
    others = {one.fqn[1] for name, one in units.items() if name not in {found.node.unique_id for found in done.result}}
    assert others == {"clickstream"}


def test_the_models_parse_for_redshift(home: Home) -> None:
    done = dbt._invoke(["parse", "--target", "redshift", "--warn-error"], target=home.path / "target")
    assert done.success, done.exception


def test_databases_differ_in_dispatched_macros_only() -> None:
    """A model or a test that asks which database it is on would be two models."""
    asking = re.compile(r"\btarget\.(?!schema\b)|\badapter\.(?!dispatch\b)|duckdb__|redshift__")
    sources = [path for folder in ("models", "tests") for path in (dbt.PROJECT / folder).rglob("*.*")]
    assert len(sources) > 40
    assert [path.name for path in sources if asking.search(path.read_text())] == []
    macros = "".join(path.read_text() for path in (dbt.PROJECT / "macros").glob("*.sql"))
    ours = re.findall(r"macro redshift__(\w+)", macros)
    assert ours and all(f"adapter.dispatch('{name}'" in macros and f"default__{name}(" in macros for name in ours)


def test_dbt_tests_are_blocking_asset_checks() -> None:
    graph = defs().resolve_asset_graph()
    others = {tuple(table.key) for table in schemas.TABLES} | {("ops", "catalog")}
    checks = [key for key in graph.asset_check_keys if key.asset_key.path[0] != "cdc"]
    of_dbt = [key for key in checks if tuple(key.asset_key.path) not in others]
    tests = dbt._parsed(dbt.manifest(Settings.from_environment())).nodes.values()
    assert {key.name for key in of_dbt} == {node.name for node in tests if node.resource_type == "test"}
    assert {graph.get(key.asset_key).group_name for key in of_dbt} == {f"enhanced/{name}" for name in DOMAINS}


def test_parsed_projects_that_are_in_use_are_kept_however_many_are_parsed(tmp_path: Path) -> None:
    """Each database of a Redshift has one of its own, and a process goes on with the one that it began with."""
    now = time.time()
    for number in range(12):
        path = tmp_path / f"{number:016x}" / "manifest.json"
        path.parent.mkdir()
        path.write_text("{}")
        age = 3600 if number < 6 else 30 * 3600
        os.utime(path, (now - age - number, now - age - number))
    dbt._forget_old(tmp_path)
    assert sorted(int(path.name, 16) for path in tmp_path.iterdir()) == [0, 1, 2, 3, 4, 5]
    used = dbt.manifest(Settings.from_environment())
    os.utime(used, (1, 1))
    assert dbt.manifest(Settings.from_environment()) == used
    assert time.time() - used.stat().st_mtime < 60


def test_a_failing_dbt_test_fails_the_run_and_names_itself(home: Home) -> None:
    home.land("2024-03-01", "a.csv", "1,1,2024-03-01 10:00:00,product_view,p1,,")
    home.run("2024-03-01")
    with home.platform.warehouse.connect("spoil an aggregate of another date") as connection:
        connection.execute("update ecommerce.user_days set product_views = 7")
    home.land("2024-03-02", "a.csv", "1,1,2024-03-02 10:00:00,page_view,,,")
    with pytest.raises(RunFailed, match=r"dbt: .*test \w+ on \w+: Got 1 result.*\.sql"):
        home.run("2024-03-02")


def test_a_run_recomputes_only_the_dates_that_its_rows_touch_and_reads_the_files_of_its_own_days(home: Home) -> None:
    """What dbt sent for the aggregates of one day opens one file of six."""
    for day in range(1, 7):
        bought, viewed = (f"{day},1,2024-03-0{day} 10:00:00,{kind},p{day}" for kind in ("purchase", "product_view"))
        home.land(f"2024-03-0{day}", "a.csv", f"{bought},5.00,", f"{viewed},,")
    home.run("2024-03-01", "2024-03-06")
    with home.platform.warehouse.connect("mark all dates") as connection:
        connection.execute("update ecommerce.user_days set first_view_at = timestamptz '2020-01-01 00:00:00+00'")
    home.run("2024-03-03")
    assert home.query("select event_date, year(first_view_at) from ecommerce.user_days order by 1") == [
        (date(2024, 3, day), 2024 if day == 3 else 2020) for day in range(1, 7)
    ]
    assert home.query("select * from ecommerce.stale_event_dates") == []
    for model in ("user_days", "product_days", "event_type_days", "ingested_days", "session_parts"):
        (compiled,) = (home.path / "dbt" / "compiled").rglob(f"{model}.sql")
        assert "and ingestion_date in (cast('2024-03-03' as date))" in " ".join(compiled.read_text().split())
    ((_, plan),) = home.query(
        "explain analyze select * from ecommerce.events where ingestion_date in (cast('2024-03-03' as date))"
    )
    assert "Total Files Read: 1" in plan


def test_the_warehouse_is_free_when_dbt_has_ended(ran: Home) -> None:
    program = f"import duckdb; duckdb.connect({str(ran.settings.warehouse_path)!r}).execute('select 1')"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_new_home_uses_the_parse_of_the_project_and_keeps_dbts_account_of_the_run(ran: Home) -> None:
    assert not list(ran.settings.dbt_state.rglob("partial_parse.msgpack"))
    results = json.loads((ran.settings.dbt_state / "run_results.json").read_text())["results"]
    assert {result["status"] for result in results} == {"success", "pass"}


def test_a_model_that_changes_between_table_and_view_replaces_the_other(home: Home) -> None:
    home.land("2024-03-01", "a.csv", "1,1,2024-03-01 10:00:00,product_view,p1,,")
    home.run("2024-03-01")
    before = home.tables()
    with home.platform.warehouse.connect("a test") as connection:
        connection.execute("drop table ecommerce.users; create view ecommerce.users as select 1")
        connection.execute("drop view ecommerce.sessions; create table ecommerce.sessions as select 1")
    home.run("2024-03-01")
    assert home.tables() == before
    kinds = home.query("select table_name, table_type from information_schema.tables where table_schema = 'ecommerce'")
    assert (dict(kinds)["users"], dict(kinds)["sessions"]) == ("BASE TABLE", "VIEW")


def _load(project: Path, parses: Path) -> None:
    parse = dbt._parse_into

    def counted(folder: Path, settings: Settings) -> None:
        (parses / str(os.getpid())).touch()
        parse(folder, settings)

    dbt.PROJECT, dbt._parse_into = project, counted
    dbt.manifest(Settings.from_environment())


def test_of_two_that_load_a_new_project_at_once_one_parses_it(home: Home, tmp_path: Path) -> None:
    copy, parses = tmp_path / "project", tmp_path / "parses"
    shutil.copytree(dbt.PROJECT, copy, ignore=shutil.ignore_patterns("target", "logs"))
    parses.mkdir()
    for command in [forked.start(home, first=partial(_load, copy, parses)) for _ in range(2)]:
        command.succeed()
    assert len(list(parses.iterdir())) == 1
    assert [path.name for path in (copy / "target").glob("parsing-*")] == []


def test_an_edited_project_is_parsed_anew_whatever_the_time_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "project"
    shutil.copytree(dbt.PROJECT, copy, ignore=shutil.ignore_patterns("target", "logs"))
    monkeypatch.setattr(dbt, "PROJECT", copy)
    # What is set for another home must not get into the names of the relations.
    monkeypatch.setenv("CLICKSTREAM_DBT_DUCKDB_PATH", "/tmp/other.duckdb")
    monkeypatch.setenv("CLICKSTREAM_DBT_TARGET", "redshift")
    (copy / "target" / "parsing-of-a-process-that-was-killed").mkdir(parents=True)
    first = dbt.manifest(Settings.from_environment())
    names = {node.get("relation_name") for node in json.loads(first.read_text())["nodes"].values()}
    assert '"warehouse"."ecommerce"."users"' in names
    assert dbt.manifest(Settings.from_environment()) == first
    model = copy / "models" / "ecommerce" / "staging" / "events.sql"
    times = model.stat()
    model.write_text(model.read_text() + "\n-- edited\n")
    os.utime(model, ns=(times.st_atime_ns, times.st_mtime_ns))
    second = dbt.manifest(Settings.from_environment())
    assert second != first and "-- edited" in second.read_text()
    assert first.exists(), "a process that has loaded the graph goes on with it"
    assert os.environ["CLICKSTREAM_DBT_DUCKDB_PATH"] == "/tmp/other.duckdb"
