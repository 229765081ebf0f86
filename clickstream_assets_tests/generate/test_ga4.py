"""The GA4 generator, judged by code that shares nothing with it: what is in the files, read with json."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from typing import Any

import pytest

from clickstream_assets.ga4 import reports as ga4_reports
from clickstream_assets.ga4.synthetic import SyntheticProperty
from clickstream_assets.generate import Generated, generator

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 6)
ROWS = 60
NAME = re.compile(
    r"ga4/(ga_events|ga_daily|ga_sources|ga_pages)/date=(\d{4}-\d\d-\d\d)/ga4_events_(\d{4}-\d\d-\d\d)_(\d{6})(?:_p(\d{3}))?\.json"
)
APPFLOW = re.compile(r"appflow/ga4/date=(\d{4}-\d\d-\d\d)/part-0000\.json")
REPORTS = {"ga_events", "ga_daily", "ga_sources", "ga_pages"}


def made(
    first: date = FIRST, last: date = LAST, rows: int = ROWS, **options: Any
) -> tuple[Generated, dict[str, bytes]]:
    files: dict[str, bytes] = {}
    result = generator("ga4")(files.__setitem__, first=first, last=last, rows_per_day=rows, **options)
    assert result.paths == list(files)
    return result, files


@dataclass
class Pull:
    """The pages of a pull, as the files' names and contents tell."""

    stamp: str
    pages: dict[int, dict[str, Any]]

    @cached_property
    def rows(self) -> list[list[str]]:
        """Dimensions, then metrics, of each row of the pages in turn."""
        return [
            [v["value"] for v in row["dimensionValues"] + row["metricValues"]]
            for _, page in sorted(self.pages.items())
            for row in page.get("rows", [])
        ]

    @property
    def whole(self) -> bool:
        (count,) = {page["rowCount"] for page in self.pages.values()}
        return list(self.pages) == list(range(1, len(self.pages) + 1)) and len(self.rows) == count


def pulls_of(files: dict[str, bytes]) -> dict[tuple[str, str], list[Pull]]:
    """Pulls by report and day, the oldest first."""
    found: dict[tuple[str, str], dict[str, Pull]] = defaultdict(dict)
    for path, content in sorted(files.items()):
        if match := NAME.fullmatch(path):
            report, day, named, stamp, number = match.groups()
            assert named == day and number != "001"
            pull = found[report, day].setdefault(stamp, Pull(stamp, {}))
            pull.pages[int(number or 1)] = json.loads(content)
    return {key: [of_key[stamp] for stamp in sorted(of_key)] for key, of_key in found.items()}


def judged(files: dict[str, bytes]) -> tuple[int, Counter[str]]:
    """Rows of what counts, and faults by rule."""
    rows, faults = 0, Counter[str]()
    pulls = pulls_of(files)
    for (report, day), of_day in pulls.items():
        whole = [pull for pull in of_day if pull.whole]
        rows += len(whole[-1].rows)
        for pull in of_day:
            if not pull.whole:
                assert report == "ga_events" and pull.stamp < whole[-1].stamp
                faults["incomplete_pull"] += len(pull.pages)
            elif pull is not whole[-1]:
                faults["superseded"] += len(pull.pages)
        for values in whole[-1].rows:
            broken = [rule for rule in ("bad_event_date",) if values[0] != day.replace("-", "")]
            broken += ["bad_metric"] * sum(not value.isdigit() for value in values[-4:])
            assert len(broken) < 2
            faults.update(broken)
    for path, content in files.items():
        if match := APPFLOW.fullmatch(path):
            if ("ga_events", match[1]) in pulls:
                faults["superseded"] += 1
                continue
            for line in content.decode().splitlines():
                rows += 1
                try:
                    json.loads(line)
                except ValueError:
                    faults["bad_json"] += 1
    return rows, faults


@pytest.mark.parametrize("faults", [False, True])
def test_the_same_arguments_give_the_same_bytes_and_another_seed_gives_others(faults: bool) -> None:
    assert made(faults=faults) == made(faults=faults)
    assert made(faults=faults)[1] != made(faults=faults, seed=1)[1]


