"""Clickstream events: raw text → typed rows, and the rules that a row must keep."""

from __future__ import annotations

import hashlib
import importlib.metadata
from functools import cache, reduce
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import functions as F

from clickstream_assets.schemas import CLICKSTREAM_EVENT, TEXT_BYTES
from clickstream_assets.storage.spark import Split, fetched, frame
from clickstream_assets.transforms import rules
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
    text_of,
    try_cast,
)

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_QUANTITY = r"^[0-9]{1,10}(\.0+)?$"
_MOST = 2**31

#: digits that revenue has before the point
_REVENUE_DIGITS = 16

#: texts that a warehouse must be able to take
_TEXTS = (
    *("event_id", "event_type", "user_id", "session_id", "page_url", "referrer", "user_agent", "product_id"),
    *("currency", "properties", "extra"),
)

#: what the event itself has, as its payload in the quarantine shows it
_RECORD = (*(name for name in CLICKSTREAM_EVENT if name not in ("ip", "email")), "visitor_key", "email_key", "extra")

#: parameters by which advertisers recognise a click
CLICK_IDS = ("gclid", "dclid", "msclkid", "fbclid", "ttclid", "twclid", "li_fat_id", "yclid")

RULES = (
    Rule("missing_event_id", "event_id is empty.", lambda: missing("event_id")),
    Rule("missing_event_type", "event_type is empty.", lambda: missing("event_type")),
    Rule(
        "bad_timestamp",
        "timestamp is neither YYYY-MM-DD[T ]HH:MM:SS[.f][Z|±hh:mm] nor milliseconds since 1970, or there is none such.",
        lambda: F.col("event_ts").isNull(),
    ),
    Rule(
        "out_of_range",
        "timestamp is before CLICKSTREAM_START_DATE or more than a day after the file arrived.",
        lambda: F.to_date("event_ts") != F.col("event_date"),
    ),
    Rule(
        "bad_quantity",
        "quantity is not a whole number from 0 to 2,147,483,648.",
        lambda: ~missing("quantity") & ~F.coalesce(_quantity() <= _MOST, F.lit(False)),
    ),
    Rule(
        "bad_price",
        "price is not a number from 0 up to 9,999,999,999.99.",
        lambda: ~missing("price") & F.col("_price").isNull(),
    ),
    Rule(
        "revenue_too_large",
        "price × quantity is more than 9,999,999,999,999,999.99.",
        lambda: F.col("_revenue") >= F.lit(10**_REVENUE_DIGITS).cast("decimal(17,0)"),
    ),
    Rule(
        "text_too_long",
        f"A text of the event has more than {TEXT_BYTES:,} bytes in UTF-8.",
        lambda: longer_than_text(*_TEXTS),
    ),
)


def clean(robots: DataFrame, raw: DataFrame) -> Split:
    """Type the rows of ``clickstream_raw.events_raw`` and split off those that break a rule; see ``robots``.

    Grain: one row in, one row in either output; copies of an event are still there. Time stamps are UTC.
    """
    # What several columns or rules need is a column first: expressions are written out wherever they are used, and to
    # plan them takes as long as to clean 10,000 rows.
    raw = raw.withColumns({"_price": money("price"), "_url": text("page_url")})
    raw = raw.withColumn("_revenue", F.col("_price") * _quantity().cast("decimal(10,0)"))
    known = raw.join(F.broadcast(robots), raw.user_agent == robots._robot, "left")
    kept = accepted(
        known,
        RULES,
        "event_id",  # as it is, so that equal ids are found without this code
        text("event_type").alias("event_type"),
        text("user_id").alias("user_id"),
        text("session_id").alias("session_id"),
        "event_ts",
        "event_hour",
        F.col("_url").alias("page_url"),
        _path().alias("page_path"),
        *(
            _parameter(f"utm_{name}").alias(f"utm_{name}")
            for name in ("source", "medium", "campaign", "term", "content")
        ),
        _click_id().alias("click_id"),
        text("referrer").alias("referrer"),
        _host("referrer").alias("referrer_host"),
        text("user_agent").alias("user_agent"),
        F.col("_robot").isNotNull().alias("is_bot"),
        "visitor_key",
        "email_key",
        "pii_key_id",
        "ip_prefix",
        text("product_id").alias("product_id"),
        _quantity().alias("quantity"),
        F.col("_price").alias("price"),
        F.upper(text("currency")).alias("currency"),
        try_cast(F.col("_revenue"), "decimal(18,2)").alias("revenue"),
        text("properties").alias("properties"),
        "extra",
        F.col("ingestion_timestamp").alias("ingested_at"),
        "event_date",
    )
    rejected = raw.where(~keeps(RULES)).select(
        "source_file",
        "source_line",
        first_broken(RULES).alias("rule"),
        record_json(*_RECORD).alias("payload"),
        F.current_timestamp().alias("quarantined_at"),
        F.col("event_date").alias("partition_date"),
        F.col("event_hour").alias("partition_hour"),
    )
    return Split(kept, rejected)


