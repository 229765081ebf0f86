"""The pages as people see them: what a page shows is what the marts have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb
import pytest

from clickstream_assets import dashboards
from clickstream_assets.dashboards.charts import ranked
from clickstream_assets.dashboards.page import Chart, Dataset, PageError
from clickstream_assets.run import instance
from clickstream_assets_tests.conftest import Home
from clickstream_assets_tests.dashboards.browser import Chromium, Shown, text

#: customers with their segment; states where a segment has fewer than five of them are one, with the next larger state
#: where they are fewer than five all the same
_MERGED = """with people as (
        select customer_id, segment, coalesce(state, 'Not known') as home from sales.customer_dashboard
    ),
    homes as (select segment, home, count(*) as n from people group by 1, 2),
    segments as (
        select segment, first(home order by n, home) filter (n >= 5) as larger,
               coalesce(sum(n) filter (n < 5), 0) as few
        from homes group by 1
    ),
    sold as (select customer_id, count(*) as sales, sum(net_amount) as amount from sales.sales_fact group by 1)
    select segment, coalesce(sales, 0) as sales, coalesce(amount, 0) as amount,
           if(n < 5 or (few between 1 and 4 and home = larger), 'Other', home) as state
    from people join homes using (segment, home) join segments using (segment) left join sold using (customer_id)"""

#: by page and chart: what the table below the chart must show, asked of facts or of other marts than the page's.
#: ``{where}`` is a condition on dates and filters, of which ``{dates}``, ``{between}``, ``{months}`` (what those dates
#: touch) and ``{filters}`` are parts; a chart whose SQL has none is not filtered. Without an order rows come in any.
NUMBERS: dict[str, dict[str, str]] = {
    "executive": {
        "net_sales": """select date_value, what, value from (
                select date_value, unnest(['Net sales', 'Mean of seven days']) as what,
                       unnest([net_amount, avg(net_amount) over (order by date_value rows 6 preceding)]) as value
                from (select sale_date as date_value, sum(net_amount) as net_amount from sales.sales_fact group by 1)
            ) where {where}""",
        "sales": "select date_value, orders from sales.mv_daily_sales where {where} order by 1 desc",
        "average_sale": """select date_value, net_amount / orders from sales.mv_daily_sales
            where {where} order by 1 desc""",
        "discounts": """select sale_date as date_value, sum(discount) / sum(gross_amount) from sales.sales_fact
            where {where} group by 1 order by 1 desc""",
        "weekdays": """select weekday, avg(net_amount) from (
                select sale_date as date_value, dayname(sale_date) as weekday, sum(net_amount) as net_amount
                from sales.sales_fact group by all
            ) where {where} group by 1 order by 2 desc, 1""",
        "customers": """select sale_date as date_value, count(distinct customer_id) from sales.sales_fact
            where {where} group by 1 order by 1 desc""",
        "visitors": """select event_date as date_value, count(distinct visitor_id) from clickstream.events_enhanced
            where {where} and not is_bot group by 1 order by 1 desc""",
        "shop_users": """select event_date as date_value, count(distinct user_id) from ecommerce.events
            where {where} group by 1 order by 1 desc""",
        "visitor_value": """select event_date as date_value,
                   sum(if(is_conversion, revenue, 0)) / count(distinct visitor_id)
            from clickstream.events_enhanced where {where} and not is_bot group by 1 order by 1 desc""",
        "shop_revenue": """select event_date as date_value, sum(if(event_type = 'purchase', amount, 0))
            from ecommerce.events where {where} and product_id is not null
            group by 1 order by 1 desc""",
    },
    "product": {
        "categories": """select sale_date, category, sum(net_amount) from sales.sales_fact
            join sales.product_dim using (product_id)
            where is_current and {where} group by 1, 2""",
        "interest": """select sale_date, what, part from (
                select event_date as sale_date, unnest(['Put into the cart', 'Bought']) as what,
                       unnest([countif(event_type = 'add_to_cart'), countif(event_type = 'purchase')])
                       / countif(event_type = 'product_view') as part
                from ecommerce.events where product_id is not null group by 1
            ) where {dates}""",
        "products": """select product_name, category, sum(net_amount) from sales.sales_fact
            join sales.product_dim using (product_id)
            where is_current and {months} and {filters}
            group by 1, 2, product_id order by 3 desc, 1 limit 12""",
        "brands": """select brand, subcategory, sum(net_amount) from sales.sales_fact
            join sales.product_dim using (product_id)
            where is_current and {where} group by 1, 2""",
        "subcategories": """select subcategory, category, sum(quantity) from sales.sales_fact
            join sales.product_dim using (product_id)
            where is_current and {where} group by 1, 2 order by 3 desc, 1""",
        "discounts": """select subcategory, category, sum(discount) / sum(gross_amount) from sales.sales_fact
            join sales.product_dim using (product_id)
            where is_current and {where} group by 1, 2 order by 3 desc, 1""",
        # Nine days are too few for two weeks: the newest day against the day before.
        "changes": """select product_name, coalesce(newest, 0) - coalesce(before, 0) as net_change from (
                select product_id, product_name, any_value(category) as category,
                       sum(net_amount) filter (sale_date = date '2024-03-09') as newest,
                       sum(net_amount) filter (sale_date = date '2024-03-08') as before
                from sales.sales_fact join sales.product_dim using (product_id)
                where is_current group by all
            ) where {filters} and net_change <> 0 order by abs(net_change) desc, 1 limit 12""",
        "viewed": """select product_id, view_count, add_to_cart_count, purchase_count,
                   add_to_cart_count / view_count, purchase_count / view_count, revenue
            from ecommerce.top_products order by view_count desc, product_id limit 25""",
    },
    "customer": {
        "segments": """select segment, count(*) from sales.customer_dashboard
            where {filters} group by 1 order by 2 desc, 1""",
        "worth": """select case
                when value < 20 then 'under 20' when value < 50 then '20 to 50' when value < 100 then '50 to 100'
                when value < 200 then '100 to 200' when value < 500 then '200 to 500'
                when value < 1000 then '500 to 1,000' when value < 2000 then '1,000 to 2,000'
                when value < 5000 then '2,000 to 5,000' when value < 10000 then '5,000 to 10,000'
                when value < 20000 then '10,000 to 20,000' else '20,000 to 50,000'
            end as worth, count(*) from (
                select customer_id, sum(net_amount) as value from sales.sales_fact group by 1
            ) join sales.customer_dim using (customer_id)
            where is_current group by 1 order by 2 desc, 1""",
        "segment_value": f"""select segment, sum(amount) from ({_MERGED}) where {{filters}}
            group by 1 order by 2 desc, 1""",
        "last_purchases": """select last_date, segment, count(*) from (
                select customer_id, max(sale_date) as last_date from sales.sales_fact group by 1
            ) join sales.customer_dashboard using (customer_id)
            where last_date {between} group by 1, 2""",
        "first_purchases": """select first_date, count(*) from (
                select customer_id, min(sale_date) as first_date from sales.sales_fact group by 1
            ) join sales.customer_dim using (customer_id)
            where is_current and first_date {between} group by 1 order by 1 desc""",
        "shop_days": """select event_date as sale_date,
                   if(dayofweek(event_date) in (0, 6), 'Weekend', 'Weekday') as kind, count(distinct user_id)
            from ecommerce.events where {dates} group by 1, 2""",
        "activity": """select case
                when events >= 20 then 'High Activity' when events >= 5 then 'Medium Activity'
                when events >= 2 then 'Low Activity' else 'One-time Visitors'
            end as activity, avg(spent) from (
                select user_id, count(*) as events, sum(if(event_type = 'purchase', amount, 0)) as spent
                from ecommerce.events group by 1
            ) group by 1 having count(*) >= 5 order by 2 desc, 1""",
        "states": """select coalesce(state, 'Not known') as state, avg((sales > 1)::int) from (
                select customer_id, count(*) as sales from sales.sales_fact group by 1
            ) join sales.customer_dim using (customer_id)
            where is_current and {filters} group by 1 order by 2 desc, 1""",
        "state_value": f"""select state, sum(amount) / countif(sales > 0) from ({_MERGED}) where {{filters}}
            group by 1 order by 2 desc, 1""",
        "recency_frequency": """select recency_quintile, cast(frequency_quintile as varchar), count(*)
            from sales.customer_dashboard where {filters} and orders > 0 group by 1, 2""",
    },
    "geographic": {
        "regions": """select date_trunc('month', sale_date), region, sum(net_amount) from sales.sales_fact
            join sales.location_dim using (location_id)
            where is_current and {months} and {filters} group by 1, 2""",
        "states": """select state, region, sum(net_amount) from sales.sales_fact
            join sales.location_dim using (location_id)
            where is_current and {months} and {filters} group by 1, 2 order by 3 desc, 1""",
        "state_months": """select date_trunc('month', sale_date), state, sum(net_amount) from sales.sales_fact
            join sales.location_dim using (location_id)
            where is_current and {months} and {filters} group by 1, 2""",
        "average_sale": """select state, sum(net_amount) / count(*) from sales.sales_fact
            join sales.location_dim using (location_id)
            where is_current and {months} and {filters} group by 1 order by 2 desc, 1""",
        "discounts": """select state, sum(discount) / sum(gross_amount) from sales.sales_fact
            join sales.location_dim using (location_id)
            where is_current and {months} and {filters} group by 1 order by 2 desc, 1""",
        "stores": """select store_name, region, sum(net_amount) from sales.sales_fact
            join sales.location_dim using (location_id)
            where is_current and {months} and {filters} group by 1, 2, location_id order by 3 desc, 1 limit 15""",
        "customers": """select date_trunc('month', sale_date), store_name, count(distinct customer_id)
            from sales.sales_fact join sales.location_dim using (location_id)
            where is_current and {months} and {filters} group by 1, 2, location_id""",
    },
    "traffic": {
        "sessions": """select event_date, sessions, 'final' from analytics_cleaned.ga4_daily
            where {dates} order by 1 desc""",
        "users": """select event_date, total_users, 'final' from analytics_cleaned.ga4_daily
            where {dates} order by 1 desc""",
        "views": """select event_date, screen_page_views, 'final' from analytics_cleaned.ga4_daily
            where {dates} order by 1 desc""",
        "trend": """select event_date, what, value from (
                select event_date, unnest(['Page views', 'Sessions', 'Users']) as what,
                       unnest([avg(screen_page_views) over week, avg(sessions) over week,
                               avg(total_users) over week]) as value
                from analytics_cleaned.ga4_daily window week as (order by event_date rows 6 preceding)
            ) where {dates}""",
        "source_sessions": """with found as (
                select event_date, traffic_source || ' / ' || traffic_medium as source, sessions
                from analytics_cleaned.ga4_sources natural join (
                    select distinct traffic_source, traffic_medium, channel from analytics.ga4_events_enhanced
                ) where {where}
            ) select * from found where source in (
                select source from found group by 1 order by sum(sessions) desc, 1 limit 5
            )""",
        "channels": """select event_date, channel, sum(screen_page_views) from analytics_cleaned.ga4_sources
            natural join (
                select distinct traffic_source, traffic_medium, channel from analytics.ga4_events_enhanced
            ) where {where} group by 1, 2""",
        "sources": """select traffic_source || ' / ' || traffic_medium, channel, sum(screen_page_views) as views
            from analytics_cleaned.ga4_sources natural join (
                select distinct traffic_source, traffic_medium, channel from analytics.ga4_events_enhanced
            ) where {where} group by 1, 2 order by views desc, 1 limit 10""",
        "pages": """select page_path, sum(screen_page_views) as views from analytics_cleaned.ga4_pages
            where {dates} group by 1 order by views desc, 1 limit 12""",
        "moved": """select event_date, what, now / first - 1 from (
                select event_date, unnest(['Sessions', 'Users', 'Page views']) as what,
                       unnest([arg_min(sessions, pulled_at), arg_min(total_users, pulled_at),
                               arg_min(screen_page_views, pulled_at)]) as first,
                       unnest([arg_max(sessions, pulled_at), arg_max(total_users, pulled_at),
                               arg_max(screen_page_views, pulled_at)]) as now
                from analytics.ga4_pulls where report = 'ga_daily' and sessions is not null
                group by event_date having count(*) > 1
            ) where {dates}""",
    },
    "journey": {
        "funnel": """select concat(step, '. ', event_type), avg(visitors) from (
                select *, funnel_date as day from clickstream.funnel
            ) where {dates} group by 1""",
        "further": """select day, concat(step, '. ', event_type), part from (
                select *, funnel_date as day, visitors / max(visitors) over (partition by funnel_date) as part
                from clickstream.funnel
            ) where step > 1 and {dates}""",
        "channels": """with found as (
                select session_date as day, channel, count(*) as sessions
                from clickstream.sessions where not is_bot group by 1, 2
            ) select day, channel, sessions from found where {where} and channel in (
                select channel from found where {where} group by 1 order by sum(sessions) desc, 1 limit 10
            )""",
        "bounces": """select channel, avg(is_bounce::int) from (
                select *, session_date as day from clickstream.sessions where not is_bot
            ) where {where} group by 1""",
        "converts": """select channel, sum(conversions) / count(*) from (
                select *, session_date as day from clickstream.sessions where not is_bot
            ) where {where} group by 1""",
        "hours": """select hour(started_at at time zone 'UTC'), strftime(day, '%a'), count(*) from (
                select *, session_date as day from clickstream.sessions where not is_bot
            ) where {dates} group by 1, 2""",
        "retention": """select (later.week - cohort.week)::int // 7, cohort.week::varchar,
                   count(*) / any_value(cohort.visitors)
            from clickstream.visitor_weeks as later
            join (select visitor_id, min(week) as first from clickstream.visitor_weeks group by 1) using (visitor_id)
            join (
                select week, count(*) as visitors
                from (select min(week) as week from clickstream.visitor_weeks group by visitor_id) group by 1
            ) as cohort on cohort.week = first
            where later.week > cohort.week group by 1, 2""",
        "paths": """select from_page || ' → ' || to_page, count(*) as times from (
                select events.event_date as day, page_path as from_page, lead(page_path) over (
                    partition by session_key, events.event_date order by event_ts, event_id
                ) as to_page
                from clickstream.events_enhanced as events join clickstream.sessions as sessions
                    on events.stream_key = sessions.stream_key and event_ts between started_at and ended_at
                where event_type = 'page_view' and page_path is not null and not events.is_bot
            ) where from_page <> to_page and {dates} group by 1 order by times desc, 1 limit 12""",
        "attribution": """select model, channel, sum(revenue) from (
                select *, conversion_date as day from clickstream.attribution
            ) where {where} group by 1, 2""",
    },
    "health": {
        "landed": """select day, domain, sum(rows) from (
                select partition_date as day, replace(split_part(path, '/', 1), 'appflow', 'ga4') as domain, rows
                from ops.landing_files
                union all  -- a day of older events, of which nothing landed
                select partition_date as day, 'clickstream' as domain, 0 from ops.row_ledger
                where asset = 'clickstream.events_cleaned'
            ) where {where} group by 1, 2""",
        "rejected": """select day, domain, sum(rejected) from (
                select partition_date as day, regexp_replace(
                    replace(split_part(asset, '.', 1), 'analytics', 'ga4'), '_(raw|cleaned)$', ''
                ) as domain, rejected from ops.row_ledger where rejected > 0
            ) where {where} group by 1, 2""",
        "accounts": """select asset, 0, sum(rows_in), sum(rows_out), sum(rejected), sum(duplicate), sum(late),
                   sum(filtered) from (
                select *, partition_date as day, regexp_replace(
                    replace(split_part(asset, '.', 1), 'analytics', 'ga4'), '_(raw|cleaned)$', ''
                ) as domain from ops.row_ledger
            ) where {where} group by 1""",
        "rules": """select rule, count(*) as records from (
                select rule, partition_date as day, regexp_replace(
                    replace(split_part(asset, '.', 1), 'analytics', 'ga4'), '_(raw|cleaned)$', ''
                ) as domain from ops.quarantine
            ) where {where} group by 1 order by records desc, 1 limit 12""",
        "files": """select day, status, count(*) from (
                select *, partition_date as day from ops.landing_files
            ) where {dates} group by 1, 2""",
        "pulls": """select day, status, count(*) from (select *, event_date as day from analytics.ga4_pulls)
            where {dates} group by 1, 2""",
    },
}

#: by page and chart: why the numbers are not asked of other tables
EXCEPT: dict[str, dict[str, str]] = {
    "geographic": {"changes": "The days are of one month; there is a test of its SQL."},
    "health": {
        "seconds": "It is of Dagster's history, which has a test of its own.",
        "steps": "It is of Dagster's history, which has a test of its own.",
        "fresh": "It tells how long ago, and only the page knows when it was built.",
    },
}

#: by page and the title of a figure: as above, with one value
TILES: dict[str, dict[str, str]] = {
    "executive": {
        "Net sales": "select sum(net_amount) from sales.mv_daily_sales where {where}",
        "Sales": "select count(*) from (select sale_date as date_value from sales.sales_fact) where {where}",
        "Net amount of a sale": """select sum(net_amount) / count(*) from (
                select *, sale_date as date_value from sales.sales_fact
            ) where {where}""",
        "Discount of gross": """select sum(discount) / sum(gross_amount) from (
                select *, sale_date as date_value from sales.sales_fact
            ) where {where}""",
        "Web site visitors a day": """select avg(visitors) from (
                select event_date as date_value, count(distinct visitor_id) as visitors
                from clickstream.events_enhanced where not is_bot group by 1
            ) where {where}""",
        "Shop revenue": """select sum(amount) from (select *, event_date as date_value from ecommerce.events)
            where {where} and event_type = 'purchase' and product_id is not null""",
    },
    "product": {
        **{
            title: f"""select {what} from sales.sales_fact join sales.product_dim using (product_id)
                where is_current and {{where}}"""
            for title, what in (
                ("Net sales", "sum(net_amount)"),
                ("Pieces", "sum(quantity)::bigint"),
                ("Gross price of a piece", "sum(gross_amount) / sum(quantity)"),
                ("Discount of gross", "sum(discount) / sum(gross_amount)"),
            )
        },
        "Shop: views that end in a purchase": """select countif(event_type = 'purchase')
                   / countif(event_type = 'product_view')
            from (select *, event_date as sale_date from ecommerce.events) where {dates} and product_id is not null""",
    },
    "customer": {
        "Customers": "select count(*) from sales.customer_dim where is_current and {filters}",
        "Buyers of all customers": """select avg((customer_id in (select customer_id from sales.sales_fact))::int)
            from sales.customer_dim where is_current and {filters}""",
        "Buyers who bought again": """select avg((sales > 1)::int) from (
                select customer_id, count(*) as sales from sales.sales_fact group by 1
            ) join sales.customer_dim using (customer_id) where is_current and {filters}""",
        **{
            title: f"select {what} from ({_MERGED}) where {{filters}}"
            for title, what in (
                ("Sales to a buyer", "sum(sales) / countif(sales > 0)"),
                ("Net sales to a buyer", "sum(amount) / countif(sales > 0)"),
                ("Part that Champions bring", "sum(amount) filter (segment = 'Champions') / sum(amount)"),
            )
        },
    },
    "geographic": {
        title: f"""select {what} from sales.sales_fact join sales.location_dim using (location_id)
            where is_current and {{months}} and {{filters}}"""
        for title, what in (
            ("Net sales", "sum(net_amount)"),
            ("Sales", "count(*)"),
            ("Net amount of a sale", "sum(net_amount) / count(*)"),
            ("Pieces of a sale", "sum(quantity) / count(*)"),
            ("Discount of gross", "sum(discount) / sum(gross_amount)"),
        )
    },
    "traffic": {
        title: f"select {what} from analytics_cleaned.ga4_daily where {{dates}}"
        for title, what in (
            ("Sessions a day", "avg(sessions)"),
            ("Users a day", "avg(total_users)"),
            ("Page views", "sum(screen_page_views)::bigint"),
            ("Events", "sum(event_count)::bigint"),
            ("Page views of a session, mean of the days", "avg(screen_page_views / sessions)"),
        )
    },
    "journey": {
        **{
            title: f"""select {what} from (
                    select *, session_date as day from clickstream.sessions where not is_bot
                ) where {{where}}"""
            for title, what in (
                ("Sessions", "count(*)"),
                ("Bounced", "avg(is_bounce::int)"),
                ("Engaged", "avg(is_engaged::int)"),
                ("Conversions", "sum(conversions)::bigint"),
                ("Revenue", "sum(revenue)"),
            )
        },
        "Visitors who buy, mean of the days": """select avg(part) from (
                select funnel_date as day, min(visitors) / max(visitors) as part from clickstream.funnel group by 1
            ) where {dates}""",
    },
    "health": {
        "Rows that landed": """select sum(rows)::bigint from (
                select partition_date as day, replace(split_part(path, '/', 1), 'appflow', 'ga4') as domain, rows
                from ops.landing_files
            ) where {where}""",
        "Duplicates dropped": """select sum(duplicate)::bigint from (
                select *, partition_date as day, regexp_replace(
                    replace(split_part(asset, '.', 1), 'analytics', 'ga4'), '_(raw|cleaned)$', ''
                ) as domain from ops.row_ledger
            ) where {where}""",
        "Rows unaccounted for": "select 0",
    },
}

#: by page: the column of days in each chart's SQL above, for the choice of two days
DAYS = {
    "executive": "date_value",
    "product": "sale_date",
    "customer": "sale_date",
    "geographic": "sale_date",
    "traffic": "event_date",
    "journey": "day",
    "health": "day",
}

#: by page that has filters: one of them, and the value that is chosen
FILTERED = {
    "product": ("category", "Home"),
    "customer": ("state", "Colorado"),
    "geographic": ("region", "West"),
    "traffic": ("channel", "Organic Search"),
    "journey": ("channel", "Direct"),
    "health": ("domain", "sales"),
}

CHOSEN = ("2024-03-04", "2024-03-06")


def _chart(page: str, name: str) -> Chart:
    return next(chart for chart in dashboards.load(page).charts if chart.name == name)


def _where(page: str, *, days: bool = False, filters: bool = False) -> dict[str, str]:
    """What stands for the placeholders of a page's SQL."""
    between = f"between date '{CHOSEN[0]}' and date '{CHOSEN[1]}'" if days else "is not null"
    dates = f"{DAYS[page]} {between}"
    column, value = FILTERED[page] if filters else ("1", "1")
    chosen = f"{column} = '{value}'"
    months = "sale_date between date '2024-03-01' and date '2024-03-31'" if days else "sale_date is not null"
    where = f"{dates} and {chosen}"
    return {"where": where, "dates": dates, "between": between, "months": months, "filters": chosen}


