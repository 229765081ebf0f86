"""Sensors: files that land start runs of their days.

One per domain lists landing. Its cursor is stored after the runs are submitted, so that a daemon that dies in between
looks again with the old one. The run keys make that harmless: they are made from the day and the files that are the
reason, and Dagster starts a run key once. It remembers run keys for ever, however the run ended: a run that failed is
not tried again until a file of its day changes. Re-execute it in the UI, or run the day with ``clickstream run``. Files
that are loaded already, as after ``make demo``, are no reason for a run.

With a queue of S3's notifications there is one sensor for all domains instead, since several would take each other's
messages. It has no cursor: what was requested is known from the tags of the runs.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

import dagster as dg

from clickstream_assets import arrivals, notifications
from clickstream_assets.days import last_day
from clickstream_assets.defs import jobs
from clickstream_assets.domains import DOMAINS, Domain
from clickstream_assets.errors import ClickstreamError
from clickstream_assets.platform import Platform
from clickstream_assets.settings import Settings

if TYPE_CHECKING:
    from clickstream_assets.storage.files import FileInfo

#: tags of a run: digests of the notifications that are its reason
_REASONS = "clickstream/arrivals_"

#: digests per tag: PostgreSQL has an index over tags, whose entries end at 2,700 bytes
_PER_TAG = 150

#: the longest time for which SQS keeps a message
_KEPT = timedelta(days=14)

#: messages that are named in a log
_NAMED = 10


def definitions() -> dg.Definitions:
    """The sensors, running from the start wherever there is a daemon."""
    settings = Settings.from_environment()
    if settings.arrivals_queue:
        return dg.Definitions(sensors=[_queue_sensor(settings.sensor_seconds)])
    return dg.Definitions(sensors=[_sensor(domain, settings.sensor_seconds) for domain in DOMAINS.values()])


def _sensor(domain: Domain, seconds: int) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"{domain.name}_arrivals",
        job_name=domain.name,
        minimum_interval_seconds=seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Runs the days of {domain.name} for which files have landed or changed.",
    )
    def look(
        context: dg.SensorEvaluationContext, platform: dg.ResourceParam[Platform]
    ) -> dg.SensorResult | dg.SkipReason:
        first, last = platform.settings.start_date, last_day()
        cursors = arrivals.load(context.cursor)
        files: dict[date, list[FileInfo]] = defaultdict(list)
        for place in domain.landings:
            landing = arrivals.Arrivals(platform.landing, place, first=first, last=last)
            new = landing.since(cursors.get(place.root), now_ns=time.time_ns())
            cursors[place.root] = new.cursor
            for day, found in new.days.items():
                files[day] += found
            for folder in new.elsewhere:
                _warn_of(context, folder, place.layout, first, last)
            if new.left:
                context.log.info("%d more new files of %s are left for the next looks.", new.left, place.root)
        if files and domain.collect is not None and (working := _collecting(context.instance, domain)):
            return dg.SkipReason(f"{working} loads what it collects: new files are looked at when it has ended.")
        try:
            files = _not_loaded(platform, domain, files) if files else files
        except ClickstreamError as error:
            if domain.collect is not None:
                return dg.SkipReason(f"{error} New files are looked at again in {seconds} s.")
            # A day that is run for files that are loaded is run once too often, which changes nothing.
            context.log.info("Files that are loaded already may be among the new ones: %s", error)
        requests = [
            dg.RunRequest(run_key=_run_key(day, files[day]), partition_key=day.isoformat()) for day in sorted(files)
        ]
        return dg.SensorResult(run_requests=requests, cursor=json.dumps(cursors))

    return look


def _collecting(instance: dg.DagsterInstance, domain: Domain) -> str | None:
    """The run that fetches files of the domain just now, and then loads them."""
    ended = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}
    unfinished = [status for status in dg.DagsterRunStatus if status not in ended]
    runs = instance.get_runs(dg.RunsFilter(job_name=jobs.refresh_name(domain.name), statuses=unfinished), limit=1)
    return f"run {runs[0].run_id}" if runs else None


def _collected(
    instance: dg.DagsterInstance, platform: Platform, days: Iterable[tuple[str, date | None]]
) -> tuple[set[tuple[str, date | None]], set[tuple[str, date | None]]]:
    """Of the days of domains that fetch their files those whose files are all loaded, and those to be looked at later.

    Messages about the latter come again.
    """
    loaded: set[tuple[str, date | None]] = set()
    waiting: set[tuple[str, date | None]] = set()
    for name, day in days:
        domain = DOMAINS.get(name)
        if domain is None or day is None or domain.collect is None:
            continue
        files = [file for place in domain.landings for file in platform.landing.files(place.folder(day))]
        try:
            if _collecting(instance, domain):
                waiting.add((name, day))
            elif not _not_loaded(platform, domain, {day: files}):
                loaded.add((name, day))
        except ClickstreamError:
            waiting.add((name, day))
    return loaded, waiting


def _not_loaded(
    platform: Platform, domain: Domain, files: Mapping[date, Sequence[FileInfo]]
) -> dict[date, list[FileInfo]]:
    """Of the files those that no run has loaded as they are now: others were loaded by hand, or by what fetched them.

    Raises:
        ClickstreamError: it is not to be known now, e.g. since a step has the warehouse.
    """
    from clickstream_assets.storage.files import misnamed  # with PyArrow, which the graph is loaded without

    known: dict[str, str] = {}
    with platform.warehouse.locked("looking for files that are loaded", timeout=0):
        for landing in domain.landings:
            known |= platform.warehouse.versions_read(landing.root, files)
    found = {
        day: [
            file
            for file in of_day
            if not misnamed(file.path) and known.get(file.path) != platform.landing.version(file)
        ]
        for day, of_day in files.items()
    }
    return {day: of_day for day, of_day in found.items() if of_day}


def _queue_sensor(seconds: int) -> dg.SensorDefinition:
    @dg.sensor(
        name="arrivals",
        jobs=[*(jobs.job(name) for name in DOMAINS), jobs.changes()],
        minimum_interval_seconds=seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Runs the days for which S3 has sent notifications of files that were written.",
    )
    def look(context: dg.SensorEvaluationContext, platform: dg.ResourceParam[Platform]) -> dg.SensorResult:
        settings = platform.settings
        first, last = settings.start_date, last_day()
        queue = notifications.Queue(str(settings.arrivals_queue))
        found = notifications.look(queue, settings.landing_uri, first=first, last=last)
        _log(context, found, settings.landing_uri)
        for folder, layout in found.elsewhere.items():
            _warn_of(context, folder, layout, first, last)

        days: dict[tuple[str, date | None], set[str]] = defaultdict(set)
        for arrival in found.arrivals:
            days[arrival.domain, arrival.day].add(arrival.digest)
        loaded, waiting = _collected(context.instance, platform, days)
        requested = set[str]().union(*(_requested(context.instance, domain, day) for domain, day in days))
        requested = requested.union(*(days[key] for key in loaded))
        days = {key: digests for key, digests in days.items() if key not in waiting}
        queue.delete(found.settled(requested))
        new = {key: sorted(digests - requested) for key, digests in days.items() if digests - requested}
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(
                    run_key=f"{domain}:{day or ''}:{_hash(new[domain, day])}",
                    job_name=domain,
                    partition_key=None if day is None else day.isoformat(),
                    tags=_reasons(new[domain, day]),
                )
                for domain, day in sorted(new, key=str)
            ]
        )

    return look


def _requested(instance: dg.DagsterInstance, domain: str, day: date | None) -> set[str]:
    """Digests of the notifications that have runs: 1,500 runs of a day are read in 0.1 s.

    Of change files, which have no day, the runs of the time for which SQS keeps a message.
    """
    if day is None:
        filters = dg.RunsFilter(job_name=domain, created_after=datetime.now(UTC) - _KEPT)
    else:
        filters = dg.RunsFilter(job_name=domain, tags={"dagster/partition": day.isoformat()})
    runs = instance.get_runs(filters)
    tags = (tag for run in runs for tag in run.tags.items())
    return {digest for name, value in tags if name.startswith(_REASONS) for digest in value.split(",")}


def _reasons(digests: Iterable[str]) -> dict[str, str]:
    left = iter(digests)
    chunks = iter(lambda: ",".join(islice(left, _PER_TAG)), "")
    return {f"{_REASONS}{number}": chunk for number, chunk in enumerate(chunks, start=1)}


def _log(context: dg.SensorEvaluationContext, found: notifications.Found, landing_uri: str) -> None:
    """Ids and reasons: what is in a message that is not ours is not ours to show."""
    for message, reason in list(found.unreadable.items())[:_NAMED]:
        context.log.warning(
            "The message %s is left in the queue, as %s: see docs/operations.md, Notifications.", message, reason
        )
    if len(found.unreadable) > _NAMED:
        context.log.warning("%d more messages are left in the queue.", len(found.unreadable) - _NAMED)
    if found.foreign:
        context.log.warning(
            "%d files that are not in a landing folder below %s were named by messages, which are deleted; the first "
            "is %s: narrow the prefix of the bucket's notifications, or mend CLICKSTREAM_LANDING_URI.",
            *(len(found.foreign), landing_uri, found.foreign[0]),
        )


def _warn_of(context: dg.SensorEvaluationContext, folder: str, layout: str, first: date, last: date) -> None:
    context.log.warning(
        "%s has new files and is no partition, so they are not loaded: move them to %s, from %s to %s.",
        *(folder, layout, first, last),
    )


def _run_key(day: date, files: Sequence[FileInfo]) -> str:
    reason = _hash(f"{file.path}\t{file.etag}" for file in files)
    return f"{day}:{reason}"


def _hash(reasons: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(reasons)).encode()).hexdigest()[:16]
