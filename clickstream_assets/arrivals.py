"""Which landing files are new since the last look, and the cursor that remembers the others. No Dagster here.

A file is a path and an etag: the same path with another etag is another file, as it has to be loaded again.

The cursor remembers files in two ways. Those modified within the overlap before the newest one are remembered one by
one, by 8 bytes each: a file that arrives there late, because clocks differ or time stamps are coarse, is told from its
neighbours. All older ones are remembered together, by one 8-byte digest per day: when a day's digest is not what it
was, the day has changed. A folder's modification times are not arrival times (``mv`` and ``cp -p`` keep old ones), so
without the digests such a file would be missed for ever; with them the worst is that a day is run once too often, as
after the removal of one of its older files, and running a day again changes nothing.

Both are bounded, and so is the cursor: 100,000 files of one minute are 800 kB even at 8 bytes each, so that when more
than ``SEEN`` files are within the overlap the older of them pass to their days' digests early.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from clickstream_assets.errors import ClickstreamError

if TYPE_CHECKING:
    from clickstream_assets.domains import Landing
    from clickstream_assets.storage.files import FileInfo, Files

#: files taken per look; the next looks take the rest
CAP = 500

#: how far back files are remembered one by one: minutes, for clocks that differ and uploads that take long
OVERLAP_NS = 10 * 60 * 1_000_000_000

#: files remembered one by one: 32 kB of cursor
SEEN = 3000

#: digests of days: 27 kB of cursor. Days further apart than this share one, and are run together when it changes.
DAYS = 1024

#: modification time and path: the order in which files are taken
Position = tuple[int, str]


def load(cursor: str | None) -> dict[str, str]:
    """The cursors of a domain's landing folders.

    Raises:
        ClickstreamError: they are not of this sensor.
    """
    try:
        cursors = dict(json.loads(cursor or "{}"))
    except (ValueError, TypeError) as error:
        raise _foreign(str(cursor), error) from error
    return cursors


def _foreign(cursor: str, error: Exception) -> ClickstreamError:
    return ClickstreamError(
        f"The cursor {cursor[:40]!r} is not one of this sensor ({error!r}): reset it in the UI; every day that has "
        "landing files is requested then."
    )


@dataclass(frozen=True)
class New:
    """What a look found.

    ``days``: the days to run, each with the files that are the reason. ``elsewhere``: folders with new files that are
    no partitions. ``left``: new files that are for the next look. ``cursor``: for the next look.
    """

    days: Mapping[date, Sequence[FileInfo]]
    elsewhere: Sequence[str]
    left: int
    cursor: str


@dataclass(frozen=True)
class _Memory:
    """The cursor: files from ``floor`` on are remembered by ``seen``, those before it by ``days``."""

    floor: Position = (0, "")
    seen: frozenset[int] = frozenset()
    days: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def load(cls, cursor: str | None) -> _Memory:
        if not cursor:
            return cls()
        try:
            content = json.loads(cursor)
            modified_ns, path = content["floor"]
            packed = base64.b64decode(content["seen"], validate=True)
            return cls(
                floor=(int(modified_ns), str(path)),
                seen=frozenset(int.from_bytes(packed[at : at + 8]) for at in range(0, len(packed), 8)),
                days={int(slot): int(digest, 16) for slot, digest in content["days"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _foreign(cursor, error) from error

    def dump(self) -> str:
        packed = b"".join(digest.to_bytes(8) for digest in sorted(self.seen))
        content = {
            "floor": self.floor,
            "days": {slot: f"{digest:016x}" for slot, digest in sorted(self.days.items())},
            "seen": base64.b64encode(packed).decode(),
        }
        return json.dumps(content, separators=(",", ":"), ensure_ascii=False)


class _Listed(NamedTuple):
    """A landing file as it is compared: ``day`` is None where its folder is no partition."""

    position: Position
    day: date | None
    digest: int
    info: FileInfo


class Arrivals:
    """The landing folders of one place. ``first``, ``last``: the days that are partitions."""

    def __init__(self, files: Files, landing: Landing, *, first: date, last: date):
        self._files = files
        self._landing = landing
        self._first = first
        self._last = last

    def since(self, cursor: str | None, *, now_ns: int, cap: int = CAP) -> New:
        """What is new since the look that gave ``cursor``; the oldest ``cap`` files of it.

        Raises:
            ClickstreamError: the cursor is not one of these.
        """
        memory = _Memory.load(cursor)
        older: dict[date, list[_Listed]] = defaultdict(list)
        known: list[_Listed] = []
        new: list[_Listed] = []
        for file in self._list():
            if file.position >= memory.floor:
                (known if file.digest in memory.seen else new).append(file)
            elif file.day is not None:
                older[file.day].append(file)
        new.sort()
        taken, left = new[:cap], new[cap:]
        digests = _digests((file for files in older.values() for file in files), {})
        changed = {day for day in older if digests[_slot(day)] != memory.days.get(_slot(day))}
        # A replaced file changes the digest of its day too; the day is then run for the new file, and not twice.
        alone = sorted(changed - {file.day for file in new})
        days = _by_day(taken) | {day: older[day] for day in alone[:cap]}
        waiting = {*alone[cap:], *(changed & {file.day for file in left})}

        limit = min(now_ns, left[0].info.modified_ns) if left else now_ns
        after = _next(memory.floor, digests, [*known, *taken], limit=limit)
        as_before = {_slot(day): memory.days.get(_slot(day), 0) for day in waiting}
        return New(
            days={day: [file.info for file in days[day]] for day in sorted(days)},
            elsewhere=sorted({_folder(file.info) for file in taken if file.day is None}),
            left=len(left),
            # Digests of days without files stay: a landing folder that was away for a while is not news.
            cursor=_Memory(after.floor, after.seen, {**memory.days, **after.days, **as_before}).dump(),
        )

    def _list(self) -> Iterable[_Listed]:
        days: dict[str, date | None] = {}
        for info in self._files.files(self._landing.root):
            if not self._landing.format.has(info.path):
                continue
            folder = _folder(info)
            if folder not in days:
                days[folder] = self._day(folder)
            day = days[folder]
            # The day is part of it: what lies in a folder that becomes a partition tomorrow is new again then.
            content = f"{'' if day is None else day.toordinal()}\0{info.path}\0{info.etag}"
            digest = hashlib.blake2b(content.encode(), digest_size=8).digest()
            yield _Listed((info.modified_ns, info.path), day, int.from_bytes(digest), info)

    def _day(self, folder: str) -> date | None:
        day = self._landing.day_of(folder)
        return day if day is not None and self._first <= day <= self._last else None


def _next(floor: Position, digests: Mapping[int, int], recent: Sequence[_Listed], *, limit: int) -> _Memory:
    """The memory of ``recent``, the files from ``floor`` on, on top of the digests of those before it.

    The floor follows the newest file, but not beyond ``limit``: a time stamp in the future is nobody's newest file.
    """
    newest = max((file.info.modified_ns for file in recent), default=0)
    positions = sorted(file.position for file in recent)
    floor = max(floor, (min(newest, limit) - OVERLAP_NS, ""))
    if len(positions) > SEEN:
        floor = max(floor, positions[-SEEN])
    return _Memory(
        floor=floor,
        seen=frozenset(file.digest for file in recent if file.position >= floor),
        days=_digests((file for file in recent if file.position < floor), digests),
    )


def _digests(files: Iterable[_Listed], start: Mapping[int, int]) -> dict[int, int]:
    """Files per slot, in any order: the exclusive or of their digests, on top of ``start``."""
    digests = dict(start)
    for file in files:
        if file.day is not None:
            slot = _slot(file.day)
            digests[slot] = digests.get(slot, 0) ^ file.digest
    return digests


def _by_day(files: Iterable[_Listed]) -> dict[date, list[_Listed]]:
    days: dict[date, list[_Listed]] = defaultdict(list)
    for file in files:
        if file.day is not None:
            days[file.day].append(file)
    return days


def _slot(day: date) -> int:
    return day.toordinal() % DAYS


def _folder(file: FileInfo) -> str:
    return file.path.rpartition("/")[0]
