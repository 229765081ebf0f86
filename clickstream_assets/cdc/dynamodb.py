"""Records of DynamoDB Streams, one after the other in a file, read as rows of ``cdc_raw.changes``.

An attribute becomes a column with its value as text; what is nested becomes JSON with plain values. Numbers are kept as
they are written, however many digits they have: of what is nested they are literals, never floats. Found by
``json_records``, read by orjson, which takes a third of the time of Python's parser, and a record of ten attributes
costs it as much as these few lines cost for each.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from clickstream_assets.cdc.declared import MOST, Declared, column
from clickstream_assets.cdc.rows import CHANGE, DELETE, INSERT, LOAD, LOADED, SCHEMA, SEQUENCE_DIGITS, UPDATE
from clickstream_assets.errors import RejectedFile
from clickstream_assets.parsing.content import Readable
from clickstream_assets.parsing.formats import Batch, Broken, Reader
from clickstream_assets.parsing.json_records import Block, Finder
from clickstream_assets.parsing.payload import payload
from clickstream_assets.settings import Limits

SUFFIXES = (".json", ".json.gz")

#: operations by the name of the event; SCAN is what a resync writes of the rows that it finds
_OPERATIONS = {"INSERT": INSERT, "MODIFY": UPDATE, "REMOVE": DELETE, "SCAN": LOADED}

#: who deletes items whose time has passed
_TTL = "dynamodb.amazonaws.com"

#: SQL types by the type of an attribute; of NULL nothing is known
_TYPES = {
    "S": "varchar",
    "N": "number",
    "B": "binary",
    "BOOL": "boolean",
    "SS": "json",
    "NS": "json",
    "BS": "json",
    "L": "json",
    "M": "json",
}

_SEQUENCE = re.compile(f"[0-9]{{1,{SEQUENCE_DIGITS}}}", re.ASCII)
_PLAIN = re.compile(r"(?:0|-?[1-9][0-9]*)(?:\.[0-9]+)?|-0\.[0-9]*[1-9][0-9]*", re.ASCII)
_is_plain = _PLAIN.fullmatch
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?", re.ASCII)

#: digits of a number that is written without an exponent; DynamoDB's have at most so many that count
_DIGITS = 38

#: the first second after the year 9999, since 1970
_LAST_SECOND = 253_402_300_800

#: names of attributes, and sets of types, that are remembered: a table has few
_REMEMBERED = 10_000

_KEY_TYPES = frozenset(("S", "N", "B"))


class _Fault(Exception):
    """A record that cannot be taken; its argument is the rule."""


def reader(declared: Declared, path: str) -> Reader:
    """The reader of a file of a declared table; it gives the columns of ``rows.SCHEMA``.

    Raises:
        RejectedFile: the name does not end as it should.
    """
    if not path.lower().endswith(SUFFIXES):
        raise RejectedFile(f"its name does not end in {' or '.join(SUFFIXES)}, as those of stream records do")

    def of_file(stream: Readable, columns: Sequence[str], limits: Limits) -> Iterator[Batch]:
        return _batches(Finder(stream, limits), _Records(declared))

    return of_file


def _batches(finder: Finder, records: _Records) -> Iterator[Batch]:
    while (block := finder.next()) is not None:
        batch, taken = _batch(block, records)
        if batch is not None:
            yield batch
        if taken < len(block.records):
            finder.doubt(block, taken)


def _batch(block: Block, records: _Records) -> tuple[Batch | None, int]:
    """A block's changes, up to the first record that is not valid where that is in doubt; and how many were taken.

    Each record is forgotten before the next one is read: Python's collector goes over all objects that there are, and
    with those of a block at hand it takes three times as long as all the rest.
    """
    rows: list[tuple[Any, ...]] = []
    sound: list[int] = []
    broken = list(block.broken)
    taken = 0
    # As bytes: orjson looks at them as they are, and of a text it would make bytes first.
    for text in block.records.cast(pa.binary()).to_pylist():
        try:
            rows.append(records.row(orjson.loads(text)))
            sound.append(taken)
        except orjson.JSONDecodeError:
            if not block.judged:
                break
            broken.append(Broken(int(block.numbers[taken]), int(block.lines[taken]), "bad_json", payload(text)))
        except _Fault as fault:
            broken.append(Broken(int(block.numbers[taken]), int(block.lines[taken]), str(fault), payload(text)))
        taken += 1
    found = taken + len(block.broken)
    if not found:
        return None, 0
    columns = zip(*rows, strict=True) if rows else ([] for _ in SCHEMA)
    made = pa.table([pa.array(values, one.type) for values, one in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)
    broken.sort(key=lambda one: one.record_number)
    places = np.asarray(sound, dtype=np.int64)
    return Batch(found, made, block.lines[places], block.numbers[places], broken), taken


class _Names(dict[str, str]):
    """What attributes are called here; a table has few.

    Raises:
        _Fault: a name is too long, and has no other one here.
    """

    def __init__(self, renames: Mapping[str, str]):
        super().__init__()
        self._renames = renames

    def __missing__(self, name: str) -> str:
        here = column(name)
        if len(self._renames.get(here, here)) > MOST:
            raise _Fault("long_column")
        if len(self) >= _REMEMBERED:
            self.clear()
        self[name] = here
        return here


class _Records:
    """Makes rows of a table's records."""

    def __init__(self, declared: Declared):
        self._key = declared.primary_key
        self._names = _Names(declared.renames)
        self._types: dict[tuple[tuple[str, str], ...], str] = {}

    def row(self, record: Any) -> tuple[Any, ...]:
        """The columns of ``rows.SCHEMA``.

        Raises:
            _Fault: the record is not one, or a part of it is not what it should be.
        """
        change = record.get("dynamodb")
        keys = change.get("Keys") if isinstance(change, dict) else None
        if not isinstance(keys, dict):
            raise _Fault("not_a_record")
        name = record.get("eventName")
        op = _OPERATIONS.get(name) if isinstance(name, str) else None
        if op is None:
            raise _Fault("bad_op")
        sequence = change.get("SequenceNumber")
        if not isinstance(sequence, str) or _SEQUENCE.fullmatch(sequence) is None:
            raise _Fault("bad_sequence")
        try:
            return self._row(op, record, change, keys, sequence)
        except RecursionError:
            raise _Fault("bad_value") from None

    def _row(
        self, op: str, record: dict[str, Any], change: dict[str, Any], keys: dict[str, Any], sequence: str
    ) -> tuple[Any, ...]:
        types: dict[str, str] = {}
        new, old = change.get("NewImage"), change.get("OldImage")
        before = self._image(old, types) if old else None
        after = None
        if op == DELETE:
            before = before or self._image(keys, types)
        else:
            after = self._image(new or keys, types)
        return (
            LOAD if op == LOADED else CHANGE,
            op,
            "ttl" if op == DELETE and _is_ttl(record.get("userIdentity")) else None,
            orjson.dumps(self._key_of(keys)),
            None,
            None if before is None else orjson.dumps(before),
            None if after is None else orjson.dumps(after),
            self._types_of(types),
            _time(change.get("ApproximateCreationDateTime")),
            sequence.zfill(SEQUENCE_DIGITS),
        )

    def _image(self, image: Any, types: dict[str, str]) -> dict[str, str | None]:
        """The columns of an item as text; their types are put into ``types``.

        Written out for what most attributes are: each call costs as much as all that is done here for one of them.
        """
        if type(image) is not dict:
            raise _Fault("bad_value")
        values: dict[str, str | None] = {}
        names = self._names
        for name, typed in image.items():
            here = names[name]
            if type(typed) is not dict or len(typed) != 1:
                raise _Fault("bad_value")
            (kind,) = typed
            value = typed[kind]
            if type(value) is str and kind == "S":
                values[here] = value
                types[here] = "varchar"
            elif type(value) is str and kind == "N":
                values[here] = value if _is_plain(value) else number(value)
                types[here] = "number"
            elif type(value) is not _HOLDS.get(kind):
                raise _Fault("bad_value")
            elif kind == "NULL":
                values[here] = None
            else:
                values[here] = _TEXTS[kind](value)
                types[here] = _TYPES[kind]
        if len(values) < len(image):
            raise _Fault("column_collision")
        return values

    def _key_of(self, keys: dict[str, Any]) -> list[str]:
        named = {self._names[name]: typed for name, typed in keys.items()}
        values = []
        for name in self._key:
            if name not in named:
                raise _Fault("missing_key")
            kind, value = _typed(named[name])
            if kind not in _KEY_TYPES:
                raise _Fault("bad_value")
            if not value:
                raise _Fault("missing_key")
            values.append(_one_number(value) if kind == "N" else value)
        return values

    def _types_of(self, types: dict[str, str]) -> str:
        given = tuple(types.items())
        known = self._types.get(given)
        if known is None:
            if len(self._types) >= _REMEMBERED:
                self._types.clear()
            known = self._types[given] = orjson.dumps(types, option=orjson.OPT_SORT_KEYS).decode()
        return known


