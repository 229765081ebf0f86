"""Locks of processes that run something: who looks for dead ones meets who begins."""

from __future__ import annotations

import threading
import time
import uuid

from filelock import FileLock

from clickstream_assets import abandoned
from clickstream_assets.run import instance
from clickstream_assets_tests.conftest import Home


def test_one_that_begins_waits_for_who_looks_whether_it_is_dead(home: Home, monkeypatch) -> None:
    """Between making its lock's file and holding it, a process looks like a dead one."""
    mine = uuid.uuid4()
    monkeypatch.setattr(abandoned.uuid, "uuid4", lambda: mine)
    running = home.settings.dagster_home / "running"
    looking = FileLock(running / f"{mine}.lock", thread_local=False)

    def look() -> None:
        time.sleep(0.3)
        (running / f"{mine}.lock").unlink()
        looking.release()

    with instance(home.settings) as storage:
        monkeypatch.setattr(abandoned, "report", lambda *_: looking.acquire())
        looker = threading.Thread(target=look)
        running.mkdir(parents=True)
        looker.start()
        with abandoned.watched(storage, home.settings) as new_run_id:
            new_run_id()
            assert sorted(path.suffix for path in running.iterdir()) == [".lock", ".runs"]
        looker.join()
    assert list(running.iterdir()) == []
