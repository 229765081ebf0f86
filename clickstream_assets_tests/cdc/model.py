"""What the tables have to be, by the plainest code there is: dictionaries and one sort per key; and raw changes."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from clickstream_assets.cdc import tables
from clickstream_assets.cdc.declared import DYNAMODB, Declared
from clickstream_assets.platform import Platform
from clickstream_assets.schemas import CDC_CHANGES
from clickstream_assets.storage.lake import Lake, StagedWriter
from clickstream_assets.storage.staged import Staged, StagedFile

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
DAY = date(2026, 1, 1)

Row = Mapping[str, "str | None"]


@dataclass(frozen=True)
class Change:
    """One raw row; ``second``: of ``EPOCH``, None where the time is not known; ``number``: in the source's order."""

    op: str
    key: tuple[str, ...]
    file: str
    line: int
    after: Row | None = None
    before: Row | None = None
    old_key: tuple[str, ...] | None = None
    second: int | None = None
    number: int | None = None
    kind: str = "change"
    reason: str | None = None
    types: Mapping[str, str] | None = None
    day: date = DAY

    @property
    def committed_at(self) -> datetime | None:
        return None if self.second is None else EPOCH + timedelta(seconds=self.second)

    @property
    def sequence(self) -> str:
        return "" if self.number is None else f"{self.number:048}"

    def raw(self, target: str) -> dict[str, Any]:
        """As ``cdc_raw.changes`` has it."""
        types = self.types
        if types is None:
            types = dict.fromkeys((self.after or self.before or {}).keys(), "varchar")
        return {
            "kind": self.kind,
            "op": self.op,
            "reason": self.reason,
            "key": text_of(self.key),
            "old_key": None if self.old_key is None else text_of(self.old_key),
            "before": None if self.before is None else json.dumps(self.before),
            "after": None if self.after is None else json.dumps(self.after),
            "types": json.dumps(types, sort_keys=True),
            "committed_at": self.committed_at,
            "sequence": self.sequence,
            "file_name": self.file,
            "source_line": self.line,
            "source_file": f"cdc/dms/s/{target}/{self.file}",
            "processed_at": EPOCH,
            "target": target,
            "first_seen": self.day,
        }


def text_of(key: Sequence[str]) -> str:
    """A key as text."""
    return json.dumps(list(key), separators=(",", ":"))


def publish(lake: Lake, target: str, changes: Iterable[Change]) -> None:
    """Add changes to the raw table, beside what it has of their days."""
    by_day: dict[date, list[Change]] = defaultdict(list)
    for change in changes:
        by_day[change.day].append(change)
    files: list[StagedFile] = []
    for day, of_day in by_day.items():
        writer = StagedWriter(lake, CDC_CHANGES, day, CDC_CHANGES.arrow)
        writer.append(pa.Table.from_pylist([change.raw(target) for change in of_day], CDC_CHANGES.arrow))
        files += writer.close()
    there = lake.snapshot(CDC_CHANGES, list(by_day)).files
    kept = [StagedFile(lake.files.relative(file.uri), file.rows, file.day) for file in there]
    lake.publish(Staged(CDC_CHANGES, list(by_day), files, (), (), "a-run", kept=kept))


@dataclass(frozen=True)
class Version:
    """One row of the history."""

    key: str
    op: str
    reason: str | None
    valid_from: datetime | None
    valid_to: datetime | None
    open: bool
    file: str
    line: int
    row: tuple[tuple[str, Any], ...]


@dataclass
class _Event:
    place: tuple[Any, ...]
    key: str
    op: str
    reason: str | None
    change: Change | None
    at: datetime | None
    row: dict[str, Any]
    content: Any


