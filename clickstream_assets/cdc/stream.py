"""The consumer of a DynamoDB table's stream: its records become landing files, each at least once.

A stream is a tree of shards, of which each has its records in order and ends when its children begin; a record is kept
for 24 hours. So parents are read before children, and what was read is noted in a checkpoint beside the lake, which
outlives the machine: ``cdc_raw/checkpoints/<target>.json``. First comes the file, then the checkpoint; a process that
dies in between reads the same records again, and a change that comes twice is one.

What may have been kept too short is never passed over: the consumer stops with a sentence (``StreamGap``) that asks for
a resync. That one reads the whole table, under a place in the order of changes that is after all that was read before
the gap, and then the stream from its beginning.
"""

from __future__ import annotations

import base64
import gzip
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from clickstream_assets.cdc.declared import Declared
from clickstream_assets.errors import ClickstreamError
from clickstream_assets.storage import s3
from clickstream_assets.storage.locks import process_lock

if TYPE_CHECKING:
    from clickstream_assets.platform import Platform

#: seconds for which a record is surely there: 24 hours less one, for clocks and for the reading itself
RETENTION = 23 * 3600

#: records, bytes of JSON and seconds after which what was read of a shard becomes a file
FILE_RECORDS, FILE_BYTES, FILE_SECONDS = 10_000, 16 * 1024 * 1024, 30

#: empty answers in a row after which an open shard counts as read to its end; single ones come in between, too
EMPTY_ANSWERS = 10

#: seconds between two rounds that brought nothing, and between two looks for new shards while the stream is followed
PAUSE, LOOK = 0.25, 60


@dataclass(frozen=True)
class Consumed:
    """What came of a stream: its records, of how many shards, the items of a resync, and the files that they are in.

    ``caught_up``: whether every shard was read to its end; else the time was up before.
    """

    table: str
    records: int
    shards: int
    files: int
    items: int = 0
    caught_up: bool = True

    def __str__(self) -> str:
        """In a few words."""
        scanned = f"{self.items:,} items of the table and " if self.items else ""
        more = "" if self.caught_up else "; there may be more"
        return (
            f"{scanned}{self.records:,} records of {self.shards:,} shards of {self.table} in {self.files:,} files{more}"
        )


class StreamGap(ClickstreamError):
    """Changes were not read while the stream had them; only a resync tells what the table is now."""


def consume(
    platform: Platform,
    declared: Declared,
    *,
    follow: bool = False,
    seconds: float | None = None,
    progress: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.time,
    pause: float = PAUSE,
) -> Consumed:
    """Land what the table's stream has that was not read before.

    Without ``follow`` until all shards are read to their end, with it until ``seconds`` have passed or somebody
    interrupts. ``clock`` tells the time, epoch seconds; ``pause``: seconds to wait after a round that brought nothing.

    Raises:
        StreamGap: records may have gone before they were read; nothing was landed that could hide this.
        ClickstreamError: the table has no stream that can be used, or AWS refused; what was read before is landed.
        Busy: another process reads this stream.
    """
    with _held(platform, declared):
        reader = _Reader(platform, declared, progress, clock, pause)
        if reader.checkpoint.loading:
            raise StreamGap(
                f"{declared.table}: a resync was not finished: run "
                f"`clickstream cdc dynamodb {declared.table} --resync` again."
            )
        return reader.read(follow=follow, seconds=seconds)


def resync(
    platform: Platform,
    declared: Declared,
    *,
    follow: bool = False,
    seconds: float | None = None,
    progress: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.time,
    pause: float = PAUSE,
) -> Consumed:
    """Land every item of the table, then go on with the stream from its beginning, as ``consume`` does.

    Items are records with the eventName SCAN and one SequenceNumber: the last one that was read, or one more than that
    of the resync before. Their files, ``…-scan-0001-of-0003.json.gz``, appear when the last of them is written.

    Raises:
        ClickstreamError: as ``consume``; a resync that broke off has landed no items.
    """
    with _held(platform, declared):
        reader = _Reader(platform, declared, progress, clock, pause)
        items, files = reader.scan()
        done = reader.read(follow=follow, seconds=seconds)
        return Consumed(done.table, done.records, done.shards, done.files + files, items, done.caught_up)


