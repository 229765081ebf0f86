"""A Spark cluster gives every domain the tables that Sail gives: master, two workers, Connect server, five JVMs.

Not part of the suite, which has one JVM for all transforms in ``transforms/test_engines``; ``make soak`` runs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from clickstream_assets import generate
from clickstream_assets.domains import DOMAINS
from clickstream_assets_tests import cluster, forked
from clickstream_assets_tests.conftest import Home, use_home

DAYS = date(2026, 3, 2), date(2026, 3, 4)
KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with cluster.standalone(tmp_path_factory.mktemp("cluster")) as address:
        yield address


@pytest.mark.parametrize("name", DOMAINS)
def test_a_run_on_the_cluster_ends_with_the_tables_of_one_on_sail(
    name: str, remote: str, rows_per_day: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_home(tmp_path, monkeypatch)
    key = {"CLICKSTREAM_PII_KEY": KEY}
    homes = Home(tmp_path / "sail", key), Home(tmp_path / "spark", {**key, "SPARK_REMOTE": remote})
    seconds = []
    for home in homes:
        generate.generator(name)(
            home.platform.landing.write, first=DAYS[0], last=DAYS[1], rows_per_day=rows_per_day, seed=5, faults=True
        )
        seconds.append(forked.start(home, "run", name, "--from", str(DAYS[0]), "--to", str(DAYS[1])).succeed())
    ours, theirs = (home.tables() for home in homes)
    assert ours.keys() == theirs.keys()
    for table, rows in ours.items():
        assert theirs[table] == rows, table
    count = sum(map(len, ours.values()))
    print(
        f"{name}: {count:,} rows in {len(ours)} tables are equal; Sail {seconds[0]:.0f} s, cluster {seconds[1]:.0f} s"
    )
    assert len(ours["ops.quarantine"]) > 0 and count > rows_per_day
