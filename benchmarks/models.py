"""dbt within a run: how often it starts and parses, which models it makes, and what is neither model nor test.

``python models.py HOME`` runs a day of every domain that has models, in a home that is empty, and prints one JSON line.
The second of two processes is measured: the first may have to parse the project, once per change of it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

if __package__:  # in tests; otherwise these are scripts
    from benchmarks import product
    from benchmarks.measuring import Target, heading, run_process, section
else:
    import product
    from measuring import Target, heading, run_process, section

TITLE = "# dbt results"
PACKAGES = ("dbt-core", "dbt-duckdb", "dagster", "dagster-dbt")

#: the days of the run that is looked at
FIRST, DAYS = date(2025, 3, 1), 3


def part(arguments: argparse.Namespace, work: Path) -> str:
    """Measure; the results as Markdown."""
    for name in ("first", "second"):
        _, printed = run_process([sys.executable, __file__, str(work / name)])
    return report(json.loads(printed.splitlines()[-1]))


@contextlib.contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count dbt's starts and parses while the block runs, and the seconds of its starts."""
    from dbt.cli.main import dbtRunner
    from dbt.parser.manifest import ManifestLoader

    counts: Counter[str] = Counter()

    def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*args, **named)
            finally:
                counts[name] += 1
                counts[f"{name} seconds"] += time.perf_counter() - begun  # type: ignore[assignment]

        return call

    with (
        mock.patch.object(dbtRunner, "invoke", counting("starts", dbtRunner.invoke)),
        mock.patch.object(ManifestLoader, "load", counting("parses", ManifestLoader.load)),
    ):
        yield counts


def of_run(home: Path, name: str, run: Callable[[], object]) -> dict[str, float]:
    """What dbt did in a run of a domain: starts, parses, models, those of others, tests, seconds besides these."""
    from clickstream_assets import dbt
    from clickstream_assets.settings import Settings

    with counted() as counts:
        run()
    described = json.loads(dbt.manifest(Settings.from_environment({"CLICKSTREAM_HOME": str(home)})).read_text())
    results = json.loads((home / "dbt" / "run_results.json").read_text())["results"]
    made = [described["nodes"][result["unique_id"]] for result in results]
    spans = product.dbt_spans(home)
    return {
        "starts": counts["starts"],
        "parses": counts["parses"],
        "models": sum(node["resource_type"] == "model" for node in made),
        "others": sum(name not in node["tags"] for node in made if node["resource_type"] == "model"),
        "tests": sum(node["resource_type"] == "test" for node in made),
        "seconds": counts["starts seconds"],
        "besides": counts["starts seconds"] - product.covered([*spans["models"], *spans["tests"]]),
    }


def report(found: dict[str, dict[str, float]]) -> str:
    """What was found."""
    what = (
        f"one run of {DAYS} days of each domain, empty but for the made-up ones of GA4, all in a process that begins "
        "with nothing but the parse of the project that an earlier one left. A parse is a call of dbt's loader, "
        "whether or not it finds something to do; `besides` is the time within dbt in which no model and no test was "
        "at work, its start first of all."
    )
    lines = [
        *heading(TITLE, what, PACKAGES),
        "| domain | dbt starts | parses | models | of other domains | tests | seconds in dbt | besides |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for domain, of in found.items():
        counts = " | ".join(f"{of[name]:.0f}" for name in ("starts", "parses", "models", "others", "tests"))
        lines.append(f"| {domain} | {counts} | {of['seconds']:.2f} | {of['besides']:.2f} |")
    starts, parses, others = (max(of[name] for of in found.values()) for name in ("starts", "parses", "others"))
    every = f"dbt in a run of {DAYS} days, every domain"
    targets = [
        Target(every, "start-up paid once per run", f"{starts:.0f} start(s)", starts == 1),
        Target(every, "partial parsing kept warm", f"{parses:.0f} parse(s)", parses == 0),
        Target(every, "only the models of the domain", f"{others:.0f} of others", others == 0),
    ]
    return "\n".join([*lines, *section(targets)]) + "\n"


def main() -> None:
    """Measure in an empty home."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    home = parser.parse_args().home.absolute()
    os.environ["CLICKSTREAM_HOME"] = str(home)
    from clickstream_assets.domains import DOMAINS
    from clickstream_assets.run import run_domain

    last = FIRST + timedelta(days=DAYS - 1)
    found = {
        name: of_run(home, name, lambda domain=domain: run_domain(domain, FIRST, last))  # type: ignore[misc]
        for name, domain in DOMAINS.items()
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
