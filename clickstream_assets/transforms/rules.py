"""What every domain's rules are made of: a rule as data, and the grammars of numbers and time stamps.

Engines agree on strict grammars only: Spark and Sail cast ``18:00:26`` to today and ``2024`` to January 1. So text is
matched first, and cast only when it fits.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from clickstream_assets.grammars import BLANKS, TIMESTAMP
from clickstream_assets.schemas import TEXT_BYTES

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from clickstream_assets.storage.spark import Split

# Sign, digits with or without a point, and an exponent of one or two digits.
_NUMBER = r"^([+-]?)([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE]([+-]?[0-9]{1,2}))?$"

# What is cast to decimal(12,2) without a loss.
_PLAIN = r"^[0-9]{1,10}(\.[0-9]{1,2})?$"


@dataclass(frozen=True)
class Rule:
    """One reason to reject a row. ``breaks`` is true for rows that break it, false or null for others."""

    name: str
    description: str
    breaks: Callable[[], Column]


@dataclass(frozen=True)
class Transform:
    """From a raw table to a cleaned one: the rules, in the order in which they are tried, and what applies them."""

    rules: Sequence[Rule]
    apply: Callable[..., Split]
    #: what ``apply`` is given besides the rows: found out once for all of them, however many parts they are cleaned in
    lookup: Callable[[DataFrame], DataFrame] | None = None
    #: of the accepted rows of a day that are equal in ``unique``, the one with the greatest hash is kept
    unique: str | None = None
    #: of a raw row, what ``unique`` will be, where that is not the raw column of the name; not for tables with hours
    same: Callable[[], Column] | None = None
    #: another one when the rules or what is computed changes: rows of two of them are not put side by side in a day
    identity: str = ""

    def over(self, rows: DataFrame) -> Callable[[DataFrame], Split]:
        """What cleans these rows, or some of them."""
        return self.apply if self.lookup is None else partial(self.apply, self.lookup(rows))


def keeps(rules: Sequence[Rule]) -> Column:
    """True for a row that keeps all the rules, false for others, never null.

    Counting the broken ones takes a quarter less in Sail than asking for the first, where each branch of a CASE works
    on a copy of the rows that are left.
    """
    return reduce(operator.add, (F.coalesce(rule.breaks(), F.lit(False)).cast("int") for rule in rules)) == 0


def accepted(raw: DataFrame, rules: Sequence[Rule], *columns: Column | str) -> DataFrame:
    """These columns of the rows that keep all the rules.

    Both are computed in one pass, so that what a rule looks at and a column holds, a parsed time stamp say, is
    computed once. Optimizers would move the condition below the columns and compute it there again, a third of the
    whole; what they take for random they leave where it is, and ``rand()`` is never below 0.
    """
    kept = (keeps(rules) & (F.rand() >= 0)).alias("_kept")
    return raw.select(*columns, kept).where("_kept").drop("_kept")


def first_broken(rules: Sequence[Rule]) -> Column:
    """Name of the first rule that a row breaks; null for a row that keeps them all."""
    return F.coalesce(*(F.when(rule.breaks(), F.lit(rule.name)) for rule in rules))


def text(column: str) -> Column:
    """A text column without surrounding white space; null where nothing is left."""
    return text_of(F.col(column))


def text_of(value: Column) -> Column:
    """The same of an expression."""
    trimmed = F.btrim(value, F.lit(BLANKS))
    return F.when(F.length(trimmed) > 0, trimmed)


def record_json(*columns: Column | str) -> Column:
    """These columns as an object of JSON, the same text whatever the engine: null columns are not in it.

    Java writes escapes with capitals, ``\\u001F``, Sail ``\\u001f``: only of the nine control characters that have a
    letter in their number and no escape of their own. A control character itself, which JSON has none of, stands in
    for escaped backslashes meanwhile, so that a text with a backslash and ``u001F`` stays what it is.
    """
    json = F.to_json(F.struct(*columns))
    alike = F.replace(json, F.lit("\\\\"), F.lit("\1"))
    for number in (0x0B, 0x0E, 0x0F, *range(0x1A, 0x20)):
        alike = F.replace(alike, F.lit(f"\\u{number:04X}"), F.lit(f"\\u{number:04x}"))
    return F.when(json.contains("\\u00"), F.replace(alike, F.lit("\1"), F.lit("\\\\"))).otherwise(json)


def missing(column: str) -> Column:
    """True where a column is null, empty or blank."""
    return text(column).isNull()


def longer_than_text(*columns: str) -> Column:
    """True where one of these columns has more bytes than a text of the warehouse may have, else false or null."""
    return reduce(operator.or_, (F.octet_length(column) > TEXT_BYTES for column in columns))


def try_cast(value: Column, kind: str) -> Column:
    """The value as another type; null where it is none of it.

    Spark 3.5 has no such function of columns; what its cast makes of a text that fits no type is null, unless its
    ``ansi`` mode is on, which ``spark.of_a_job`` turns off.
    """
    # Asked of the class: a column has whatever it is asked for, as a field of its value.
    return value.try_cast(kind) if hasattr(type(value), "try_cast") else value.cast(kind)


def without_zeros(value: Column) -> Column:
    """Digits without the zeros before the first other one."""
    return F.call_function("ltrim", F.lit("0"), value)  # F.ltrim takes no second argument in Spark 3.5


def timestamp(column: str) -> Column:
    """``YYYY-MM-DD[T ]HH:MM:SS[.f][Z|±hh:mm]`` as UTC microseconds, naive meaning UTC; null for anything else.

    Digits after the sixth of a fraction are cut off. The UTC year must be 1 to 9999: Python, Iceberg's readers and
    Redshift know no other.
    """
    value = text(column)
    time = F.when(value.rlike(TIMESTAMP), try_cast(value, "timestamp"))
    return F.when(F.year(time).between(1, 9999), time)


def money(column: str) -> Column:
    """A number that is not negative as decimal(12,2), rounded half up; null for anything else.

    Exact at any length: the point is moved in the text and the text cut after the third decimal, on which alone half
    up depends. Casts to a wide decimal round twice, and Sail's take no exponent. What needs none of that, nearly every
    amount there is, is cast as it is: 2,000,000 sales took 13 s without, and take 2 s.
    """
    value = text(column)
    return F.when(value.rlike(_PLAIN), try_cast(value, "decimal(12,2)")).otherwise(_any_money(value))


def _any_money(value: Column) -> Column:
    """``money`` of any number."""
    sign, digits, exponent = (F.regexp_extract(value, _NUMBER, group) for group in (1, 2, 3))
    whole = F.substring_index(digits, ".", 1)
    shift = F.coalesce(try_cast(exponent, "int"), F.lit(0))
    padded = F.concat(F.lit("0" * 99), whole, F.regexp_extract(digits, r"\.([0-9]*)", 1), F.lit("0" * 102))
    point = F.length(whole) + shift + 99
    units = without_zeros(padded.substr(F.lit(1), point))
    exact = F.concat(F.lit("0"), units, F.lit("."), padded.substr(point + 1, F.lit(3)))
    fits = value.rlike(_NUMBER) & (F.length(units) <= 10) & ~((sign == "-") & digits.rlike("[1-9]"))
    return try_cast(F.round(F.when(fits, try_cast(exact, "decimal(13,3)")), 2), "decimal(12,2)")
