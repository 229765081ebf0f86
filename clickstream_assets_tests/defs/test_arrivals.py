"""The arrivals sensor: what it asks Dagster for, and what becomes of that when a tick happens twice.

Everything happens to files in a folder and to objects in a bucket.
"""

from __future__ import annotations

import gzip
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.scheduler.instigation import InstigatorState, SensorInstigatorData
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.sensor import execute_sensor_iteration

from clickstream_assets import partitions
from clickstream_assets.days import last_day
from clickstream_assets.definitions import defs
from clickstream_assets.defs import arrivals
from clickstream_assets.domains import DOMAINS, domain
from clickstream_assets.parsing.landing import LandingLoader
from clickstream_assets.platform import Platform
from clickstream_assets.settings import Settings
from clickstream_assets.storage import files
from clickstream_assets.storage.files import FileInfo
from clickstream_assets_tests.conftest import HEADER, Home

RECORD = "1,1,2024-03-01 10:00:00,page_view,,,"
MONDAY, TUESDAY = "2024-03-04", "2024-03-05"


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return defs()


class Landing:
    """The landing folders of the shop, below a folder or ``s3://bucket``: files come, change and go."""

    def __init__(self, root: str):
        self.files = files.at(root)

    def land(self, day: str, name: str, *records: str) -> None:
        content = "".join(f"{line}\n" for line in (HEADER, *records)).encode()
        with self.files.create(f"ecommerce/ingestion_date={day}/{name}") as stream:
            stream.write(gzip.compress(content) if name.endswith(".gz") else content)

    def remove(self, day: str, name: str) -> None:
        self.files.delete(f"ecommerce/ingestion_date={day}/{name}")


@pytest.fixture(params=["folder", "bucket"])
def landing(request: pytest.FixtureRequest, home: Home, monkeypatch: pytest.MonkeyPatch) -> Landing:
    root = str(home.path / "landing")
    if request.param == "bucket":
        root = request.getfixturevalue("s3_root")
    monkeypatch.setenv("CLICKSTREAM_LANDING_URI", root)
    return Landing(root)


@pytest.fixture
def tick(home: Home, definitions: dg.Definitions):
    """The sensor, evaluated with a cursor on an instance of its own."""
    sensor = definitions.resolve_sensor_def("ecommerce_arrivals")

    def evaluate(cursor: str | None = None) -> dg.SensorResult:
        with (
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_sensor_context(
                instance=instance,
                cursor=cursor,
                definitions=definitions,
                resources={"platform": Platform(Settings.from_environment())},
            ) as context,
        ):
            return sensor(context)

    return evaluate


def _asked(result: dg.SensorResult) -> list[str | None]:
    return [request.partition_key for request in result.run_requests]


def _keys(result: dg.SensorResult) -> list[str | None]:
    return [request.run_key for request in result.run_requests]


def test_there_is_a_running_sensor_for_every_domain(definitions) -> None:
    for name in DOMAINS:
        sensor = definitions.resolve_sensor_def(f"{name}_arrivals")
        assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
        assert sensor.minimum_interval_seconds == 30
        assert sensor.job_name == name


def test_the_files_of_a_day_are_one_request_for_its_partition(landing, tick) -> None:
    for name in ("a.csv", "b.csv.gz"):
        landing.land(MONDAY, name, RECORD)
    landing.land(TUESDAY, "a.csv", RECORD)
    result = tick()
    assert _asked(result) == [MONDAY, TUESDAY]
    assert [key.partition(":")[0] for key in _keys(result)] == [MONDAY, TUESDAY]
    assert _asked(tick(result.cursor)) == []


def test_an_overwritten_file_is_requested_under_another_key(landing, tick) -> None:
    landing.land(MONDAY, "a.csv", RECORD)
    first = tick()
    landing.land(MONDAY, "a.csv", RECORD, RECORD)
    second = tick(first.cursor)
    assert _asked(second) == [MONDAY]
    assert _keys(second) != _keys(first)


def test_a_content_that_comes_back_is_asked_for_under_a_key_of_its_own(landing, tick) -> None:
    """Dagster starts a run key once, and S3 knows a content by its hash, and its time to the second."""
    cursor, keys = None, []
    for records in ((RECORD,), (RECORD, RECORD), (RECORD,)):
        time.sleep(1.1)
        landing.land(MONDAY, "a.csv", *records)
        result = tick(cursor)
        keys += _keys(result)
        cursor = result.cursor
    assert len(set(keys)) == 3


