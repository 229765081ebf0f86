{{ config(meta={'dagster': {'ref': {'name': 'session_pieces'}}}) }}

-- Every event of the window dates is in one piece of a session, and no date has pieces without events.
with

window_dates as (

    select partition_date as event_date
    from {{ source('ops', 'run_window') }}
    where domain = 'clickstream'

),

expected as (

    select
        event_date,
        count(*) as events
    from {{ ref('events_enhanced') }}
    where event_date in (select event_date from window_dates)
    group by event_date

),

counted as (

    select
        event_date,
        sum(events) as events
    from {{ ref('session_pieces') }}
    where event_date in (select event_date from window_dates)
    group by event_date

)

select
    coalesce(expected.event_date, counted.event_date) as event_date,
    expected.events as events_there_are,
    counted.events as events_counted
from expected
full join counted
    on expected.event_date = counted.event_date
where expected.events is null or counted.events is null or counted.events <> expected.events
