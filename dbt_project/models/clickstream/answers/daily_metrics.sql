{%- set before, after = reach_of_daily_metrics() %}
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ clickstream_delete('event_date', *reach_of_daily_metrics()) }}",
    sort='event_date'
) }}

with

event_days as (

    select
        event_date,
        cast(sum(case when is_bot then 0 else events end) as bigint) as events,
        {{ money('sum(case when is_bot then 0 else revenue end)') }} as revenue
    from {{ ref('event_days') }}
    where {{ in_reach('event_date', before, after) }}
    group by event_date

),

session_days as (

    select
        session_date,
        count(*) as sessions,
        count(case when is_engaged then 1 end) as engaged_sessions,
        count(case when is_bounce then 1 end) as bounces
    from {{ ref('clickstream_sessions') }}
    where
        {{ in_reach('session_date', before, after) }}
        and not is_bot
    group by session_date

),

-- A visitor is in the number of a date when the last of the days on which they came is recent enough. So each of
-- these days counts from its date on until it is too old, or until the visitor's next day, which counts then.
visitor_days as (

    select
        event_date,
        lead(event_date) over (partition by visitor_id order by event_date) as next_date
    from {{ ref('visitor_days') }}
    where {{ in_reach('event_date', daily_metrics_read_back(), after) }}

),

changes as (

    select
        event_date,
        count(*) as dau,
        count(*) as wau,
        count(*) as mau
    from visitor_days
    group by event_date
    {%- for name, days in [('wau', 7), ('mau', 30)] %}

    union all

    select
        case when next_date < event_date + {{ days }} then next_date else event_date + {{ days }} end as event_date,
        0 as dau,
        {{ '-count(*)' if name == 'wau' else '0' }} as wau,
        {{ '-count(*)' if name == 'mau' else '0' }} as mau
    from visitor_days
    group by case when next_date < event_date + {{ days }} then next_date else event_date + {{ days }} end
    {%- endfor %}

    union all

    select
        event_date,
        0 as dau,
        0 as wau,
        0 as mau
    from event_days

),

changes_of_date as (

    select
        event_date,
        sum(dau) as dau,
        sum(wau) as wau,
        sum(mau) as mau
    from changes
    group by event_date

),

visitors as (

    select
        event_date,
        cast(dau as bigint) as dau,
        cast(sum(wau) over (order by event_date rows between unbounded preceding and current row) as bigint) as wau,
        cast(sum(mau) over (order by event_date rows between unbounded preceding and current row) as bigint) as mau
    from changes_of_date

)

select
    event_days.event_date,
    visitors.dau,
    visitors.wau,
    visitors.mau,
    coalesce(session_days.sessions, 0) as sessions,
    coalesce(session_days.engaged_sessions, 0) as engaged_sessions,
    coalesce(session_days.bounces, 0) as bounces,
    event_days.events,
    {{ ratio('event_days.events', 'session_days.sessions') }} as events_per_session,
    {{ ratio('session_days.bounces', 'session_days.sessions') }} as bounce_rate,
    event_days.revenue
from event_days
inner join visitors
    on event_days.event_date = visitors.event_date
left join session_days
    on event_days.event_date = session_days.session_date
