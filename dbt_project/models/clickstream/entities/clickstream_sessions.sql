{%- set m = session_midnights() %}
{{ config(
    alias='sessions',
    materialized='incremental',
    incremental_strategy='append',
    pre_hook=[
        "{{ clickstream_keep_sessions() }}",
        "{{ clickstream_delete('session_date', *reach_of_sessions()) }}"
    ],
    post_hook=["{{ clickstream_list_persons() }}", "{{ clickstream_drop_sessions() }}"],
    dist='stream_key',
    sort='session_date'
) }}

-- Written to in the transaction of the sessions:
-- depends_on: {{ ref('changed_persons') }}

with

-- To know which pieces make up the sessions of a date takes those of m dates after it and of 2m dates before it.
pieces as (

    select * from {{ ref('session_pieces') }}
    where {{ in_reach('event_date', reach_of_sessions()[0] + 2 * m, reach_of_sessions()[1] + m) }}

),

with_previous as (

    select
        *,
        lag(event_date) over (partition by stream_key order by first_at) as previous_date,
        lag(last_at) over (partition by stream_key order by first_at) as previous_at
    from pieces

),

-- A piece goes on from the one before when the pause between them is none: always for a given session id, unless
-- no session could be on both dates.
linked as (

    select
        *,
        case
            when previous_at is null or event_date - previous_date > {{ m }} then 0
            when session_id is not null then 1
            when {{ seconds_between('previous_at', 'first_at') }} <= {{ session_timeout() }} then 1
            else 0
        end as goes_on
    from with_previous

),

chained as (

    select
        *,
        sum(1 - goes_on) over (
            partition by stream_key
            order by first_at
            rows between unbounded preceding and current row
        ) as chain
    from linked

),

with_start as (

    select
        *,
        min(event_date) over (partition by stream_key, chain) as chain_date
    from chained

),

-- The first dates of a chain are one session, each further one is a session of its own: a cut that can be found
-- without looking back to the start of a chain of a year, and that no change further back can move.
cut as (

    select
        *,
        case when event_date - chain_date <= {{ m }} then 0 else event_date - chain_date end as part
    from with_start

),

numbered as (

    select
        *,
        row_number() over (partition by stream_key, chain, part order by first_at) as piece
    from cut

),

merged as (

    select
        stream_key,
        chain,
        part,
        max(session_id) as session_id,
        min(event_date) as session_date,
        min(first_at) as started_at,
        max(last_at) as ended_at,
        cast(sum(events) as bigint) as events,
        cast(sum(page_views) as bigint) as page_views,
        cast(sum(conversions) as bigint) as conversions,
        {{ money('sum(revenue)') }} as revenue,
        max(case when is_bot then 1 else 0 end) = 1 as is_bot,
        min(login_at) as login_at,

        -- which of its pieces tells what
        max(case when user_id is not null then piece end) as user_piece,
        min(case when visitor_key is not null then piece end) as visitor_piece,
        min(case when entry_page is not null then piece end) as entry_piece,
        max(case when exit_page is not null then piece end) as exit_piece,
        min(case when tells_source then piece end) as source_piece
    from numbered
    group by
        stream_key,
        chain,
        part

),

told as (

    select
        merged.stream_key,
        merged.chain,
        merged.part,
        max(case when numbered.piece = merged.user_piece then numbered.user_id end) as user_id,
        max(case when numbered.piece = merged.visitor_piece then numbered.visitor_key end) as visitor_key,
        max(case when numbered.piece = merged.entry_piece then numbered.entry_page end) as entry_page,
        max(case when numbered.piece = merged.exit_piece then numbered.exit_page end) as exit_page,
        max(case when numbered.piece = merged.source_piece then numbered.utm_source end) as utm_source,
        max(case when numbered.piece = merged.source_piece then numbered.utm_medium end) as utm_medium,
        max(case when numbered.piece = merged.source_piece then numbered.utm_campaign end) as utm_campaign,
        max(case when numbered.piece = merged.source_piece then numbered.source_click_id end) as source_click_id,
        max(case when numbered.piece = merged.source_piece then numbered.source_host end) as source_host
    from merged
    inner join numbered
        on
            merged.stream_key = numbered.stream_key
            and merged.chain = numbered.chain
            and merged.part = numbered.part
    group by
        merged.stream_key,
        merged.chain,
        merged.part

),

with_search_engine as (

    select
        merged.*,
        told.user_id,
        told.visitor_key,
        told.entry_page,
        told.exit_page,
        told.utm_source,
        told.utm_medium,
        told.utm_campaign,
        told.source_click_id,
        told.source_host,
        {{ search_engine_of('told.source_host') }} as search_engine,
        {{ seconds_between('merged.started_at', 'merged.ended_at') }} as duration_seconds,
        md5(
            merged.stream_key || '|' || case
                when merged.session_id is not null then cast(merged.session_date as varchar)
                else cast({{ epoch_microseconds('merged.started_at') }} as varchar)
            end
        ) as session_key
    from merged
    inner join told
        on
            merged.stream_key = told.stream_key
            and merged.chain = told.chain
            and merged.part = told.part

),

with_source as (

    select
        *,
        coalesce({{ clickstream_source() }}, '(direct)') as source,
        coalesce({{ clickstream_medium() }}, '(none)') as medium,
        utm_campaign as campaign,
        (
            duration_seconds >= {{ var('clickstream_engaged_seconds') }}
            or page_views >= 2
            or conversions >= 1
        ) as is_engaged
    from with_search_engine

)

select
    session_key,
    coalesce(session_id, session_key) as session_id,
    session_id is not null as has_given_id,
    stream_key,
    session_date,
    user_id,
    visitor_key,
    coalesce(user_id, visitor_key) as visitor_id,
    login_at,
    started_at,
    ended_at,
    duration_seconds,
    events,
    page_views,
    conversions,
    revenue,
    entry_page,
    exit_page,
    source,
    medium,
    campaign,
    {{ clickstream_channel('source', 'medium', 'campaign') }} as channel,
    {{ clickstream_channel_rules_version() }} as channel_rules_version,
    is_bot,
    page_views = 1 and not is_engaged as is_bounce,
    is_engaged
from with_source
where {{ in_reach('session_date', *reach_of_sessions()) }}
