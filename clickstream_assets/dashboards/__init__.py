"""Dashboards: pages of static HTML, drawn from the warehouse's marts.

A page is one module in ``pages``: what it reads, its filters, its figures and its charts, as data. ``page`` has those
words, ``charts`` draws, ``read`` asks the warehouse, ``build`` writes the files, ``pictures`` draws without a browser.
Add a chart to a page's ``charts``. Add a page as a module, and to ``PAGES``, which is all that the asset graph knows.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clickstream_assets.dashboards.page import Page


@dataclass(frozen=True)
class Described:
    """What is known of a page before what draws it is imported (0.7 s).

    ``domain``: whose group of assets it is in. ``after``: the tables that it is made from.
    """

    name: str
    title: str
    domain: str
    intro: str
    after: tuple[str, ...]


#: the page of the pipeline itself
HEALTH = "health"

#: in the order in which pages name each other
PAGES = (
    Described(
        "executive",
        "Executive",
        "sales",
        "How the business is doing, day by day: sales, what they are worth, who visits.",
        (
            "sales.executive_dashboard",
            "clickstream.daily_metrics",
            "ecommerce.daily_active_users",
            "ecommerce.product_days",
        ),
    ),
    Described(
        "product",
        "Product",
        "sales",
        "What sells, what is looked at, and what changes.",
        (
            "sales.product_dashboard",
            "sales.product_sales_days",
            "sales.product_dim",
            "ecommerce.product_days",
            "ecommerce.top_products",
        ),
    ),
    Described(
        "customer",
        "Customer",
        "sales",
        "Who buys, how often, and what they are worth: no names, no ids, no sums of fewer than five customers.",
        ("sales.customer_dashboard", "ecommerce.user_segments", "ecommerce.daily_active_users"),
    ),
    Described(
        "geographic",
        "Geographic",
        "sales",
        "Where it is sold, month by month: regions, states, stores.",
        ("sales.geographic_dashboard",),
    ),
    Described(
        "traffic",
        "Traffic",
        "ga4",
        "What Google Analytics says of the site: sessions, people, channels, pages.",
        ("analytics.ga4_events_kpis", "analytics.ga4_events_reports", "analytics.ga4_pulls"),
    ),
    Described(
        "journey",
        "Journey",
        "clickstream",
        "From the first view to the purchase: steps, channels, paths, who comes back, and what earns the revenue.",
        (
            "clickstream.funnel",
            "clickstream.session_hours",
            "clickstream.page_paths",
            "clickstream.retention_cohorts",
            "clickstream.attribution",
        ),
    ),
    Described(
        HEALTH,
        "Pipeline health",
        "ops",
        "Whether every row is accounted for, what is rejected, how fresh tables are, and what runs cost.",
        (
            "sales.geographic_dashboard",
            "clickstream.daily_metrics",
            "ecommerce.daily_active_users",
            "analytics.ga4_events_kpis",
            "analytics.ga4_pulls",
        ),
    ),
)


@cache
def load(name: str) -> Page:
    """The page of that name, as its module describes it."""
    found: Page = importlib.import_module(f"{__name__}.pages.{name}").PAGE
    return found


def described(name: str) -> Described:
    """The entry of that name."""
    return next(entry for entry in PAGES if entry.name == name)
