{{ config(materialized='view') }}

select
    visitor_key,
    user_id,
    min(first_seen_at) as first_seen_at,
    max(last_seen_at) as last_seen_at,
    count(*) as days,
    cast(sum(events) as bigint) as events
from {{ ref('identity_days') }}
group by
    visitor_key,
    user_id
