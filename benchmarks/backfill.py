"""A year of every domain in one backfill, against a run of each domain for each of its days.

365 days in turn would take hours: they are estimated from five, one in an empty home, two in the middle of the year and
two at its end, unless ``--all-runs`` asks for all of them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

if __package__:  # in tests; otherwise these are scripts
    from benchmarks import data
    from benchmarks.measuring import Measured, Target, apart, heading, line, median, run_process, section
else:
    import data
    from measuring import Measured, Target, apart, heading, line, median, run_process, section

from rich.console import Console

TITLE = "# Backfill results"
PACKAGES = ("pyarrow", "duckdb", "pysail", "pyspark", "pyiceberg", "dbt-core", "dbt-duckdb", "dagster")
DOMAINS = ("ecommerce", "clickstream", "ga4", "sales", "cdc")
FIRST = date(2025, 1, 1)

#: runs the command line with these arguments, in a home
Run = Callable[[Path, Sequence[str]], Measured]


def commands(first: date, last: date) -> dict[str, list[str]]:
    """What fills these days of every domain: one backfill, and change data, which have no days."""
    return {"backfill": ["backfill", "--from", str(first), "--to", str(last)], "cdc": ["run", "cdc"]}


def run_command(home: Path, arguments: Sequence[str]) -> Measured:
    """``clickstream`` with these arguments."""
    command = [str(Path(sys.executable).with_name("clickstream")), *arguments]
    return run_process(command, {"CLICKSTREAM_HOME": str(home)})[0]


@dataclass(frozen=True)
class Found:
    """What filling all days took, by command; and what the runs of one day did, a list of the days for each domain."""

    days: int
    backfill: dict[str, Measured]
    daily: dict[str, list[Measured]]

    @property
    def seconds(self) -> float:
        """Of the backfill as a whole."""
        return sum(measured.wall for measured in self.backfill.values())

    @property
    def of_runs(self) -> float:
        """Of as many runs as there are days: added up where all were made, else of the median day."""
        each = [sum(of_day) for of_day in zip(*([m.wall for m in runs] for runs in self.daily.values()), strict=True)]
        return sum(each) if len(each) == self.days else self.days * sorted(each)[len(each) // 2]

    @property
    def measured_days(self) -> int:
        """Of how many days the runs were made."""
        return min(map(len, self.daily.values()))


def part(arguments: argparse.Namespace, work: Path) -> str:
    """Measure; the results as Markdown."""
    days, rows = arguments.backfill_days, arguments.backfill_rows
    with Console(stderr=True).status("making a year of every domain, once"):
        last = FIRST + timedelta(days=days - 1)
        sources = [apart(data.days, arguments.data / "backfill", domain, rows, FIRST, last) for domain in DOMAINS]
    return report(measure(sources, work, days, all_runs=arguments.all_runs), rows)


def measure(sources: Sequence[Path], work: Path, days: int, *, all_runs: bool, run: Run = run_command) -> Found:
    """The backfill in one home; then, in another one, runs of single days with backfills of those between."""
    console = Console(stderr=True)

    def land(home: Path, first: int, last: int) -> None:
        for source in sources:
            data.land_days(source, home / "landing", _day(first), _day(last))
        os.sync()

    def fill(home: Path, first: int, last: int) -> dict[str, Measured]:
        land(home, first, last)
        return {name: run(home, command) for name, command in commands(_day(first), _day(last)).items()}

    with console.status(f"{days} days of every domain in one backfill"):
        backfill = fill(work / "backfill", 0, days - 1)
    for name, measured in backfill.items():
        console.print(line(name, measured))
    shutil.rmtree(work / "backfill", ignore_errors=True)
    single = range(days) if all_runs else sorted({0, days // 2, days // 2 + 1, days - 2, days - 1} & set(range(days)))
    daily: dict[str, list[Measured]] = {domain: [] for domain in DOMAINS}
    home, done = work / "daily", 0
    for number in single:
        with console.status(f"the run of day {number + 1}"):
            if done < number:
                fill(home, done, number - 1)
            land(home, number, number)
            for domain in DOMAINS:
                span = [] if domain == "cdc" else ["--date", str(_day(number))]
                daily[domain].append(run(home, ["run", domain, *span]))
        done = number + 1
        console.print(f"day {done}: {sum(runs[-1].wall for runs in daily.values()):.1f} s")
    shutil.rmtree(home, ignore_errors=True)
    return Found(days, backfill, daily)


def _day(number: int) -> date:
    return FIRST + timedelta(days=number)


def report(found: Found, rows: int) -> str:
    """What was found."""
    days, runs = found.days, found.measured_days
    estimated = (
        f"All {days} days were run, each domain by a command of its own."
        if runs == days
        else f"Of the {days} runs (of a day, each domain by a command of its own) the seconds are an estimate: the "
        f"median of {runs} days (the first, two in the middle of the year, two at its end) × {days}."
    )
    what = (
        f"{days} days of {rows:,} rows a day of every domain: {', '.join(DOMAINS)}; of cdc these are changes, which "
        f"are applied as they have landed. Whole processes of `clickstream`, once. {estimated}"
    )
    lines = [
        *heading(TITLE, what, PACKAGES),
        "| backfill | seconds | processor s | peak memory |",
        "|---|---:|---:|---:|",
    ]
    lines += [
        f"| {name} | {m.wall:.1f} | {m.cpu:.1f} | {m.memory / 1e9:.2f} GB |" for name, m in found.backfill.items()
    ]
    lines += ["", "| run of one day | seconds | least – most |", "|---|---:|---:|"]
    for domain, each in found.daily.items():
        walls = sorted(m.wall for m in each)
        lines.append(f"| {domain} | {median(each, lambda m: m.wall):.1f} | {walls[0]:.1f} – {walls[-1]:.1f} |")
    question = f"{days} days, all domains, {rows:,} rows a day each, one backfill"
    times = found.of_runs / found.seconds
    wanted = f"≥ 20 × faster than {days} runs ({'measured' if runs == days else 'estimated'})"
    targets = [
        Target(question, "< 180 s", f"{found.seconds:.0f} s", found.seconds < 180),
        Target(question, wanted, f"{times:.1f} × ({found.of_runs:,.0f} s)", times >= 20),
    ]
    return "\n".join([*lines, *section(targets)]) + "\n"
