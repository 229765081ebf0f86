"""Which days are pending, and how they are grouped into ranges."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickstream_assets import domains, repair
from clickstream_assets.run import RunFailed
from clickstream_assets_tests.conftest import Home


def test_gaps_of_up_to_seven_days_are_covered() -> None:
    day = date(2024, 1, 1)
    assert repair.ranges([day, day + timedelta(8)]) == [(day, day + timedelta(8))]
    assert repair.ranges([day, day + timedelta(9)]) == [(day, day), (day + timedelta(9), day + timedelta(9))]
    assert repair.ranges([]) == []


@given(st.sets(st.dates(date(2024, 1, 1), date(2024, 12, 31)), max_size=40))
def test_ranges_cover_every_day_once_and_stay_apart(days: set[date]) -> None:
    ranges = repair.ranges(days)
    assert all(sum(first <= day <= last for first, last in ranges) == 1 for day in days)
    assert all(first in days and last in days for first, last in ranges)
    assert all(b[0] - a[1] > timedelta(8) for a, b in pairwise(ranges))


def test_a_day_is_pending_from_the_change_of_its_raw_rows_until_it_is_cleaned_again(home: Home) -> None:
    record = "1,1,2024-03-01 10:00:00,page_view,,,"
    home.land("2024-03-01", "a.csv", record)
    home.run("2024-03-01")
    ecommerce = domains.domain("ecommerce")
    assert repair.pending_days(home.platform, ecommerce) == []

    _load_raw_only(home, "2024-03-01", "a.csv", record, record)
    assert repair.pending_days(home.platform, ecommerce) == [date(2024, 3, 1)]
    summary = home.run("2024-03-20")
    assert summary.repaired == [date(2024, 3, 1)]
    assert home.ledger("ecommerce.events_cleaned", "2024-03-01") == (2, 2, 0, 0, 0, 0)
    assert repair.pending_days(home.platform, ecommerce) == []


def test_no_repair_leaves_older_days_pending(home: Home) -> None:
    record = "1,1,2024-03-01 10:00:00,page_view,,,"
    home.land("2024-03-01", "a.csv", record)
    home.run("2024-03-01")
    _load_raw_only(home, "2024-03-01", "a.csv", record, record)
    assert home.run("2024-03-20", repairs=False).repaired == []
    assert home.ledger("ecommerce.events_cleaned", "2024-03-01") == (1, 1, 0, 0, 0, 0)


def test_a_repair_that_fails_does_not_keep_the_asked_days_from_being_made(home: Home) -> None:
    good = "1,1,2024-03-01 10:00:00,page_view,,,"
    home.land("2024-03-01", "a.csv", good)
    home.run("2024-03-01")
    _load_raw_only(home, "2024-03-01", "a.csv", *[",1,2024-03-01 10:00:00,page_view,,,"] * 1200)
    home.land("2024-03-03", "b.csv", good)
    with pytest.raises(
        RunFailed, match=r"2024-03-03 to 2024-03-03 are done\..*2024-03-01.*missing_user_id.*--no-repair"
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
