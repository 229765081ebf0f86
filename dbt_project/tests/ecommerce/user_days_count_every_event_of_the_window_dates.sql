{{ config(meta={'dagster': {'ref': {'name': 'user_days'}}}) }}

-- For every event date that a row of the run window has, user_days counts exactly the events
-- there are, over all ingestion dates.
with

window_dates as (

    select distinct event_date
    from {{ ref('events') }}
    where ingestion_date in (
        select partition_date from {{ source('ops', 'run_window') }}
        where domain = 'ecommerce'
    )

),

expected as (

    select
        event_date,
        count(*) as events
    from {{ ref('events') }}
    where event_date in (select event_date from window_dates)
    group by event_date

),

counted as (

    select
        event_date,
        sum(events) as events
    from {{ ref('user_days') }}
    where event_date in (select event_date from window_dates)
    group by event_date

)

select
    expected.event_date,
    expected.events as events_there_are,
    counted.events as events_counted
from expected
left join counted
    on expected.event_date = counted.event_date
where counted.events is null or counted.events <> expected.events
