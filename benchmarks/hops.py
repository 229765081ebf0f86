"""Where the time of a run goes, hop by hop: reading, computing, writing, checking, publishing, orchestrating.

``python hops.py DOMAIN HOME FIRST LAST`` runs these days of what has landed in that home, in a process that is warm,
and prints one JSON line with seconds. The product has no clocks of its own for this: ``Clocks`` puts them around its
functions for the time of the run.

The steps themselves are by Dagster's clock. Within them

* publish: the commit to the lake, and all that the warehouse is told
* check: the guards before that; of dbt the times in which nothing but tests was at work
* raw, read and compute and write: threads that share the work of loading, by how long each was at which; what encodes
  Parquet beside them counts as far as they wait for it
* cleaned, read and compute and write are one query of the engine, which cannot be told apart from outside. So parts of
  it are done again afterwards by themselves: read is to scan the raw files; write is what it takes longer to write the
  rows than to compute them and throw them away; compute is the rest
* enhanced, compute: dbt's models, which read and write as well, in one statement each
* orchestrate: the rest of a step, with locks, records, previews, and dbt's start
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

if __package__:  # in tests; otherwise these are scripts
    from benchmarks import product
    from benchmarks.measuring import Contender, Measured, run_process
else:
    import product
    from measuring import Contender, Measured, run_process

LAYERS = product.LAYERS
HOPS = ("read", "compute", "write", "check", "publish", "orchestrate")
NAME, ROUNDS = "hops", 3

#: seconds of hops, by layer
Found = dict[str, dict[str, float]]


class Clocks:
    """Puts clocks around functions of the product while it is entered; ``seconds`` by layer and hop.

    ``cleanings``: what ``shaping.clean`` was called with.
    """

    def __init__(self) -> None:
        self.seconds: Found = {layer: dict.fromkeys(HOPS, 0.0) for layer in LAYERS}
        self.cleanings: list[tuple[Any, ...]] = []
        self._shares: dict[str, float] = defaultdict(float)
        self._inner = threading.local()
        self._lock = threading.Lock()
        self._patches = contextlib.ExitStack()
        self._checked = 0.0

    def __enter__(self) -> Clocks:
        from dbt.cli.main import dbtRunner

        from clickstream_assets import domains, guards, totals
        from clickstream_assets.parsing import landing, rows
        from clickstream_assets.parsing.formats import Format
        from clickstream_assets.storage import cleaning, publishing, shaping, staged
        from clickstream_assets.storage.lake import StagedWriter

        self._around(landing.LandingLoader, "stage", self._loading)
        self._around(cleaning, "stage", self._cleaning)
        self._around(shaping, "clean", self._shaped)
        self._around(publishing, "publish", self._publishing)
        self._around(dbtRunner, "invoke", partial(self._adding, "enhanced", "compute"))
        self._around(landing.FilesLoader, "_inspect", partial(self._sharing, "read"))
        self._around(Format, "load", self._reading)
        self._around(domains.Feed, "load_shape", self._shaping)
        self._around(rows.DayWriter, "_with_lineage", partial(self._sharing, "compute"))
        for name in ("append", "close"):
            self._around(StagedWriter, name, partial(self._sharing, "write"))
        for owner, name in (
            (landing.FilesLoader, "_compared"),
            (totals, "cleaned"),
            (staged.Staged, "checks"),
            (guards, "_no_personal_data"),
            (guards, "_keeps_contract"),
        ):
            self._around(owner, name, self._checking)
        return self

    def __exit__(self, *_: object) -> None:
        self._patches.close()

    def _around(self, owner: Any, name: str, call: Callable[..., Any]) -> None:
        """Have ``call`` in the place of a function, which it gets first.

        Raises:
            AttributeError: it is no longer there under that name.
        """
        function = getattr(owner, name)
        patched = mock.patch.object(owner, name, lambda *args, **named: call(function, *args, **named))
        self._patches.enter_context(patched)

    def _adding(self, layer: str, hop: str, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        begun = time.perf_counter()
        try:
            return function(*args, **named)
        finally:
            self.seconds[layer][hop] += time.perf_counter() - begun

    def _sharing(self, hop: str, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Time of one of the threads that load, less that of others of these functions which it calls."""
        outer, self._inner.seconds = getattr(self._inner, "seconds", 0.0), 0.0
        begun = time.perf_counter()
        try:
            return function(*args, **named)
        finally:
            took = time.perf_counter() - begun
            with self._lock:
                self._shares[hop] += took - self._inner.seconds
            self._inner.seconds = outer + took

    def _reading(self, function: Callable[..., Any], *args: Any) -> Any:
        reader = function(*args)

        def read(*given: Any) -> Iterator[Any]:
            batches = iter(reader(*given))
            return iter(lambda: self._sharing("read", next, batches, None), None)

        return read

    def _shaping(self, function: Callable[..., Any], *args: Any) -> Any:
        shape = function(*args)
        return shape and _Shape(shape, partial(self._sharing, "compute", shape))

    def _loading(self, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        self._shares.clear()
        begun, self._checked = time.perf_counter(), 0.0
        staged = function(*args, **named)
        took = time.perf_counter() - begun - self._checked
        of_raw, all_shares = self.seconds["raw"], sum(self._shares.values())
        of_raw["check"] += self._checked
        for hop, share in self._shares.items():
            of_raw[hop] += took * share / all_shares
        return staged

    def _cleaning(self, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        begun, self._checked = time.perf_counter(), 0.0
        staged = function(*args, **named)
        self.seconds["cleaned"]["compute"] += time.perf_counter() - begun - self._checked
        self.seconds["cleaned"]["check"] += self._checked
        return staged

    def _shaped(self, function: Callable[..., Any], *args: Any) -> Any:
        self.cleanings.append(args)
        return function(*args)

    def _checking(self, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Of what is staged: a guard of its own adds to its layer, one within a step to the step."""
        begun = time.perf_counter()
        try:
            return function(*args, **named)
        finally:
            took = time.perf_counter() - begun
            self._checked += took
            if args and (layer := _layer(args[0])):
                self.seconds[layer]["check"] += took

    def _publishing(self, function: Callable[..., Any], lake: Any, warehouse: Any, staged: Any, **named: Any) -> Any:
        return self._adding(_layer(staged), "publish", function, lake, warehouse, staged, **named)


class _Shape:
    """A shape with a clock around it."""

    def __init__(self, shape: Any, call: Callable[..., Any]):
        self.identity, self.seal, self._call = shape.identity, shape.seal, call

    def __call__(self, *given: Any) -> Any:
        return self._call(*given)


def _layer(staged: Any) -> str:
    """Of what is staged, by its table's name; of anything else none."""
    table = getattr(staged, "table", None)
    return "" if table is None else "raw" if "_raw." in table.name else "cleaned"


def measure(name: str, home: Path, first: date, last: date) -> Found:
    """Run these days, after the day before them, and tell where the time went; ``between``: of the run, its steps."""
    from clickstream_assets.domains import domain
    from clickstream_assets.run import run_domain

    os.environ["CLICKSTREAM_HOME"] = str(home)
    chosen, before = domain(name), first - timedelta(days=1)
    run_domain(chosen, before, before)
    with Clocks() as clocks:
        begun = time.perf_counter()
        run = run_domain(chosen, first, last)
        took = time.perf_counter() - begun
    found = clocks.seconds
    spans = product.dbt_spans(home)
    models, all_of_dbt = product.covered(spans["models"]), product.covered([*spans["models"], *spans["tests"]])
    found["enhanced"] |= {"compute": models, "check": all_of_dbt - models}
    read, write = map(sum, zip(*(_apart(*call) for call in clocks.cleanings), strict=True))
    cleaned = found["cleaned"]
    cleaned["compute"] -= read + write
    cleaned |= {"read": read, "write": write}
    steps = product.layer_seconds(home, run.run_ids)
    for layer, seconds in steps.items():
        found[layer]["orchestrate"] = seconds - sum(found[layer].values())
    return found | {"between": {"orchestrate": took - sum(steps.values())}}


def _apart(session: Any, lake: Any, work: Any) -> tuple[float, float]:
    """Seconds of reading and of writing alone, of a call of ``shaping.clean``."""
    from clickstream_assets.storage import shaping, spark

    def throw_away(rows: Any) -> None:
        rows.write.format("noop").mode("overwrite").save()

    parts = [shaping._rows(session, work, part) for part in shaping._parts(work.files)]
    accepted = [work.transform.over(rows)(rows).accepted.select(*work.target.arrow.names) for rows in parts]
    read = _two_at_a_time(throw_away, parts)
    computed = _two_at_a_time(throw_away, accepted)
    written = _two_at_a_time(partial(spark.write, lake, work.target, work.days, by_hour=work.by_hour), accepted)
    return read, max(0.0, written - computed)


def _two_at_a_time(action: Callable[[Any], Any], parts: Sequence[Any]) -> float:
    begun = time.perf_counter()
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(action, parts))
    return time.perf_counter() - begun


def contender(domain: str, first: date, last: date, land: Callable[[Path], object]) -> Contender:
    """The run of these days, as something that is measured; ``land`` puts them into a home, and the day before."""

    def run(folder: Path) -> Measured:
        land(folder)
        command = [sys.executable, str(Path(__file__).resolve()), domain, str(folder), str(first), str(last)]
        measured, printed = run_process(command)
        found: Found = json.loads(printed.splitlines()[-1])
        phases = {f"{layer} {hop}": seconds for layer, hops in found.items() for hop, seconds in hops.items()}
        return Measured(measured.wall, measured.memory, measured.cpu, phases)

    return Contender(NAME, "where the time of a run goes", run, ROUNDS)


def table(runs: Sequence[Measured]) -> list[str]:
    """The medians, as a section's table."""

    def seconds(layer: str, hop: str) -> float | None:
        name = f"{layer} {hop}"
        return statistics.median(run.phases[name] for run in runs) if name in runs[0].phases else None

    lines = [f"| | {' | '.join(HOPS)} | all |", f"|---|{'---:|' * (len(HOPS) + 1)}"]
    for layer in (*LAYERS, "between"):
        each = [seconds(layer, hop) for hop in HOPS]
        cells = ["" if one is None else f"{one:.2f}" for one in each]
        lines.append(f"| {layer} | {' | '.join(cells)} | {sum(one or 0.0 for one in each):.2f} |")
    return [
        *lines,
        "",
        f"Medians of {len(runs)} runs in a warm process. `check` are the guards, and of enhanced dbt's tests; models "
        "read, compute and write in one statement. `between` is of a run what Dagster does between steps. How the "
        "hops are told apart is in `hops.py`.",
    ]


def main() -> None:
    """Measure one run, in a home where its days have landed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("domain")
    parser.add_argument("home", type=Path)
    parser.add_argument("first", type=date.fromisoformat)
    parser.add_argument("last", type=date.fromisoformat)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.domain, arguments.home.absolute(), arguments.first, arguments.last)))


if __name__ == "__main__":
    main()