def test_a_tick_repeated_with_the_stored_cursor_asks_for_the_same_keys(landing, tick) -> None:
    landing.land(MONDAY, "a.csv", RECORD)
    stored = tick().cursor
    for day in (MONDAY, TUESDAY):
        landing.land(day, "b.csv", RECORD)
    lost = tick(stored)
    again = tick(stored)
    assert _asked(again) == [MONDAY, TUESDAY]
    assert _keys(again) == _keys(lost)
    assert again.cursor == lost.cursor


def test_every_day_asked_for_is_a_partition(landing, tick) -> None:
    first, last = Settings.from_environment().start_date, last_day()
    for day in (first - timedelta(days=1), first, last, last + timedelta(days=1)):
        landing.land(day.isoformat(), "a.csv", RECORD)
    assert _asked(tick()) == [first.isoformat(), last.isoformat()]
    assert all(partitions.DAILY.has_partition_key(day) for day in _asked(tick()))


def test_what_lies_elsewhere_is_named_in_the_log(landing, tick, capsys) -> None:
    landing.land("2019-01-01", "a.csv", RECORD)
    landing.land(MONDAY, "a.csv", RECORD)
    assert _asked(tick()) == [MONDAY]
    assert "ecommerce/ingestion_date=2019-01-01 has new files and is no partition" in capsys.readouterr().err


def test_two_files_of_one_second_on_either_side_of_a_tick_are_each_asked_for_once(landing, tick) -> None:
    landing.land(MONDAY, "b.csv", RECORD)
    first = tick()
    landing.land(MONDAY, "a.csv", RECORD)
    second = tick(first.cursor)
    assert _asked(first) == _asked(second) == [MONDAY]
    assert _keys(first) != _keys(second)
    assert _asked(tick(second.cursor)) == []


def test_a_late_file_asks_for_its_old_day_alone(landing, tick) -> None:
    landing.land(TUESDAY, "a.csv", RECORD)
    cursor = tick().cursor
    landing.land("2024-01-07", "late.csv", RECORD)
    assert _asked(tick(cursor)) == ["2024-01-07"]


def test_a_file_that_has_vanished_asks_for_nothing(landing, tick) -> None:
    for name in ("a.csv", "b.csv"):
        landing.land(MONDAY, name, RECORD)
    cursor = tick().cursor
    landing.remove(MONDAY, "a.csv")
    assert _asked(tick(cursor)) == []


def test_files_that_are_loaded_are_no_reason_for_a_run(landing, home: Home, tick) -> None:
    """As after ``make demo``, of a sensor that has no cursor yet."""
    for day in (MONDAY, TUESDAY):
        landing.land(day, "a.csv", RECORD)
    Home(home.path).run(MONDAY)
    assert _asked(tick()) == [TUESDAY]
    landing.land(MONDAY, "b.csv", RECORD.replace("10:00", "11:00"))
    assert _asked(tick()) == [MONDAY, TUESDAY]
    Home(home.path).run(MONDAY, TUESDAY)
    assert _asked(tick()) == []
    landing.land(MONDAY, "a.csv", RECORD, RECORD.replace("10:00", "12:00"))
    assert _asked(tick()) == [MONDAY]


