"""Every transform on Spark in a JVM, behind Spark Connect, gives the tables, rejects and accounts that Sail gives.

One JVM for all of them, with the settings of ``SPARK_REMOTE``: 7 s of processor until it listens. Rows go through
real tables: raw is published, cleaned from it by each engine in a home of its own, and published there.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from clickstream_assets import generate
from clickstream_assets.domains import DOMAINS, Domain, Feed
from clickstream_assets.storage import cleaning, publishing, shaping, slices
from clickstream_assets.storage.lake import StagedWriter
from clickstream_assets.storage.staged import Account, Staged
from clickstream_assets_tests import cluster
from clickstream_assets_tests.conftest import Home, use_home
from clickstream_assets_tests.events import event, land
from clickstream_assets_tests.events import load as events_load
from clickstream_assets_tests.transforms import hostile

#: hostile rows of each transform
ROWS = 500

KEY = "0123456789abcdef0123456789abcdef"
FEEDS = {feed.cleaned.name: feed for domain in DOMAINS.values() for feed in domain.feeds}


@dataclass(frozen=True)
class Homes:
    """Two homes with the same landing files; one has its engine in a JVM."""

    sail: Home
    jvm: Home

    def __iter__(self) -> Iterator[Home]:
        return iter((self.sail, self.jvm))

    def alike(self) -> dict[str, list[tuple[Any, ...]]]:
        """All tables of both, which have to be equal."""
        ours, theirs = (home.tables() for home in self)
        assert ours.keys() == theirs.keys()
        for name, rows in ours.items():
            assert theirs[name] == rows, name
        return ours


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    # So few rows are done before the JVM's second compiler is, and 200 tasks of a shuffle have none.
    few = {"spark_sql_shuffle_partitions": "2", "spark_driver_extraJavaOptions": "-XX:TieredStopAtLevel=1"}
    with cluster.connect_server(tmp_path_factory.mktemp("spark"), **few) as address:
        yield address


@pytest.fixture
def homes(tmp_path: Path, remote: str, monkeypatch: pytest.MonkeyPatch) -> Homes:
    key = {"CLICKSTREAM_PII_KEY": KEY}
    use_home(tmp_path, monkeypatch)
    return Homes(Home(tmp_path / "sail", key), Home(tmp_path / "on a jvm", {**key, "SPARK_REMOTE": remote}))


def publish(home: Home, staged: Staged) -> None:
    assert [account for account in staged.accounts if account.missing] == []
    publishing.publish(home.platform.lake, home.platform.warehouse, staged)


def put(home: Home, feed: Feed, rows: pa.Table) -> None:
    """Publish raw rows of the hostile day."""
    writer = StagedWriter(home.platform.lake, feed.raw, hostile.DAY, feed.raw.arrow)
    writer.append(rows)
    account = Account(hostile.DAY, rows.num_rows, rows.num_rows)
    publish(home, Staged(feed.raw, [hostile.DAY], writer.close(), (), [account], uuid.uuid4().hex))


def clean(home: Home, feed: Feed, days: Sequence[date]) -> Staged:
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
    publish(home, staged)
    return staged


def load(home: Home, domain: Domain, days: Sequence[date]) -> None:
    """Raw and cleaned of what has landed."""
    for feed in domain.feeds:
        loader = feed.load_loader(home.platform)
        known = [file for root in feed.roots for file in home.platform.warehouse.landing_files(root)]
        publish(home, loader.stage(days, known, run_id=uuid.uuid4().hex, progress=lambda _: None))
        clean(home, feed, days)


def test_the_two_engines_are_two(homes: Homes) -> None:
    sail, jvm = (home.platform.spark for home in homes)
    version = "version()"
    assert sail.sql(f"select {version}").first() != jvm.sql(f"select {version}").first()


@pytest.mark.parametrize("name", FEEDS)
def test_hostile_rows_are_judged_and_typed_alike(homes: Homes, name: str) -> None:
    feed = FEEDS[name]
    for home in homes:
        put(home, feed, hostile.rows(feed, ROWS, seed=1))
        clean(home, feed, [hostile.DAY])
    homes.alike()
    rows_in, rows_out, rejected, duplicate, _, _ = homes.jvm.ledger(name, str(hostile.DAY))
    assert rows_in == ROWS and rows_out > 100 and rejected > 5
    assert (duplicate > 10) == (feed.load_transform().unique is not None)
    broken = {rule for (rule,) in homes.jvm.query("select distinct rule from ops.quarantine")}
    assert broken <= {rule.name for rule in feed.load_transform().rules}


def test_generated_days_with_faults_give_the_same_tables(homes: Homes) -> None:
    """Of the domain with copies, hours and late events; the campaign of a cluster takes all of them."""
    name = "clickstream"
    days = [date(2026, 3, day) for day in (2, 3)]
    for home in homes:
        generate.generator(name)(
            home.platform.landing.write, first=days[0], last=days[-1], rows_per_day=300, seed=3, faults=True
        )
        load(home, DOMAINS[name], days)
    assert sum(map(len, homes.alike().values())) > 500


def test_copies_that_the_engine_keeps_and_parts_of_a_day_are_alike(
    homes: Homes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shaping, "_FETCHED", 0)
    monkeypatch.setattr(shaping, "_FOR_TWO", 1)
    feed = FEEDS["clickstream.events_cleaned"]
    for home in homes:
        put(home, feed, hostile.rows(feed, 300, seed=2))
        clean(home, feed, [hostile.DAY])
    homes.alike()


def test_hours_that_are_made_again_are_alike(homes: Homes, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (slices, cleaning):
        monkeypatch.setattr(module, "BY_HOUR", 5)
    early = [event(f"e{n}", f"2026-03-02T{n % 12:02}:00:00.{n}Z", price=n) for n in range(60)]
    late = [event(f"e{n % 40}", f"2026-03-02T{n % 3:02}:00:01Z", price=n, note="\x1f\\u001F") for n in range(20)]
    for home in homes:
        for number, events in enumerate((early, late)):
            land(home, "2026-03-02", f"f{number}", *events, event(f"x{number}", "2026"))
            events_load(home.platform, ["2026-03-02"])
    assert len(homes.alike()["clickstream.events_cleaned"]) == 60