def _expected(home: Home, chart: Chart, sql: str, where: dict[str, str]) -> list[tuple[set[str], ...]]:
    """What each cell may say."""
    rows: Sequence[Sequence[Any]] = home.query(sql.format(**where))
    assert rows, sql
    return [tuple(_texts(value, shown.kind) for value, shown in zip(row, chart.shown, strict=True)) for row in rows]


def _texts(value: Any, kind: str) -> set[str]:
    """A sum has one text; a quotient of half a cent has two, for its last bit depends on the order of what is added."""
    noise = abs(value) * 1e-12 if isinstance(value, float) else 0
    return {text(value, kind), *((text(value - noise, kind), text(value + noise, kind)) if noise else ())}


def _compare(shown: Home, opened: Shown, page: str, where: dict[str, str]) -> None:
    for name, sql in NUMBERS[page].items():
        found, expected = opened.numbers(name), _expected(shown, _chart(page, name), sql, where)
        if "order by" not in sql.rpartition(")")[2]:  # the last word, not one within parentheses
            found, expected = sorted(found), sorted(expected, key=lambda row: [min(cell) for cell in row])
        assert len(found) == len(expected), name
        for line, row in zip(found, expected, strict=True):
            assert all(cell in texts for cell, texts in zip(line, row, strict=True)), (name, line, row)
    figures = opened.tiles()
    for tile in dashboards.load(page).tiles:
        if tile.title in TILES[page]:
            (value,) = shown.one(TILES[page][tile.title].format(**where))
            assert figures[tile.title] in _texts(value, tile.described()["kind"]), (tile.title, value)


