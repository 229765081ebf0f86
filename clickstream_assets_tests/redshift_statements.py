"""The statements that the Redshift twin gets: what it refuses as Redshift would, rewrites, or does itself."""

from __future__ import annotations

import functools
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


_LISTS = GUIDE + "c_unsupported-postgresql-"
_FUNCTIONS = (
    "generate_series|generate_subscripts|array_agg|string_agg|every|corr|covar_(?:pop|samp)|regr_[a-z0-9]+|xmlagg"
    "|clock_timestamp|transaction_timestamp|pg_sleep|justify_(?:days|hours|interval)|div|setseed|width_bucket"
    "|bit_length|overlay|encode|convert_(?:from|to)|format|quote_nullable|regexp_(?:matches|split_to_(?:array|table))"
    r"|pg_(?:try_)?advisory_\w+|nextval|currval|setval|lastval|to_tsvector|to_tsquery"
)
_TYPES = r"bytea|uuid|money|xml|hstore|inet|cidr|macaddr|bit(?:\s+varying)?|ts(?:vector|query)|\w+range|jsonb?"
_ALTER = r"^\s*alter\s+table\s+\S+\s+(?:.*,)?\s*"
_COMMANDS = (
    r"savepoint|release|rollback\s+to|do|listen|notify|unlisten|reindex|cluster|values|table|checkpoint"
    r"|(?:create|alter|drop)\s+(?:or\s+replace\s+)?(?:type|domain|rule|extension|operator|aggregate|server|cast"
    "|foreign|publication|subscription|statistics|collation|event|access|conversion|text)"
)

