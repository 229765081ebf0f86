"""GA4 as a user runs it: the real client, a server that speaks the Data API, and all the tables."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from functools import partial

import pytest
from click.testing import CliRunner

from clickstream_assets.cli import main
from clickstream_assets.ga4.client import DataApi
from clickstream_assets_tests.conftest import Home, use_home
from clickstream_assets_tests.ga4 import landed
from clickstream_assets_tests.ga4.server import Ga4Server, Visit

#: the second one has 23 hours in the property's time zone
DAYS = (date(2024, 3, 30), date(2024, 3, 31))


def visits(medium: str = "organic") -> list[Visit]:
    """Three users, of whom one has two sessions and two see several pages, on each day."""
    seen = [
        ("/", "u1", "s1", 1, 3),
        ("/shop", "u1", "s1", 2, 4),
        ("/", "u1", "s2", 1, 1),
        ("/", "u2", "s3", 1, 2),
        ("/shop", "u2", "s3", 1, 2),
        ("/", "u3", "s4", 3, 9),
    ]
    return [
        Visit(day, page, "google" if user != "u3" else "news", medium if user != "u3" else "email", user, s, views, n)
        for day in DAYS
        for page, user, s, views, n in seen
    ]


@pytest.fixture
def server() -> Iterator[Ga4Server]:
    with Ga4Server(visits(), property_id="1234", page_rows=2) as server:
        yield server


@pytest.fixture
def home(server: Ga4Server, tmp_path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home with a property."""
    return use_home(tmp_path / "home", monkeypatch, GA4_PROPERTY_ID="1234", GA4_API_ENDPOINT=server.endpoint)


#: what a command does: its exit code, and all that it prints, as one line
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """``clickstream run ga4``, for both days unless others are given."""

    def command(*arguments: str) -> tuple[int, str]:
        days = arguments or ("--from", str(DAYS[0]), "--to", str(DAYS[1]))
        result = CliRunner().invoke(main, ["run", "ga4", *days], catch_exceptions=False)
        output = " ".join((capfd.readouterr().err + result.output).split())
        print(output)  # for whoever reads why a test failed
        return result.exit_code, output

    return command


def test_rows_that_get_another_label_leave_no_old_ones_behind(home: Home, server: Ga4Server, run: Run) -> None:
    assert run()[0] == 0
    by_page = (
        "select page_path, traffic_medium, sessions, total_users, screen_page_views, event_count "
        f"from analytics.ga4_events_cleaned where event_date = '{DAYS[1]}' order by all"
    )
    assert home.query(by_page) == [
        ("/", "email", 1, 1, 3, 9),
        ("/", "organic", 3, 2, 3, 6),
        ("/shop", "organic", 2, 2, 3, 6),
    ]
    # Pages of two rows: two requests for what has three.
    pulled = "select pages, row_count, status from analytics.ga4_pulls where report = 'ga_events' and event_date = "
    assert home.query(f"{pulled}'{DAYS[1]}'") == [(2, 3, "published")]
    kpis = (
        "select event_date, sessions, total_users, screen_page_views, event_count, pages_per_session, is_final, "
        "is_synthetic from analytics.ga4_events_kpis order by 1"
    )
    # Six sessions and five users on the pages are four sessions and three users on the day.
    assert home.query(kpis) == [(day, 4, 3, 9, 21, 2.25, True, False) for day in DAYS]

    server.visits = visits(medium="cpc")
    assert run("--date", str(DAYS[1]))[0] == 0
    assert home.query(by_page) == [
        ("/", "cpc", 3, 2, 3, 6),
        ("/", "email", 1, 1, 3, 9),
        ("/shop", "cpc", 2, 2, 3, 6),
    ]
    media = "select distinct traffic_medium from analytics.ga4_events_enhanced where event_date = "
    assert home.query(f"{media}'{DAYS[0]}' order by 1") == [("email",), ("organic",)]
    assert home.query(f"{pulled}'{DAYS[1]}' order by pulled_at") == [(2, 3, "superseded"), (2, 3, "published")]
    channels = (
        "select distinct channel from analytics.ga4_events_reports where report = 'traffic_source' and event_date = "
    )
    assert home.query(f"{channels}'{DAYS[1]}' order by 1") == [("Email",), ("Paid Search",)]