@pytest.mark.parametrize("page", [entry.name for entry in dashboards.PAGES])
def test_a_page_shows_what_the_marts_have(shown: Home, chromium: Chromium, page: str) -> None:
    described = dashboards.load(page)
    excepted = EXCEPT.get(page, {}).keys()
    assert {chart.name for chart in described.charts} == NUMBERS[page].keys() | excepted
    assert not NUMBERS[page].keys() & excepted
    assert len(TILES[page]) >= 2
    assert TILES[page].keys() <= {tile.title for tile in described.tiles}
    with chromium.open(shown.path / "dashboards" / f"{page}.html", timezone_id="America/Los_Angeles") as opened:
        opened.drawn()
        opened.shot(page)
        _compare(shown, opened, page, _where(page))
        opened.choose(first=CHOSEN[0], last=CHOSEN[1])
        _compare(shown, opened, page, _where(page, days=True))
        if page in FILTERED:
            column, value = FILTERED[page]
            opened.choose(**{column: value})
            _compare(shown, opened, page, _where(page, days=True, filters=True))


def test_the_page_of_health_tells_of_every_run(shown: Home) -> None:
    health = dashboards.load("health")
    runs, steps = (next(one for one in health.datasets if one.name == name) for name in ("runs", "steps"))
    assert runs.rows is not None and steps.rows is not None
    assert [*runs.rows(shown.platform, None)] == [*steps.rows(shown.platform, None)] == []
    with instance(shown.settings) as history:
        records = history.get_run_records()
        found = runs.rows(shown.platform, history)
        names = [row[1] for row in steps.rows(shown.platform, history)]
    assert sum(row[2] for row in found) == len(records) >= 10
    assert {row[1] for row in found} == {record.dagster_run.job_name for record in records}
    assert sum(row[5] for row in found) == pytest.approx(
        sum(one.end_time - one.start_time for one in records if one.end_time and one.start_time)
    )
    assert {"sales_models", "ecommerce.events_cleaned", "clickstream_raw.events_raw"} <= set(names)


