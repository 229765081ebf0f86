{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ clickstream_delete('event_date') }}",
    sort='event_date'
) }}

select
    event_date,
    event_type,
    is_bot,
    count(*) as events,
    {{ money('sum(case when is_conversion then revenue end)') }} as revenue
from {{ ref('events_enhanced') }}
where {{ in_reach('event_date') }}
group by
    event_date,
    event_type,
    is_bot