def test_without_faults_a_range_equals_the_sum_of_its_days() -> None:
    whole, files = made()
    by_day: dict[str, bytes] = {}
    rows = 0
    for n in range((LAST - FIRST).days + 1):
        result, of_day = made(FIRST + timedelta(n), FIRST + timedelta(n))
        by_day |= of_day
        rows += result.rows
    assert (by_day, rows) == (files, whole.rows)


def test_with_faults_the_other_reports_and_the_whole_pulls_that_are_not_spoilt_stay_as_they_are() -> None:
    files, faulty = made()[1], made(faults=True)[1]
    same = {path for path, content in files.items() if faulty.get(path) == content}
    assert {path for path in files if "/ga_events/" not in path} <= same
    changed = {path for path in files if path not in same and "date=2024-01-01" not in path}
    assert changed == {  # whose turn a wrong row is
        f"ga4/ga_events/date=2024-01-0{n}/ga4_events_2024-01-0{n}_235959.json" for n in (3, 4, 6)
    }


@pytest.mark.parametrize("rows", [1, 5, ROWS, 2_500])
def test_without_faults_there_is_an_early_and_a_final_pull_of_each_report_and_day(rows: int) -> None:
    result, files = made(rows=rows)
    assert all(NAME.fullmatch(path) for path in files)
    pulls = pulls_of(files)
    assert set(pulls) == {(report, f"2024-01-{n:02}") for report in REPORTS for n in range(1, 7)}
    for (report, day), (early, final) in pulls.items():
        assert (early.stamp, final.stamp, early.whole, final.whole) == ("120000", "235959", True, True)
        assert {values[0] for pull in (early, final) for values in pull.rows} == {day.replace("-", "")}
        if report == "ga_events":
            assert len(final.rows) == rows
        if rows >= ROWS:
            views = [sum(int(values[-2]) for values in pull.rows) for pull in (early, final)]
            assert 0.45 < views[0] / views[1] < 0.8
    assert result.faults == {}
    assert judged(files)[0] == result.rows


def test_the_final_pull_is_what_the_property_tells_of_a_finished_day() -> None:
    of_day = SyntheticProperty(ROWS, 5, now=lambda: datetime(2024, 6, 1, tzinfo=UTC))
    files = made(seed=5)[1]
    for name, report in ga4_reports.REPORTS.items():
        answer = json.loads(of_day.run_report(report, FIRST, offset=0))
        landed = json.loads(files[f"ga4/{name}/date=2024-01-01/ga4_events_2024-01-01_235959.json"])
        assert landed["rows"] == answer["rows"] and landed["synthetic"] is True


@pytest.mark.parametrize("days", range(1, 8))
@pytest.mark.parametrize("rows", [1, 4, 5, ROWS, 3_100])
def test_the_counts_of_planted_faults_and_rows_are_what_the_files_show(rows: int, days: int) -> None:
    result, files = made(last=FIRST + timedelta(days - 1), rows=rows, faults=True)
    counted, faults = judged(files)
    assert (counted, Counter(result.faults)) == (result.rows, faults)
    expected = {"superseded"}
    if rows > 1:
        expected |= {"incomplete_pull"}
    if rows >= 5:
        expected |= {"bad_metric", "bad_event_date"}
    if days >= 4:
        expected |= {"bad_json"}
    assert set(faults) == expected
    for (report, _), of_day in pulls_of(files).items():
        if report == "ga_events":
            assert len(of_day[-1].rows) == rows == of_day[-1].pages[1]["rowCount"]
    assert faults["bad_metric"] + faults["bad_event_date"] <= 0.4 * rows * days


@pytest.mark.parametrize("seed", range(20))
def test_a_row_breaks_one_rule(seed: int) -> None:
    result, files = made(FIRST, FIRST, 5, faults=True, seed=seed)
    assert judged(files)[1] == result.faults
    assert result.faults.items() >= {"bad_metric": 1, "bad_event_date": 1}.items()


