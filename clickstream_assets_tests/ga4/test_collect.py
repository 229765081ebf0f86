"""Collecting with Google's client from a server that speaks the Data API: what lands, and what is said when not all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from clickstream_assets.errors import ClickstreamError
from clickstream_assets.ga4.client import ATTEMPTS, DataApi
from clickstream_assets.ga4.collect import MARKER, TIMES, Collected, PullsFailed, collect, synthetic_allowed
from clickstream_assets.ga4.property import PAGE_ROWS
from clickstream_assets.ga4.reports import REPORTS, Report
from clickstream_assets.settings import Ga4
from clickstream_assets_tests.conftest import Home
from clickstream_assets_tests.ga4.server import CUT, Ga4Server, Visit

DAYS = [date(2024, 1, 5), date(2024, 1, 6), date(2024, 1, 7)]
DAY = DAYS[0]
NOW = datetime(2024, 2, 1, 12, 0, 3, 700_000, UTC)
BERLIN = ZoneInfo("Europe/Berlin")

DAILY = {"ga_daily": REPORTS["ga_daily"]}
PAGES = {"ga_pages": REPORTS["ga_pages"]}

#: seven pages of a day, of which many are equal in sessions, the first metric
VISITS = [
    Visit(day, f"/{page}", "google", "organic", f"u{page % 3}", f"s{page % 4}") for day in DAYS for page in range(7)
]


@pytest.fixture
def server() -> Iterator[Ga4Server]:
    with Ga4Server(VISITS) as server:
        yield server


@pytest.fixture
def pull(home: Home, server: Ga4Server) -> Callable[..., Collected]:
    """Collect into the home's landing."""

    def pull(days: Iterable[date] = (DAY,), reports: dict[str, Report] = PAGES, **further: Any) -> Collected:
        source = DataApi.of(Ga4("123", None, server.endpoint, None), first_wait=0.001, longest_wait=0.001)
        settings: dict[str, Any] = {"now": lambda: NOW, "zone": BERLIN, "tell": lambda line: None, "source": source}
        return collect(home.platform, days, reports=reports, **(settings | further))

    return pull


def landed(home: Home) -> dict[str, bytes]:
    """All files of landing, the hidden ones too, by path."""
    root = home.path / "landing"
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def keys(*bodies: bytes) -> list[tuple[str, ...]]:
    """The dimensions of all rows."""
    return [
        tuple(one["value"] for one in row["dimensionValues"])
        for body in bodies
        for row in json.loads(body).get("rows", ())
    ]


def test_every_report_of_every_day_lands_byte_for_byte(home: Home, server: Ga4Server, pull: Any) -> None:
    lines: list[str] = []
    collected = pull([*DAYS[::-1], DAYS[1]], dict(REPORTS), tell=lines.append)
    expected = [f"ga4/{report}/date={day}/ga4_events_2024-02-01_120003.json" for day in DAYS for report in REPORTS]
    # What was sent first is the first day's, whatever the order of the days that are asked for.
    assert landed(home) == dict(zip(expected, server.sent, strict=True))
    assert [(one.day, one.report, one.pages, one.whole) for one in collected.pulls] == [
        (day, report, 1, True) for day in DAYS for report in REPORTS
    ]
    assert {one.stamp for one in collected.pulls} == {NOW.replace(microsecond=0)}
    assert [one.rows for one in collected.pulls[:4]] == [7, 1, 1, 7]
    assert lines[0] == "ga_events of 2024-01-05: 7 rows"


def test_pages_follow_until_all_rows_are_there(home: Home, server: Ga4Server, pull: Any) -> None:
    server.page_rows = 3
    (one,) = pull().pulls
    assert (one.pages, one.rows, one.whole) == (3, 7, True)
    stem = "ga4/ga_pages/date=2024-01-05/ga4_events_2024-02-01_120003"
    assert landed(home) == dict(
        zip([f"{stem}.json", f"{stem}_p002.json", f"{stem}_p003.json"], server.sent, strict=True)
    )
    assert keys(*server.sent) == [("20240105", f"/{page}") for page in range(7)]
    assert [request.offset for request in server.requests] == [0, 3, 6]
    assert {request.body["limit"] for request in server.requests} == {str(PAGE_ROWS)}


