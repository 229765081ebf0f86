"""What every domain's rules are made of: a rule as data, and the grammars of numbers and time stamps.

Engines agree on strict grammars only: Spark and Sail cast ``18:00:26`` to today and ``2024`` to January 1. So text is
matched first, and cast only when it fits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

if TYPE_CHECKING:
    from pyspark.sql import Column

# [0-9] and not \d, which in Sail's regular expressions takes the digits of all scripts.
_TIMESTAMP = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?"
    r"(Z|[+-](0[0-9]|1[0-3]):[0-5][0-9]|[+-]14:00)?$"
)
_NUMBER = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,2})?$"


@dataclass(frozen=True)
class Rule:
    """One reason to reject a row. ``breaks`` is true, never null, for rows that break it."""

    name: str
    description: str
    breaks: Callable[[], Column]


def first_broken(rules: Sequence[Rule]) -> Column:
    """Name of the first rule that a row breaks; null for a row that keeps them all."""
    return F.coalesce(*(F.when(rule.breaks(), F.lit(rule.name)) for rule in rules))


def text(column: str) -> Column:
    """A text column without surrounding white space; null where nothing is left."""
    trimmed = F.regexp_replace(F.col(column), r"^\s+|\s+$", "")
    return F.when(F.length(trimmed) > 0, trimmed)


def missing(column: str) -> Column:
    """True where a column is null, empty or blank."""
    return text(column).isNull()


def timestamp(column: str) -> Column:
    """``YYYY-MM-DD[T ]HH:MM:SS[.f][Z|±hh:mm]`` as UTC microseconds, naive meaning UTC; null for anything else."""
    value = text(column)
    return F.when(value.rlike(_TIMESTAMP), value.try_cast("timestamp"))


def money(column: str) -> Column:
    """A number that is not negative as decimal(12,2), rounded half up; null for anything else."""
    value = text(column)
    negative = value.rlike("^-.*[1-9]")
    exact = F.when(value.rlike(_NUMBER) & ~negative, F.abs(value.try_cast("decimal(38,14)")))
    return F.round(exact, 2).try_cast("decimal(12,2)")
