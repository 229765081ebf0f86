"""The synthetic property, judged by what it answers: read with Google's own class, json and dictionaries."""

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from google.analytics.data_v1beta import RunReportResponse

from clickstream_assets.ga4.property import Property, PullFailed
from clickstream_assets.ga4.reports import REPORTS, Metric
from clickstream_assets.ga4.synthetic import SyntheticProperty

DAY = date(2024, 1, 10)  # a Wednesday
SESSIONS, USERS, VIEWS, EVENTS = range(4)
FINISHED = 3


def at(age: int, day: date = DAY) -> Callable[[], datetime]:
    return lambda: datetime(day.year, day.month, day.day, 12, tzinfo=UTC) + timedelta(age)


def asked(name: str, rows: int = 250, age: int = FINISHED, day: date = DAY, **of_property: Any) -> dict[str, Any]:
    body = SyntheticProperty(rows, now=at(age, day), **of_property).run_report(REPORTS[name], day, offset=0)
    found: dict[str, Any] = json.loads(body)
    return found


def rows_of(answer: dict[str, Any]) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Metrics by dimensions; each row's dimensions are there once."""
    rows = [
        (tuple(v["value"] for v in row["dimensionValues"]), tuple(int(v["value"]) for v in row["metricValues"]))
        for row in answer.get("rows", [])
    ]
    assert len(dict(rows)) == len(rows)
    return dict(rows)


def sums(answer: dict[str, Any]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*rows_of(answer).values(), strict=True)))


def test_it_is_a_property_that_says_it_is_synthetic() -> None:
    one: Property = SyntheticProperty()
    assert one.synthetic
    for name in REPORTS:
        assert asked(name)["synthetic"] is True


@pytest.mark.parametrize("age", range(4))
@pytest.mark.parametrize("name", REPORTS)
def test_the_same_question_has_the_same_answer_and_another_seed_day_or_size_another(name: str, age: int) -> None:
    answer = asked(name, age=age)
    assert asked(name, age=age) == answer
    assert asked(name, age=age, seed=1)["rows"] != answer["rows"]
    assert asked(name, rows=251, age=age)["rows"] != answer["rows"]
    day = rows_of(asked(name, age=age, day=DAY + timedelta(7)))
    assert list(day.values()) != list(rows_of(answer).values())


@pytest.mark.parametrize("rows", [1, 2, 7, 40, 250, 3_001])
@pytest.mark.parametrize("age", [3, 20, 4_000])
def test_a_finished_day_has_exactly_so_many_rows(rows: int, age: int) -> None:
    for day in (DAY, DAY + timedelta(3)):
        answer = asked("ga_events", rows, age, day)
        assert (len(answer["rows"]), answer["rowCount"]) == (rows, rows)


@pytest.mark.parametrize("age", range(4))
@pytest.mark.parametrize("rows", [1, 2, 250, 3_000])
def test_views_and_events_add_up_over_the_grains_sessions_and_users_do_not(rows: int, age: int) -> None:
    events, daily, sources, pages = (asked(name, rows, age) for name in REPORTS)
    ((_, whole),) = rows_of(daily).items()
    for part in (events, sources, pages):
        assert sums(part)[VIEWS:] == whole[VIEWS:]
        assert min(sums(part)[SESSIONS] - whole[SESSIONS], sums(part)[USERS] - whole[USERS]) >= 0
        assert all(row[metric] <= whole[metric] for row in rows_of(part).values() for metric in range(4))
        assert all(0 < row[USERS] <= row[SESSIONS] <= row[EVENTS] for row in rows_of(part).values())
    # A row of a coarser report is made of the finer one's: views and events add up, the others lie in between.
    for part, key in ((pages, lambda row: row[:2]), (sources, lambda row: (row[0], *row[2:]))):
        finer: dict[tuple[str, ...], list[tuple[int, ...]]] = {}
        for dimensions, metrics in rows_of(events).items():
            finer.setdefault(key(dimensions), []).append(metrics)
        assert set(finer) == set(rows_of(part))
        for dimensions, metrics in rows_of(part).items():
            columns = list(zip(*finer[dimensions], strict=True))
            assert metrics[VIEWS:] == (sum(columns[VIEWS]), sum(columns[EVENTS]))
            for metric in (SESSIONS, USERS):
                assert max(columns[metric]) <= metrics[metric] <= sum(columns[metric])
    if rows >= 250:
        assert sums(events)[SESSIONS] > 1.5 * whole[SESSIONS] and sums(events)[USERS] > 1.5 * whole[USERS]
        assert sums(sources)[SESSIONS] == whole[SESSIONS]  # a session comes from one source
        assert sums(sources)[USERS] > whole[USERS]  # a user does not
        assert whole[USERS] < 0.95 * whole[SESSIONS]


