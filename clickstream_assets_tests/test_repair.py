"""Which days are pending, and that a run makes them again."""

from __future__ import annotations

import os
from datetime import date
from functools import partial
from typing import Any

import dagster as dg
import pytest

from clickstream_assets import domains, repair, run
from clickstream_assets.run import RunFailed
from clickstream_assets.settings import Settings
from clickstream_assets.storage import publishing
from clickstream_assets.storage.lake import Lake
from clickstream_assets_tests import forked
from clickstream_assets_tests.conftest import Home

RAW, CLEANED = "ecommerce_raw.events_raw", "ecommerce.events_cleaned"


def test_days_are_pending_from_the_change_of_their_raw_rows_until_a_run_has_made_them_however_far_away(
    home: Home,
) -> None:
    """One of them was made before, the other never was."""
    made, new = date(2024, 1, 5), date(2024, 2, 10)
    event = "1,1,{} 10:00:00,page_view,,,".format
    home.land(str(made), "a.csv", event(made))
    home.run(str(made))
    ecommerce = domains.domain("ecommerce")
    assert repair.pending_days(home.platform, ecommerce) == []

    for day in (made, new):
        _load_raw_only(home, str(day), "a.csv", event(day), event(day).replace("1", "2", 1))
    assert repair.pending_days(home.platform, ecommerce) == [made, new]
    home.land("2024-03-20", "a.csv", event("2024-03-20"))
    with run.instance(home.settings) as storage:
        before = storage.get_runs_count()
    assert home.run("2024-03-20", repairs=False).repaired == []
    assert home.ledger("ecommerce.events_cleaned", str(made)) == (1, 1, 0, 0, 0, 0)
    assert home.query("select user_id, total_events from ecommerce.users") == [("1", 2)]

    summary = home.run("2024-03-20")
    assert summary.repaired == [made, new]
    assert repair.pending_days(home.platform, ecommerce) == []
    for asset in ("ecommerce.events_cleaned", "ecommerce.events"):
        assert home.ledger(asset, str(made)) == home.ledger(asset, str(new)) == (2, 2, 0, 0, 0, 0)
        assert home.ledger(asset, "2024-03-20") == (1, 1, 0, 0, 0, 0)
    with run.instance(home.settings) as storage:
        assert storage.get_runs_count() == before + 4, "raw, and everything below it, twice"
        for asset in ("events_cleaned", "events"):
            records = storage.fetch_materializations(dg.AssetKey(["ecommerce", asset]), limit=3).records
            assert {record.partition_key for record in records} == {str(made), str(new), "2024-03-20"}
            assert {record.run_id for record in records} == {summary.run_ids[1]}
    assert home.query("select user_id, total_events from ecommerce.users order by 1") == [("1", 3), ("2", 2)]


def test_some_models_alone_leave_their_day_pending_and_a_repair_that_fails_does_not_keep_asked_days_from_being_made(
    home: Home,
) -> None:
    home.land("2024-03-01", "a.csv", "1,1,2024-03-01 10:00:00,product_view,p1,,")
    home.run("2024-03-01")
    home.land("2024-03-01", "b.csv", "2,1,2024-03-01 10:00:00,product_view,p1,,")
    keys = [["ecommerce_raw", "events_raw"], ["ecommerce", "events_cleaned"], ["ecommerce", "top_products"]]
    with run.instance(home.settings) as storage:
        job = run._definitions().resolve_job_def("ecommerce")
        selected = [dg.AssetKey(key) for key in keys]
        assert job.execute_in_process(instance=storage, asset_selection=selected, partition_key="2024-03-01").success
    assert repair.pending_days(home.platform, domains.domain("ecommerce")) == [date(2024, 3, 1)]
    assert home.run("2024-03-05").repaired == [date(2024, 3, 1)]
    assert home.query("select view_count from ecommerce.top_products") == [(2,)]
    assert home.query("select users from ecommerce.daily_active_users") == [(2,)]

    _load_raw_only(home, "2024-03-01", "a.csv", *[",1,2024-03-01 10:00:00,page_view,,,"] * 1200)
    home.land("2024-03-03", "b.csv", "2,1,2024-03-03 10:00:00,page_view,,,")
    with pytest.raises(
        RunFailed, match=r"2024-03-03 to 2024-03-03 are done, but 2024-03-01, .*missing_user_id.*--no-repair"
    ):
        home.run("2024-03-03")
    assert home.ledger("ecommerce.events", "2024-03-03") == (1, 1, 0, 0, 0, 0)
    assert home.ledger("ecommerce.events_cleaned", "2024-03-01") == (2, 2, 0, 0, 0, 0)


