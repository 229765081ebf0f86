"""Pulls by schedule: which dates, by whose clock, and that nothing is run twice for what a pull landed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from clickstream_assets import partitions, run
from clickstream_assets.definitions import defs
from clickstream_assets.defs import arrivals, jobs, pulls
from clickstream_assets.domains import domain
from clickstream_assets.ga4.reports import REPORTS
from clickstream_assets_tests.conftest import use_home
from clickstream_assets_tests.ga4 import landed
from clickstream_assets_tests.ga4.server import Ga4Server, Visit

DAYS = (date(2024, 1, 4), date(2024, 1, 5))
PROPERTY = {"GA4_PROPERTY_ID": "1234", "GA4_API_ENDPOINT": "http://127.0.0.1:9", "GA4_TIME_ZONE": "Asia/Tokyo"}


@pytest.fixture
def server() -> Iterator[Ga4Server]:
    with Ga4Server([Visit(day) for day in DAYS]) as server:
        yield server


def schedules() -> dict[str, dg.ScheduleDefinition]:
    return {schedule.name: schedule for schedule in pulls.definitions().schedules or ()}  # type: ignore[union-attr]


def requested(schedule: dg.ScheduleDefinition, at: datetime) -> dict[str, str]:
    """The tags of the run that a tick asks for."""
    context = dg.build_schedule_context(scheduled_execution_time=at)
    (request,) = schedule.evaluate_tick(context).run_requests
    return {name: value for name, value in request.tags.items() if "partition" in name}


def test_schedules_tick_by_the_propertys_clock(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_home(tmp_path, monkeypatch, **PROPERTY)
    found = {name: (s.cron_schedule, s.execution_timezone, s.default_status.name) for name, s in schedules().items()}
    assert found == {
        "ga4_recent": ("0 */6 * * *", "Asia/Tokyo", "RUNNING"),
        "ga4_nightly": ("30 2 * * *", "Asia/Tokyo", "RUNNING"),
        "ga4_drift_audit": ("30 4 * * 0", "Asia/Tokyo", "RUNNING"),
    }


def test_without_a_property_they_stand_still(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_home(tmp_path, monkeypatch)
    assert {(s.execution_timezone, s.default_status.name) for s in schedules().values()} == {("UTC", "STOPPED")}


@pytest.mark.parametrize(
    ("zone", "at", "today"),
    [
        # The date is the property's, not that of UTC.
        ("Asia/Tokyo", datetime(2024, 3, 4, 15, 0, tzinfo=UTC), date(2024, 3, 5)),
        ("America/Los_Angeles", datetime(2024, 3, 5, 7, 59, tzinfo=UTC), date(2024, 3, 4)),
        # Days of 23 and of 25 hours are days.
        ("Europe/Berlin", datetime(2024, 3, 31, 22, 30, tzinfo=UTC), date(2024, 4, 1)),
        ("Europe/Berlin", datetime(2024, 10, 27, 22, 30, tzinfo=UTC), date(2024, 10, 27)),
    ],
)
def test_a_tick_asks_for_the_dates_that_may_still_change(
    zone: str, at: datetime, today: date, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_home(tmp_path, monkeypatch, **PROPERTY | {"GA4_TIME_ZONE": zone})
    for name, (first, last) in {"ga4_recent": (3, 0), "ga4_nightly": (14, 1), "ga4_drift_audit": (35, 1)}.items():
        tags = requested(schedules()[name], at.astimezone(ZoneInfo(zone)))
        assert tags == partitions.tags(today - timedelta(first), today - timedelta(last)), name


def test_a_tick_goes_by_what_the_first_response_said_where_nothing_is_set(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = use_home(tmp_path / "home", monkeypatch)
    at = datetime(2024, 3, 4, 15, 0, tzinfo=UTC)
    assert requested(schedules()["ga4_recent"], at) == partitions.tags(date(2024, 3, 1), date(2024, 3, 4))
    landed.land(home, "2024-01-06_030000", landed.body(zone="Asia/Tokyo"))
    landed.load(home)
    assert requested(schedules()["ga4_recent"], at) == partitions.tags(date(2024, 3, 2), date(2024, 3, 5))


def test_dates_before_the_first_partition_are_not_asked_for(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_home(tmp_path, monkeypatch, **PROPERTY, CLICKSTREAM_START_DATE="2024-03-04")
    tags = requested(schedules()["ga4_nightly"], datetime(2024, 3, 5, 3, tzinfo=UTC))
    assert tags == partitions.tags(date(2024, 3, 4), date(2024, 3, 4))
    context = dg.build_schedule_context(scheduled_execution_time=datetime(2024, 3, 1, 3, tzinfo=UTC))
    assert not schedules()["ga4_nightly"].evaluate_tick(context).run_requests


def test_a_scheduled_run_pulls_and_loads_and_asks_for_no_further_run(
    server: Ga4Server, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"GA4_PROPERTY_ID": "1234", "GA4_API_ENDPOINT": server.endpoint}
    home = use_home(tmp_path / "home", monkeypatch, **settings)
    job = defs().resolve_job_def(jobs.refresh_name("ga4"))
    sensor = arrivals._sensor(domain("ga4"), 30)
    with run.instance(home.settings) as storage:

        def tick() -> tuple[list[str], str | None]:
            """The days that the sensor asks for, and why it asks for none."""
            with dg.build_sensor_context(
                instance=storage, cursor=cursor[-1], definitions=defs(), resources={"platform": home.platform}
            ) as context:
                data = sensor.evaluate_tick(context)
            if data.cursor is not None and not data.skip_message:
                cursor.append(data.cursor)
            return sorted(str(request.partition_key) for request in data.run_requests or ()), data.skip_message

        cursor: list[str | None] = [None]
        unfinished = storage.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        landed.land(home, "2024-01-03_120000", landed.body(day=date(2024, 1, 3)), day=date(2024, 1, 3))
        assert tick()[0] == [] and "when it has ended" in str(tick()[1])
        told = [("ga4", date(2024, 1, 3)), ("ga4", DAYS[0]), ("ecommerce", DAYS[0])]  # of these S3 tells, with a queue
        assert arrivals._collected(storage, home.platform, told) == (set(), set(told[:2]))
        storage.delete_run(unfinished.run_id)

        result = job.execute_in_process(instance=storage, tags=partitions.tags(*DAYS))
        assert result.success
        assert home.query("select event_date, event_count from analytics.ga4_events_kpis order by 1") == [
            (day, 1) for day in DAYS
        ]
        metadata = result.asset_materializations_for_node("landing__ga4_data_api")[0].metadata
        assert (metadata["pulls"].value, metadata["rows"].value) == (8, 8)
        assert metadata["requests"].value == {report.name: f"version {report.version}" for report in REPORTS.values()}
        # What the run has pulled it has loaded, too; what somebody else landed is for the sensor.
        assert tick() == (["2024-01-03"], None)
        assert arrivals._collected(storage, home.platform, told) == ({told[1]}, set())
        assert tick()[0] == []
        landed.land(home, "2024-02-01_120000", landed.body())
        assert tick()[0] == [str(landed.DAY)]
