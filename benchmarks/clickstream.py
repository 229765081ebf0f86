"""Clickstream: the engine steps of one day against a plain script, and a day's run after a history.

The steps are in ``product.py``, the script in ``peers``, the events in ``data.py``; here are what is measured and the
targets. A history is made once; then its days go on, by turns a new day and a late file for an old one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

if __package__:  # in tests; otherwise these are scripts
    from benchmarks import data, product
    from benchmarks.measuring import Contender, Measured, apart, in_turn, line, machine, median, run_process, versions
else:
    import data
    import product
    from measuring import Contender, Measured, apart, in_turn, line, machine, median, run_process, versions

from rich.console import Console

HERE = Path(__file__).resolve().parent
TITLE = "# Clickstream results"
PACKAGES = ("pyarrow", "duckdb", "pysail", "pyspark", "pyiceberg", "dbt-core", "dagster", "isal")
BIG = 10
BIG_ROUNDS = 3

#: events of a day of the history; a late file has a hundredth
HISTORY_EVENTS = 20_000
HISTORY_LAST = date(2025, 12, 31)
HISTORY_ROUNDS = 3

FIRST, REPAIR = "first run of a new day", "repair of an old day"

TITLES = {
    "engines": "this project's engine steps, warm process",
    "duckdb": "plain DuckDB script",
    "engines10": f"engines with {BIG} times the events",
}

#: runs a home's days, from the first to the last
Run = Callable[[Path, date, date], Measured]


def part(arguments: argparse.Namespace, work: Path) -> str:
    """Measure; the results as Markdown."""
    counts = {"engines": 1, "duckdb": 1} | ({"engines10": BIG} if arguments.big else {})
    lengths = sorted({max(1, arguments.history // 10), arguments.history}) if arguments.history else []
    with Console(stderr=True).status("making the events, once"):
        sources = {name: apart(data.events, arguments.data, arguments.events * times) for name, times in counts.items()}
        events = {n: apart(data.events, arguments.data, HISTORY_EVENTS, days=n, last=HISTORY_LAST) for n in lengths}
    contenders = [
        Contender(name, TITLES[name], partial(measure, name, source), BIG_ROUNDS if name == "engines10" else None)
        for name, source in sources.items()
    ]
    found = in_turn(contenders, arguments.rounds, work)
    rounds = min(arguments.rounds, HISTORY_ROUNDS)
    histories = {n: after_history(events[n], work / f"history-{n}", n, rounds) for n in lengths}
    size = data.event_bytes(sources["engines"]) / arguments.events
    return report(found, histories, arguments.events, arguments.rounds, size)


def measure(contender: str, source: Path, folder: Path) -> Measured:
    """One measurement of a contender, in an empty folder."""
    command = ["peers/duckdb_events.py"] if contender == "duckdb" else ["product.py", "clickstream"]
    script = str(HERE / command[0])
    measured, printed = run_process([sys.executable, script, *command[1:], str(source), str(folder)])
    return replace(measured, phases=json.loads(printed.splitlines()[-1]))


def run_days(home: Path, first: date, last: date) -> Measured:
    """``clickstream run`` of some days, and by Dagster's clock the steps of one."""
    command = [str(Path(sys.executable).with_name("clickstream")), "run", "clickstream"]
    environment = {"CLICKSTREAM_HOME": str(home)}
    measured, _ = run_process([*command, "--from", str(first), "--to", str(last)], environment)
    return replace(measured, phases=product.steps(home, first, product.EVENT_STEPS)) if first == last else measured