def test_a_page_is_there_before_the_next_is_asked_for(home: Home, server: Ga4Server, pull: Any) -> None:
    server.page_rows = 3
    before: list[int] = []

    class Watched(DataApi):
        def run_report(self, report: Report, day: date, *, offset: int, limit: int = PAGE_ROWS) -> bytes:
            before.append(len(landed(home)))
            return super().run_report(report, day, offset=offset, limit=limit)

    pull(source=Watched.of(Ga4("123", None, server.endpoint, None)))
    assert before == [0, 1, 2]


def test_a_report_without_rows_is_whole_with_one_page(home: Home, server: Ga4Server, pull: Any) -> None:
    server.visits = []
    server.empty_reason = "NO_DATA"
    (one,) = pull().pulls
    assert (one.pages, one.rows, one.whole) == (1, 0, True)
    (body,) = landed(home).values()
    assert body == server.sent[0]
    assert "rowCount" not in json.loads(body)


@pytest.mark.parametrize(
    ("fault", "value", "field"),
    [
        ("sampled", (500_000, 12_000_000), "samplingMetadatas"),
        ("thresholded", True, "subjectToThresholding"),
        ("other_row", True, "dataLossFromOtherRow"),
    ],
)
def test_what_qualifies_the_numbers_lands_with_them(
    home: Home, server: Ga4Server, pull: Any, fault: str, value: Any, field: str
) -> None:
    setattr(server, fault, value)
    assert pull().pulls[0].whole
    (body,) = landed(home).values()
    assert body == server.sent[0]
    assert json.loads(body)["metadata"][field]


def test_pulls_of_one_second_do_not_overwrite_each_other(home: Home, server: Ga4Server, pull: Any) -> None:
    for _ in range(3):
        pull()
    # Half a pull, which has no first page any more, has its second too.
    stem = "ga4/ga_pages/date=2024-01-05/ga4_events_2024-02-01_1200"
    folder = home.path / "landing" / "ga4/ga_pages/date=2024-01-05"
    (folder / "ga4_events_2024-02-01_120006_p002.json").write_bytes(b"{}")
    assert pull().pulls[0].stamp == datetime(2024, 2, 1, 12, 0, 7, tzinfo=UTC)
    names = ["03.json", "04.json", "05.json", "07.json"]
    found = {path: body for path, body in landed(home).items() if not path.endswith("_p002.json")}
    assert found == dict(zip([stem + name for name in names], server.sent, strict=True))
    assert len(set(server.sent)) == 4  # by the tokens that were left


def test_another_day_or_report_of_the_same_second_is_another_pull(home: Home, pull: Any) -> None:
    collected = pull(DAYS[:2], {**DAILY, **PAGES})
    assert {one.stamp for one in collected.pulls} == {NOW.replace(microsecond=0)}


@pytest.mark.parametrize(("fault", "value"), [("repeats", 1), ("shifts", 2), ("shifts", -2)])
def test_rows_that_move_between_pages_are_pulled_again(
    home: Home, server: Ga4Server, pull: Any, fault: str, value: int
) -> None:
    server.page_rows = 4
    setattr(server, fault, [value])
    first, second = pull().pulls
    assert (first.whole, first.pages, second.whole, second.pages) == (False, 2, True, 2)
    assert (second.stamp - first.stamp) == timedelta(seconds=1)
    assert list(landed(home).values()) == server.sent
    assert keys(*server.sent[2:]) == [("20240105", f"/{page}") for page in range(7)]


