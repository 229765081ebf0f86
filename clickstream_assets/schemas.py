"""The registry of tables: one definition from which Arrow, Spark and Iceberg schemas, views and docs are made.

Add a table here first; nothing else in the project spells out column types. Types are those on which Iceberg, Spark,
DuckDB and Redshift agree: text, 64-bit integers, decimals, dates and UTC microsecond time stamps. They are named by
their SQL type, so that loading the registry imports no engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

from clickstream_assets.errors import PublishError
from clickstream_assets.ga4.reports import DATE as GA4_DATE
from clickstream_assets.ga4.reports import REPORTS, Report
from clickstream_assets.grammars import EMAIL

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.schema import Schema
    from pyspark.sql.types import StructType

TEXT = "varchar"
INTEGER = "bigint"
DATE = "date"
TIMESTAMP = "timestamptz"
BOOLEAN = "boolean"
MONEY = "decimal(12,2)"
#: sums and products of money
REVENUE = "decimal(18,2)"

#: bytes of UTF-8 that a text of the warehouse may have: Redshift's limit, kept everywhere, so that a row is good or bad
#: wherever it goes
TEXT_BYTES = 65_535


@dataclass(frozen=True)
class Column:
    """One column: its name, SQL type and meaning."""

    name: str
    type: str
    description: str
    #: whether values come again, so that a dictionary of them is worth its making
    repeats: bool = True
    #: whether it tells of the loading; two rows that differ in nothing else are the same
    lineage: bool = False
    #: whether it names a person: kept by purpose, and shown nowhere but in its table
    personal: bool = False
    #: what the table's contract says of it: never null, no value below that, each text matches that (RE2's grammar)
    required: bool = False
    least: int | date | None = None
    pattern: str | None = None
    #: columns of the table before, or of the record, that it is made of, where that is not the one of its name
    made_of: tuple[str, ...] = ()


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
    #: the column with the UTC hour: of a large day each hour has a file of its own, and is made again alone
    hour: str | None = None
    #: no text has an e-mail or IP address in it: that is looked for before the rows are published
    pseudonymous: bool = False
    #: its rows are a property's answers, of which the newest whole one counts: that is looked at, too
    pulled: bool = False
    #: what its contract says of rows: no two of a day are equal in that column; the first of a pair is at most the
    #: second. A table with such words, or with columns that have them, is held to it before its rows are published.
    unique: str | None = None
    at_most: tuple[tuple[str, str], ...] = ()
    #: sums that are the same before and after each hop: by the name of the cleaned column, SQL of raw ones
    totals: Mapping[str, str] = field(default_factory=dict, hash=False)

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
    def payload(self) -> tuple[str, ...]:
        """The columns that say what a row is, and not when it was loaded."""
        return tuple(column.name for column in self.columns if not column.lineage)

    @property
    def day(self) -> str:
        """The partition column that holds the day."""
        return self.partition[-1]

    @property
    def personal(self) -> tuple[str, ...]:
        """The columns that name persons."""
        return tuple(column.name for column in self.columns if column.personal)

    @property
    def contract(self) -> bool:
        """Whether its rows are held to more than their types."""
        of_columns = any(c.required or c.least is not None or c.pattern is not None for c in self.columns)
        return of_columns or self.unique is not None or bool(self.at_most)

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
            BOOLEAN: pa.bool_(),
            MONEY: pa.decimal128(12, 2),
            REVENUE: pa.decimal128(18, 2),
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
            BOOLEAN: T.BooleanType(),
            MONEY: T.DecimalType(12, 2),
            REVENUE: T.DecimalType(18, 2),
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
            BOOLEAN: T.BooleanType(),
            MONEY: T.DecimalType(12, 2),
            REVENUE: T.DecimalType(18, 2),
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
        Column(
            "event_id",
            TEXT,
            "First 32 hex digits of SHA-256 over the file's content hash and the record number.",
            repeats=False,
            made_of=("content_hash", "record_number"),
        ),
        Column("user_id", TEXT, "The shop's user id."),
        Column("session_id", TEXT, "Session number of that user; unique together with user_id only."),
        Column("event_timestamp", TIMESTAMP, "When the event happened, UTC, microseconds.", made_of=("Timestamp",)),
        Column("event_date", DATE, "UTC date of event_timestamp.", made_of=("Timestamp",)),
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

#: keys of an event, of which raw keeps all but the two that name a person
CLICKSTREAM_EVENT = (
    *("event_id", "event_type", "user_id", "session_id", "timestamp", "page_url", "referrer", "user_agent"),
    *("ip", "email", "product_id", "quantity", "price", "currency", "properties"),
)

#: origins of pseudonyms: as the record has them, and in tables after that the pseudonyms themselves
_OF_ADDRESS, _OF_EMAIL = ("ip",), ("email",)

#: what stands in raw in the place of a visitor's e-mail and IP address
PSEUDONYMS = (
    Column(
        "visitor_key", TEXT, "HMAC-SHA256 of the IP address, hex; null where the event has none.", made_of=_OF_ADDRESS
    ),
    Column(
        "email_key", TEXT, "HMAC-SHA256 of the e-mail address, hex; null where the event has none.", made_of=_OF_EMAIL
    ),
    Column("pii_key_id", TEXT, "Which key the two were made with."),
    Column("ip_prefix", TEXT, "The network of the IP address: its /24, or /48 of IPv6.", made_of=_OF_ADDRESS),
)

CLICKSTREAM_RAW = Table(
    name="clickstream_raw.events_raw",
    domain="clickstream",
    lake="clickstream_raw.events_raw",
    external="spectrum_clickstream.events_raw",
    partition=("event_date", "arrival_date"),
    hour="event_hour",
    pseudonymous=True,
    description="One row per event as it arrived, as text, without e-mail and IP addresses.",
    columns=(
        Column("event_id", TEXT, "The sender's id of the event.", repeats=False),
        Column("event_type", TEXT, "page_view, product_view, add_to_cart, purchase, …"),
        Column("user_id", TEXT, "Who did it, once logged in."),
        Column("session_id", TEXT, "The sender's id of the visit, where it keeps one."),
        Column("timestamp", TEXT, "When it happened: ISO 8601, or milliseconds since 1970.", repeats=False),
        Column("page_url", TEXT, "The page."),
        Column("referrer", TEXT, "The page from which the visitor came."),
        Column("user_agent", TEXT, "The browser, by its own account."),
        Column("product_id", TEXT, "The product, on product events."),
        Column("quantity", TEXT, "How many."),
        Column("price", TEXT, "Price of one."),
        Column("currency", TEXT, "Of the price."),
        Column("properties", TEXT, "JSON object of what else the sender tells."),
        *PSEUDONYMS,
        Column(
            "event_ts",
            TIMESTAMP,
            "`timestamp` as a time, UTC; null where it is none.",
            repeats=False,
            made_of=("timestamp",),
        ),
        Column(
            "event_hour",
            INTEGER,
            "UTC hour of event_ts, 0 to 23; 0 where the row is filed under its arrival.",
            made_of=("timestamp",),
        ),
        *LINEAGE,
        Column(
            "event_date",
            DATE,
            "Partition: UTC date of event_ts; the arrival date where that is none, or out of range.",
            made_of=("timestamp",),
        ),
        Column("arrival_date", DATE, "Partition: the day the file arrived, from its landing path."),
    ),
)

CLICKSTREAM_CLEANED = Table(
    name="clickstream.events_cleaned",
    domain="clickstream",
    lake="clickstream_cleaned.events_cleaned",
    warehouse="clickstream.events_cleaned",
    # As Athena calls it, so that a saved query runs there and here.
    external="clickstream_cleaned.events_cleaned",
    partition=("event_date",),
    # Sessions, attribution and cohorts group by visitor; a load replaces a day, and dbt reads whole days.
    dist="user_id",
    sort=("event_date", "event_ts"),
    hour="event_hour",
    pseudonymous=True,
    description="One row per valid event, typed; of those that share an event_id the one with the greatest hash.",
    columns=(
        Column("event_id", TEXT, "The sender's id of the event; unique within its event_date.", repeats=False),
        Column("event_type", TEXT, "page_view, product_view, add_to_cart, purchase, …"),
        Column("user_id", TEXT, "Who did it, once logged in; null before."),
        Column("session_id", TEXT, "The sender's id of the visit; null where it keeps none."),
        Column("event_ts", TIMESTAMP, "When it happened, UTC, microseconds.", repeats=False),
        Column("event_hour", INTEGER, "UTC hour of event_ts, 0 to 23."),
        Column("page_url", TEXT, "The page."),
        Column("page_path", TEXT, "Path of page_url, without query and fragment.", made_of=("page_url",)),
        Column("utm_source", TEXT, "Parameter of page_url, decoded; null where there is none.", made_of=("page_url",)),
        Column("utm_medium", TEXT, "Parameter of page_url, decoded; null where there is none.", made_of=("page_url",)),
        Column(
            "utm_campaign", TEXT, "Parameter of page_url, decoded; null where there is none.", made_of=("page_url",)
        ),
        Column("utm_term", TEXT, "Parameter of page_url, decoded; null where there is none.", made_of=("page_url",)),
        Column("utm_content", TEXT, "Parameter of page_url, decoded; null where there is none.", made_of=("page_url",)),
        Column(
            "click_id",
            TEXT,
            "Name of the advertiser's click parameter in page_url: gclid, fbclid, …; not its value.",
            made_of=("page_url",),
        ),
        Column("referrer", TEXT, "The page from which the visitor came."),
        Column("referrer_host", TEXT, "Host of referrer, lower case, without www.", made_of=("referrer",)),
        Column("user_agent", TEXT, "The browser, by its own account."),
        Column("is_bot", BOOLEAN, "Whether user_agent is that of a known robot.", made_of=("user_agent",)),
        *PSEUDONYMS,
        Column("product_id", TEXT, "The product; null where the event has none."),
        Column("quantity", INTEGER, "How many; null where the event has none."),
        Column("price", MONEY, "Price of one, rounded half up to two decimals."),
        Column("currency", TEXT, "Of the price, upper case."),
        Column("revenue", REVENUE, "price × quantity; null where one of them is.", made_of=("price", "quantity")),
        Column("properties", TEXT, "JSON object of what else the sender tells."),
        Column("extra", TEXT, "JSON object of keys that the event should not have; null when there are none."),
        Column(
            "ingested_at",
            TIMESTAMP,
            "When the raw row was loaded, UTC.",
            lineage=True,
            made_of=("ingestion_timestamp",),
        ),
        Column("event_date", DATE, "Partition: UTC date of event_ts."),
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
        Column("partition_hour", INTEGER, "Hour of partition_date among whose rows it is; null where there are none."),
    ),
)

#: what is known of where a GA4 row comes from
_PULLED = (
    Column("pulled_at", TIMESTAMP, "When Google was asked, UTC; null for rows of AppFlow, which does not tell."),
    Column("origin", TEXT, "data_api or appflow."),
    Column("is_synthetic", BOOLEAN, "Whether the numbers are made up, for want of a property."),
    Column("time_zone", TEXT, "The property's, to which the date belongs."),
    Column("row_key", TEXT, "First 32 hex digits of SHA-256 over the dimensions: tells the rows of a date apart."),
    Column("source_file", TEXT, "Path of the landing file, relative to the landing root."),
    Column("source_line", INTEGER, "Physical line on which the row starts; null where the file does not show it."),
)


def ga4_raw(report: Report) -> Table:
    """The raw table of a report: the newest whole pull of each date, as text."""
    return Table(
        name=f"analytics_raw.{report.name}_raw",
        domain="ga4",
        lake=f"analytics_raw.{report.name}_raw",
        external=f"spectrum_analytics.{report.name}_raw",
        partition=("date",),
        pulled=True,
        description=f"One row per row of the report {report.name}, as text. {report.description}",
        columns=(
            *(
                Column(column, TEXT, f"`{name}` of the Data API.", made_of=(name,))
                for name, column in report.columns.items()
            ),
            Column("processed_at", TIMESTAMP, "When this row was loaded, UTC."),
            *_PULLED,
            Column("record_number", INTEGER, "Position of the row in its file, from 1."),
            Column("content_hash", TEXT, "SHA-256 of the landing file, hex."),
            Column("extra", TEXT, "JSON object of fields that the report does not know; null when there are none."),
            Column("date", DATE, "Partition: the property's calendar date, from the landing path."),
        ),
    )


def ga4_cleaned(report: Report) -> Table:
    """The cleaned table of a report: typed, one row per combination of its dimensions."""
    return Table(
        name=f"analytics_cleaned.{report.table}",
        domain="ga4",
        lake=f"analytics_cleaned.{report.table}",
        warehouse=f"analytics_cleaned.{report.table}",
        partition=("date",),
        sort=("date",),
        description=f"One row per date and combination of the report's dimensions, typed. {report.description}",
        columns=(
            *(
                Column(column, DATE, f"`{name}` of the Data API.", made_of=("date",))
                if name == GA4_DATE
                else Column(column, TEXT, f"`{name}` of the Data API.")
                for name, column in report.dimensions.items()
            ),
            *(Column(metric.column, INTEGER, f"`{metric.name}` of the Data API.") for metric in report.metrics),
            *_PULLED,
            Column("processed_at", TIMESTAMP, "When this row was cleaned, UTC.", lineage=True),
            Column("date", DATE, "Partition: the same as event_date."),
        ),
    )


#: a quota's tokens before and after a pull, by the API's name
GA4_QUOTAS = {
    "tokensPerDay": "tokens_per_day",
    "tokensPerHour": "tokens_per_hour",
    "tokensPerProjectPerHour": "tokens_per_project_per_hour",
}
_GA4_METRICS = {metric.column: metric for report in REPORTS.values() for metric in report.metrics}

GA4_PULLS = Table(
    name="analytics.ga4_pulls",
    domain="ga4",
    lake="analytics_raw.ga4_pulls",
    warehouse="analytics.ga4_pulls",
    partition=("date",),
    sort=("date",),
    description="One row per pull of a report and date: what Google says of its quality, and how far numbers moved.",
    columns=(
        Column("report", TEXT, "The report, such as ga_events."),
        Column("event_date", DATE, "The property's calendar date that was asked for."),
        Column("pulled_at", TIMESTAMP, "When Google was asked, UTC; null for AppFlow."),
        Column("origin", TEXT, "data_api or appflow."),
        Column("status", TEXT, "published, superseded, incomplete, other_time_zone or unreadable."),
        Column("reason", TEXT, "Why it cannot be used; null where it can."),
        Column("pages", INTEGER, "Files that it landed in."),
        Column("rows", INTEGER, "Rows that landed."),
        Column("row_count", INTEGER, "Rows that there are, as Google says; null for AppFlow."),
        Column("repeated_rows", INTEGER, "Rows whose dimensions an earlier row of the pull has."),
        Column("data_loss_from_other_row", BOOLEAN, "Whether rows were put together as (other)."),
        Column("is_sampled", BOOLEAN, "Whether the numbers are estimated from a sample."),
        Column("samples_read", INTEGER, "Events in the sample; null when unsampled."),
        Column("sampling_space", INTEGER, "Events that it stands for; null when unsampled."),
        Column("subject_to_thresholding", BOOLEAN, "Whether rows may be withheld, so that no person can be told."),
        Column("empty_reason", TEXT, "Why there are no rows, where Google says; null otherwise."),
        Column("time_zone", TEXT, "The property's at that time."),
        Column("currency", TEXT, "The property's at that time."),
        *(
            Column(f"{name}_{when}", INTEGER, f"`{quota}` that was left {when} the pull.")
            for quota, name in GA4_QUOTAS.items()
            for when in ("before", "after")
        ),
        Column("server_errors_left", INTEGER, "How many failed requests the property allows within the hour."),
        *(
            Column(
                name,
                INTEGER,
                f"Sum of `{metric.name}`." if metric.additive else f"`{metric.name}` of the day, of daily pulls.",
            )
            for name, metric in _GA4_METRICS.items()
        ),
        Column("rows_change", INTEGER, "Against the previous whole pull of the report and date; null for the first."),
        *(Column(f"{name}_change", INTEGER, f"The same of {name}.") for name in _GA4_METRICS),
        Column("is_synthetic", BOOLEAN, "Whether the numbers are made up, for want of a property."),
        Column("source_file", TEXT, "The first of its landing files."),
        Column("processed_at", TIMESTAMP, "When the pull was looked at last, UTC.", lineage=True),
        Column("date", DATE, "Partition: the same as event_date."),
    ),
)

GA4_TABLES = {report.name: (ga4_raw(report), ga4_cleaned(report)) for report in REPORTS.values()}

#: what is known of where a cleaned sales row comes from, and the day of its snapshot
_SALES_LINEAGE = (
    Column("extra", TEXT, "JSON object of the file's columns that the table does not know; null when there are none."),
    Column("source_file", TEXT, "Path of the landing file, relative to the landing root.", required=True),
    Column("source_line", INTEGER, "Physical line on which the record starts.", required=True, least=1),
    Column("processed_at", TIMESTAMP, "When this row was cleaned, UTC.", lineage=True, required=True),
    Column("load_date", DATE, "Partition: the day of the snapshot, from its landing path.", required=True),
)


def _sales(
    name: str, row: str, columns: Sequence[Column], totals: Mapping[str, str] | None = None, **contract: Any
) -> tuple[Table, Table]:
    """The raw and the cleaned table of what arrives as ``name``; ``row``: what a row is. The first column is the key.

    Both have the file's columns under the same names; those that are computed are not in raw.
    """
    computed = {"gross_amount", "net_amount"}
    raw = Table(
        name=f"sales_raw.{name}_raw",
        domain="sales",
        lake=f"sales_raw.{name}_raw",
        external=f"spectrum_sales.{name}_raw",
        partition=("load_date",),
        description=f"One row per {row} of a day's files, as text, exactly as it arrived.",
        columns=(
            *(Column(c.name, TEXT, c.description, personal=c.personal) for c in columns if c.name not in computed),
            *LINEAGE,
            Column("load_date", DATE, "Partition: the day of the snapshot, from its landing path."),
        ),
        totals=totals or {},
    )
    cleaned = Table(
        name=f"sales_cleaned.{name}_cleaned",
        domain="sales",
        lake=f"sales_cleaned.{name}_cleaned",
        warehouse=f"sales_cleaned.{name}_cleaned",
        partition=("load_date",),
        # Members and facts are found by their key; a load replaces a day, and dbt reads whole days.
        dist=columns[0].name,
        sort=("load_date", columns[0].name),
        unique=columns[0].name,
        description=f"One row per {row} and day, typed; of those that share a key the one with the greatest hash.",
        columns=(*columns, *_SALES_LINEAGE),
        totals=totals or {},
        **contract,
    )
    return raw, cleaned


SALES_CUSTOMERS_RAW, SALES_CUSTOMERS_CLEANED = _sales(
    "customers",
    "customer",
    (
        Column("customer_id", TEXT, "The customer; unique within a day.", repeats=False, required=True),
        Column("first_name", TEXT, "First name.", personal=True),
        Column("last_name", TEXT, "Last name.", personal=True),
        Column("email", TEXT, "E-mail address; null where none is known.", False, personal=True, pattern=EMAIL),
        Column("city", TEXT, "City of the customer."),
        Column("state", TEXT, "State of the customer."),
    ),
)

SALES_PRODUCTS_RAW, SALES_PRODUCTS_CLEANED = _sales(
    "products",
    "product",
    (
        Column("product_id", TEXT, "The product; unique within a day.", required=True),
        Column("product_name", TEXT, "What it is called."),
        Column("category", TEXT, "Its category."),
        Column("subcategory", TEXT, "Its category within the category."),
        Column("brand", TEXT, "Who makes it."),
        Column("unit_price", MONEY, "Price of one, rounded half up to two decimals.", required=True, least=0),
    ),
)

SALES_LOCATIONS_RAW, SALES_LOCATIONS_CLEANED = _sales(
    "locations",
    "location",
    (
        Column("location_id", TEXT, "The location; unique within a day.", required=True),
        Column("store_name", TEXT, "What the store is called."),
        Column("city", TEXT, "City of the store."),
        Column("state", TEXT, "State of the store."),
        Column("region", TEXT, "Region of the store."),
        Column("country", TEXT, "Country of the store."),
    ),
)

#: the first day on which a sale may be
SALES_SINCE = date(2000, 1, 1)

SALES_SALES_RAW, SALES_SALES_CLEANED = _sales(
    "sales",
    "sale",
    (
        Column("sale_id", TEXT, "The sale; unique within a day.", repeats=False, required=True),
        Column("sale_date", DATE, "Day of the sale.", required=True, least=SALES_SINCE),
        Column("customer_id", TEXT, "Who bought.", required=True),
        Column("product_id", TEXT, "What was sold.", required=True),
        Column("location_id", TEXT, "Where.", required=True),
        Column("quantity", INTEGER, "How many.", required=True, least=1),
        Column("unit_price", MONEY, "Price of one, rounded half up to two decimals.", required=True, least=0),
        Column("discount", MONEY, "Taken off gross_amount; 0 where the file has none.", required=True, least=0),
        Column("tax_amount", MONEY, "Tax on the sale; 0 where the file has none.", required=True, least=0),
        Column(
            "gross_amount",
            REVENUE,
            "quantity × unit_price.",
            required=True,
            least=0,
            made_of=("quantity", "unit_price"),
        ),
        Column(
            "net_amount",
            REVENUE,
            "gross_amount less discount, and tax_amount.",
            required=True,
            least=0,
            made_of=("quantity", "unit_price", "discount", "tax_amount"),
        ),
    ),
    at_most=(("discount", "gross_amount"),),
    totals={
        "gross_amount": "quantity * unit_price",
        "discount": "discount",
        "tax_amount": "tax_amount",
        "net_amount": "quantity * unit_price - discount + tax_amount",
    },
)

SALES_TABLES = (
    *(SALES_CUSTOMERS_RAW, SALES_CUSTOMERS_CLEANED, SALES_PRODUCTS_RAW, SALES_PRODUCTS_CLEANED),
    *(SALES_LOCATIONS_RAW, SALES_LOCATIONS_CLEANED, SALES_SALES_RAW, SALES_SALES_CLEANED),
)

#: every change of the tables whose changes are taken, as ``cdc`` reads them of whatever file
CDC_CHANGES = Table(
    name="cdc_raw.changes",
    domain="cdc",
    lake="cdc_raw.changes",
    partition=("target", "first_seen"),
    description="One row per change of a table of another database, and per row of its full loads; every one is kept.",
    columns=(
        Column("kind", TEXT, "`change`, or `load` for a row of a full load."),
        Column("op", TEXT, "I, U or D; L for a row of a full load."),
        Column("reason", TEXT, "`ttl` where DynamoDB deleted an item whose time had passed; else null."),
        Column("key", TEXT, "The primary key: a JSON array of its values as text.", repeats=False, personal=True),
        Column("old_key", TEXT, "The key before, where the change gave the row another one; else null.", personal=True),
        Column("before", TEXT, "The row before: a JSON object, each value as text or null; else null.", personal=True),
        Column("after", TEXT, "The row after: the same; null of a delete.", repeats=False, personal=True),
        Column("types", TEXT, "JSON object: the SQL type that the source has of each column of before and after."),
        Column("committed_at", TIMESTAMP, "When it happened at the source, UTC; null where that is not known."),
        Column("sequence", TEXT, "Its number in the source's order, 48 digits; empty where there is none."),
        Column("file_name", TEXT, "Name of the landing file without its folder: orders what has no number."),
        Column("source_line", INTEGER, "Its place in the file: the physical line; of Parquet the row, from 1."),
        Column("source_file", TEXT, "Path of the landing file, relative to the landing root."),
        Column("processed_at", TIMESTAMP, "When this row was loaded, UTC."),
        Column("target", TEXT, "Partition: the table here that it changes."),
        Column("first_seen", DATE, "Partition: UTC date on which the file was first seen."),
    ),
)

TABLES = [
    *(ECOMMERCE_RAW, ECOMMERCE_CLEANED, CLICKSTREAM_RAW, CLICKSTREAM_CLEANED),
    *(table for of_report in GA4_TABLES.values() for table in of_report),
    *(GA4_PULLS, *SALES_TABLES, CDC_CHANGES, QUARANTINE),
]


def table(name: str) -> Table:
    """The registered table of that ledger name.

    Raises:
        KeyError: there is none.
    """
    return {t.name: t for t in TABLES}[name]
