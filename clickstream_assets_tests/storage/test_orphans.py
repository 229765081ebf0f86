"""Orphan files: found after real kills and failures, removed, and nothing else with them."""

from __future__ import annotations

import os
import shutil
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from clickstream_assets import run
from clickstream_assets.definitions import defs
from clickstream_assets.platform import Platform
from clickstream_assets.run import RunFailed
from clickstream_assets.schemas import ECOMMERCE_CLEANED, QUARANTINE, TABLES
from clickstream_assets.storage import orphans, publishing
from clickstream_assets.storage.lake import Lake
from clickstream_assets.storage.orphans import Swept
from clickstream_assets_tests import forked
from clickstream_assets_tests.conftest import Home
from clickstream_assets_tests.storage.test_lake import MONDAY, TUESDAY, WEDNESDAY, read, stage, through_iceberg

CLEANED, RAW = "ecommerce_cleaned.events_cleaned", "ecommerce_raw.events_raw"
DAY = "2024-03-01"


def sweep(platform: Platform, *, hours: float = 0, dry_run: bool = False, later: float = 1) -> dict[str, Swept]:
    """As the asset does it, ``later`` hours from now; by lake table."""
    with platform.exclusive("ecommerce", "a test"):
        found = orphans.sweep(
            platform.lake,
            older_than=timedelta(hours=hours),
            dry_run=dry_run,
            now=datetime.now(UTC) + timedelta(hours=later),
        )
    return {entry.table.lake: entry for entry in found}


def counts(swept: dict[str, Swept]) -> dict[str, int]:
    return {name: entry.files for name, entry in swept.items() if entry.files}


def files(root: Path) -> dict[str, int]:
    """Every file below a folder, with its size."""
    return {str(path.relative_to(root)): path.stat().st_size for path in root.rglob("*") if path.is_file()}


def _die_while_adopting() -> None:
    Lake.adopt = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign,assignment,return-value]


def killed_while_adopting(home: Home) -> None:
    """Run the day in a process of its own that is killed when Sail's files are written and not yet the table's."""
    command = forked.start(home, "run", "ecommerce", "--date", DAY, first=_die_while_adopting)
    assert command.join() == -signal.SIGKILL, command.printed()


def _schedule() -> dg.ScheduleDefinition:
    (schedule,) = (s for s in defs().get_repository_def().schedule_defs if s.name == "orphan_files_daily")
    return schedule


@pytest.fixture
def platform(home: Home) -> Platform:
    return home.platform


@pytest.fixture
def lake(platform: Platform) -> Lake:
    return platform.lake


# --- after real runs ---


def test_what_a_killed_run_left_is_found_and_removed_and_tables_stay(home: Home) -> None:
    event = "1,1,2024-03-01 10:00:00,page_view,,,"
    home.land(DAY, "a.csv", event, "broken")
    home.run(DAY)
    assert counts(sweep(home.platform)) == {}
    home.land(DAY, "a.csv", event, event, "broken")
    killed_while_adopting(home)
    before, seen = home.tables(), files(home.path / "lake")
    staged = {name for name in seen if "/staging/" in name}
    assert staged

    found = sweep(home.platform, dry_run=True)
    assert counts(found) == {CLEANED: len(staged)}
    assert counts(sweep(home.platform, hours=24)) == {}
    assert files(home.path / "lake") == seen, "a dry run removes nothing, and what is young stays"

    removed = sweep(home.platform)
    assert removed == found
    assert removed[CLEANED].size == sum(seen[name] for name in staged)
    assert files(home.path / "lake").keys() == seen.keys() - staged
    assert not any((home.path / "lake").glob("*/*/staging/*"))
    assert counts(sweep(home.platform)) == {}
    after = home.tables()
    unchanged = [name for name in before if name.startswith("ecommerce.")]
    assert {name: after[name] for name in unchanged} == {name: before[name] for name in unchanged}

    home.run(DAY)
    assert home.ledger("ecommerce.events", DAY) == (2, 2, 0, 0, 0, 0)