def test_as_many_rows_as_there_are_can_be_the_wrong_ones(home: Home, server: Ga4Server, pull: Any) -> None:
    # One page comes twice, and so that its sum is right another never.
    server.visits.append(Visit(DAY, "/7"))
    server.page_rows = 4
    server.repeats = [1]
    first, second = pull().pulls
    assert (first.rows, first.whole, second.rows, second.whole) == (8, False, 8, True)
    assert keys(*server.sent[:2]).count(("20240105", "/3")) == 2
    assert keys(*server.sent[2:]) == [("20240105", f"/{page}") for page in range(8)]


def test_more_rows_than_there_are_make_no_pull(home: Home, server: Ga4Server, pull: Any) -> None:
    row = {"dimensionValues": [{"value": "20240105"}, {}], "metricValues": [{"value": "1"}]}
    server.says = json.dumps({"rowCount": 1, "rows": [row, row]}).encode()
    with pytest.raises(PullsFailed, match="the rows moved"):
        pull()
    assert len(server.requests) == TIMES


@pytest.mark.parametrize(("fault", "value"), [("repeats", 1), ("shifts", 2)])
def test_rows_that_never_stand_still_are_given_up(
    home: Home, server: Ga4Server, pull: Any, fault: str, value: int
) -> None:
    server.page_rows = 4
    setattr(server, fault, [value] * TIMES)
    with pytest.raises(
        PullsFailed, match=r"whole for ga_pages of 2024-01-05: the rows moved .* 3 times: run"
    ) as failed:
        pull(DAYS[:2])
    assert [(str(one.day), one.whole) for one in failed.value.collected.pulls] == [
        ("2024-01-05", False),
        ("2024-01-05", False),
        ("2024-01-05", False),
        ("2024-01-06", True),
    ]
    assert len(server.sent) == len(landed(home)) == 2 * TIMES + 2


def test_a_page_without_rows_ends_the_pull(home: Home, server: Ga4Server, pull: Any) -> None:
    server.page_rows = 4
    server.ends = True
    with pytest.raises(PullsFailed, match="the answers ended after 4 of 7 rows: run the same command again") as failed:
        pull()
    (one,) = failed.value.collected.pulls
    assert (one.pages, one.rows, one.whole) == (2, 4, False)
    assert len(server.requests) == len(landed(home)) == 2


def test_one_report_that_fails_costs_itself_alone(home: Home, server: Ga4Server, pull: Any) -> None:
    server.statuses = [404]
    lines: list[str] = []
    with pytest.raises(PullsFailed) as failed:
        pull(DAYS[:2], {**DAILY, **PAGES}, tell=lines.append)
    assert str(failed.value) == (
        "GA4 was not pulled whole for ga_daily of 2024-01-05: GA4 property 123 was not read (HTTP 404, Requested "
        "entity was not found): give GA4_PROPERTY_ID the property's number, as in its settings."
    )
    assert isinstance(failed.value, ClickstreamError)
    assert [(one.report, str(one.day)) for one in failed.value.collected.pulls] == [
        ("ga_pages", "2024-01-05"),
        ("ga_daily", "2024-01-06"),
        ("ga_pages", "2024-01-06"),
    ]
    assert lines[0].startswith("ga_daily of 2024-01-05: GA4 property 123 was not read")


def test_five_are_named_and_the_others_counted(server: Ga4Server, pull: Any) -> None:
    server.statuses = [403] * 12
    with pytest.raises(PullsFailed) as failed:
        pull(DAYS, dict(REPORTS))
    assert "ga_daily of 2024-01-05, " in str(failed.value)
    assert "ga_events of 2024-01-06 and 7 more: GA4 property" in str(failed.value)
    assert str(failed.value).count("Viewer") == 1
    assert failed.value.collected.pulls == ()


