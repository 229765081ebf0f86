"""Clickstream: the engine steps of one day against a plain script.

The steps are in ``product.py``, the script in ``peers``, the events in ``data.py``; here are what is measured and the
targets. A day's run after a history is measured with those of the other domains, in ``history.py``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

if __package__:  # in tests; otherwise these are scripts
    from benchmarks import data, hops, product
    from benchmarks.measuring import (
        Contender,
        Measured,
        Target,
        apart,
        heading,
        in_turn,
        median,
        run_process,
        section,
    )
else:
    import data
    import hops
    import product
    from measuring import Contender, Measured, Target, apart, heading, in_turn, median, run_process, section

from rich.console import Console

HERE = Path(__file__).resolve().parent
TITLE = "# Clickstream results"
PACKAGES = ("pyarrow", "duckdb", "pysail", "pyspark", "pyiceberg", "dbt-core", "dagster", "isal")
BIG = 10
BIG_ROUNDS = 3

TITLES = {
    "engines": "this project's engine steps, warm process",
    "duckdb": "plain DuckDB script",
    "engines10": f"engines with {BIG} times the events",
}


def part(arguments: argparse.Namespace, work: Path) -> str:
    """Measure; the results as Markdown."""
    counts = {"engines": 1, "duckdb": 1} | ({"engines10": BIG} if arguments.big else {})
    with Console(stderr=True).status("making the events, once"):
        sources = {name: apart(data.events, arguments.data, arguments.events * times) for name, times in counts.items()}
    contenders = [
        Contender(name, TITLES[name], partial(measure, name, source), BIG_ROUNDS if name == "engines10" else None)
        for name, source in sources.items()
    ]
    contenders.append(hops.contender("clickstream", data.DAY, data.DAY, partial(_land_for_hops, sources["engines"])))
    found = in_turn(contenders, arguments.rounds, work)
    size = data.event_bytes(sources["engines"]) / arguments.events
    return report(found, arguments.events, arguments.rounds, size)


def _land_for_hops(source: Path, home: Path) -> None:
    product.land_events(source, home)
    before = data.DAY - timedelta(days=1)
    data.plain_events(home / "landing", before, 2, arrival=before)


def measure(contender: str, source: Path, folder: Path) -> Measured:
    """One measurement of a contender, in an empty folder."""
    command = ["peers/duckdb_events.py"] if contender == "duckdb" else ["product.py", "clickstream"]
    script = str(HERE / command[0])
    measured, printed = run_process([sys.executable, script, *command[1:], str(source), str(folder)])
    return replace(measured, phases=json.loads(printed.splitlines()[-1]))


def work_seconds(measured: Measured) -> float:
    """The seconds that are compared: of the steps from landing to cleaned, or to the last model."""
    return sum(s for name, s in measured.phases.items() if name != "session" and not name.startswith("intraday"))


def intraday_seconds(measured: Measured) -> float:
    """Of the file that came later, to cleaned."""
    return sum(s for name, s in measured.phases.items() if name.startswith("intraday"))


def report(found: dict[str, list[Measured]], events: int, rounds: int, event_bytes: float) -> str:
    """What was found."""
    found = dict(found)
    of_hops = found.pop(hops.NAME, None)
    seconds = {name: median(runs, work_seconds) for name, runs in found.items()}
    what = (
        f"{events:,} events of one day as `clickstream generate` writes them, {event_bytes:.0f} bytes of JSON each, "
        f"gzipped. Contenders in turn, medians of {rounds}; of at most {BIG_ROUNDS} with {BIG} times the events."
    )
    lines = [
        *heading(TITLE, what, PACKAGES),
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
    lines += section(_targets(found, events, seconds))
    if of_hops:
        lines += [
            "",
            "## Where the time goes",
            f"Seconds of each hop of `clickstream run` of {events:,} events of one day, with what is late of the three "
            "days before.",
            "",
            *hops.table(of_hops),
        ]
    lines += ["", "## Steps", "Median seconds of each part.", "", "| | parts |", "|---|---|"]
    lines += [f"| {name} | {_parts(runs)} |" for name, runs in found.items()]
    lines += [
        "",
        f"`intraday …`: a file of {data.INTRADAY:,} events in one hour of the day, after it, in the same process; the "
        "median of three such files.",
    ]
    return "\n".join(lines) + "\n"


def _targets(found: dict[str, list[Measured]], events: int, seconds: dict[str, float]) -> list[Target]:
    """Each target that can be judged."""
    rate = events / seconds["engines"]
    memory = max(m.memory for m in found["engines"]) / 1e9
    intraday = median(found["engines"], intraday_seconds) / seconds["engines"]
    day = f"{events:,} clickstream events, landing to cleaned"
    judged = [
        Target(day, "at least 60,000 events/s", f"{rate:,.0f}", rate >= 60_000),
        Target(day, "memory < 2 GB", f"{memory:.2f} GB", memory < 2),
    ]
    if "engines10" in found:
        times = seconds["engines10"] / seconds["engines"]
        more = f"{events * BIG:,} clickstream events, landing to cleaned"
        judged.append(Target(more, f"≤ 10.5 × the time of {events:,}", f"{times:.2f} ×", times <= 10.5))
    later = f"a later file of {data.INTRADAY:,} events"
    judged.append(Target(later, "≤ 1/10 of the day's time", f"{intraday:.3f} ×", intraday <= 0.1))
    return judged


def _count(name: str, events: int) -> int:
    return events * (BIG if name == "engines10" else 1)


def _parts(runs: Sequence[Measured]) -> str:
    return ", ".join(f"{name} {median(runs, lambda m, name=name: m.phases[name]):.2f}" for name in runs[0].phases)