def after_history(
    source: Path, home: Path, days: int, rounds: int, *, run: Run = run_days, events: int = HISTORY_EVENTS
) -> dict[str, list[Measured]]:
    """What runs take after so many days: by turns of a new day, and of a late file for one of 6 months ago.

    Of 400 days, that is: of fewer, when as much of them has passed. The late file is all that arrives on its day.
    """
    console = Console(stderr=True)
    product.land_events(source, home)
    with console.status(f"a history of {days} days, made once"):
        made = run(home, HISTORY_LAST - timedelta(days=days - 1), HISTORY_LAST)
    console.print(line(f"{days} days", made))
    found: dict[str, list[Measured]] = defaultdict(list)
    for number in range(rounds):
        new, later = (HISTORY_LAST + timedelta(days=2 * number + n) for n in (1, 2))
        old = HISTORY_LAST - timedelta(days=days * 45 // 100 + number)
        for name, day, of, count in ((FIRST, new, new, events), (REPAIR, later, old, max(1, events // 100))):
            data.plain_events(home / "landing", of, count, arrival=day)
            os.sync()
            with console.status(f"round {number + 1}: {name}, after {days} days"):
                measured = run(home, day, day)
            found[name].append(measured)
            console.print(line(name, measured))
    shutil.rmtree(home)
    return found


def work_seconds(measured: Measured) -> float:
    """The seconds that are compared: of the steps from landing to cleaned, or to the last model."""
    return sum(s for name, s in measured.phases.items() if name != "session" and not name.startswith("intraday"))


def intraday_seconds(measured: Measured) -> float:
    """Of the file that came later, to cleaned."""
    return sum(s for name, s in measured.phases.items() if name.startswith("intraday"))


def report(
    found: dict[str, list[Measured]],
    histories: dict[int, dict[str, list[Measured]]],
    events: int,
    rounds: int,
    event_bytes: float,
) -> str:
    """What was found."""
    seconds = {name: median(runs, work_seconds) for name, runs in found.items()}
    lines = [
        TITLE,
        f"Written by `make bench` on {datetime.now(UTC).date()}: {events:,} events of one day as `clickstream "
        f"generate` writes them, {event_bytes:.0f} bytes of JSON each, gzipped. Contenders in turn, medians of "
        f"{rounds}; of at most {BIG_ROUNDS} with {BIG} times the events, and of {HISTORY_ROUNDS} after a history.",
        "",
        f"Machine: {machine()}. {versions(PACKAGES)}.",
        "",
        "## Landing to cleaned",
        "Of engines: raw and cleaned, each with its guards and published; of DuckDB: every event as text, then typed, "
        "valid and without copies. Without process start, imports and session. The script does less: see "
        "[README.md](README.md).",
        "",
        "| | contender | seconds | least – most | events/s | whole process | processor s | peak memory "
        "| times duckdb |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, runs in found.items():
        each = sorted(map(work_seconds, runs))
        lines.append(
            f"| {name} | {TITLES[name]} | {seconds[name]:.2f} | {each[0]:.2f} – {each[-1]:.2f} | "
            f"{_count(name, events) / seconds[name]:,.0f} | {median(runs, lambda m: m.wall):.2f} | "
            f"{median(runs, lambda m: m.cpu):.1f} | {median(runs, lambda m: m.memory) / 1e9:.2f} GB | "
            f"{seconds[name] / seconds['duckdb']:.2f} |"
        )
    if histories:
        lines += [
            "",
            "## A day after a history",
            f"`clickstream run clickstream` in a home that has days of {HISTORY_EVENTS:,} events. The new day has as "
            f"many, none of them late; the late file has {HISTORY_EVENTS // 100:,}, all of one old day, and is all "
            "that arrives with it. Seconds are those of the steps by Dagster's clock; the whole process has its start, "
            "its imports and what is between steps, too.",
            "",
            "| days before | run | seconds | least – most | raw | cleaned | dbt | whole process | peak memory |",
            "|---:|---|---:|---:|---:|---:|---:|---:|---:|",
        ]
    for days, turns in histories.items():
        for name, runs in turns.items():
            each = sorted(map(work_seconds, runs))
            parts = " | ".join(f"{median(runs, lambda m, step=step: m.phases[step]):.2f}" for step in runs[0].phases)
            lines.append(
                f"| {days} | {name} | {median(runs, work_seconds):.2f} | {each[0]:.2f} – {each[-1]:.2f} | {parts} | "
                f"{median(runs, lambda m: m.wall):.2f} | {median(runs, lambda m: m.memory) / 1e9:.2f} GB |"
            )
    lines += ["", "## Targets", "| target | found | |", "|---|---:|---|"]
    for text, value, met in _targets(found, histories, events, seconds):
        lines.append(f"| {text} | {value} | {'met' if met else '**missed**'} |")
    lines += ["", "## Where the time goes", "Median seconds of each part.", "", "| | parts |", "|---|---|"]
    lines += [f"| {name} | {_parts(runs)} |" for name, runs in found.items()]
    lines += [
        "",
        f"`intraday …`: a file of {data.INTRADAY:,} events in one hour of the day, after it, in the same process; the "
        "median of three such files.",
    ]
    return "\n".join(lines) + "\n"


def _targets(
    found: dict[str, list[Measured]],
    histories: dict[int, dict[str, list[Measured]]],
    events: int,
    seconds: dict[str, float],
) -> list[tuple[str, str, bool]]:
    """Each target that can be judged: what it says, what was found, whether it is met."""
    rate = events / seconds["engines"]
    memory = max(m.memory for m in found["engines"]) / 1e9
    intraday = median(found["engines"], intraday_seconds) / seconds["engines"]
    judged = [
        ("at least 60,000 events/s", f"{rate:,.0f}", rate >= 60_000),
        ("peak memory under 2 GB", f"{memory:.2f} GB", memory < 2),
    ]
    if "engines10" in found:
        times = seconds["engines10"] / seconds["engines"]
        judged.append((f"{BIG} times the events in at most 10.5 × the time", f"{times:.2f} ×", times <= 10.5))
    judged.append(
        (f"a later file of {data.INTRADAY:,} events in at most 1/10 of the day", f"{intraday:.3f} ×", intraday <= 0.1)
    )
    if histories:
        longest = max(histories)
        first, repair = (median(histories[longest][name], work_seconds) for name in (FIRST, REPAIR))
        text = f"{REPAIR} after {longest} days in at most 1.2 × the {FIRST}"
        judged.append((text, f"{repair / first:.2f} ×", repair <= 1.2 * first))
    return judged


def _count(name: str, events: int) -> int:
    return events * (BIG if name == "engines10" else 1)


def _parts(runs: Sequence[Measured]) -> str:
    return ", ".join(f"{name} {median(runs, lambda m, name=name: m.phases[name]):.2f}" for name in runs[0].phases)