def test_the_asset_removes_what_a_failed_run_left(home: Home) -> None:
    home.land(DAY, "a.csv", "1,1,2024-03-01 10:00:00,page_view,,,")
    home.run(DAY)
    home.land(DAY, "a.csv", *[",1,2024-03-01 10:00:00,page_view,,,"] * 1200)
    with pytest.raises(RunFailed, match="rejected_share"):
        home.run(DAY)
    before, seen = home.tables(), files(home.path / "lake")

    def materialize(**config: Any) -> dict[str, Any]:
        job = defs().resolve_job_def(_schedule().job_name)
        with run.instance(home.settings) as storage:
            result = job.execute_in_process(
                instance=storage, run_config={"ops": {"ops__orphan_files": {"config": config}}}
            )
        (event,) = result.asset_materializations_for_node("ops__orphan_files")
        return {name: value.value for name, value in event.metadata.items()}

    assert materialize()["files_removed"] == 0, "it is not a day old"
    dry = materialize(dry_run=True, older_than_hours=0)
    assert (dry["files_found"] > 0, dry["files_removed"], dry["bytes_freed"]) == (True, 0, 0)
    assert "| ops.quarantine | 1 |" in dry["tables"]
    assert files(home.path / "lake") == seen

    done = materialize(older_than_hours=0)
    left = files(home.path / "lake")
    assert done["files_removed"] == dry["files_found"] == len(seen) - len(left)
    assert done["bytes_freed"] == sum(seen.values()) - sum(left.values()) > 0
    assert home.tables() == before
    assert materialize(older_than_hours=0)["files_found"] == 0


def test_the_schedule_is_on_and_runs_the_asset_alone() -> None:
    assert _schedule().default_status == dg.DefaultScheduleStatus.RUNNING
    job = defs().resolve_job_def(_schedule().job_name)
    assert set(job.asset_layer.executable_asset_keys) == {dg.AssetKey(["ops", "orphan_files"])}


# --- what stays ---


def test_files_of_every_kept_snapshot_stay(lake: Lake, platform: Platform) -> None:
    for users in ("ab", "cd", "ef"):
        lake.publish(stage(lake, {MONDAY: users, TUESDAY: users}, rejected=["x"]))
    before = files(Path(lake.files.root))
    assert counts(sweep(platform)) == {}
    assert files(Path(lake.files.root)) == before


def test_a_younger_file_stays(lake: Lake, platform: Platform) -> None:
    lake.publish(stage(lake, {MONDAY: "a"}))
    (old,), (young,) = stage(lake, {MONDAY: "b"}).files, stage(lake, {MONDAY: "c"}).files
    long_ago = datetime.now(UTC).timestamp() - 25 * 3600
    os.utime(lake.files.uri(old.path), (long_ago, long_ago))
    assert counts(sweep(platform, hours=24, later=0)) == {CLEANED: 1}
    assert not Path(lake.files.uri(old.path)).exists()
    assert Path(lake.files.uri(young.path)).exists()
    assert read(lake) == {MONDAY: ["a"]}


