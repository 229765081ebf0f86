"""The demo: sample landing files with known faults, the whole graph, and what came out of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import click

from clickstream_assets.domains import DOMAINS
from clickstream_assets.generate import generator
from clickstream_assets.platform import Platform
from clickstream_assets.run import run_domain
from clickstream_assets.settings import Settings

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
    """Generate, run and print; everything lands below the home folder and can be queried afterwards."""
    platform = Platform(settings)
    for domain in DOMAINS.values():
        click.secho(
            f"\n{domain.name}: {first} to {last}, {rows_per_day:,} good records a day and some faults", bold=True
        )
        made = generator(domain.name)(
            platform.landing.write, first=first, last=last, rows_per_day=rows_per_day, faults=True
        )
        click.echo(f"{len(made.paths)} landing files below {platform.landing.uri()}")
        run_domain(domain, first, last)
    for title, sql in _SHOWN.items():
        click.secho(f"\n{title}", bold=True)
        table(*platform.warehouse.query(sql))
    click.secho("Look further", bold=True)
    click.echo(f"  everything is in   {settings.home}")
    click.echo('  ask                .venv/bin/clickstream query "SELECT * FROM ecommerce.user_segments"')
    click.echo("  what ran           .venv/bin/clickstream status")
    click.echo("  the asset graph    make dev, then http://127.0.0.1:3000")