def _quantity() -> Column:
    """A whole number, or null."""
    value = text("quantity")
    return F.when(value.rlike(_QUANTITY), try_cast(F.substring_index(value, ".", 1), "bigint"))


#: scheme, user, host and port of an address
_AUTHORITY = r"(?:[a-zA-Z][a-zA-Z0-9+.-]*:)?//[^/?#]*"


def _path() -> Column:
    """``/p/1`` of ``https://shop.example/p/1?a=b#c``; ``/`` where there is none."""
    path = F.regexp_replace(F.regexp_replace("_url", "(?s)[?#].*", ""), f"^{_AUTHORITY}", "")
    return F.when(path == "", F.lit("/")).otherwise(path)


def _host(column: str) -> Column:
    """Lower case, without ``www.``, user and port; null where the address names none."""
    host = F.lower(F.regexp_extract(text(column), "^(?:[a-zA-Z][a-zA-Z0-9+.-]*:)?//(?:[^/?#@]*@)?([^/?#:]+)", 1))
    bare = F.when(host.startswith("www."), F.substring(host, 5, TEXT_BYTES)).otherwise(host)
    return F.when(bare != "", bare)


def _parameter(name: str) -> Column:
    """A parameter of page_url, decoded; looked for where the address has its name at all.

    It stays as it is where an escape is none, which Java sees otherwise (it takes %+1 for %01), or where the bytes are
    not UTF-8: Java makes U+FFFD of them, Sail nothing.
    """
    url = F.col("_url")
    found = F.regexp_extract(F.when(url.contains(f"{name}="), url), f"^[^?#]*[?](?:[^#]*&)?{name}=([^&#]+)", 1)
    decode = getattr(F, "try_url_decode", None) or F.url_decode  # the latter in Spark 3.5
    decoded = decode(F.when(~found.rlike(_BROKEN_ESCAPE), found))
    return F.when(found != "", F.coalesce(text_of(F.when(~decoded.contains("\ufffd"), decoded)), found))


#: a per cent sign without two hexadecimal digits
_BROKEN_ESCAPE = "(?s)%([^0-9A-Fa-f]|[0-9A-Fa-f][^0-9A-Fa-f]|[0-9A-Fa-f]?$)"


def _click_id() -> Column:
    """The name of the first click parameter that page_url has."""
    url = F.col("_url")
    names = F.regexp_extract(F.when(url.contains("id="), url), f"[?&]({'|'.join(CLICK_IDS)})=[^&#]", 1)
    return F.when(names != "", names)


def robots(raw: DataFrame) -> DataFrame:
    """Those user agents of the rows in which a pattern of the list finds something, as ``_robot``."""
    agents = fetched(raw.select("user_agent").distinct().where("user_agent is not null"))["user_agent"]
    found = agents.filter(reduce(pc.or_, (pc.match_substring_regex(agents, some) for some in _patterns())))
    return frame(raw.sparkSession, pa.table({"_robot": found.cast(pa.string())}), "_robot string")


@cache
def _patterns() -> list[str]:
    """The 1,500 patterns of the list, a hundred at a time: with all in one, RE2 takes 310 µs for a text, and not 5."""
    from crawleruseragents import CRAWLER_USER_AGENTS_DATA

    patterns = [f"(?:{entry['pattern']})" for entry in CRAWLER_USER_AGENTS_DATA]
    return ["|".join(patterns[first : first + 100]) for first in range(0, len(patterns), 100)]


def _identity() -> str:
    """Of this code, of the grammars, and of the list of robots."""
    sources = (Path(__file__), Path(rules.__file__))
    robots = importlib.metadata.version("crawler-user-agents")
    return hashlib.sha256(b"\0".join([*(path.read_bytes() for path in sources), robots.encode()])).hexdigest()[:16]


EVENTS = Transform(RULES, clean, robots, unique="event_id", identity=_identity())