def _asked(sql: str, order: str, table: str, columns: str, rows: str) -> list[tuple[Any, ...]]:
    """What a dataset's SQL gives of a table of these rows."""
    with duckdb.connect() as connection:
        connection.execute(f"create schema {table.partition('.')[0]}")
        connection.execute(f"create table {table} as select * from (values {rows}) as rows({columns})")
        return connection.execute(f"select * from ({sql}) as asked order by {order}").fetchall()


def test_rows_too_many_do_not_make_up_for_rows_that_are_missing() -> None:
    ledger = _chart("health", "accounts").dataset
    found = _asked(
        ledger.sql,
        ledger.order,
        "ops.row_ledger",
        "partition_date, asset, rows_in, rows_out, rejected, duplicate, late, filtered",
        "(date '2024-03-01', 'sales.a', 9, 4, 0, 0, 0, 0), (date '2024-03-02', 'sales.a', 4, 9, 0, 0, 0, 0), "
        "(date '2024-03-03', 'sales.a', 9, 4, 1, 2, 1, 1)",
    )
    assert [row[-1] for row in found] == [0, 5, 5]
    assert any(tile.dataset is ledger and tile.measure == "unaccounted" for tile in dashboards.load("health").tiles)


def _amounts(dataset: Dataset) -> bool:
    return any(column.kind == "money" for column in dataset.columns)