def test_files_that_a_note_names_stay_until_another_takes_its_place(
    lake: Lake, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    staged = stage(lake, {MONDAY: "a", TUESDAY: "b"}, rejected=["x"])
    with monkeypatch.context() as fault:
        fault.setattr(Lake, "publish", die)
        with pytest.raises(KeyboardInterrupt):
            publishing.publish(lake, platform.warehouse, staged)
    later = datetime.now(UTC) + timedelta(hours=1)
    unheld = orphans.sweep(lake, older_than=timedelta(0), now=later)
    assert [entry.files for entry in unheld] == [0] * len(TABLES)
    assert all(Path(lake.files.uri(file.path)).exists() for file in (*staged.files, *staged.quarantine))

    assert counts(sweep(platform)) == {}, "on another machine it may be just about to be published"
    publishing.publish(lake, platform.warehouse, stage(lake, {MONDAY: "c"}))
    assert counts(sweep(platform)) == {CLEANED: 2, "ops.quarantine": 2}
    assert not any(Path(lake.files.uri(file.path)).exists() for file in (*staged.files, *staged.quarantine))


def test_what_lies_elsewhere_below_the_lake_is_none_of_ours(lake: Lake, platform: Platform) -> None:
    lake.publish(stage(lake, {MONDAY: "a"}))
    for path in ("notes.txt", "other/table/data/x.parquet", f"{lake.folder(ECOMMERCE_CLEANED)}/README"):
        lake.files.write(path, b"mine")
    assert counts(sweep(platform)) == {}
    assert sum(size == len(b"mine") for size in files(Path(lake.files.root)).values()) == 3


def test_hidden_files_of_an_unfinished_write_and_empty_staging_folders_go(lake: Lake, platform: Platform) -> None:
    lake.publish(stage(lake, {MONDAY: "a"}))
    folder, staging = lake.folder(ECOMMERCE_CLEANED), lake.new_staging_folder(ECOMMERCE_CLEANED)
    for path in (f"{folder}/data/ingestion_date=2026-03-02/_4f", f"{staging}/_day=2026-03-02/.part-0.parquet"):
        with lake.files.create(path) as stream:
            stream.write(b"half")
    empty = Path(lake.files.uri(lake.new_staging_folder(ECOMMERCE_CLEANED)))
    empty.mkdir(parents=True)
    assert counts(sweep(platform)) == {CLEANED: 2}
    assert not Path(lake.files.uri(staging)).exists()
    assert not empty.exists()
    assert read(lake) == {MONDAY: ["a"]}


def test_files_of_a_commit_that_never_reached_the_catalog_go(
    lake: Lake, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data, manifest, manifest list and metadata are written before the catalog's row is."""
    lake.publish(stage(lake, {MONDAY: "a"}))
    whole = files(Path(lake.files.root))
    write = SqlCatalog._write_metadata

    def die(**arguments: Any) -> None:
        write(**arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as fault:
        fault.setattr(SqlCatalog, "_write_metadata", staticmethod(die))
        with pytest.raises(KeyboardInterrupt):
            lake.publish(stage(lake, {MONDAY: "b", WEDNESDAY: "c"}))
    left = files(Path(lake.files.root)).keys() - whole.keys()
    assert len([name for name in left if name.endswith(".metadata.json")]) == 1
    assert len([name for name in left if name.endswith(".avro")]) >= 2

    assert counts(sweep(platform)) == {CLEANED: len(left)}
    assert files(Path(lake.files.root)) == whole
    assert through_iceberg(lake) == [("a", MONDAY)]
    lake.publish(stage(lake, {MONDAY: "b", WEDNESDAY: "c"}))
    assert through_iceberg(lake) == [("b", MONDAY), ("c", WEDNESDAY)]


# --- when the catalog does not tell all ---


def test_staged_files_of_a_table_that_was_never_made_go(lake: Lake, platform: Platform) -> None:
    stage(lake, {MONDAY: "a"})
    assert counts(sweep(platform)) == {CLEANED: 1}


def test_a_lost_catalog_costs_no_file(home: Home, lake: Lake, platform: Platform) -> None:
    lake.publish(stage(lake, {MONDAY: "a"}, rejected=["x"]))
    before = files(Path(lake.files.root))
    (home.path / "catalog.db").unlink()
    swept = sweep(home.platform)
    assert counts(swept) == {}
    for table in (ECOMMERCE_CLEANED, QUARANTINE):
        assert "the catalog does not know" in str(swept[table.lake].left)
    assert files(Path(lake.files.root)) == before


def test_two_homes_with_one_lake_cost_each_other_no_file(
    home: Home, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.publish(stage(lake, {MONDAY: "a"}))
    monkeypatch.setenv("CLICKSTREAM_HOME", str(home.path.parent / "second"))
    monkeypatch.setenv("CLICKSTREAM_LAKE_URI", lake.files.root)
    second = Platform(type(home.settings).from_environment())
    second.lake.publish(stage(second.lake, {TUESDAY: "b"}))
    for platform in (home.platform, second):
        swept = sweep(platform)
        assert counts(swept) == {}
        assert "two catalogs" in str(swept[CLEANED].left)
    assert read(lake) == {MONDAY: ["a"]}
    assert read(second.lake) == {TUESDAY: ["b"]}


def test_a_home_that_was_copied_costs_no_file(home: Home, lake: Lake) -> None:
    """Its catalog names files of the place that it was copied from."""
    lake.publish(stage(lake, {MONDAY: "a"}))
    copy = Home(home.path.parent / "copy")
    shutil.copytree(home.path, copy.path)
    before = files(copy.path / "lake")
    swept = sweep(copy.platform)
    assert counts(swept) == {}
    assert str(home.path) in str(swept[CLEANED].left)
    assert files(copy.path / "lake") == before
