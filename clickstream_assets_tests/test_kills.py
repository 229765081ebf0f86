"""SIGKILL at any moment of a run: every table is the one before or the one after, and running again ends right."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from clickstream_assets.run import instance
from clickstream_assets.storage import publishing
from clickstream_assets_tests import forked
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

#: what a run does, one after the other; of each it tells when it is done
STEPS = ("raw", "cleaned", "models")


def run(home: Home) -> forked.Command:
    return forked.start(home, "run", "ecommerce", "--date", DAY)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What undisturbed runs give: of each content alone, and of one after the other."""
    results: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        home = use_home(tmp_path_factory.mktemp("clean") / "home", patch)
        for name, content in (("first", FIRST), ("second", SECOND)):
            home.land(DAY, "a.csv", *content)
            results["seconds"] = min(run(home).succeed(), results.get("seconds", 60.0))
            results[name] = home.tables()
    return results


def moment(home: Home, printed: str) -> str:
    """Where a run was when it was killed: the step that it had not ended, and whether that was being published."""
    done = printed.count("\u2713")
    if done == len(STEPS):
        return "after the last step"
    unfinished = publishing.unfinished(home.platform.lake, "ecommerce")
    return STEPS[done] + (", between lake and warehouse" if unfinished else "")


def test_after_a_kill_tables_are_whole_and_the_next_run_ends_right(
    home: Home, clean: dict[str, Any], kills: int
) -> None:
    moments = random.Random(20240305)
    home.land(DAY, "a.csv", *FIRST)
    run(home).succeed()
    contents = [("first", FIRST), ("second", SECOND)]
    found: Counter[str] = Counter()
    waited: list[float] = []
    for number in range(1, kills + 1):
        name, content = contents[number % 2]
        home.land(DAY, "a.csv", *content)
        command = run(home)
        time.sleep(moments.uniform(0.05, 0.95) * clean["seconds"])
        alive = command.process.is_alive()
        with contextlib.suppress(ProcessLookupError):  # it was faster
            os.killpg(int(command.process.pid or 0), signal.SIGKILL)
        command.process.join()

        begun = time.monotonic()
        query = [Path(sys.executable).with_name("clickstream"), "query", "select count(*) from ecommerce.events"]
        subprocess.run(query, check=True, capture_output=True, env={**os.environ, "CLICKSTREAM_HOME": str(home.path)})
        waited.append(time.monotonic() - begun)
        assert waited[-1] < 5, "the next command did not end within 5 seconds"
        found[moment(home, command.printed()) if alive else "it had ended"] += 1
        for relation, rows in home.tables().items():
            if relation not in WORK_LISTS and not relation.startswith("ops."):
                assert rows in (clean["first"][relation], clean["second"][relation]), (
                    f"kill {number}: {relation} is torn"
                )

        home.run(DAY)
        assert home.tables() == clean[name], f"kill {number}"
    with instance(home.settings) as storage:
        statuses = Counter(run.status for run in storage.get_runs())
    assert set(statuses) <= {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE}, "a dead run is in progress"
    assert statuses[dg.DagsterRunStatus.FAILURE] > 0
    assert found["it had ended"] <= kills * 0.5
    print(f"{kills} kills of a run of {clean['seconds']:.1f} s, in the middle of: {dict(found.most_common())}.")
    print(f"The next command took {statistics.median(waited):.2f} s in the median and {max(waited):.2f} s at most.")
