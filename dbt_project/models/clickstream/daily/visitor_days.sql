{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ clickstream_delete('event_date') }}",
    dist='visitor_id',
    sort='event_date'
) }}

select
    event_date,
    visitor_id,
    count(*) as events,
    count(case when is_conversion then 1 end) as conversions,
    {{ money('sum(case when is_conversion then revenue end)') }} as revenue
from {{ ref('events_enhanced') }}
where
    {{ in_reach('event_date') }}
    and visitor_id is not null
    and not is_bot
group by
    event_date,
    visitor_id
