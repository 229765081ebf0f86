"""This project as a contender: what its engines take in a warm process, and what its steps took in any run.

As a script, ``python product.py ecommerce INPUT.csv HOME`` or ``python product.py clickstream LANDING HOME`` prints one
JSON line with the seconds of each engine step. Of e-commerce that is a run, made by ``run_domain`` alone; ``ENGINES``
names what is timed inside. Of clickstream the same functions are called one by one, without Dagster and dbt.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import json
import os
import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

if __package__:  # in tests; otherwise these are scripts
    from benchmarks import data
else:
    import data

#: the steps of an e-commerce run, by what they are called here
STEPS = {"raw": "ecommerce_raw__events_raw", "cleaned": "ecommerce__events_cleaned", "gold": "ecommerce_models"}

#: the same of clickstream
EVENT_STEPS = {
    "raw": "clickstream_raw__events_raw",
    "cleaned": "clickstream__events_cleaned",
    "dbt": "clickstream_models",
}

#: the layers that a run makes
LAYERS = ("raw", "cleaned", "enhanced")

#: the functions that do the work: module, name, and the step they belong to (of ``publish``: its table's)
ENGINES = (
    ("clickstream_assets.parsing.landing", "LandingLoader.stage", "raw"),
    ("clickstream_assets.storage.cleaning", "stage", "cleaned"),
    ("clickstream_assets.storage.publishing", "publish", None),
    ("dbt.cli.main", "dbtRunner.invoke", "gold"),
)


def land(source: Path, home: Path) -> date:
    """Put the input into a home's landing folder and return its day; a link where the file system has links."""
    for path in source.parent.glob("*.csv"):  # with the further files of a large day
        _link(path, home / "landing" / "ecommerce" / path.parent.name / path.name)
    return date.fromisoformat(source.parent.name.removeprefix("ingestion_date="))


def land_tiny(home: Path, day: date) -> date:
    """Two records of the day before, of which one is rejected; returns that day."""
    before = day - timedelta(days=1)
    tiny = home / "landing" / "ecommerce" / f"ingestion_date={before}" / "tiny.csv"
    tiny.parent.mkdir(parents=True)
    tiny.write_text(
        "UserID,SessionID,Timestamp,EventType,ProductID,Amount,Outcome\n"
        f"1,1,{before} 10:00:00,page_view,,,\n,1,{before} 10:00:00,page_view,,,\n"
    )
    return before


def land_events(source: Path, home: Path) -> None:
    """Put all files of a landing folder into a home's."""
    for path in source.rglob("*"):
        if path.is_file():
            _link(path, home / "landing" / path.relative_to(source))


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def engine_steps(home: Path, day: date) -> dict[str, float]:
    """Seconds of the engines' functions in a day's run, in a warm process: raw, cleaned and gold.

    First a day of two records goes through the same home: afterwards everything is imported, the Spark session is
    there, dbt has parsed its project and the tables exist. Reading, transforming, publishing to the lake and showing
    it in the warehouse count, and dbt's invocation as a whole with its tests; Dagster's records of them do not, but
    are written meanwhile. ``… step`` are the same steps by Dagster's clock, with locks, guards and records.
    """
    from clickstream_assets.domains import domain
    from clickstream_assets.run import run_domain

    os.environ["CLICKSTREAM_HOME"] = str(home)
    before = land_tiny(home, day)
    run_domain(domain("ecommerce"), before, before)
    with _timed_engines() as took:
        run_domain(domain("ecommerce"), day, day)
    by_dagster = {f"{name} step": seconds for name, seconds in steps(home, day).items()}
    return {name: took[name] for name in STEPS} | by_dagster | dbt_seconds(home)


def event_steps(source: Path, home: Path, day: date) -> dict[str, float]:
    """Seconds of the engines' functions for a day of clickstream, in a warm process, and for a file that comes later.

    First a day of two events goes the same way. Then the day, whose late events touch three days before it, and then
    three times a file of ``data.INTRADAY`` events of one hour of it. A step is reading or transforming, the guards, and
    publishing to the lake and the warehouse; ``intraday …`` are the steps of a later file, the median of each.
    """
    os.environ["CLICKSTREAM_HOME"] = str(home)
    earlier = day - timedelta(days=10)
    data.plain_events(home / "landing", earlier, 2, arrival=earlier)
    load_events(earlier)
    land_events(source, home)
    took = load_events(day)
    later = []
    for hour in (17, 9, 20):
        data.plain_events(home / "landing", day, data.INTRADAY, arrival=day, hours=(hour,))
        later.append(_whole(load_events(day)))
    return took | {f"intraday {name}": statistics.median(each[name] for each in later) for name in later[0]}


