"""Running a domain in this process: raw for the days asked, then everything below for them and the days they touch.

The Dagster runs made here are the same as those started in the UI, in the same instance, with the same history.
"""

from __future__ import annotations

import pkgutil
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, cast

import dagster as dg
from filelock import FileLock

from clickstream_assets import abandoned, faults, guards, layers, partitions, progress, repair
from clickstream_assets.days import day_range, last_day
from clickstream_assets.domains import Domain
from clickstream_assets.errors import ClickstreamError, IncompleteCollection
from clickstream_assets.platform import Platform
from clickstream_assets.settings import Settings, export

#: events that Dagster gathers before it writes them; see ``event_log``
EVENTS_PER_BATCH = 1000

#: days named in a message
_NAMED = 5

_TEMPLATE = Path(__file__).with_name("dagster.yaml")


@dataclass(frozen=True)
class Summary:
    """What a run made: the days, those among them that were repairs, and its Dagster runs."""

    days: Sequence[date]
    repaired: Sequence[date]
    run_ids: Sequence[str]


class RunFailed(ClickstreamError):
    """A Dagster run failed; the message is the first failed step's reason."""


class Interrupted(RunFailed):
    """Somebody stopped the run, by Ctrl-C say."""


def instance(settings: Settings) -> dg.DagsterInstance:
    """Dagster's storage in the home folder, made on first use with the project's ``dagster.yaml``."""
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    export({"DAGSTER_HOME": str(settings.dagster_home), "DAGSTER_EVENT_BATCH_SIZE": str(EVENTS_PER_BATCH)})
    # Dagster makes its tables here. Of two processes that find them missing, one would fail.
    with FileLock(settings.dagster_home / "opening.lock"):
        target = settings.dagster_home / "dagster.yaml"
        if not target.exists():
            shutil.copyfile(_TEMPLATE, target)
        return dg.DagsterInstance.get()


def check_days(settings: Settings, first: date, last: date) -> None:
    """Refuse days that are no partitions.

    Raises:
        ClickstreamError: says which days there are.
    """
    newest = last_day()
    if first > last:
        raise ClickstreamError(f"--from {first} is after --to {last}: swap them.")
    for day in (first, last):
        if not settings.start_date <= day <= newest:
            raise ClickstreamError(
                f"{day} is not a partition: they run from {settings.start_date} (CLICKSTREAM_START_DATE) to {newest}."
            )


def run_domain(domain: Domain, first: date, last: date, *, repairs: bool = True) -> Summary:
    """Materialize a domain for the days ``first`` to ``last``: one run for raw and one for all below it.

    Older days to repair are part of the second run, however far away they are. A day that fails in raw costs itself
    alone: the others are made below raw too, and the run fails at the end.

    Raises:
        RunFailed: the reason, in one sentence, and what to do.
    """
    settings = Settings.from_environment()
    check_days(settings, first, last)
    asked = day_range(first, last)
    with progress.terminal(), instance(settings) as storage, abandoned.watched(storage, settings) as new_run_id:
        job = _definitions().resolve_job_def(domain.name)
        raw, below = _split(job)
        platform = Platform(settings)
        progress.say(f"{domain.name}: {first} to {last}")
        missed = _collect(domain, platform, asked)
        loaded = _execute(job, storage, raw, first, last, run_id=new_run_id())
        pending = repair.pending_days(platform, domain)
        if not loaded.success and not set(pending) & set(asked):
            raise RunFailed(_told(missed, _reason(loaded)))
        repaired = sorted(set(pending) - set(asked)) if repairs else []
        if repaired:
            progress.say(f"made again, since their rows have changed: {_listed(repaired)}")
        made = _execute(job, storage, below, first, last, run_id=new_run_id(), repaired=repaired)
    for result in (loaded, made):
        if not result.success:
            raise RunFailed(_told(missed, _reason(result)))
    if missed is not None:
        raise RunFailed(f"{first} to {last} are made from what has landed, but {missed}") from missed
    if failed := _failed_days(made) & set(repaired):
        raise RunFailed(
            f"{first} to {last} are done, but {_listed(sorted(failed))}, whose rows have changed, could not be made "
            f"again and stay as they were: {_failed_checks(made)} (--no-repair leaves such days alone)."
        )
    return Summary(days=sorted({*asked, *repaired}), repaired=repaired, run_ids=[loaded.run_id, made.run_id])


def run_cdc(*, replay: bool = False) -> Sequence[str]:
    """Apply the change files that have landed since the last run; with ``replay`` all changes again.

    One Dagster run. A table whose changes cannot be applied costs itself alone.

    Returns:
        The ids of its Dagster runs.

    Raises:
        RunFailed: the reason, in one sentence, and what to do.
    """
    settings = Settings.from_environment()
    with progress.terminal(), instance(settings) as storage, abandoned.watched(storage, settings) as new_run_id:
        job = _definitions().resolve_job_def("cdc")
        progress.say("cdc: all changes again" if replay else "cdc: the changes that have landed")
        steps = [node.name for node in job.nodes if node.name.startswith("cdc_") and node.name != "cdc_raw__changes"]
        ops = {name: {"config": {"replay": replay}} for name in steps}
        result = job.execute_in_process(
            instance=storage,
            run_id=new_run_id(),
            run_config={"loggers": {"progress": {}}, "ops": ops},
            raise_on_error=False,
        )
    if not result.success:
        raise RunFailed(_reason(result))
    return [result.run_id]


