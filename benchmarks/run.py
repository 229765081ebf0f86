"""The benchmark: ``python benchmarks/run.py`` measures, prints what it found and writes ``benchmarks/RESULTS.md``.

A module for each part measures it and reports; how is in ``measuring.py``. What a run does not measure stays in the
results as it is, with its own date. The targets of all parts stand at their head.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

import backfill
import cdc
import clickstream
import commits
import ecommerce
import history
import huge
import measuring
import models
import sales
import start
import ticks
from measuring import BenchmarkFailed

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "RESULTS.md"
TITLE = "# Results"

#: the parts, in the order of the results
PARTS = {
    "ecommerce": ecommerce,
    "huge": huge,
    "clickstream": clickstream,
    "sales": sales,
    "cdc": cdc,
    "history": history,
    "backfill": backfill,
    "models": models,
    "start": start,
    "ticks": ticks,
    "commits": commits,
}

#: measured when they are asked for, and only then
BY_HAND = {"huge"}


def written(results: Path) -> dict[str, str]:
    """The parts that the results have by now."""
    titles = {part.TITLE: name for name, part in PARTS.items()}
    parts: dict[str, list[str]] = {}
    found: list[str] = []
    for line in results.read_text().splitlines() if results.exists() else ():
        if line.startswith("# "):
            found = parts.setdefault(titles[line], []) if line in titles else []
        found.append(line)
    return {name: "\n".join(lines).strip() for name, lines in parts.items()}


def write(results: Path, parts: dict[str, str]) -> str:
    """Write the parts that there are, in their order, after the summary of their targets; returns the summary."""
    inside = [parts[name].strip() for name in PARTS if name in parts]
    summary = measuring.summary(TITLE, inside)
    results.write_text("\n\n".join([summary.strip(), *inside]) + "\n")
    return summary


def main() -> None:
    """Measure, print and write the results; the part of what is not measured stays as it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append", help="a part to measure, and no others but such")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--big", action="store_true", help=f"also with {ecommerce.BIG} times the rows and events")
    parser.add_argument("--huge", action="store_true", help="the part huge alone: like --only huge")
    parser.add_argument("--rows", type=int, default=2_000_000, help="of the e-commerce file")
    parser.add_argument("--huge-rows", type=int, default=200_000_000, help="of the e-commerce files of --huge")
    parser.add_argument("--contenders", default="abcdefg", help="e-commerce contenders to measure, e.g. abe")
    parser.add_argument("--events", type=int, default=1_000_000, help="of the clickstream day")
    parser.add_argument("--sales-days", type=int, default=365, help="days of sales in one run")
    parser.add_argument("--sales-rows", type=int, default=100_000, help="sales of a day")
    parser.add_argument("--cdc-rows", type=int, default=5_000_000, help="of the table that is changed")
    parser.add_argument("--cdc-changes", type=int, default=1_000_000, help="that are applied to it")
    parser.add_argument("--history", type=int, default=400, help="days of the long history; the short has a tenth")
    parser.add_argument("--history-rows", type=int, default=5_000, help="of a day of the histories")
    parser.add_argument("--history-domains", default=",".join(history.DOMAINS), help="those with a history")
    parser.add_argument("--backfill-days", type=int, default=365, help="days of the backfill")
    parser.add_argument("--backfill-rows", type=int, default=1_000, help="of a day of the backfill, of each domain")
    parser.add_argument("--simulated-days", type=int, default=21, help="of hourly arrivals; 365: a year")
    parser.add_argument("--all-runs", action="store_true", help="really run each day of the backfill alone; hours")
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "clickstream-bench")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if not set(arguments.contenders) & set("abcdefg"):
        parser.error("--contenders names none: choose among a to g")
    names = ["huge"] if arguments.huge else arguments.only or [name for name in PARTS if name not in BY_HAND]
    parts = written(arguments.results)
    summary = ""
    work = arguments.data / f"work-{os.getpid()}"
    try:
        for name in names:
            parts[name] = PARTS[name].part(arguments, work)
            summary = write(arguments.results, parts)
            print(parts[name], flush=True)
    except BenchmarkFailed as error:
        sys.exit(str(error))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(summary)


if __name__ == "__main__":
    main()
