"""The same work as a plain DuckDB script: bronze, silver and gold of one CSV file, in SQL on all cores.

``python duckdb_sql.py INPUT.csv OUTPUT_FOLDER`` prints one JSON line with the seconds of each phase. The day is the
``ingestion_date=…`` folder that the input lies in. ``--journeys`` also writes ``user_journeys``, untimed: it is a view
where it is compared with.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from datetime import date
from itertools import pairwise
from pathlib import Path

import duckdb

BRONZE = """
copy (
    select
        *,
        now() as ingestion_timestamp,
        $name as source_file,
        $content_hash as content_hash
    from read_csv($source, header = true, all_varchar = true, auto_detect = false, delim = ',', quote = '"', columns = {
        'UserID': 'varchar', 'SessionID': 'varchar', 'Timestamp': 'varchar', 'EventType': 'varchar',
        'ProductID': 'varchar', 'Amount': 'varchar', 'Outcome': 'varchar'
    })
) to $target (format parquet, compression snappy)
"""

JUDGED = """
create or replace view judged as
with trimmed as (
    select
        content_hash,
        source_file,
        file_row_number + 1 as record_number,
        {{
            'UserID': UserID, 'SessionID': SessionID, 'Timestamp': "Timestamp", 'EventType': EventType,
            'ProductID': ProductID, 'Amount': Amount, 'Outcome': Outcome
        }} as record,
        nullif(trim(UserID), '') as user_id,
        nullif(trim(SessionID), '') as session_id,
        nullif(trim(EventType), '') as event_type,
        nullif(trim(ProductID), '') as product_id,
        nullif(trim(Outcome), '') as outcome,
        nullif(trim(Amount), '') as amount_text,
        replace(trim("Timestamp"), 'T', ' ') as time_text
    from read_parquet('{bronze}', hive_partitioning = true, file_row_number = true)
),

typed as (
    select
        *,
        try_cast(amount_text as decimal(12, 2)) as number,
        case
            when regexp_full_match(
                time_text, '\\d{{4}}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d(\\.\\d+)?(Z|[+-]\\d\\d:\\d\\d)?'
            ) then try_cast(time_text as timestamptz)
        end as event_timestamp
    from trimmed
)

select
    *,
    case when number >= 0 then number end as amount,
    case
        when user_id is null then 'missing_user_id'
        when event_type is null then 'missing_event_type'
        when product_id is null and event_type in ('product_view', 'add_to_cart', 'purchase') then 'missing_product_id'
        when amount_text is null and event_type = 'purchase' then 'missing_amount'
        when event_timestamp is null then 'bad_timestamp'
        when amount_text is not null and (number is null or number < 0) then 'bad_amount'
    end as rule
from typed
"""

SILVER = """
copy (
    select
        left(sha256(content_hash || ':' || record_number), 32) as event_id,
        user_id,
        session_id,
        event_timestamp,
        cast(event_timestamp as date) as event_date,
        event_type,
        product_id,
        amount,
        outcome,
        source_file,
        record_number,
        now() as processed_at
    from judged
    where rule is null
) to $target (format parquet, compression snappy)
"""

REJECTED = """
copy (
    select source_file, record_number, rule, to_json(record) as payload
    from judged
    where rule is not null
) to $target (format parquet, compression snappy)
"""

#: what several tables need; kept in memory
USER_DAYS = """
create temp table user_days as
select
    event_date,
    user_id,
    if(isodow(event_date) >= 6, 'Weekend', 'Weekday') as day_type,
    count(*) as events,
    count(*) filter (event_type = 'purchase') as purchases,
    coalesce(sum(amount) filter (event_type = 'purchase'), 0) as revenue
from silver
group by all
"""

USER_TOTALS = """
create temp table user_totals as
with first_views as (
    select user_id, min(event_timestamp) as first_view_at
    from silver
    where event_type = 'product_view'
    group by user_id
),