#: what Redshift refuses: its name, the pattern of it in a statement without literals and comments, AWS's page on it.
#: The lists of what is unsupported say so; of the other pages most give a syntax in which it has no place.
REFUSALS: tuple[tuple[str, str, str], ...] = (
    ("ON CONFLICT", r"\bon\s+conflict\b", GUIDE + "r_INSERT_30.html"),
    ("RETURNING", r"^\s*(?:insert|update|delete|merge|with)\b.*\breturning\b", GUIDE + "r_INSERT_30.html"),
    ("WITH before INSERT", r"^\s*with\b.*\)\s*insert\s+into\b", GUIDE + "r_INSERT_30.html"),
    ("DISTINCT ON", r"\bdistinct\s+on\s*\(", GUIDE + "r_SELECT_list.html"),
    ("TABLESAMPLE", r"\btablesample\b", GUIDE + "r_FROM_clause30.html"),
    ("LATERAL", r"\blateral\b", GUIDE + "r_FROM_clause30.html"),
    ("WITH ORDINALITY", r"\bwith\s+ordinality\b", GUIDE + "r_FROM_clause30.html"),
    ("FILTER (WHERE …)", r"\bfilter\s*\(\s*where\b", GUIDE + "c_Aggregate_Functions.html"),
    ("a change within WITH", r"\bas\s*\(\s*(?:insert|update|delete|merge)\b", GUIDE + "r_WITH_clause.html"),
    ("AS MATERIALIZED", r"\bas\s+(?:not\s+)?materialized\s*\(", GUIDE + "r_WITH_clause.html"),
    ("FETCH FIRST", r"\S\s+fetch\s+(?:first|next)\b", GUIDE + "r_ORDER_BY_clause.html"),
    ("FOR UPDATE", r"\bfor\s+(?:no\s+key\s+)?(?:update|(?:key\s+)?share)\b", GUIDE + "r_SELECT_synopsis.html"),
    ("a WINDOW clause", r"\bwindow\s+\w+\s+as\s*\(", GUIDE + "r_SELECT_synopsis.html"),
    ("INTERSECT ALL or EXCEPT ALL", r"\b(?:intersect|except)\s+all\b", GUIDE + "r_UNION.html"),
    (
        "a frame of RANGE or GROUPS",
        r"\b(?:range|groups)\s+(?:between|unbounded|current\s+row|\d)",
        GUIDE + "c_Window_functions.html",
    ),
    (
        "EXCLUDE",
        r"\bexclude\s+(?:current\s+row|group|ties|no\s+others)\b",
        GUIDE + "c_Window_functions.html",
    ),
    ("a VALUES list as a table", r"(?:\b(?:from|join|in|as|union|all)|,)\s*\(?\s*values\b", _LISTS + "features.html"),
    ("an array", r"\[", _LISTS + "datatypes.html"),
    ("a row constructor", r"\brow\s*\(", _LISTS + "features.html"),
    ("COLLATE", r"\bcollate\s+(?!case_(?:in)?sensitive\b)", _LISTS + "features.html"),
    ("an index", r"\b(?:create|drop|alter)\s+(?:unique\s+)?index\b", _LISTS + "features.html"),
    ("a sequence", r"\b(?:create|drop|alter)\s+(?:temp\w*\s+)?sequence\b", _LISTS + "features.html"),
    ("a trigger", r"\b(?:create|drop|alter)\s+(?:\w+\s+)*?trigger\b", _LISTS + "features.html"),
    ("a tablespace", r"\btablespace\s+\w+", _LISTS + "features.html"),
    (
        "partitioning",
        r"^\s*create\b.*\bpartition\s+(?:by\s+(?:range|list|hash)|of)\b|^\s*alter\b.*\b(?:at|de)tach\s+partition\b",
        _LISTS + "features.html",
    ),
    ("inheritance", r"^\s*(?:create|alter)\s+table\b.*\binherits?\b", _LISTS + "features.html"),
    (
        "a CHECK or EXCLUDE constraint",
        r"^\s*(?:create|alter)\s+(?:\w+\s+)?table\b.*\b(?:check\s*\(|exclude\s+(?:using\b|\())",
        _LISTS + "features.html",
    ),
    ("an UNLOGGED table", r"^\s*create\s+unlogged\b", GUIDE + "r_CREATE_TABLE_NEW.html"),
    (
        "GENERATED ALWAYS",
        r"^\s*(?:create|alter)\s+(?:\w+\s+)?table\b.*\bgenerated\s+always\b",
        GUIDE + "r_CREATE_TABLE_NEW.html",
    ),
    ("ON COMMIT", r"^\s*create\b.*\bon\s+commit\s+(?:drop|delete|preserve)\b", GUIDE + "r_CREATE_TABLE_NEW.html"),
    ("INCLUDING ALL", r"^\s*create\b.*\bincluding\s+(?!defaults\b)", GUIDE + "r_CREATE_TABLE_NEW.html"),
    ("a temporary view", r"\bcreate\s+(?:or\s+replace\s+)?temp\w*\s+view\b", GUIDE + "r_CREATE_VIEW.html"),
    (
        "IF [NOT] EXISTS of a column",
        rf"{_ALTER}(?:add|drop)\s+(?:column\s+)?if\b",
        GUIDE + "r_ALTER_TABLE.html",
    ),
    (
        "a new type that is no VARCHAR",
        rf"{_ALTER}alter\s+(?:column\s+)?\S+\s+(?:set\s+data\s+)?type\s+(?!varchar\b|character\s+varying\b)",
        GUIDE + "r_ALTER_TABLE.html",
    ),
    (
        "SET or DROP of a column",
        rf"{_ALTER}alter\s+(?:column\s+)?\S+\s+(?:set\s+(?!data\b)|drop\b)",
        GUIDE + "r_ALTER_TABLE.html",
    ),
    ("SET SCHEMA", rf"{_ALTER}set\s+schema\b", GUIDE + "r_ALTER_TABLE.html"),
    ("the type SERIAL", _type(r"(?:small|big)?serial[248]?"), _LISTS + "datatypes.html"),
    ("this type", _type(_TYPES), _LISTS + "datatypes.html"),
    ("this function", rf"(?<![\w.])(?:pg_catalog\s*\.\s*)?(?:{_FUNCTIONS})\s*\(", _LISTS + "functions.html"),
    ("IS DISTINCT FROM", r"\bis\s+(?:not\s+)?distinct\s+from\b", _LISTS + "functions.html"),
    ("ISODOW", r"\bextract\s*\(\s*isodow\b", GUIDE + "r_Dateparts_for_datetime_functions.html"),
    ("EXPLAIN ANALYZE", r"^\s*explain\s*(?:\(|analy[sz]e\b)", GUIDE + "r_EXPLAIN.html"),
    ("MERGE with an alias of its target", r"^\s*merge\s+into\s+\S+\s+(?!using\b)\w", GUIDE + "r_MERGE.html"),
    ("MERGE from a subquery", r"^\s*merge\b.*?\busing\s*\(", GUIDE + "r_MERGE.html"),
    ("MERGE with a condition", r"^\s*merge\b.*\bmatched\s+(?:and|by)\b", GUIDE + "r_MERGE.html"),
    ("WITH before MERGE", r"^\s*with\b.*\)\s*merge\s+into\b", GUIDE + "r_MERGE.html"),
    ("DO NOTHING", r"^\s*merge\b.*\bdo\s+nothing\b", GUIDE + "r_MERGE.html"),
    (
        "an alias of what is deleted from",
        r"^\s*delete\s+from\s+(?:only\s+)?[\w.\"]+\s+(?:as\b|(?!using\b|where\b)\w)",
        GUIDE + "r_DELETE.html",
    ),
    (
        "TRUNCATE of several tables or with options",
        r"^\s*truncate\b.*(?:,|\bcascade\b|\bidentity\b)",
        GUIDE + "r_TRUNCATE.html",
    ),
    ("this source of a COPY", r"^\s*copy\b", GUIDE + "r_COPY.html"),
    ("this command", rf"^\s*(?:{_COMMANDS})\b", GUIDE + "c_SQL_commands.html"),
)

