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
TITLE = "# E-commerce results"
PACKAGES = ("pyspark", "pysail", "pyarrow", "duckdb", "dbt-core", "dagster", "pyiceberg")
OF_PEERS = ("polars", "polars-hash", "pandas")
BIG = 10

TITLES = {
    "a": "this project's engine steps, warm process",
    "b": "`clickstream run ecommerce`, cold, everything included",
    "c": "plain PySpark script on a JVM",
    "d": "plain DuckDB script",
    "e": "plain Polars script",
    "f": "plain pandas script",
    "g": "the same Dagster graph with default IO managers and a process per step, pandas inside",
    "b10": f"b with {BIG} times the rows",
}
SCRIPTS = {"c": "pyspark_jvm.py", "d": "duckdb_sql.py", "e": "polars_script.py", "f": "pandas_script.py"}
GRAPH = HERE / "peers" / "default_graph.py"
WHOLE = ("b", "b10", "g")
ENGINE_PHASES = {"a": ("raw", "cleaned", "gold"), "peer": ("bronze", "silver", "gold")}


def part(arguments: argparse.Namespace, work: Path) -> str:
    """Measure; the results as Markdown."""
    console = Console(stderr=True)
    names = [name for name in "abcdefg" if name in arguments.contenders] + ["b10"] * arguments.big
    if "c" in names and not has_java():
        console.print("There is no Java on this machine: the PySpark script on a JVM (c) is left out.")
        names.remove("c")
    with console.status("making the input of e-commerce, once"):
        counts = {name: arguments.rows * (BIG if name == "b10" else 1) for name in names}
        sources = {name: apart(data.make, arguments.data, count) for name, count in counts.items()}
    contenders = [Contender(name, TITLES[name], partial(measure, name, sources[name])) for name in names]
    if "a" in names:
        land = partial(_land_for_hops, sources["a"])
        contenders.append(hops.contender("ecommerce", data.DAY, data.DAY, land))
    found = in_turn(contenders, arguments.rounds, work)
    return report(found, sources, arguments.rows, arguments.rounds)


def _land_for_hops(source: Path, home: Path) -> None:
    product.land_tiny(home, product.land(source, home))


def graph(source: Path, home: Path) -> tuple[list[str], dict[str, str]]:
    """The command that makes everything in the default graph, and its environment."""
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-f", str(GRAPH), "--select", "*"]
    return command, {"DAGSTER_HOME": str(home), "DEFAULT_GRAPH_INPUT": str(source)}


def measure(contender: str, source: Path, folder: Path) -> Measured:
    """One measurement of a contender, in an empty folder."""
    if contender in ("b", "b10"):
        day = product.land(source, folder)
        command = [str(Path(sys.executable).with_name("clickstream")), "run", "ecommerce", "--date", str(day)]
        measured, _ = run_process(command, {"CLICKSTREAM_HOME": str(folder)})
        return Measured(measured.wall, measured.memory, measured.cpu, product.steps(folder, day))
    if contender == "g":
        return run_process(*graph(source, folder))[0]
    which = ["ecommerce"] if contender == "a" else []
    script = HERE / "product.py" if contender == "a" else HERE / "peers" / SCRIPTS[contender]
    measured, printed = run_process([sys.executable, str(script), *which, str(source), str(folder)])
    phases = json.loads(printed.splitlines()[-1])
    return Measured(measured.wall, measured.memory, measured.cpu, phases)


def work_seconds(contender: str, measured: Measured) -> float:
    """The seconds that are compared: of b and g the whole process, of the others their three steps."""
    if contender in WHOLE:
        return measured.wall
    names = ENGINE_PHASES["a" if contender == "a" else "peer"]
    return sum(measured.phases[name] for name in names)


def report(found: dict[str, list[Measured]], sources: dict[str, Path], rows: int, rounds: int) -> str:
    """What was found."""
    found = dict(found)
    of_hops = found.pop(hops.NAME, None)
    size = min(source.stat().st_size for source in sources.values())
    seconds = {name: statistics.median(work_seconds(name, m) for m in runs) for name, runs in found.items()}
    what = f"{rows:,} rows ({size / 1e6:,.0f} MB) in one partition, medians of {rounds}, contenders in turn."
    lines = [
        *heading(TITLE, what, (*PACKAGES, *OF_PEERS)),
        "## Seconds",
        "Of a, c, d, e and f the three steps from file to gold, without process start, imports and session; of b and g "
        "the whole process. Memory is the largest sum over the contender's processes.",
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
    lines += section(_targets(found, seconds, rows))
    if of_hops:
        lines += ["", "## Where the time goes", f"Seconds of each hop of {rows:,} rows.", "", *hops.table(of_hops)]
    lines += ["", "## Steps", "Median seconds of each.", "", "| | steps |", "|---|---|"]
    lines += [f"| {name} | {_steps(name, runs)} |" for name, runs in found.items() if name != "g"]
    lines += [
        "",
        "Of a, raw and cleaned are reading, transforming and publishing; gold is dbt as a whole, with the tests that "
        "it runs on what it made, which no peer does. `… step` is the same by Dagster's clock, with locks, guards and "
        "the records that Dagster stores; of b all steps are by that clock. `dbt models` and `dbt tests` are the times "
        "in which at least one of them was at work; two work at a time. `rest` of b is process start, imports, loading "
        "the graph and what Dagster does between steps.",
    ]
    return "\n".join(lines) + "\n"


def _targets(found: dict[str, list[Measured]], seconds: dict[str, float], rows: int) -> list[Target]:
    """Each target that can be judged."""
    judged: list[Target] = []

    def at_most(
        question: str, needs: str, wanted: str, limit: float, value: Callable[[], float], unit: str = " ×"
    ) -> None:
        if set(needs.split()) <= found.keys():
            judged.append(Target(question, wanted, f"{value():.2f}{unit}", value() <= limit))

    def with_session() -> float:
        return statistics.median(work_seconds("c", m) + m.phases["session"] for m in found["c"])

    steps, cold = f"{rows:,} e-commerce rows, engine steps", f"{rows:,} e-commerce rows, cold `clickstream run`"
    more = f"{rows * BIG:,} e-commerce rows, cold `clickstream run`"
    at_most(steps, "a e", "≤ 2.5 × the Polars script", 2.5, lambda: seconds["a"] / seconds["e"])
    at_most(steps, "a c", "≤ 1/6 (0.167 ×) of PySpark on a JVM", 1 / 6, lambda: seconds["a"] / seconds["c"])
    at_most(cold, "b c", "≤ 0.6 × PySpark's script with its session", 0.6, lambda: seconds["b"] / with_session())
    at_most(more, "b b10", f"≤ 10 × the time of {rows:,}", 10, lambda: seconds["b10"] / seconds["b"])
    at_most(more, "b10", "memory < 4 GB", 4, lambda: max(m.memory for m in found["b10"]) / 1e9, " GB")
    return judged


def _steps(contender: str, runs: Sequence[Measured]) -> str:
    parts = {name: median(runs, lambda m, name=name: m.phases[name]) for name in runs[0].phases}
    if contender in WHOLE:
        parts["rest"] = median(runs, lambda m: m.wall - sum(m.phases.values()))
    return ", ".join(f"{name} {seconds:.2f}" for name, seconds in parts.items())


def has_java() -> bool:
    """Whether Spark would find a JVM."""
    home = os.environ.get("JAVA_HOME")
    return (Path(home) / "bin" / "java").exists() if home else shutil.which("java") is not None
