"""Sales files in landing, and loading them without Dagster and dbt."""

from __future__ import annotations

import gzip
import uuid
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import date
from pathlib import Path

from clickstream_assets.domains import Feed, domain
from clickstream_assets.generate.sales import COLUMNS
from clickstream_assets.storage import cleaning, publishing
from clickstream_assets.storage.staged import Staged
from clickstream_assets_tests.conftest import Home

DAY = date(2024, 3, 1)
FEEDS = {feed.root.removeprefix("sales/"): feed for feed in domain("sales").feeds}


def land(home: Home, feed: str, name: str, *records: str, day: date = DAY, header: str | None = None) -> Path:
    """A file of records under the feed's header, or another one; gzipped when its name ends in ``.gz``."""
    lines = (",".join(COLUMNS[feed]) if header is None else header, *records)
    content = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
    return put(home, feed, name, gzip.compress(content, mtime=0) if name.endswith(".gz") else content, day=day)


def put(home: Home, feed: str, name: str, content: bytes, *, day: date = DAY) -> Path:
    """A file of bytes."""
    path = home.path / "landing" / "sales" / feed / f"load_date={day}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def load(home: Home, *days: date, feeds: Collection[str] = tuple(FEEDS)) -> Counter[str]:
    """Raw and cleaned of some days, as the steps of a run make them; what was rejected and left out, by rule."""
    found: Counter[str] = Counter()
    for name in feeds:
        for staged in (stage_raw(home, FEEDS[name], days or (DAY,)), stage_cleaned(home, FEEDS[name], days or (DAY,))):
            found.update(staged.rejected_by_rule)
            found["duplicate"] += sum(account.duplicate for account in staged.accounts)
    return +found


def stage_raw(home: Home, feed: Feed, days: Sequence[date]) -> Staged:
    platform = home.platform
    known = platform.warehouse.landing_files(feed.root)
    return _published(
        home, feed.load_loader(platform).stage(days, known, run_id=uuid.uuid4().hex, progress=lambda _: None)
    )


def stage_cleaned(home: Home, feed: Feed, days: Sequence[date]) -> Staged:
    platform = home.platform
    staged = cleaning.stage(
        platform.spark,
        platform.lake,
        source=platform.lake.snapshot(feed.raw, days, by=feed.cleaned.day),
        target=feed.cleaned,
        transform=feed.load_transform(),
        days=days,
        run_id=uuid.uuid4().hex,
        made=platform.warehouse.accounts(feed.cleaned.name),
    )
    return _published(home, staged)


def _published(home: Home, staged: Staged) -> Staged:
    assert [account for account in staged.accounts if account.missing] == []
    publishing.publish(home.platform.lake, home.platform.warehouse, staged)
    return staged
