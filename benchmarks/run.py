"""The benchmark: ``python benchmarks/run.py`` measures, prints what it found and writes ``benchmarks/RESULTS.md``.

A module for each domain measures it and reports a part of the results; how is in ``measuring.py``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

import cdc
import clickstream
import ecommerce
import sales
from measuring import BenchmarkFailed

RESULTS = Path(__file__).resolve().parent / "RESULTS.md"
DOMAINS = {"ecommerce": ecommerce, "clickstream": clickstream, "sales": sales, "cdc": cdc}


def written(results: Path) -> dict[str, str]:
    """The parts that the results have by now; the first is that of e-commerce."""
    text = results.read_text() if results.exists() else ""
    parts = {}
    for name in reversed(DOMAINS):
        if title := getattr(DOMAINS[name], "TITLE", None):
            text, title, part = text.partition(f"{title}\n")
            parts[name] = f"{title}{part}".strip()
        else:
            parts[name] = text.strip()
    return {name: parts[name] for name in DOMAINS if parts[name]}


def write(results: Path, parts: dict[str, str]) -> None:
    """Write the parts that there are, in their order."""
    results.write_text("\n\n".join(parts[name].strip() for name in DOMAINS if name in parts) + "\n")


def main() -> None:
    """Measure, print and write the results; the part of a domain that is not measured stays as it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=DOMAINS, help="the one domain to measure")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--big", action="store_true", help=f"also with {ecommerce.BIG} times the rows and events")
    parser.add_argument("--rows", type=int, default=2_000_000, help="of the e-commerce file")
    parser.add_argument("--contenders", default="abcde", help="e-commerce contenders to measure, e.g. abe")
    parser.add_argument("--events", type=int, default=1_000_000, help="of the clickstream day")
    parser.add_argument("--history", type=int, default=400, help="days of clickstream before a repair; 0 for none")
    parser.add_argument("--sales-days", type=int, default=365, help="days of sales in one run")
    parser.add_argument("--sales-rows", type=int, default=100_000, help="sales of a day")
    parser.add_argument("--cdc-rows", type=int, default=5_000_000, help="of the table that is changed")
    parser.add_argument("--cdc-changes", type=int, default=1_000_000, help="that are applied to it")
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "clickstream-bench")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if not set(arguments.contenders) & set("abcde"):
        parser.error("--contenders names none: choose among a, b, c, d and e")
    parts = written(arguments.results)
    work = arguments.data / f"work-{os.getpid()}"
    try:
        for name in [arguments.only] if arguments.only else DOMAINS:
            parts[name] = DOMAINS[name].part(arguments, work)
            write(arguments.results, parts)
    except BenchmarkFailed as error:
        sys.exit(str(error))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(arguments.results.read_text())


if __name__ == "__main__":
    main()
