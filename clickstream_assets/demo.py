"""The demo: sample landing files with known faults, the whole graph, and what came out of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import click

from clickstream_assets.domains import DOMAINS
from clickstream_assets.errors import ClickstreamError
from clickstream_assets.generate import generator
from clickstream_assets.generate.story import Story
from clickstream_assets.platform import Platform
from clickstream_assets.run import run_cdc, run_dashboards, run_domain
from clickstream_assets.settings import Settings

#: rows of a report that a property gives a day, at most
_GA4_ROWS = 250

#: how long before the others' first day a property is asked for numbers, where the others have fewer days than `_FEW`:
#: of the last 14 days nothing is final
_GA4_EARLIER, _FEW = timedelta(days=7), timedelta(days=21)

#: sales that arrive a day, at most: what is shown of them is as plain of a few, and the demo is to be short
_SALES_ROWS = 300

#: changes that arrive a day, at most, and the days on which some do: the last ones
_CHANGES, _CHANGING = 100, timedelta(days=14)

_SHOWN = {
    "What arrived and what became of it (ops.row_ledger)": """
        select asset, sum(rows_in) as rows_in, sum(rows_out) as rows_out, sum(rejected) as rejected,
               sum(duplicate) as duplicate,
               sum(rows_in - rows_out - rejected - duplicate - late - filtered) as unaccounted
        from ops.row_ledger group by asset order by rows_in desc, rows_out desc""",
    "Why rows were rejected (ops.quarantine)": """
        select rule, count(*) as rows, any_value(payload) as example from ops.quarantine group by rule order by rule""",
    "Best sellers (ecommerce.top_products)": """
        select rank, product_id, view_count, purchase_count, revenue
        from ecommerce.top_products order by rank limit 5""",
    "Conversion (ecommerce.conversion_funnel)": """
        select users_viewed, users_added, users_purchased, round(overall_rate, 4) as overall_rate,
               ordered_users_purchased from ecommerce.conversion_funnel""",
    "Web site (clickstream.daily_metrics)": """
        select event_date, dau, sessions, events, round(bounce_rate, 3) as bounce_rate, revenue
        from clickstream.daily_metrics order by event_date desc limit 5""",
    "Sales (sales.mv_daily_sales)": """
        select date_value, orders, quantity, gross_amount, discount, tax_amount, net_amount
        from sales.mv_daily_sales order by date_value desc limit 5""",
    "Newest and oldest days of a GA4 property that is made up (analytics.ga4_events_kpis)": """
        select event_date, sessions, total_users, screen_page_views,
               round(pages_per_session, 2) as pages_per_session,
               round(sessions_7_day_average, 1) as sessions_7_day_average, is_final, is_synthetic
        from analytics.ga4_events_kpis
        qualify row_number() over (order by event_date desc) <= 4 or row_number() over (order by event_date) <= 3
        order by event_date desc""",
    "An order that changed, and how it was before (cdc.orders_history)": """
        select order_id, op, status, amount, strftime(valid_from, '%Y-%m-%d %H:%M:%S') as valid_from,
               strftime(valid_to, '%Y-%m-%d %H:%M:%S') as valid_to
        from cdc.orders_history
        where order_id = (select order_id from cdc.orders_history group by order_id
                          order by count(*) desc, order_id limit 1)
        order by valid_from nulls first""",
    "Revenue (ecommerce.revenue_metrics)": "select * from ecommerce.revenue_metrics",
}


def show(
    settings: Settings,
    first: date,
    last: date,
    *,
    rows_per_day: int,
    table: Callable[[Sequence[str], Sequence[Sequence[Any]]], None],
) -> None:
    """Generate, run and print; everything lands below the home folder and can be queried afterwards.

    Raises:
        ClickstreamError: a GA4 property is set, among whose numbers some would be made up.
    """
    if settings.ga4.property_id is not None:
        raise ClickstreamError("GA4_PROPERTY_ID is set, and the demo's numbers are made up: unset it for the demo.")
    platform = Platform(settings)
    story = Story(first, last, datetime.now(UTC))
    for domain in DOMAINS.values():
        start, rows = first, rows_per_day
        if domain.name == "ga4":
            earlier = _GA4_EARLIER if last - first < _FEW else timedelta()
            start, rows = min(first, max(first - earlier, settings.start_date)), min(rows, _GA4_ROWS)
        elif domain.name == "sales":
            rows = min(rows, _SALES_ROWS)
        click.secho(f"\n{domain.name}: {start} to {last}, {rows:,} good records a day and some faults", bold=True)
        made = generator(domain.name)(
            platform.landing.write, first=start, last=last, rows_per_day=rows, faults=True, story=story
        )
        click.echo(f"{len(made.paths)} landing files below {platform.landing.uri()}")
        run_domain(domain, start, last)
    changes, begins = min(rows_per_day, _CHANGES), max(first, last - _CHANGING + timedelta(days=1))
    click.secho(f"\ncdc: {begins} to {last}, {changes:,} changes a day and some faults", bold=True)
    made = generator("cdc")(
        platform.landing.write, first=begins, last=last, rows_per_day=changes, faults=True, story=story
    )
    click.echo(f"{len(made.paths)} landing files below {platform.landing.uri()}")
    run_cdc()
    click.secho("\ndashboards: pages of static HTML", bold=True)
    pages = run_dashboards()
    for title, sql in _SHOWN.items():
        click.secho(f"\n{title}", bold=True)
        table(*platform.warehouse.query(sql))
    click.secho("Look further", bold=True)
    click.echo(f"  the dashboards     {pages}")
    click.echo(f"  everything is in   {settings.home}")
    click.echo('  ask                .venv/bin/clickstream query "SELECT * FROM ecommerce.user_segments"')
    click.echo("  what ran           .venv/bin/clickstream status")
    click.echo("  the asset graph    make dev, then http://127.0.0.1:3000")