@pytest.mark.parametrize("day", [DAY + timedelta(n) for n in range(7)])
def test_numbers_grow_with_the_days_age_until_the_third_day(day: date) -> None:
    by_age = [sums(asked("ga_daily", 1_000, age, day)) for age in (0, 1, 2, 3, 4, 30)]
    final = by_age[3]
    for metric in range(4):
        in_progress, first, second, *others = (found[metric] / final[metric] for found in by_age)
        assert 0.52 < in_progress < 0.72
        assert 0.965 < first < second < 0.995
        assert others == [1, 1, 1]
    counts = [asked("ga_events", 1_000, age, day)["rowCount"] for age in range(4)]
    assert counts[0] < 0.95 * counts[3] and counts[3] == 1_000


def test_rows_with_a_provisional_source_vanish_and_no_other_does() -> None:
    at_first, later, second, final = (rows_of(asked("ga_events", 500, age)) for age in range(4))
    gone = {dimensions for dimensions in later if dimensions not in final}
    assert len(gone) > 10
    assert ("(not set)", "(not set)") in {dimensions[2:] for dimensions in gone}
    assert {dimensions[2:] for dimensions in gone} <= {("(not set)", "(not set)"), ("google", "organic")}
    assert {dimensions for dimensions in at_first if dimensions not in later} == set()
    assert not set(second) - set(final)
    assert not any(dimensions[2] == "(not set)" for dimensions in second)

    def views(rows: dict[tuple[str, ...], tuple[int, ...]]) -> int:
        return sum(metrics[VIEWS] for dimensions, metrics in rows.items() if dimensions[2:] == ("newsletter", "email"))

    assert views(second) > 1.2 * views(later)


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("limit", [1, 7, 100, 249, 250, 251])
def test_pages_put_together_are_the_report(name: str, limit: int) -> None:
    of_pages = SyntheticProperty(now=at(FINISHED))
    whole = asked(name)
    rows: list[Any] = []
    while len(rows) < whole["rowCount"]:
        page = json.loads(of_pages.run_report(REPORTS[name], DAY, offset=len(rows), limit=limit))
        assert page["rowCount"] == whole["rowCount"]
        assert len(page["rows"]) == min(limit, whole["rowCount"] - len(rows))
        rows += page["rows"]
    assert rows == whole["rows"]
    for offset in (whole["rowCount"], 10_000):
        beyond = json.loads(of_pages.run_report(REPORTS[name], DAY, offset=offset, limit=limit))
        assert beyond["rowCount"] == whole["rowCount"] and "rows" not in beyond


def test_pages_of_several_reports_and_days_may_be_asked_by_turns() -> None:
    one = SyntheticProperty(now=at(9))
    for day in (DAY, DAY + timedelta(1), DAY):
        for name, report in REPORTS.items():
            answer = json.loads(one.run_report(report, day, offset=0))
            assert answer["rows"] == asked(name, day=day)["rows"]


@pytest.mark.parametrize("name", REPORTS)
def test_a_property_that_lives_through_days_tells_what_a_new_one_does(name: str) -> None:
    moment = at(0)()
    one = SyntheticProperty(now=lambda: moment)
    for age in (-1, 0, 1, 2, 3, 4, 30, 0):
        moment = at(age)()
        answer = json.loads(one.run_report(REPORTS[name], DAY, offset=0))
        assert answer.get("rows") == asked(name, age=age).get("rows")


