"""Pulls as files in landing, and loading them without Dagster."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from clickstream_assets.domains import domain
from clickstream_assets.ga4 import quality
from clickstream_assets.ga4.reports import REPORTS
from clickstream_assets.platform import Platform
from clickstream_assets.storage import cleaning, publishing
from clickstream_assets.storage.staged import Staged
from clickstream_assets_tests.conftest import Home

DAY = date(2024, 1, 5)
ZONE = "Europe/Berlin"

#: page, source, medium, sessions, users, views, events
ROWS = (
    ("/", "google", "organic", 10, 8, 20, 50),
    ("/about", "(direct)", "(none)", 5, 5, 6, 12),
    ("/shop", "news", "email", 3, 2, 9, 30),
)


def body(
    rows: Iterable[Sequence[Any]] = ROWS,
    *,
    report: str = "ga_events",
    day: date = DAY,
    row_count: int | None = None,
    zone: str | None = ZONE,
    synthetic: bool = False,
    quota: dict[str, Any] | None = None,
    indent: int | None = 2,
    **metadata: Any,
) -> bytes:
    """An answer of the Data API. A row has its dimensions less the date, then its metrics."""
    asked = REPORTS[report]
    listed = [(f"{day:%Y%m%d}", *map(str, row)) for row in rows]
    width = len(asked.dimensions)
    content: dict[str, Any] = {
        "dimensionHeaders": [{"name": name} for name in asked.dimensions],
        "metricHeaders": [{"name": metric.name, "type": "TYPE_INTEGER"} for metric in asked.metrics],
        "rows": [
            {
                "dimensionValues": [{"value": value} if value else {} for value in row[:width]],
                "metricValues": [{"value": value} for value in row[width:]],
            }
            for row in listed
        ],
        "rowCount": len(listed) if row_count is None else row_count,
        "metadata": {"currencyCode": "EUR", **({"timeZone": zone} if zone else {}), **metadata},
        "propertyQuota": quota or {},
        "kind": "analyticsData#runReport",
    }
    if not listed:
        del content["rows"]
    if not content["rowCount"]:
        del content["rowCount"]
    if synthetic:
        content["synthetic"] = True
    return json.dumps(content, indent=indent).encode()


def land(home: Home, stamp: str, content: bytes, *, page: int = 1, report: str = "ga_events", day: date = DAY) -> Path:
    """A page of a pull that began at ``stamp``, e.g. ``2024-01-06_030000``."""
    suffix = f"_p{page:03}" if page > 1 else ""
    return put(home, f"ga4/{report}/date={day}/ga4_events_{stamp}{suffix}.json", content)


def appflow(home: Home, name: str, *rows: Any, day: date = DAY) -> Path:
    """A file of AppFlow; a row as in ``ROWS``, or a text as it is."""
    names = list(REPORTS["ga_events"].columns)
    lines = [
        row if isinstance(row, str) else json.dumps(dict(zip(names, [f"{day:%Y%m%d}", *map(str, row)], strict=True)))
        for row in rows
    ]
    return put(home, f"appflow/ga4/date={day}/{name}", "".join(f"{line}\n" for line in lines).encode())


def put(home: Home, path: str, content: bytes) -> Path:
    """A file below landing."""
    target = home.path / "landing" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return target


class Loaded:
    """What loading some days staged, and which of its checks failed."""

    def __init__(self, staged: Staged):
        self.staged = staged
        checks = staged.checks(rejected_share=0.5)
        self.failed = {check.name: check.description for check in checks if not check.passed}
        self.blocked = {day for check in checks if not check.warns for day in check.failed}


def load(home: Home, *days: date, report: str = "ga_events") -> Loaded:
    """Raw, cleaned and the pulls of some days, as the steps of a run make them; what raw's step found."""
    platform, chosen = home.platform, domain("ga4")
    wanted = list(days or (DAY,))
    _publish(platform, quality.stage(platform, chosen, wanted, run_id=uuid.uuid4().hex))
    (feed,) = (feed for feed in chosen.feeds if feed.raw.lake == f"analytics_raw.{report}_raw")
    known = [file for root in feed.roots for file in platform.warehouse.landing_files(root)]
    staged = feed.load_loader(platform).stage(wanted, known, run_id=uuid.uuid4().hex, progress=lambda _: None)
    loaded = Loaded(staged)
    if sound := staged.without(loaded.blocked):
        _publish(platform, sound)
    _publish(
        platform,
        cleaning.stage(
            platform.spark,
            platform.lake,
            source=platform.lake.snapshot(feed.raw, wanted),
            target=feed.cleaned,
            transform=feed.load_transform(),
            days=wanted,
            run_id=uuid.uuid4().hex,
            made=platform.warehouse.accounts(feed.cleaned.name),
        ),
    )
    return loaded


def _publish(platform: Platform, staged: Staged) -> None:
    assert [account for account in staged.accounts if account.missing] == []
    if staged.days:
        publishing.publish(platform.lake, platform.warehouse, staged)


def cleaned(home: Home, day: date = DAY, table: str = "ga4_events") -> list[tuple[Any, ...]]:
    """The rows of a day as in ``ROWS``, in order."""
    return home.query(
        "select page_path, traffic_source, traffic_medium, sessions, total_users, screen_page_views, event_count "
        f"from analytics_cleaned.{table} where event_date = '{day}' order by all"
    )


def statuses(home: Home, day: date = DAY) -> dict[str, str]:
    """By file name: what ops.landing_files says of it."""
    found = home.query(f"select path, status from ops.landing_files where partition_date = '{day}'")
    return {path.rpartition("/")[2].removeprefix("ga4_events_").removesuffix(".json"): status for path, status in found}


def pulls(home: Home, columns: str, day: date = DAY, report: str = "ga_events") -> list[tuple[Any, ...]]:
    """Columns of the pulls of a day, AppFlow first, then oldest first."""
    return home.query(
        f"select {columns} from analytics.ga4_pulls where event_date = '{day}' and report = '{report}' "
        "order by pulled_at nulls first"
    )