def test_no_amount_is_of_fewer_than_five_customers(shown: Home) -> None:
    customers = [one for one in dashboards.load("customer").datasets if one.tables == ("sales.customer_dashboard",)]
    valued = [one for one in customers if _amounts(one)]
    assert valued
    for dataset in valued:
        place = [column.name for column in dataset.columns].index("customers")
        rows = shown.query(dataset.sql)
        assert rows and min(row[place] for row in rows) >= 5, dataset.name
        assert sum(row[place] for row in rows) == shown.one("select count(*) from sales.customer_dashboard")[0]
    users = _chart("customer", "activity").dataset
    assert _asked(
        users.sql,
        users.order,
        "ecommerce.user_segments",
        "segment, user_count, avg_events, avg_purchases, avg_spent",
        "('Low Activity', 5, 2.0, 1.0, 9.5), ('High Activity', 4, 2.0, 1.0, 9.5)",
    ) == [("Low Activity", 5, 2.0, 1.0, 9.5)]
    # There were smaller groups to be merged.
    assert shown.one(
        "select min(n) from (select count(*) as n from sales.customer_dashboard group by segment, state)"
    ) < (5,)
    # Nor do a day or an amount come with a place.
    for dataset in customers:
        names = {column.name for column in dataset.columns}
        assert "state" not in names or not names & {"first_sale_date", "last_sale_date", "worth"}, dataset.name


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        pytest.param({"a": 5, "b": 6}, {"a": 5, "b": 6}, id="large"),
        pytest.param({"a": 2, "b": 4, "c": 6}, {"Other": 6, "c": 6}, id="small ones are enough"),
        pytest.param({"a": 1, "b": 2, "c": 6, "d": 7}, {"Other": 9, "d": 7}, id="with the smallest of the others"),
        pytest.param({"a": 4, "b": 9}, {"Other": 13}, id="with the only other"),
        pytest.param({"a": 1, "b": 3}, {}, id="a segment of too few"),
    ],
)
def test_small_states_become_one(sizes: dict[str, int], expected: dict[str, int]) -> None:
    value = _chart("customer", "state_value").dataset
    rows = ", ".join(f"('Loyal', '{state}', 2, 10.00)" for state, size in sizes.items() for _ in range(size))
    found = _asked(
        value.sql,
        value.order,
        "sales.customer_dashboard",
        "segment, state, orders, lifetime_value",
        rows + ", ('Lost', 'a', 1, 1.00)" * 5,  # a segment is merged by itself
    )
    assert {row[1]: row[2] for row in found if row[0] == "Loyal"} == expected
    assert all(row[3:6] == (row[2], 2 * row[2], 10 * row[2]) for row in found if row[0] == "Loyal")
    assert [row[1:3] for row in found if row[0] == "Lost"] == [("a", 5)]


