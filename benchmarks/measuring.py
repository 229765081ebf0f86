"""How anything is measured: a process to its end, its memory and processor time, and contenders in turn.

Contenders take turns within each round, so that a machine that gets slower meanwhile is slower for all.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import multiprocessing
import os
import platform
import re
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

SAMPLE_SECONDS = 0.05

Result = TypeVar("Result")


@dataclass(frozen=True)
class Measured:
    """One process: its wall time, its processes' peak memory and processor time, and the seconds of its phases."""

    wall: float
    memory: int
    cpu: float
    phases: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """What is asked, what was wanted, what was found, and whether that is it."""

    question: str
    wanted: str
    found: str
    met: bool


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


def apart(function: Callable[..., Result], *arguments: Any, **named: Any) -> Result:
    """What a function returns that is called in a process of its own.

    The memory that a process ever had counts for those that it starts, too, until they have more.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as processes:
        return processes.submit(function, *arguments, **named).result()


@dataclass(frozen=True)
class Contender:
    """Something to be measured, in an empty folder each time. ``rounds``: the most, if it is not as many as of all."""

    name: str
    title: str
    measure: Callable[[Path], Measured]
    rounds: int | None = None


def in_turn(contenders: Sequence[Contender], rounds: int, work: Path) -> dict[str, list[Measured]]:
    """Every contender once per round; what it wrote is removed before the next."""
    found: dict[str, list[Measured]] = defaultdict(list)
    turns = [(n, c) for n in range(1, rounds + 1) for c in contenders if c.rounds is None or n <= c.rounds]
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=len(turns))
        for number, contender in turns:
            progress.update(task, description=f"round {number}: {contender.name}, {contender.title}")
            folder = work / contender.name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            os.sync()  # what the one before wrote is not written back on this one's time
            measured = contender.measure(folder)
            shutil.rmtree(folder)
            found[contender.name].append(measured)
            console.print(line(contender.name, measured))
            progress.advance(task)
    return found


def line(name: str, measured: Measured) -> str:
    """A measurement as it is printed at once."""
    phases = ", ".join(f"{name} {seconds:.2f}" for name, seconds in measured.phases.items())
    return f"{name:<9}{measured.wall:7.2f} s{measured.memory / 1e9:6.2f} GB  {phases}"


def median(runs: Sequence[Measured], value: Callable[[Measured], float]) -> float:
    """Of a value of each."""
    return statistics.median(map(value, runs))


def machine() -> str:
    """Cores, processor and memory."""
    models = [line.partition(":")[2].strip() for line in _proc("cpuinfo") if line.startswith("model name")]
    memory = next((int(line.split()[1]) for line in _proc("meminfo") if line.startswith("MemTotal")), 0)
    return f"{os.cpu_count()} cores of {models[0] if models else platform.machine()}, {memory / 2**20:.0f} GB of memory"


def _proc(name: str) -> list[str]:
    path = Path("/proc") / name
    return path.read_text().splitlines() if path.exists() else []


def versions(packages: Sequence[str]) -> str:
    """Of Python and of installed packages."""
    found = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return f"Python {platform.python_version()}, {found}"


def heading(title: str, what: str, packages: Sequence[str]) -> list[str]:
    """How a part of the results begins: its title, when it was measured and how, the machine and the versions."""
    return [
        title,
        f"Measured on {datetime.now(UTC).date()}: {what}",
        "",
        f"Machine: {machine()}. {versions(packages)}.",
        "",
    ]


def section(targets: Sequence[Target]) -> list[str]:
    """The targets of a part, as a section of it."""
    rows = [f"| {t.question} | {t.wanted} | {t.found} | {'met' if t.met else '**missed**'} |" for t in targets]
    return ["", "## Targets", "| question | target | found | |", "|---|---|---:|---|", *rows]


def summary(title: str, parts: Sequence[str]) -> str:
    """The targets of all parts in one table, as their sections have them; when each was measured stands beside it.

    A section that names no questions answers that of its part's title.
    """
    lines = [
        title,
        "Every target of the parts below, with the day on which its part was measured. The machine, the versions and "
        "how it was measured are there.",
        "",
        "| question | target | found | | measured |",
        "|---|---|---:|---|---|",
    ]
    for part in parts:
        of_part = part.partition("\n")[0].removeprefix("# ").removesuffix(" results")
        day = re.search(r"^(?:Measured|Written by `make bench`) on ([0-9-]{10})", part, re.MULTILINE)
        _, _, targets = part.partition("\n## Targets\n")
        for row in itertools.takewhile(lambda row: row.startswith("|"), targets.splitlines()):
            cells = [cell.strip() for cell in row.strip().strip("|").split(" | ")]
            if cells[-1] in ("met", "**missed**"):
                lines.append(f"| {' | '.join([of_part, *cells][-4:])} | {day[1] if day else ''} |")
    return "\n".join(lines) + "\n"
