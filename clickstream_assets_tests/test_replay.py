"""Rejected rows come back: from a file that was mended, or by a rule that was changed, and nothing else changes."""

from __future__ import annotations

import dataclasses
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from clickstream_assets import run
from clickstream_assets.definitions import defs
from clickstream_assets.transforms import ecommerce
from clickstream_assets.transforms.rules import Rule, text
from clickstream_assets_tests.conftest import Home, use_home

RAW, CLEANED, EVENTS = "ecommerce_raw.events_raw", "ecommerce.events_cleaned", "ecommerce.events"
BEFORE, DAY, AFTER = "2024-03-01", "2024-03-02", "2024-03-03"

GOOD = ["1,1,2024-03-02 10:00:00,purchase,p1,5.00,", "2,1,2024-03-02 10:01:00,product_view,p1,,"]
BAD = [
    "3,1,2024-03-02 10:02:00,purchase,p2,free,",
    "4,1,2024-03-01 10:03:00,purchase,p3,free,",
    "5,1,ragged",
]
MENDED = [
    "3,1,2024-03-02 10:02:00,purchase,p2,0,",
    "4,1,2024-03-01 10:03:00,purchase,p3,7.50,",
    "5,1,2024-03-02 10:04:00,page_view,,,",
]


def land_all(home: Home, *last: str) -> None:
    """Three days, each with rejects of its own; the day between has a second file, of which ``last`` is the end."""
    for day in (BEFORE, AFTER):
        home.land(
            day, "a.csv", f"{day},1,{day} 09:00:00,purchase,p1,3.00,", f"{day},2,{day} 09:01:00,purchase,p1,free,"
        )
    home.land(DAY, "a.csv", f"{DAY},1,{DAY} 09:00:00,purchase,p1,3.00,", ",1,2024-03-02 09:00:00,page_view,,,")
    home.land(DAY, "b.csv.gz", *GOOD, *last)


def everything(home: Home) -> dict[str, list[tuple[Any, ...]]]:
    """All relations but the list of days that the last run was for."""
    return {name: rows for name, rows in home.tables().items() if name != "ops.run_window"}


def of_other_days(home: Home) -> dict[str, list[tuple[Any, ...]]]:
    """All that is kept by partition, of the other partitions, with every column: when, by which run, from what."""
    days = {
        "spectrum_ecommerce.events_raw": "ingestion_date",
        CLEANED: "ingestion_date",
        EVENTS: "ingestion_date",
        "ops.quarantine": "partition_date",
        "ops.row_ledger": "partition_date",
        "ops.landing_files": "partition_date",
        "ecommerce.session_parts": "ingestion_date",
    }
    return {
        name: sorted(home.query(f"select * from {name} where {day} <> '{DAY}'"), key=repr) for name, day in days.items()
    }


def rejected(home: Home) -> dict[str, int]:
    return dict(
        home.query(f"select rule, count(*) from ops.quarantine where partition_date = '{DAY}' group by 1 order by 1")
    )


def materialize_below_raw(home: Home) -> None:
    """What *Materialize* does in the UI for the day, with the cleaned table and all below it selected."""
    job = defs().resolve_job_def("ecommerce")
    keys = [key for key in job.asset_layer.executable_asset_keys if key != dg.AssetKey(RAW.split("."))]
    with run.instance(home.settings) as storage:
        result = job.execute_in_process(instance=storage, asset_selection=keys, partition_key=DAY)
    assert result.success


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home after a run of the three days."""
    with pytest.MonkeyPatch.context() as patch:
        home = use_home(tmp_path_factory.mktemp("replay") / "home", patch)
        land_all(home, *BAD)
        home.run(BEFORE, AFTER)
    shutil.copytree(home.path, home.path.with_name("copy"))
    return home


@pytest.fixture
def home(ran: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """That home as it was after the run; at the same place, as its catalog has it."""
    shutil.rmtree(ran.path)
    shutil.copytree(ran.path.with_name("copy"), ran.path)
    return use_home(ran.path, monkeypatch)


def test_rows_of_a_mended_file_come_back_and_other_days_stay_as_they_are(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rejected(home) == {"bad_amount": 2, "missing_user_id": 1, "ragged": 1}
    assert home.ledger(RAW, DAY) == (7, 6, 1, 0, 0, 0)
    assert home.ledger(CLEANED, DAY) == (6, 3, 3, 0, 0, 0)
    others = of_other_days(home)
    assert all(others.values()), "there is something to compare"

    home.land(DAY, "a.csv", f"{DAY},1,{DAY} 09:00:00,purchase,p1,3.00,", "6,1,2024-03-02 09:00:00,page_view,,,")
    home.land(DAY, "b.csv.gz", *GOOD, *MENDED)
    assert home.run(DAY).days == [date.fromisoformat(DAY)]

    assert rejected(home) == {}
    assert home.ledger(RAW, DAY) == (7, 7, 0, 0, 0, 0)
    assert home.ledger(CLEANED, DAY) == (7, 7, 0, 0, 0, 0)
    assert home.ledger(EVENTS, DAY) == (7, 7, 0, 0, 0, 0)
    users = home.query(f"select user_id from ecommerce.events where ingestion_date = '{DAY}' order by 1")
    assert users == [("1",), ("2",), (DAY,), ("3",), ("4",), ("5",), ("6",)]
    assert of_other_days(home) == others

    fresh = use_home(tmp_path / "fresh", monkeypatch)
    for path in home.landing("").parent.glob("*/*"):
        copy = fresh.landing("").parent / path.parent.name / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    fresh.run(BEFORE, AFTER)
    assert everything(home) == everything(fresh), "as if the files had been right from the start"


def test_rows_that_a_changed_rule_takes_come_back_from_raw_and_go_again_with_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, others = everything(home), of_other_days(home)
    raw = home.query("select * from spectrum_ecommerce.events_raw order by all")
    for path in home.landing("").parent.glob("*/*"):
        path.unlink()  # a replay needs raw alone

    def lenient(rule: Rule) -> Rule:
        if rule.name != "bad_amount":
            return rule
        return dataclasses.replace(rule, breaks=lambda: rule.breaks() & (text("Amount") != "free"))

    with monkeypatch.context() as change:
        change.setattr(ecommerce, "RULES", tuple(map(lenient, ecommerce.RULES)))
        materialize_below_raw(home)
    assert rejected(home) == {"missing_user_id": 1, "ragged": 1}
    assert home.ledger(RAW, DAY) == (7, 6, 1, 0, 0, 0)
    assert home.ledger(CLEANED, DAY) == (6, 5, 1, 0, 0, 0)
    assert home.ledger(EVENTS, DAY) == (5, 5, 0, 0, 0, 0)
    back = "select user_id, event_type, amount from ecommerce.events where user_id in ('3', '4') order by 1"
    assert home.query(back) == [("3", "purchase", None), ("4", "purchase", None)]
    assert home.one(f"select count(*), count(distinct event_id) from {EVENTS}") == (7, 7)
    assert dict(home.query("select event_date::varchar, events from ecommerce.daily_active_users")) == {
        BEFORE: 2,
        DAY: 4,
        AFTER: 1,
    }
    assert of_other_days(home) == others
    assert home.query("select * from spectrum_ecommerce.events_raw order by all") == raw

    materialize_below_raw(home)
    assert everything(home) == first
    assert of_other_days(home) == others
