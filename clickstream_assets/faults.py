"""Full and read-only disks, an S3 or a catalog that cannot be reached, as one sentence that says what to do.

Arrow, Sail, DuckDB, SQLite and boto3 each word their own way what the operating system or a server refused, and Dagster
hands on nothing but the text of an error. So a fault is recognised by its words. What is no fault of the storage has no
sentence here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from clickstream_assets.settings import Settings

_AS_BEFORE = "What was published before is as it was."

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

_BUSY = "it was busy or wanted fewer requests for longer than we try: wait a while"
_UNREACHABLE = (
    "it did not answer, or the connection broke, as often as we tried: look at the network and AWS_ENDPOINT_URL"
)

#: how S3 and Glue, or the libraries that asked them, say it
_SERVICE_WORDS = (
    (
        r"slow_?down|service_?unavailable|throttl|too_?many_?requests|rate exceeded|internal_?(error|failure|serv)"
        r"|(http|http status|status code:) 50[0234]\b|\(50[0234]\)",
        _BUSY,
    ),
    (
        r"connection (was |is )?(refused|reset|closed)|network_connection|(could not|couldn't|failed to) connect"
        r"|timed? ?out|broken pipe|failure when (receiving|sending)|error sending request|body error"
        r"|incomplete_?(read|message)",
        _UNREACHABLE,
    ),
)
#: without which the words may be those of another server, e.g. Redshift's
_SERVICE = re.compile(
    r"\bAWS Error\b|\bS3 error\b|\bs3://|\bendpoint URL\b|HTTP (HEAD|GET|PUT|POST) to '|Error performing \w+ http"
    r"|when calling the \w+ operation|Server returned non-2xx",
    re.IGNORECASE,
)
_LIBRARIES = ("sqlite3", "_duckdb", "duckdb", "botocore")
_KEY = re.compile(r"key '([^'\n]*)' in bucket '([^'\n]*)'")
_QUOTED = re.compile(r"'[^'\n]*'")
_OPERATION = re.compile(r"when calling the (\w+) operation")
_ADDRESS = re.compile(r"""(?:s3|https?)://[^\s'"?,]+""")


def is_of_s3(text: str) -> bool:
    """Whether the text tells that S3 was busy or not to be reached, so that asking again later may help."""
    return _of_service(text) is not None


def _of_service(text: str) -> tuple[str, str | None] | None:
    """Why S3 or the catalog could not be used, and where the text says so; None when it tells of no such fault.

    A sentence of our own is better than what is made of its cause.
    """
    if "clickstream_assets.errors." in text:
        return None
    for line in filter(_SERVICE.search, text.splitlines()):
        said = _QUOTED.sub("", line)  # keys may be called anything
        for words, remedy in _SERVICE_WORDS:
            if re.search(words, said, re.IGNORECASE):
                return remedy, _place(line)
    return None


def _place(line: str) -> str | None:
    if key := _KEY.search(line):
        return f"s3://{key[2]}/{key[1]}"
    if address := _ADDRESS.search(line):
        return address[0]
    operation = _OPERATION.search(line)  # S3's own are told by whoever asked
    return f"the catalog ({operation[1]})" if operation else None


def explain(text: str, settings: Settings) -> str | None:
    """What could not be read or written, why, and what to do; None when the text tells of no such fault.

    The path is the one in the text, or, where the library keeps it to itself, the folders in question.
    """
    if service := _of_service(text):
        remedy, place = service
        return f"could not read or write {place or settings.lake_uri}, since {remedy}, and run again. {_AS_BEFORE}"
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
            f"{_AS_BEFORE}"
        )
    return None


def explain_error(error: BaseException, settings: Settings) -> str | None:
    """As ``explain``, for an error or what it came from, provided that one of them is the storage's."""
    for one in _chain(error):
        if isinstance(one, OSError) or type(one).__module__.partition(".")[0] in _LIBRARIES:
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