#: the same, where what is in brackets does not count
OUTER_REFUSALS: tuple[tuple[str, str, str], ...] = (
    (
        "an outer join in the FROM of an UPDATE",
        r"^\s*update\b.*\bfrom\b.*\b(?:left|right|full)\s+(?:outer\s+)?join\b",
        GUIDE + "r_UPDATE.html",
    ),
    ("a second column to add", r"^\s*alter\s+table\b.*\badd\b.*,\s*add\b", GUIDE + "r_ALTER_TABLE.html"),
)

#: what Redshift refuses within a transaction
ALONE: tuple[tuple[str, str, str], ...] = (
    ("VACUUM", r"^\s*vacuum\b", GUIDE + "r_VACUUM_command.html"),
    (
        "ALTER TABLE ALTER COLUMN",
        r"^\s*alter\s+table\b.*\balter\s+(?:column\s+)?\S+\s+(?:set\s+data\s+)?type\b",
        GUIDE + "r_ALTER_TABLE.html",
    ),
)

_NEW_TABLE = r"^\s*(?:create\s+(?:\w+\s+)?table|alter\s+table)\b"
_MATERIALIZED = r"^\s*create\s+materialized\s+view\b"
_NEW_COLUMNS = r"^\s*(?:create\s+(?:\w+\s+)?table\s+(?:if\s+not\s+exists\s+)?[\w.\"]+\s*\(|alter\s+table\b)"

#: what Redshift says and PostgreSQL does not: in which statements, the pattern, what to say instead
REWRITES: tuple[tuple[str, str, str], ...] = (
    (_NEW_TABLE, r"\bdiststyle\s+\w+", ""),
    (_NEW_TABLE, r"\bdistkey\b(?:\s*\([^)]*\))?", ""),
    (_NEW_TABLE, r"\b(?:(?:compound|interleaved)\s+)?sortkey\b(?:\s*\([^)]*\)|\s+auto\b)?", ""),
    (_NEW_TABLE, r"\bencode\s+\w+", ""),
    (_NEW_TABLE, r"\bbackup\s+(?:yes|no)\b", ""),
    (_MATERIALIZED, r"\bbackup\s+(?:yes|no)\b", ""),
    (_MATERIALIZED, r"\bdiststyle\s+\w+", ""),
    (_MATERIALIZED, r"\bauto\s+refresh\s+(?:yes|no)\b", ""),
    # What dbt-redshift looks up to see whether one has changed.
    (r"\battisdistkey\b", r"\ba\.attisdistkey\b", "false"),
    (r"\battsortkeyord\b", r"\ba\.attsortkeyord\b", "0"),
    (
        r"\bfrom\s+information_schema\.views\b",
        r"\bfrom\s+information_schema\.views\b",
        "from (select current_database() as table_catalog, schemaname as table_schema, viewname as table_name,"
        " definition as view_definition from pg_views) as views",
    ),
    (r"^\s*create\b", r"\bwith\s+no\s+schema\s+binding\b", ""),
    ("", r"\bvarchar\s*\(\s*max\s*\)", "varchar(65535)"),
    # Without a length a column takes 256 bytes: https://docs.aws.amazon.com/redshift/latest/dg/r_Character_types.html
    (_NEW_COLUMNS, r"(?<=\s)(?:varchar|character\s+varying|text)\b(?!\s*\()", "varchar(256)"),
    ("", r"\bnvl\s*\(", "coalesce("),
    ("", r"\bdatediff\s*\(\s*([a-z]+)\s*(?=,)", r"datediff('\1'"),
    (r"^\s*set\s+query_group\b", r"^.*$", "select 1"),
)

_LITERALS = re.compile(
    r"(?P<comment>--[^\n]*|/\*(?:(?!/\*|\*/).|/\*(?:(?!\*/).)*\*/)*\*/)"  # of which one may be in another
    r"|\be'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|(?P<tag>\$\w*\$).*?(?P=tag)",
    re.DOTALL | re.IGNORECASE,
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


def _outer(code: str) -> str:
    """What is in no brackets."""
    while (shorter := re.sub(r"\([^()]*\)", "", code)) != code:
        code = shorter
    return code


@functools.lru_cache(1000)
def translated(sql: str, *, within: bool) -> str:
    """The statement as PostgreSQL understands it; ``within``: in a transaction.

    Raises:
        ServerError: 25001, or 0A000, with the name of what Redshift does not support and AWS's page on it.
    """
    code = masked(sql)
    for refusals, text in ((REFUSALS, code), (OUTER_REFUSALS, _outer(code)), (ALONE if within else (), code)):
        for name, pattern, source in refusals:
            if re.search(pattern, text, FLAGS):
                if refusals is ALONE:
                    raise ServerError(f"{name} cannot run inside a transaction block", f"See {source}", "25001")
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
    def body(self) -> bytes:
        """As the server sends it."""
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
