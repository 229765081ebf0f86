{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ clickstream_delete('event_date') }}",
    dist='stream_key',
    sort='event_date'
) }}

select
    event_date,
    event_id,
    event_type,
    event_ts,
    stream_key,
    {{ money('revenue') }} as revenue,
    currency
from {{ ref('events_enhanced') }}
where
    {{ in_reach('event_date') }}
    and is_conversion
