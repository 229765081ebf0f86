"""The tables whose changes are taken: ``tables.yml``, or the file that ``CLICKSTREAM_CDC_TABLES`` names, validated."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from clickstream_assets.errors import ClickstreamError

DYNAMODB, DMS = "dynamodb", "dms"

#: what ships with the project: the tables of the demo
SHIPPED = Path(__file__).with_name("tables.yml")

#: keys that say how files of DMS are read; a stream of DynamoDB says all that by itself
_DMS_ONLY = ("schema", "columns", "timestamp", "sequence", "complete_loads")

_TARGET = re.compile(r"[a-z][a-z0-9_]{0,62}")
_HISTORY = "_history"

#: characters of a name that every warehouse takes
MOST = 63

#: what a folder of landing may be called: files whose paths have a part that begins with . or _ are never read
_FOLDER = re.compile(r"[^/\\\s\x00._][^/\\\x00]{0,254}")

_TYPES = frozenset(
    ("varchar", "boolean", "integer", "bigint", "real", "double", "date", "timestamp", "timestamptz", "json", "binary")
)
_DECIMAL = re.compile(r"decimal\(([0-9]{1,2}),([0-9]{1,2})\)")
_DIGITS = 38

#: names of the columns that history has beside those of the row; all others of its own begin with _
_RESERVED = frozenset(("valid_from", "valid_to", "op"))
_NOT_IN_NAMES = re.compile(r"[^a-z0-9_]")


@dataclass(frozen=True)
class Declared:
    """One table of a source, and how its changes are read.

    ``target``: its name here: ``cdc.<target>`` and ``cdc.<target>_history``. ``columns``: those of CSV files without a
    header, in order, less Op. ``types``: column → SQL type, where it is to be another than the source says; text of
    CSV files unless it is said here. ``timestamp``, ``sequence``: DMS columns with the commit time and with the order
    of changes. ``personal``: columns that name persons. ``partition_by``: the column by which ``cdc.<target>`` is
    partitioned, the hash of the key unless it is said. ``renames``: column of the source → column here.
    ``complete_loads``: a full load has every row that there is, so that others are gone; a resync of DynamoDB always.

    All columns go by their names here: see ``column``.
    """

    source: str
    table: str
    target: str
    primary_key: tuple[str, ...]
    schema: str | None = None
    columns: tuple[str, ...] = ()
    types: Mapping[str, str] = field(default_factory=dict)
    personal: tuple[str, ...] = ()
    timestamp: str | None = None
    sequence: str | None = None
    partition_by: str | None = None
    renames: Mapping[str, str] = field(default_factory=dict)
    complete_loads: bool = False

    @property
    def folder(self) -> str:
        """Where its files land, e.g. ``cdc/dms/shop/orders``."""
        return "/".join(("cdc", self.source, *([self.schema] if self.schema else []), self.table))

    @property
    def name(self) -> str:
        """Its current state, in the lake, the ledger and the warehouse."""
        return f"cdc.{self.target}"


_KEYS = frozenset(one.name for one in fields(Declared))


def column(name: str) -> str:
    """What a column of a source is called here: a-z, 0-9 and _; a name of our own columns gets a _ behind it."""
    plain = _NOT_IN_NAMES.sub("_", name.lower())
    if not plain or plain[0].isdigit():
        plain = f"_{plain}"
    ours = plain in _RESERVED or plain.startswith("_")
    return plain if not ours or (plain.endswith("_") and len(plain) > 1) else f"{plain}_"


def load(path: Path | None = None) -> tuple[Declared, ...]:
    """The tables that a file declares, those of the demo unless one is given.

    Raises:
        ClickstreamError: names the file and the entry that cannot be used, and says why.
    """
    path = path or SHIPPED
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ClickstreamError(f"{path} cannot be read ({why}): set CLICKSTREAM_CDC_TABLES to a YAML file.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ClickstreamError(f"{path} is not YAML: {' '.join(str(error).split())}.") from None
    if isinstance(content, dict) and content.keys() == {"tables"}:
        content = content["tables"]
    if content is None:
        return ()
    if not isinstance(content, list):
        raise ClickstreamError(f"{path} must be a list of tables, or have one under the key tables and nothing else.")
    found = tuple(_declared(entry, number, path) for number, entry in enumerate(content, start=1))
    for what, of in (("target", [one.target for one in found]), ("folder", [one.folder for one in found])):
        if twice := sorted({name for name in of if of.count(name) > 1}):
            raise ClickstreamError(f"{path}: two entries have the {what} {twice[0]}: give each its own.")
    return found


def _declared(entry: Any, number: int, path: Path) -> Declared:
    label = f"entry {number}"

    def refuse(why: str) -> ClickstreamError:
        return ClickstreamError(f"{path}: {label} {why}.")

    if not isinstance(entry, dict):
        raise refuse("is not a mapping of keys to values")
    name = _text(entry, "table", refuse)
    if name is None:
        raise refuse("lacks table, the table's name at the source")
    label = f"entry {number} ({name})"
    if unknown := sorted(str(key) for key in entry if key not in _KEYS):
        raise refuse(f"has {', '.join(unknown)}, which no entry has; there are {', '.join(sorted(_KEYS))}")
    source = entry.get("source")
    if source not in (DYNAMODB, DMS):
        raise refuse(f"needs {DYNAMODB} or {DMS} as its source")
    schema = _text(entry, "schema", refuse)
    if source == DMS and schema is None:
        raise refuse("lacks schema, in whose folder DMS writes the table's files")
    if source == DYNAMODB and (more := [key for key in _DMS_ONLY if entry.get(key)]):
        raise refuse(f"has {', '.join(more)}, which only tables of {DMS} have")
    for key, value in (("table", name), ("schema", schema)):
        if value is not None and not _FOLDER.fullmatch(value):
            raise refuse(f"has a {key} that cannot be a folder of landing: {value!r}")
    made = Declared(
        source=source,
        table=name,
        target=_target(entry, name, refuse),
        primary_key=_columns(entry, "primary_key", refuse),
        schema=schema,
        columns=_columns(entry, "columns", refuse),
        types=_types(entry, refuse),
        personal=_columns(entry, "personal", refuse),
        timestamp=_column(entry, "timestamp", refuse),
        sequence=_column(entry, "sequence", refuse),
        partition_by=_column(entry, "partition_by", refuse),
        renames={column(old): column(new) for old, new in _mapping(entry, "renames", refuse).items()},
        complete_loads=_flag(entry, "complete_loads", refuse),
    )
    if why := _contradiction(made):
        raise refuse(why)
    return made


def _contradiction(made: Declared) -> str | None:
    """What of an entry does not go together."""
    if not made.primary_key:
        return "has an empty primary_key: name the columns that tell its rows apart"
    order = [one for one in (made.timestamp, made.sequence) if one is not None]
    if lost := sorted(set(order) & {*made.primary_key, *made.types, *made.personal, made.partition_by}):
        return f"uses {lost[0]} as timestamp or sequence, which are not kept as columns, and as a column"
    if long := [one for one in made.columns if len(made.renames.get(one, one)) > MOST]:
        return f"has the column {long[0]}, and {MOST} characters are the most: give it a shorter name under renames"
    if made.columns:
        named = {"primary_key": made.primary_key, "personal": made.personal, "timestamp or sequence": order}
        for key, of in named.items():
            if missing := [one for one in of if one not in made.columns]:
                return f"has no {', '.join(missing)} among its columns, and names it as {key}"
    if set(made.renames) & set(made.primary_key) or set(made.renames.values()) & set(made.primary_key):
        return "renames a column of its primary key, or to one: that would make other rows of them"
    if len(set(made.renames.values())) < len(made.renames):
        return "renames two columns to one"
    if chain := sorted(set(made.renames) & set(made.renames.values())):
        return f"renames to {chain[0]}, and that too: give each column its last name"
    return None


def _target(entry: Mapping[str, Any], table: str, refuse: Callable[[str], ClickstreamError]) -> str:
    target = _text(entry, "target", refuse) or table
    if not _TARGET.fullmatch(target):
        raise refuse(
            f"needs a target of lower-case letters, digits and _, at most 63, as its name here; {target!r} is none"
        )
    if target.endswith(_HISTORY):
        raise refuse(f"has the target {target}: names that end in {_HISTORY} are those of histories")
    if len(target) > (most := MOST - len(_HISTORY)):
        raise refuse(f"has a target of {len(target)} characters: {most} are the most")
    return target


def _text(entry: Mapping[str, Any], key: str, refuse: Callable[[str], ClickstreamError]) -> str | None:
    value = entry.get(key)
    if value is None or (isinstance(value, str) and value.strip()):
        return value
    raise refuse(f"needs a text as its {key}: put it in quotes")


def _column(entry: Mapping[str, Any], key: str, refuse: Callable[[str], ClickstreamError]) -> str | None:
    value = _text(entry, key, refuse)
    if value is None:
        return None
    _short([column(value)], key, refuse)
    return column(value)


def _columns(entry: Mapping[str, Any], key: str, refuse: Callable[[str], ClickstreamError]) -> tuple[str, ...]:
    value = entry.get(key)
    value = [] if value is None else value
    if not isinstance(value, list) or not all(isinstance(one, str) and one.strip() for one in value):
        raise refuse(f"needs a list of columns as its {key}")
    named = tuple(column(one) for one in value)
    _short(named if key != "columns" else (), key, refuse)
    if twice := repeated(named):
        raise refuse(f"has {twice[0]} twice in {key}: columns differ in more than case and marks here")
    return named


def _mapping(entry: Mapping[str, Any], key: str, refuse: Callable[[str], ClickstreamError]) -> dict[str, str]:
    value = entry.get(key)
    value = {} if value is None else value
    if not isinstance(value, dict) or not all(isinstance(one, str) for pair in value.items() for one in pair):
        raise refuse(f"needs a mapping of texts to texts as its {key}")
    if twice := repeated([column(one) for one in value]):
        raise refuse(f"has {twice[0]} twice in {key}: columns differ in more than case and marks here")
    # A column of the source may have any name where it gets another one here.
    _short([column(one) for one in (value.values() if key == "renames" else value)], key, refuse)
    return value


def _short(named: Iterable[str], key: str, refuse: Callable[[str], ClickstreamError]) -> None:
    if long := [one for one in named if len(one) > MOST]:
        raise refuse(f"has the column {long[0]} in {key}: {MOST} characters are the most")


def _flag(entry: Mapping[str, Any], key: str, refuse: Callable[[str], ClickstreamError]) -> bool:
    value = entry.get(key, False)
    if not isinstance(value, bool):
        raise refuse(f"has a {key} that is neither true nor false")
    return value


def _types(entry: Mapping[str, Any], refuse: Callable[[str], ClickstreamError]) -> dict[str, str]:
    types = {column(name): "".join(kind.lower().split()) for name, kind in _mapping(entry, "types", refuse).items()}
    for name, kind in types.items():
        decimal = _DECIMAL.fullmatch(kind)
        fits = decimal is not None and int(decimal[2]) <= int(decimal[1]) <= _DIGITS and int(decimal[1]) > 0
        if kind not in _TYPES and not fits:
            raise refuse(f"gives {name} the type {kind}; there are {', '.join(sorted(_TYPES))} and decimal(p,s)")
    return types


def repeated(names: Iterable[str]) -> list[str]:
    """Names that are there more than once."""
    seen: set[str] = set()
    return [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
