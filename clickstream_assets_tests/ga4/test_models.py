"""The GA4 models, on tables that are written by hand and with numbers that are worked out by hand.

Without the pipeline: a DuckDB file with the cleaned tables as dbt's sources describe them, and dbt in this process. The
models are views, so that they are made once, and each test fills the tables anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dbt.contracts.graph.nodes import ModelNode

from clickstream_assets import dbt
from clickstream_assets.ga4.reports import REPORTS
from clickstream_assets.settings import Settings
from clickstream_assets_tests.model_warehouse import ModelWarehouse, OnTwin

DAY = timedelta(days=1)
FIRST = date(2024, 1, 1)
PULLED = datetime(2024, 3, 1, 6, tzinfo=UTC)
Row = dict[str, Any]

MODELS = (
    "ga4_events_cleaned", "ga4_daily_cleaned", "ga4_sources_cleaned", "ga4_pages_cleaned",
    "ga4_events_enhanced", "ga4_events_kpis", "ga4_events_reports",
)  # fmt: skip


def described() -> dict[str, dict[str, str]]:
    """The columns of dbt's GA4 sources with their types, by relation."""
    manifest = dbt._parsed(dbt.manifest(Settings.from_environment()))
    return {
        f"{one.schema}.{one.name}": {name: str(column.data_type) for name, column in one.columns.items()}
        for one in manifest.sources.values()
        if "ga4" in one.tags
    }


class Warehouse(ModelWarehouse):
    """A warehouse with the cleaned tables of GA4."""

    tag = "ga4"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.described = described()
        tables = {name: list(columns.items()) for name, columns in self.described.items()}
        self.create(tables | {"ops.run_window": [("domain", "varchar"), ("partition_date", "date")]})

    def fill(self, *rows: Row, window: Sequence[date] = ()) -> None:
        """Give the tables these rows and no others; dbt's tests are to read those dates."""
        statements = [f"delete from {name}" for name in (*self.described, "ops.run_window")]
        statements += [f"insert into ops.run_window values ('ga4', '{day}')" for day in window]
        for row in rows:
            table = row["table"]
            values = ["null" if (v := row.get(name)) is None else f"'{v}'" for name in self.described[table]]
            statements.append(f"insert into {table} values ({', '.join(values)})")
        self.execute(*statements)


class OnRedshift(OnTwin, Warehouse):
    """The same in a database of Redshift's twin."""


