"""Clickstream as a plain DuckDB script: raw and cleaned events of a day's landing files, in SQL on all cores.

``python duckdb_events.py LANDING OUTPUT_FOLDER`` prints one JSON line with the seconds of each phase. The day is that
of the one ``year=…/month=…/day=…`` folder. What is not done: e-mail and IP addresses are not read, so that no
pseudonyms are made, and not looked for in other texts; what breaks a rule is dropped; which copy of an event is kept is
left to chance; the files are taken as sound, and the first bad record ends it; unknown keys are passed over; nothing
that was there before is replaced.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from itertools import pairwise
from pathlib import Path

import duckdb
from crawleruseragents import CRAWLER_USER_AGENTS_DATA

BRONZE = """
copy (
    select *, now() as ingestion_timestamp
    from read_json($files, format = 'unstructured', compression = 'gzip', filename = 'source_file', columns = {
        'event_id': 'varchar', 'event_type': 'varchar', 'user_id': 'varchar', 'session_id': 'varchar',
        'timestamp': 'varchar', 'page_url': 'varchar', 'referrer': 'varchar', 'user_agent': 'varchar',
        'product_id': 'varchar', 'quantity': 'varchar', 'price': 'varchar', 'currency': 'varchar',
        'properties': 'varchar'
    })
) to $target (format parquet, compression snappy)
"""

#: with those patterns of the list that find something
ROBOTS = """
create temp table robots as
with agents as materialized (
    select distinct user_agent from read_parquet('{bronze}')
)

select user_agent as robot from agents where {found}
"""

#: an offset is left to a cast that asks ICU and takes ten times as long as one that does not
SILVER = """
copy (
    with trimmed as (
        select
            * replace (
                nullif(trim(event_type), '') as event_type,
                nullif(trim(user_id), '') as user_id,
                nullif(trim(session_id), '') as session_id,
                trim("timestamp") as "timestamp",
                nullif(trim(page_url), '') as page_url,
                nullif(trim(referrer), '') as referrer,
                nullif(trim(product_id), '') as product_id,
                nullif(trim(quantity), '') as quantity,
                nullif(trim(price), '') as price,
                nullif(upper(trim(currency)), '') as currency,
                nullif(trim(properties), '') as properties
            )
        from read_parquet('{bronze}')
    ),

    typed as (
        select
            * replace (
                case
                    when regexp_full_match(quantity, '[0-9]{{1,10}}(\\.0+)?')
                        then try_cast(split_part(quantity, '.', 1) as bigint)
                end as quantity,
                try_cast(price as decimal(12, 2)) as price
            ),
            quantity is not null as has_quantity,
            price is not null as has_price,
            case
                when regexp_full_match("timestamp", '-?[0-9]{{9,15}}')
                    then make_timestamp(try_cast("timestamp" as bigint) * 1000)
                when regexp_full_match("timestamp", '{stamp}Z?') then try_cast("timestamp" as timestamp)
                when regexp_full_match("timestamp", '{stamp}[+-]\\d\\d:\\d\\d')
                    then make_timestamp(epoch_us(try_cast("timestamp" as timestamptz)))
            end as event_ts,
            cast(event_ts as date) as event_date
        from trimmed
    ),

    valid as (
        select *
        from typed
        where
            trim(event_id) <> ''
            and event_type is not null
            and event_date between date '2024-01-01' and date '{arrival}' + 1
            and (not has_quantity or coalesce(quantity <= 2147483648, false))
            and (not has_price or coalesce(price >= 0, false))
    ),

    one_each as (
        select distinct on (event_date, event_id) * from valid
    )

    select
        event_id,
        event_type,
        user_id,
        session_id,
        timezone('UTC', event_ts) as event_ts,
        page_url,
        if(page_url is not null, coalesce(
            nullif(regexp_extract(page_url, '^(?:(?:[a-zA-Z][a-zA-Z0-9+.-]*:)?//[^/?#]*)?([^?#]*)', 1), ''), '/'
        ), null) as page_path,
        {utm},
        nullif(regexp_extract(page_url, '[?&](gclid|dclid|msclkid|fbclid|ttclid|twclid|li_fat_id|yclid)=[^&#]', 1), '')
            as click_id,
        referrer,
        nullif(regexp_replace(lower(
            regexp_extract(referrer, '^(?:[a-zA-Z][a-zA-Z0-9+.-]*:)?//(?:[^/?#@]*@)?([^/?#:]+)', 1)
        ), '^www\\.', ''), '') as referrer_host,
        user_agent,
        robot is not null as is_bot,
        product_id,
        quantity,
        price,
        currency,
        cast(price * quantity as decimal(18, 2)) as revenue,
        properties,
        ingestion_timestamp as ingested_at,
        event_date,
        hour(event_ts) as event_hour
    from one_each left join robots on user_agent = robot
) to $target (format parquet, compression snappy, partition_by (event_date, event_hour))
"""

STAMP = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?"


def bronze(db: duckdb.DuckDBPyConnection, source: Path, target: Path) -> None:
    """Every event as text, with the file that it came from."""
    target.mkdir(parents=True)
    files = [str(path) for path in sorted(source.rglob("*.gz"))]
    db.execute(BRONZE, {"files": files, "target": f"{target}/events.parquet"})


def silver(db: duckdb.DuckDBPyConnection, source: Path, target: Path, arrival: str) -> None:
    """Typed, valid rows, one for each event, in a folder for each hour."""
    read = f"{source}/events.parquet"
    patterns = [entry["pattern"].replace("'", "''") for entry in CRAWLER_USER_AGENTS_DATA]
    hundreds = ["|".join(patterns[first : first + 100]) for first in range(0, len(patterns), 100)]
    found = " or ".join(f"regexp_matches(user_agent, '{some}')" for some in hundreds)
    db.execute(ROBOTS.format(bronze=read, found=found))
    utm = ", ".join(
        f"nullif(trim(url_decode(replace(regexp_extract(page_url, '[?&]utm_{name}=([^&#]+)', 1), '+', ' '))), '') "
        f"as utm_{name}"
        for name in ("source", "medium", "campaign", "term", "content")
    )
    target.mkdir(parents=True)
    db.execute(SILVER.format(bronze=read, arrival=arrival, stamp=STAMP, utm=utm), {"target": str(target)})


def main() -> None:
    """Run the phases one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    source, out = arguments.input, arguments.output
    (folder,) = source.glob("clickstream/year=*/month=*/day=*")
    arrival = "-".join(re.findall(r"=(\d+)", str(folder.relative_to(source))))
    marks = [time.perf_counter()]
    db = duckdb.connect()
    db.execute("set timezone = 'UTC'")
    marks.append(time.perf_counter())
    bronze(db, source, out / "bronze")
    marks.append(time.perf_counter())
    silver(db, out / "bronze", out / "silver", arrival)
    marks.append(time.perf_counter())
    took = [later - earlier for earlier, later in pairwise(marks)]
    print(json.dumps(dict(zip(("session", "bronze", "silver"), took, strict=True))))


if __name__ == "__main__":
    main()
