with

user_days as (

    select * from {{ ref('user_days') }}

),

counted as (

    select
        event_date,
        count(*) as users,
        cast(sum(events) as bigint) as events
    from user_days
    group by event_date

)

select
    event_date,
    {{ day_type('event_date') }} as day_type,
    users,
    events,
    {{ ratio('events', 'users') }} as avg_events_per_user
from counted