def run_dashboards() -> str:
    """Build the pages of the dashboards; the address of the one that leads to the others.

    Raises:
        RunFailed: the reason, in one sentence, and what to do.
    """
    from clickstream_assets.storage import files

    settings = Settings.from_environment()
    with progress.terminal(), instance(settings) as storage, abandoned.watched(storage, settings) as new_run_id:
        job = _definitions().resolve_job_def("dashboards")
        progress.say("dashboards")
        result = job.execute_in_process(
            instance=storage,
            run_id=new_run_id(),
            run_config={"loggers": {"progress": {}}},
            raise_on_error=False,
        )
    if not result.success:
        raise RunFailed(_reason(result))
    return files.at(settings.dashboards_uri).uri("index.html")


def _told(missed: ClickstreamError | None, reason: str) -> str:
    """Why a run failed; what was not to be had comes first, since the rest may come of it."""
    return reason if missed is None else f"{missed} {reason}"


def _collect(domain: Domain, platform: Platform, days: Sequence[date]) -> ClickstreamError | None:
    """Fetch what does not arrive by itself; what was not to be had, as an error to tell at the end."""
    if domain.collect is None:
        return None
    try:
        what = f"collecting {domain.name}"
        with platform.exclusive(domain.name, what), progress.moving(what) as moving:
            collected = pkgutil.resolve_name(domain.collect)(platform, days, moving)
    except IncompleteCollection as error:
        return error
    if collected is not None:
        progress.say(f"collected: {collected}")
    return None


@cache
def _definitions() -> dg.Definitions:
    """The code location, loaded once per process (0.6 s)."""
    from clickstream_assets.definitions import defs

    return defs()


def _split(job: dg.JobDefinition) -> tuple[list[dg.AssetKey], list[dg.AssetKey]]:
    """The assets of the raw layer, and all the others of a job."""
    graph = job.asset_layer.asset_graph
    keys = sorted(job.asset_layer.executable_asset_keys)
    raw = [key for key in keys if graph.get(key).group_name.startswith(f"{layers.RAW}/")]
    return raw, [key for key in keys if key not in set(raw)]


def _execute(
    job: dg.JobDefinition,
    storage: dg.DagsterInstance,
    keys: list[dg.AssetKey],
    first: date,
    last: date,
    *,
    run_id: str | None = None,
    repaired: Sequence[date] = (),
) -> dg.ExecuteInProcessResult:
    further = {partitions.REPAIRED_DAYS: ",".join(map(str, repaired))} if repaired else {}
    interrupted = f"{job.name} was interrupted: what it has published stays, the next run of these days does the rest."
    try:
        result = job.execute_in_process(
            instance=storage,
            run_id=run_id,
            asset_selection=keys,
            run_config={"loggers": {"progress": {}}},
            tags=partitions.tags(first, last) | further,
            raise_on_error=False,
        )
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError) as stopped:
        raise Interrupted(interrupted) from stopped
    if not result.success and _is_interrupted(result):
        raise Interrupted(interrupted)
    return result


def _is_interrupted(result: dg.ExecuteInProcessResult) -> bool:
    """Whether a step failed since somebody stopped it: Dagster takes that for a failure like others."""
    failures = (e.step_failure_data for e in result.all_events if e.event_type == dg.DagsterEventType.STEP_FAILURE)
    return any(
        error.cls_name == dg.DagsterExecutionInterruptedError.__name__
        for failure in failures
        for error in _chain(failure.error)
    )


def _reason(result: Any) -> str:
    """Why a run failed: a fault of the storage in one sentence, else our own sentence, else what the library said."""
    settings = Settings.from_environment()
    for event in result.all_events:
        if event.event_type == dg.DagsterEventType.STEP_FAILURE:
            data = event.step_failure_data
            step = event.step_key.replace("__", ".")
            if data.user_failure_data is not None and data.user_failure_data.description:
                description = str(data.user_failure_data.description)
                fault = faults.explain(description, settings)
                return f"{step} {fault}" if fault else description
            errors = list(_chain(data.error))
            text = "\n".join(error.message.strip() for error in reversed(errors))
            if fault := faults.explain(text, settings):
                return f"{step} {fault}"
            ours = {cls.__name__ for cls in (ClickstreamError, *ClickstreamError.__subclasses__())}
            for error in errors:
                if error.cls_name in ours:
                    return f"{step} failed: {error.message.strip().partition(': ')[2]}"
            return f"{step} failed: {text.partition(chr(10))[0] or 'no reason recorded'}"
    return f"run {result.run_id} failed before its first step: look at it with `make dev`."


def _chain(error: Any) -> Iterator[Any]:
    """An error as Dagster records it, and what it came from."""
    while error is not None:
        yield error
        error = error.cause


def _failed_days(result: dg.ExecuteInProcessResult) -> set[date]:
    """Days on which a guard of the run failed."""
    found = (check.metadata.get(guards.FAILED_DAYS) for check in result.get_asset_check_evaluations())
    return {date.fromisoformat(day) for days in found if days is not None for day in cast(list[str], days.value)}


def _failed_checks(result: dg.ExecuteInProcessResult) -> str:
    failed = [check for check in result.get_asset_check_evaluations() if not check.passed]
    return "; ".join(f"{check.check_name}: {check.description}" for check in failed)


def _listed(days: Sequence[date]) -> str:
    return ", ".join(map(str, days[:_NAMED])) + (f" and {len(days) - _NAMED} more" if len(days) > _NAMED else "")
