{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ clickstream_delete('event_date') }}",
    sort='event_date'
) }}

with

events as (

    select
        event_date,
        stream_key,
        event_ts,
        event_id,
        session_id,
        page_path,
        event_type,
        lag(event_ts) over (
            partition by event_date, stream_key
            order by event_ts, event_id
        ) as previous_ts
    from {{ ref('events_enhanced') }}
    where
        {{ in_reach('event_date') }}
        and not is_bot

),

-- The pauses are those of session_pieces: whatever the visitor does goes on with a visit, not views of pages alone.
numbered as (

    select
        *,
        sum(
            case
                when session_id is not null then 0
                when {{ seconds_between('previous_ts', 'event_ts') }} > {{ session_timeout() }} then 1
                else 0
            end
        ) over (
            partition by event_date, stream_key
            order by event_ts, event_id
            rows between unbounded preceding and current row
        ) as pauses
    from events

),

views as (

    select
        event_date,
        page_path as from_page,
        lead(page_path) over (
            partition by event_date, stream_key, pauses
            order by event_ts, event_id
        ) as to_page
    from numbered
    where
        event_type = 'page_view'
        and page_path is not null

)

select
    event_date,
    from_page,
    to_page,
    count(*) as visits
from views
where to_page is not null
group by
    event_date,
    from_page,
    to_page
