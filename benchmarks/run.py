"""The benchmark: every contender on the same file, each measurement in a process of its own, round after round.

``python benchmarks/run.py`` measures, prints the table and writes ``benchmarks/RESULTS.md``. Contenders take turns
within each round, so that a machine that gets slower meanwhile is slower for all. What is measured is in
``product.py`` and ``peers``, the input in ``data.py``; here is how it is measured, and the targets.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import data
import product
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "RESULTS.md"
PACKAGES = ("pyspark", "pysail", "pyarrow", "duckdb", "dbt-core", "dagster", "pyiceberg", "polars", "polars-hash")
SAMPLE_SECONDS = 0.05
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


@dataclass(frozen=True)
class Measured:
    """One process: its wall time, its processes' peak memory and processor time, and the seconds of its phases."""

    wall: float
    memory: int
    cpu: float
    phases: dict[str, float] = field(default_factory=dict)


class BenchmarkFailed(Exception):
    """A contender ended with an error; the message is the end of what it printed."""


class _Watch(threading.Thread):
    """Samples a process and its descendants from /proc: the largest sum of resident memory, and processor time."""

    def __init__(self, root: int):
        super().__init__(daemon=True)
        self.memory = 0
        self._root = root
        self._cpu: dict[int, float] = {}
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            self._sample()

    def stop(self) -> None:
        self._done.set()
        self.join()

    @property
    def cpu(self) -> float:
        return sum(self._cpu.values())

    def _sample(self) -> None:
        parents: dict[int, int] = {}
        resident: dict[int, int] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                # The command's name, in parentheses, may hold blanks; what follows it does not.
                values = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            pid = int(entry.name)
            parents[pid] = int(values[1])
            resident[pid] = int(values[21]) * os.sysconf("SC_PAGE_SIZE")
            if pid in self._cpu or pid == self._root or parents[pid] in self._cpu:
                self._cpu[pid] = (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")
        tree = {self._root}
        while grown := {pid for pid, parent in parents.items() if parent in tree} - tree:
            tree |= grown
        self.memory = max(self.memory, sum(resident.get(pid, 0) for pid in tree))


def run_process(arguments: Sequence[str], environment: dict[str, str] | None = None) -> tuple[Measured, str]:
    """Run a command to its end and measure it; also what it printed on standard output.

    Raises:
        BenchmarkFailed: it ended with an error.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        begun = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603 our own scripts
            arguments, stdout=output, stderr=errors, env=os.environ | (environment or {})
        )
        watch = _Watch(process.pid)
        watch.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
        watch.stop()
        process.returncode = os.waitstatus_to_exitcode(status)
        for stream in (output, errors):
            stream.seek(0)
        if process.returncode:
            raise BenchmarkFailed(f"{' '.join(arguments[1:3])} failed:\n{errors.read()[-3000:]}")
        cpu = max(watch.cpu, usage.ru_utime + usage.ru_stime)
        return Measured(wall, max(watch.memory, usage.ru_maxrss * 1024), cpu), output.read()


def measure(contender: str, source: Path, folder: Path) -> Measured:
    """One measurement of a contender, in an empty folder."""
    if contender in ("b", "b10"):
        day = product.land(source, folder)
        command = [str(Path(sys.executable).with_name("clickstream")), "run", "ecommerce", "--date", str(day)]
        measured, _ = run_process(command, {"CLICKSTREAM_HOME": str(folder)})
        return Measured(measured.wall, measured.memory, measured.cpu, product.steps(folder, day))
    script = HERE / "product.py" if contender == "a" else HERE / "peers" / SCRIPTS[contender]
    measured, printed = run_process([sys.executable, str(script), str(source), str(folder)])
    phases = json.loads(printed.splitlines()[-1])
    return Measured(measured.wall, measured.memory, measured.cpu, phases)


def measure_all(
    contenders: Sequence[str], sources: dict[str, Path], rounds: int, work: Path
) -> dict[str, list[Measured]]:
    """Every contender once per round, in turn; what it wrote is removed before the next."""
    found: dict[str, list[Measured]] = defaultdict(list)
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=rounds * len(contenders))
        for number in range(1, rounds + 1):
            for contender in contenders:
                progress.update(task, description=f"round {number}: {contender}, {TITLES[contender]}")
                folder = work / contender
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                os.sync()  # what the one before wrote is not written back on this one's time
                measured = measure(contender, sources[contender], folder)
                shutil.rmtree(folder)
                found[contender].append(measured)
                size = measured.memory / 1e9
                console.print(f"{contender:<4}{measured.wall:7.2f} s{size:6.2f} GB  {_short(measured)}")
                progress.advance(task)
    return found


def _short(measured: Measured) -> str:
    return ", ".join(f"{name} {seconds:.2f}" for name, seconds in measured.phases.items())


def work_seconds(contender: str, measured: Measured) -> float:
    """The seconds that are compared: of b the whole process, of the others their three steps."""
    if contender in ("b", "b10"):
        return measured.wall
    names = ENGINE_PHASES["a" if contender == "a" else "peer"]
    return sum(measured.phases[name] for name in names)


def report(found: dict[str, list[Measured]], sources: dict[str, Path], rows: int, rounds: int) -> str:
    """The results as Markdown."""
    size = min(source.stat().st_size for source in sources.values())
    seconds = {name: statistics.median(work_seconds(name, m) for m in runs) for name, runs in found.items()}
    lines = [
        "# Results",
        f"Written by `make bench` on {datetime.now(UTC).date()}: {rows:,} rows ({size / 1e6:,.0f} MB) in one "
        f"partition, medians of {rounds}, contenders in turn.",
        "",
        f"Machine: {_machine()}. Python {platform.python_version()}, {_versions()}.",
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
            f"{_median(runs, lambda m: m.wall):.2f} | {_median(runs, lambda m: m.cpu):.1f} | "
            f"{_median(runs, lambda m: m.memory) / 1e9:.2f} GB | {against} |"
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
    parts = {name: _median(runs, lambda m, name=name: m.phases[name]) for name in runs[0].phases}
    if contender in ("b", "b10"):
        parts["rest"] = _median(runs, lambda m: m.wall - sum(m.phases.values()))
    return ", ".join(f"{name} {seconds:.2f}" for name, seconds in parts.items())


def _median(runs: Sequence[Measured], value: Callable[[Measured], float]) -> float:
    return statistics.median(map(value, runs))


def _machine() -> str:
    models = [line.partition(":")[2].strip() for line in _proc("cpuinfo") if line.startswith("model name")]
    memory = next((int(line.split()[1]) for line in _proc("meminfo") if line.startswith("MemTotal")), 0)
    return f"{os.cpu_count()} cores of {models[0] if models else platform.machine()}, {memory / 2**20:.0f} GB of memory"


def _proc(name: str) -> list[str]:
    path = Path("/proc") / name
    return path.read_text().splitlines() if path.exists() else []


def _versions() -> str:
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)


def has_java() -> bool:
    """Whether Spark would find a JVM."""
    home = os.environ.get("JAVA_HOME")
    return (Path(home) / "bin" / "java").exists() if home else shutil.which("java") is not None


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="abcde", help="contenders to measure, e.g. abe")
    parser.add_argument("--big", action="store_true", help=f"b also with {BIG} times the rows")
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "clickstream-bench")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    console = Console(stderr=True)
    contenders = [name for name in "abcde" if name in arguments.only] + ["b10"] * arguments.big
    if "c" in contenders and not has_java():
        console.print("There is no Java on this machine: the PySpark script on a JVM (c) is left out.")
        contenders.remove("c")
    if not contenders:
        parser.error("--only names no contender: choose among a, b, c, d and e")
    with console.status("making the input, once"):
        sources = {
            name: data.make(arguments.data, arguments.rows * (BIG if name == "b10" else 1)) for name in contenders
        }
    work = arguments.data / f"work-{os.getpid()}"
    try:
        found = measure_all(contenders, sources, arguments.rounds, work)
    except BenchmarkFailed as error:
        sys.exit(str(error))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    text = report(found, sources, arguments.rows, arguments.rounds)
    arguments.results.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