@pytest.mark.parametrize("name", REPORTS)
def test_rows_are_ordered_by_all_dimensions(name: str) -> None:
    keys = list(rows_of(asked(name, 3_000, age=1)))
    assert keys == sorted(keys)
    assert {key[0] for key in keys} == {"20240110"}


@pytest.mark.parametrize("name", REPORTS)
def test_googles_own_class_reads_an_answer(name: str) -> None:
    body = SyntheticProperty(now=at(FINISHED)).run_report(REPORTS[name], DAY, offset=0)
    read = RunReportResponse.from_json(body, ignore_unknown_fields=True)
    report = REPORTS[name]
    assert [header.name for header in read.dimension_headers] == list(report.dimensions)
    assert [(h.name, h.type_.name) for h in read.metric_headers] == [(m.name, "TYPE_INTEGER") for m in report.metrics]
    assert read.row_count == len(read.rows)
    assert {
        tuple(v.value for v in row.dimension_values): tuple(int(v.value) for v in row.metric_values)
        for row in read.rows
    } == rows_of(asked(name))
    assert (read.metadata.currency_code, read.metadata.time_zone) == ("EUR", "Europe/Berlin")
    assert not read.metadata.data_loss_from_other_row and read.metadata.empty_reason == ""
    assert read.kind == "analyticsData#runReport"
    assert read.property_quota.tokens_per_day.remaining == 200_000 - read.property_quota.tokens_per_day.consumed


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("age", [-1, 0, 3])
def test_an_answer_is_laid_out_as_googles(name: str, age: int) -> None:
    body = SyntheticProperty(now=at(age)).run_report(REPORTS[name], DAY, offset=0).decode()
    assert body == json.dumps(json.loads(body), indent=2, ensure_ascii=False) + "\n"
    names = ["synthetic", "dimensionHeaders", "metricHeaders", "rows", "rowCount", "metadata", "propertyQuota", "kind"]
    assert list(json.loads(body)) == [name for name in names if age >= 0 or not name.startswith("row")]
    assert ("größentabelle" in body) == (age >= 0 and "pagePath" in REPORTS[name].dimensions)


@pytest.mark.parametrize(
    ("zone", "hour", "begun"),
    [
        ("Europe/Berlin", 22, False),
        ("Europe/Berlin", 23, True),
        ("Asia/Tokyo", 15, True),
        ("America/New_York", 23, False),
    ],
)
def test_a_day_begins_in_the_propertys_time_zone(zone: str, hour: int, begun: bool) -> None:
    evening = datetime(2024, 1, 9, hour, 30, tzinfo=UTC)
    one = SyntheticProperty(time_zone=zone, now=lambda: evening)
    for report in REPORTS.values():
        answer = json.loads(one.run_report(report, DAY, offset=0))
        assert answer["metadata"] == {"currencyCode": "EUR", "timeZone": zone}
        assert ("rows" in answer, "rowCount" in answer) == (begun, begun)


def test_tokens_count_down_and_fill_up_again() -> None:
    moment = [datetime(2024, 1, 20, 6, 58, tzinfo=UTC)]
    one = SyntheticProperty(now=lambda: moment[0])

    def remaining() -> dict[str, int]:
        quota = json.loads(one.run_report(REPORTS["ga_daily"], DAY, offset=0))["propertyQuota"]
        return {name: of_name["remaining"] for name, of_name in quota.items()}

    full = {"tokensPerDay": 200_000, "tokensPerHour": 40_000, "tokensPerProjectPerHour": 14_000}
    for n in (1, 2, 3):
        assert remaining().items() >= {name: tokens - n for name, tokens in full.items()}.items()
    moment[0] += timedelta(minutes=5)
    assert (
        remaining().items()
        >= {
            "tokensPerDay": 199_996,
            "tokensPerHour": 39_999,
            "tokensPerProjectPerHour": 13_999,
        }.items()
    )
    moment[0] += timedelta(hours=1)  # midnight in California
    assert remaining()["tokensPerDay"] == 199_999


