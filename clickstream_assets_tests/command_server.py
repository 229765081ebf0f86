"""``clickstream`` for shell scripts, without its start: a process that has loaded what a run loads forks each command.

    python -m clickstream_assets_tests.command_server SOCKET      serves until it is killed
    CLIENT SOCKET ARGUMENT…                                       is a command: its folder, variables and streams

A cold ``clickstream run`` spends half of its time importing, and the documentation has two dozen. As in ``forked``,
what is tested is what commands do and print; how they start is in ``test_cli`` and ``test_installed``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path

#: a command that takes its place: isolated and without site packages it starts in 20 ms
CLIENT = """
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect(sys.argv[1])
    asked = {"arguments": sys.argv[2:], "folder": os.getcwd(), "variables": dict(os.environ)}
    content = json.dumps(asked).encode()
    socket.send_fds(server, [len(content).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(content)
    sys.exit(int(server.recv(16) or b"70"))
"""


def main(address: str) -> None:
    """Serve commands, one process each."""
    from clickstream_assets_tests import preloaded  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address + ".new")
        server.listen()
        Path(address + ".new").rename(address)  # whoever finds it is answered
        while True:
            client, _ = server.accept()
            with client:
                if not os.fork():
                    server.close()
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    _answer(client)


def _answer(client: socket.socket) -> None:
    """Be the command that a client asks for, and tell it how it ended."""
    head, streams, _, _ = socket.recv_fds(client, 8, 3)
    content = b""
    while len(content) < int.from_bytes(head, "big"):
        content += client.recv(65536)
    asked = json.loads(content)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["variables"])
    code = 70
    try:
        code = _run(asked["arguments"])
    finally:
        sys.stdout.flush()
        with contextlib.suppress(OSError):
            client.sendall(str(code).encode())
        os._exit(code)


def _run(arguments: list[str]) -> int:
    import traceback

    from clickstream_assets import cli, run

    if "CLICKSTREAM_CDC_TABLES" in os.environ:  # the graph depends on the tables that are declared
        run._definitions.cache_clear()
    try:
        cli.main(arguments, prog_name="clickstream")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001  whatever it is, its traceback is what the caller gets
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    main(sys.argv[1])
