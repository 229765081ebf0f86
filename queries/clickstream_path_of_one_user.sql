select
    event_ts,
    event_type,
    page_path,
    referrer_host,
    session_id,
    product_id,
    revenue
from clickstream_cleaned.events_cleaned
where
    event_date between date '2026-03-01' and date '2026-03-07'
    and user_id = 'u1'
order by
    event_ts,
    event_id
