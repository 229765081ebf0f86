"""One day's run after a short and after a long history, in every domain: ``clickstream run DOMAIN --date D``.

A history is made once and kept below the folder of the data, with a stamp that says of what and by which code; another
code makes it anew. The days that are measured are its next ones, so it grows by these, until it is a quarter too long.

Of change data, which has no days, each history is as many batches, one run each, and a new day is one more.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

if __package__:  # in tests; otherwise these are scripts
    from benchmarks import data, product
    from benchmarks.measuring import Measured, Target, apart, heading, line, median, run_process, section
else:
    import data
    import product
    from measuring import Measured, Target, apart, heading, line, median, run_process, section

from rich.console import Console

import clickstream_assets

TITLE = "# History results"
PACKAGES = ("pyarrow", "duckdb", "pysail", "pyspark", "pyiceberg", "dbt-core", "dbt-duckdb", "dagster")
DOMAINS = ("ecommerce", "clickstream", "ga4", "sales", "cdc")

#: the last day of every history
LAST = date(2025, 6, 30)

FIRST, REPAIR = "a new day", "repair of an old day"

CODE = Path(clickstream_assets.__file__).parent

#: runs a domain's days in a home, from the first to the last
Run = Callable[[str, Path, date, date], Measured]


def run_days(domain: str, home: Path, first: date, last: date) -> Measured:
    """``clickstream run`` of some days, and by Dagster's clock the steps of each layer."""
    command = [str(Path(sys.executable).with_name("clickstream")), "run", domain, "--format", "json"]
    span = [] if domain == "cdc" else ["--from", str(first), "--to", str(last)]
    measured, printed = run_process([*command, *span], {"CLICKSTREAM_HOME": str(home)})
    return replace(measured, phases=product.layer_seconds(home, json.loads(printed)["run_ids"]))


