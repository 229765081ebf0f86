"""SIGKILL at any moment of a run: every table is the one before or the one after, and running again ends right."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from clickstream_assets_tests.conftest import Home, use_home

DAY = "2024-03-05"

#: the two contents of the day that replace each other; they differ in rows, rejects, dates, users and products
FIRST = [f"{n % 40},{n % 3},2024-03-05 10:{n % 60:02}:00,product_view,p{n % 7},," for n in range(400)]
SECOND = [
    *(f"{n % 50},{n % 3},2024-03-04 23:{n % 60:02}:00,purchase,q{n % 5},{n}.10," for n in range(300)),
    *(f",{n},2024-03-05 10:00:00,page_view,,," for n in range(20)),
    "1,1,broken",
]

#: what the models keep for the next run; not an answer, and emptied by a run that ends
WORK_LISTS = ("ecommerce.stale_event_dates", "ecommerce.pending_ingestion_dates", "ops.run_window")

#: how dbt names the table that it has just replaced; the next run drops it
LEFTOVERS = ("__dbt_backup", "__dbt_tmp")

#: forks a process for each run in which what a run imports is imported already: half of its ten seconds
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    """
    clickstream_assets.run clickstream_assets.definitions clickstream_assets.defs.dbt clickstream_assets.dbt
    clickstream_assets.parsing.landing clickstream_assets.parsing.arrow_csv clickstream_assets.storage.io_managers
    clickstream_assets.transforms.ecommerce
    alembic.config dagster._core.storage.event_log.sqlite.sqlite_event_log dagster_dbt.core.dbt_cli_event
    dbt.adapters.duckdb dbt.adapters.duckdb.environments.local dbt.cli.main dbt.task.build duckdb
    pyarrow.dataset pyarrow.parquet pyiceberg.catalog.sql pyiceberg.io.pyarrow pyiceberg.table.snapshots
    pysail.spark pyspark.sql.connect.functions pyspark.sql.connect.session sqlalchemy.dialects.sqlite
    """.split()
)


def _run(home: str, log: str) -> None:
    """What ``clickstream run`` does, in a process group of its own, so that all of it can be killed."""
    os.setsid()
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ["CLICKSTREAM_HOME"] = home
    from clickstream_assets import cli

    cli.main(["run", "ecommerce", "--date", DAY])


def start(home: Home) -> BaseProcess:
    process = _FORKS.Process(target=_run, args=(str(home.path), str(home.path.parent / "run.log")))
    process.start()
    return process


def run_to_the_end(home: Home) -> float:
    begun = time.monotonic()
    process = start(home)
    process.join(timeout=120)
    assert process.exitcode == 0, (home.path.parent / "run.log").read_text()[-3000:]
    return time.monotonic() - begun


def tables(home: Home) -> dict[str, list[tuple[Any, ...]]]:
    return {name: home.table(name) for name in home.relations()}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What undisturbed runs give: of each content alone, and of one after the other."""
    results: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        home = use_home(tmp_path_factory.mktemp("clean") / "home", patch)
        for name, content in (("first", FIRST), ("second", SECOND)):
            home.land(DAY, "a.csv", *content)
            results["seconds"] = min(run_to_the_end(home), results.get("seconds", 60.0))
            results[name] = tables(home)
    return results


def test_after_a_kill_tables_are_whole_and_the_next_run_ends_right(
    home: Home, clean: dict[str, Any], kills: int
) -> None:
    moments = random.Random(20240305)
    home.land(DAY, "a.csv", *FIRST)
    run_to_the_end(home)
    contents = [("first", FIRST), ("second", SECOND)]
    interrupted = 0
    for number in range(1, kills + 1):
        name, content = contents[number % 2]
        home.land(DAY, "a.csv", *content)
        process = start(home)
        time.sleep(moments.uniform(0.1, 0.95) * clean["seconds"])
        interrupted += process.is_alive()
        with contextlib.suppress(ProcessLookupError):  # it was faster
            os.killpg(int(process.pid or 0), signal.SIGKILL)
        process.join()

        begun = time.monotonic()
        command = [Path(sys.executable).with_name("clickstream"), "query", "select count(*) from ecommerce.events"]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "CLICKSTREAM_HOME": str(home.path)})
        assert time.monotonic() - begun < 5, "the next command did not start within 5 seconds"
        for relation, rows in tables(home).items():
            if relation not in WORK_LISTS and not relation.startswith("ops.") and not relation.endswith(LEFTOVERS):
                assert rows in (clean["first"][relation], clean["second"][relation]), (
                    f"kill {number}: {relation} is torn"
                )

        run_to_the_end(home)
        assert tables(home) == clean[name], f"kill {number}"
    assert interrupted >= kills * 0.5
