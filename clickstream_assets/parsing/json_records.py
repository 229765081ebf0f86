"""JSON objects one after the other: find them, say on which line each starts, set broken ones aside.

Amazon Data Firehose puts records into an object with a line feed between them, or with nothing. ``Finder`` gives blocks
of spans that look like objects, found by quotes and braces alone; their parser says which of them are none
(``doubt``). Finding and parsing are separate on purpose: the count of records found is the ledger's ``rows_in``.

A sound block is found with a few passes of NumPy: quotes, braces outside of them, depth. A block in which something is
wrong is read again record by record, by a grammar that is the parser's (see ``_Walk``). What the result is does
not depend on where blocks end:

* A record is a ``{`` and all up to its ``}``, when that is valid JSON.
* Otherwise it is broken and reaches to its ``}`` or to the next anchor, whichever comes first. An anchor is a ``{``
  with ``"`` or ``}`` behind it that stands in the first column, or whose predecessor is none of ``: , [``.
* A record with no fault within CLICKSTREAM_MAX_RECORD_BYTES, and no end, is passed over up to the next anchor or line.
* Between records, each line that is not blank is one broken record.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clickstream_assets.parsing.content import Readable
from clickstream_assets.parsing.formats import Broken
from clickstream_assets.parsing.payload import payload
from clickstream_assets.settings import Limits

#: less costs more: of 1,000,000 events 8 MiB take 7.6 s to read, 16 MiB 5.1 s, 32 MiB 5.3 s
BLOCK_BYTES = 16 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"
_QUOTE, _BACKSLASH, _OPEN, _CLOSE, _LF = b'"\\{}\n'

#: why a record is not readable, for the reference page
RULES = {
    "bad_json": "It is not valid JSON, or it was cut short.",
    "not_an_object": "It is valid JSON, but a list, a text or a number where an object is expected.",
    "bad_encoding": "It is not UTF-8, has a NUL character, or half a surrogate pair.",
    "too_long": "It is longer than CLICKSTREAM_MAX_RECORD_BYTES.",
}

Positions = npt.NDArray[np.int64]

_WHITE = b" \t\r\n"
_W = rb"[ \t\r\n]*+"
_STRING = rb'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"'
_NUMBER = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+"
# DuckDB's parser takes these too, in any case.
_LITERAL = rb"true|false|null|-?(?i:nan|inf(?:inity)?+)"


def _object(value: bytes) -> bytes:
    member = _STRING + _W + b":" + _W + rb"(?>" + value + rb")" + _W
    return rb"\{" + _W + rb"(?:" + member + rb"(?:," + _W + member + rb")*+)?+\}"


def _list(value: bytes) -> bytes:
    item = rb"(?>" + value + rb")" + _W
    return rb"\[" + _W + rb"(?:" + item + rb"(?:," + _W + item + rb")*+)?+\]"


_SCALAR = rb"|".join((_STRING, _NUMBER, _LITERAL))
_SHALLOW = _SCALAR + b"|" + _object(_SCALAR) + b"|" + _list(_SCALAR)
# What nearly all records are: an object whose values are nested at most once. Deeper ones go token by token.
_RECORD = re.compile(_object(_SHALLOW))
_TOKEN = re.compile(
    _W + rb"(?:(?P<string>" + _STRING + rb")|(?P<scalar>" + _NUMBER + b"|" + _LITERAL + rb")|(?P<mark>[{}\[\]:,]))"
)
_BLANKS = re.compile(_W)
_OPEN_STRING = re.compile(_W + _STRING[:-1])
#: the longest token but a text or number that may be cut in two; an escape and a literal have at most 9 bytes
_CUT = 16
# Strings and braces, to find where a broken record ends; a quote alone is a string that does not end on its line.
_MARK = re.compile(rb'"(?:[^"\\\n]++|\\[^\n])*+"|[{}"]')
_GAP = 256
_ANCHOR = re.compile(rb'\{[ \t\r\n]{0,%d}+["}]' % _GAP)
_NOT_BEFORE_ANCHORS = b":,["
# Escapes that stand for a character; a NUL is none that a warehouse stores in text.
_STORABLE = re.compile(
    rb"(?:[^\\]++|\\[^u]|\\u(?!0000|[dD][89a-fA-F])[0-9a-fA-F]{4}"
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})*+"
)


@dataclass(frozen=True)
class Block:
    """Some consecutive records of a file.

    ``records``: those that look like objects, each perhaps with white space behind it. ``lines`` and ``numbers``:
    physical line and record number of each. ``judged``: they were read record by record, there is no more to doubt.
    """

    records: pa.StringArray
    lines: Positions
    numbers: Positions
    broken: list[Broken] = field(default_factory=list)
    judged: bool = False
    #: where the records are, for those that must be found again
    source: bytes = field(default=b"", repr=False)
    starts: Positions | None = field(default=None, repr=False)

    @property
    def found(self) -> int:
        """Records found, broken ones included."""
        return len(self.lines) + len(self.broken)


class Finder:
    """Finds a file's records, block by block. Memory: a block, a record, and what NumPy makes of them."""

    def __init__(self, stream: Readable, limits: Limits, *, block_bytes: int = BLOCK_BYTES):
        self._stream = stream
        self._cap = limits.record_bytes
        self._block_bytes = block_bytes
        self._rest = b""
        self._line = 1
        self._number = 1
        self._started = False
        self._ended = False
        self._doubted = False
        # Within a record that is too long: where in the rest to look on, and the last byte before it that is not white.
        self._skip: int | None = None
        self._before = 0

    def next(self) -> Block | None:
        """The next block that has records; None at the end."""
        while not self._ended or self._rest:
            if not self._doubted:
                self._read_on()
            slow = self._doubted or self._skip is not None
            self._doubted = False
            block = None if slow else self._regular()
            if block is None:
                block = self._one_by_one()
            if block.found:
                return block
        return None

    def doubt(self, block: Block, index: int) -> None:
        """The parser does not take record ``index`` of the last block: find it and all behind it again, one by one."""
        if block.starts is None:
            raise ValueError("the records of this block were judged one by one")
        self._rest = block.source[block.starts[index] :]
        self._line, self._number = int(block.lines[index]), int(block.numbers[index])
        self._doubted = True

    def _read_on(self) -> None:
        chunk = self._stream.read(self._block_bytes)
        self._rest += chunk
        self._ended = not chunk
        while not self._started:
            if len(self._rest) < len(_BOM) and not self._ended:
                chunk = self._stream.read(self._block_bytes)
                self._rest += chunk
                self._ended = not chunk
                continue
            self._rest = self._rest.removeprefix(_BOM)
            self._started = True

    def _regular(self) -> Block | None:
        """The complete records of the rest; None where something is not as it should be."""
        buffer = self._rest
        if b"\0" in buffer or b"\\u0000" in buffer:
            return None
        data = np.frombuffer(buffer, dtype=np.uint8)
        braces = np.flatnonzero((data == _OPEN) | (data == _CLOSE))
        quotes = np.flatnonzero(data == _QUOTE)
        if b"\\" in buffer:
            quotes = _without_escaped(data, quotes)
        if len(quotes):
            braces = braces[np.searchsorted(quotes, braces) % 2 == 0]
        depth = np.cumsum(np.where(data[braces] == _OPEN, 1, -1))
        if len(depth) and depth.min() < 0:
            return None
        closing = np.flatnonzero(depth == 0)
        ends = braces[closing] + 1
        starts = braces[np.concatenate(([0], closing[:-1] + 1))] if len(ends) else ends
        used = int(ends[-1]) if len(ends) else 0
        if not _white(buffer, data, np.concatenate(([0], ends[:-1])), starts):
            return None
        left = len(buffer) - used
        if left and (left > self._cap or self._ended or buffer[used] not in b"{ \t\r\n"):
            blanks = _BLANKS.match(buffer, used)
            white = blanks is not None and blanks.end() == len(buffer)
            if not white:
                return None
            used = len(buffer)
        if len(ends) and (int((ends - starts).max()) > self._cap or not _is_text(buffer, int(ends[-1]))):
            return None
        newlines = np.flatnonzero(data == _LF)
        lines = self._line + np.searchsorted(newlines, starts)
        numbers = self._number + np.arange(len(starts))
        self._line += int(np.searchsorted(newlines, used))
        self._number += len(starts)
        self._rest = buffer[used:]
        return Block(_strings(buffer, starts, ends), lines, numbers, source=buffer, starts=starts)

    def _one_by_one(self) -> Block:
        walk = _Walk(self._rest, self._cap, self._line, self._number, last=self._ended)
        at = 0
        if self._skip is not None:
            at, self._skip = self._skip, None
            past = walk.past_long(at, self._before)
            if past is None:
                self._skip_on(walk, at)
                return walk.block()
            at = past
        at = walk.records(at)
        if walk.skipping:
            self._skip_on(walk, at)
        else:
            self._rest = self._rest[at:]
            self._line = walk.line_at(at)
        self._number = walk.number
        return walk.block()

    def _skip_on(self, walk: _Walk, at: int) -> None:
        """Drop what was passed over of a record that is too long, but for what an anchor at its end needs."""
        at = max(at, len(self._rest) - _GAP - 2)
        self._line = walk.line_at(at - 1)
        passed = self._rest[: at - 1].rstrip(_WHITE)
        self._before = passed[-1] if passed else self._before
        self._rest = self._rest[at - 1 :]
        self._skip = 1


