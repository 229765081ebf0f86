"""Sales: a year in one run, and the run of one more day after it beside that of a day after four weeks.

What is measured is ``clickstream run sales`` as a whole process, in a home folder of its own; the files are those of
``clickstream generate sales``, made once.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path

if __package__:  # in tests; otherwise these are scripts
    from benchmarks import hops, product
    from benchmarks.measuring import Measured, Target, heading, in_turn, line, median, run_process, section
else:
    import hops
    import product
    from measuring import Measured, Target, heading, in_turn, line, median, run_process, section

from rich.console import Console

TITLE = "# Sales results"
PACKAGES = ("pyarrow", "duckdb", "pysail", "pyspark", "pyiceberg", "dbt-core", "dbt-duckdb", "dagster", "pandera")
FIRST = date(2025, 1, 1)

#: days before the run that is compared, and how many such runs there are
SHORT, ROUNDS = 29, 3

#: days of the run of which it is told where its time goes, after a first one
HOPS_DAYS = 10

#: the steps of the domain, by the keys that Dagster knows them by
STEPS = {
    f"{layer} {feed}": f"sales_{layer}__{feed}_{layer}"
    for layer in ("raw", "cleaned")
    for feed in ("customers", "products", "locations", "sales")
} | {"dbt": "sales_models"}

FEEDS = ("customers", "products", "locations", "sales")

#: runs a home's days, from the first to the last
Run = Callable[[Path, date, date], Measured]


def part(arguments: argparse.Namespace, work: Path) -> str:
    """Measure; the results as Markdown."""
    days, rows = arguments.sales_days, arguments.sales_rows
    source = arguments.data / f"sales-{days + ROUNDS}-{rows}"
    if not (source / "made").exists():
        shutil.rmtree(source, ignore_errors=True)
        with Console(stderr=True).status("making the sales, once"):
            generate(source, days + ROUNDS, rows)
        (source / "made").touch()
    found = {length: after(source, work / f"sales-{length}", length) for length in (min(SHORT, days), days)}
    last = FIRST + timedelta(days=min(HOPS_DAYS, days + ROUNDS - 1))
    contender = hops.contender("sales", FIRST + timedelta(days=1), last, partial(_land_until, source, last))
    of_hops = in_turn([contender], arguments.rounds, work)[hops.NAME]
    return report(found, rows, of_hops, (last - FIRST).days)


def _land_until(source: Path, last: date, home: Path) -> None:
    for number in range((last - FIRST).days + 1):
        land(source, home, FIRST + timedelta(days=number))


def generate(home: Path, days: int, rows: int) -> None:
    """Landing files of so many days."""
    span = ["--from", str(FIRST), "--to", str(FIRST + timedelta(days=days - 1))]
    command = [str(Path(sys.executable).with_name("clickstream")), "generate", "sales", *span]
    run_process([*command, "--rows-per-day", str(rows)], {"CLICKSTREAM_HOME": str(home)})


def run_days(home: Path, first: date, last: date) -> Measured:
    """``clickstream run`` of some days, with the seconds of the steps of one."""
    command = [str(Path(sys.executable).with_name("clickstream")), "run", "sales"]
    environment = {"CLICKSTREAM_HOME": str(home)}
    measured, _ = run_process([*command, "--from", str(first), "--to", str(last)], environment)
    return replace(measured, phases=product.steps(home, first, STEPS)) if first == last else measured


def after(source: Path, home: Path, days: int, *, run: Run = run_days) -> dict[str, list[Measured]]:
    """So many days in one run, then some more, each in a run of its own that finds it for the first time."""
    console = Console(stderr=True)
    shutil.rmtree(home, ignore_errors=True)
    found: dict[str, list[Measured]] = defaultdict(list)
    for number in range(days):
        land(source, home, FIRST + timedelta(days=number))
    os.sync()
    with console.status(f"{days} days in one run"):
        found["all"].append(run(home, FIRST, FIRST + timedelta(days=days - 1)))
    console.print(line(f"{days} days", found["all"][0]))
    for number in range(ROUNDS):
        day = FIRST + timedelta(days=days + number)
        land(source, home, day)
        os.sync()
        with console.status(f"day {days + number + 1}"):
            found["next"].append(run(home, day, day))
        console.print(line(f"day {days + number + 1}", found["next"][-1]))
    shutil.rmtree(home)
    return found


def land(source: Path, home: Path, day: date) -> None:
    """Put a day's files into landing, without a second copy."""
    for feed in FEEDS:
        folder = f"landing/sales/{feed}/load_date={day}"
        shutil.copytree(source / folder, home / folder, copy_function=os.link)


def report(
    found: dict[int, dict[str, list[Measured]]], rows: int, of_hops: Sequence[Measured] = (), hops_days: int = 0
) -> str:
    """What was found."""
    what = (
        f"{rows:,} sales a day as `clickstream generate` writes them, with the day's customers, products and "
        "locations. Whole processes of `clickstream run sales`: of all days one, of the days after them the median of "
        f"{ROUNDS}, each run for the first time."
    )
    lines = [
        *heading(TITLE, what, PACKAGES),
        "| | seconds | processor s | peak memory | steps |",
        "|---|---:|---:|---:|---|",
    ]
    for days, runs in found.items():
        for name, each in ((f"{days} days in one run", runs["all"]), (f"day {days + 1}", runs["next"])):
            steps = ", ".join(f"{step} {median(each, lambda m, s=step: m.phases[s]):.2f}" for step in each[0].phases)
            lines.append(
                f"| {name} | {median(each, lambda m: m.wall):.1f} | {median(each, lambda m: m.cpu):.1f} | "
                f"{max(m.memory for m in each) / 1e9:.2f} GB | {steps} |"
            )
    lines += section(targets(found, rows))
    if of_hops:
        what = f"Seconds of each hop of a run of {hops_days} days, {rows * hops_days:,} sales."
        lines += ["", "## Where the time goes", what, "", *hops.table(of_hops)]
    return "\n".join(lines) + "\n"


def targets(found: dict[int, dict[str, list[Measured]]], rows: int) -> list[Target]:
    """Each target that can be judged."""
    short, long = min(found), max(found)
    (year,) = found[long]["all"]
    times = median(found[long]["next"], lambda m: m.wall) / median(found[short]["next"], lambda m: m.wall)
    all_days = f"{long} days of {rows:,} sales in one run"
    return [
        Target(all_days, "< 5 minutes", f"{year.wall:.0f} s", year.wall < 300),
        Target(all_days, "memory < 3 GB", f"{year.memory / 1e9:.2f} GB", year.memory < 3e9),
        Target(f"day {long + 1} of {rows:,} sales", f"≤ 1.2 × day {short + 1}", f"{times:.2f} ×", times <= 1.2),
    ]