first_adds as (
    select user_id, min(event_timestamp) as first_add_at
    from silver inner join first_views using (user_id)
    where event_type = 'add_to_cart' and event_timestamp >= first_view_at
    group by user_id
),

funnel as (
    select
        user_id,
        bool_or(event_type = 'product_view') as viewed,
        bool_or(event_type = 'add_to_cart') as added,
        bool_or(event_type = 'purchase') as bought,
        max(event_timestamp) filter (event_type = 'purchase') as last_purchase_at
    from silver
    where event_type in ('product_view', 'add_to_cart', 'purchase')
    group by user_id
),

totals as (
    select
        user_id,
        min(event_date) as first_seen_date,
        max(event_date) as last_seen_date,
        cast(sum(events) as bigint) as total_events,
        cast(sum(purchases) as bigint) as purchases,
        sum(revenue) as revenue
    from user_days
    group by user_id
)

select totals.*, viewed, added, bought, first_view_at, first_add_at, last_purchase_at
from totals left join funnel using (user_id) left join first_views using (user_id) left join first_adds using (user_id)
"""

GOLD = {
    "users": "select user_id, first_seen_date, last_seen_date, total_events from user_totals",
    "sessions": """
        select
            user_id,
            session_id,
            min(event_timestamp) as session_start_time,
            max(event_timestamp) as session_end_time,
            count(*) as event_count,
            (epoch_us(session_end_time) - epoch_us(session_start_time)) / 1e6 as duration_seconds
        from silver
        where session_id is not null
        group by user_id, session_id""",
    "products": "select distinct product_id from silver where product_id is not null",
    "event_types": "select distinct event_type from silver",
    "time": """
        select
            cast(strftime(date, '%Y%m%d') as integer) as date_key,
            date,
            year(date) as year,
            month(date) as month,
            day(date) as day,
            isodow(date) as day_of_week,
            isodow(date) >= 6 as is_weekend
        from (select distinct event_date as date from user_days)""",
    "top_products": """
        select
            product_id,
            count(*) filter (event_type = 'product_view') as view_count,
            count(*) filter (event_type = 'add_to_cart') as add_to_cart_count,
            count(*) filter (event_type = 'purchase') as purchase_count,
            coalesce(sum(amount) filter (event_type = 'purchase'), 0) as revenue,
            row_number() over (order by view_count desc, product_id) as rank
        from silver
        where product_id is not null
        group by product_id""",
    "conversion_funnel": """
        select
            count(*) filter (viewed) as users_viewed,
            count(*) filter (added) as users_added,
            count(*) filter (bought) as users_purchased,
            users_added / nullif(users_viewed, 0) as view_to_cart_rate,
            users_purchased / nullif(users_added, 0) as cart_to_purchase_rate,
            users_purchased / nullif(users_viewed, 0) as overall_rate,
            count(first_view_at) as ordered_users_viewed,
            count(first_add_at) as ordered_users_added,
            count(*) filter (last_purchase_at >= first_add_at) as ordered_users_purchased,
            ordered_users_added / nullif(ordered_users_viewed, 0) as ordered_view_to_cart_rate,
            ordered_users_purchased / nullif(ordered_users_added, 0) as ordered_cart_to_purchase_rate,
            ordered_users_purchased / nullif(ordered_users_viewed, 0) as ordered_overall_rate
        from user_totals""",
    "daily_active_users": """
        select
            event_date,
            any_value(day_type) as day_type,
            count(*) as users,
            cast(sum(events) as bigint) as events,
            sum(events) / count(*) as avg_events_per_user
        from user_days
        group by event_date""",
    "user_segments": """
        select
            case
                when total_events >= 20 then 'High Activity'
                when total_events >= 5 then 'Medium Activity'
                when total_events >= 2 then 'Low Activity'
                else 'One-time Visitors'
            end as segment,
            count(*) as user_count,
            avg(total_events) as avg_events,
            avg(purchases) as avg_purchases,
            cast(sum(revenue) as double) / count(*) as avg_spent
        from user_totals
        group by segment""",
    "revenue_metrics": """
        select
            count(*) filter (purchases >= 1) as total_purchasers,
            count(*) filter (purchases >= 2) as repeat_purchasers,
            coalesce(sum(revenue), 0) as total_revenue,
            cast(sum(revenue) as double) / nullif(total_purchasers, 0) as average_revenue_per_purchaser,
            cast(sum(revenue) as double) / nullif(sum(purchases), 0) as average_order_value
        from user_totals""",
    "weekday_weekend": """
        select
            day_type,
            count(distinct user_id) as users,
            cast(sum(user_days.events) as bigint) as events,
            sum(user_days.events) / count(distinct user_id) as events_per_user,
            cast(sum(user_days.purchases) as bigint) as purchases,
            sum(user_days.revenue) as revenue,
            cast(sum(user_days.revenue) as double) / count(distinct user_id) as revenue_per_user
        from user_days
        group by day_type""",
}

USER_JOURNEYS = """
select
    user_id,
    row_number() over (partition by user_id order by event_timestamp, event_id) as step,
    event_id,
    event_type,
    product_id,
    amount,
    event_timestamp
