"""The same work as a plain PySpark script on a JVM: bronze, silver and gold of one CSV file, on all cores.

``python pyspark_jvm.py INPUT.csv OUTPUT_FOLDER`` prints one JSON line with the seconds of each phase. The day is the
``ingestion_date=…`` folder that the input lies in. ``--journeys`` also writes ``user_journeys``, untimed: it is a view
where it is compared with. Records are numbered without a shuffle, so the numbers of a large file have gaps.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from datetime import date
from itertools import pairwise
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

COLUMNS = ("UserID", "SessionID", "Timestamp", "EventType", "ProductID", "Amount", "Outcome")
NAMES_A_PRODUCT = ("product_view", "add_to_cart", "purchase")
TIMESTAMP = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?$"


def session() -> SparkSession:
    """Spark on all cores of this machine."""
    return (
        SparkSession.builder.master("local[*]")
        .appName("clickstream")
        .config("spark.ui.enabled", False)
        .config("spark.driver.memory", "4g")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", 4)
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
        .getOrCreate()
    )


def bronze(spark: SparkSession, source: Path, target: Path, day: date) -> None:
    """Every record as text, with where it came from."""
    with source.open("rb") as content:
        content_hash = hashlib.file_digest(content, "sha256").hexdigest()
    schema = T.StructType([T.StructField(name, T.StringType()) for name in COLUMNS])
    rows = spark.read.csv(str(source), schema=schema, header=True, escape='"').select(
        *COLUMNS,
        (F.monotonically_increasing_id() + 1).alias("record_number"),
        F.current_timestamp().alias("ingestion_timestamp"),
        F.lit(source.name).alias("source_file"),
        F.lit(content_hash).alias("content_hash"),
        F.lit(day).alias("ingestion_date"),
    )
    rows.write.mode("overwrite").partitionBy("ingestion_date").parquet(str(target))


def silver(spark: SparkSession, source: Path, target: Path, rejected: Path) -> None:
    """Typed rows, and apart from them those that break a rule, with the first rule that they broke."""
    number = F.col("amount_text").try_cast("decimal(24,10)")
    typed = spark.read.parquet(str(source)).select(
        "content_hash",
        "source_file",
        "record_number",
        "ingestion_date",
        F.struct(*COLUMNS).alias("record"),
        text("UserID").alias("user_id"),
        text("SessionID").alias("session_id"),
        text("EventType").alias("event_type"),
        text("ProductID").alias("product_id"),
        text("Outcome").alias("outcome"),
        text("Amount").alias("amount_text"),
        F.when(text("Timestamp").rlike(TIMESTAMP), text("Timestamp").try_cast("timestamp")).alias("event_timestamp"),
    )
    judged = typed.withColumn("amount", F.when(number >= 0, F.round(number, 2).try_cast("decimal(12,2)"))).withColumn(
        "rule",
        F.when(F.col("user_id").isNull(), "missing_user_id")
        .when(F.col("event_type").isNull(), "missing_event_type")
        .when(F.col("product_id").isNull() & F.col("event_type").isin(*NAMES_A_PRODUCT), "missing_product_id")
        .when(F.col("amount_text").isNull() & (F.col("event_type") == "purchase"), "missing_amount")
        .when(F.col("event_timestamp").isNull(), "bad_timestamp")
        .when(F.col("amount_text").isNotNull() & F.col("amount").isNull(), "bad_amount"),
    )
    accepted = judged.where(F.col("rule").isNull()).select(
        F.substring(F.sha2(F.concat_ws(":", "content_hash", "record_number"), 256), 1, 32).alias("event_id"),
        "user_id",
        "session_id",
        "event_timestamp",
        F.to_date("event_timestamp").alias("event_date"),
        "event_type",
        "product_id",
        "amount",
        "outcome",
        "source_file",
        "record_number",
        F.current_timestamp().alias("processed_at"),
        "ingestion_date",
    )
    broken = judged.where(F.col("rule").isNotNull()).select(
        "source_file", "record_number", "rule", F.to_json("record").alias("payload"), "ingestion_date"
    )
    accepted.write.mode("overwrite").partitionBy("ingestion_date").parquet(str(target))
    broken.write.mode("overwrite").partitionBy("ingestion_date").parquet(str(rejected))


def text(column: str) -> Column:
    """Without surrounding blanks; null where nothing is left."""
    return F.nullif(F.trim(column), F.lit(""))


def gold(spark: SparkSession, source: Path, target: Path) -> None:
    """Entities and answers, a Parquet file each."""
    events = spark.read.parquet(str(source))
    bought = F.col("event_type") == "purchase"
    revenue = F.coalesce(F.sum(F.when(bought, F.col("amount"))), F.lit(0)).alias("revenue")
    first_views = (
        events.where(F.col("event_type") == "product_view")
        .groupBy("user_id")
        .agg(F.min("event_timestamp").alias("first_view_at"))
    )
    first_adds = (
        events.where(F.col("event_type") == "add_to_cart")
        .join(first_views, "user_id")
        .where(F.col("event_timestamp") >= F.col("first_view_at"))
        .groupBy("user_id")
        .agg(F.min("event_timestamp").alias("first_add_at"))
    )
    day_type = F.when(F.weekday("event_date") >= 5, "Weekend").otherwise("Weekday")
    user_days = (
        events.groupBy("event_date", "user_id")
        .agg(
            F.count("*").alias("events"),
            F.count_if(F.col("event_type") == "product_view").alias("views"),
            F.count_if(F.col("event_type") == "add_to_cart").alias("adds"),
            F.count_if(bought).alias("purchases"),
            F.max(F.when(bought, F.col("event_timestamp"))).alias("last_purchase_at"),
            revenue,
        )
        .withColumn("day_type", day_type)
        .cache()
    )
    user_totals = (
        user_days.groupBy("user_id")
        .agg(
            F.min("event_date").alias("first_seen_date"),
            F.max("event_date").alias("last_seen_date"),
            F.sum("events").alias("total_events"),
            F.sum("views").alias("views"),
            F.sum("adds").alias("adds"),
            F.sum("purchases").alias("purchases"),
            F.max("last_purchase_at").alias("last_purchase_at"),
            F.sum("revenue").alias("revenue"),
        )
        .join(first_views, "user_id", "left")
        .join(first_adds, "user_id", "left")
        .cache()
    )
    products = (
        events.where(F.col("product_id").isNotNull())
        .groupBy("product_id")
        .agg(
            F.count_if(F.col("event_type") == "product_view").alias("view_count"),
            F.count_if(F.col("event_type") == "add_to_cart").alias("add_to_cart_count"),
            F.count_if(bought).alias("purchase_count"),
            revenue,
        )
        .cache()
    )
    tables = {
        "users": user_totals.select("user_id", "first_seen_date", "last_seen_date", "total_events"),
        "sessions": sessions(events),
        "products": products.select("product_id"),
        "event_types": events.select("event_type").distinct(),
        "time": times(user_days),
        "top_products": products.withColumn(
            "rank", F.row_number().over(Window.orderBy(F.desc("view_count"), F.asc("product_id")))
        ),
        "conversion_funnel": conversion_funnel(user_totals),
        "daily_active_users": user_days.groupBy("event_date", "day_type")
        .agg(F.count("*").alias("users"), F.sum("events").alias("events"))
        .withColumn("avg_events_per_user", ratio("events", "users")),
        "user_segments": user_segments(user_totals),
        "revenue_metrics": user_totals.agg(
            F.count_if(F.col("purchases") >= 1).alias("total_purchasers"),
            F.count_if(F.col("purchases") >= 2).alias("repeat_purchasers"),
            F.coalesce(F.sum("revenue"), F.lit(0)).alias("total_revenue"),
            F.sum("purchases").alias("orders"),
        ).select(
            "total_purchasers",
            "repeat_purchasers",
            "total_revenue",
            ratio("total_revenue", "total_purchasers").alias("average_revenue_per_purchaser"),
            ratio("total_revenue", "orders").alias("average_order_value"),
        ),
        "weekday_weekend": user_days.groupBy("day_type")
        .agg(
            F.count_distinct("user_id").alias("users"),
            F.sum("events").alias("events"),
            F.sum("purchases").alias("purchases"),
            F.sum("revenue").alias("revenue"),
        )
        .select(
            "day_type",
            "users",
            "events",
            ratio("events", "users").alias("events_per_user"),
            "purchases",
            "revenue",
            ratio("revenue", "users").alias("revenue_per_user"),
        ),
    }
    for name, table in tables.items():
        _write(table, target, name)


def _write(table: DataFrame, target: Path, name: str) -> None:
    """One file: the tables of gold are small."""
    table.coalesce(1).write.mode("overwrite").parquet(str(target / name))


def ratio(numerator: str, denominator: str) -> Column:
    """A double; null when there is nothing to divide by."""
    return F.try_divide(F.col(numerator).cast("double"), F.col(denominator).cast("double"))


def sessions(events: DataFrame) -> DataFrame:
    """One row per user and session."""
    start, end = F.col("session_start_time"), F.col("session_end_time")
    return (
        events.where(F.col("session_id").isNotNull())
        .groupBy("user_id", "session_id")
        .agg(
            F.min("event_timestamp").alias("session_start_time"),
            F.max("event_timestamp").alias("session_end_time"),
            F.count("*").alias("event_count"),
        )
        .withColumn("duration_seconds", (F.unix_micros(end) - F.unix_micros(start)) / F.lit(1e6))
    )


def times(user_days: DataFrame) -> DataFrame:
    """The dates that have events."""
    return (
        user_days.select(F.col("event_date").alias("date"))
        .distinct()
        .select(
            F.date_format("date", "yyyyMMdd").cast("int").alias("date_key"),
            "date",
            F.year("date").alias("year"),
            F.month("date").alias("month"),
            F.day("date").alias("day"),
            (F.weekday("date") + 1).alias("day_of_week"),
            (F.weekday("date") >= 5).alias("is_weekend"),
        )
    )


def conversion_funnel(user_totals: DataFrame) -> DataFrame:
    """How many users viewed, added and bought: in any order, and each after the step before."""
    counted = user_totals.agg(
        F.count_if(F.col("views") > 0).alias("users_viewed"),
        F.count_if(F.col("adds") > 0).alias("users_added"),
        F.count_if(F.col("purchases") > 0).alias("users_purchased"),
        F.count("first_view_at").alias("ordered_users_viewed"),
        F.count("first_add_at").alias("ordered_users_added"),
        F.count_if(F.col("last_purchase_at") >= F.col("first_add_at")).alias("ordered_users_purchased"),
    )
    columns = []
    for order in ("", "ordered_"):
        viewed, added, purchased = (f"{order}users_{step}" for step in ("viewed", "added", "purchased"))
        columns += [viewed, added, purchased]
        columns += [
            ratio(added, viewed).alias(f"{order}view_to_cart_rate"),
            ratio(purchased, added).alias(f"{order}cart_to_purchase_rate"),
            ratio(purchased, viewed).alias(f"{order}overall_rate"),
        ]
    return counted.select(*columns)


def user_segments(user_totals: DataFrame) -> DataFrame:
    """Users by how active they are."""
    events = F.col("total_events")
    segment = (
        F.when(events >= 20, "High Activity")
        .when(events >= 5, "Medium Activity")
        .when(events >= 2, "Low Activity")
        .otherwise("One-time Visitors")
    )
    return user_totals.groupBy(segment.alias("segment")).agg(
        F.count("*").alias("user_count"),
        F.avg("total_events").alias("avg_events"),
        F.avg("purchases").alias("avg_purchases"),
        (F.sum("revenue").cast("double") / F.count("*")).alias("avg_spent"),
    )


def user_journeys(spark: SparkSession, source: Path, target: Path) -> None:
    """The events of users who bought, numbered."""
    events = spark.read.parquet(str(source))
    purchasers = events.where(F.col("event_type") == "purchase").select("user_id").distinct()
    step = F.row_number().over(Window.partitionBy("user_id").orderBy("event_timestamp", "event_id"))
    journeys = events.join(purchasers, "user_id", "left_semi").select(
        "user_id", step.alias("step"), "event_id", "event_type", "product_id", "amount", "event_timestamp"
    )
    _write(journeys, target, "user_journeys")


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
    spark = session()
    marks.append(time.perf_counter())
    bronze(spark, source, out / "bronze", day)
    marks.append(time.perf_counter())
    silver(spark, out / "bronze", out / "silver", out / "rejected")
    marks.append(time.perf_counter())
    gold(spark, out / "silver", out / "gold")
    marks.append(time.perf_counter())
    if arguments.journeys:
        user_journeys(spark, out / "silver", out / "gold")
    spark.stop()
    took = [later - earlier for earlier, later in pairwise(marks)]
    print(json.dumps(dict(zip(("session", "bronze", "silver", "gold"), took, strict=True))))


if __name__ == "__main__":
    main()
