"""Clickstream events for tests: to land, and to load without Dagster and dbt, in a sixth of the time.

``load`` loads what has landed of the other domain, too.
"""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Collection
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from clickstream_assets import domains, repair
from clickstream_assets.domains import Domain
from clickstream_assets.parsing.landing import LandingLoader
from clickstream_assets.platform import Platform
from clickstream_assets.storage import cleaning, publishing
from clickstream_assets.storage.staged import Staged
from clickstream_assets_tests.conftest import Home

RAW, CLEANED, MODELED = "clickstream_raw.events_raw", "clickstream.events_cleaned", "clickstream.events_enhanced"

#: the domains less their models
DOMAIN, ECOMMERCE = (replace(domains.domain(name), row_models=()) for name in ("clickstream", "ecommerce"))
(FEED,) = DOMAIN.feeds


def event(event_id: str, timestamp: str | float, **more: Any) -> dict[str, Any]:
    return {"event_id": event_id, "event_type": "page_view", "timestamp": timestamp, "user_id": "u1", **more}


def land(home: Home, day: str, name: str, *records: dict[str, Any] | str, between: str = "\n") -> Path:
    """Put a file into landing as Firehose does; a record that is a text is written as it is."""
    path = home.path / "landing" / FEED.folder(date.fromisoformat(day)) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = between.join(one if isinstance(one, str) else json.dumps(one) for one in records)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    return path


def run(home: Home, first: str, last: str | None = None, **options: Any) -> Any:
    """All of it, as a user runs it."""
    return home.run(first, last, domain="clickstream", **options)


def load(platform: Platform, days: Collection[date | str], *, domain: Domain = DOMAIN) -> list[date]:
    """Raw for days of arrival, and cleaned for those that changed; which these are."""
    asked = sorted({date.fromisoformat(str(day)) for day in days})
    (feed,) = domain.feeds
    shape, limits = feed.load_shape(platform), platform.settings.limits
    loader = LandingLoader(feed, landing=platform.landing, lake=platform.lake, limits=limits, shape=shape)
    known = platform.warehouse.landing_files(feed.root)
    _publish(platform, loader.stage(asked, known, run_id=uuid.uuid4().hex, progress=lambda _: None))
    pending = repair.pending_days(platform, domain)
    if pending:
        staged = cleaning.stage(
            platform.spark,
            platform.lake,
            source=platform.lake.snapshot(feed.raw, pending, by=feed.cleaned.day),
            target=feed.cleaned,
            transform=feed.load_transform(),
            days=pending,
            run_id=uuid.uuid4().hex,
            made=platform.warehouse.accounts(feed.cleaned.name),
        )
        _publish(platform, staged)
        assert repair.pending_days(platform, domain) == []
    return pending


def _publish(platform: Platform, staged: Staged) -> None:
    assert [account for account in staged.accounts if account.missing] == []
    publishing.publish(platform.lake, platform.warehouse, staged)
