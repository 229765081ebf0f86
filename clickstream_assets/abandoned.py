"""Runs of processes that were killed: the next command reports them as failed.

Dagster's daemon watches the processes that it started; nobody watches those of the command line. A process that runs
something keeps a file in ``<dagster home>/running`` locked, with the ids of its runs in it. The kernel lets go of the
lock when the process dies, however it dies, and the file is left for the next to find. Otherwise its runs would be in
progress for ever, and hold their places in pools.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
from filelock import FileLock, Timeout

from clickstream_assets.settings import Settings

#: seconds to wait for one's own lock: whoever looks for dead processes may find it in the moment before it is held
_LOOK_SECONDS = 60


@contextlib.contextmanager
def watched(storage: dg.DagsterInstance, settings: Settings) -> Iterator[Callable[[], str]]:
    """Report what dead processes of this home left; then gives ids for runs of this process."""
    folder = settings.dagster_home / "running"
    folder.mkdir(parents=True, exist_ok=True)
    report(storage, folder)
    lock = folder / f"{uuid.uuid4()}.lock"
    with _held(lock, timeout=_LOOK_SECONDS), _runs(lock).open("w") as runs:

        def new_run_id() -> str:
            run_id = str(uuid.uuid4())
            runs.write(f"{run_id}\n")
            runs.flush()
            return run_id

        yield new_run_id


def report(storage: dg.DagsterInstance, folder: Path) -> list[str]:
    """Tell Dagster of runs whose process is dead, and free their places in pools; their ids."""
    found = []
    for lock in sorted(folder.glob("*.lock")):
        with contextlib.suppress(Timeout), _held(lock, timeout=0):  # who holds it is at work
            for run_id in _runs(lock).read_text().split() if _runs(lock).exists() else ():
                run = storage.get_run_by_id(run_id)
                if run is not None and not run.is_finished:
                    storage.report_run_failed(run, "Its process was killed. Run its partitions again.")
                    found.append(run_id)
                storage.event_log_storage.free_concurrency_slots_for_run(run_id)
    return found


@contextlib.contextmanager
def _held(lock: Path, *, timeout: float) -> Iterator[None]:
    """Hold a lock that nobody else does; both files go with it, but stay for the next to look at after an error."""
    with FileLock(lock, timeout=timeout):
        yield
        _runs(lock).unlink(missing_ok=True)
        lock.unlink(missing_ok=True)


def _runs(lock: Path) -> Path:
    return lock.with_suffix(".runs")
