{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ clickstream_delete('event_date') }}",
    dist='stream_key',
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
        user_id,
        visitor_key,
        event_type,
        page_path,
        tells_source,
        utm_source,
        utm_medium,
        utm_campaign,
        source_click_id,
        source_host,
        is_bot,
        is_conversion,
        revenue
    from {{ ref('events_enhanced') }}
    where {{ in_reach('event_date') }}

),

ordered as (

    select
        *,
        row_number() over (
            partition by event_date, stream_key
            order by event_ts, event_id
        ) as event_number,
        lag(event_ts) over (
            partition by event_date, stream_key
            order by event_ts, event_id
        ) as previous_ts
    from events

),

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
            order by event_number
            rows between unbounded preceding and current row
        ) as pauses
    from ordered

),

pieces as (

    select
        event_date,
        stream_key,
        pauses,
        max(session_id) as session_id,
        min(event_ts) as first_at,
        max(event_ts) as last_at,
        count(*) as events,
        count(case when event_type = 'page_view' then 1 end) as page_views,
        count(case when is_conversion then 1 end) as conversions,
        {{ money('sum(case when is_conversion then revenue end)') }} as revenue,
        max(case when is_bot then 1 else 0 end) = 1 as is_bot,
        min(case when user_id is not null then event_ts end) as login_at,

        -- which of its events tells what
        max(case when user_id is not null then event_number end) as user_number,
        min(case when visitor_key is not null then event_number end) as visitor_number,
        min(case when page_path is not null then event_number end) as entry_number,
        max(case when page_path is not null then event_number end) as exit_number,
        min(case when tells_source then event_number end) as source_number
    from numbered
    group by
        event_date,
        stream_key,
        pauses

),

told as (

    select
        pieces.event_date,
        pieces.stream_key,
        pieces.pauses,
        max(case when numbered.event_number = pieces.user_number then numbered.user_id end) as user_id,
        max(case when numbered.event_number = pieces.visitor_number then numbered.visitor_key end) as visitor_key,
        max(case when numbered.event_number = pieces.entry_number then numbered.page_path end) as entry_page,
        max(case when numbered.event_number = pieces.exit_number then numbered.page_path end) as exit_page,
        max(case when numbered.event_number = pieces.source_number then numbered.utm_source end) as utm_source,
        max(case when numbered.event_number = pieces.source_number then numbered.utm_medium end) as utm_medium,
        max(case when numbered.event_number = pieces.source_number then numbered.utm_campaign end) as utm_campaign,
        max(case when numbered.event_number = pieces.source_number then numbered.source_click_id end)
            as source_click_id,
        max(case when numbered.event_number = pieces.source_number then numbered.source_host end) as source_host
    from pieces
    inner join numbered
        on
            pieces.event_date = numbered.event_date
            and pieces.stream_key = numbered.stream_key
            and pieces.pauses = numbered.pauses
    group by
        pieces.event_date,
        pieces.stream_key,
        pieces.pauses

)

select
    pieces.event_date,
    pieces.stream_key,
    cast(pieces.pauses + 1 as bigint) as piece_number,
    pieces.session_id,
    pieces.first_at,
    pieces.last_at,
    pieces.events,
    pieces.page_views,
    pieces.conversions,
    pieces.revenue,
    pieces.is_bot,
    told.user_id,
    pieces.login_at,
    told.visitor_key,
    told.entry_page,
    told.exit_page,
    pieces.source_number is not null as tells_source,
    told.utm_source,
    told.utm_medium,
    told.utm_campaign,
    told.source_click_id,
    told.source_host
from pieces
inner join told
    on
        pieces.event_date = told.event_date
        and pieces.stream_key = told.stream_key
        and pieces.pauses = told.pauses