def test_many_files_are_asked_for_500_in_a_tick_each_file_once(landing, tick, monkeypatch) -> None:
    reasons: Counter[str] = Counter()
    key = arrivals._run_key

    def counted(day: date, files: Sequence[FileInfo]) -> str:
        reasons.update(file.path for file in files)
        return key(day, files)

    monkeypatch.setattr(arrivals, "_run_key", counted)
    days = [f"2024-03-{day:02}" for day in range(1, 11)]
    count = 1250 if landing.files.root.startswith("s3://") else 2500  # S3 lists 1000 at a time
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: landing.land(days[n % 10], f"{n:04}.csv"), range(count)))
    # Each tick takes the oldest: that is no day's files alone, so days are asked for again, under other keys.
    keys: list[str | None] = []
    cursor = None
    for _ in range(-(-count // 500)):
        result = tick(cursor)
        assert _asked(result) != []
        keys += _keys(result)
        cursor = result.cursor
    assert _asked(tick(cursor)) == []
    assert reasons == {f"ecommerce/ingestion_date={days[n % 10]}/{n:04}.csv": 1 for n in range(count)}
    assert len(keys) == len(set(keys))
    assert {key.partition(":")[0] for key in keys if key} == set(days)


def test_only_files_that_the_loader_reads_ask_for_a_run(home: Home, tick) -> None:
    read = ("a.csv", "b.csv.gz", "C.CSV", "hour=10/d.csv")
    unread = ("_e.csv", ".f.csv", "g.csv.part", "h.json", "_tmp/i.csv", "csv", "j.gz")
    names = {f"2024-03-{day:02}": name for day, name in enumerate((*read, *unread), start=1)}
    for day, name in names.items():
        path = home.landing(day) / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
    loader = LandingLoader(
        domain("ecommerce").feeds[0],
        landing=home.platform.landing,
        lake=home.platform.lake,
        limits=home.settings.limits,
    )
    staged = loader.stage([date.fromisoformat(day) for day in names], [], run_id="run", progress=print)
    loaded = sorted({file.partition_date.isoformat() for file in staged.landing_files})
    assert [names[day] for day in loaded] == list(read)
    assert _asked(tick()) == loaded


@pytest.fixture
def daemon(landing: Landing, tmp_path: Path) -> Iterator[WorkspaceProcessContext]:
    """Dagster's storage and the code location, for the daemon's own loop; runs are queued, and stay there."""
    storage = tmp_path / "dagster"
    storage.mkdir()
    (storage / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    origin = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="clickstream_assets.definitions"))
    with (
        dg.DagsterInstance.from_config(str(storage)) as instance,
        WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(origin)) as context,
    ):
        (location,) = context.create_request_context().code_locations
        (repository,) = location.get_repositories().values()
        for sensor in repository.get_sensors():
            if sensor.name != "ecommerce_arrivals":  # a round of all of them takes seconds
                instance.stop_sensor(sensor.get_remote_origin_id(), sensor.selector_id, sensor)
        yield context


def _iterate(daemon: WorkspaceProcessContext) -> None:
    """One round of the sensor daemon, whatever the time since the last one."""
    for state in daemon.instance.all_instigator_state():
        data = state.instigator_data
        daemon.instance.update_instigator_state(state.with_data(SensorInstigatorData(cursor=data.cursor)))
    errors = list(execute_sensor_iteration(daemon, logging.getLogger("daemon"), None, None))
    assert [error for error in errors if error] == []


def _forget(daemon: WorkspaceProcessContext, cursor: str | None) -> None:
    """Leave what a daemon leaves that dies after the runs are submitted and before the cursor is stored."""
    state = _state(daemon)
    daemon.instance.update_instigator_state(state.with_data(SensorInstigatorData(cursor=cursor)))


def _cursor(daemon: WorkspaceProcessContext) -> str | None:
    return _state(daemon).instigator_data.cursor


def _state(daemon: WorkspaceProcessContext) -> InstigatorState:
    (state,) = (s for s in daemon.instance.all_instigator_state() if s.instigator_name == "ecommerce_arrivals")
    return state


def _runs(daemon: WorkspaceProcessContext) -> list[str]:
    return [run.tags["dagster/partition"] for run in reversed(daemon.instance.get_runs())]


def test_a_daemon_that_dies_between_tick_and_cursor_starts_no_run_twice(landing, daemon) -> None:
    landing.land(MONDAY, "a.csv", RECORD)
    _iterate(daemon)
    assert _runs(daemon) == [MONDAY]
    stored = _cursor(daemon)
    landing.land(TUESDAY, "a.csv", RECORD)
    _iterate(daemon)
    assert _runs(daemon) == [MONDAY, TUESDAY]

    _forget(daemon, stored)
    _iterate(daemon)
    assert _runs(daemon) == [MONDAY, TUESDAY]
    _forget(daemon, None)
    _iterate(daemon)
    assert _runs(daemon) == [MONDAY, TUESDAY]

    landing.land(MONDAY, "b.csv", RECORD)
    _iterate(daemon)
    _iterate(daemon)
    assert _runs(daemon) == [MONDAY, TUESDAY, MONDAY]


def test_a_failed_run_is_not_started_again_until_a_file_of_its_day_changes(landing, daemon) -> None:
    landing.land(MONDAY, "a.csv", RECORD)
    _iterate(daemon)
    (run,) = daemon.instance.get_runs()
    daemon.instance.report_run_failed(run)
    _iterate(daemon)
    assert _runs(daemon) == [MONDAY]
    landing.land(MONDAY, "a.csv", RECORD, RECORD)
    _iterate(daemon)
    assert _runs(daemon) == [MONDAY, MONDAY]
