"""A range equals the sum of its days, for every partitioned asset, whatever order the days are run in."""

from __future__ import annotations

import secrets
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from clickstream_assets import layers, schemas
from clickstream_assets.definitions import defs
from clickstream_assets.domains import DOMAINS
from clickstream_assets.generate import generator
from clickstream_assets_tests.conftest import Home, use_home

FIRST, LAST = date(2024, 3, 1), date(2024, 3, 3)
OUT_OF_ORDER = ("2024-03-03", "2024-03-01", "2024-03-02")

#: what tells of the last run, and not of the days
OF_ONE_RUN = ("sales.sales_fact_changes",)


def relation(key: dg.AssetKey) -> str:
    """Where the warehouse shows an asset."""
    name = ".".join(key.path)
    known = {table.name: table.warehouse or table.external for table in schemas.TABLES}
    return known.get(name) or name


def partitioned_assets() -> list[dg.AssetKey]:
    graph = defs().resolve_asset_graph()
    keys = (key for key in graph.executable_asset_keys if graph.get(key).partitions_def is not None)
    return sorted(key for key in keys if not graph.get(key).group_name.startswith(layers.LANDING))


def _fill(home: Home, domain: str) -> None:
    generator(domain)(home.platform.landing.write, first=FIRST, last=LAST, rows_per_day=300, faults=True)
    # The same content on two days, and a day whose events belong to another date.
    record = "77,1,2024-03-02 23:59:59.999999,purchase,prod_1,3.335,"
    home.land("2024-03-02", "again.csv", record)
    home.land("2024-03-03", "again.csv", record)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_range_equals_the_sum_of_its_days(domain: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = {"CLICKSTREAM_PII_KEY": secrets.token_hex(32)}  # pseudonyms are the same with the same one
    at_once = use_home(tmp_path / "range", monkeypatch, **key)
    _fill(at_once, domain)
    at_once.run(FIRST.isoformat(), LAST.isoformat(), domain=domain)
    by_day = use_home(tmp_path / "days", monkeypatch, **key)
    _fill(by_day, domain)
    for day in OUT_OF_ORDER:
        by_day.run(day, domain=domain)

    graph = defs().resolve_asset_graph()
    found = [relation(key) for key in partitioned_assets() if graph.get(key).group_name.endswith(f"/{domain}")]
    compared = [name for name in found if name not in OF_ONE_RUN]
    assert len(compared) >= 3
    for name in (*compared, "ops.row_ledger", "ops.quarantine", "ops.landing_files"):
        assert by_day.table(name) == at_once.table(name), name
    if domain == "ecommerce":
        assert by_day.query("select count(*) from ecommerce.events where user_id = '77'") == [(1,)]
