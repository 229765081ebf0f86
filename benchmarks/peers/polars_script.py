"""The same work as a plain Polars script: bronze, silver and gold of one CSV file, lazy and streaming.

``python polars_script.py INPUT.csv OUTPUT_FOLDER`` prints one JSON line with the seconds of each phase. The day is
the ``ingestion_date=…`` folder that the input lies in. ``--journeys`` also writes ``user_journeys``, untimed: it is
a view where it is compared with.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path

import polars as pl
import polars_hash as plh

COLUMNS = ("UserID", "SessionID", "Timestamp", "EventType", "ProductID", "Amount", "Outcome")
NAMES_A_PRODUCT = ("product_view", "add_to_cart", "purchase")
MONEY = pl.Decimal(12, 2)
LARGEST = 9_999_999_999


def bronze(source: Path, target: Path, day: date) -> None:
    """Every record as text, with where it came from."""
    with source.open("rb") as content:
        content_hash = hashlib.file_digest(content, "sha256").hexdigest()
    rows = pl.scan_csv(source, infer_schema=False, row_index_name="record_number", row_index_offset=1)
    lineage = {
        "ingestion_timestamp": pl.lit(datetime.now(UTC)),
        "source_file": pl.lit(source.name),
        "content_hash": pl.lit(content_hash),
    }
    rows.select(*COLUMNS, pl.col("record_number").cast(pl.Int64), **lineage).sink_parquet(
        target / f"ingestion_date={day}" / "events.parquet", compression="snappy", mkdir=True
    )


def silver(source: Path, target: Path, rejected: Path, day: date) -> None:
    """Typed rows, and apart from them those that break a rule, with the first rule that they broke."""
    raw = pl.scan_parquet(source, hive_partitioning=True, hive_schema={"ingestion_date": pl.Date})
    text = {name: pl.col(name).str.strip_chars().replace("", None) for name in COLUMNS}
    number = pl.col("amount_text").cast(pl.Decimal(24, 10), strict=False)
    money = number.round(2, mode="half_away_from_zero")
    typed = (
        raw.with_columns(
            user_id=text["UserID"],
            session_id=text["SessionID"],
            event_type=text["EventType"],
            product_id=text["ProductID"],
            outcome=text["Outcome"],
            amount_text=text["Amount"],
            event_timestamp=timestamp(text["Timestamp"]),
        )
        .with_columns(amount=pl.when(money.is_between(0, LARGEST + 1, closed="left")).then(money).cast(MONEY))
        .with_columns(
            rule=pl.coalesce(
                pl.when(pl.col("user_id").is_null()).then(pl.lit("missing_user_id")),
                pl.when(pl.col("event_type").is_null()).then(pl.lit("missing_event_type")),
                pl.when(pl.col("product_id").is_null() & pl.col("event_type").is_in(NAMES_A_PRODUCT)).then(
                    pl.lit("missing_product_id")
                ),
                pl.when(pl.col("amount_text").is_null() & (pl.col("event_type") == "purchase")).then(
                    pl.lit("missing_amount")
                ),
                pl.when(pl.col("event_timestamp").is_null()).then(pl.lit("bad_timestamp")),
                pl.when(pl.col("amount_text").is_not_null() & pl.col("amount").is_null()).then(pl.lit("bad_amount")),
            )
        )
    )
    identity = plh.concat_str("content_hash", "record_number", separator=":").chash.sha2_256().str.head(32)
    accepted = typed.filter(pl.col("rule").is_null()).select(
        identity.alias("event_id"),
        "user_id",
        "session_id",
        "event_timestamp",
        pl.col("event_timestamp").dt.date().alias("event_date"),
        "event_type",
        "product_id",
        "amount",
        "outcome",
        "source_file",
        "record_number",
        pl.lit(datetime.now(UTC)).alias("processed_at"),
    )
    broken = typed.filter(pl.col("rule").is_not_null()).select(
        "source_file", "record_number", "rule", pl.struct(COLUMNS).struct.json_encode().alias("payload")
    )
    folder = f"ingestion_date={day}"
    sinks = [
        rows.sink_parquet(path / folder / "events.parquet", compression="snappy", mkdir=True, lazy=True)
        for rows, path in ((accepted, target), (broken, rejected))
    ]
    pl.collect_all(sinks, engine="streaming")


def timestamp(value: pl.Expr) -> pl.Expr:
    """``YYYY-MM-DD[T ]HH:MM:SS[.f][Z|±hh:mm]`` in UTC, without an offset meaning UTC; null for anything else."""
    spaced = value.str.replace("T", " ", literal=True)
    naive = spaced.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)
    zoned = spaced.str.to_datetime("%Y-%m-%d %H:%M:%S%.f%#z", time_unit="us", time_zone="UTC", strict=False)
    return pl.coalesce(naive.dt.replace_time_zone("UTC"), zoned)


def gold(source: Path, target: Path) -> None:
    """Entities and answers, a Parquet file each."""
    events = pl.scan_parquet(source)
    bought = pl.col("event_type") == "purchase"
    revenue = pl.col("amount").filter(bought).sum()
    user_days, sessions, products, event_types, funnel = pl.collect_all(
        [
            events.group_by("event_date", "user_id").agg(events=pl.len(), purchases=bought.sum(), revenue=revenue),
            events.filter(pl.col("session_id").is_not_null())
            .group_by("user_id", "session_id")
            .agg(
                session_start_time=pl.col("event_timestamp").min(),
                session_end_time=pl.col("event_timestamp").max(),
                event_count=pl.len(),
            ),
            events.filter(pl.col("product_id").is_not_null())
            .group_by("product_id")
            .agg(
                view_count=(pl.col("event_type") == "product_view").sum(),
                add_to_cart_count=(pl.col("event_type") == "add_to_cart").sum(),
                purchase_count=bought.sum(),
                revenue=revenue,
            ),
            events.select(pl.col("event_type").unique()),
            events.filter(pl.col("event_type").is_in(NAMES_A_PRODUCT)).select(
                "user_id", "event_type", "event_timestamp"
            ),
        ],
        engine="streaming",
    )
    user_totals = user_days.group_by("user_id").agg(
        first_seen_date=pl.col("event_date").min(),
        last_seen_date=pl.col("event_date").max(),
        total_events=pl.col("events").sum(),
        purchases=pl.col("purchases").sum(),
        revenue=pl.col("revenue").sum(),
    )
    tables = {
        "users": user_totals.select("user_id", "first_seen_date", "last_seen_date", "total_events"),
        "sessions": sessions.with_columns(
            duration_seconds=(pl.col("session_end_time") - pl.col("session_start_time")).dt.total_microseconds() / 1e6
        ),
        "products": products.select("product_id"),
        "event_types": event_types,
        "time": times(user_days),
        "top_products": products.sort("view_count", "product_id", descending=[True, False]).with_columns(
            rank=pl.int_range(1, pl.len() + 1)
        ),
        "conversion_funnel": conversion_funnel(funnel),
        "daily_active_users": user_days.group_by("event_date")
        .agg(day_type=day_type().first(), users=pl.len(), events=pl.col("events").sum())
        .with_columns(avg_events_per_user=pl.col("events") / pl.col("users")),
        "user_segments": user_segments(user_totals),
        "revenue_metrics": user_totals.select(
            total_purchasers=(pl.col("purchases") >= 1).sum(),
            repeat_purchasers=(pl.col("purchases") >= 2).sum(),
            total_revenue=pl.col("revenue").sum(),
            average_revenue_per_purchaser=ratio(pl.col("revenue").sum(), (pl.col("purchases") >= 1).sum()),
            average_order_value=ratio(pl.col("revenue").sum(), pl.col("purchases").sum()),
        ),
        "weekday_weekend": weekday_weekend(user_days),
    }
    target.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.write_parquet(target / f"{name}.parquet", compression="snappy")


def ratio(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    """A float; null when there is nothing to divide by."""
    return pl.when(denominator != 0).then(numerator.cast(pl.Float64) / denominator)


def day_type() -> pl.Expr:
    """Weekend on Saturdays and Sundays."""
    return pl.when(pl.col("event_date").dt.weekday() >= 6).then(pl.lit("Weekend")).otherwise(pl.lit("Weekday"))


def times(user_days: pl.DataFrame) -> pl.DataFrame:
    """The dates that have events."""
    day = pl.col("date").dt
    return user_days.select(date=pl.col("event_date").unique()).select(
        day.strftime("%Y%m%d").cast(pl.Int32).alias("date_key"),
        "date",
        day.year().alias("year"),
        day.month().alias("month"),
        day.day().alias("day"),
        day.weekday().alias("day_of_week"),
        (day.weekday() >= 6).alias("is_weekend"),
    )


def conversion_funnel(events: pl.DataFrame) -> pl.DataFrame:
    """How many users viewed, added and bought: in any order, and each after the step before."""
    viewed, added, bought = (
        events.filter(pl.col("event_type") == kind).select("user_id", at="event_timestamp") for kind in NAMES_A_PRODUCT
    )
    first_view = viewed.group_by("user_id").agg(since=pl.col("at").min())
    first_add = (
        added.join(first_view, on="user_id")
        .filter(pl.col("at") >= pl.col("since"))
        .group_by("user_id")
        .agg(since=pl.col("at").min())
    )
    then_bought = bought.join(first_add, on="user_id").filter(pl.col("at") >= pl.col("since"))
    counts = {
        "": [table["user_id"].n_unique() for table in (viewed, added, bought)],
        "ordered_": [table["user_id"].n_unique() for table in (first_view, first_add, then_bought)],
    }
    row: dict[str, float | int | None] = {}
    for order, (views, adds, buys) in counts.items():
        row |= {f"{order}users_viewed": views, f"{order}users_added": adds, f"{order}users_purchased": buys}
        row |= {
            f"{order}view_to_cart_rate": adds / views if views else None,
            f"{order}cart_to_purchase_rate": buys / adds if adds else None,
            f"{order}overall_rate": buys / views if views else None,
        }
    return pl.DataFrame([row])


def user_segments(user_totals: pl.DataFrame) -> pl.DataFrame:
    """Users by how active they are."""
    events = pl.col("total_events")
    segment = (
        pl.when(events >= 20)
        .then(pl.lit("High Activity"))
        .when(events >= 5)
        .then(pl.lit("Medium Activity"))
        .when(events >= 2)
        .then(pl.lit("Low Activity"))
        .otherwise(pl.lit("One-time Visitors"))
    )
    return user_totals.group_by(segment=segment).agg(
        user_count=pl.len(),
        avg_events=events.mean(),
        avg_purchases=pl.col("purchases").mean(),
        avg_spent=pl.col("revenue").sum().cast(pl.Float64) / pl.len(),
    )


def weekday_weekend(user_days: pl.DataFrame) -> pl.DataFrame:
    """Working days against weekends."""
    return (
        user_days.group_by(day_type=day_type())
        .agg(
            users=pl.col("user_id").n_unique(),
            events=pl.col("events").sum(),
            purchases=pl.col("purchases").sum(),
            revenue=pl.col("revenue").sum(),
        )
        .select(
            "day_type",
            "users",
            "events",
            ratio(pl.col("events"), pl.col("users")).alias("events_per_user"),
            "purchases",
            "revenue",
            ratio(pl.col("revenue"), pl.col("users")).alias("revenue_per_user"),
        )
    )


def user_journeys(source: Path, target: Path) -> None:
    """The events of users who bought, numbered."""
    events = pl.scan_parquet(source)
    purchasers = events.filter(pl.col("event_type") == "purchase").select("user_id").unique()
    events.join(purchasers, on="user_id", how="semi").sort("user_id", "event_timestamp", "event_id").select(
        "user_id",
        pl.int_range(1, pl.len() + 1).over("user_id").alias("step"),
        "event_id",
        "event_type",
        "product_id",
        "amount",
        "event_timestamp",
    ).sink_parquet(target / "user_journeys.parquet")


def main() -> None:
    """Run the phases one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--journeys", action="store_true")
    arguments = parser.parse_args()
    source, out = arguments.input, arguments.output
    day = date.fromisoformat(source.parent.name.removeprefix("ingestion_date="))
    marks = [time.perf_counter()]
    bronze(source, out / "bronze", day)
    marks.append(time.perf_counter())
    silver(out / "bronze", out / "silver", out / "rejected", day)
    marks.append(time.perf_counter())
    gold(out / "silver", out / "gold")
    marks.append(time.perf_counter())
    if arguments.journeys:
        user_journeys(out / "silver", out / "gold")
    took = [later - earlier for earlier, later in pairwise(marks)]
    print(json.dumps({"session": 0.0, **dict(zip(("bronze", "silver", "gold"), took, strict=True))}))


if __name__ == "__main__":
    main()
