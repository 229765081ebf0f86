"""The columns of a table and their types, from what the source says of each change.

All here is a function of a set: in which order files came makes no difference. A type is written as SQL has it:
varchar, boolean, integer, bigint, real, double, decimal(p,s), date, timestamp, timestamptz, json, binary; and of
DynamoDB ``number``, whose type is found from its values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from clickstream_assets.cdc.declared import DYNAMODB, Declared

NUMBER = "number"

#: what both are when they cannot be anything else: the text of a value is a value
TEXT = "varchar"

#: types whose text is the value, so that no text can fail to be one
TEXTS = frozenset({TEXT, "json"})

_DECIMAL = re.compile(r"decimal\((\d{1,2}),(\d{1,2})\)")
_WIDER = {("integer", "bigint"), ("real", "double")}

#: digits of the longest decimal, and of the longest whole number that is still a bigint whatever they are
_DIGITS, _BIGINT_DIGITS = 38, 18

#: places that a number's decimal may have; few, so that a further digit seldom makes the table anew
_SCALES = (0, 2, 4, 9, 18)

NARROWED, RENAMED, BAD_VALUE = "narrowed_column", "renamed_column", "bad_value"

#: rules by which changes are refused here, for the reference page
RULES = {
    NARROWED: (
        "The file has a column in another type than the files before it, one that cannot hold all their values. "
        "Declare the column's type under `types`, and its changes are taken."
    ),
    RENAMED: (
        "The file lacks a column that was there and has one that was not: it may have been renamed. Declare it under "
        "`renames`, and its changes are taken."
    ),
    BAD_VALUE: "A value is none of the column's type, which `types` declares. Declare a wider one.",
}


@dataclass(frozen=True)
class Numbers:
    """What the values of a column of numbers need: digits before and after the point.

    ``odd``: one is written with an exponent, since it has more digits than any decimal.
    """

    digits: int = 0
    scale: int = 0
    odd: bool = False

    def __or__(self, other: Numbers) -> Numbers:
        return Numbers(max(self.digits, other.digits), max(self.scale, other.scale), self.odd or other.odd)

    @property
    def type(self) -> str:
        """The type that holds them all exactly."""
        if self.odd:
            return TEXT
        if self.scale == 0 and self.digits <= _BIGINT_DIGITS:
            return "bigint"
        scale = next((scale for scale in _SCALES if scale >= self.scale and self.digits + scale <= _DIGITS), None)
        return TEXT if scale is None else f"decimal({_DIGITS},{scale})"


@dataclass(frozen=True)
class FileTypes:
    """The columns of one file of a table, as text: see ``schemas.CDC_CHANGES``.

    ``least``: when its first change happened, None where that is not known. ``full``: it has rows, not only deletes.
    """

    file_name: str
    types: str
    least: datetime | None
    full: bool


@dataclass(frozen=True)
class Refusal:
    """Why the changes of a file are not taken."""

    rule: str
    sentence: str


def parsed(types: str, declared: Declared) -> dict[str, str]:
    """Columns and types of one text of ``types``, under the names that the columns have here."""
    found: dict[str, str] = {}
    for column, kind in json.loads(types).items():
        name = declared.renames.get(column, column)
        found[name] = lub(found[name], kind) if name in found else kind
    return found


def lub(one: str, other: str) -> str:
    """The narrowest type that holds the values of both."""
    if one == other:
        return one
    if wider(one, other):
        return other
    return one if wider(other, one) else TEXT


def wider(before: str, after: str) -> bool:
    """Whether a type is the same as another, or one that Iceberg can widen it to."""
    if before == after or (before, after) in _WIDER:
        return True
    one, two = _DECIMAL.fullmatch(before), _DECIMAL.fullmatch(after)
    return bool(one and two and one[2] == two[2] and int(one[1]) <= int(two[1]))


def judge(files: Iterable[FileTypes], declared: Declared) -> dict[tuple[str, str], Refusal]:
    """Which files' changes are not taken, by name and ``types``, and why.

    The files are looked at in the order of their first changes, whenever they came. DynamoDB has no columns to speak
    of, so that none of its files is refused.
    """
    refused: dict[tuple[str, str], Refusal] = {}
    if declared.source == DYNAMODB:
        return refused
    running: dict[str, str] = {}
    known: set[str] = set()
    newest: set[str] = set()
    for file in sorted(files, key=_place):
        found = parsed(file.types, declared)
        # A CSV file says nothing of types.
        typed = {} if set(found.values()) <= {TEXT} else found
        narrowed = [
            f"{name} from {running[name]} to {kind}"
            for name, kind in sorted(typed.items())
            if name in running and name not in declared.types and not wider(running[name], kind)
        ]
        lacking, unknown = sorted(newest - found.keys()), sorted(found.keys() - known)
        if narrowed:
            sentence = (
                f"{file.file_name} changes {', '.join(narrowed)}: declare the type under `types` of {declared.target}"
            )
            refused[file.file_name, file.types] = Refusal(NARROWED, sentence)
        elif file.full and lacking and unknown:
            sentence = (
                f"{file.file_name} lacks {', '.join(lacking)} and has {', '.join(unknown)}: declare under `renames` of "
                f"{declared.target} which is which"
            )
            refused[file.file_name, file.types] = Refusal(RENAMED, sentence)
        else:
            running |= typed
            known |= found.keys()
            newest = set(found) if file.full else newest
    return refused


def _place(file: FileTypes) -> tuple[bool, datetime, str, str]:
    return file.least is not None, file.least or datetime.min, file.file_name, file.types


def columns(types: Iterable[str], numbers: Mapping[str, Numbers], declared: Declared) -> dict[str, str]:
    """Name and type of each column of the accepted changes: those of the key first, then by name."""
    found: dict[str, str] = {}
    for text in types:
        for name, kind in parsed(text, declared).items():
            found[name] = lub(found[name], kind) if name in found else kind
    resolved = {name: numbers.get(name, Numbers()).type if kind == NUMBER else kind for name, kind in found.items()}
    resolved |= {name: kind for name, kind in declared.types.items() if name in found}
    key = {name: resolved.get(name, TEXT) for name in declared.primary_key}
    return key | {name: resolved[name] for name in sorted(resolved) if name not in key}


def value(text: str, kind: str) -> str:
    """SQL that makes a value from SQL of its text; null where it is none."""
    if kind in TEXTS:
        return text
    if kind == "binary":
        return f"try(from_base64({text}))"
    return f"try_cast({text} as {kind})"


def exactly(text: str, kind: str) -> str:
    """The same, and null where the value would be another one: DuckDB rounds, and cuts the time from a date."""
    shape = _SHAPES.get(kind)
    if found := _DECIMAL.fullmatch(kind):
        shape = rf"[+-]?\d*(\.\d{{0,{found[2]}}}0*)?"
    if shape is None:
        return value(text, kind)
    return f"case when regexp_full_match({text}, '{shape}') then {value(text, kind)} end"


_WHOLE = r"[+-]?\d+(\.0*)?"
_SHAPES = {"integer": _WHOLE, "bigint": _WHOLE, "date": r"\d{4}-\d\d-\d\d([ T]00:00:00(\.0+)?)?"}