def model(
    changes: Iterable[Change], declared: Declared, columns: Sequence[str]
) -> tuple[dict[str, dict[str, Any]], list[Version]]:
    """The current state by key, and the history, of a set of changes whose values are texts."""
    dynamodb = declared.source == DYNAMODB
    changes = list(changes)
    events: dict[str, list[_Event]] = defaultdict(list)
    for change in changes:
        time = EPOCH if dynamodb else change.committed_at or datetime.min.replace(tzinfo=UTC)
        place = (time, change.sequence, change.kind, change.file, change.line)
        content = (change.op, change.old_key, _frozen(change.before), _frozen(change.after))
        told = change.before if change.op == "D" else change.after
        row = _row(told, change.key if change.op == "D" else None, declared, columns)
        key = text_of(change.key)
        events[key].append(_Event(place, key, change.op, change.reason, change, change.committed_at, row, content))
        if change.op == "U" and change.old_key is not None and change.old_key != change.key:
            old, row = text_of(change.old_key), _row(change.before, change.old_key, declared, columns)
            events[old].append(_Event(place, old, "D", "key_changed", change, change.committed_at, row, content))
    loads = _loads(changes, dynamodb=dynamodb) if dynamodb or declared.complete_loads else []
    state: dict[str, dict[str, Any]] = {}
    history: list[Version] = []
    for key, of_key in events.items():
        kept: list[_Event] = []
        before: _Event | None = None
        for event in sorted(of_key, key=lambda event: event.place):
            if before is None or not _copy(before, event, dynamodb=dynamodb):
                kept.append(event)
            before = event
        rising = datetime.min.replace(tzinfo=UTC) if dynamodb else None
        for event in kept:  # a version is not valid from before the one that precedes it
            if rising is not None and event.at is not None:
                rising = event.at = max(rising, event.at)
        newest = kept[-1]
        gone = [load for load in loads if _precedes(newest, load, dynamodb=dynamodb)]
        if newest.op != "D" and gone:
            load = gone[0]
            row = _row(None, json.loads(key), declared, columns)
            at = max((time for time in (load[0], newest.at) if time is not None), default=None)
            kept.append(_Event((), key, "D", "absent_from_load", None, at, row, None))
        for event, following in zip(kept, [*kept[1:], None], strict=True):
            file, line = (event.change.file, event.change.line) if event.change else ("", 0)
            until = None if following is None else following.at
            history.append(
                Version(
                    key, event.op, event.reason, event.at, until, following is None, file, line,
                    tuple(sorted(event.row.items())),
                )
            )  # fmt: skip
        if kept[-1].op != "D":
            state[key] = kept[-1].row
    return state, history


def _copy(one: _Event, other: _Event, *, dynamodb: bool) -> bool:
    if one.place[:3] != other.place[:3]:
        return False
    return one.content == other.content or (dynamodb and one.place[2] == "change")


def _precedes(event: _Event, load: tuple[datetime | None, str], *, dynamodb: bool) -> bool:
    if dynamodb:
        return (event.place[1], event.place[2]) < (load[1], "load")
    return bool(load[0] and event.place[0] < load[0])


def _loads(changes: Iterable[Change], *, dynamodb: bool) -> list[tuple[datetime | None, str]]:
    """Where full loads begin. Of DMS each file is one span of time; spans an hour or less apart are one load."""
    rows = [change for change in changes if change.kind == "load"]
    if dynamodb:
        found = {}
        for number in sorted({change.sequence for change in rows if change.number}):
            times = [c.committed_at for c in rows if c.sequence == number and c.committed_at]
            found[number] = min(times, default=None)
        return [(time, number) for number, time in found.items()]
    spans = []
    for file in {change.file for change in rows}:
        times = [c.committed_at for c in rows if c.file == file and c.committed_at]
        if times:
            spans.append((min(times), max(times)))
    loads: list[tuple[datetime | None, str]] = []
    end = None
    for first, last in sorted(spans):
        if end is None or first - end > timedelta(hours=1):
            loads.append((first, ""))
        end = last if end is None else max(end, last)
    return loads


def _row(told: Row | None, key: Sequence[str] | None, declared: Declared, columns: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {column: (told or {}).get(column) for column in columns}
    for name, value in zip(declared.primary_key, key or (), strict=False):
        row[name] = row[name] if row[name] is not None else value
    return row


def _frozen(row: Row | None) -> Any:
    return None if row is None else tuple(row.items())


def found(platform: Platform, declared: Declared) -> tuple[dict[str, dict[str, Any]], list[Version]]:
    """What the lake has, as pyiceberg reads it."""
    state, history = tables_of(platform, declared)
    own = set(tables.STATE)
    rows = {row["_key"]: {name: row[name] for name in row if name not in own} for row in state}
    assert len(rows) == len(state), "two rows of one key"
    assert all(row["_bucket"] == tables.bucket(row["_key"]) for row in (*state, *history))
    versions = [
        Version(
            row["_key"], row["op"], row["_reason"], _utc(row["valid_from"]), _utc(row["valid_to"]), row["_open"],
            row["_file_name"], row["_source_line"],
            tuple(sorted((name, row[name]) for name in row if name not in tables.HISTORY)),
        )
        for row in history
    ]  # fmt: skip
    return rows, versions


def tables_of(platform: Platform, declared: Declared) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All rows of the current state and of the history."""
    read = []
    for name in (declared.name, f"{declared.name}_history"):
        iceberg = platform.lake.iceberg(name)
        assert iceberg is not None
        read.append(iceberg.scan().to_arrow().to_pylist())
    return read[0], read[1]


def _utc(moment: datetime | None) -> datetime | None:
    return moment and moment.astimezone(UTC)


def ordered(versions: Iterable[Version]) -> list[str]:
    """Versions in an order in which two lists of them can be compared."""
    return sorted(map(repr, versions))