class _Walk:
    """Goes through a buffer record by record, as far as what is in it settles."""

    def __init__(self, buffer: bytes, cap: int, line: int, number: int, *, last: bool):
        self.number = number
        self.skipping = False
        self._buffer = buffer
        self._cap = cap
        self._last = last
        self._ascii = buffer.isascii() and b"\0" not in buffer
        self._escapes = b"\\u" in buffer
        self._cursor = 0
        self._line = line
        self._line_end = -1
        self._good: list[tuple[int, int, int, int]] = []
        self._broken: list[Broken] = []
        # Of the last value that was read token by token: where objects in the first column end, and where it ended.
        self._inner: dict[int, int | None] = {}
        self._fault = 0

    def block(self) -> Block:
        starts, ends, lines, numbers = (
            np.array(values, dtype=np.int64) for values in (zip(*self._good, strict=True) if self._good else [()] * 4)
        )
        content = b"".join(self._buffer[a:b] for a, b in zip(starts, ends, strict=True))
        offsets = np.concatenate(([0], np.cumsum(ends - starts)))
        return Block(_strings(content, offsets[:-1], offsets[1:]), lines, numbers, self._broken, judged=True)

    def line_at(self, at: int) -> int:
        """Physical line of a position that is not before the last one asked for."""
        self._line += self._buffer.count(b"\n", self._cursor, at)
        self._cursor = at
        return self._line

    def records(self, at: int) -> int:
        """Find records from ``at`` on; returns where more of the file must be known, or a long record is left."""
        size = len(self._buffer)
        while True:
            blanks = _BLANKS.match(self._buffer, at)
            at = blanks.end() if blanks else at
            if at >= size:
                return size
            step = self._record if self._buffer[at] == _OPEN else self._garbage
            end = step(at)
            if end is None:
                return at
            if self.skipping:
                past = self.past_long(end, 0)
                if past is None:
                    return end
                self.skipping = False
                end = past
            at = end

    def past_long(self, at: int, before: int) -> int | None:
        """Where a record may start behind one that is too long: an anchor or a line; None if not in this buffer."""
        size = len(self._buffer)
        newline = self._buffer.find(b"\n", at - 1)
        line = size if newline < 0 else newline + 1
        anchor = self._anchor(at, line, before)
        if anchor is not None:
            return anchor
        return line if self._last or (newline >= 0 and size > line + _GAP + 2) else None

    def _anchor(self, at: int, to: int, before: int = 0) -> int | None:
        """The first anchor at or behind ``at`` and before ``to``."""
        buffer = self._buffer
        for match in _ANCHOR.finditer(buffer, at, min(len(buffer), to + _GAP + 2)):
            start = match.start()
            if start >= to:
                return None
            place = start - 1
            if place >= 0 and buffer[place] == _LF:
                return start
            while place >= 0 and buffer[place] in _WHITE:
                place -= 1
            if (buffer[place] if place >= 0 else before) not in _NOT_BEFORE_ANCHORS:
                return start
        return None

    def _record(self, start: int) -> int | None:
        """Judge what starts with a brace; returns where it ends, None if that is not settled."""
        end = self._valid(start)
        if end is not None and end > 0:
            text = self._buffer[start:end]
            if self._storable(text):
                self._good.append((start, end, self.line_at(start), self.number))
                self.number += 1
            else:
                self._reject(start, end, "bad_encoding")
            return end
        limit = start + self._cap
        if end is None:  # neither a fault nor an end
            if len(self._buffer) > limit:
                return self._too_long(start)
            if not self._last:
                return None
        end = self._end_of_broken(start)
        if end is None:
            if len(self._buffer) > limit + _GAP + 2 or (self._last and len(self._buffer) > limit):
                return self._too_long(start)
            if not self._last:
                return None
            end = len(self._buffer)
        self._reject(start, end, "bad_json")
        return end

    def _valid(self, start: int) -> int | None:
        """Where the object that starts here ends; 0 if it has a fault, None if it has neither fault nor end yet."""
        limit = min(len(self._buffer), start + self._cap)
        if start < self._fault and start in self._inner:
            return self._inner[start] or 0
        if match := _RECORD.match(self._buffer, start, limit):
            return match.end()
        return self._value(start, limit)

    def _value(self, start: int, limit: int) -> int | None:
        """The same token by token, at any depth; DuckDB's parser takes a comma before a closing bracket, so this does.

        Where this finds a fault, objects of the first column within are not to be read again: an object of a million
        lines that each open one would be read a million times.
        """
        buffer = self._buffer
        opened: list[tuple[int, bool]] = []
        inner: dict[int, int | None] = {}
        state = "value"
        at = start
        while True:
            token = _TOKEN.match(buffer, at, limit)
            if token is None:
                cut = _OPEN_STRING.match(buffer, at, limit)
                blanks = _BLANKS.match(buffer, at, limit)
                at = max(place.end() for place in (cut, blanks) if place)
                if at >= limit - _CUT and (limit < len(buffer) or not self._last):
                    return None
                break
            place, at = token.end() - 1, token.end()
            kind = token.lastgroup
            mark = buffer[place] if kind == "mark" else 0
            if kind == "string" and state == "key":
                state = "colon"
                continue
            if mark == 0x3A:  # :
                if state != "colon":
                    break
                state = "value"
                continue
            if mark == 0x2C:  # ,
                if state != "after":
                    break
                state = "key" if opened[-1][1] else "item"
                continue
            if mark in (_OPEN, 0x5B):  # [
                if state not in ("value", "item"):
                    break
                opened.append((place, mark == _OPEN))
                if mark == _OPEN and place > start and buffer[place - 1] == _LF:
                    inner[place] = None
                state = "key" if mark == _OPEN else "item"
                continue
            if mark:  # } or ]
                if state not in ("after", "key" if mark == _CLOSE else "item") or opened[-1][1] != (mark == _CLOSE):
                    break
                first, _ = opened.pop()
                if first in inner:
                    inner[first] = at
            elif state not in ("value", "item"):
                break
            if not opened:
                return at
            state = "after"
        self._inner, self._fault = inner, at
        return 0

    def _end_of_broken(self, start: int) -> int | None:
        """Where a broken record ends: with its closing brace or before an anchor; None if neither is within the cap.

        Looks at ever larger parts, since it must not go far beyond an end that is near: the next record may be broken
        too, and so on.
        """
        size, limit = len(self._buffer), start + self._cap
        reach = 4096
        while True:
            to = min(start + reach, limit, size)
            anchor = self._anchor(start + 1, to)
            depth = 0
            for mark in _MARK.finditer(self._buffer, start, anchor or to):
                text = mark.group()
                if text == b'"':
                    break
                depth += (text == b"{") - (text == b"}")
                if depth == 0:
                    return mark.end()
            if anchor is not None:
                # A string that the anchor's position cuts is looked at whole: it is one within which it stands.
                return anchor
            if to in (limit, size):
                return None
            reach *= 8

    def _garbage(self, start: int) -> int | None:
        """Judge what is no object: a line of it, or what stands before the next anchor."""
        size, limit = len(self._buffer), start + self._cap
        if self._line_end <= start:
            newline = self._buffer.find(b"\n", start)
            self._line_end = newline if newline >= 0 else size
        if not self._last and size <= min(self._line_end, limit) + _GAP + 2:  # an anchor may reach beyond the line
            return None
        line_end = min(self._line_end, limit)
        value = self._value(start, line_end) if self._buffer[start] not in b"}]:," else 0
        if value:
            blanks = _BLANKS.match(self._buffer, value)
            behind = blanks.end() if blanks else value
            if behind >= self._line_end or self._buffer[behind] == _OPEN:
                self._reject(start, value, "not_an_object")
                return value
        anchor = self._anchor(start + 1, line_end)
        if anchor is None and self._line_end > limit:
            return self._too_long(start)
        end = anchor or line_end
        self._reject(start, end, "bad_json")
        return end

    def _too_long(self, start: int) -> int:
        end = start + self._cap
        self._reject(start, end, "too_long")
        self.skipping = True
        return end

    def _reject(self, start: int, end: int, rule: str) -> None:
        text = self._buffer[start:end].rstrip(_WHITE)
        if rule in ("bad_json", "not_an_object") and not self._is_text(text):
            rule = "bad_encoding"
        self._broken.append(Broken(self.number, self.line_at(start), rule, payload(text)))
        self.number += 1

    def _storable(self, text: bytes) -> bool:
        return self._is_text(text) and not (self._escapes and b"\\u" in text and not _STORABLE.fullmatch(text))

    def _is_text(self, text: bytes) -> bool:
        return self._ascii or (b"\0" not in text and _is_text(text, len(text)))


