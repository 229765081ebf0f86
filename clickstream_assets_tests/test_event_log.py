"""A batch of events in Dagster's SQLite event log reads back like the same events written one by one."""

from __future__ import annotations

import time
from typing import Any

import dagster as dg
import pytest

from clickstream_assets import run
from clickstream_assets.event_log import FastSqliteEventLogStorage
from clickstream_assets.partitions import DAILY, SINGLE_RUN
from clickstream_assets_tests.conftest import Home

ASSETS = [f"a{n}" for n in range(8)]
LAST = "2024-01-20"


def _materialize(storage: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    specs = [dg.AssetSpec(name, partitions_def=DAILY) for name in ASSETS]
    checks = [dg.AssetCheckSpec("good", asset=ASSETS[0])]

    @dg.multi_asset(specs=specs, check_specs=checks, backfill_policy=SINGLE_RUN)
    def models() -> Any:
        for name in ASSETS:
            found = [dg.AssetCheckResult(passed=True, check_name="good")] if name == ASSETS[0] else []
            yield dg.MaterializeResult(asset_key=name, metadata={"rows": 3}, check_results=found)

    definitions = dg.Definitions(assets=[models], jobs=[dg.define_asset_job("all", selection="*")])
    return definitions.resolve_job_def("all").execute_in_process(
        instance=storage,
        tags={"dagster/asset_partition_range_start": "2024-01-01", "dagster/asset_partition_range_end": LAST},
    )


def _read(storage: dg.DagsterInstance, run_id: str) -> dict[str, Any]:
    """What the UI shows of the run and its assets."""
    return {
        "log": sorted(
            (str(e.dagster_event_type), str(e.get_dagster_event().asset_key), str(e.get_dagster_event().partition))
            for e in storage.all_logs(run_id)
            if e.is_dagster_event
        ),
        "partitions": {a: storage.get_materialized_partitions(dg.AssetKey(a)) for a in ASSETS},
        "last": {
            a: (event.partition, event.metadata["rows"].value)
            for a in ASSETS
            if (event := storage.get_latest_materialization_event(dg.AssetKey(a)).asset_materialization)
        },
        "found": sorted(key.to_user_string() for key in storage.all_asset_keys()),
        "checks": [
            (r.key.name, r.status.value, r.partition)
            for r in storage.event_log_storage.get_asset_check_execution_history(
                dg.AssetCheckKey(dg.AssetKey(ASSETS[0]), "good"), limit=100
            )
        ],
    }


@pytest.fixture
def one_by_one(tmp_path) -> dg.DagsterInstance:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as storage:
        yield storage


def test_batches_read_back_like_single_events_and_are_faster(home: Home, one_by_one, monkeypatch) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "0")
    begun = time.monotonic()
    single = _materialize(one_by_one)
    slow = time.monotonic() - begun

    with run.instance(home.settings) as storage:
        assert isinstance(storage.event_log_storage, FastSqliteEventLogStorage)
        begun = time.monotonic()
        batched = _materialize(storage)
        fast = time.monotonic() - begun
        found = _read(storage, batched.run_id)
    assert found == _read(one_by_one, single.run_id)
    assert len(found["partitions"][ASSETS[3]]) == 20
    assert fast < slow / 2, (fast, slow)


def test_what_is_wiped_is_gone_and_the_log_goes_on(home: Home) -> None:
    with run.instance(home.settings) as storage:
        first = _materialize(storage)
        assert storage.all_logs(first.run_id)
        storage.wipe()
        assert storage.all_logs(first.run_id) == []
        again = _materialize(storage)
    with run.instance(home.settings) as another:
        assert len(another.get_materialized_partitions(dg.AssetKey(ASSETS[0]))) == 20
        assert another.all_logs(again.run_id)
