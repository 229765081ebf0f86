"""The whole of it as a user starts it: files land and are answered for, backfills are started from the page."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import pytest

from clickstream_assets.errors import ClickstreamError
from clickstream_assets_tests.conftest import Home, use_home
from clickstream_assets_tests.defs.serving import CLICKSTREAM, Server, serving


def answer(sql: str) -> list[str]:
    """What ``clickstream query`` prints, without the names of the columns."""
    asked = subprocess.run([*CLICKSTREAM, "query", sql, "--format", "csv"], check=True, capture_output=True, text=True)
    return asked.stdout.splitlines()[1:]


def found(home: Home, sql: str) -> list[tuple[Any, ...]]:
    """The same without a process, half a second of work; nothing while there is no such table."""
    try:
        return home.query(sql)
    except (ClickstreamError, duckdb.Error):
        return []


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """One home for the tests of this module, as there is one server."""
    with pytest.MonkeyPatch.context() as patch:
        yield use_home(tmp_path_factory.mktemp("daemon") / "home", patch)


@pytest.fixture(scope="module")
def page(home: Home) -> Iterator[Server]:
    """A server whose sensors look every two seconds."""
    with serving(home.path.parent, sensor_seconds=2) as server:
        yield server


def test_a_file_that_lands_is_answered_for_without_a_command(home: Home, page: Server) -> None:
    day = datetime.now(UTC).date() - timedelta(days=1)
    sold = "select sum(purchase_count) from ecommerce.top_products where product_id = 'p1'"
    home.land(str(day), "export.csv", f"1,1,{day} 10:00:00,purchase,p1,5.00,")
    page.wait("the answer", lambda: found(home, sold) == [(1,)], seconds=120)
    assert answer(sold) == ["1"]


SENSORS = """
{sensorsOrError(repositorySelector: {
    repositoryName: "__repository__", repositoryLocationName: "clickstream_assets.definitions"
}) {... on Sensors {results {id sensorState {status runs(limit: 9) {status}}}}}}"""
STOP = "mutation ($id: String!) {stopSensor(id: $id) {... on StopSensorMutationResult {instigationState {status}}}}"


@pytest.fixture
def quiet(page: Server) -> Server:
    """The server when its sensors are turned off, and have started nothing that is still at work."""
    for sensor in page.graphql(SENSORS)["sensorsOrError"]["results"]:
        assert page.graphql(STOP, id=sensor["id"])["stopSensor"]["instigationState"]["status"] == "STOPPED"

    def ended() -> bool:
        sensors = page.graphql(SENSORS)["sensorsOrError"]["results"]
        return all(run["status"] in ENDED for sensor in sensors for run in sensor["sensorState"]["runs"])

    page.wait("the end of what sensors started", ended, seconds=120)
    return page


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
        started = page.graphql(BACKFILL, id=backfill)["partitionBackfillOrError"]["runs"]
        return started if started and all(run["status"] in ENDED for run in started) else None

    return list(page.wait(f"backfill {backfill}", ended, seconds=180))


def of_range(run: dict[str, Any]) -> tuple[str, str]:
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    return tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"]


def test_backfills_from_the_page(home: Home, quiet: Server) -> None:
    """Twenty days are one run; days that fail are run again alone; overlapping backfills do no harm."""
    days = [date(2024, 3, 1) + timedelta(days=n) for n in range(20)]
    for day in days[::4]:
        home.land(str(day), "a.csv", f"1,1,{day} 10:00:00,product_view,p2,,")
    bad = days[8]
    home.land(str(bad), "b.csv", *[",1,2024-03-01 10:00:00,page_view,,,"] * 1000)

    these = f"where ingestion_date <= '{days[-1]}'"
    first = launch(quiet, days)
    (run,) = runs(quiet, first)
    assert run["status"] == "FAILURE"
    assert of_range(run) == (str(days[0]), str(days[-1]))
    assert home.one(f"select count(*) from ecommerce.events_cleaned {these}") == (4,), "all but the day that failed"

    home.land(str(bad), "b.csv", f"2,1,{bad} 10:00:00,product_view,p2,,")
    overlapping = [[bad], days[:14], days[7:]]
    for backfill, asked in [(launch(quiet, asked), asked) for asked in overlapping]:
        (run,) = runs(quiet, backfill)
        assert run["status"] == "SUCCESS"
        assert of_range(run) == (str(asked[0]), str(asked[-1]))
    assert len(runs(quiet, first)) == 1, "nothing was started a second time"
    assert home.one(f"select count(*), count(distinct event_id) from ecommerce.events {these}") == (6, 6)
    assert home.one("select view_count from ecommerce.top_products where product_id = 'p2'") == (6,)
    balance = "select count(*) from ops.row_ledger where rows_in <> rows_out + rejected + duplicate + late + filtered"
    assert home.one(balance) == (0,)
    assert home.one(
        f"select count(*) from ops.row_ledger where asset = 'ecommerce.events' and partition_date <= '{days[-1]}'"
    ) == (20,)