def load_events(day: date) -> dict[str, float]:
    """Raw for a day of arrival, and cleaned for all days that it changed; seconds of each part.

    Raises:
        RuntimeError: a guard failed.
    """
    from clickstream_assets import domains, guards, repair
    from clickstream_assets.parsing.landing import LandingLoader
    from clickstream_assets.platform import Platform
    from clickstream_assets.settings import Settings
    from clickstream_assets.storage import cleaning, publishing

    platform = Platform(Settings.from_environment())
    events = replace(domains.domain("clickstream"), row_models=())
    (feed,) = events.feeds
    limits = platform.settings.limits
    took: dict[str, float] = {}
    marked = time.perf_counter()

    def mark(name: str) -> None:
        nonlocal marked
        now = time.perf_counter()
        took[name], marked = now - marked, now

    def finish(staged: Any, step: str) -> None:
        checks = [*staged.checks(rejected_share=1), guards._no_personal_data(staged, platform)]
        if failed := [check.description for check in checks if not check.passed]:
            raise RuntimeError(f"{step}: {failed}")
        mark(f"{step} guards")
        publishing.publish(platform.lake, platform.warehouse, staged)
        mark(f"{step} publish")

    shape = feed.load_shape(platform)
    loader = LandingLoader(feed, landing=platform.landing, lake=platform.lake, limits=limits, shape=shape)
    known = platform.warehouse.landing_files(feed.root)
    staged = loader.stage([day], known, run_id="raw", progress=lambda _: None)
    mark("raw stage")
    finish(staged, "raw")
    days = sorted({day, *repair.pending_days(platform, events)})
    staged = cleaning.stage(
        platform.spark,
        platform.lake,
        source=platform.lake.snapshot(feed.raw, days, by=feed.cleaned.day),
        target=feed.cleaned,
        transform=feed.load_transform(),
        days=days,
        run_id="cleaned",
        made=platform.warehouse.accounts(feed.cleaned.name),
    )
    mark("cleaned stage")
    finish(staged, "cleaned")
    return took


def _whole(took: dict[str, float]) -> dict[str, float]:
    """Seconds of the two steps, of those of their parts."""
    return {
        step: sum(seconds for name, seconds in took.items() if name.startswith(f"{step} "))
        for step in ("raw", "cleaned")
    }


@contextlib.contextmanager
def _timed_engines() -> Iterator[dict[str, float]]:
    """Add up the seconds of ``ENGINES`` while the block runs.

    Raises:
        AttributeError: one of them is no longer there under that name.
    """
    took: dict[str, float] = defaultdict(float)

    def timed(function: Callable[..., Any], step: str | None) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **named: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*args, **named)
            finally:
                took[step or _step_of(args)] += time.perf_counter() - begun

        return call

    with contextlib.ExitStack() as patches:
        for module, name, step in ENGINES:
            owner: Any = importlib.import_module(module)
            *path, last = name.split(".")
            for part in path:
                owner = getattr(owner, part)
            patches.enter_context(mock.patch.object(owner, last, timed(getattr(owner, last), step)))
        yield took


def _step_of(arguments: tuple[Any, ...]) -> str:
    """The step whose table is published by a call with these arguments."""
    key = next(a.table.name for a in arguments if hasattr(a, "table")).replace(".", "__")
    return next(name for name, step in STEPS.items() if step == key)


def steps(home: Path, day: date, names: dict[str, str] = STEPS) -> dict[str, float]:
    """Seconds of each step of the newest run of a day in that home, as Dagster recorded them."""
    import dagster as dg  # noqa: TID251 reads the records of a run

    os.environ["DAGSTER_HOME"] = str(home / "dagster")
    took: dict[str, float] = {}
    with dg.DagsterInstance.get() as instance:
        runs = instance.get_runs(filters=dg.RunsFilter(tags={"dagster/partition": day.isoformat()}))
        for run in reversed(runs):
            for step in instance.get_run_step_stats(run.run_id):
                took[step.step_key] = (step.end_time or 0.0) - (step.start_time or 0.0)
    return {name: took[key] for name, key in names.items()}


def layer_seconds(home: Path, run_ids: Iterable[str]) -> dict[str, float]:
    """Seconds of the steps of each layer in these runs, as Dagster recorded them, added up."""
    import dagster as dg  # noqa: TID251 reads the records of a run

    os.environ["DAGSTER_HOME"] = str(home / "dagster")
    took = dict.fromkeys(LAYERS, 0.0)
    with dg.DagsterInstance.get() as instance:
        for step in (step for run_id in run_ids for step in instance.get_run_step_stats(run_id)):
            schema = step.step_key.partition("__")[0]
            layer = "enhanced" if schema.endswith("_models") else "raw" if schema.endswith("_raw") else "cleaned"
            took[layer] += (step.end_time or 0.0) - (step.start_time or 0.0)
    return took


def dbt_seconds(home: Path) -> dict[str, float]:
    """Of dbt's newest run: the time in which at least one model, or one test, was being executed."""
    return {f"dbt {kind}": covered(spans) for kind, spans in dbt_spans(home).items()}


def dbt_spans(home: Path) -> dict[str, list[tuple[float, float]]]:
    """Of dbt's newest run: when each of its models and tests was being executed."""
    results = json.loads((home / "dbt" / "run_results.json").read_text())["results"]
    spans: dict[str, list[tuple[float, float]]] = {"models": [], "tests": []}
    for result in results:
        kind = "models" if result["unique_id"].startswith("model.") else "tests"
        for part in result["timing"]:
            if part["name"] == "execute":
                start, end = (datetime.fromisoformat(part[at]).timestamp() for at in ("started_at", "completed_at"))
                spans[kind].append((start, end))
    return spans


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of the union of time spans."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def main() -> None:
    """Measure the engine steps on one input, in a home of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("domain", choices=["ecommerce", "clickstream"])
    parser.add_argument("input", type=Path)
    parser.add_argument("home", type=Path)
    arguments = parser.parse_args()
    home = arguments.home.absolute()
    if arguments.domain == "ecommerce":
        took = engine_steps(home, land(arguments.input, home))
    else:
        took = event_steps(arguments.input, home, data.DAY)
    print(json.dumps(took))


if __name__ == "__main__":
    main()
