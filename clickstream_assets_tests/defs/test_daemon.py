"""The whole of it as a user starts it: server, daemon and code server; a file lands, and its answer is there."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clickstream_assets_tests.conftest import Home

CLICKSTREAM = [str(Path(sys.executable).with_name("clickstream"))]


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def server(home: Home, port: int, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``clickstream dev`` in a session of its own, so that all that it starts can be stopped with it."""
    log = tmp_path / "server.log"
    environment = {**os.environ, "CLICKSTREAM_SENSOR_SECONDS": "1"}
    command = [*CLICKSTREAM, "dev", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        _stop(process)
        print(log.read_text()[-10_000:])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C does, then without asking; what is left of the session goes with it."""
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=30)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=10)


def _wait(what: str, happened: Callable[[], bool], process: subprocess.Popen[bytes], *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert process.poll() is None, f"the server ended while we waited for {what}"
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(1)


def test_a_file_that_lands_is_answered_for_without_a_command(home: Home, port: int, server) -> None:
    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=5) as response:
                return response.status == 200
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def answered() -> bool:
        sql = "select product_id, purchase_count from ecommerce.top_products"
        asked = subprocess.run([*CLICKSTREAM, "query", sql, "--format", "csv"], capture_output=True, text=True)
        return asked.returncode == 0 and asked.stdout.splitlines()[1:] == ["p1,1"]

    _wait("the web page", answers, server, seconds=60)
    day = datetime.now(UTC).date() - timedelta(days=1)
    home.land(day.isoformat(), "export.csv", f"1,1,{day} 10:00:00,purchase,p1,5.00,")
    _wait("the answer", answered, server, seconds=120)
