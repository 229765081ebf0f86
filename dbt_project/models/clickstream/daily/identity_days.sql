{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ clickstream_delete('event_date') }}",
    dist='visitor_key',
    sort='event_date'
) }}

select
    event_date,
    visitor_key,
    user_id,
    min(event_ts) as first_seen_at,
    max(event_ts) as last_seen_at,
    count(*) as events
from {{ ref('events_enhanced') }}
where
    {{ in_reach('event_date') }}
    and visitor_key is not null
    and user_id is not null
group by
    event_date,
    visitor_key,
    user_id