def checkpoint_path(declared: Declared) -> str:
    """Where it is noted what was read of a table's stream, below the lake's root."""
    return f"cdc_raw/checkpoints/{declared.target}.json"


def _held(platform: Platform, declared: Declared) -> Any:
    lock = process_lock(
        platform.settings.home / "locks" / f"stream-{declared.target}", f"the stream of {declared.table}"
    )
    return lock.held(f"reading the stream of {declared.table}", timeout=1)


@dataclass
class _Shard:
    """How far a shard was read. ``until``: epoch seconds; no record from before is missing, any later one may be.

    What was there before anybody read the stream is landed as far as it is kept, but nobody waits for it.
    """

    parent: str | None
    until: float
    sequence: str | None = None
    finished: bool = False


@dataclass
class _Checkpoint:
    """How far a stream was read. ``last``: the greatest sequence number that was read, ``loaded``: that of the resync.

    ``loading``: a resync is at work, or was; ``moving``: its files, and what they are to be called.
    """

    stream: str | None = None
    shards: dict[str, _Shard] = field(default_factory=dict)
    last: int = 0
    loaded: int | None = None
    loading: bool = False
    moving: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def read(cls, content: bytes | None) -> _Checkpoint:
        """The inverse of ``written``; of None that of a stream that nobody has read."""
        if content is None:
            return cls()
        found = json.loads(content)
        shards = {name: _Shard(**shard) for name, shard in found.pop("shards").items()}
        moving = [(old, new) for old, new in found.pop("moving")]
        last, loaded = int(found.pop("last")), found.pop("loaded")
        return cls(shards=shards, moving=moving, last=last, loaded=None if loaded is None else int(loaded), **found)

    def written(self) -> bytes:
        """As JSON; numbers of 40 digits as text, since many readers of JSON have no such numbers."""
        shards = {name: vars(shard) for name, shard in self.shards.items()}
        numbers = {"last": str(self.last), "loaded": None if self.loaded is None else str(self.loaded)}
        return json.dumps(vars(self) | numbers | {"shards": shards}, indent=1).encode()

    def children(self, name: str) -> bool:
        """Whether a shard is known that began when this one ended."""
        return any(shard.parent == name for shard in self.shards.values())


@dataclass
class _Position:
    """Where the reading of a shard is, and what was read and is in no file yet.

    ``known``: when it was asked first for what came empty so often that the shard counts as read to its end then.
    """

    sequence: str | None
    iterator: str | None = None
    lines: list[bytes] = field(default_factory=list)
    first: dict[str, Any] = field(default_factory=dict)
    size: int = 0
    created: float = 0
    since: float = 0
    empty: int = 0
    empty_since: float = 0
    known: float = 0
    ended: bool = False

    def was_empty(self, asked: float) -> None:
        """An answer without records to a question of that time."""
        if self.empty % EMPTY_ANSWERS == 0:
            self.empty_since = asked
        self.empty += 1
        if self.empty % EMPTY_ANSWERS == 0:
            self.known = self.empty_since


