"""What the repairs sensor asks for: days whose raw rows have changed, once, and everything below raw of them."""

from __future__ import annotations

from datetime import date

import dagster as dg

from clickstream_assets import policies, repair, run
from clickstream_assets_tests.conftest import Home

RAW = dg.AssetKey(["ecommerce_raw", "events_raw"])
CLEANED = dg.AssetKey(["ecommerce", "events_cleaned"])
TOP = dg.AssetKey(["ecommerce", "top_products"])


class Sensor:
    """The sensor's evaluations, one after another."""

    def __init__(self, storage: dg.DagsterInstance):
        self.storage = storage
        self.cursor = None
        self.assets = 0

    def look(self) -> dict[str, int]:
        """How many assets each day was asked for."""
        policies._pending.cache_clear()
        result = dg.evaluate_automation_conditions(
            defs=run._definitions(),
            instance=self.storage,
            cursor=self.cursor,
            asset_selection=dg.AssetSelection.groups("cleaned/ecommerce", "enhanced/ecommerce"),
        )
        self.cursor = result.cursor
        graph = run._definitions().resolve_asset_graph()
        asked: dict[str, int] = {}
        for key in graph.executable_asset_keys:
            for day in result.get_requested_partitions(key):
                asked[str(day)] = asked.get(str(day), 0) + 1
        return asked


def materialize(storage: dg.DagsterInstance, first: str, last: str | None = None, *, keys: list[dg.AssetKey]) -> bool:
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last or first}
    job = run._definitions().resolve_job_def("ecommerce")
    return job.execute_in_process(instance=storage, asset_selection=keys, tags=tags, raise_on_error=False).success


def below_raw() -> list[dg.AssetKey]:
    return [
        key for key in run._definitions().resolve_job_def("ecommerce").asset_layer.executable_asset_keys if key != RAW
    ]


def test_raw_that_changes_alone_has_all_below_it_made_once(home: Home) -> None:
    for day in (1, 2, 9):
        home.land(f"2024-03-0{day}", "a.csv", f"1,1,2024-03-0{day} 10:00:00,product_view,p1,,")
    home.run("2024-03-01", "2024-03-09")
    with run.instance(home.settings) as storage:
        sensor = Sensor(storage)
        assert sensor.look() == {}
        for day in (2, 9):
            home.land(f"2024-03-0{day}", "b.csv", f"2,1,2024-03-0{day} 10:00:00,product_view,p1,,")
        assert sensor.look() == {}, "files alone are the other sensor's business"

        assert materialize(storage, "2024-03-02", "2024-03-09", keys=[RAW])
        assert sensor.look() == {"2024-03-02": len(below_raw()), "2024-03-09": len(below_raw())}
        assert sensor.look() == {}, "asked for once"

        assert materialize(storage, "2024-03-02", keys=below_raw())
        assert materialize(storage, "2024-03-09", keys=below_raw())
        assert sensor.look() == {}
    assert home.query("select view_count from ecommerce.top_products") == [(5,)]


def test_the_warehouse_is_left_alone_while_the_lake_is_as_it_was(home: Home, monkeypatch) -> None:
    """Redshift Serverless sleeps when nobody asks it."""
    home.land("2024-03-01", "a.csv", "1,1,2024-03-01 10:00:00,product_view,p1,,")
    home.run("2024-03-01")
    with run.instance(home.settings) as storage:
        sensor = Sensor(storage)
        assert sensor.look() == {}
        with monkeypatch.context() as patch:
            patch.setattr(repair, "pending", None)
            assert sensor.look() == {}
        home.land("2024-03-01", "b.csv", "2,1,2024-03-01 10:00:00,product_view,p1,,")
        assert materialize(storage, "2024-03-01", keys=[RAW])
        assert sensor.look() == {"2024-03-01": len(below_raw())}


def test_a_day_that_another_days_file_empties_is_made_again(home: Home) -> None:
    home.land("2024-03-05", "b.csv", "1,1,2024-03-05 10:00:00,product_view,p1,,")
    home.run("2024-03-05")
    home.land("2024-03-01", "a.csv", "1,1,2024-03-05 10:00:00,product_view,p1,,")
    with run.instance(home.settings) as storage:
        sensor = Sensor(storage)
        assert sensor.look() == {}
        assert materialize(storage, "2024-03-01", keys=[RAW, *below_raw()])
        assert sensor.look() == {"2024-03-05": len(below_raw())}
        records = storage.fetch_materializations(RAW, limit=2).records
        assert {record.partition_key for record in records} == {"2024-03-01", "2024-03-05"}
        assert materialize(storage, "2024-03-05", keys=below_raw())
    assert home.query("select ingestion_date from ecommerce.events") == [(date(2024, 3, 1),)]


def test_a_day_that_fails_is_asked_for_once_and_again_when_its_rows_change(home: Home) -> None:
    home.land("2024-03-01", "a.csv", *[",1,2024-03-01 10:00:00,page_view,,,"] * 1000)
    with run.instance(home.settings) as storage:
        sensor = Sensor(storage)
        sensor.look()
        assert materialize(storage, "2024-03-01", keys=[RAW])
        assert sensor.look() == {"2024-03-01": len(below_raw())}
        for _ in range(2):
            with _another_process_at_work(home):
                assert sensor.look() == {}
            assert not materialize(storage, "2024-03-01", keys=below_raw())
            assert [sensor.look() for _ in range(2)] == [{}, {}]

        home.land("2024-03-01", "a.csv", *[",1,2024-03-01 10:00:00,page_view,,,"] * 1001)
        assert materialize(storage, "2024-03-01", keys=[RAW])
        assert sensor.look() == {"2024-03-01": len(below_raw())}


def test_a_day_that_was_made_and_changed_between_two_looks_is_asked_for(home: Home) -> None:
    home.land("2024-03-01", "a.csv", "1,1,2024-03-01 10:00:00,product_view,p1,,")
    with run.instance(home.settings) as storage:
        sensor = Sensor(storage)
        assert sensor.look() == {}
        assert materialize(storage, "2024-03-01", keys=[RAW, *below_raw()])
        assert materialize(storage, "2024-03-01", keys=[RAW])
        assert sensor.look() == {}, "nothing has changed"
        home.land("2024-03-01", "b.csv", "2,1,2024-03-01 10:00:00,product_view,p1,,")
        assert materialize(storage, "2024-03-01", keys=[RAW])
        assert sensor.look() == {"2024-03-01": len(below_raw())}


def test_while_a_step_has_the_domain_nothing_is_asked_for(home: Home) -> None:
    home.land("2024-03-01", "a.csv", "1,1,2024-03-01 10:00:00,product_view,p1,,")
    with run.instance(home.settings) as storage:
        sensor = Sensor(storage)
        assert materialize(storage, "2024-03-01", keys=[RAW])
        with _another_process_at_work(home):
            assert sensor.look() == {}
        assert sensor.look() == {"2024-03-01": len(below_raw())}


def _another_process_at_work(home: Home):
    from filelock import FileLock

    return FileLock(home.path / "locks" / "ecommerce.lock")
