"""The statements that the Redshift twin gets: what it refuses as Redshift would, rewrites, or does itself."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: where AWS documents Redshift's SQL
GUIDE = "https://docs.aws.amazon.com/redshift/latest/dg/"


def _type(names: str) -> str:
    """A pattern for a type where a type can be: after a cast, or in the definition of a table."""
    return (
        rf"::\s*(?:{names})\b|\bcast\s*\([^()]*\bas\s+(?:{names})\b"
        rf"|^\s*create\b.*?[(,]\s*\S+\s+(?:{names})\b|^\s*alter\s+table\b.*?\badd\s+(?:column\s+)?\S+\s+(?:{names})\b"
    )


#: what Redshift refuses: its name, the pattern of it in a statement without literals and comments, AWS's page on it
REFUSALS: tuple[tuple[str, str, str], ...] = (
    ("ON CONFLICT", r"\bon\s+conflict\b", GUIDE + "r_INSERT_30.html"),
    ("RETURNING", r"\breturning\b", GUIDE + "r_INSERT_30.html"),
    ("DISTINCT ON", r"\bdistinct\s+on\s*\(", GUIDE + "r_SELECT_list.html"),
    ("TABLESAMPLE", r"\btablesample\b", GUIDE + "r_FROM_clause30.html"),
    ("LATERAL", r"\blateral\b", GUIDE + "r_FROM_clause30.html"),
    ("FILTER (WHERE …)", r"\bfilter\s*\(\s*where\b", GUIDE + "c_Aggregate_Functions.html"),
    ("a VALUES list as a table", r"\bfrom\s*\(\s*values\b", GUIDE + "c_unsupported-postgresql-features.html"),
    ("an index", r"\bcreate\s+(?:unique\s+)?index\b", GUIDE + "c_unsupported-postgresql-features.html"),
    ("a sequence", r"\bcreate\s+(?:temp\w*\s+)?sequence\b", GUIDE + "c_unsupported-postgresql-features.html"),
    ("a temporary view", r"\bcreate\s+(?:or\s+replace\s+)?temp\w*\s+view\b", GUIDE + "r_CREATE_VIEW.html"),
    ("an array", r"\[", GUIDE + "c_unsupported-postgresql-datatypes.html"),
    ("the type SERIAL", _type(r"(?:small|big)?serial[248]?"), GUIDE + "c_unsupported-postgresql-datatypes.html"),
    ("the type JSON", _type("jsonb?"), GUIDE + "c_unsupported-postgresql-datatypes.html"),
    ("this type", _type("bytea|uuid|money|xml|hstore|inet"), GUIDE + "c_unsupported-postgresql-datatypes.html"),
    ("ARRAY_AGG or STRING_AGG", r"\b(?:array|string)_agg\s*\(", GUIDE + "c_unsupported-postgresql-functions.html"),
    ("IS DISTINCT FROM", r"\bis\s+(?:not\s+)?distinct\s+from\b", GUIDE + "c_unsupported-postgresql-functions.html"),
    ("ISODOW", r"\bextract\s*\(\s*isodow\b", GUIDE + "r_Dateparts_for_datetime_functions.html"),
    ("COPY other than from S3", r"^\s*copy\b", GUIDE + "r_COPY.html"),
)

_NEW_TABLE = r"^\s*(?:create\s+(?:\w+\s+)?table|alter\s+table)\b"
_NEW_COLUMNS = r"^\s*(?:create\s+(?:\w+\s+)?table\s+(?:if\s+not\s+exists\s+)?[\w.\"]+\s*\(|alter\s+table\b)"

#: what Redshift says and PostgreSQL does not: in which statements, the pattern, what to say instead
REWRITES: tuple[tuple[str, str, str], ...] = (
    (_NEW_TABLE, r"\bdiststyle\s+\w+", ""),
    (_NEW_TABLE, r"\bdistkey\b(?:\s*\([^)]*\))?", ""),
    (_NEW_TABLE, r"\b(?:(?:compound|interleaved)\s+)?sortkey\b(?:\s*\([^)]*\)|\s+auto\b)?", ""),
    (_NEW_TABLE, r"\bencode\s+\w+", ""),
    (_NEW_TABLE, r"\bbackup\s+(?:yes|no)\b", ""),
    (r"^\s*create\b", r"\bwith\s+no\s+schema\s+binding\b", ""),
    ("", r"\bvarchar\s*\(\s*max\s*\)", "varchar(65535)"),
    # Without a length a column takes 256 bytes: https://docs.aws.amazon.com/redshift/latest/dg/r_Character_types.html
    (_NEW_COLUMNS, r"(?<=\s)(?:varchar|character\s+varying|text)\b(?!\s*\()", "varchar(256)"),
    ("", r"\bnvl\s*\(", "coalesce("),
    ("", r"\bdatediff\s*\(\s*([a-z]+)\s*(?=,)", r"datediff('\1'"),
    (r"^\s*set\s+query_group\b", r"^.*$", "select 1"),
)

_LITERALS = re.compile(
    r"(?P<comment>--[^\n]*|/\*.*?\*/)|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|(?P<tag>\$\w*\$).*?(?P=tag)", re.DOTALL
)
FLAGS = re.IGNORECASE | re.DOTALL


def masked(sql: str, *, names: bool = False) -> str:
    """The statement at the same length, with blanks for comments and underscores inside of quotes.

    ``names``: those in double quotes stay.
    """

    def hide(match: re.Match[str]) -> str:
        text = match[0]
        if match["comment"]:
            return " " * len(text)
        return text if names and text[0] == '"' else text[0] + "_" * (len(text) - 2) + text[-1]

    return _LITERALS.sub(hide, sql)


def translated(sql: str) -> str:
    """The statement as PostgreSQL understands it.

    Raises:
        ServerError: 0A000, with the name of what Redshift does not support and AWS's page on it.
    """
    code = masked(sql)
    for name, pattern, source in REFUSALS:
        if re.search(pattern, code, FLAGS):
            raise ServerError(f"{name} is not supported by Amazon Redshift", f"See {source}")
    for where, pattern, replacement in REWRITES:
        code = masked(sql)
        if re.search(where, code, FLAGS):
            for match in reversed(list(re.finditer(pattern, code, FLAGS))):
                sql = sql[: match.start()] + match.expand(replacement) + sql[match.end() :]
    return sql


def without_comments(sql: str) -> str:
    """The statement at the same length, with blanks for comments."""
    return "".join(" " if m == " " else c for c, m in zip(sql, masked(sql), strict=True))


def quoted(text: str) -> str:
    """A literal."""
    return "'" + text.replace("'", "''") + "'"


class ServerError(Exception):
    """An error as a server sends it; ``column`` and ``file`` say what a COPY stumbled over."""

    def __init__(self, message: str, detail: str = "", sqlstate: str = "0A000", code: int = 0) -> None:
        super().__init__(message)
        self.message, self.detail, self.sqlstate, self.code = message, detail, sqlstate, code
        self.file = self.column = self.type = ""

    @classmethod
    def parsed(cls, body: bytes) -> ServerError:
        fields = {part[:1]: part[1:].decode() for part in body.split(b"\0") if part}
        return cls(fields.get(b"M", ""), fields.get(b"D", ""), fields.get(b"C", ""))

    @property
    def sent(self) -> bytes:
        fields = {"S": "ERROR", "C": self.sqlstate, "M": self.message, "D": self.detail}
        return b"".join(f"{k}{v}".encode() + b"\0" for k, v in fields.items() if v) + b"\0"


@dataclass(frozen=True)
class Copy:
    """A COPY of Parquet files that a manifest lists."""

    tag = b"COPY"

    table: str
    columns: tuple[str, ...]
    manifest: str
    fill: bool

    @classmethod
    def parsed(cls, sql: str) -> Copy | None:
        """What the statement asks for; none when it is no COPY from S3.

        Raises:
            ServerError: an option is missing, is no option of a COPY of Parquet, or carries a key.
        """
        match = re.fullmatch(
            r"\s*copy\s+(?P<table>[\w.\"]+)\s*(?:\((?P<columns>[^)]*)\))?\s*from\s+'(?P<uri>s3://[^']+)'(?P<rest>.*?);?\s*",
            without_comments(sql),
            FLAGS,
        )
        if not match:
            return None
        found: set[str] = set()
        rest = match["rest"]
        for name, option in _COPY_OPTIONS.items():
            rest, count = re.subn(rf"(?<!\S){option}(?!\S)", "", rest, count=1, flags=FLAGS)
            found |= {name} if count else set()
        if rest.strip():
            word = rest.split()[0].upper()
            raise ServerError(f"{word} argument is not supported for PARQUET based COPY", sqlstate="XX000")
        for name in ("IAM_ROLE", "FORMAT PARQUET", "MANIFEST"):
            if name not in found:
                raise ServerError(f"COPY needs {name}: by a role, of Parquet, of the files of a manifest")
        columns = tuple(name.strip().strip('"') for name in (match["columns"] or "").split(",") if name.strip())
        return cls(match["table"], columns, match["uri"], "FILLRECORD" in found)


#: https://docs.aws.amazon.com/redshift/latest/dg/copy-usage_notes-copy-from-columnar.html; roles, never keys
_COPY_OPTIONS = {
    "IAM_ROLE": r"iam_role\s+'arn:aws:iam::\d{12}:role/[^']+'",
    "FORMAT PARQUET": r"format\s+(?:as\s+)?parquet",
    "MANIFEST": "manifest",
    "FILLRECORD": "fillrecord",
    "STATUPDATE": r"statupdate(?:\s+(?:on|off|true|false))?",
}
