"""The whole of it as a user starts it: files land and are answered for, backfills are started from the page."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clickstream_assets_tests.conftest import Home
from clickstream_assets_tests.defs.serving import CLICKSTREAM, Server, serving


def answer(sql: str) -> list[str]:
    """What ``clickstream query`` prints, without the names of the columns; nothing while it cannot."""
    asked = subprocess.run([*CLICKSTREAM, "query", sql, "--format", "csv"], capture_output=True, text=True)
    return asked.stdout.splitlines()[1:] if asked.returncode == 0 else []


def test_a_file_that_lands_is_answered_for_without_a_command(home: Home, tmp_path: Path) -> None:
    day = datetime.now(UTC).date() - timedelta(days=1)
    earlier = day - timedelta(days=3)
    sold = "select sum(purchase_count) from ecommerce.top_products where product_id = 'p1'"
    where = "select ingestion_date from ecommerce.events"
    with serving(tmp_path, sensor_seconds=1) as server:
        home.land(str(day), "export.csv", f"1,1,{day} 10:00:00,purchase,p1,5.00,")
        server.wait("the answer", lambda: answer(sold) == ["1"] and answer(where) == [str(day)], seconds=120)
        # A copy under an earlier day takes over: its day is run for the file, the later one repaired below raw.
        home.land(str(earlier), "export.csv", f"1,1,{day} 10:00:00,purchase,p1,5.00,")
        server.wait("the repair", lambda: answer(where) == [str(earlier)], seconds=120)
        assert answer(sold) == ["1"]


@pytest.fixture
def page(home: Home, tmp_path: Path) -> Iterator[Server]:
    """A server whose sensors looked once, at an empty landing folder."""
    with serving(tmp_path, sensor_seconds=3600) as server:
        ticks = '{sensorsOrError(repositorySelector: {repositoryName: "__repository__", repositoryLocationName: \
            "clickstream_assets.definitions"}) {... on Sensors {results {name sensorState {ticks(limit: 1) {id}}}}}}'
        server.wait(
            "the first looks",
            lambda: all(s["sensorState"]["ticks"] for s in server.graphql(ticks)["sensorsOrError"]["results"]),
            seconds=60,
        )
        yield server


GRAPH = "{assetNodes {assetKey {path} isPartitioned isMaterializable jobNames}}"
LAUNCH = """
mutation ($parameters: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $parameters) {
    __typename
    ... on LaunchBackfillSuccess {backfillId}
    ... on PythonError {message}
  }
}"""
BACKFILL = """
query ($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill {
      status
      runs {status tags {key value}}
    }
  }
}"""
ENDED = ("SUCCESS", "FAILURE", "CANCELED")


def launch(page: Server, days: list[date]) -> str:
    """Select the whole domain in the asset graph and press *Materialize* for some partitions."""
    keys = [n["assetKey"] for n in page.graphql(GRAPH)["assetNodes"] if "ecommerce" in n["jobNames"]]
    assert len(keys) > 20
    parameters = {"assetSelection": keys, "partitionNames": [str(day) for day in days]}
    launched = page.graphql(LAUNCH, parameters=parameters)["launchPartitionBackfill"]
    return str(launched["backfillId"])


def runs(page: Server, backfill: str) -> list[dict[str, Any]]:
    """The backfill's runs, when they have ended; its own status follows half a minute later."""

    def ended() -> Any:
        found = page.graphql(BACKFILL, id=backfill)["partitionBackfillOrError"]["runs"]
        return found if found and all(run["status"] in ENDED for run in found) else None

    return list(page.wait(f"backfill {backfill}", ended, seconds=180))


def of_range(run: dict[str, Any]) -> tuple[str, str]:
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    return tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"]


def test_backfills_from_the_page(home: Home, page: Server) -> None:
    """Sixty days are one run; days that fail are run again alone; overlapping backfills do no harm."""
    days = [date(2024, 3, 1) + timedelta(days=n) for n in range(60)]
    for day in days[::10]:
        home.land(str(day), "a.csv", f"1,1,{day} 10:00:00,product_view,p1,,")
    bad = days[10]
    home.land(str(bad), "b.csv", *[",1,2024-03-01 10:00:00,page_view,,,"] * 1000)

    first = launch(page, days)
    (run,) = runs(page, first)
    assert run["status"] == "FAILURE"
    assert of_range(run) == (str(days[0]), str(days[-1]))
    assert answer("select count(*) from ecommerce.events_cleaned") == ["5"], "all but the day that failed"

    home.land(str(bad), "b.csv", f"2,1,{bad} 10:00:00,product_view,p1,,")
    again = [launch(page, [bad]), launch(page, days[:40]), launch(page, days[20:])]
    for backfill, asked in zip(again, ([bad], days[:40], days[20:]), strict=True):
        (run,) = runs(page, backfill)
        assert run["status"] == "SUCCESS"
        assert of_range(run) == (str(asked[0]), str(asked[-1]))
    assert len(runs(page, first)) == 1, "nothing was started a second time"
    assert answer("select count(*), count(distinct event_id) from ecommerce.events") == ["7,7"]
    assert answer("select view_count from ecommerce.top_products") == ["7"]
    balance = "select count(*) from ops.row_ledger where rows_in <> rows_out + rejected + duplicate + late + filtered"
    assert answer(balance) == ["0"]
    assert answer("select count(*) from ops.row_ledger where asset = 'ecommerce.events'") == ["60"]
