"""E-commerce with 200,000,000 rows, by hand: ``python benchmarks/run.py --huge``; other runs keep what it found.

A day of 8.8 GB in several files. It takes about 50 GB of disk and an hour, most of which makes the files.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

if __package__:  # in tests; otherwise these are scripts
    from benchmarks import data, ecommerce
    from benchmarks.measuring import BenchmarkFailed, Measured, Target, apart, heading, line, section
else:
    import data
    import ecommerce
    from measuring import BenchmarkFailed, Measured, Target, apart, heading, line, section

from rich.console import Console

TITLE = "# E-commerce results, measured by hand"

#: bytes of disk for a row: its input, and what is made of it
BYTES = 250


def part(arguments: argparse.Namespace, work: Path) -> str:
    """Measure once; the results as Markdown.

    Raises:
        BenchmarkFailed: there is not enough disk.
    """
    rows, console = arguments.huge_rows, Console(stderr=True)
    arguments.data.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(arguments.data).free
    if free < rows * BYTES:
        raise BenchmarkFailed(
            f"{rows:,} rows need about {rows * BYTES / 1e9:.0f} GB, and {arguments.data} has {free / 1e9:.0f} GB free: "
            "name another folder with --data, or fewer rows with --huge-rows."
        )
    with console.status("making the input, once"):
        source = apart(data.make, arguments.data, rows)
    work.mkdir(parents=True, exist_ok=True)
    with console.status(f"{rows:,} rows"):
        measured = ecommerce.measure("a", source, work / "huge")
    console.print(line("huge", measured))
    return report(measured, source, rows)


def report(measured: Measured, source: Path, rows: int) -> str:
    """What was found."""
    files = sorted(source.parent.glob("*.csv"))
    size = sum(path.stat().st_size for path in files)
    what = f"{rows:,} rows ({size / 1e9:.2f} GB in {len(files)} file(s)) in one partition, once, in a warm process."
    seconds = ecommerce.work_seconds("a", measured)
    lines = [
        *heading(TITLE, what, ecommerce.PACKAGES),
        f"| {' | '.join(measured.phases)} | whole process | processor s | peak memory |",
        f"|{'---:|' * (len(measured.phases) + 3)}",
        f"| {' | '.join(f'{one:.1f}' for one in measured.phases.values())} | {measured.wall:.1f} | {measured.cpu:.1f} "
        f"| {measured.memory / 1e9:.2f} GB |",
    ]
    question = f"{rows:,} e-commerce rows, engine steps"
    targets = [
        Target(question, "< 480 s", f"{seconds:.0f} s", seconds < 480),
        Target(question, "memory < 8 GB", f"{measured.memory / 1e9:.2f} GB", measured.memory < 8e9),
    ]
    return "\n".join([*lines, *section(targets)]) + "\n"