def test_of_groups_of_customers_the_largest_come_first(shown: Home) -> None:
    for dataset in dashboards.load("customer").datasets:
        names = [column.name for column in dataset.columns]
        if dataset.day or "customers" not in names:
            continue
        counts = [row[names.index("customers")] for row in shown.query(f"{dataset.sql} order by {dataset.order}")]
        assert counts == sorted(counts, reverse=True), dataset.name


def test_stores_change_by_their_part_of_the_newest_month() -> None:
    changes = _chart("geographic", "changes").dataset
    found = _asked(
        changes.sql,
        "store",
        "sales.geographic_dashboard",
        "month, country, region, state, location_id, store_name, share_of_month",
        ", ".join(
            f"(date '{month}-01', 'US', 'West', 'Oregon', '{store}', '{store}', {part})"
            for month, store, part in (
                ("2023-11", "A", 1),
                ("2023-12", "A", 0.5),
                ("2023-12", "B", 0.5),
                ("2024-01", "A", 0.75),
                ("2024-01", "C", 0.25),
            )
        ),
    )
    assert [(row[3], float(row[4])) for row in found] == [("A", 0.25), ("B", -0.5), ("C", 0.25)]


def test_conversions_of_a_session_are_a_number() -> None:
    """A session may have several."""
    assert _chart("journey", "converts").shown[-1].kind == "number"


def test_a_chart_of_the_executive_page_needs_one_table() -> None:
    """A table that is not there yet takes no chart of another with it."""
    assert all(len(dataset.tables) == 1 for dataset in dashboards.load("executive").datasets)


def test_a_sum_over_models_of_attribution_is_refused() -> None:
    """Each model has the whole revenue."""
    attributed = _chart("journey", "attribution").dataset
    with pytest.raises(PageError, match=r"attributed.revenue by channel would count some of it twice"):
        ranked("wrong", "?", attributed, "channel", "revenue")
    assert ranked("right", "?", attributed, "model", "revenue").spec
