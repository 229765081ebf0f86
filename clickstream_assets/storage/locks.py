"""Locks between processes of one home folder, which the kernel releases when their holder dies.

A note beside the lock says who holds it, for the message of whoever waits. A thread may take a lock again while it
holds it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from clickstream_assets.errors import Busy

_LOG = logging.getLogger(__name__)

#: a wait shorter than this is not worth a word
_SILENT_SECONDS = 1.0


@dataclass(frozen=True)
class Holder:
    """Who holds a lock."""

    pid: int
    what: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.what}, since {self.since})"


@cache
def process_lock(path: Path, thing: str) -> ProcessLock:
    """The process's one lock of that path, so that it can be taken again while it is held."""
    return ProcessLock(path, thing)


class ProcessLock:
    """One lock: ``path`` names its files, ``<path>.lock`` and ``<path>.holder.json``; ``thing`` is for messages."""

    def __init__(self, path: Path, thing: str):
        self._path = path
        self._thing = thing
        self._changed = threading.Condition()
        self._owner: int | None = None
        self._depth = 0

    @contextlib.contextmanager
    def held(self, what: str, *, timeout: float) -> Iterator[None]:
        """Hold the lock; ``what`` tells others what for.

        Raises:
            Busy: another process, or another thread of this one, still holds it after ``timeout`` seconds.
        """
        me = threading.get_ident()
        begun = time.monotonic()
        with self._changed:
            if not self._changed.wait_for(lambda: self._owner in (None, me), timeout):
                raise self._busy(timeout)
            self._owner = me
            self._depth += 1
        try:
            if self._depth > 1:
                yield
            else:
                with self._file_held(what, timeout=max(timeout - (time.monotonic() - begun), 0)):
                    yield
        finally:
            with self._changed:
                self._depth -= 1
                if not self._depth:
                    self._owner = None
                    self._changed.notify()

    @contextlib.contextmanager
    def _file_held(self, what: str, *, timeout: float) -> Iterator[None]:
        from filelock import FileLock, Timeout

        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._path.with_suffix(".lock"))
        try:
            try:
                lock.acquire(timeout=min(_SILENT_SECONDS, timeout))
            except Timeout:
                if timeout > _SILENT_SECONDS:
                    _LOG.warning("waiting for %s: held by %s", self._thing, self._holder() or "another process")
                lock.acquire(timeout=max(timeout - _SILENT_SECONDS, 0))
        except Timeout:
            raise self._busy(timeout) from None
        note = self._path.with_suffix(".holder.json")
        try:
            since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            note.write_text(json.dumps(asdict(Holder(os.getpid(), what, since))))
            yield
        finally:
            note.unlink(missing_ok=True)
            lock.release()

    def _busy(self, timeout: float) -> Busy:
        holder = self._holder() or "another process"
        return Busy(f"{self._thing} is held by {holder}; waited {timeout:g} s. Try again when it has finished.")

    def _holder(self) -> Holder | None:
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError, TypeError):
            return Holder(**json.loads(self._path.with_suffix(".holder.json").read_text()))
        return None
