"""A proxy in front of S3 or Glue that does to requests what networks and busy servers do to them.

It speaks HTTP/1.1 over TCP and hands on every byte as it is: signatures cover the ``Host`` header, and that has to stay
the proxy's own. A request gets a connection of its own to the server, a client keeps its connection to the proxy.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO
from urllib.parse import urlsplit

_CHUNK = 65536

#: what S3 says when it wants fewer requests, and when it has trouble itself
_REASONS = {503: ("Slow Down", "SlowDown"), 500: ("Internal Server Error", "InternalError")}


@dataclass(frozen=True)
class Request:
    """The head of a request; names of headers in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]


@dataclass
class Fault:
    """What happens to requests for which ``when`` is true, and how often it did (``hits``).

    The first of these that is set: ``before`` is called and the request goes on; ``status`` is answered and the server
    is not asked; ``cut_request`` resets the connection when so many bytes of the body have gone to the server;
    ``cut_response`` when so many bytes of the answer's body have gone to the client, -1 for nothing of the answer: the
    server has done it and nobody is told.

    ``times``: how often at most. ``seconds``: how long, from the first hit on. ``every``: which of those that match,
    3 for every third, so that who asks again comes through.
    """

    when: Callable[[Request], bool]
    before: Callable[[], object] | None = None
    status: int | None = None
    cut_request: int | None = None
    cut_response: int | None = None
    times: int | None = None
    seconds: float | None = None
    every: int = 1
    hits: int = 0
    _first: float = field(default=0.0, init=False)
    _matched: int = field(default=0, init=False)

    def strikes(self, request: Request) -> bool:
        """Whether it happens to this request; counted if so."""
        if not self.when(request) or (self.times is not None and self.hits >= self.times):
            return False
        now = time.monotonic()
        if self.seconds is not None and self.hits and now > self._first + self.seconds:
            return False
        self._matched += 1
        if self._matched % self.every:
            return False
        self._first = self._first or now
        self.hits += 1
        return True


class _Cut(Exception):
    """The client's connection is to be reset."""


class Proxy:
    """A proxy at work; ``endpoint`` is its address. ``seen``: method and target of all requests."""

    def __init__(self, server: str):
        parts = urlsplit(server)
        self._server = (str(parts.hostname), int(parts.port or 80))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._faults: list[Fault] = []
        self._choosing = threading.Lock()
        self._open: set[socket.socket] = set()
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.seen: list[Request] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @contextlib.contextmanager
    def fault(self, fault: Fault) -> Iterator[Fault]:
        """Have it happen inside the block; at its end it must have happened."""
        self._faults.append(fault)
        try:
            yield fault
        finally:
            self._faults.remove(fault)
        assert fault.hits, "the fault did not happen"

    def close(self) -> None:
        """Stop listening, and cut everybody off."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(timeout=10)
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.add(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with client.makefile("rb") as stream:
                while self._handle(client, stream):
                    pass
        except _Cut:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass  # either side has gone
        finally:
            self._open.discard(client)
            client.close()

    def _handle(self, client: socket.socket, stream: BinaryIO) -> bool:
        """One request and its answer; False when there is none or the connection is not to be used again."""
        head, first, headers = _head(stream)
        if not first:
            return False
        method, target, _ = first.split(" ", 2)
        request = Request(method, target, headers)
        with self._choosing:
            self.seen.append(request)
            fault = next((fault for fault in self._faults if fault.strikes(request)), None)
        if fault is not None and fault.before is not None:
            fault.before()
            fault = None
        if headers.get("expect", "").lower() == "100-continue":
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = _body(stream, headers, until_the_end=False)
        if fault is not None and fault.status is not None:
            for _ in body:
                pass
            client.sendall(_answer(fault.status, method))
            return True
        with socket.create_connection(self._server, timeout=60) as server:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.sendall(head)
            _hand_on(body, server, None if fault is None else fault.cut_request)
            with server.makefile("rb") as answer:
                return self._answer(client, answer, method, None if fault is None else fault.cut_response)

    def _answer(self, client: socket.socket, answer: BinaryIO, method: str, cut: int | None) -> bool:
        while True:
            head, first, headers = _head(answer)
            status = int(first.split(" ")[1]) if first else 0
            if status != 100:  # the client had that from the proxy
                break
        if not status:
            raise _Cut
        without = method == "HEAD" or status in (204, 304)
        body = iter(()) if without else _body(answer, headers, until_the_end=True)
        if cut is not None and cut < 0:
            for _ in body:
                pass
            raise _Cut
        client.sendall(head)
        _hand_on(body, client, cut)
        ends = "content-length" in headers or "transfer-encoding" in headers or without
        return ends and headers.get("connection", "").lower() != "close"


@contextlib.contextmanager
def proxy(server: str) -> Iterator[Proxy]:
    """Start a proxy in front of a server, given by its endpoint."""
    started = Proxy(server)
    try:
        yield started
    finally:
        started.close()


def _head(stream: BinaryIO) -> tuple[bytes, str, dict[str, str]]:
    """The bytes of a head, its first line, its headers; nothing at the end of the stream."""
    lines = []
    while line := stream.readline():
        lines.append(line)
        if line == b"\r\n":
            pairs = (one.decode("latin-1").partition(":") for one in lines[1:-1])
            headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
            return b"".join(lines), lines[0].decode("latin-1").strip(), headers
    return b"", "", {}


def _body(stream: BinaryIO, headers: Mapping[str, str], *, until_the_end: bool) -> Iterator[bytes]:
    """The bytes of a body as they are on the wire."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := stream.readline():
            yield size
            length = int(size.split(b";")[0], 16)
            yield from _exactly(stream, length + 2)
            if not length:
                return
    elif "content-length" in headers:
        yield from _exactly(stream, int(headers["content-length"]))
    elif until_the_end:
        while chunk := stream.read(_CHUNK):
            yield chunk


def _exactly(stream: BinaryIO, count: int) -> Iterator[bytes]:
    while count:
        chunk = stream.read(min(count, _CHUNK))
        if not chunk:
            raise _Cut
        count -= len(chunk)
        yield chunk


def _hand_on(body: Iterator[bytes], to: socket.socket, cut: int | None) -> None:
    left = cut
    for chunk in body:
        to.sendall(chunk if left is None else chunk[:left])
        if left is not None and left <= len(chunk):
            raise _Cut
        left = None if left is None else left - len(chunk)
    if left is not None and left >= 0:
        raise _Cut


def _answer(status: int, method: str) -> bytes:
    reason, code = _REASONS[status]
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{reason}.</Message></Error>'
    content = b"" if method == "HEAD" else body.encode()
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/xml\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content
