"""``clickstream dev`` as a user starts it: server, daemon and code server, asked over HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CLICKSTREAM = [str(Path(sys.executable).with_name("clickstream"))]


class Server:
    """A running server on a loopback port of its own."""

    def __init__(self, process: subprocess.Popen[bytes], port: int):
        self._process = process
        self.url = f"http://127.0.0.1:{port}"

    def wait(self, what: str, happened: Callable[[], Any], *, seconds: float) -> Any:
        """Wait until something is true; gives it."""
        end = time.monotonic() + seconds
        while not (found := happened()):
            assert self._process.poll() is None, f"the server ended while we waited for {what}"
            assert time.monotonic() < end, f"{what}: not within {seconds} s"
            time.sleep(0.5)
        return found

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/server_info", timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def graphql(self, query: str, **variables: Any) -> Any:
        """What the UI does when a button is pressed."""
        content = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", content, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]


@contextlib.contextmanager
def serving(folder: Path, *, sensor_seconds: int) -> Iterator[Server]:
    """Start it in ``folder`` with the environment's home, wait for its page, and stop it with all that it started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    log = folder / "server.log"
    environment = {**os.environ, "CLICKSTREAM_SENSOR_SECONDS": str(sensor_seconds)}
    command = [*CLICKSTREAM, "dev", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        server = Server(process, port)
        server.wait("the web page", server.answers, seconds=90)
        yield server
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
