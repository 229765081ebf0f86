"""A server for the streams of DynamoDB tables: shards that split and end, records that are kept for a day, refusals.

It speaks the protocol that boto3 speaks, on a loopback port. MiniStack has one shard a stream, that never splits.
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DAY = 86_400
STREAM = "arn:aws:dynamodb:eu-central-1:000000000000:table/carts/stream/2024-03-01T00:00:00.000"
#: what is before the name of each shard, as names have 28 letters at least; and the number that all are counted from,
#: as they have 21 digits at least: some of the first records have one digit more than those before
PREFIX, BASE = "shardId-0000000000000000000-", 10**22 - 14
START = 1_709_294_400.0  # 2024-03-01 12:00 UTC


@dataclass
class Shard:
    """Records in their order, each with its time; ``closed``: when it ended."""

    parent: str | None
    records: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    closed: float | None = None


class Refused(Exception):
    """What the server answers instead."""


@dataclass
class Server:
    """A table ``carts`` with its stream, as DynamoDB has them at the time ``now``."""

    now: float = START
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    stream: str | None = STREAM
    view: str = "NEW_AND_OLD_IMAGES"
    enabled: bool = True
    streams: dict[str, dict[str, Shard]] = field(default_factory=lambda: {STREAM: {"shard-0": Shard(None)}})
    sequence: int = BASE + 9
    page: int = 3
    sparse: int = 0
    #: codes with which the next questions of an action are refused
    refusals: dict[str, list[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    @property
    def shards(self) -> dict[str, Shard]:
        assert self.stream is not None
        return self.streams[self.stream]

    def put(self, key: str, shard: str = "shard-0", **attributes: dict[str, Any]) -> str:
        """Give the table an item; its record goes to the end of a shard."""
        return self._change(key, {"cart_id": {"S": key}, **attributes}, shard)

    def delete(self, key: str, shard: str = "shard-0") -> str:
        return self._change(key, None, shard)

    def _change(self, key: str, new: dict[str, Any] | None, shard: str) -> str:
        old = self.items.pop(key, None)
        if new is not None:
            self.items[key] = new
        self.sequence += 1
        images = {"OldImage": old, "NewImage": new}
        changes = {
            "ApproximateCreationDateTime": self.now,
            "Keys": {"cart_id": {"S": key}},
            **{name: image for name, image in images.items() if image is not None},
            "SequenceNumber": str(self.sequence),
            "SizeBytes": 10,
            "StreamViewType": self.view,
        }
        name = "REMOVE" if new is None else "MODIFY" if old else "INSERT"
        assert self.shards[shard].closed is None
        self.shards[shard].records.append((self.now, {"eventName": name, "eventVersion": "1.1", "dynamodb": changes}))
        return str(self.sequence)

    def split(self, shard: str, *children: str) -> None:
        """End a shard; its children begin."""
        self.shards[shard].closed = self.now
        for child in children:
            self.shards[child] = Shard(shard)

    def renew(self) -> None:
        """Disable the stream and enable it again: another one."""
        for shard in self.shards.values():
            shard.closed = shard.closed or self.now
        self.stream = STREAM + "-second"
        self.streams[self.stream] = {"other-0": Shard(None)}

    def later(self, hours: float) -> None:
        self.now += hours * 3600

    # --- what is asked ---

    def answer(self, action: str, question: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(action)
        if self.refusals.get(action):
            raise Refused(self.refusals[action].pop(0))
        actions = {
            "DescribeTable": self._describe_table,
            "Scan": self._scan,
            "DescribeStream": self._describe_stream,
            "GetShardIterator": self._iterator,
            "GetRecords": self._records,
        }
        return actions[action](question)

    def _describe_table(self, question: dict[str, Any]) -> dict[str, Any]:
        if question["TableName"] != "carts":
            raise Refused("ResourceNotFoundException")
        table: dict[str, Any] = {"TableName": "carts", "KeySchema": [{"AttributeName": "cart_id", "KeyType": "HASH"}]}
        if self.stream:
            table["LatestStreamArn"] = self.stream
            table["StreamSpecification"] = {"StreamEnabled": self.enabled, "StreamViewType": self.view}
        return {"Table": table}

    def _scan(self, question: dict[str, Any]) -> dict[str, Any]:
        assert question["ConsistentRead"] is True
        keys = sorted(self.items)
        start = question.get("ExclusiveStartKey", {}).get("cart_id", {}).get("S", "")
        page = [key for key in keys if key > start][: self.page]
        answer: dict[str, Any] = {"Items": [self.items[key] for key in page]}
        if page and page[-1] != keys[-1]:
            answer["LastEvaluatedKey"] = {"cart_id": {"S": page[-1]}}
        return answer

    def _listed(self, stream: str) -> dict[str, Shard]:
        if stream not in self.streams:
            raise Refused("ResourceNotFoundException")
        return {
            name: shard
            for name, shard in self.streams[stream].items()
            if shard.closed is None or self.now - shard.closed < DAY
        }

    def _describe_stream(self, question: dict[str, Any]) -> dict[str, Any]:
        """Two shards a page."""
        listed = self._listed(question["StreamArn"])
        names = list(listed)
        start = (
            names.index(question["ExclusiveStartShardId"].removeprefix(PREFIX)) + 1
            if "ExclusiveStartShardId" in question
            else 0
        )
        page = names[start : start + 2]
        shards = [
            {"ShardId": PREFIX + name, "SequenceNumberRange": {"StartingSequenceNumber": str(BASE)}} for name in page
        ]
        for shard, name in zip(shards, page, strict=True):
            if parent := listed[name].parent:
                shard["ParentShardId"] = PREFIX + parent
        description: dict[str, Any] = {"StreamArn": question["StreamArn"], "Shards": shards}
        if page and page[-1] != names[-1]:
            description["LastEvaluatedShardId"] = PREFIX + page[-1]
        return {"StreamDescription": description}

    def _shard(self, stream: str, name: str) -> tuple[Shard, int]:
        """A shard, and how many of its records are not kept any more."""
        name, listed = name.removeprefix(PREFIX), self._listed(stream)
        if name not in listed:
            raise Refused("ResourceNotFoundException")
        shard = listed[name]
        return shard, sum(self.now - created >= DAY for created, _ in shard.records)

    def _iterator(self, question: dict[str, Any]) -> dict[str, Any]:
        shard, trimmed = self._shard(question["StreamArn"], question["ShardId"])
        place = trimmed
        if question["ShardIteratorType"] == "AFTER_SEQUENCE_NUMBER":
            numbers = [int(record["dynamodb"]["SequenceNumber"]) for _, record in shard.records]
            place = numbers.index(int(question["SequenceNumber"])) + 1
            if place - 1 < trimmed:
                raise Refused("TrimmedDataAccessException")
        return {"ShardIterator": _token(question["StreamArn"], question["ShardId"], place)}

    def _records(self, question: dict[str, Any]) -> dict[str, Any]:
        stream, name, place = json.loads(base64.b64decode(question["ShardIterator"]))
        shard, trimmed = self._shard(stream, name)
        if place < trimmed:
            raise Refused("TrimmedDataAccessException")
        if self.sparse and self.asked.count("GetRecords") % self.sparse:
            return {"Records": [], "NextShardIterator": _token(stream, name, place)}
        found = [record for _, record in shard.records[place : place + self.page]]
        answer: dict[str, Any] = {"Records": found}
        if shard.closed is None or place + len(found) < len(shard.records):
            answer["NextShardIterator"] = _token(stream, name, place + len(found))
        return answer


def _token(stream: str, shard: str, place: int) -> str:
    return base64.b64encode(json.dumps([stream, shard, place]).encode()).decode()


@contextlib.contextmanager
def running() -> Iterator[tuple[Server, str]]:
    """A server and its endpoint."""
    server = Server()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            action = self.headers["X-Amz-Target"].partition(".")[2]
            try:
                with lock:
                    status, answer = 200, server.answer(action, question)
            except Refused as refused:
                status, answer = 400, {"__type": f"com.amazonaws.dynamodb#{refused}", "message": "refused"}
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{http.server_address[1]}"
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
