"""No model adds up sessions or users; and a model that did would be found out, however it went about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from clickstream_assets import dbt
from clickstream_assets.ga4.reports import REPORTS
from clickstream_assets.settings import Settings
from clickstream_assets_tests.ga4.additivity import Finding, findings
from clickstream_assets_tests.ga4.test_models import compiled

METRICS = {metric.column for report in REPORTS.values() for metric in report.metrics if not metric.additive}
DAILY = "analytics_cleaned.ga4_daily"
EVENTS = "analytics_cleaned.ga4_events"


def sources() -> dict[str, list[str]]:
    """The columns of the sources, as they are written down for dbt."""
    manifest = dbt._parsed(dbt.manifest(Settings.from_environment()))
    return {f"{one.schema}.{one.name}": list(one.columns) for one in manifest.sources.values() if "ga4" in one.tags}


def found(*planted: str) -> list[Finding]:
    """In models ``analytics.m0``, ``analytics.m1`` and so on."""
    return findings({f"analytics.m{n}": sql for n, sql in enumerate(planted)}, sources(), METRICS)


def test_the_models_add_up_additive_metrics_only(tmp_path: Path) -> None:
    assert sorted(METRICS) == ["sessions", "total_users"]
    models = compiled(tmp_path)
    assert len(models) == 7 and all("sum(" not in sql for name, sql in models.items() if "reports" not in name)
    assert findings(models, sources(), METRICS) == []


def test_the_models_would_be_found_out(tmp_path: Path) -> None:
    """Each change of one of them is of the kind that a hurried edit makes."""
    models, reports = compiled(tmp_path), "analytics.ga4_events_reports"
    for before, after, guilty in (
        ("cast(null as bigint) as sessions", "sum(sessions) as sessions", reports),
        ("cast(null as bigint) as total_users", "cast(sum(total_users) as bigint) as total_users", reports),
        ("avg(cast(of_week.sessions as double precision))", "sum(of_week.sessions)", "analytics.ga4_events_kpis"),
    ):
        assert before in models[guilty]
        (one, *_) = findings(models | {guilty: models[guilty].replace(before, after)}, sources(), METRICS)
        assert one.model == guilty and one.expression.lower().startswith("sum(")


@pytest.mark.parametrize(
    "planted",
    [
        [f"select event_date, sum(sessions) as sessions from {EVENTS} group by event_date"],
        [f"with a as (select event_date, sessions as visits from {EVENTS}) select sum(visits) as n from a"],
        [f"with a as (select * from {EVENTS}), b as (select total_users as x from a) select sum(b.x) as n from b"],
        [f"select sum(total_users) over (partition by event_date) as n from {EVENTS}"],
        [f"select sum(sessions) over (order by event_date rows between 6 preceding and current row) as n from {DAILY}"],
        [f"select sum(sessions * 1.0) as n from {DAILY}"],
        [f"select SUM(DISTINCT cast(coalesce(sessions, 0) as decimal(18, 2))) as n from {DAILY}"],
        [f"select sum(case when page_path = '/' then total_users end) as n from {EVENTS}"],
        [f"select sum(if(page_path = '/', 0, total_users)) as n from {EVENTS}"],
        [f"select sum(total_users) filter (where page_path = '/') as n from {EVENTS}"],
        [f"select cast(sum(sessions) as double precision) / count(*) as n from {DAILY}"],
        [f"select event_date from {EVENTS} group by event_date having sum(sessions) > 1"],
        [f"select event_date from {EVENTS} group by event_date order by sum(sessions)"],
        [f"select page_path from {EVENTS} group by page_path qualify rank() over (order by sum(sessions)) = 1"],
        [f"select (select sum(sessions) from {DAILY}) as n"],
        [f"select sum((select d.sessions from {DAILY} d where d.event_date = e.event_date)) as n from {EVENTS} e"],
        [f"select d.event_date, (select sum(d.sessions) from {EVENTS} as e) as n from {DAILY} as d"],
        [f"select sum(n) as n from (select sessions as n from {EVENTS}) as a"],
        [f"select event_date from {DAILY} where event_count > (select sum(sessions) from {DAILY})"],
        [f"select sum(n) as n from (select event_count as n from {DAILY} union all select sessions from {DAILY}) as a"],
        [f"select sum(m) as n from (select event_date, max(sessions) as m from {EVENTS} group by event_date) as a"],
        [f"select sum(pages) as n from (select screen_page_views / sessions as pages from {EVENTS}) as a"],
        [f"select sessions as visits from {EVENTS}", "select sum(visits) as n from analytics.m0"],
        ["select sum(b) from analytics.m1", "select a as b from analytics.m2", f"select sessions as a from {DAILY}"],
        [f"select sum(e.sessions) as n from {DAILY} as d join {EVENTS} as e on d.event_date = e.event_date"],
        [f"select list_sum(list(sessions)) as n from {DAILY}"],
        [f"select list_reduce(list(sessions), (a, b) -> a + b) as n from {DAILY}"],
        [f"select list_aggregate(list(sessions), 'sum') as n from {DAILY}"],
        [f"select fsum(sessions) as n from {DAILY}"],
        [f"select avg(sessions) * count(*) as n from {DAILY}"],
        [f"select sessions + lag(sessions) over (order by event_date) as n from {DAILY}"],
    ],
    ids=lambda planted: planted[0],
)  # fmt: skip
def test_a_model_that_adds_up_visitors_is_found_out(planted: list[str]) -> None:
    found_out = found(*planted)
    assert found_out and not [one for one in found_out if "cannot be followed" in one.expression], found_out


@pytest.mark.parametrize(
    "good",
    [
        f"select avg(sessions) over (order by event_date rows between 6 preceding and current row) as n from {DAILY}",
        f"select sum(event_count) as n, sum(screen_page_views * 1.0) as m, count(sessions) as k from {EVENTS}",
        f"select max(sessions) as n, min(total_users) as m from {DAILY}",
        f"select sessions - lag(sessions) over (order by event_date) as n, sessions + 1 as m from {DAILY}",
        f"select sum(event_count) over (partition by sessions order by total_users) as n from {EVENTS}",
        f"select sum(case when sessions is null then event_count else 0 end) as n from {EVENTS}",
        f"select sum(cast(sessions > 0 and total_users > 0 as integer)) as days from {DAILY}",
        f"select sum(n) as n from (select count(sessions) as n from {EVENTS} group by event_date) as a",
        f"with sessions as (select event_count as sessions from {EVENTS}) select sum(sessions) as n from sessions",
        f"select sum(r) as n from (select row_number() over (order by sessions) as r from {DAILY}) as a",
    ],
)
def test_what_may_be_added_up_is_not(good: str) -> None:
    assert found(good) == []


@pytest.mark.parametrize(
    "strange",
    [
        "select * from elsewhere.visits",
        f"select no_such_column from {DAILY}",
        "select * from read_parquet('lake/*.parquet')",
        f"select sum(columns('sess.*')) from {DAILY}",
        f"pivot {DAILY} on origin using sum(sessions)",
        "select from where",
    ],
)
def test_what_cannot_be_followed_is_said(strange: str) -> None:
    assert [one.model for one in found(strange)] == ["analytics.m0"]
    if "elsewhere" in strange:
        one, other = found(strange, "select sum(sessions) as n from analytics.m0")
        assert (one.model, other) == ("analytics.m0", Finding("analytics.m1", "SUM(m0.sessions)"))
