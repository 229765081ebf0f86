"""How long one waits for a command, and for the asset graph: processes of their own, against ``import dagster`` alone.

The graph is loaded as Dagster's code server does it, every definition resolved. The dbt project is parsed before, as it
is once per change of it; bytecode is compiled before, as an installation has it.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

if __package__:  # in tests; otherwise these are scripts
    from benchmarks.measuring import Contender, Measured, in_turn, machine, median, run_process, versions
else:
    from measuring import Contender, Measured, in_turn, machine, median, run_process, versions

TITLE = "# Start results"

#: they are short
ROUNDS = 9

PACKAGES = ("dagster", "dagster-dbt", "dbt-core")

DAGSTER = "import dagster"
GRAPH = "from clickstream_assets.definitions import defs; defs().get_repository_def().load_all_definitions()"


def part(arguments: Any, work: Path) -> str:
    """Measure and report."""
    return report(measure(work / "start", ROUNDS))


def measure(work: Path, rounds: int) -> dict[str, list[Measured]]:
    """The three in turn, after each has been started once."""
    contenders = [
        Contender("dagster", "import dagster", lambda folder: python(DAGSTER, folder)),
        Contender("graph", "the code location", lambda folder: python(GRAPH, folder)),
        Contender("help", "clickstream --help", command),
    ]
    in_turn(contenders, 1, work)
    return in_turn(contenders, rounds, work)


def python(program: str, home: Path) -> Measured:
    """A program in an interpreter of its own; its phase ``inside`` is without the interpreter's start and end."""
    timed = f"import time; t = time.perf_counter()\n{program}\nprint(time.perf_counter() - t)"
    measured, printed = run_process([sys.executable, "-c", timed], environment(home))
    return Measured(measured.wall, measured.memory, measured.cpu, {"inside": float(printed.split()[-1])})


def command(home: Path) -> Measured:
    """``clickstream --help``."""
    script = str(Path(sys.executable).with_name("clickstream"))
    return run_process([script, "--help"], environment(home))[0]


def environment(home: Path) -> dict[str, str]:
    """A home of its own, and bytecode is kept."""
    return {"CLICKSTREAM_HOME": str(home), "PYTHONDONTWRITEBYTECODE": ""}


def report(found: dict[str, list[Measured]]) -> str:
    """What was found."""
    lines = [
        TITLE,
        f"Written by `make bench` on {datetime.now(UTC).date()}: whole processes in turn, medians of "
        f"{len(found['graph'])}. `inside` is without the start and the end of the interpreter, which all have.",
        "",
        f"Machine: {machine()}. {versions(PACKAGES)}.",
        "",
        "| | seconds | inside | processor s | peak memory | times `import dagster` |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    titles = {"dagster": "`import dagster`", "graph": "the code location", "help": "`clickstream --help`"}
    for name, title in titles.items():
        runs = found[name]
        inside = f"{median(runs, lambda m: m.phases['inside']):.2f}" if runs[0].phases else ""
        lines.append(
            f"| {title} | {median(runs, lambda m: m.wall):.2f} | {inside} | {median(runs, lambda m: m.cpu):.2f} | "
            f"{max(m.memory for m in runs) / 1e9:.2f} GB | {times(found, name):.2f} |"
        )
    lines += ["", "## Targets", "| target | found | |", "|---|---:|---|"]
    lines += [f"| {text} | {value} | {'met' if met else '**missed**'} |" for text, value, met in targets(found)]
    return "\n".join(lines) + "\n"


def times(found: dict[str, list[Measured]], name: str) -> float:
    """How often the time of ``import dagster`` another one takes."""
    return median(found[name], lambda m: m.wall) / median(found["dagster"], lambda m: m.wall)


def targets(found: dict[str, list[Measured]]) -> list[tuple[str, str, bool]]:
    """Each target: what it says, what was found, whether it is met."""
    graph, command = times(found, "graph"), times(found, "help")
    return [
        ("the code location in at most 3.5 × `import dagster`", f"{graph:.2f} ×", graph <= 3.5),
        ("`clickstream --help` in at most 0.4 × `import dagster`", f"{command:.2f} ×", command <= 0.4),
    ]
