"""Many days of several domains, one domain after the other, and what is told of it. No Dagster here.

There is no second way of running: each domain is run as ``clickstream run`` does it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from clickstream_assets import faults
from clickstream_assets.errors import ClickstreamError
from clickstream_assets.settings import Settings

if TYPE_CHECKING:
    from clickstream_assets.domains import Domain
    from clickstream_assets.price import Price, Range


@dataclass(frozen=True)
class Done:
    """What became of a domain; ``error``: why it is not done, or not whole."""

    domain: str
    days: Sequence[date]
    repaired: Sequence[date]
    run_ids: Sequence[str]
    seconds: float
    error: str | None = None


def run(
    price: Price, domains: Sequence[Domain], first: date, last: date, *, tell: Callable[[str], None]
) -> tuple[list[Done], str | None]:
    """Run the domains; what became of those that were begun, and why it is not all, in one sentence.

    ``tell`` is given a line before and after each domain.
    """
    from clickstream_assets.run import Interrupted, run_domain

    settings = Settings.from_environment()
    takes = {one.domain: one.seconds for one in price.domains}
    done: list[Done] = []
    for number, domain in enumerate(domains, start=1):
        begun = time.monotonic()
        tell(f"\n{number} of {len(domains)}: {domain.name}, about {_seconds(takes[domain.name].estimate)}")
        error = None
        try:
            summary = run_domain(domain, first, last)
        except (KeyboardInterrupt, Interrupted):
            return done, _interrupted(done, domains[number - 1 :], first, last)
        except Exception as raised:
            fault = faults.explain_error(raised, settings)
            if fault is None and not isinstance(raised, ClickstreamError):
                raise
            error = f"{domain.name} {fault}" if fault else str(raised)
        seconds = round(time.monotonic() - begun, 1)
        if error is not None:
            done.append(Done(domain.name, [], [], [], seconds, error))
            tell(f"{domain.name}: not done: {error}")
            continue
        done.append(Done(domain.name, summary.days, summary.repaired, summary.run_ids, seconds))
        again = f", {len(summary.repaired)} of them repaired" if summary.repaired else ""
        tell(f"{domain.name}: {len(summary.days)} day(s) done in {seconds:.1f} s{again}")
    failed = [one for one in done if one.error is not None]
    if not failed:
        tell(f"\n{len(done)} domain(s) done in {_seconds(sum(one.seconds for one in done))}")
        return done, None
    names = ", ".join(one.domain for one in failed)
    return done, f"{len(failed)} of {len(done)} domains not done: {names}; the reason of each is above."


def _interrupted(done: Sequence[Done], left: Sequence[Domain], first: date, last: date) -> str:
    finished = ", ".join(one.domain for one in done if one.error is None) or "no domain yet"
    failed = [one.domain for one in done if one.error is not None]
    told = f", failed had {', '.join(failed)}" if failed else ""
    rest = " ".join([*failed, *(domain.name for domain in left)])
    return (
        f"Interrupted: done is {finished}{told}; what was published "
        f"stays. For the rest: clickstream backfill {rest} --from {first} --to {last}."
    )


def table(price: Price) -> tuple[list[str], list[list[Any]]]:
    """The price tag, a row per domain."""
    names = ["domain", "days", "files", "in landing", "to read", "rows", "time", "least – most", "lake grows by"]
    names += ["memory", "from"]
    if price.dollars is not None:
        names[-1:] = ["dollars", "a month", "from"]
    rows = []
    for one in price.domains:
        fetched = f" + {one.days_to_collect:,} days to fetch" if one.days_to_collect else ""
        row = [one.domain, one.days, one.files, _bytes(one.bytes), f"{_bytes(one.bytes_to_read)}{fetched}", one.rows]
        row += [_seconds(one.seconds.estimate), _ends(one.seconds), _bytes(one.lake_bytes), _bytes(one.memory_bytes)]
        if price.dollars is not None:
            kept = one.dollars_month or 0
            row += ["" if one.dollars is None else f"{one.dollars.estimate:.2f}", f"{kept:.2f}"]
        rows.append([*row, one.source])
    return names, rows


def summary(price: Price) -> str:
    """The price tag in a sentence."""
    read = sum(one.bytes_to_read for one in price.domains)
    text = f"{_bytes(read)} to read, about {_seconds(price.seconds.estimate)} ({_ends(price.seconds)})"
    if price.dollars is not None:
        low, middle, high = price.dollars.ends
        text += f", about {middle:.2f} dollars ({low:.2f} – {high:.2f})"
    return f"In all {text}, with the start of the command."


def _ends(found: Range) -> str:
    return f"{_seconds(found.low)} – {_seconds(found.high)}"


def _seconds(seconds: float) -> str:
    """A time as people say it: seconds up to two minutes, then minutes, then hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 120 * 60 else f"{seconds / 3600:.1f} h"


def _bytes(count: float) -> str:
    """A size as people say it."""
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= least:
            return f"{count / least:.1f} {unit}"
    return f"{count:.0f} B"
