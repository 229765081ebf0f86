with

user_days as (

    select
        *,
        {{ day_type('event_date') }} as day_type
    from {{ ref('user_days') }}

),

summed as (

    select
        day_type,
        count(distinct user_id) as users,
        cast(sum(events) as bigint) as events,
        cast(sum(purchases) as bigint) as purchases,
        {{ money('sum(revenue)') }} as revenue
    from user_days
    group by day_type

)

select
    day_type,
    users,
    events,
    {{ ratio('events', 'users') }} as events_per_user,
    purchases,
    revenue,
    {{ ratio('revenue', 'users') }} as revenue_per_user
from summed