def _load_raw_only(home: Home, day: str, name: str, *records: str) -> None:
    """What a run leaves that dies after its raw step."""
    from clickstream_assets import run

    home.land(day, name, *records)
    job = run._definitions().resolve_job_def("ecommerce")
    raw, _ = run._split(job)
    with run.instance(home.settings) as storage:
        run._execute(job, storage, raw, date.fromisoformat(day), date.fromisoformat(day))


#: after the rows of a table are committed to the lake, and before its quarantine or the warehouse know
MOMENTS: dict[str, tuple[Any, str]] = {
    "before the quarantine": (Lake, "publish_quarantine"),
    "before the warehouse": (publishing, "_record"),
}


def _die(moment: str, table: str) -> None:
    """From now on this process ends at once, as by SIGKILL, when it comes to that moment with that table."""
    owner, name = MOMENTS[moment]
    original = getattr(owner, name)

    def die(*arguments: Any, **named: Any) -> Any:
        if arguments[-1].table.name == table:
            os._exit(77)
        return original(*arguments, **named)

    setattr(owner, name, die)


def test_what_killed_processes_left_half_published_is_finished_by_runs_of_other_days(home: Home) -> None:
    """The run of the next day finishes it, to be killed itself at another moment: later with another table."""
    deaths = [(moment, table) for moment in MOMENTS for table in (RAW, CLEANED)]
    days = [f"2024-03-0{day}" for day in range(1, len(deaths) + 1)]

    def records(number: int) -> tuple[str, ...]:
        user, what = number + 1, f"1,2024-03-01 10:0{number}:00,purchase,p{number},5.00,"
        return f"{user},{what}", f",{what}", f"{user},ragged"

    for number, (day, (moment, table)) in enumerate(zip(days, deaths, strict=True)):
        kept = home.land(day, "a.csv", *records(number))
        killed = forked.start(home, "run", "ecommerce", "--date", day, first=partial(_die, moment, table))
        assert killed.join() == 77, killed.printed()
        kept.unlink()  # landing expires: only what was published is left
        assert [staged.table.name for staged in publishing.unfinished(home.platform.lake, "ecommerce")] == [table]
        home.land("2024-03-09", f"copy{number}.csv", *records(number))
    home.run("2024-03-09")

    for number, day in enumerate(days):
        assert home.ledger(RAW, day) == (3, 2, 1, 0, 0, 0)
        assert home.ledger(CLEANED, day) == (2, 1, 1, 0, 0, 0)
        assert home.ledger("ecommerce.events", day) == (1, 1, 0, 0, 0, 0)
        sold = f"select purchase_count, revenue from ecommerce.top_products where product_id = 'p{number}'"
        assert home.query(sold) == [(1, 5)]
        assert home.query(f"select asset, rule from ops.quarantine where partition_date = '{day}' order by 1") == [
            (CLEANED, "missing_user_id"),
            (RAW, "ragged"),
        ]
    assert home.ledger(RAW, "2024-03-09") == (0, 0, 0, 0, 0, 0)
    assert home.one("select total_revenue from ecommerce.revenue_metrics") == (5 * len(days),)
    assert publishing.unfinished(home.platform.lake, "ecommerce") == []


def _open_dagsters_storage() -> None:
    run.instance(Settings.from_environment()).dispose()


def test_processes_that_are_the_first_in_a_home_at_once_do_not_fail_each_other(home: Home) -> None:
    for command in [forked.start(home, first=_open_dagsters_storage) for _ in range(6)]:
        command.succeed()


def test_two_runs_at_once_count_the_same_content_once(home: Home) -> None:
    """Both land the same file; each waits for the other's steps, and neither loses what the other showed."""
    purchase = "1,1,2024-03-01 10:00:00,purchase,p1,5.00,"
    for day in ("2024-03-01", "2024-03-05"):
        home.land(day, "same.csv", purchase)
    home.land("2024-03-05", "more.csv", "2,1,2024-03-05 10:00:00,page_view,,,")
    both = [forked.start(home, "run", "ecommerce", "--date", day) for day in ("2024-03-01", "2024-03-05")]
    for command in both:
        command.succeed()
    assert home.query("select total_revenue from ecommerce.revenue_metrics") == [(5,)]
    assert home.query("select user_id, ingestion_date from ecommerce.events order by 1") == [
        ("1", date(2024, 3, 1)),
        ("2", date(2024, 3, 5)),
    ]
