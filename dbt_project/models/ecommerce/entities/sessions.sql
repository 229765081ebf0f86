{{ config(materialized='view') }}

with

session_parts as (

    select * from {{ ref('session_parts') }}

),

merged as (

    select
        user_id,
        session_id,
        min(first_event_at) as session_start_time,
        max(last_event_at) as session_end_time,
        cast(sum(events) as bigint) as event_count
    from session_parts
    group by
        user_id,
        session_id

)

select
    user_id,
    session_id,
    session_start_time,
    session_end_time,
    event_count,
    {{ seconds_between('session_start_time', 'session_end_time') }} as duration_seconds
from merged
