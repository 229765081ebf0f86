"""E-commerce events: raw text → typed rows, and the rules that a row must keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from clickstream_assets.schemas import TEXT_BYTES
from clickstream_assets.storage.spark import Split
from clickstream_assets.transforms.rules import (
    Rule,
    Transform,
    accepted,
    first_broken,
    keeps,
    longer_than_text,
    missing,
    money,
    record_json,
    text,
    timestamp,
)

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_NAMES_A_PRODUCT = ("product_view", "add_to_cart", "purchase")
_RECORD = ("UserID", "SessionID", "Timestamp", "EventType", "ProductID", "Amount", "Outcome", "extra")

RULES = (
    Rule("missing_user_id", "UserID is empty.", lambda: missing("UserID")),
    Rule("missing_event_type", "EventType is empty.", lambda: missing("EventType")),
    Rule(
        "missing_product_id",
        "ProductID is empty on a product_view, add_to_cart or purchase.",
        lambda: missing("ProductID") & text("EventType").isin(*_NAMES_A_PRODUCT),
    ),
    Rule(
        "missing_amount",
        "Amount is empty on a purchase.",
        lambda: missing("Amount") & (text("EventType") == "purchase"),
    ),
    Rule(
        "bad_timestamp",
        "Timestamp is not YYYY-MM-DD[T ]HH:MM:SS[.f][Z|±hh:mm], or no such time exists.",
        lambda: timestamp("Timestamp").isNull(),
    ),
    Rule(
        "bad_amount",
        "Amount is not a number from 0 up to 9,999,999,999.99.",
        lambda: ~missing("Amount") & money("Amount").isNull(),
    ),
    Rule(
        "text_too_long",
        f"UserID, SessionID, EventType, ProductID or Outcome has more than {TEXT_BYTES:,} bytes in UTF-8.",
        lambda: longer_than_text("UserID", "SessionID", "EventType", "ProductID", "Outcome"),
    ),
)


def clean(raw: DataFrame) -> Split:
    """Type the rows of ``ecommerce_raw.events_raw`` and split off those that break a rule.

    Grain: one row in, one row in either output. Time stamps are UTC, amounts in the shop's currency.
    """
    kept = accepted(
        raw,
        RULES,
        F.substring(F.sha2(F.concat_ws(":", "content_hash", "record_number"), 256), 1, 32).alias("event_id"),
        text("UserID").alias("user_id"),
        text("SessionID").alias("session_id"),
        timestamp("Timestamp").alias("event_timestamp"),
        F.to_date(timestamp("Timestamp")).alias("event_date"),
        text("EventType").alias("event_type"),
        text("ProductID").alias("product_id"),
        money("Amount").alias("amount"),
        text("Outcome").alias("outcome"),
        "source_file",
        "source_line",
        F.current_timestamp().alias("processed_at"),
        "ingestion_date",
    )
    rejected = raw.where(~keeps(RULES)).select(
        "source_file",
        "source_line",
        first_broken(RULES).alias("rule"),
        record_json(*_RECORD).alias("payload"),
        F.current_timestamp().alias("quarantined_at"),
        F.col("ingestion_date").alias("partition_date"),
    )
    return Split(kept, rejected)


EVENTS = Transform(RULES, clean)