from silver
where user_id in (select user_id from silver where event_type = 'purchase')
"""


def bronze(db: duckdb.DuckDBPyConnection, source: Path, target: Path) -> None:
    """Every record as text, with where it came from."""
    with source.open("rb") as content:
        content_hash = hashlib.file_digest(content, "sha256").hexdigest()
    file = _new(target)
    db.execute(BRONZE, {"source": str(source), "name": source.name, "content_hash": content_hash, "target": file})


def silver(db: duckdb.DuckDBPyConnection, source: Path, target: Path, rejected: Path) -> None:
    """Typed rows, and apart from them those that break a rule, with the first rule that they broke."""
    db.execute(JUDGED.format(bronze=f"{source}/events.parquet"))
    db.execute(SILVER, {"target": _new(target)})
    db.execute(REJECTED, {"target": _new(rejected)})


def gold(db: duckdb.DuckDBPyConnection, source: Path, target: Path) -> None:
    """Entities and answers, a Parquet file each."""
    target.mkdir(parents=True, exist_ok=True)
    db.execute(f"create view silver as from read_parquet('{source}/events.parquet', hive_partitioning = true)")
    db.execute(USER_DAYS)
    db.execute(USER_TOTALS)
    for name, query in GOLD.items():
        db.execute(f"copy ({query}) to '{target}/{name}.parquet' (format parquet, compression snappy)")


def _new(folder: Path) -> str:
    """The one file of a day's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return f"{folder}/events.parquet"


def main() -> None:
    """Run the phases one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--journeys", action="store_true")
    arguments = parser.parse_args()
    source, out = arguments.input, arguments.output
    day = date.fromisoformat(source.parent.name.removeprefix("ingestion_date="))
    folders = {layer: out / layer / f"ingestion_date={day}" for layer in ("bronze", "silver", "rejected")}
    marks = [time.perf_counter()]
    db = duckdb.connect()
    db.execute("set timezone = 'UTC'")
    marks.append(time.perf_counter())
    bronze(db, source, folders["bronze"])
    marks.append(time.perf_counter())
    silver(db, folders["bronze"], folders["silver"], folders["rejected"])
    marks.append(time.perf_counter())
    gold(db, folders["silver"], out / "gold")
    marks.append(time.perf_counter())
    if arguments.journeys:
        db.execute(f"copy ({USER_JOURNEYS}) to '{out}/gold/user_journeys.parquet' (format parquet)")
    took = [later - earlier for earlier, later in pairwise(marks)]
    print(json.dumps(dict(zip(("session", "bronze", "silver", "gold"), took, strict=True))))


if __name__ == "__main__":
    main()