@dataclass
class History:
    """A home after ``days`` days of ``rows`` each, or some more: ``done`` in all. ``source``: files of more days."""

    folder: Path
    domain: str
    days: int
    rows: int
    source: Path
    done: int

    @property
    def home(self) -> Path:
        """The home folder."""
        return self.folder / "home"

    @property
    def next_day(self) -> date:
        """The first day that it has not."""
        return _first(self.days) + timedelta(days=self.done)

    def land_new(self) -> date:
        """Land a day that is new; returns it."""
        day = self.next_day
        if self.domain == "clickstream":  # of which a day as it is generated would repair three more
            data.plain_events(self.home / "landing", day, self.rows, arrival=day)
        else:
            data.land_days(self.source, self.home / "landing", day, day)
        self.done += 1
        return day

    def land_late(self) -> date:
        """Land some events of a day of long ago; returns the day on which they arrive, and nothing else does.

        Of 400 days that is 6 months ago: of fewer, when as much of them has passed.
        """
        arrival = self.next_day
        old = arrival - timedelta(days=self.days * 45 // 100)
        data.plain_events(self.home / "landing", old, max(1, self.rows // 100), arrival=arrival)
        self.done += 1
        return arrival

    def take(self) -> None:
        """Say that it is being changed: if that does not come to its end it will be made anew."""
        (self.folder / "stamp.json").unlink(missing_ok=True)

    def give_back(self) -> None:
        """Say what it is now."""
        stamp = _stamp(self.domain, self.days, self.rows) | {"done": self.done}
        (self.folder / "stamp.json").write_text(json.dumps(stamp))


def ready(folder: Path, domain: str, days: int, rows: int, rounds: int, *, run: Run = run_days) -> History:
    """A history, as it is kept or made now; it can take ``rounds`` more days, and as many late files."""
    spare = _spare(days, rounds)
    first, last = _first(days), LAST + timedelta(days=spare)
    files = folder / "landing", domain, rows, first, last
    source = data.days_folder(*files)
    if not source.exists():
        apart(data.days, *files)
    kept = folder / f"{domain}-{days}"
    stamp = kept / "stamp.json"
    wanted = _stamp(domain, days, rows)
    found = json.loads(stamp.read_text()) if stamp.exists() else {}
    done = found.pop("done", 0)
    history = History(kept, domain, days, rows, source, done)
    if found == wanted and done + 2 * rounds <= days + spare:
        return history
    shutil.rmtree(kept, ignore_errors=True)
    history.home.mkdir(parents=True)
    if domain == "cdc":
        run_process([sys.executable, __file__, str(source), str(history.home), str(first), str(LAST)])
    else:
        data.land_days(source, history.home / "landing", first, LAST)
        run(domain, history.home, first, LAST)
    history.done = days
    history.give_back()
    return history


def batch_by_batch(source: Path, home: Path, first: date, last: date) -> None:
    """Apply each day of change data by a run of its own, in this process."""
    from clickstream_assets.run import run_cdc

    os.environ["CLICKSTREAM_HOME"] = str(home)
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        data.land_days(source, home / "landing", day, day)
        run_cdc()


def _first(days: int) -> date:
    return LAST - timedelta(days=days - 1)


def _spare(days: int, rounds: int) -> int:
    """Days that a history may be too long."""
    return max(days // 4, 2 * rounds)


def _stamp(domain: str, days: int, rows: int) -> dict[str, object]:
    """Of what and by which code a history is made."""
    digest = hashlib.sha256()
    for folder in (CODE, CODE.parent / "dbt_project"):
        for path in sorted(folder.rglob("*.*")):
            if path.suffix in (".py", ".sql", ".yml", ".yaml") and "target" not in path.parts:
                digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return {"domain": domain, "days": days, "rows": rows, "code": digest.hexdigest()[:16]}


#: what was found: by domain, days of history and what was run
Found = dict[str, dict[int, dict[str, list[Measured]]]]


def part(arguments: argparse.Namespace, work: Path) -> str:
    """Measure; the results as Markdown."""
    lengths = sorted({max(1, arguments.history // 10), arguments.history})
    folder = arguments.data / "history"
    found = {
        domain: after(folder, domain, lengths, arguments.history_rows, arguments.rounds)
        for domain in DOMAINS
        if domain in arguments.history_domains.split(",")
    }
    return report(found, arguments.history_rows, arguments.rounds)


def after(
    folder: Path, domain: str, lengths: Sequence[int], rows: int, rounds: int, *, run: Run = run_days
) -> dict[int, dict[str, list[Measured]]]:
    """What a new day takes after as many days, the histories in turn; of clickstream a late file for an old day too."""
    console = Console(stderr=True)
    histories = []
    for days in lengths:
        with console.status(f"{domain}: a history of {days} days, made once"):
            histories.append(ready(folder, domain, days, rows, rounds, run=run))
    found: dict[int, dict[str, list[Measured]]] = {days: defaultdict(list) for days in lengths}
    for history in histories:
        history.take()
    for number in range(rounds):
        for history in histories:
            kinds = {FIRST: history.land_new} | ({REPAIR: history.land_late} if domain == "clickstream" else {})
            for kind, land in kinds.items():
                day = land()
                os.sync()
                with console.status(f"round {number + 1}: {domain}, {kind} after {history.days} days"):
                    measured = run(domain, history.home, day, day)
                found[history.days][kind].append(measured)
                console.print(line(f"{domain} {history.days}", measured))
    for history in histories:
        history.give_back()
    return found


def report(found: Found, rows: int, rounds: int) -> str:
    """What was found."""
    what = (
        "`clickstream run DOMAIN --date D` of a new day, as a whole process, in a home that has so many days of "
        f"{rows:,} rows each (of cdc: batches, each applied by a run); medians of {rounds}, short and long history in "
        f"turn. The repair is of a file of {max(1, rows // 100):,} events, all of one day of months ago, that is all "
        "that arrives. Raw, cleaned and enhanced are their steps by Dagster's clock."
    )
    lines = [
        *heading(TITLE, what, PACKAGES),
        "| domain | days before | run | seconds | least – most | raw | cleaned | enhanced | processor s | memory |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for domain, histories in found.items():
        for days, kinds in histories.items():
            for kind, runs in kinds.items():
                each = sorted(m.wall for m in runs)
                layers = " | ".join(
                    f"{median(runs, lambda m, layer=layer: m.phases[layer]):.2f}" for layer in product.LAYERS
                )
                lines.append(
                    f"| {domain} | {days} | {kind} | {median(runs, lambda m: m.wall):.2f} | {each[0]:.2f} – "
                    f"{each[-1]:.2f} | {layers} | {median(runs, lambda m: m.cpu):.1f} | "
                    f"{max(m.memory for m in runs) / 1e9:.2f} GB |"
                )
    return "\n".join([*lines, *section(_targets(found))]) + "\n"


def _targets(found: Found) -> list[Target]:
    judged = []
    for domain, histories in found.items():
        short, long = min(histories), max(histories)
        times = _seconds(histories[long][FIRST]) / _seconds(histories[short][FIRST])
        question = f"one day's run with {long} days of history vs {short}: {domain}"
        judged.append(Target(question, "≤ 1.2 ×", f"{times:.2f} ×", times <= 1.2))
        if runs := histories[long].get(REPAIR):
            steps, of_first = (median(one, lambda m: sum(m.phases.values())) for one in (runs, histories[long][FIRST]))
            question = f"repair of an old day after {long} days, steps: {domain}"
            judged.append(
                Target(question, "≤ 1.2 × those of a new day", f"{steps / of_first:.2f} ×", steps <= 1.2 * of_first)
            )
    return judged


def _seconds(runs: Sequence[Measured]) -> float:
    return median(runs, lambda m: m.wall)


if __name__ == "__main__":
    batch_by_batch(Path(sys.argv[1]), Path(sys.argv[2]), *map(date.fromisoformat, sys.argv[3:5]))
