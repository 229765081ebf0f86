"""The registry of tables: one definition from which Arrow, Spark and Iceberg schemas, views and docs are made.

Add a table here first; nothing else in the project spells out column types. Types are those on which Iceberg, Spark,
DuckDB and Redshift agree: text, 64-bit integers, decimals, dates and UTC microsecond time stamps. They are named by
their SQL type, so that loading the registry imports no engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from clickstream_assets.errors import PublishError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.schema import Schema
    from pyspark.sql.types import StructType

TEXT = "varchar"
INTEGER = "bigint"
DATE = "date"
TIMESTAMP = "timestamptz"
MONEY = "decimal(12,2)"

#: bytes of UTF-8 that a text of the warehouse may have: Redshift's limit, kept everywhere, so that a row is good or bad
#: wherever it goes
TEXT_BYTES = 65_535


@dataclass(frozen=True)
class Column:
    """One column: its name, SQL type and meaning."""

    name: str
    type: str
    description: str


@dataclass(frozen=True)
class Table:
    """One published table.

    ``name`` is the name in the ledger, in Dagster and, where ``warehouse`` is set, in the warehouse;
    ``lake`` is the Iceberg table that holds the rows; ``partition`` are its partition columns, the day last.
    """

    name: str
    domain: str
    lake: str
    columns: tuple[Column, ...]
    partition: tuple[str, ...]
    description: str
    #: the warehouse relation with these rows, where analysts and dbt read them
    warehouse: str | None = None
    #: the name under which the warehouse shows the lake's files without loading them
    external: str | None = None
    #: on Redshift: the column whose equal values are kept together, and those by which rows are sorted
    dist: str | None = None
    sort: tuple[str, ...] = ()

    @property
    def key(self) -> list[str]:
        """The Dagster asset key: two parts, schema and table."""
        return self.name.split(".")

    @property
    def record(self) -> tuple[str, ...]:
        """The columns that come from the record itself, as text: of a raw table, all that are not lineage."""
        made_here = {column.name for column in LINEAGE} | set(self.partition)
        return tuple(column.name for column in self.columns if column.name not in made_here)

    @property
    def day(self) -> str:
        """The partition column that holds the day."""
        return self.partition[-1]

    def appended(self, known: Sequence[str], place: str) -> tuple[Column, ...]:
        """The columns that were registered after those that a store has; ``place`` says where, for the message.

        Files go to tables by position on Redshift, so a column may only be appended.

        Raises:
            PublishError: the store has other columns than the registry, or has them in another order.
        """
        known, wanted = [name.lower() for name in known], [column.name.lower() for column in self.columns]
        if known == wanted[: len(known)]:
            return self.columns[len(known) :]
        if gone := [name for name in known if name not in wanted]:
            raise PublishError(
                f"{place} has columns that the registry has not: {', '.join(gone)}. Give them back, or drop the table "
                "and run its days again."
            )
        new = [name for name in wanted[: len(known)] if name not in known]
        moved = f"move {', '.join(new)} to the end" if new else f"put them in the order {', '.join(known)}"
        raise PublishError(f"{place}: the registry may only append columns to those that are there: {moved}.")

    @cached_property
    def arrow(self) -> pa.Schema:
        """Column names and types in their published order; all nullable."""
        import pyarrow as pa

        types = {
            TEXT: pa.string(),
            INTEGER: pa.int64(),
            DATE: pa.date32(),
            TIMESTAMP: pa.timestamp("us", tz="UTC"),
            MONEY: pa.decimal128(12, 2),
        }
        return pa.schema([(column.name, types[column.type]) for column in self.columns])

    @cached_property
    def spark(self) -> StructType:
        """The same as a Spark schema, for reads that must not depend on what a file happens to contain."""
        from pyspark.sql import types as T

        types = {
            TEXT: T.StringType(),
            INTEGER: T.LongType(),
            DATE: T.DateType(),
            TIMESTAMP: T.TimestampType(),
            MONEY: T.DecimalType(12, 2),
        }
        return T.StructType([T.StructField(column.name, types[column.type], True) for column in self.columns])

    @cached_property
    def iceberg(self) -> Schema:
        """The same as an Iceberg schema; field ids count from 1 in column order."""
        from pyiceberg import types as T
        from pyiceberg.schema import Schema

        types = {
            TEXT: T.StringType(),
            INTEGER: T.LongType(),
            DATE: T.DateType(),
            TIMESTAMP: T.TimestamptzType(),
            MONEY: T.DecimalType(12, 2),
        }
        return Schema(
            *(
                T.NestedField(n, column.name, types[column.type], required=False, doc=column.description)
                for n, column in enumerate(self.columns, start=1)
            )
        )


#: what every raw table has beside the record
LINEAGE = (
    Column("ingestion_timestamp", TIMESTAMP, "When this row was loaded, UTC."),
    Column("source_file", TEXT, "Path of the landing file, relative to the landing root."),
    Column("source_line", INTEGER, "Physical line on which the record starts; the header is line 1."),
    Column("record_number", INTEGER, "Position of the record in its file, from 1; broken records count too."),
    Column("content_hash", TEXT, "SHA-256 of the landing file's content, decompressed, hex."),
    Column("extra", TEXT, "JSON object of the file's columns that the table does not know; null when there are none."),
)

ECOMMERCE_RAW = Table(
    name="ecommerce_raw.events_raw",
    domain="ecommerce",
    lake="ecommerce_raw.events_raw",
    external="spectrum_ecommerce.events_raw",
    partition=("ingestion_date",),
    description="One row per record of an e-commerce export, as text, exactly as it arrived.",
    columns=(
        Column("UserID", TEXT, "The shop's user id."),
        Column("SessionID", TEXT, "Session number of that user, from 1."),
        Column("Timestamp", TEXT, "When the event happened."),
        Column("EventType", TEXT, "page_view, product_view, add_to_cart, purchase, …"),
        Column("ProductID", TEXT, "The product, on product events."),
        Column("Amount", TEXT, "Money paid, on purchases."),
        Column("Outcome", TEXT, "What came of it, where the shop says."),
        *LINEAGE,
        Column("ingestion_date", DATE, "Partition: the day the file arrived, from its landing path."),
    ),
)

ECOMMERCE_CLEANED = Table(
    name="ecommerce.events_cleaned",
    domain="ecommerce",
    lake="ecommerce_cleaned.events_cleaned",
    warehouse="ecommerce.events_cleaned",
    partition=("ingestion_date",),
    # Sessions, segments, funnel and journeys group by user; a load replaces a day, and dbt reads whole days.
    dist="user_id",
    sort=("ingestion_date", "event_timestamp"),
    description="One row per valid e-commerce event, typed.",
    columns=(
        Column("event_id", TEXT, "First 32 hex digits of SHA-256 over the file's content hash and the record number."),
        Column("user_id", TEXT, "The shop's user id."),
        Column("session_id", TEXT, "Session number of that user; unique together with user_id only."),
        Column("event_timestamp", TIMESTAMP, "When the event happened, UTC, microseconds."),
        Column("event_date", DATE, "UTC date of event_timestamp."),
        Column("event_type", TEXT, "page_view, product_view, add_to_cart, purchase, …"),
        Column("product_id", TEXT, "The product; null where the event has none."),
        Column("amount", MONEY, "Money paid, rounded half up to two decimals; null where the event has none."),
        Column("outcome", TEXT, "What came of it; null where the shop does not say."),
        Column("source_file", TEXT, "Path of the landing file, relative to the landing root."),
        Column("source_line", INTEGER, "Physical line on which the record starts."),
        Column("processed_at", TIMESTAMP, "When this row was cleaned, UTC."),
        Column("ingestion_date", DATE, "Partition: the day the file arrived."),
    ),
)

QUARANTINE = Table(
    name="ops.quarantine",
    domain="ops",
    lake="ops.quarantine",
    warehouse="ops.quarantine",
    partition=("asset", "partition_date"),
    # Small, and never joined: Redshift may place it as it likes. Replaced and looked at by day.
    sort=("partition_date", "asset"),
    description="One row per rejected record, with the rule that it broke; replaced together with its partition.",
    columns=(
        Column("asset", TEXT, "The table that did not take the record."),
        Column("source_file", TEXT, "Path of the landing file, relative to the landing root."),
        Column("source_line", INTEGER, "Physical line on which the record starts; null for a whole file."),
        Column("rule", TEXT, "The first rule that the record broke."),
        Column("payload", TEXT, "The record as JSON, or its text where it could not be read as a record."),
        Column("run_id", TEXT, "The run that rejected it."),
        Column("quarantined_at", TIMESTAMP, "When it was rejected, UTC."),
        Column("partition_date", DATE, "The partition that did not take it."),
    ),
)

TABLES = [ECOMMERCE_RAW, ECOMMERCE_CLEANED, QUARANTINE]


def table(name: str) -> Table:
    """The registered table of that ledger name.

    Raises:
        KeyError: there is none.
    """
    return {t.name: t for t in TABLES}[name]
