"""An Iceberg table of the lake after thousands of commits: what planning and committing cost, with upkeep and without.

Tables of the product's own, ``clickstream_raw.events_raw``, in homes of their own. The first gets 2,000 commits and is
then kept as at night; beside it is one that got as many files in one commit. Others get an hour's arrival at a time for
as many days as are asked for, with upkeep at night and without. All commits and manifests are real; most data files are
one real file under many names, since planning opens none of them. The commits whose time is told are publications.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import struct
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

if __package__:  # in tests; otherwise these are scripts
    from benchmarks.measuring import machine, versions
else:
    from measuring import machine, versions

import pyarrow as pa
from rich.console import Console

from clickstream_assets.platform import Platform
from clickstream_assets.schemas import CLICKSTREAM_RAW as TABLE
from clickstream_assets.settings import Settings
from clickstream_assets.storage.commits import data_file
from clickstream_assets.storage.lake import Lake, StagedWriter
from clickstream_assets.storage.maintenance import expire, merge_manifests
from clickstream_assets.storage.staged import Staged, StagedFile

TITLE = "# Iceberg results"
PACKAGES = ("pyiceberg", "pyarrow")
ROUNDS = 5
COMMITS, DAYS = 2_000, 40
FIRST = date(2025, 1, 1)

#: of the simulation: files that an hour brings, and the horizon of the snapshots
FILES, KEPT = 8, timedelta(days=7)

#: what a manifest says of a file, its own name and partition aside
_TOLD = (
    *("content", "file_format", "record_count", "file_size_in_bytes", "column_sizes", "value_counts"),
    *("null_value_counts", "nan_value_counts", "lower_bounds", "upper_bounds", "split_offsets", "equality_ids"),
    *("sort_order_id", "key_metadata"),
)


@dataclass
class Aged:
    """What a table's metadata are after some commits; seconds of a commit are medians of the last ones."""

    commits: int
    commit: float
    day: float
    manifests: int
    snapshots: int
    json: int
    bytes: int
    files: int


@dataclass
class Found:
    """Seconds of planning by table and by what is planned; the table's age along its commits; the simulation."""

    planning: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    growth: list[Aged] = field(default_factory=list)
    kept: Aged = field(default_factory=lambda: Aged(0, 0, 0, 0, 0, 0, 0, 0))
    simulated: dict[str, list[Aged]] = field(default_factory=dict)


def part(arguments: argparse.Namespace, work: Path) -> str:
    """Commit, keep, plan and report; ``simulated_days`` of the options says how long the simulation is."""
    days = getattr(arguments, "simulated_days", 21)
    return report(measure(work / "commits", COMMITS, DAYS, days, ROUNDS))


def measure(work: Path, commits: int, days: int, simulated: int, rounds: int) -> Found:
    """All of it; ``days``: over which the commits are spread."""
    console, found = Console(stderr=True), Found()
    used, fresh = lake_at(work / "used"), lake_at(work / "fresh")
    with console.status(f"{commits} commits"):
        found.growth = publish(used, commits, days)
    fresh_publish(fresh, used)
    found.planning["after the commits"] = planning(used, rounds)
    night(used, timedelta(0), datetime.now(UTC) + timedelta(hours=1))
    found.kept = aged(used, commits, [])
    found.planning |= in_turn({"after upkeep": used, "fresh": fresh}, rounds)
    for name, upkeep in (("with upkeep", True), ("without", False)):
        with console.status(f"{simulated} days of arrivals, {name}"):
            found.simulated[name] = simulate(lake_at(work / name.replace(" ", "-")), simulated, upkeep=upkeep)
    return found


def lake_at(home: Path) -> Lake:
    """A lake in an empty home."""
    return Platform(Settings.from_environment({"CLICKSTREAM_HOME": str(home)})).lake


def anew(lake: Lake) -> Lake:
    """The same lake to one who has not looked at it before."""
    from pyiceberg.manifest import clear_manifest_cache

    clear_manifest_cache()
    return Lake(lake.files, lake.catalog)


def held(lake: Lake) -> Any:
    """The table, which is there."""
    return lake.iceberg(TABLE.lake) or sys.exit(f"{TABLE.lake} is not there")


def write(lake: Lake, day: date, hour: int) -> StagedFile:
    """A data file of one row of an hour."""
    values = {"event_date": day, "arrival_date": day, "event_hour": hour}
    row = pa.Table.from_pylist([{name: values.get(name) for name in TABLE.arrow.names}], TABLE.arrow)
    writer = StagedWriter(lake, TABLE, day, TABLE.arrow)
    writer.append(row)
    (file,) = writer.close()
    return file


