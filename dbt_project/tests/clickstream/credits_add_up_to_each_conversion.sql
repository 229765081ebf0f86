{{ config(meta={'dagster': {'ref': {'name': 'attribution'}}}) }}

-- Every conversion of the window dates, but robots', has credits that add up to 1 and to its revenue in each of the
-- five models.
with

window_dates as (

    select partition_date as event_date
    from {{ source('ops', 'run_window') }}
    where domain = 'clickstream'

),

robots as (

    select
        stream_key,
        started_at,
        ended_at
    from {{ ref('clickstream_sessions') }}
    where
        is_bot
        and session_date >= (
            select min(event_date) - {{ var('clickstream_session_max_days') }} from window_dates
        )

),

expected as (

    select
        conversions.event_date,
        conversions.event_id,
        conversions.revenue
    from {{ ref('conversions') }} as conversions
    left join robots
        on
            conversions.stream_key = robots.stream_key
            and conversions.event_ts >= robots.started_at
            and conversions.event_ts <= robots.ended_at
    where
        conversions.event_date in (select event_date from window_dates)
        and robots.stream_key is null

),

shared as (

    select
        conversion_date,
        conversion_id,
        model,
        sum(credit) as credit,
        sum(revenue) as revenue
    from {{ ref('attribution') }}
    where conversion_date in (select event_date from window_dates)
    group by
        conversion_date,
        conversion_id,
        model

)

select
    expected.event_date,
    expected.event_id,
    count(shared.model) as models
from expected
left join shared
    on
        expected.event_date = shared.conversion_date
        and expected.event_id = shared.conversion_id
        and shared.credit = 1
        and expected.revenue = shared.revenue
group by
    expected.event_date,
    expected.event_id
having count(shared.model) <> 5
