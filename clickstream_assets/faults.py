"""Full and read-only disks, which every library words its own way, as one sentence that says what to do.

Arrow, Sail, DuckDB and SQLite report as text what the operating system refused, and Dagster hands on nothing but the
text of an error. So a fault is recognised by its words. What is no fault of the storage has no sentence here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from clickstream_assets.settings import Settings

_FULL = "the disk is full: free some space"
_LIMITED = "a file would become larger than this process may write: raise the limit (ulimit -f)"
_READ_ONLY = "it is read-only or belongs to somebody else: make it writable"
_NO_FOLDER = "it is not there, or something else is in its place: put it back, or set CLICKSTREAM_LAKE_URI"
_REFUSED = "the disk refused it: look whether it is full, read-only or limited (df, ulimit -f)"

#: how each is worded, the surest first; a number alone is that of Linux
_WORDS = (
    (r"no space left on device|database or disk is full|quota exceeded|(errno|os error) (28|122)\b", _FULL),
    (r"file too large|(errno|os error) 27\b", _LIMITED),
    (
        r"read-only file system|readonly database|permission denied|operation not permitted|(os error|errno) 30\b",
        _READ_ONLY,
    ),
    (r"not a directory|no such file or directory|file exists|unable to open database file", _NO_FOLDER),
    (r"disk i/o error|input/output error|(errno|os error) 5\b", _REFUSED),
)
_PATH = re.compile(r"""['"](/[^'"\n]+)['"]""")


def explain(text: str, settings: Settings) -> str | None:
    """What could not be read or written, why, and what to do; None when the text tells of no such fault.

    The path is the one in the text, or, where the library keeps it to itself, the folders in question.
    """
    for words, remedy in _WORDS:
        found = re.search(words, text, re.IGNORECASE)
        if found is None:
            continue
        named = _PATH.search(text[text.rfind("\n", 0, found.start()) + 1 :].partition("\n")[0])
        ours = named is not None and named[1].startswith((str(settings.home), settings.lake_uri))
        if remedy == _NO_FOLDER and not ours:
            continue  # something else is missing, and that may be a defect
        return (
            f"could not read or write {named[1] if named else _places(settings)}, since {remedy}, and run again. "
            "What was published before is as it was."
        )
    return None


def explain_error(error: BaseException, settings: Settings) -> str | None:
    """As ``explain``, for an error or what it came from, provided that one of them is the storage's."""
    for one in _chain(error):
        if isinstance(one, OSError) or type(one).__module__.partition(".")[0] in ("sqlite3", "_duckdb", "duckdb"):
            return explain(str(one), settings)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _places(settings: Settings) -> str:
    home, lake = str(settings.home), settings.lake_uri
    return f"below {home}" if lake.startswith(f"{home}/") else f"below {home} or {lake}"
