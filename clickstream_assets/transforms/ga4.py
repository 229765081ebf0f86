"""GA4, raw → cleaned: the labels as Google gives them, the numbers as numbers, one row per combination of labels."""

from __future__ import annotations

import operator
from functools import cache, partial, reduce
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from clickstream_assets.ga4.reports import DATE, REPORTS, Report
from clickstream_assets.schemas import TEXT_BYTES
from clickstream_assets.storage.spark import Split
from clickstream_assets.transforms.rules import (
    Rule,
    Transform,
    accepted,
    first_broken,
    keeps,
    longer_than_text,
    record_json,
    try_cast,
)

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_ORIGIN = ("pulled_at", "origin", "is_synthetic", "time_zone", "row_key", "source_file", "source_line")

#: a whole number that a bigint holds; nothing is trimmed here, and Java finds $ before a line's end too
_WHOLE = r"^[0-9]{1,18}\z"


def rules(report: Report) -> tuple[Rule, ...]:
    """Why a row of a report is rejected."""
    date_column = report.dimensions[DATE]
    labels = ", ".join(report.key) or "a dimension"
    metrics = [metric.column for metric in report.metrics]
    return (
        Rule(
            "bad_event_date",
            f"{date_column} is not the date of the landing folder, as YYYYMMDD or YYYY-MM-DD.",
            lambda: ~F.coalesce(_is_its_date(date_column), F.lit(False)),
        ),
        Rule("missing_dimension", f"{labels} is not there.", lambda: _any(F.col(c).isNull() for c in report.key)),
        Rule(
            "bad_encoding",
            "A dimension has a NUL character.",
            lambda: _any(F.col(c).contains("\0") for c in report.key),
        ),
        Rule(
            "bad_metric",
            f"{', '.join(metrics)}: not a whole number of at most 18 digits.",
            lambda: _any(_is_no_number(column) for column in metrics),
        ),
        Rule(
            "text_too_long",
            f"A dimension has more than {TEXT_BYTES:,} bytes in UTF-8.",
            lambda: longer_than_text(date_column, *report.key),
        ),
    )


def _is_its_date(column: str) -> Column:
    day = F.date_format("date", "yyyy-MM-dd")
    return (F.col(column) == day) | (F.col(column) == F.regexp_replace(day, "-", ""))


def _is_no_number(column: str) -> Column:
    # Null in a pull: it was made before the metric was asked for.
    there = F.col(column).isNotNull() | (F.col("origin") != "data_api")
    return there & ~F.coalesce(F.col(column).rlike(_WHOLE), F.lit(False))


def _any(conditions: object) -> Column:
    return reduce(operator.or_, conditions, F.lit(False))  # type: ignore[call-overload, no-any-return]


def clean(raw: DataFrame, report: Report) -> Split:
    """Type the rows of a report and split off those that break a rule.

    Grain: one row in, one row in either output. Labels are Google's, to the letter; dates are the property's.
    """
    checks = rules(report)
    kept = accepted(
        raw,
        checks,
        F.col("date").alias(report.dimensions[DATE]),
        *report.key,
        *(try_cast(F.col(metric.column), "bigint").alias(metric.column) for metric in report.metrics),
        *_ORIGIN,
        F.current_timestamp().alias("processed_at"),
        "date",
    )
    rejected = raw.where(~keeps(checks)).select(
        "source_file",
        "source_line",
        first_broken(checks).alias("rule"),
        record_json(*report.columns.values(), "extra").alias("payload"),
        F.current_timestamp().alias("quarantined_at"),
        F.col("date").alias("partition_date"),
    )
    return Split(kept, rejected)


@cache
def transform(name: str) -> Transform:
    """The transform of a report, by its name: one row per combination of its dimensions."""
    report = REPORTS[name]
    return Transform(rules(report), partial(clean, report=report), unique="row_key")


def __getattr__(name: str) -> Transform:
    """``GA4_EVENTS`` and so on: the transform of each report, by the name of its table."""
    for report in REPORTS.values():
        if report.table.upper() == name:
            return transform(report.name)
    raise AttributeError(name)