def _typed(typed: Any) -> tuple[str, Any]:
    """The type of an attribute and its value, of which it is known that it is a text, a truth value, a list or so."""
    if type(typed) is not dict or len(typed) != 1:
        raise _Fault("bad_value")
    (kind,) = typed
    value = typed[kind]
    if type(value) is not _HOLDS.get(kind):
        raise _Fault("bad_value")
    return kind, value


_HOLDS: Mapping[str, type] = {
    **dict.fromkeys(("S", "N", "B"), str),
    **dict.fromkeys(("BOOL", "NULL"), bool),
    **dict.fromkeys(("SS", "NS", "BS", "L"), list),
    "M": dict,
}


def number(text: str) -> str:
    """A number as a decimal literal with the digits that it has: no plus, no zeros before it, and no exponent where
    that takes at most 38 digits.

    Raises:
        _Fault: it is no number.
    """
    if _is_plain(text):
        return text
    if not _NUMBER.fullmatch(text):
        raise _Fault("bad_value")
    value = Decimal(text)
    if not value and value.is_signed():
        value = -value  # Decimal's minus makes a zero of a negative one
    plain = f"{value:f}"
    return plain if sum(map(str.isdigit, plain)) <= _DIGITS else str(value)


def _one_number(text: str) -> str:
    """The one way to write a number, so that 1, 1.0 and 1E0 are one key."""
    plain = f"{Decimal(number(text)):f}"
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    return "0" if plain == "-0" else plain


