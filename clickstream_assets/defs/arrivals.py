"""Sensors, one per domain: files that land start runs of their days.

The cursor is stored after the runs are submitted, so that a daemon that dies in between looks again with the old one.
The run keys make that harmless: they are made from the day and the files that are the reason, and Dagster starts a run
key once. It remembers run keys for ever, however the run ended: a run that failed is not tried again until a file of
its day changes. Re-execute it in the UI, or run the day with ``clickstream run``.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import dagster as dg

from clickstream_assets import arrivals, partitions
from clickstream_assets.domains import DOMAINS, Domain
from clickstream_assets.platform import Platform
from clickstream_assets.settings import Settings

if TYPE_CHECKING:
    from clickstream_assets.storage.files import FileInfo


def definitions() -> dg.Definitions:
    """The sensors, running from the start wherever there is a daemon."""
    seconds = Settings.from_environment().sensor_seconds
    return dg.Definitions(sensors=[_sensor(domain, seconds) for domain in DOMAINS.values()])


def _sensor(domain: Domain, seconds: int) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"{domain.name}_arrivals",
        job_name=domain.name,
        minimum_interval_seconds=seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Runs the days of {domain.name} for which files have landed or changed.",
    )
    def look(context: dg.SensorEvaluationContext, platform: dg.ResourceParam[Platform]) -> dg.SensorResult:
        first, last = platform.settings.start_date, partitions.last_day()
        cursors = arrivals.load(context.cursor)
        files: dict[date, list[FileInfo]] = defaultdict(list)
        for feed in domain.feeds:
            landing = arrivals.Arrivals(platform.landing, feed, first=first, last=last)
            new = landing.since(cursors.get(feed.root), now_ns=time.time_ns())
            cursors[feed.root] = new.cursor
            for day, found in new.days.items():
                files[day] += found
            for folder in new.elsewhere:
                context.log.warning(
                    "%s has new files and is no partition, so they are not loaded: move them to %s, from %s to %s.",
                    *(folder, feed.layout, first, last),
                )
            if new.left:
                context.log.info("%d more new files of %s are left for the next looks.", new.left, feed.root)
        requests = [
            dg.RunRequest(run_key=_run_key(day, files[day]), partition_key=day.isoformat()) for day in sorted(files)
        ]
        return dg.SensorResult(run_requests=requests, cursor=json.dumps(cursors))

    return look


def _run_key(day: date, files: Sequence[FileInfo]) -> str:
    reason = "\n".join(sorted(f"{file.path}\t{file.etag}" for file in files))
    return f"{day}:{hashlib.sha256(reason.encode()).hexdigest()[:16]}"