def begin(lake: Lake) -> Any:
    """A table with one real file, and what a manifest says of that."""
    lake.publish(Staged(TABLE, [FIRST], [write(lake, FIRST, 0)], [], [], "a-run"))
    (real,) = lake.snapshot(TABLE).files
    iceberg = held(lake)
    (task,) = iceberg.scan().plan_files()
    return data_file(lake.files, lake.files.relative(real.uri), iceberg.metadata, task.file.partition, 0)


def publish(lake: Lake, commits: int, days: int) -> list[Aged]:
    """So many commits of one more file each; those before a look at the table are whole publications, and timed."""
    like, growth = begin(lake), []
    looks = [commits // 100, commits // 10, commits // 2, commits]
    seconds: list[float] = []
    for number in range(1, commits):
        day = FIRST + timedelta(days=number * days // commits)
        if min(look - number for look in looks if look > number) > ROUNDS:
            arrive(lake, like, day, f"{number:06}", 1)
        else:
            there = lake.snapshot(TABLE, [day], by=TABLE.day).files
            kept = [StagedFile(lake.files.relative(file.uri), file.rows, file.day) for file in there]
            staged = Staged(TABLE, [day], [write(lake, day, number % 24)], [], [], "a-run", kept)
            seconds.append(timed(lambda staged=staged: lake.publish(staged)))
        if number + 1 in looks:
            growth.append(aged(lake, number + 1, seconds[-ROUNDS:]))
    return growth


def fresh_publish(fresh: Lake, used: Lake) -> None:
    """A table with as many files of the same days, in one commit."""
    like = begin(fresh)
    days = sorted(file.day for file in used.snapshot(TABLE).files)
    add(fresh, held(fresh), like, days[1:], "fresh")


def night(lake: Lake, horizon: timedelta, now: datetime) -> None:
    """What the schedules do with a table's metadata at night."""
    merge_manifests(lake, TABLE.lake)
    expire(lake, TABLE.lake, older_than=horizon, now=now)


def planning(lake: Lake, rounds: int) -> dict[str, list[float]]:
    """Seconds of each way to plan."""
    (found,) = in_turn({"": lake}, rounds).values()
    return found


def in_turn(lakes: dict[str, Lake], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of each way to plan of each lake, each time as one who has not looked before."""
    found: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in lakes}
    for _ in range(rounds):
        for name, lake in lakes.items():
            for what, plan in plans(lake).items():
                found[name][what].append(timed(plan))
    return found


def plans(lake: Lake) -> dict[str, Callable[[], Any]]:
    """The product's way to the files of a table and pyiceberg's, of one day and of all."""

    def scan(where: str) -> list[Any]:
        return list(held(anew(lake)).scan(where).plan_files())

    return {
        "the product, a day": lambda: anew(lake).snapshot(TABLE, [FIRST]),
        "the product, all days": lambda: anew(lake).snapshot(TABLE),
        "pyiceberg, a day": lambda: scan(f"arrival_date = '{FIRST}'"),
        "pyiceberg, all days": lambda: scan("true"),
    }


def timed(function: Callable[[], Any]) -> float:
    """Its seconds."""
    gc.collect()
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def simulate(lake: Lake, days: int, *, upkeep: bool) -> list[Aged]:
    """An arrival an hour for so many days, each followed by its night if there is upkeep."""
    like = begin(lake)
    seconds: list[float] = []
    found = []
    for number in range(days):
        day = FIRST + timedelta(days=number)
        for hour in range(24):
            begun = time.perf_counter()
            arrive(lake, like, day, f"{number:04}{hour:02}", FILES)
            seconds.append(time.perf_counter() - begun)
        if upkeep:
            # Snapshots were made within minutes: so many of them are as old as the horizon.
            snapshots = sorted(held(lake).metadata.snapshots, key=lambda one: one.timestamp_ms)
            horizon = max(0, len(snapshots) - 24 * KEPT.days)
            now = datetime.fromtimestamp(snapshots[horizon].timestamp_ms / 1000, UTC)
            night(lake, timedelta(0), now)
        if number + 1 in {1, days // 4, days // 2, days}:
            found.append(aged(lake, 24 * (number + 1), seconds))
    return found


def arrive(lake: Lake, like: Any, day: date, name: str, files: int) -> None:
    """A commit as ``Lake.publish`` makes it: the day's files are looked at, and some are added."""
    iceberg = held(lake)
    list(iceberg.scan(f"arrival_date = '{day}'").plan_files())
    add(lake, iceberg, like, [day] * files, name)


def add(lake: Lake, iceberg: Any, like: Any, days: list[date], name: str) -> None:
    """One commit that adds a file for each of the days."""
    from pyiceberg.manifest import DataFile
    from pyiceberg.typedef import Record

    told = {field: getattr(like, field) for field in _TOLD}
    with iceberg.transaction() as transaction, transaction.update_snapshot().merge_append() as append:
        for number, day in enumerate(days):
            path = lake.files.uri(f"{lake.folder(TABLE)}/data/{TABLE.day}={day}/{name}-{number:025}.parquet")
            since = (day - date(1970, 1, 1)).days
            bounds = {iceberg.schema().find_field(name).field_id: struct.pack("<i", since) for name in TABLE.partition}
            told |= {field: {**getattr(like, field), **bounds} for field in ("lower_bounds", "upper_bounds")}
            file = DataFile.from_args(**told, file_path=path, partition=Record(since, since))
            file.spec_id = 0
            append.append_data_file(file)


def aged(lake: Lake, commits: int, seconds: list[float]) -> Aged:
    """What a table's metadata are now."""
    iceberg = held(lake)
    current = iceberg.current_snapshot()
    manifests = current.manifests(iceberg.io) if current else []
    return Aged(
        commits,
        statistics.median(seconds[-24:]) if seconds else 0.0,
        statistics.median(timed(plans(lake)["the product, a day"]) for _ in range(3)),
        len(manifests),
        len(iceberg.metadata.snapshots),
        Path(iceberg.metadata_location.removeprefix("file://")).stat().st_size,
        sum(manifest.manifest_length for manifest in manifests),
        sum((m.existing_files_count or 0) + (m.added_files_count or 0) for m in manifests),
    )


def report(found: Found) -> str:
    """What was found."""
    commits = found.kept.commits
    lines = [
        TITLE,
        f"Written by `make bench` on {datetime.now(UTC).date()}: `{TABLE.lake}` in a folder, catalog in SQLite.",
        "",
        f"Machine: {machine()}. {versions(PACKAGES)}.",
        "",
        "## Planning",
        f"Milliseconds until the files are known, medians, each time by one who has not looked before. {commits:,} "
        f"commits of a file each; fresh is a table that got as many files in one commit.",
        "",
        "| | " + " | ".join(found.planning) + " | after upkeep to fresh |",
        "|---|" + "---:|" * (len(found.planning) + 1),
    ]
    for what in found.planning["fresh"]:
        medians = [1000 * statistics.median(each[what]) for each in found.planning.values()]
        lines.append(f"| {what} | " + " | ".join(f"{m:.0f}" for m in medians) + f" | {times(found, what):.2f} × |")
    head = "commits | ms a commit | ms to plan a day | manifests | their bytes | snapshots | metadata.json | files |"
    ruler = "---:|" * 8
    lines += ["", "## Along the commits", f"| | {head}", f"|---|{ruler}"]
    lines += [row("published", one) for one in found.growth]
    lines.append(row("after upkeep", found.kept))
    lines += [
        "",
        "## Arrivals of an hour",
        f"{FILES} files an hour, day after day. Upkeep at night puts manifests together and lets go of snapshots that "
        f"are older than {KEPT.days} days.",
        "",
        f"| | {head}",
        f"|---|{ruler}",
    ]
    lines += [row(name, one) for name, each in found.simulated.items() for one in each]
    lines += ["", "## Targets", "| target | found | |", "|---|---:|---|"]
    lines += [f"| {text} | {value} | {'met' if met else '**missed**'} |" for text, value, met in targets(found)]
    return "\n".join(lines) + "\n"


def row(name: str, one: Aged) -> str:
    """A line of a table."""
    commit = f"{1000 * one.commit:.0f}" if one.commit else ""
    return (
        f"| {name} | {one.commits:,} | {commit} | {1000 * one.day:.0f} | {one.manifests} | {one.bytes:,} | "
        f"{one.snapshots:,} | {one.json:,} | {one.files:,} |"
    )


def times(found: Found, what: str) -> float:
    """How often the time of a fresh table planning takes after upkeep."""
    kept, fresh = (statistics.median(found.planning[table][what]) for table in ("after upkeep", "fresh"))
    return kept / fresh


def targets(found: Found) -> Iterator[tuple[str, str, bool]]:
    """Each target: what it says, what was found, whether it is met."""
    for what in found.planning["fresh"]:
        value = times(found, what)
        yield f"{what}: after {found.kept.commits:,} commits and upkeep at most 2 × fresh", f"{value:.2f} ×", value <= 2
