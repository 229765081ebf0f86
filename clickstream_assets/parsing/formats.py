"""The formats that landing files come in, and what a reader of a format gives. Each reader is imported when it is used.

Add a format here, and its reader as a module beside this one, when files arrive that no reader here knows.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Protocol, cast

from clickstream_assets.parsing import content

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from clickstream_assets.parsing.content import Readable
    from clickstream_assets.settings import Limits


@dataclass(frozen=True)
class Broken:
    """A record that cannot be read as one: its number and line in the file, the rule it breaks, and its text."""

    record_number: int
    line: int
    rule: str
    text: str


@dataclass(frozen=True)
class Batch:
    """Some consecutive records of a file.

    ``found``: how many there are, broken ones included, counted without reading their fields. ``rows``: the readable
    ones as text, the asked columns and ``extra`` (JSON of all other fields, or null). ``lines`` and ``numbers``: the
    physical line, null where it cannot be told, and the record number of each row.
    """

    found: int
    rows: pa.Table
    lines: npt.NDArray[np.int64] | pa.Int64Array
    numbers: npt.NDArray[np.int64]
    broken: Sequence[Broken] = field(default_factory=list)


class Reader(Protocol):
    """Reads a file's decompressed bytes as batches of records."""

    def __call__(self, stream: Readable, columns: Sequence[str], limits: Limits) -> Iterator[Batch]:
        """Prepare to read; ``columns`` are those that a file must have.

        Raises:
            RejectedFile: the file as a whole cannot be read; raised by the call itself where its beginning shows it.
        """
        ...


class Shape(Protocol):
    """Makes a raw table's columns of what a reader gives, where they are not the record's own."""

    #: what its results depend on besides the batch and the day: files are read again when it changes
    identity: str

    def __call__(self, batch: Batch, day: date) -> Batch:
        """The batch with the table's columns, less lineage and the day of arrival, which is ``day``."""
        ...

    def seal(self, content_hash: str) -> str:
        """A file's hash as it may be stored."""
        ...


@dataclass(frozen=True)
class Format:
    """A file format: the ends of its files' names, and where its reader is (``module:function``).

    Without ``suffixes`` the names say nothing: every file is in this format, and whether it is compressed is told by
    its first bytes.
    """

    name: str
    suffixes: tuple[str, ...]
    reader: str
    #: what people are told of the columns that are read, which follow
    asks: str

    def has(self, path: str) -> bool:
        """Whether a file of that name is in this format."""
        return not self.suffixes or path.lower().endswith(self.suffixes)

    def text_of(self, raw: Readable, path: str, limits: Limits) -> Readable:
        """A file's bytes, decompressed."""
        return content.text_of(raw, path, limits, sniff=not self.suffixes)

    def load(self) -> Reader:
        """The reader."""
        return cast(Reader, pkgutil.resolve_name(self.reader))


CSV = Format("csv", (".csv", ".csv.gz"), "clickstream_assets.parsing.arrow_csv:read", "Columns, in any order and case:")
#: what Firehose writes: its objects' names have no suffix
JSON = Format("json", (), "clickstream_assets.parsing.json_objects:read", "Keys of its JSON objects:")
#: answers of the GA4 Data API, a page each; they are read whole (``ga4.pulls``)
GA4_PAGES = Format("json", (".json",), "clickstream_assets.ga4.pulls:page", "Answers of the Data API with")
#: what AppFlow writes of a GA4 property: an object a line
APPFLOW = Format("json", (".json",), "clickstream_assets.parsing.json_objects:read", "Keys of its JSON objects:")
