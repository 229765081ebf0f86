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


def test_a_day_is_pending_from_the_change_of_its_raw_rows_until_it_is_cleaned_again(home: Home) -> None:
    record = "1,1,2024-03-01 10:00:00,page_view,,,"
    home.land("2024-03-01", "a.csv", record)
    home.run("2024-03-01")
    ecommerce = domains.domain("ecommerce")
    assert repair.pending_days(home.platform, ecommerce) == []

    _load_raw_only(home, "2024-03-01", "a.csv", record, record)
    assert repair.pending_days(home.platform, ecommerce) == [date(2024, 3, 1)]
    assert home.run("2024-03-20", repairs=False).repaired == []
    assert home.ledger("ecommerce.events_cleaned", "2024-03-01") == (1, 1, 0, 0, 0, 0)
    assert home.run("2024-03-20").repaired == [date(2024, 3, 1)]
    assert home.ledger("ecommerce.events_cleaned", "2024-03-01") == (2, 2, 0, 0, 0, 0)
    assert repair.pending_days(home.platform, ecommerce) == []


def test_days_to_repair_are_made_in_the_same_run_however_far_away(home: Home) -> None:
    old = ("2024-01-05", "2024-02-10")
    for day in old:
        home.land(day, "a.csv", f"1,1,{day} 10:00:00,page_view,,,")
        home.run(day)
    for day in old:
        _load_raw_only(home, day, "a.csv", f"1,1,{day} 10:00:00,page_view,,,", f"2,1,{day} 10:00:00,page_view,,,")
    home.land("2024-03-20", "a.csv", "1,1,2024-03-20 10:00:00,page_view,,,")
    with run.instance(home.settings) as storage:
        before = storage.get_runs_count()
    summary = home.run("2024-03-20")
    assert summary.repaired == [date(2024, 1, 5), date(2024, 2, 10)]
    for asset in ("ecommerce.events_cleaned", "ecommerce.events"):
        assert home.ledger(asset, "2024-01-05") == home.ledger(asset, "2024-02-10") == (2, 2, 0, 0, 0, 0)
        assert home.ledger(asset, "2024-03-20") == (1, 1, 0, 0, 0, 0)
    with run.instance(home.settings) as storage:
        assert storage.get_runs_count() == before + 2, "raw, and everything below it"
        for asset in ("events_cleaned", "events"):
            records = storage.fetch_materializations(dg.AssetKey(["ecommerce", asset]), limit=3).records
            assert {record.partition_key for record in records} == {"2024-01-05", "2024-02-10", "2024-03-20"}
            assert {record.run_id for record in records} == {summary.run_ids[1]}
    assert home.query("select user_id, total_events from ecommerce.users order by 1") == [("1", 3), ("2", 2)]


def test_some_models_alone_leave_their_day_pending(home: Home) -> None:
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


def test_a_repair_that_fails_does_not_keep_the_asked_days_from_being_made(home: Home) -> None:
    good = "1,1,2024-03-01 10:00:00,page_view,,,"
    home.land("2024-03-01", "a.csv", good)
    home.run("2024-03-01")
    _load_raw_only(home, "2024-03-01", "a.csv", *[",1,2024-03-01 10:00:00,page_view,,,"] * 1200)
    home.land("2024-03-03", "b.csv", "2,1,2024-03-03 10:00:00,page_view,,,")
    with pytest.raises(
        RunFailed, match=r"2024-03-03 to 2024-03-03 are done, but 2024-03-01, .*missing_user_id.*--no-repair"
    ):
        home.run("2024-03-03")
    assert home.ledger("ecommerce.events", "2024-03-03") == (1, 1, 0, 0, 0, 0)
    assert home.ledger("ecommerce.events_cleaned", "2024-03-01") == (1, 1, 0, 0, 0, 0)


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


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("table", ["ecommerce_raw.events_raw", "ecommerce.events_cleaned"])
def test_what_a_killed_process_left_half_published_is_finished_by_a_run_of_another_day(
    home: Home, moment: str, table: str
) -> None:
    purchase = "1,1,2024-03-01 10:00:00,purchase,p1,5.00,"
    broken = ",1,2024-03-01 10:00:00,page_view,,,"
    kept = home.land("2024-03-01", "a.csv", purchase, broken, "1,1,ragged")
    command = ("run", "ecommerce", "--date", "2024-03-01")
    killed = forked.start(home, *command, first=partial(_die, moment, table))
    assert killed.join() == 77, killed.printed()
    kept.unlink()  # landing expires: only what was published is left
    home.land("2024-03-05", "copy.csv", purchase, broken, "1,1,ragged")
    home.run("2024-03-05")

    assert home.ledger("ecommerce_raw.events_raw", "2024-03-01") == (3, 2, 1, 0, 0, 0)
    assert home.ledger("ecommerce.events_cleaned", "2024-03-01") == (2, 1, 1, 0, 0, 0)
    assert home.ledger("ecommerce.events", "2024-03-01") == (1, 1, 0, 0, 0, 0)
    assert home.ledger("ecommerce_raw.events_raw", "2024-03-05") == (0, 0, 0, 0, 0, 0)
    assert home.query("select total_revenue from ecommerce.revenue_metrics") == [(5,)]
    assert home.query("select asset, rule from ops.quarantine order by 1") == [
        ("ecommerce.events_cleaned", "missing_user_id"),
        ("ecommerce_raw.events_raw", "ragged"),
    ]
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