def test_quota_that_ends_in_the_middle_costs_what_was_not_pulled(
    home: Home, server: Ga4Server, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DataApi, "of", partial(DataApi.of, first_wait=0.01))
    server.exhausted_from = 7  # the first page of the second day's ga_events is there, its second is not
    code, output = run()
    assert code == 1
    said = output.partition("clickstream: ")[2]
    assert "ga_events of 2024-03-31" in said and "per hour" in said and "run the same command again" in said
    count = "select event_date, count(*) from analytics.ga4_events_cleaned group by 1 order by 1"
    assert home.query(count) == [(DAYS[0], 3)]
    server.exhausted_from = None
    assert run()[0] == 0
    assert home.query(count) == [(DAYS[0], 3), (DAYS[1], 3)]


def test_numbers_that_are_not_exact_are_told_and_published(home: Home, server: Ga4Server, run: Run) -> None:
    server.sampled, server.other_row = (1_000, 9_000), True
    code, output = run("--date", str(DAYS[0]))
    assert code == 0
    assert "numbers_are_exact: ga_events 2024-03-30: sampled, rows are put together as (other)" in output
    assert home.query("select distinct is_sampled, data_loss_from_other_row from analytics.ga4_pulls") == [(True, True)]


def test_a_property_that_moves_to_another_time_zone_is_blocked(home: Home, server: Ga4Server, run: Run) -> None:
    assert run("--date", str(DAYS[0]))[0] == 0
    before = home.query("select * from analytics.ga4_events_kpis")
    server.time_zone = "Asia/Tokyo"
    server.visits = [*visits(), Visit(DAYS[0], user="u9", session="s9")]
    code, output = run("--date", str(DAYS[0]))
    assert code == 1
    said = output.partition("clickstream: ")[2]
    assert "Asia/Tokyo" in said and "GA4_TIME_ZONE" in said
    assert [row[1:6] for row in home.query("select * from analytics.ga4_events_kpis")] == [row[1:6] for row in before]


def test_without_a_property_the_numbers_are_made_up_and_say_so(
    tmp_path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = use_home(tmp_path / "home", monkeypatch)
    yesterday = date.today() - timedelta(days=1)
    days = ("--from", str(yesterday - timedelta(days=20)), "--to", str(yesterday - timedelta(days=19)))
    code, output = run(*days)
    assert code == 0 and "made-up property" in output
    assert home.query("select distinct is_synthetic, is_final from analytics.ga4_events_cleaned") == [(True, True)]
    tables = home.tables()
    assert run(*days)[0] == 0
    assert home.tables() == tables, "running it again changes nothing"

    with Ga4Server(visits()) as server:
        home = use_home(home.path, monkeypatch, GA4_PROPERTY_ID="1234", GA4_API_ENDPOINT=server.endpoint)
        code, output = run("--date", str(DAYS[0]))
        assert code == 1 and "numbers of a made-up property" in output
        assert server.requests == []


def test_files_that_lie_in_landing_are_all_there_is_without_a_property(
    tmp_path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = use_home(tmp_path / "home", monkeypatch)
    landed.land(home, "2024-01-06_030000", landed.body())
    assert run("--from", "2024-01-04", "--to", "2024-01-06")[0] == 0
    assert home.query("select distinct event_date from analytics.ga4_events_cleaned") == [(landed.DAY,)]
    assert home.query("select count(*) from analytics.ga4_pulls") == [(1,)]
    # Nor when they have expired: nothing is made up beside real numbers.
    shutil.rmtree(home.path / "landing")
    assert run("--from", "2024-01-04", "--to", "2024-01-06")[0] == 0
    assert home.query("select count(*), bool_or(is_synthetic) from analytics.ga4_events_cleaned") == [(3, False)]
