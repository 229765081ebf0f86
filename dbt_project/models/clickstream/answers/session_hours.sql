{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ clickstream_delete('session_date', *reach_of_sessions()) }}",
    sort='session_date'
) }}
{%- set an_hour = 3600000000 %}

with

sessions as (

    select
        *,
        cast(mod(cast(floor({{ epoch_microseconds('started_at') }} / {{ an_hour }}.0) as bigint), 24) as integer)
            as started_hour
    from {{ ref('clickstream_sessions') }}
    where
        {{ in_reach('session_date', *reach_of_sessions()) }}
        and not is_bot

)

select
    session_date,
    started_hour,
    channel,
    count(*) as sessions,
    count(case when is_engaged then 1 end) as engaged_sessions,
    count(case when is_bounce then 1 end) as bounces,
    cast(sum(page_views) as bigint) as page_views,
    cast(sum(conversions) as bigint) as conversions,
    {{ money('sum(revenue)') }} as revenue
from sessions
group by
    session_date,
    started_hour,
    channel