def test_what_is_not_made_up_is_refused_by_name() -> None:
    report = REPORTS["ga_events"]
    strange = replace(report, metrics=(*report.metrics, Metric("purchaseRevenue", "revenue", True)))
    with pytest.raises(PullFailed, match=r"does not know purchaseRevenue: take it out of the report ga_events, or"):
        SyntheticProperty().run_report(strange, DAY, offset=0)
    strange = replace(report, dimensions={**report.dimensions, "country": "country"})
    with pytest.raises(PullFailed, match="does not know country"):
        SyntheticProperty().run_report(strange, DAY, offset=0)


def test_a_report_of_other_dimensions_and_metrics_that_are_known_is_answered() -> None:
    other = replace(
        REPORTS["ga_events"],
        dimensions={"date": "event_date", "medium": "traffic_medium", "pagePath": "page_path"},
        metrics=REPORTS["ga_events"].metrics[:1:-1],
    )
    answer = json.loads(SyntheticProperty(now=at(FINISHED)).run_report(other, DAY, offset=0))
    assert [header["name"] for header in answer["metricHeaders"]] == ["eventCount", "screenPageViews"]
    expected: dict[tuple[str, ...], tuple[int, int]] = {}
    for (day, path, _, medium), metrics in rows_of(asked("ga_events")).items():
        events, views = expected.get((day, medium, path), (0, 0))
        expected[day, medium, path] = events + metrics[EVENTS], views + metrics[VIEWS]
    assert rows_of(answer) == expected
    assert list(rows_of(answer)) == sorted(expected)


@pytest.mark.parametrize("page", [{"offset": -1}, {"offset": 0, "limit": 0}])
def test_a_page_that_cannot_be_is_refused(page: dict[str, int]) -> None:
    with pytest.raises(PullFailed, match="one row or more"):
        SyntheticProperty().run_report(REPORTS["ga_events"], DAY, **page)


@pytest.mark.parametrize("wrong", [{"rows_per_day": 0}, {"seed": -1}])
def test_arguments_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least 1 and the seed 0 or more"):
        SyntheticProperty(**wrong)


def test_the_data_tell_a_story() -> None:
    weeks = 8
    views = [sums(asked("ga_daily", 1_000, day=DAY + timedelta(n)))[VIEWS] for n in range(7 * weeks)]
    by_weekday = [sum(views[n::7]) / weeks for n in range(7)]  # Wednesday to Tuesday
    assert max(by_weekday[3:5]) < 0.92 * min(by_weekday[:3] + by_weekday[5:])
    year_later = [sums(asked("ga_daily", 1_000, day=DAY + timedelta(364 + n)))[VIEWS] for n in range(14)]
    assert 1.02 < sum(year_later) / sum(views[:14]) < 1.2
    sources = Counter({key[1:]: row[SESSIONS] for key, row in rows_of(asked("ga_sources", 1_000)).items()})
    assert [source for source, _ in sources.most_common(2)] == [("google", "organic"), ("(direct)", "(none)")]
    assert {("google", "cpc"), ("newsletter", "email"), ("t.co", "referral")} < set(sources)
    pages = rows_of(asked("ga_pages", 1_000))
    assert {key[1] for key, _ in sorted(pages.items(), key=lambda page: -page[1][VIEWS])[:5]} & {"/", "/shop"}
    assert [key[1] for key, row in pages.items() if row[VIEWS] == 0] == ["(not set)"]
    assert all(key[1].startswith("/") and "?" not in key[1] and "@" not in key[1] for key in list(pages)[1:])


@pytest.mark.parametrize("day", [date(1, 2, 1), date(1970, 1, 1), date(9999, 1, 1)])
def test_a_day_far_off_is_neither_empty_nor_huge(day: date) -> None:
    ((_, whole),) = rows_of(asked("ga_daily", 250, day=day)).items()
    assert 300 < whole[VIEWS] < 3_000


@pytest.mark.parametrize(("rows", "seconds"), [(250, 0.5), (100_000, 12)])  # several times what it takes
def test_a_day_is_answered_quickly(rows: int, seconds: float) -> None:
    began = time.process_time()
    one = SyntheticProperty(rows, now=at(FINISHED))
    for report in REPORTS.values():
        one.run_report(report, DAY, offset=0)
    assert time.process_time() - began < seconds
