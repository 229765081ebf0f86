"""Landing → raw → cleaned for GA4: which pull of a date counts, and what becomes of the others."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest

from clickstream_assets.domains import domain
from clickstream_assets_tests.conftest import Home
from clickstream_assets_tests.ga4 import landed
from clickstream_assets_tests.ga4.landed import DAY, ROWS, appflow, body, cleaned, land, load, pulls, put, statuses

FIRST, SECOND, THIRD = "2024-01-05_120000", "2024-01-06_030000", "2024-01-08_030000"
RAW = "analytics_raw.ga_events_raw"
CLEANED = "analytics_cleaned.ga4_events"
OTHERS = (("/", "bing", "organic", 1, 1, 2, 3),)


def test_a_pull_becomes_rows_as_google_gave_them(home: Home) -> None:
    path = land(home, SECOND, body())
    assert load(home).failed == {}
    assert cleaned(home) == sorted(ROWS)
    assert home.ledger(RAW, str(DAY)) == (3, 3, 0, 0, 0, 0)
    assert home.ledger(CLEANED, str(DAY)) == (3, 3, 0, 0, 0, 0)
    lines = path.read_text().splitlines()
    for line, number, page, raw_date, sessions, hash_ in home.query(
        "select source_line, record_number, page_path, event_date, sessions, content_hash "
        "from spectrum_analytics.ga_events_raw"
    ):
        assert '"dimensionValues"' in lines[line] or '"dimensionValues"' in lines[line - 1]
        assert (page, raw_date, sessions) == (ROWS[number - 1][0], "20240105", str(ROWS[number - 1][3]))
        assert len(hash_) == 64
    assert home.query(f"select distinct pulled_at, time_zone, origin, is_synthetic, date from {CLEANED}") == [
        (datetime(2024, 1, 6, 3, tzinfo=UTC), landed.ZONE, "data_api", False, DAY)
    ]


def test_the_newest_pull_takes_the_place_of_the_date(home: Home) -> None:
    land(home, FIRST, body())
    load(home)
    relabelled = (("/", "google", "cpc", 10, 8, 20, 50), *ROWS[1:])
    land(home, SECOND, body(relabelled))
    load(home)
    assert cleaned(home) == sorted(relabelled), "the old label is gone"
    assert statuses(home) == {FIRST: "superseded", SECOND: "loaded"}
    assert home.ledger(RAW, str(DAY)) == (3, 3, 0, 0, 0, 0)
    # An older one that comes late changes nothing.
    land(home, "2024-01-05_110000", body(OTHERS))
    load(home)
    assert cleaned(home) == sorted(relabelled)


def test_pages_are_one_pull_and_loaded_in_their_order(home: Home) -> None:
    land(home, SECOND, body(ROWS[:2], row_count=3))
    land(home, SECOND, body(ROWS[2:], row_count=3), page=2)
    assert load(home).failed == {}
    assert cleaned(home) == sorted(ROWS)
    assert statuses(home) == {SECOND: "loaded", f"{SECOND}_p002": "loaded"}
    assert pulls(home, "pages, rows, row_count, status") == [(2, 3, 3, "published")]


@pytest.mark.parametrize(
    ("pages", "says"),
    [
        ({1: body(ROWS[:2], row_count=3)}, "2 of 3 rows landed"),
        ({2: body(ROWS[2:], row_count=3)}, "page 1 is missing"),
        ({1: body(ROWS[:1], row_count=3), 3: body(ROWS[2:], row_count=3)}, "page 2 is missing"),
        ({1: body(ROWS[:2], row_count=3), 2: body(ROWS[2:], row_count=4)}, "do not agree"),
        ({1: body(ROWS, row_count=2)}, "3 of 2 rows landed"),
    ],
)
def test_an_incomplete_pull_is_never_published(home: Home, pages: dict[int, bytes], says: str) -> None:
    for page, content in pages.items():
        land(home, SECOND, content, page=page)
    loaded = load(home)
    assert says in loaded.failed["pull_is_whole"] and "ga_events 2024-01-05" in loaded.failed["pull_is_whole"]
    assert loaded.blocked == {DAY}
    assert cleaned(home) == []
    # Beside a whole one it warns, and costs itself alone.
    land(home, FIRST, body())
    loaded = load(home)
    assert loaded.blocked == set() and says in loaded.failed["newest_pull_is_whole"]
    assert cleaned(home) == sorted(ROWS)
    assert home.ledger(RAW, str(DAY)) == (3 + len(pages), 3, len(pages), 0, 0, 0)
    assert home.query("select distinct rule from ops.quarantine") == [("incomplete_pull",)]
    assert next(row for row in pulls(home, "status, reason") if row[0] == "incomplete")[1].find(says) >= 0


def test_a_blocked_date_stays_as_it_was_and_the_missing_page_heals_it(home: Home) -> None:
    land(home, FIRST, body())
    load(home)
    land(home, SECOND, body(OTHERS * 1, row_count=2))
    load(home)
    assert cleaned(home) == sorted(ROWS)
    land(home, SECOND, body([("/x", "bing", "organic", 1, 1, 1, 1)], row_count=2), page=2)
    assert load(home).failed == {}
    assert [row[0] for row in cleaned(home)] == ["/", "/x"]
    assert home.query("select count(*) from ops.quarantine") == [(0,)]


def test_a_pull_in_another_time_zone_is_blocked(home: Home) -> None:
    land(home, FIRST, body())
    load(home)
    land(home, SECOND, body(OTHERS, zone="America/New_York"))
    loaded = load(home)
    assert loaded.blocked == {DAY}
    assert "America/New_York" in loaded.failed["same_time_zone"] and "Europe/Berlin" in loaded.failed["same_time_zone"]
    assert cleaned(home) == sorted(ROWS)
    assert pulls(home, "status") == [("published",), ("other_time_zone",)]
    # On a date of its own, too: the zone is the first response's.
    later = date(2024, 2, 1)
    land(home, "2024-02-02_030000", body(OTHERS, zone="America/New_York", day=later), day=later)
    assert load(home, later).blocked == {later}


def test_the_setting_says_which_time_zone_is_right(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(home.path, {"GA4_TIME_ZONE": "America/New_York"})
    land(home, FIRST, body())
    assert load(home).blocked == {DAY}
    land(home, SECOND, body(OTHERS, zone="America/New_York"))
    assert load(home).failed == {}
    assert cleaned(home) == list(OTHERS)


def test_files_that_expired_keep_their_rows(home: Home) -> None:
    paths = [land(home, FIRST, body(OTHERS)), land(home, SECOND, body())]
    load(home)
    for path in paths:
        path.unlink()
    assert load(home).failed == {}
    assert cleaned(home) == sorted(ROWS)
    assert statuses(home) == {FIRST: "superseded", SECOND: "loaded"}
    assert pulls(home, "status") == [("superseded",), ("published",)]
    # One that is older than the published one does not take its place; a newer one does.
    land(home, "2024-01-05_180000", body(OTHERS))
    load(home)
    assert cleaned(home) == sorted(ROWS)
    assert home.ledger(RAW, str(DAY)) == (3, 3, 0, 0, 0, 0)
    land(home, THIRD, body(OTHERS))
    load(home)
    assert cleaned(home) == list(OTHERS)
    assert statuses(home)[SECOND] == "superseded"
    assert pulls(home, "status") == [("superseded",)] * 3 + [("published",)]


def test_an_empty_report_is_a_day_without_rows(home: Home) -> None:
    land(home, FIRST, body())
    load(home)
    land(home, SECOND, body((), emptyReason="No traffic"))
    assert load(home).failed == {}
    assert cleaned(home) == []
    assert pulls(home, "status, rows, row_count, empty_reason")[1] == ("published", 0, 0, "No traffic")


def test_a_day_with_nothing_landed_is_empty(home: Home) -> None:
    assert load(home).failed == {}
    assert home.ledger(RAW, str(DAY)) == (0, 0, 0, 0, 0, 0)
    assert cleaned(home) == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not valid JSON"),
        (b'{"rows": [', "not valid JSON"),
        (b"[]", "a JSON object is expected"),
        (b'{"error": {"code": 429}}', "an error of the Data API"),
        (b"\xff\xfe", "not valid JSON"),
        (body(report="ga_daily", rows=[(1, 1, 1, 1)]), "not the report ga_events"),
        (body().replace(b'"value": "10"', b'"value": "10"}, {"value": "1"', 1), "row 1 has 9 values instead of 8"),
        (b'{"dimensionHeaders": 5}', "not the Data API's response"),
        (b'{"rowCount": "many"}', "its rowCount is no number"),
        (body(OTHERS, zone="Mars/Olympus"), "its time zone 'Mars/Olympus' is not known"),
    ],
)
def test_a_file_that_is_no_answer_costs_itself_alone(home: Home, content: bytes, says: str) -> None:
    land(home, FIRST, body())
    land(home, SECOND, content)
    loaded = load(home)
    assert loaded.blocked == set() and says in loaded.failed["newest_pull_is_whole"]
    assert cleaned(home) == sorted(ROWS)
    assert home.ledger(RAW, str(DAY)) == (4, 3, 1, 0, 0, 0)
    ((rule, payload),) = home.query("select rule, payload from ops.quarantine")
    assert rule == "rejected_file" and says in json.loads(payload)["error"]
    assert pulls(home, "status")[1] == ("unreadable",)


def test_a_file_whose_name_does_not_tell_when_is_set_aside(home: Home) -> None:
    land(home, FIRST, body())
    put(home, f"ga4/ga_events/date={DAY}/export.json", body(OTHERS))
    put(home, f"ga4/ga_events/date={DAY}/ga4_events_2024-13-05_120000.json", body(OTHERS))
    put(home, f"ga4/ga_events/date={DAY}/notes.txt", b"left alone")
    load(home)
    assert cleaned(home) == sorted(ROWS)
    assert home.ledger(RAW, str(DAY)) == (5, 3, 2, 0, 0, 0)
    assert "name it like ga4_events_" in home.query("select payload from ops.quarantine")[0][0]


def test_rows_that_are_repeated_are_kept_once_and_a_pull_of_that_hour_without_them_is_preferred(home: Home) -> None:
    land(home, SECOND, body((*ROWS[:2], ROWS[1])))
    loaded = load(home)
    assert "1 repeated row" in loaded.failed["rows_are_told_apart"] and loaded.blocked == set()
    assert cleaned(home) == sorted(ROWS[:2])
    assert home.ledger(CLEANED, str(DAY)) == (3, 2, 0, 1, 0, 0)
    assert pulls(home, "repeated_rows") == [(1,)]
    land(home, FIRST, body(OTHERS))
    load(home)
    assert cleaned(home) == sorted(ROWS[:2]), "one of the day before is too old to be preferred"
    land(home, "2024-01-06_025500", body())
    assert load(home).failed == {}
    assert cleaned(home) == sorted(ROWS)


@pytest.mark.parametrize("expired", [(1,), (2,), (1, 2)])
def test_rows_stay_when_the_pages_of_a_pull_expire_one_by_one(home: Home, expired: tuple[int, ...]) -> None:
    pages = {n: land(home, SECOND, body(rows, row_count=3), page=n) for n, rows in ((1, ROWS[:2]), (2, ROWS[2:]))}
    load(home)
    for page in expired:
        pages[page].unlink()
        assert load(home).failed == {}
        assert cleaned(home) == sorted(ROWS)
        assert pulls(home, "status, rows") == [("published", 3)]
    land(home, THIRD, body(OTHERS))
    load(home)
    assert cleaned(home) == list(OTHERS)
    assert home.ledger(RAW, str(DAY)) == (1, 1, 0, 0, 0, 0)


def test_a_pull_that_nothing_can_be_read_from_blocks_its_date(home: Home) -> None:
    path = land(home, SECOND, body())
    load(home)
    path.write_bytes(b'{"rows": [')
    loaded = load(home)
    assert loaded.blocked == {DAY} and "not valid JSON" in loaded.failed["pull_is_whole"]
    assert cleaned(home) == sorted(ROWS)
    # What it had taken the place of counts again.
    land(home, FIRST, body(OTHERS))
    loaded = load(home)
    assert cleaned(home) == list(OTHERS) and "not valid JSON" in loaded.failed["newest_pull_is_whole"]


def test_a_pull_that_was_superseded_is_not_read_again_until_it_is_needed(home: Home) -> None:
    land(home, FIRST, body(OTHERS))
    newer = land(home, SECOND, body())
    load(home)
    (feed,) = (feed for feed in domain("ga4").feeds if feed.raw.name == RAW)
    known = {file.path: file for file in home.platform.warehouse.landing_files(feed.root)}
    found = feed.load_loader(home.platform).look([DAY], {DAY: known})[DAY]
    assert [pull.stamp.hour for pull in found.pulls] == [3] and len(found.settled) == 1
    load(home)
    assert cleaned(home) == sorted(ROWS)
    assert statuses(home) == {FIRST: "superseded", SECOND: "loaded"}
    assert pulls(home, "status, rows") == [("superseded", 1), ("published", 3)]
    newer.write_bytes(b"")
    load(home)
    assert cleaned(home) == list(OTHERS)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('"value": "/"', '"value": "\\ud800"'), "surrogate"),
        (('"value": "/"', '"value": null'), "row 1 has a value that is no text"),
        (('"rowCount": 3', '"rowCount": 1e999'), "rowCount is no number"),
        (('"rowCount": 3', '"rowCount": 1000000000000000000000'), "rowCount is no number"),
        (
            ('"value": "20240105"', '"value": "20240106"'),
            "its rows are of 20240106, and its folder is that of 2024-01-05",
        ),
        (('{"name": "pagePath"}', '{"name": "pagePath"}, {"name": "country"}'), "country"),
        (('"rows": [', '"rows": [], "rows": ['), None),
        (('"dimensionValues"', '"dimension\\u0056alues"'), "0 rows are found in it and 3 are read"),
        (('"kind"', '"totals": [{"dimensionValues": [], "metricValues": []}], "kind"'), None),
        (('"currencyCode": "EUR"', '"currencyCode": {"a": 1}, "samplingMetadatas": 5, "emptyReason": ["x"]'), None),
        (('"propertyQuota": {}', '"propertyQuota": {"tokensPerDay": 5, "tokensPerHour": {"remaining": "x"}}'), None),
        (('"currencyCode": "EUR"', '"currencyCode": "\\ud800"'), None),
        (('"value": "10"', '"value": "' + "9" * 5000 + '"'), None),
    ],
)
def test_an_odd_answer_costs_itself_at_most(home: Home, change: tuple[str, str], says: str | None) -> None:
    good = date(2024, 1, 4)
    land(home, "2024-01-05_030000", body(day=good), day=good)
    land(home, FIRST, body())
    text = body(indent=None).decode().replace(", ", ", ")
    assert change[0] in text
    land(home, SECOND, text.replace(*change).encode())
    loaded = load(home, good, DAY)
    assert loaded.blocked == set()
    assert cleaned(home, good) == sorted(ROWS)
    if says is None:
        assert pulls(home, "status")[1] == ("published",)
    else:
        assert says in loaded.failed["newest_pull_is_whole"]
        assert pulls(home, "status")[1] == ("unreadable",)
        assert cleaned(home) == sorted(ROWS)


def test_a_page_that_is_there_twice_and_a_stamp_of_the_future_do_not_count(home: Home) -> None:
    land(home, FIRST, body())
    land(home, SECOND, body(OTHERS))
    put(home, f"ga4/ga_events/date={DAY}/archive/ga4_events_{SECOND}.json", body(OTHERS))
    put(home, f"ga4/ga_events/date={DAY}/ga4_events_2099-01-01_000000.json", body(OTHERS))
    put(home, f"ga4/ga_events/date={DAY}/ga4_events_{THIRD}_p001.json", body(OTHERS))
    loaded = load(home)
    assert cleaned(home) == sorted(ROWS)
    assert "page 1 is there twice" in loaded.failed["newest_pull_is_whole"]
    payloads = " ".join(row[0] for row in home.query("select payload from ops.quarantine where rule = 'rejected_file'"))
    assert "in the future" in payloads and "does not tell when" in payloads


def test_a_label_that_no_warehouse_stores_is_rejected_with_its_row(home: Home) -> None:
    land(home, SECOND, body([*ROWS, ("/\0", "s", "m", 1, 1, 1, 1), ("/" + "x" * 70_000, "s", "m", 1, 1, 1, 1)]))
    load(home)
    assert cleaned(home) == sorted(ROWS)
    assert home.query("select rule from ops.quarantine order by 1") == [("bad_encoding",), ("text_too_long",)]


def test_the_flags_of_any_page_count_and_pages_agree_on_the_time_zone(home: Home) -> None:
    land(home, SECOND, body(ROWS[:2], row_count=3))
    land(home, SECOND, body(ROWS[2:], row_count=3, dataLossFromOtherRow=True), page=2)
    assert "(other)" in load(home).failed["numbers_are_exact"]
    land(home, THIRD, body(ROWS[:2], row_count=3))
    land(home, THIRD, body(ROWS[2:], row_count=3, zone="Asia/Tokyo"), page=2)
    assert "do not agree on the time zone" in load(home).failed["newest_pull_is_whole"]


def test_columns_go_by_their_headers_and_metrics_may_be_added_later(home: Home) -> None:
    content = json.loads(body())
    content["metricHeaders"] = [{"name": name} for name in ("eventCount", "crashes", "sessions")]
    for n, row in enumerate(content["rows"]):
        row["metricValues"] = [{"value": str(value)} for value in (100 + n, 7, n)]
    land(home, SECOND, json.dumps(content).encode())
    assert load(home).failed == {}
    assert [row[3:] for row in cleaned(home)] == [(0, None, None, 100), (1, None, None, 101), (2, None, None, 102)]
    assert {row[0] for row in home.query("select extra from spectrum_analytics.ga_events_raw")} == {'{"crashes": "7"}'}


def test_values_that_are_none_are_rejected_with_their_row(home: Home) -> None:
    odd = [
        ("/a", "s", "m", "12.5", 1, 1, 1),
        ("/b", "s", "m", -1, 1, 1, 1),
        ("/c", "s", "m", 1, "", 1, 1),
        ("/d", "s", "m", 1, 1, 1, 10**18),
    ]
    content = body([*ROWS, *odd]).decode().replace('"20240105"', '"20240106"', 1)
    land(home, SECOND, content.encode())
    load(home)
    assert cleaned(home) == sorted(ROWS[1:])
    assert home.ledger(CLEANED, str(DAY)) == (7, 2, 5, 0, 0, 0)
    found = home.query("select rule, count(*) from ops.quarantine group by 1 order by 1")
    assert found == [("bad_event_date", 1), ("bad_metric", 4)]


def test_labels_are_kept_to_the_letter(home: Home) -> None:
    rows = [(" /ä \U0001f600", "", '"q"\\', 1, 1, 1, 1), ("/ä", "(not set)", "\t", 1, 1, 1, 1)]
    land(home, SECOND, body(rows))
    assert load(home).failed == {}
    assert cleaned(home) == sorted(rows)


def test_a_date_without_a_pull_has_appflows_rows(home: Home) -> None:
    appflow(home, "one.json", *ROWS[:2], "{broken")
    appflow(home, "two.json", ROWS[2])
    appflow(home, "again.json", ROWS[2])
    load(home)
    assert cleaned(home) == sorted(ROWS)
    assert home.ledger(RAW, str(DAY)) == (4, 3, 1, 0, 0, 0)
    assert home.query(f"select distinct origin, pulled_at from {CLEANED}") == [("appflow", None)]
    assert sorted(statuses(home).values()) == ["duplicate_file", "loaded", "loaded"]
    assert pulls(home, "status, origin, rows, event_count") == [("published", "appflow", 3, 92)]


def test_appflow_may_write_the_date_either_way(home: Home) -> None:
    names = ("date", "pagePath", "source", "medium", "sessions", "totalUsers", "screenPageViews", "eventCount")
    for name, day in (("a.json", "20240105"), ("b.json", "2024-01-05")):
        appflow(home, name, json.dumps(dict(zip(names, (day, *map(str, ROWS[0])), strict=True))))
    load(home)
    assert cleaned(home) == [ROWS[0]]
    assert home.ledger(CLEANED, str(DAY)) == (2, 1, 0, 1, 0, 0)


def test_where_both_have_a_date_the_data_api_wins_and_the_difference_is_told(home: Home) -> None:
    path = appflow(home, "one.json", *ROWS[:2])
    load(home)
    land(home, SECOND, body())
    loaded = load(home)
    assert cleaned(home) == sorted(ROWS)
    assert loaded.failed["appflow_agrees"].startswith("2024-01-05: ")
    assert "eventCount 92 by the Data API, 62 by AppFlow" in loaded.failed["appflow_agrees"]
    assert pulls(home, "origin, status, event_count") == [("appflow", "superseded", 62), ("data_api", "published", 92)]
    assert statuses(home) == {"one": "superseded", SECOND: "loaded"}
    path.unlink()
    appflow(home, "all.json", *ROWS)
    assert load(home).failed == {}
    assert cleaned(home) == sorted(ROWS)


def test_rows_of_appflow_stay_when_its_files_expire(home: Home) -> None:
    path = appflow(home, "one.json", *ROWS[:2])
    load(home)
    path.unlink()
    appflow(home, "two.json", ROWS[2])
    load(home)
    assert cleaned(home) == sorted(ROWS)
    assert home.ledger(RAW, str(DAY)) == (3, 3, 0, 0, 0, 0)


def test_appflow_rows_without_a_dimension_are_rejected(home: Home) -> None:
    record = dict(
        zip(
            ("date", "pagePath", "source", "sessions", "totalUsers", "screenPageViews", "eventCount"),
            "x" * 7,
            strict=True,
        )
    )
    appflow(home, "one.json", json.dumps(record | {"date": "2024-01-05", "sessions": 1}), ROWS[0])
    load(home)
    assert cleaned(home) == [ROWS[0]]
    assert home.query("select rule from ops.quarantine") == [("missing_dimension",)]


def test_a_made_up_pull_never_stands_in_the_way_of_a_real_one(home: Home) -> None:
    path = land(home, FIRST, body())
    land(home, SECOND, body(OTHERS, synthetic=True))
    load(home)
    assert cleaned(home) == sorted(ROWS)
    path.unlink()
    land(home, THIRD, body(OTHERS, synthetic=True))
    load(home)
    assert cleaned(home) == sorted(ROWS), "not when its files have expired either"


def test_a_real_pull_takes_the_place_of_made_up_ones(home: Home) -> None:
    land(home, SECOND, body(OTHERS, synthetic=True))
    load(home)
    assert home.query(f"select is_synthetic from {CLEANED}") == [(True,)]
    land(home, FIRST, body())
    load(home)
    assert cleaned(home) == sorted(ROWS)
    assert home.query(f"select distinct is_synthetic from {CLEANED}") == [(False,)]


def test_loading_again_changes_nothing_and_days_in_one_run_equal_days_alone(home: Home, tmp_path) -> None:
    days = [date(2024, 1, n) for n in (1, 2, 5, 6, 10, 11)]  # of the later pulls three are whole
    for day in days:
        land(home, f"{day}_120000", body(ROWS[: day.day % 3 + 1], day=day), day=day)
        land(home, f"{day}_230000", body(ROWS[: day.day % 2 + 1], day=day, row_count=day.day % 5 + 1), day=day)
    load(home, *days)
    once = {name: home.table(name) for name in (CLEANED, "analytics.ga4_pulls", "ops.quarantine")}
    load(home, *days)
    for name, rows in once.items():
        assert home.table(name) == rows, name
    for day in days:
        load(home, day)
    for name, rows in once.items():
        assert home.table(name) == rows, name


def test_every_table_of_a_report_follows_from_its_entry() -> None:
    tables = {feed.raw.lake: feed.cleaned.warehouse for feed in domain("ga4").feeds}
    assert tables["analytics_raw.ga_events_raw"] == CLEANED
    assert set(tables) == {f"analytics_raw.{name}_raw" for name in ("ga_events", "ga_daily", "ga_sources", "ga_pages")}
