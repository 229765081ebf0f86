{%- set steps = var('clickstream_funnel_steps') %}
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ clickstream_delete('funnel_date', funnel_days()) }}",
    sort='funnel_date'
) }}

with

events as (

    select * from {{ ref('funnel_events') }}
    where {{ in_reach('event_date', funnel_days(), funnel_days()) }}

),

reached_1 as (

    select
        event_date as funnel_date,
        visitor_id,
        event_ts as started_at,
        event_ts as reached_at
    from events
    where event_type = {{ literals(steps[:1]) }}

),
{%- for step in steps[1:] %}
{%- set before = 'reached_' ~ loop.index %}

reached_{{ loop.index + 1 }} as (

    select
        {{ before }}.funnel_date,
        {{ before }}.visitor_id,
        {{ before }}.started_at,
        min(events.event_ts) as reached_at
    from {{ before }}
    inner join events
        on
            {{ before }}.visitor_id = events.visitor_id
            and {{ before }}.reached_at <= events.event_ts
            and {{ seconds_between(before ~ '.started_at', 'events.event_ts') }} <= {{ funnel_window() }}
    where events.event_type = {{ literals([step]) }}
    group by
        {{ before }}.funnel_date,
        {{ before }}.visitor_id,
        {{ before }}.started_at

),
{%- endfor %}

dates as (

    select
        funnel_date,
        count(*) as started
    from reached_1
    group by funnel_date

),

counted as (
    {%- for step in steps %}
    {%- if not loop.first %}

    union all
    {% endif %}
    select
        dates.funnel_date,
        {{ loop.index }} as step,
        {{ literals([step]) }} as event_type,
        dates.started,
        count(reached.visitor_id) as visitors
    from dates
    left join reached_{{ loop.index }} as reached
        on dates.funnel_date = reached.funnel_date
    group by
        dates.funnel_date,
        dates.started
    {%- endfor %}

),

with_previous as (

    select
        *,
        lag(visitors) over (partition by funnel_date order by step) as visitors_before
    from counted

)

select
    funnel_date,
    step,
    event_type,
    visitors,
    {{ ratio('visitors', 'started') }} as share_of_first,
    {{ ratio('visitors', 'visitors_before') }} as share_of_previous
from with_previous
where {{ in_reach('funnel_date', funnel_days()) }}
