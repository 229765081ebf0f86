"""What Dagster has recorded of runs: how long each hop of a domain took, for which days. Reads, and writes nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import dagster as dg

from clickstream_assets import layers, partitions
from clickstream_assets.domains import Domain

if TYPE_CHECKING:
    from clickstream_assets.settings import Settings

#: the newest runs that are looked at, for each domain: 3 ms each
_RUNS = 40


@dataclass(frozen=True)
class Recorded:
    """A run that succeeded: its days, repaired ones included, and the seconds of each hop that it had."""

    run_id: str
    days: frozenset[date]
    seconds: Mapping[str, float]


@contextmanager
def opened(settings: Settings) -> Iterator[Records]:
    """The records of a home; of one that has none yet none are made."""
    if not (settings.dagster_home / "dagster.yaml").exists():
        yield Records(None)
        return
    from clickstream_assets.run import instance

    with instance(settings) as storage:
        yield Records(storage)


class Records:
    """What an instance of Dagster has recorded; None where there is none."""

    def __init__(self, storage: dg.DagsterInstance | None):
        self._storage = storage

    def of(self, domain: Domain) -> list[Recorded]:
        """The newest runs of a domain's job that succeeded, the newest first; each half of `clickstream run` is one."""
        if self._storage is None:
            return []
        wanted = dg.RunsFilter(job_name=domain.name, statuses=[dg.DagsterRunStatus.SUCCESS])
        found = self._storage.get_run_records(filters=wanted, limit=_RUNS)
        runs = []
        for record in found:
            run = record.dagster_run
            if days := partitions.of_run(run.tags):
                runs.append(Recorded(run.run_id, frozenset(days), self._steps(domain, run.run_id)))
        return runs

    def _steps(self, domain: Domain, run_id: str) -> dict[str, float]:
        """Seconds of the steps of a run, by hop."""
        if self._storage is None:
            return {}
        hops = {"__".join(feed.raw.key): layers.RAW for feed in domain.feeds}
        hops |= {"__".join(feed.cleaned.key): layers.CLEANED for feed in domain.feeds}
        seconds: dict[str, float] = defaultdict(float)
        ended = self._storage.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_SUCCESS).records
        for record in ended:
            event = record.event_log_entry.get_dagster_event()
            if event.step_key is not None:
                hop = hops.get(event.step_key, layers.ENHANCED)
                seconds[hop] += event.step_success_data.duration_ms / 1000
        return dict(seconds)