def test_a_second_page_that_is_not_answered_leaves_half_a_pull(home: Home, server: Ga4Server, pull: Any) -> None:
    server.page_rows = 4

    class Breaking(DataApi):
        def run_report(self, report: Report, day: date, *, offset: int, limit: int = PAGE_ROWS) -> bytes:
            server.statuses = [CUT] * ATTEMPTS if offset and day == DAY else []
            return super().run_report(report, day, offset=offset, limit=limit)

    source = Breaking.of(Ga4("123", None, server.endpoint, None), first_wait=0.001, longest_wait=0.001)
    with pytest.raises(PullsFailed, match=r"ga_pages of 2024-01-05: .* was not reached") as failed:
        pull(DAYS[:2], source=source)
    assert [(one.pages, one.rows, one.whole) for one in failed.value.collected.pulls] == [(1, 4, False), (2, 7, True)]
    assert list(landed(home).values()) == server.sent


def test_a_quota_that_runs_out_ends_it_all(home: Home, server: Ga4Server, pull: Any) -> None:
    server.page_rows = 4
    server.exhausted_from = 2 + 1 + 2  # the first day's two pages, another's report, and one of the second day's pages
    with pytest.raises(PullsFailed) as failed:
        pull(DAYS, {**PAGES, **DAILY})
    assert str(failed.value) == (
        "GA4 was not pulled whole for ga_pages of 2024-01-06, ga_daily of 2024-01-06, ga_pages of 2024-01-07, ga_daily "
        "of 2024-01-07: GA4 property 123 has used up this project's tokens of the hour (HTTP 429, Exhausted property "
        "tokens for a project per hour), which fill up within an hour: run the same command again when there is some."
    )
    assert [(one.report, str(one.day), one.pages, one.whole) for one in failed.value.collected.pulls] == [
        ("ga_pages", "2024-01-05", 2, True),
        ("ga_daily", "2024-01-05", 1, True),
        ("ga_pages", "2024-01-06", 1, False),
    ]
    assert list(landed(home)) == [
        "ga4/ga_daily/date=2024-01-05/ga4_events_2024-02-01_120003.json",
        "ga4/ga_pages/date=2024-01-05/ga4_events_2024-02-01_120003.json",
        "ga4/ga_pages/date=2024-01-05/ga4_events_2024-02-01_120003_p002.json",
        "ga4/ga_pages/date=2024-01-06/ga4_events_2024-02-01_120003.json",
    ]
    assert {str(request.day) for request in server.requests} == {"2024-01-05", "2024-01-06"}
    assert len(server.requests) == 4 + ATTEMPTS


def test_tokens_that_end_with_an_answer_leave_the_next_unasked(server: Ga4Server, pull: Any) -> None:
    server.remaining["tokensPerDay"] = server.cost
    with pytest.raises(PullsFailed, match=r"ga_pages of 2024-01-06, .*the tokens of the day, .* midnight Pacific time"):
        pull(DAYS)
    assert len(server.requests) == 1


def test_an_answer_that_is_no_report_lands_and_is_told(home: Home, server: Ga4Server, pull: Any) -> None:
    server.says = b'{"rowCount": 1, "rows": [{}]}'
    with pytest.raises(PullsFailed, match="an answer that landed is not a report"):
        pull()
    assert list(landed(home).values()) == [server.says]