class _Reader:
    """Reads one stream; the caller sees to it that no other process does."""

    def __init__(
        self,
        platform: Platform,
        declared: Declared,
        progress: Callable[[str], None],
        clock: Callable[[], float],
        pause: float,
    ):
        self._platform, self._declared, self._progress = platform, declared, progress
        self._clock, self._pause = clock, pause
        self._table, self._streams = s3.client("dynamodb"), s3.client("dynamodbstreams")
        self.checkpoint = _Checkpoint.read(platform.lake.files.read(checkpoint_path(declared)))
        self._positions: dict[str, _Position] = {}
        self._records = self._files = 0
        self._move()

    # --- the stream ---

    def read(self, *, follow: bool, seconds: float | None) -> Consumed:
        """Until all is read, or as long as it is said; what was read is landed also when this breaks off."""
        end = None if seconds is None else time.monotonic() + seconds
        stream = self._stream()
        before = self.checkpoint.stream
        if before not in (None, stream):
            self._left_behind(str(before))
        if before is None:
            self._progress(
                f"{self._declared.table}: the stream is read for the first time; items that have not changed for a day "
                "are not in it: --resync reads them."
            )
        self.checkpoint.stream = stream
        return self._read(stream, follow=follow, end=end)

    def _read(self, stream: str, *, follow: bool, end: float | None) -> Consumed:
        looked, caught_up = float("-inf"), False
        try:
            while not caught_up and (end is None or time.monotonic() < end):
                if self._clock() - looked >= LOOK or any(p.ended for p in self._positions.values()):
                    self._look(stream, first=looked == float("-inf"))
                    looked = self._clock()
                ready = self._ready()
                got = sum([self._step(stream, name) for name in ready])
                at_end = all(self._positions[name].empty >= EMPTY_ANSWERS for name in ready)
                # A shard that ended in this round may have children, which the next look shows.
                caught_up = not follow and at_end and not any(p.ended for p in self._positions.values())
                if not got and not caught_up:
                    time.sleep(self._pause if end is None else max(0, min(self._pause, end - time.monotonic())))
        finally:
            self._land_all()
        shards = self.checkpoint.shards
        at_end = looked > 0 and all(shard.finished or self._at_end(name) for name, shard in shards.items())
        return Consumed(self._declared.table, self._records, len(shards), self._files, 0, at_end)

    def _at_end(self, name: str) -> bool:
        return name in self._positions and self._positions[name].empty >= EMPTY_ANSWERS

    def _stream(self) -> str:
        table = self._asked(lambda: self._table.describe_table(TableName=self._declared.table))["Table"]
        view = table.get("StreamSpecification", {}).get("StreamViewType")
        stream: str | None = table.get("LatestStreamArn")
        if not stream or view == "OLD_IMAGE":
            has = "tells what items were and not what they are" if stream else "is not there"
            raise ClickstreamError(
                f"{self._declared.table}: its stream {has}: enable one with the view NEW_AND_OLD_IMAGES."
            )
        if not table.get("StreamSpecification", {}).get("StreamEnabled"):
            self._progress(f"{self._declared.table}: its stream is disabled; what it still has is read.")
        return stream

    def _left_behind(self, stream: str) -> None:
        """Land what is left of the stream before; what changed until the new one began is in neither."""
        since = max((shard.until for shard in self.checkpoint.shards.values()), default=self._clock())
        try:
            self._read(stream, follow=False, end=None)
        except StreamGap:
            raise
        except ClickstreamError as error:
            self._progress(f"{self._declared.table}: the stream before cannot be read any more: {error}")
        raise StreamGap(
            f"{self._declared.table}: its stream was made anew, and changes since {_moment(since)} may be in neither: "
            f"run `clickstream cdc dynamodb {self._declared.table} --resync`."
        )

    def _look(self, stream: str, *, first: bool) -> None:
        """Note shards that are new, and those that are not there any more."""
        listed = self._shards(stream)
        shards = self.checkpoint.shards
        now = self._clock()
        if first:  # of those that this process knows, none waits
            for name, shard in shards.items():
                self._check(name, shard, listed, now)
        for name in [name for name, shard in shards.items() if name not in listed and not shard.finished]:
            self._finish(name)
        oldest = min((shard.until for shard in shards.values()), default=now)
        for name, parent in listed.items():  # a listing has parents before children, but nobody promises that
            if name not in shards:
                known = shards.get(parent or "")
                shards[name] = _Shard(parent, known.until if known else oldest)
        for name in [name for name, s in shards.items() if s.finished and name not in listed]:
            if self.checkpoint.children(name):
                del shards[name]
                self._positions.pop(name, None)
        for name, position in self._positions.items():
            position.ended = False
            self._know(name, position)
        self._save()

    def _shards(self, stream: str) -> dict[str, str | None]:
        """All shards of the stream, each with its parent."""
        found: dict[str, str | None] = {}
        further: dict[str, str] = {}
        while True:
            answer = self._asked(lambda f=further: self._streams.describe_stream(StreamArn=stream, **f))  # type: ignore[misc]
            description = answer["StreamDescription"]
            found |= {shard["ShardId"]: shard.get("ParentShardId") for shard in description["Shards"]}
            if not description.get("LastEvaluatedShardId"):
                return found
            further = {"ExclusiveStartShardId": description["LastEvaluatedShardId"]}

    def _check(self, name: str, shard: _Shard, listed: Mapping[str, str | None], now: float) -> None:
        """Whether records may have gone since the shard was read; those after a noted record are asked for later.

        Raises:
            StreamGap: they may.
        """
        if now - shard.until <= RETENTION:
            return
        if shard.finished:
            # Its children began at its end, which is longer ago than records are kept.
            lost = not self.checkpoint.children(name) and (name not in listed or name in listed.values())
        else:
            lost = name not in listed or shard.sequence is None
        if lost:
            raise self._gap(shard.until)

    def _gap(self, since: float) -> StreamGap:
        return StreamGap(
            f"{self._declared.table}: changes since {_moment(since)} may be missing, as the stream keeps them for 24 "
            "hours and they were not read in that time: run "
            f"`clickstream cdc dynamodb {self._declared.table} --resync`."
        )

    def _ready(self) -> list[str]:
        """Shards to read: those that are not read to their end, of which the parent is."""
        shards = self.checkpoint.shards
        return [
            name
            for name, shard in shards.items()
            if not shard.finished and (shard.parent not in shards or shards[shard.parent].finished)
        ]

    def _step(self, stream: str, name: str) -> int:
        """Ask once for records of a shard; how many came."""
        shard = self.checkpoint.shards[name]
        position = self._positions.setdefault(name, _Position(shard.sequence))
        began = self._clock()
        answer = self._answer(stream, name, position)
        if answer is None:  # gone, and what it had was read
            self._land(name)
            self._finish(name)
            return 0
        records = answer["Records"]
        for record in records:
            self._take(position, record)
        position.iterator = answer.get("NextShardIterator")
        if records:
            position.empty = 0
        else:
            position.was_empty(began)
        ended = position.iterator is None
        full = len(position.lines) >= FILE_RECORDS or position.size >= FILE_BYTES
        if position.lines and (full or ended or self._clock() - position.since >= FILE_SECONDS):
            self._land(name)
        if ended:
            self._finish(name)
        return len(records)

    def _answer(self, stream: str, name: str, position: _Position) -> dict[str, Any] | None:
        """The next records of a shard; None when it is gone and nothing of it is missing."""
        for _ in range(3):
            try:
                if position.iterator is None:
                    position.iterator = self._iterator(stream, name, position)
                return self._asked(
                    lambda: self._streams.get_records(ShardIterator=position.iterator),
                    but=("ExpiredIteratorException", "TrimmedDataAccessException", "ResourceNotFoundException"),
                )
            except _Refused as refused:
                position.iterator = None
                if refused.code == "ExpiredIteratorException":
                    continue
                until = max(self.checkpoint.shards[name].until, position.created)
                if self._clock() - until > RETENTION:
                    raise self._gap(until) from refused
                if refused.code == "ResourceNotFoundException":
                    return None
                # What was trimmed is what was read: of later records none is old enough.
                position.iterator = self._asked(
                    lambda: self._streams.get_shard_iterator(
                        StreamArn=stream, ShardId=name, ShardIteratorType="TRIM_HORIZON"
                    )
                )["ShardIterator"]
        raise ClickstreamError(
            f"{self._declared.table}: the shard {name} of its stream gives places to read from and takes none of them: "
            "run again."
        )

    def _iterator(self, stream: str, name: str, position: _Position) -> str:
        where: dict[str, str] = {"ShardIteratorType": "TRIM_HORIZON"}
        if position.sequence is not None:
            where = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": position.sequence}
        answer = self._asked(
            lambda: self._streams.get_shard_iterator(StreamArn=stream, ShardId=name, **where),
            but=("TrimmedDataAccessException", "ResourceNotFoundException"),
        )
        return str(answer["ShardIterator"])

    def _take(self, position: _Position, record: dict[str, Any]) -> None:
        line = _line(record)
        if not position.lines:
            position.first, position.since = record, self._clock()
        position.lines.append(line)
        position.size += len(line)
        position.sequence = record["dynamodb"]["SequenceNumber"]
        position.created = max(position.created, _created(record, self._clock()))

    def _land(self, name: str) -> None:
        """Write what was read of a shard: the file, then the checkpoint."""
        position = self._positions[name]
        if not position.lines:
            return
        first = position.first["dynamodb"]["SequenceNumber"]
        # The last number is part of the name: a batch that is read again and has become longer is another file.
        names = f"{name}-{first}-{position.sequence}"
        path = self._path(_created(position.first, self._clock()), names)
        self._platform.landing.write(path, _packed(position.lines))
        shard = self.checkpoint.shards[name]
        shard.sequence, shard.until = position.sequence, max(shard.until, position.created)
        self.checkpoint.last = max(self.checkpoint.last, int(position.sequence or 0))
        self._records += len(position.lines)
        self._files += 1
        position.lines, position.size = [], 0
        self._save()
        self._progress(f"{self._declared.table}: {self._records:,} records, until {_moment(position.created)}")

    def _land_all(self) -> None:
        for name, position in self._positions.items():
            self._land(name)
            self._know(name, position)
        self._save()

    def _know(self, name: str, position: _Position) -> None:
        """Note until when nothing is missing of an open shard that was read to its end."""
        shard = self.checkpoint.shards[name]
        if not shard.finished and not position.lines:
            shard.until = max(shard.until, position.known)

    def _finish(self, name: str) -> None:
        """A shard is read to its end; when that was, nobody says, so what its children begin with may be as old as
        its last record.
        """
        self.checkpoint.shards[name].finished = True
        self._positions.setdefault(name, _Position(None)).ended = True

    # --- the table ---

    def scan(self) -> tuple[int, int]:
        """Land every item of the table, and note that the stream is to be read from its beginning; items and files."""
        point, began = self.checkpoint, self._clock()
        point.loaded = point.last if point.loaded is None else max(point.last, point.loaded + 1)
        point.loading = True
        self._save()
        landing, folder = self._platform.landing, self._declared.folder
        for left in landing.files(folder, hidden=True):  # of a resync that broke off
            if left.path.rpartition("/")[2].startswith("_scan-"):
                landing.delete(left.path)
        stream = self._stream()
        shards = self._shards(stream)
        key = [part["AttributeName"] for part in self._described()["KeySchema"]]
        items, hidden = 0, list[str]()
        for lines in _batches(self._items(key, began, str(point.loaded))):
            items += len(lines)
            hidden.append(f"{folder}/_scan-{point.loaded}-{len(hidden) + 1:04}.json.gz")
            landing.write(hidden[-1], _packed(lines))
            self._progress(f"{self._declared.table}: {items:,} items")
        names = [f"scan-{n:04}-of-{len(hidden):04}" for n in range(1, len(hidden) + 1)]
        point.moving = [(path, self._path(began, name)) for path, name in zip(hidden, names, strict=True)]
        # What the stream had when the scan began comes after it, and must be read before it is a day old.
        point.stream, point.shards = stream, {name: _Shard(parent, began) for name, parent in shards.items()}
        point.loading = False
        self._save()
        self._move()
        return items, len(hidden)

    def _described(self) -> dict[str, Any]:
        found: dict[str, Any] = self._asked(lambda: self._table.describe_table(TableName=self._declared.table))["Table"]
        return found

    def _items(self, key: Iterable[str], began: float, sequence: str) -> Iterator[bytes]:
        names = list(key)
        further: dict[str, Any] = {}
        while True:
            answer = self._asked(
                lambda f=further: self._table.scan(TableName=self._declared.table, ConsistentRead=True, **f)  # type: ignore[misc]
            )
            for item in answer["Items"]:
                changes = {
                    "ApproximateCreationDateTime": int(began),
                    "Keys": {name: item[name] for name in names},
                    "NewImage": item,
                    "SequenceNumber": sequence,
                }
                yield _line({"eventName": "SCAN", "dynamodb": changes})
            if not answer.get("LastEvaluatedKey"):
                return
            further = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _move(self) -> None:
        """Give the files of a whole scan their names; also what a killed process left of that."""
        landing = self._platform.landing
        for hidden, path in self.checkpoint.moving:
            if landing.read(hidden) is not None:
                landing.move(hidden, path)
        if self.checkpoint.moving:
            self.checkpoint.moving = []
            self._save()

    # --- both ---

    def _path(self, moment: float, name: str) -> str:
        when = datetime.fromtimestamp(moment, UTC)
        return f"{self._declared.folder}/{when:year=%Y/month=%m/day=%d}/{when:%Y%m%dT%H%M%SZ}-{name}.json.gz"

    def _save(self) -> None:
        self._platform.lake.files.write(checkpoint_path(self._declared), self.checkpoint.written())

    def _asked(self, ask: Callable[[], Any], *, but: tuple[str, ...] = ()) -> dict[str, Any]:
        """An answer of AWS.

        Raises:
            _Refused: one of the refusals that the caller knows what to do about.
            ClickstreamError: any other.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer: dict[str, Any] = ask()
        except (BotoCoreError, ClientError) as error:
            code = str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))
            if code in but:
                raise _Refused(code) from error
            raise ClickstreamError(
                f"{self._declared.table}: {str(error).rstrip('.')}: {_remedy(code)}; what was read is landed."
            ) from error
        return answer


class _Refused(Exception):
    """AWS refused, with this code."""

    def __init__(self, code: str):
        super().__init__(code)
        self.code = code


def _remedy(code: str) -> str:
    if code == "ResourceNotFoundException":
        return "mend the table's name in the declaration, or AWS_REGION if it is in another region"
    if "denied" in code.lower():
        return (
            "allow dynamodb:DescribeTable, dynamodb:Scan, dynamodb:DescribeStream, dynamodb:GetShardIterator and "
            "dynamodb:GetRecords on it and on its stream"
        )
    return "run again when that is mended"


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False, default=_plain).encode()


def _plain(value: object) -> object:
    """What boto3 makes of binary values and of times, as they are written in JSON."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        seconds = value.timestamp()
        return int(seconds) if seconds.is_integer() else seconds
    raise TypeError(f"{type(value).__name__} in a record of a stream")


def _created(record: Mapping[str, Any], otherwise: float) -> float:
    """When a record was made, epoch seconds."""
    created = record["dynamodb"].get("ApproximateCreationDateTime")
    return created.timestamp() if isinstance(created, datetime) else otherwise


def _batches(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Lines for a file each."""
    batch: list[bytes] = []
    size = 0
    for line in lines:
        batch.append(line)
        size += len(line)
        if len(batch) >= FILE_RECORDS or size >= FILE_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _packed(lines: Iterable[bytes]) -> bytes:
    return gzip.compress(b"\n".join((*lines, b"")), compresslevel=6, mtime=0)


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