def _without_escaped(data: npt.NDArray[np.uint8], quotes: Positions) -> Positions:
    """The quotes that an odd number of backslashes does not stand before."""
    slashes = np.flatnonzero(data == _BACKSLASH)
    first = np.flatnonzero(np.diff(slashes, prepend=-2) != 1)
    length = np.diff(first, append=len(slashes))
    escaped = np.zeros(len(data) + 1, dtype=bool)
    escaped[(slashes[first] + length)[length % 2 == 1]] = True
    return quotes[~escaped[quotes]]


def _white(buffer: bytes, data: npt.NDArray[np.uint8], starts: Positions, ends: Positions) -> bool:
    """Whether all between these starts and ends is white space."""
    length = ends - starts
    if not len(length) or not length.max():
        return True
    bytes_between = data[starts[length > 0]]
    if not np.isin(bytes_between, np.frombuffer(_WHITE, dtype=np.uint8)).all():
        return False
    return not any(buffer[starts[i] : ends[i]].strip(_WHITE) for i in np.flatnonzero(length > 1))


def _is_text(buffer: bytes, size: int) -> bool:
    if buffer.isascii():
        return True
    try:
        str(memoryview(buffer)[:size], "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _strings(buffer: bytes, starts: Positions, ends: Positions) -> pa.StringArray:
    """The spans as Arrow's text, without a copy of it; each reaches to the next one's start."""
    if not len(starts):
        return pa.array([], pa.string())
    offsets = np.concatenate((starts, ends[-1:])).astype(np.int32)
    return pa.StringArray.from_buffers(len(starts), pa.py_buffer(offsets), pa.py_buffer(buffer))
