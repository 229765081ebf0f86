"""The nightly run of sales: when, for which load date, and that it loads what is there and repeats nothing."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from clickstream_assets import run
from clickstream_assets.definitions import defs
from clickstream_assets_tests.conftest import Home, use_home
from clickstream_assets_tests.sales import landed


def schedule() -> dg.ScheduleDefinition:
    """As the code location has it."""
    found = defs().get_repository_def().get_schedule_def("sales_nightly")
    assert isinstance(found, dg.ScheduleDefinition)
    return found


def tick(at: datetime) -> dg.RunRequest | str | None:
    """The run that a tick asks for, or why it asks for none."""
    data = schedule().evaluate_tick(dg.build_schedule_context(scheduled_execution_time=at))
    if not data.run_requests:
        return data.skip_message
    (request,) = data.run_requests
    return request


def partition(at: datetime) -> str | None:
    request = tick(at)
    assert isinstance(request, dg.RunRequest)
    return {name: value for name, value in request.tags.items() if "partition" in name}.get("dagster/partition")


def test_it_is_on_from_the_start_and_ticks_at_two_by_utc() -> None:
    found = schedule()
    assert (found.cron_schedule, found.execution_timezone, found.job_name) == ("0 2 * * *", "UTC", "sales")
    assert found.default_status is dg.DefaultScheduleStatus.RUNNING


@pytest.mark.parametrize(
    ("at", "day"),
    [
        (datetime(2024, 3, 1, 2, tzinfo=UTC), "2024-02-29"),
        (datetime(2025, 1, 1, 2, tzinfo=UTC), "2024-12-31"),
        # Whatever zone the time is told in, and whatever its clock does that night, the day is that of UTC.
        (datetime(2024, 3, 31, 4, tzinfo=ZoneInfo("Europe/Berlin")), "2024-03-30"),
        (datetime(2024, 3, 4, 18, tzinfo=ZoneInfo("America/Los_Angeles")), "2024-03-04"),
        (datetime(2024, 3, 5, 11, tzinfo=ZoneInfo("Asia/Tokyo")), "2024-03-04"),
    ],
)
def test_a_tick_asks_for_the_load_date_that_has_just_ended(at: datetime, day: str) -> None:
    assert partition(at) == day


def test_a_day_before_the_first_partition_is_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_home(tmp_path, monkeypatch, CLICKSTREAM_START_DATE="2024-03-04")
    assert tick(datetime(2024, 3, 4, 2, tzinfo=UTC)) == "2024-03-03 is not a partition: they run from 2024-03-04"
    assert partition(datetime(2024, 3, 5, 2, tzinfo=UTC)) == "2024-03-04"


def test_the_run_loads_what_has_arrived_and_a_night_without_files_is_no_failure(home: Home) -> None:
    landed.land(home, "customers", "a.csv", "C1,Ba,Do,,Boise,Idaho")
    landed.land(home, "products", "a.csv", "P1,Lamp,Home,Lighting,Acme,12.00")
    landed.land(home, "locations", "a.csv", "L1,Center,Boise,Idaho,West,United States")
    landed.land(home, "sales", "a.csv", f"S1,{landed.DAY},C1,P1,L1,2,12.00,4.00,1.60")
    job = defs().resolve_job_def("sales")
    with run.instance(home.settings) as storage:
        for night in (datetime(2024, 3, 2, 2, tzinfo=UTC), datetime(2024, 3, 3, 2, tzinfo=UTC)):
            request = tick(night)
            assert isinstance(request, dg.RunRequest)
            assert job.execute_in_process(instance=storage, tags=request.tags).success
    assert home.query("select date_value, orders, net_amount from sales.mv_daily_sales") == [
        (date(2024, 3, 1), 1, Decimal("21.60"))
    ]
