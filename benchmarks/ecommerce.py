"""E-commerce: every contender from the same file to the same tables, each in a process of its own.

What is measured is in ``product.py`` and ``peers``, the input in ``data.py``; here are the contenders and the targets.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import data
import product
from measuring import Contender, Measured, apart, in_turn, machine, median, run_process, versions
from rich.console import Console

HERE = Path(__file__).resolve().parent
TITLE = "# Results"
PACKAGES = ("pyspark", "pysail", "pyarrow", "duckdb", "dbt-core", "dagster", "pyiceberg", "polars", "polars-hash")
BIG = 10

TITLES = {
    "a": "this project's engine steps, warm process",
    "b": "`clickstream run ecommerce`, cold, everything included",
    "c": "plain PySpark script on a JVM",
    "d": "plain DuckDB script",
    "e": "plain Polars script",
    "b10": f"b with {BIG} times the rows",
}
SCRIPTS = {"c": "pyspark_jvm.py", "d": "duckdb_sql.py", "e": "polars_script.py"}
ENGINE_PHASES = {"a": ("raw", "cleaned", "gold"), "peer": ("bronze", "silver", "gold")}


def part(arguments: argparse.Namespace, work: Path) -> str:
    """Measure; the results as Markdown."""
    console = Console(stderr=True)
    names = [name for name in "abcde" if name in arguments.contenders] + ["b10"] * arguments.big
    if "c" in names and not has_java():
        console.print("There is no Java on this machine: the PySpark script on a JVM (c) is left out.")
        names.remove("c")
    with console.status("making the input of e-commerce, once"):
        counts = {name: arguments.rows * (BIG if name == "b10" else 1) for name in names}
        sources = {name: apart(data.make, arguments.data, count) for name, count in counts.items()}
    contenders = [Contender(name, TITLES[name], partial(measure, name, sources[name])) for name in names]
    found = in_turn(contenders, arguments.rounds, work)
    return report(found, sources, arguments.rows, arguments.rounds)


def measure(contender: str, source: Path, folder: Path) -> Measured:
    """One measurement of a contender, in an empty folder."""
    if contender in ("b", "b10"):
        day = product.land(source, folder)
        command = [str(Path(sys.executable).with_name("clickstream")), "run", "ecommerce", "--date", str(day)]
        measured, _ = run_process(command, {"CLICKSTREAM_HOME": str(folder)})
        return Measured(measured.wall, measured.memory, measured.cpu, product.steps(folder, day))
    which = ["ecommerce"] if contender == "a" else []
    script = HERE / "product.py" if contender == "a" else HERE / "peers" / SCRIPTS[contender]
    measured, printed = run_process([sys.executable, str(script), *which, str(source), str(folder)])
    phases = json.loads(printed.splitlines()[-1])
    return Measured(measured.wall, measured.memory, measured.cpu, phases)


def work_seconds(contender: str, measured: Measured) -> float:
    """The seconds that are compared: of b the whole process, of the others their three steps."""
    if contender in ("b", "b10"):
        return measured.wall
    names = ENGINE_PHASES["a" if contender == "a" else "peer"]
    return sum(measured.phases[name] for name in names)


def report(found: dict[str, list[Measured]], sources: dict[str, Path], rows: int, rounds: int) -> str:
    """What was found."""
    size = min(source.stat().st_size for source in sources.values())
    seconds = {name: statistics.median(work_seconds(name, m) for m in runs) for name, runs in found.items()}
    lines = [
        TITLE,
        f"Written by `make bench` on {datetime.now(UTC).date()}: {rows:,} rows ({size / 1e6:,.0f} MB) in one "
        f"partition, medians of {rounds}, contenders in turn.",
        "",
        f"Machine: {machine()}. {versions(PACKAGES)}.",
        "",
        "## Seconds",
        "Of a, c, d and e the three steps from file to gold, without process start, imports and session; of b the "
        "whole process. Memory is the largest sum over the contender's processes.",
        "",
        "| | contender | seconds | least – most | whole process | processor s | peak memory | times e |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, runs in found.items():
        each = sorted(work_seconds(name, m) for m in runs)
        against = f"{seconds[name] / seconds['e']:.2f}" if "e" in seconds else ""
        lines.append(
            f"| {name} | {TITLES[name]} | {seconds[name]:.2f} | {each[0]:.2f} – {each[-1]:.2f} | "
            f"{median(runs, lambda m: m.wall):.2f} | {median(runs, lambda m: m.cpu):.1f} | "
            f"{median(runs, lambda m: m.memory) / 1e9:.2f} GB | {against} |"
        )
    lines += ["", "## Targets", "| target | found | |", "|---|---:|---|"]
    for text, value, met in _targets(found, seconds):
        lines.append(f"| {text} | {value} | {'met' if met else '**missed**'} |")
    lines += ["", "## Where the time goes", "Median seconds of each step.", "", "| | steps |", "|---|---|"]
    lines += [f"| {name} | {_steps(name, runs)} |" for name, runs in found.items()]
    lines += [
        "",
        "Of a, raw and cleaned are reading, transforming and publishing; gold is dbt as a whole, with the tests that "
        "it runs on what it made, which no peer does. `… step` is the same by Dagster's clock, with locks, guards and "
        "the records that Dagster stores; of b all steps are by that clock. `dbt models` and `dbt tests` are the times "
        "in which at least one of them was at work; two work at a time. `rest` of b is process start, imports, loading "
        "the graph and what Dagster does between steps.",
    ]
    return "\n".join(lines) + "\n"


def _targets(found: dict[str, list[Measured]], seconds: dict[str, float]) -> list[tuple[str, str, bool]]:
    """Each target that can be judged: what it says, what was found, whether it is met."""
    judged: list[tuple[str, str, bool]] = []

    def at_most(text: str, needs: str, limit: float, value: Callable[[], float], unit: str = "") -> None:
        if set(needs.split()) <= found.keys():
            judged.append((text, f"{value():.2f}{unit}", value() <= limit))

    def memory(name: str) -> float:
        return max(m.memory for m in found[name]) / 1e9

    def with_session() -> float:
        return statistics.median(work_seconds("c", m) + m.phases["session"] for m in found["c"])

    at_most("a ≤ 3 × e", "a e", 3, lambda: seconds["a"] / seconds["e"], " × e")
    at_most("a ≤ c / 5", "a c", 1 / 5, lambda: seconds["a"] / seconds["c"], " × c")
    at_most("b ≤ 0.75 × (c with its session)", "b c", 0.75, lambda: seconds["b"] / with_session(), " ×")
    at_most("peak memory of b under 2 GB", "b", 2, lambda: memory("b"), " GB")
    more = f"b with {BIG} times the rows"
    at_most(f"{more} in at most 10.5 × the time", "b b10", 10.5, lambda: seconds["b10"] / seconds["b"], " ×")
    at_most(f"peak memory of {more} under 4 GB", "b10", 4, lambda: memory("b10"), " GB")
    return judged


def _steps(contender: str, runs: Sequence[Measured]) -> str:
    parts = {name: median(runs, lambda m, name=name: m.phases[name]) for name in runs[0].phases}
    if contender in ("b", "b10"):
        parts["rest"] = median(runs, lambda m: m.wall - sum(m.phases.values()))
    return ", ".join(f"{name} {seconds:.2f}" for name, seconds in parts.items())


def has_java() -> bool:
    """Whether Spark would find a JVM."""
    home = os.environ.get("JAVA_HOME")
    return (Path(home) / "bin" / "java").exists() if home else shutil.which("java") is not None
