"""``analytics.ga4_pulls``: what Google says of each pull, and ``clickstream ga4 drift``."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

from click.testing import CliRunner

from clickstream_assets.cli import main
from clickstream_assets_tests.conftest import Home
from clickstream_assets_tests.ga4.landed import DAY, ROWS, body, land, load, pulls


def test_what_google_says_of_a_pull_is_data(home: Home) -> None:
    def quota(consumed: int, remaining: int) -> dict[str, dict[str, int]]:
        names = ("tokensPerDay", "tokensPerHour", "tokensPerProjectPerHour")
        left = {name: {"consumed": consumed, "remaining": remaining - n} for n, name in enumerate(names)}
        return left | {"serverErrorsPerProjectPerHour": {"remaining": 9}}

    sampled = [{"samplesReadCount": "500", "samplingSpaceSize": "10000"}]
    said = {"dataLossFromOtherRow": True, "subjectToThresholding": True, "samplingMetadatas": sampled}
    land(home, "2024-01-06_030000", body(ROWS[:2], row_count=3, quota=quota(5, 100), **said))
    land(home, "2024-01-06_030000", body(ROWS[2:], row_count=3, quota=quota(3, 97), **said), page=2)
    loaded = load(home)
    assert loaded.blocked == set(), "it warns"
    assert loaded.failed["numbers_are_exact"] == (
        "ga_events 2024-01-05: sampled, thresholded, rows are put together as (other)"
    )
    columns = (
        "pages, rows, row_count, data_loss_from_other_row, is_sampled, samples_read, sampling_space, "
        "subject_to_thresholding, time_zone, currency, tokens_per_day_before, tokens_per_day_after, "
        "tokens_per_hour_before, tokens_per_hour_after, tokens_per_project_per_hour_before, "
        "tokens_per_project_per_hour_after, server_errors_left, event_count, screen_page_views, sessions, is_synthetic"
    )
    assert pulls(home, columns) == [
        (
            2,
            3,
            3,
            True,
            True,
            500,
            10_000,
            True,
            "Europe/Berlin",
            "EUR",
            105,
            97,
            104,
            96,
            103,
            95,
            9,
            92,
            35,
            None,
            False,
        )
    ]
    assert pulls(home, "source_file, pulled_at") == [
        (f"ga4/ga_events/date={DAY}/ga4_events_2024-01-06_030000.json", datetime(2024, 1, 6, 3, tzinfo=UTC))
    ]


def test_each_whole_pull_is_compared_with_the_one_before(home: Home) -> None:
    for stamp, users in (("2024-01-05_120000", 5), ("2024-01-06_030000", 8), ("2024-01-08_030000", 7)):
        land(home, stamp, body([(users * 2, users, 10, 40)], report="ga_daily"), report="ga_daily")
    land(home, "2024-01-07_030000", body([(1, 1, 1, 1)], report="ga_daily", row_count=2), report="ga_daily")
    load(home, report="ga_daily")
    found = pulls(home, "status, total_users, total_users_change, sessions_change, rows_change", report="ga_daily")
    assert found == [
        ("superseded", 5, None, None, None),
        ("superseded", 8, 3, 6, 0),
        ("incomplete", 1, None, None, None),
        ("published", 7, -1, -2, 0),
    ]


def _drift(home: Home, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["ga4", "drift", "--from", "2024-01-01", "--to", "2024-01-31", *arguments])
    return result.exit_code, result.output


def test_drift_shows_how_far_numbers_moved(home: Home) -> None:
    days = {DAY: ((10, "2024-01-05_120000"), (20, "2024-01-21_120000"), (21, "2024-01-28_120000"))}
    days[date(2024, 1, 6)] = ((10, "2024-01-06_120000"), (15, "2024-01-09_120000"))
    days[date(2024, 1, 7)] = ((10, "2024-01-09_120000"),)
    for day, made in days.items():
        for events, stamp in made:
            land(home, stamp, body([(1, 1, 1, events)], report="ga_daily", day=day), report="ga_daily", day=day)
    load(home, *days, report="ga_daily")
    code, output = _drift(home, "--format", "json")
    assert code == 0
    moved = {row["event_date"]: row for row in json.loads(output)}
    assert list(moved) == ["2024-01-05", "2024-01-06"]
    row = moved["2024-01-05"]
    assert (row["pulls"], row["event_count"], row["event_count_moved"], row["event_count_moved_percent"]) == (
        3,
        21,
        11,
        110,
    )
    assert row["moved_when_final_percent"] == 5
    assert (moved["2024-01-06"]["event_count_moved_percent"], moved["2024-01-06"]["moved_when_final_percent"]) == (
        50,
        None,
    )


def test_drift_says_when_there_is_nothing_to_compare(home: Home) -> None:
    assert _drift(home) == (
        1,
        "clickstream: no day from 2024-01-01 to 2024-01-31 has two whole pulls of ga_daily that are loaded: run them "
        "again later, clickstream run ga4 --from 2024-01-01 --to 2024-01-31.\n",
    )
    code, output = _drift(home, "--report", "ga_everything")
    assert code == 1 and "ga_events, ga_daily, ga_sources, ga_pages" in output