def test_wrong_values_are_what_google_never_sends() -> None:
    dates, numbers = Counter[str](), Counter[str]()
    for (report, day), of_day in pulls_of(made(rows=2_000, faults=True)[1]).items():
        for pull in of_day:
            for values in pull.rows:
                if values[0] != day.replace("-", ""):
                    assert (report, pull.stamp) == ("ga_events", "235959")
                    assert values[0] == f"{date.fromisoformat(day) - timedelta(1):%Y%m%d}"
                    dates[day] += 1
                if not values[-4].isdigit():
                    assert (report, pull.stamp) == ("ga_events", "235959")
                    numbers[values[-4]] += 1
                assert all(value.isdigit() for value in values[-3:])
    assert set(dates.values()) == {4}
    assert set(numbers) == {"12.5", "n/a"}


def test_an_incomplete_pull_lacks_its_last_page() -> None:
    for rows in (ROWS, 3_100):
        (cut,) = (
            pull
            for (report, _), of_day in pulls_of(made(FIRST, FIRST + timedelta(2), rows, faults=True)[1]).items()
            for pull in of_day
            if pull.stamp == "180000"
        )
        assert 0 < len(cut.rows) < cut.pages[1]["rowCount"] <= len(cut.rows) + len(cut.pages[1]["rows"])


def test_appflow_stands_in_on_the_first_day_and_doubles_the_last() -> None:
    result, files = made(faults=True)
    rows = {path: content.decode().splitlines() for path, content in files.items() if APPFLOW.fullmatch(path)}
    assert list(rows) == [f"appflow/ga4/date=2024-01-0{n}/part-0000.json" for n in (1, 6)]
    assert not [path for path in files if path.startswith("ga4/ga_events/date=2024-01-01")]
    alone, double = rows.values()
    assert (len(alone), len(double), result.faults["bad_json"]) == (ROWS + 1, ROWS, 1)
    clean = made()[1]
    for lines, day in ((alone, "2024-01-01"), (double, "2024-01-06")):
        (pull,) = (pull for pull in pulls_of(clean)["ga_events", day] if pull.stamp == "235959")
        read = [json.loads(line) for line in lines if line.endswith("}")]
        assert all(row.pop("synthetic") is True for row in read)
        assert {tuple(row) for row in read} == {
            ("date", "pagePath", "source", "medium", "sessions", "totalUsers", "screenPageViews", "eventCount")
        }
        assert [list(row.values()) for row in read] == pull.rows
    for days, expected in ((1, []), (2, []), (3, [3])):
        some = made(last=FIRST + timedelta(days - 1), faults=True)[1]
        assert [path for path in some if path.startswith("appflow")] == [
            f"appflow/ga4/date=2024-01-0{n}/part-0000.json" for n in expected
        ]


@pytest.mark.parametrize(("rows", "pages"), [(1_000, [1_000]), (2_500, [1_000, 1_000, 500]), (6_000, [2_000] * 3)])
def test_a_large_day_is_several_pages(rows: int, pages: list[int]) -> None:
    final = pulls_of(made(FIRST, FIRST, rows)[1])["ga_events", "2024-01-01"][-1]
    assert [len(page["rows"]) for page in final.pages.values()] == pages
    keys = [values[:4] for values in final.rows]
    assert all(one < other for one, other in pairwise(keys))
    assert {page["rowCount"] for page in final.pages.values()} == {rows}


def test_each_days_quota_begins_anew() -> None:
    for of_day in pulls_of(made()[1]).values():
        left = [page["propertyQuota"]["tokensPerDay"]["remaining"] for pull in of_day for page in pull.pages.values()]
        assert all(199_980 < tokens < 200_000 for tokens in left)


def test_progress_is_told_each_day_after_its_files() -> None:
    seen: list[tuple[date, int]] = []
    files: dict[str, bytes] = {}
    tell: Callable[[date], None] = lambda day: seen.append((day, len(files)))  # noqa: E731
    generator("ga4")(files.__setitem__, first=FIRST, last=date(2024, 1, 3), rows_per_day=5, progress=tell)
    assert seen == [(date(2024, 1, n), 8 * n) for n in (1, 2, 3)]


@pytest.mark.parametrize(
    "wrong", [{"last": date(2023, 12, 31)}, {"rows": 0}, {"seed": -1}], ids=lambda it: next(iter(it))
)
def test_arguments_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"at least 1|is after the last"):
        made(**wrong)