def _binary(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error:
        raise _Fault("bad_value") from None
    return text


def _plain(typed: Any) -> Any:
    """A nested value as orjson writes it: numbers as they are."""
    if type(typed) is not dict or len(typed) != 1:
        raise _Fault("bad_value")
    (kind,) = typed
    value = typed[kind]
    if type(value) is str:
        if kind == "S":
            return value
        if kind == "N":
            return orjson.Fragment(value if _is_plain(value) else number(value))
    if type(value) is not _HOLDS.get(kind):
        raise _Fault("bad_value")
    return _NESTED[kind](value)


def _texts(value: list[Any]) -> list[str]:
    if not all(isinstance(one, str) for one in value):
        raise _Fault("bad_value")
    return sorted(value)


def _numbers(value: list[Any]) -> list[Any]:
    return [orjson.Fragment(one) for one in sorted(map(number, _texts(value)), key=Decimal)]


def _binaries(value: list[Any]) -> list[str]:
    return sorted(map(_binary, _texts(value)))


_NESTED: Mapping[str, Callable[[Any], Any]] = {
    "S": lambda value: value,
    "N": lambda value: orjson.Fragment(number(value)),
    "B": _binary,
    "BOOL": lambda value: value,
    "NULL": lambda value: None,
    "SS": _texts,
    "NS": _numbers,
    "BS": _binaries,
    "L": lambda value: [_plain(one) for one in value],
    "M": lambda value: {name: _plain(one) for name, one in value.items()},
}


def _json(kind: str) -> Callable[[Any], str]:
    plain = _NESTED[kind]
    return lambda value: orjson.dumps(plain(value)).decode()


_TEXTS: Mapping[str, Callable[[Any], str]] = {
    "N": number,
    "B": _binary,
    "BOOL": lambda value: "true" if value else "false",
    **{kind: _json(kind) for kind in ("SS", "NS", "BS", "L", "M")},
}


def _is_ttl(identity: Any) -> bool:
    """Whether DynamoDB itself did it. Lambda and the service write the name of the key differently."""
    return isinstance(identity, dict) and _TTL in (identity.get("principalId"), identity.get("PrincipalId"))


def _time(value: Any) -> datetime | None:
    """When a change was made: seconds since 1970, or a time in ISO 8601, UTC unless it says otherwise.

    Raises:
        _Fault: it is neither.
    """
    if value is None:
        return None
    try:
        if type(value) is int or type(value) is float:
            if not 0 <= value < _LAST_SECOND:
                raise _Fault("bad_commit_time")
            return datetime.fromtimestamp(value, UTC)
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
            return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise _Fault("bad_commit_time")