@pytest.mark.parametrize(
    ("now", "zone", "days", "asked"),
    [
        # In Auckland it is tomorrow already, in Los Angeles still yesterday.
        ("2024-01-05T12:00", "Pacific/Auckland", ["2024-01-05", "2024-01-06", "2024-01-07"], 2),
        ("2024-01-05T10:59", "Pacific/Auckland", ["2024-01-05", "2024-01-06"], 1),
        ("2024-01-06T07:59", "America/Los_Angeles", ["2024-01-05", "2024-01-06"], 1),
        ("2024-01-06T08:00", "America/Los_Angeles", ["2024-01-05", "2024-01-06"], 2),
        # Days of 23 and 25 hours in Berlin begin and end with its clocks.
        ("2024-03-30T22:59", "Europe/Berlin", ["2024-03-30", "2024-03-31", "2024-04-01"], 1),
        ("2024-03-30T23:00", "Europe/Berlin", ["2024-03-30", "2024-03-31", "2024-04-01"], 2),
        ("2024-03-31T22:00", "Europe/Berlin", ["2024-03-30", "2024-03-31", "2024-04-01"], 3),
        ("2024-10-26T22:00", "Europe/Berlin", ["2024-10-26", "2024-10-27", "2024-10-28"], 2),
        ("2024-10-27T22:59", "Europe/Berlin", ["2024-10-26", "2024-10-27", "2024-10-28"], 2),
        ("2024-10-27T23:00", "Europe/Berlin", ["2024-10-26", "2024-10-27", "2024-10-28"], 3),
    ],
)
def test_days_are_the_propertys_and_those_to_come_are_not_asked(
    server: Ga4Server, pull: Any, now: str, zone: str, days: list[str], asked: int
) -> None:
    lines: list[str] = []
    pull(
        [date.fromisoformat(day) for day in days],
        {**DAILY, **PAGES},
        now=lambda: datetime.fromisoformat(now).replace(tzinfo=UTC),
        zone=ZoneInfo(zone),
        tell=lines.append,
    )
    ranges = [request.body["dateRanges"] for request in server.requests]
    assert ranges == [[{"startDate": day, "endDate": day}] for day in days[:asked] for _ in range(2)]
    assert [line for line in lines if "not begun" in line] == [
        f"{day} has not begun where the property is: not pulled" for day in days[asked:]
    ]


def test_the_stamp_is_utc_whatever_the_zone(home: Home, pull: Any) -> None:
    pull(now=lambda: datetime(2024, 1, 6, 1, 2, 3, tzinfo=ZoneInfo("Pacific/Auckland")), zone=None)
    assert list(landed(home)) == ["ga4/ga_pages/date=2024-01-05/ga4_events_2024-01-05_120203.json"]


def test_without_a_zone_the_first_answer_says_it(server: Ga4Server, pull: Any) -> None:
    server.time_zone = "America/Los_Angeles"
    # In Los Angeles it is the 5th, and the 6th where days begin first.
    pull(DAYS, now=lambda: datetime(2024, 1, 6, 7, 59, tzinfo=UTC), zone=None)
    assert [str(request.day) for request in server.requests] == ["2024-01-05"]


class MadeUp:
    """A property whose numbers are made up."""

    synthetic = True

    def run_report(self, report: Report, day: date, *, offset: int, limit: int = PAGE_ROWS) -> bytes:
        return b'{"metadata": {"timeZone": "Europe/Berlin"}}'


def test_made_up_numbers_are_marked_and_allowed_where_they_are(home: Home, pull: Any) -> None:
    landing = home.platform.landing
    assert synthetic_allowed(landing)
    for _ in range(2):
        assert pull(source=MadeUp()).pulls[0].whole
        assert landed(home)[MARKER] == b""
        assert synthetic_allowed(landing)
    assert len(landed(home)) == 3


@pytest.mark.parametrize("path", ["ga4/ga_daily/date=2024-01-05/ga4_events_2024-02-01_120003.json", "appflow/ga4/x"])
def test_made_up_numbers_do_not_land_beside_real_ones(home: Home, pull: Any, path: str) -> None:
    landing = home.platform.landing
    landing.write("ecommerce/x", b"")
    assert synthetic_allowed(landing)
    landing.write(path, b"{}")
    assert not synthetic_allowed(landing)
    with pytest.raises(ClickstreamError, match=r"landing has pulls of a real GA4 property, .* CLICKSTREAM_LANDING_URI"):
        pull(source=MadeUp())
    assert sorted(landed(home)) == sorted(["ecommerce/x", path])


def test_real_numbers_are_not_marked(home: Home, pull: Any) -> None:
    pull()
    assert MARKER not in landed(home)
    assert not synthetic_allowed(home.platform.landing)