def compiled(folder: Path) -> dict[str, str]:
    """The SQL of the models by their relations, as DuckDB gets it."""
    warehouse = Warehouse(folder / "compiled")
    warehouse.dbt("compile", select="tag:ga4,resource_type:model")
    found = (warehouse.folder / "dbt" / "compiled" / "clickstream" / "models" / "ga4").rglob("*.sql")
    return {f"analytics.{path.stem}": path.read_text() for path in found if path.parent.suffix != ".yml"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    warehouse = Warehouse(tmp_path_factory.mktemp("ga4") / "warehouse")
    assert warehouse.dbt("run") == dict.fromkeys(MODELS, "success")
    return warehouse


@pytest.fixture
def warehouse(made: Warehouse) -> Warehouse:
    made.fill()
    return made


def row(report: str, day: date, numbers: Sequence[int | None] = (1, 1, 1, 1), **columns: Any) -> Row:
    """A cleaned row; the numbers are sessions, users, page views and events."""
    metrics = [metric.column for metric in REPORTS[f"ga_{report}"].metrics]
    return {
        "table": f"analytics_cleaned.ga4_{report}",
        "event_date": day,
        **dict(zip(metrics, numbers, strict=True)),
        "pulled_at": PULLED,
        "time_zone": "Europe/Berlin",
        "is_synthetic": False,
        "origin": "data_api",
        "row_key": "0f" * 16,
        "source_file": "a.json",
        "source_line": 1,
        "processed_at": PULLED,
        "date": day,
    } | columns


def pull(report: str, day: date, **columns: Any) -> Row:
    return {
        "table": "analytics.ga4_pulls",
        "report": report,
        "event_date": day,
        "status": "published",
        "date": day,
    } | columns


def test_a_row_of_any_report_passes_with_all_that_it_says(warehouse: Warehouse) -> None:
    names = {"page_path": "/a", "traffic_source": "google", "traffic_medium": "cpc"}
    for report, dimensions in (
        ("events", ["page_path", "traffic_source", "traffic_medium"]),
        ("daily", []),
        ("sources", ["traffic_source", "traffic_medium"]),
        ("pages", ["page_path"]),
    ):
        assert list(REPORTS[f"ga_{report}"].key) == dimensions
        warehouse.fill(row(report, FIRST, (4, 3, 2, 1), **{name: names[name] for name in dimensions}))
        assert warehouse.query(f"select * exclude (is_final) from analytics.ga4_{report}_cleaned") == warehouse.query(
            f"select * exclude (date) from analytics_cleaned.ga4_{report}"
        )
        assert warehouse.query(f"select is_final from analytics.ga4_{report}_cleaned") == [(True,)]


def test_a_date_is_final_when_it_is_more_than_14_days_ago_where_the_property_is(warehouse: Warehouse) -> None:
    """There are always two dates on earth: Kiritimati is 25 hours ahead of Pago Pago."""
    zones = {"Pacific/Kiritimati", "Pacific/Pago_Pago", "Europe/Berlin", "UTC", "", None}

    def today() -> dict[str | None, date]:
        return {zone: datetime.now(ZoneInfo(zone or "UTC")).date() for zone in zones}

    for _ in range(2):  # unless a midnight comes in between
        before = today()
        warehouse.fill(
            *(
                row("events", day - ago * DAY, page_path=f"{zone} {ago}", time_zone=zone)
                for zone, day in before.items()
                for ago in (0, 1, 12, 13, 14, 15, 16, 17, 400)
            )
        )
        sql = "select page_path, is_final from analytics.ga4_events_cleaned"
        found = dict(warehouse.query(sql))
        elsewhere = dict(warehouse.query(f"set timezone = 'Pacific/Kiritimati'; {sql}"))
        if today() == before:
            break
    assert before["Pacific/Kiritimati"] != before["Pacific/Pago_Pago"]
    assert found == {name: int(name.split()[-1]) > 14 for name in found} and len(found) == len(zones) * 9
    assert elsewhere == found


@pytest.mark.parametrize("clock", ["2024-03-20 00:30", "2024-03-20 09:59", "2024-03-20 12:00", "2024-03-20 23:30"])
def test_a_date_is_final_by_its_own_zone_whatever_the_time_is_in_utc(warehouse: Warehouse, clock: str) -> None:
    """The view's SQL with a clock that stands still: who is a day behind UTC at one time is not at another."""
    now = datetime.fromisoformat(f"{clock}+00:00")
    zones = ("Etc/GMT+12", "America/Los_Angeles", "Europe/Berlin", "Asia/Kolkata", "Pacific/Kiritimati", "", None)
    (path,) = (warehouse.folder / "dbt" / "compiled").rglob("ga4_pages_cleaned.sql")
    sql = path.read_text()
    assert sql.count("now()") == 3
    sql = sql.replace("now()", f"timestamptz '{now}'")
    warehouse.fill(
        *(
            row("pages", now.date() - ago * DAY, page_path=f"{zone}", time_zone=zone)
            for zone in zones
            for ago in range(11, 19)
        )
    )
    found = warehouse.query(f"select page_path, event_date, is_final from ({sql}) as cleaned")
    today = {f"{zone}": now.astimezone(ZoneInfo(zone or "UTC")).date() for zone in zones}
    assert len(found) == 8 * len(zones) and len(set(today.values())) == 2
    assert found == [(zone, day, (today[zone] - day).days > 14) for zone, day, _ in found]


def test_dates_are_final_after_as_many_days_as_the_variable_says(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "warehouse")
    warehouse.dbt("run", "--vars", "{ga4_days_until_final: 3}", select="ga4_daily_cleaned")
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
        today = datetime.now(ZoneInfo(zone)).date()
        warehouse.fill(*(row("daily", today - ago * DAY, time_zone=zone) for ago in (1, 6)))
        assert warehouse.query("select is_final from analytics.ga4_daily_cleaned order by event_date") == [
            (True,),
            (False,),
        ]


def test_ratios_are_of_the_row_and_null_where_nothing_is_to_divide_by(warehouse: Warehouse) -> None:
    warehouse.fill(
        row("events", FIRST, (4, 2, 6, 10), page_path="1"),
        row("events", FIRST, (0, 0, 3, 5), page_path="2"),
        row("events", FIRST, (3, 0, 0, 0), page_path="3"),
        row("events", FIRST, (None, None, 7, 8), page_path="4"),
    )
    ratios = "pages_per_session, sessions_per_user, events_per_session"
    assert warehouse.query(f"select {ratios} from analytics.ga4_events_enhanced order by page_path") == [
        (1.5, 2.0, 2.5),
        (None, None, None),
        (0.0, None, 0.0),
        (None, None, None),
    ]
    warehouse.fill(row("daily", FIRST, (4, 2, 6, 10)), row("daily", FIRST + DAY, (0, 0, 3, 5)))
    assert warehouse.query(f"select {ratios} from analytics.ga4_events_kpis order by event_date") == [
        (1.5, 2.0, 2.5),
        (None, None, None),
    ]


CHANNELS = [
    ("(direct)", "(none)", "Direct"),
    ("(direct)", "(not set)", "Direct"),
    ("(not set)", "(not set)", "Unassigned"),
    ("(not set)", "(none)", "Unassigned"),
    ("(data not available)", "(data not available)", "Unassigned"),
    ("(other)", "(other)", "Unassigned"),
    ("", "", "Unassigned"),
    (None, None, "Unassigned"),
    ("newsletter", "something", "Unassigned"),
    ("google", "organic", "Organic Search"),
    ("Google", "ORGANIC", "Organic Search"),
    ("bing", "(not set)", "Organic Search"),
    ("Bing", "Referral", "Organic Search"),
    ("google", "cpc", "Paid Search"),
    ("amazon.com", "cpc", "Paid Shopping"),
    ("facebook.com", "paid_social", "Paid Social"),
    ("youtube", "cpv", "Paid Video"),
    ("youtube", "cpc", "Paid Video"),
    ("dv360", "display", "Display"),
    ("partner", "banner", "Display"),
    ("partner", "cpa", "Paid Other"),
    ("blog.example", "referral", "Referral"),
    ("m.facebook.com", "referral", "Organic Social"),
    ("t.co", "referral", "Organic Social"),
    ("youtube.com", "referral", "Organic Video"),
    ("amazon.de", "referral", "Organic Shopping"),
    ("chatgpt.com", "referral", "AI Assistant"),
    ("crm", "email", "Email"),
    ("partner", "affiliate", "Affiliates"),
    ("podcast", "audio", "Audio"),
    ("partner", "sms", "SMS"),
    ("firebase", "(not set)", "Mobile Push Notifications"),
]


def test_the_channel_is_googles_for_source_and_medium(warehouse: Warehouse) -> None:
    for report, model in (("events", "ga4_events_enhanced"), ("sources", "ga4_events_reports")):
        rows = [
            row(report, FIRST, traffic_source=source, traffic_medium=medium, source_line=n)
            | ({"page_path": str(n)} if report == "events" else {})
            for n, (source, medium, _) in enumerate(CHANNELS)
        ]
        warehouse.fill(*rows)
        found = warehouse.query(f"select traffic_source, traffic_medium, channel from analytics.{model}")
        assert sorted(found, key=str) == sorted(CHANNELS, key=str)


def test_averages_are_over_the_dates_that_there_are_of_seven_and_changes_go_by_date(warehouse: Warehouse) -> None:
    """A gap of a week and more, in which seven rows back is more than seven days back."""
    numbers = {0: 10, 1: 20, 3: 60, 7: 15, 8: 0, 9: 30, 15: 7, 16: 60, 40: 1}
    warehouse.fill(*(row("daily", FIRST + n * DAY, (10 * one, one, one, one)) for n, one in numbers.items()))
    found = warehouse.query(
        "select event_date - date '2024-01-01', total_users, days_in_average, total_users_7_day_average,"
        " sessions_7_day_average, total_users_change, total_users_change_share, event_count_change"
        " from analytics.ga4_events_kpis order by 1"
    )
    assert found == [
        (0, 10, 1, 10.0, 100.0, None, None, None),
        (1, 20, 2, 15.0, 150.0, None, None, None),
        (3, 60, 3, 30.0, 300.0, None, None, None),
        (7, 15, 3, pytest.approx(95 / 3), pytest.approx(950 / 3), 5, 0.5, 5),  # 1, 3 and 7
        (8, 0, 3, 25.0, 250.0, -20, -1.0, -20),  # 3, 7 and 8
        (9, 30, 4, 26.25, 262.5, None, None, None),  # 3, 7, 8 and 9
        (15, 7, 2, 18.5, 185.0, 7, None, 7),  # 9 and 15, and nothing to divide by
        (16, 60, 2, 33.5, 335.0, 30, 1.0, 30),
        (40, 1, 1, 1.0, 10.0, None, None, None),
    ]


def test_kpis_are_what_google_says_of_the_day_and_not_what_its_rows_come_to(warehouse: Warehouse) -> None:
    warehouse.fill(
        row("daily", FIRST, (10, 8, 30, 50), is_synthetic=True),
        *(row("events", FIRST, (9, 8, 15, 25), page_path=page) for page in ("/a", "/b")),
        *(row("pages", FIRST, (9, 8, 15, 25), page_path=page) for page in ("/a", "/b")),
        row("events", FIRST + DAY, (5, 5, 5, 5), page_path="/a", origin="appflow", pulled_at=None),
    )
    names = "event_date, sessions, total_users, screen_page_views, event_count, is_final, time_zone, is_synthetic"
    assert warehouse.query(f"select {names} from analytics.ga4_events_kpis") == [
        (FIRST, 10, 8, 30, 50, True, "Europe/Berlin", True)
    ]


REPORTED = (
    "traffic_source, traffic_medium, page_path, sessions, total_users, screen_page_views, event_count,"
    " share_of_sessions, share_of_users, share_of_page_views, share_of_events, rank"
)


def reported(warehouse: Warehouse, report: str, day: date) -> list[tuple[Any, ...]]:
    return warehouse.query(
        f"select {REPORTED} from analytics.ga4_events_reports"
        f" where report = '{report}' and event_date = '{day}' order by rank"
    )


def test_reports_have_the_shares_of_the_day_and_ranks_within_it(warehouse: Warehouse) -> None:
    """The pull of the grain counts, though the finer rows say something else; equal numbers follow their names."""
    google, mail, direct = (
        {"traffic_source": source, "traffic_medium": medium}
        for source, medium in (("google", "organic"), ("crm", "email"), ("(direct)", "(none)"))
    )
    warehouse.fill(
        row("daily", FIRST, (10, 8, 40, 100)),
        row("sources", FIRST, (6, 5, 10, 50), **google),
        row("sources", FIRST, (5, 4, 20, 25), **mail),
        row("sources", FIRST, (1, 1, 10, 25), **direct),
        row("pages", FIRST, (10, 8, 30, 60), page_path="/a"),
        row("pages", FIRST, (2, 2, 10, 40), page_path="/b"),
        row("events", FIRST, (9, 9, 9, 9), page_path="/c", **google),
        row("sources", FIRST + DAY, (6, 5, 1, 50), **google),
    )
    assert reported(warehouse, "traffic_source", FIRST) == [
        ("crm", "email", None, 5, 4, 20, 25, 0.5, 0.5, 0.5, 0.25, 1),
        ("(direct)", "(none)", None, 1, 1, 10, 25, 0.1, 0.125, 0.25, 0.25, 2),
        ("google", "organic", None, 6, 5, 10, 50, 0.6, 0.625, 0.25, 0.5, 3),
    ]
    assert reported(warehouse, "page", FIRST) == [
        (None, None, "/a", 10, 8, 30, 60, 1.0, 1.0, 0.75, 0.6, 1),
        (None, None, "/b", 2, 2, 10, 40, 0.2, 0.25, 0.25, 0.4, 2),
    ]
    # There is no pull of the next day as a whole.
    assert reported(warehouse, "traffic_source", FIRST + DAY) == [
        ("google", "organic", None, 6, 5, 1, 50, None, None, None, None, 1)
    ]
    assert warehouse.query("select count(*) from analytics.ga4_events_reports") == [(6,)]


def test_a_share_of_nothing_is_null(warehouse: Warehouse) -> None:
    """And what is not known comes last, wherever a database puts it."""
    unknown = row("pages", FIRST, (None, None, None, None), page_path="/b")
    warehouse.fill(row("daily", FIRST, (0, 0, 0, 4)), row("pages", FIRST, (0, 0, 0, 4), page_path="/a"), unknown)
    assert reported(warehouse, "page", FIRST) == [
        (None, None, "/a", 0, 0, 0, 4, None, None, None, 1.0, 1),
        (None, None, "/b", None, None, None, None, None, None, None, None, 2),
    ]


def test_where_only_appflow_was_there_views_are_added_up_and_visitors_are_unknown(warehouse: Warehouse) -> None:
    of_appflow: Row = {"origin": "appflow", "pulled_at": None, "time_zone": None}
    google, direct = (
        {"traffic_source": source, "traffic_medium": medium, **of_appflow}
        for source, medium in (("google", "organic"), ("(direct)", "(none)"))
    )
    warehouse.fill(
        row("events", FIRST, (3, 3, 4, 10), page_path="/a", **google),
        row("events", FIRST, (2, 2, 5, 20), page_path="/b", **google),
        row("events", FIRST, (1, 1, 2, 5), page_path="/a", **direct),
        # Of the next day the pages were pulled, and the sources not.
        row("events", FIRST + DAY, (1, 1, 2, 5), page_path="/a", **direct),
        row("pages", FIRST + DAY, (1, 1, 3, 6), page_path="/a"),
        row("daily", FIRST + DAY, (1, 1, 4, 10)),
    )
    assert reported(warehouse, "traffic_source", FIRST) == [
        ("google", "organic", None, None, None, 9, 30, None, None, None, None, 1),
        ("(direct)", "(none)", None, None, None, 2, 5, None, None, None, None, 2),
    ]
    assert reported(warehouse, "page", FIRST) == [
        (None, None, "/a", None, None, 6, 15, None, None, None, None, 1),
        (None, None, "/b", None, None, 5, 20, None, None, None, None, 2),
    ]
    assert reported(warehouse, "traffic_source", FIRST + DAY) == [
        ("(direct)", "(none)", None, None, None, 2, 5, None, None, 0.5, 0.5, 1)
    ]
    assert reported(warehouse, "page", FIRST + DAY) == [
        (None, None, "/a", 1, 1, 3, 6, 1.0, 1.0, 0.75, 0.6, 1),
    ]
    assert warehouse.query(
        "select report, is_final, is_synthetic, pulled_at is null from analytics.ga4_events_reports"
        " where event_date = '2024-01-02' order by report"
    ) == [("page", True, False, False), ("traffic_source", True, False, True)]
    assert warehouse.query("select event_date from analytics.ga4_events_kpis") == [(FIRST + DAY,)]


def test_a_view_says_when_dbt_made_it(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "warehouse")
    warehouse.fill(row("daily", FIRST))
    times = [datetime.now(UTC)]
    for _ in range(2):
        warehouse.dbt("run", select="ga4_daily_cleaned ga4_events_kpis")
        ((found,),) = warehouse.query("select dbt_updated_at from analytics.ga4_events_kpis")
        times += [found, datetime.now(UTC)]
    assert times == sorted(set(times))


GOOD = (
    row("daily", FIRST, (2, 2, 4, 8)),
    row("pages", FIRST, (2, 2, 4, 8), page_path="/a"),
    row("sources", FIRST, (2, 2, 4, 8), traffic_source="google", traffic_medium="organic"),
    row("events", FIRST, (2, 2, 4, 8), page_path="/a", traffic_source="google", traffic_medium="organic"),
    *(pull(report, FIRST) for report in REPORTS),
)


def test_the_tests_of_the_models_pass_and_each_model_is_described(warehouse: Warehouse) -> None:
    warehouse.fill(*GOOD, window=[FIRST])
    found = warehouse.dbt("test")
    assert len(found) == 16 and set(found.values()) == {"pass"}
    manifest = dbt._parsed(dbt.manifest(Settings.from_environment()))
    models = [one for one in manifest.nodes.values() if isinstance(one, ModelNode) and "ga4" in one.tags]
    assert sorted(one.name for one in models) == sorted(MODELS)
    for model in models:
        assert (model.schema, model.alias, model.config.materialized) == ("analytics", model.name, "view")
        assert model.config.meta["dagster"]["group"] == "enhanced/ga4"
        columns = warehouse.query(
            "select column_name, replace(lower(column_type), 'double', 'double precision')"
            f" from (describe analytics.{model.alias})"
        )
        assert [(name, one.data_type) for name, one in model.columns.items()] == columns, model.name
        assert model.description and all(one.description for one in model.columns.values()), model.name
    for source in manifest.sources.values():
        if "ga4" in source.tags:
            assert all(one.description for one in source.columns.values()), source.name
            assert source.config.meta["dagster"]["asset_key"] == [source.schema, source.name]


@pytest.mark.parametrize(
    ("planted", "fails"),
    [
        (GOOD[0], {"a_date_of_ga4_has_one_row", "a_date_of_ga4_has_its_kpis_once"}),
        (GOOD[1], {"a_page_has_one_row_a_date", "a_page_is_reported_once_a_date"}),
        (GOOD[2], {"a_traffic_source_has_one_row_a_date", "a_traffic_source_is_reported_once_a_date"}),
        (GOOD[3], {"a_page_and_its_source_have_one_row_a_date"}),
        (GOOD[3] | {"page_path": None}, {"a_page_and_its_source_have_one_row_a_date"}),
        (GOOD[3] | {"page_path": "/b", "sessions": -1}, {"metrics_of_ga4_events_are_never_negative"}),
    ],
    ids=["daily", "pages", "sources", "events", "null", "negative"],
)
def test_the_tests_of_the_models_find_what_is_wrong_in_the_dates_of_the_run(
    warehouse: Warehouse, planted: Row, fails: set[str]
) -> None:
    warehouse.fill(*GOOD, planted, window=[FIRST])
    found = warehouse.dbt("test")
    assert fails <= {name for name, status in found.items() if status == "fail"}
    warehouse.fill(*GOOD, planted, window=[FIRST + DAY])
    found = warehouse.dbt("test", "--exclude", "ga4_events_kpis")
    assert set(found.values()) == {"pass"}


def test_parts_that_do_not_add_up_to_the_day_are_warned_about_unless_google_says_so(warehouse: Warehouse) -> None:
    one = "the_parts_of_a_day_add_up_to_it"
    changed = (GOOD[0] | {"event_count": 9}, *GOOD[1:4])
    for pulls, status in (
        ([], "warn"),
        ([pull("ga_daily", FIRST), pull("ga_pages", FIRST)], "warn"),
        # of the two reports one is excused
        ([pull("ga_pages", FIRST, subject_to_thresholding=True)], "warn"),
        ([pull(name, FIRST, is_sampled=True, status="superseded") for name in REPORTS], "warn"),
        ([pull(name, FIRST, data_loss_from_other_row=True) for name in ("ga_sources", "ga_pages")], "pass"),
        ([pull("ga_daily", FIRST, is_sampled=True)], "pass"),
    ):
        warehouse.fill(*changed, *pulls, window=[FIRST])
        assert warehouse.dbt("test", select=one) == {one: status}, pulls


def test_the_models_run_unchanged_on_redshift_and_give_the_same(
    warehouse: Warehouse, tmp_path: Path, on_redshift: dict[str, str]
) -> None:
    other = OnRedshift(tmp_path / "redshift", on_redshift)
    today = datetime.now(UTC).date()
    zones = ("Pacific/Kiritimati", "Pacific/Pago_Pago", "", None)
    rows = [
        *GOOD,
        row("pages", FIRST, (None, None, None, None), page_path="/b"),
        *(row("daily", FIRST + n * DAY, (n, 2, 3 * n, 0)) for n in (1, 2, 4, 8, 9, 11)),
        *(row("pages", today - n * DAY, page_path=f"/{z}", time_zone=z) for n in range(12, 18) for z in zones),
        *(
            row("events", FIRST + n * DAY, page_path=f"/{i}", traffic_source=source, traffic_medium=medium)
            for n in (1, 2)
            for i, (source, medium, _) in enumerate(CHANNELS)
            if source is not None
        ),
    ]
    for one in (warehouse, other):
        one.fill(*rows, window=[FIRST, *(FIRST + n * DAY for n in (1, 2))])
        statuses = one.dbt("build")
        assert {statuses[name] for name in MODELS} == {"success"}
    for model in MODELS:
        columns = [name for name, _ in warehouse.query(f"select column_name, 1 from (describe analytics.{model})")]
        select = f"select {', '.join(name for name in columns if name != 'dbt_updated_at')} from analytics.{model}"
        assert texts(other.query(select)) == texts(warehouse.query(select)), model
        assert warehouse.query(select)


def texts(rows: Sequence[tuple[Any, ...]]) -> list[list[str]]:
    """Rows as they can be compared, whichever driver they are from."""

    def text(value: Any) -> str:
        return str(value.astimezone(UTC)) if isinstance(value, datetime) else str(value)

    return sorted([text(value) for value in row] for row in rows)
