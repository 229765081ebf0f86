{{ config(materialized='view') }}

with

source as (

    select * from {{ source('clickstream', 'events_cleaned') }}

),

named as (

    -- An empty text says as little as none.
    select
        event_id,
        event_type,
        nullif(user_id, '') as user_id,
        nullif(session_id, '') as session_id,
        nullif(visitor_key, '') as visitor_key,
        event_ts,
        event_hour,
        page_url,
        page_path,
        {{ host_of('page_url') }} as page_host,
        nullif(trim(utm_source), '') as utm_source,
        nullif(trim(utm_medium), '') as utm_medium,
        nullif(trim(utm_campaign), '') as utm_campaign,
        nullif(trim(utm_term), '') as utm_term,
        nullif(trim(utm_content), '') as utm_content,
        click_id,
        {{ known_click_id('click_id') }} as source_click_id,
        referrer,
        nullif(referrer_host, '') as referrer_host,
        user_agent,
        coalesce(is_bot, false) as is_bot,
        email_key,
        pii_key_id,
        ip_prefix,
        product_id,
        quantity,
        price,
        currency,
        revenue,
        coalesce(event_type in ({{ literals(var('clickstream_conversion_events')) }}), false) as is_conversion,
        properties,
        extra,
        ingested_at,
        event_date
    from source

),

-- A link from one page of a site to another is no source, nor one between www.example.com and shop.example.com.
with_source_host as (

    select
        *,
        case
            when referrer_host in ({{ literals(var('clickstream_own_hosts')) }}) then null
            when page_host is null or page_host = '' then referrer_host
            when referrer_host = page_host then null
            when right(referrer_host, length(page_host) + 1) = '.' || page_host then null
            when right(page_host, length(referrer_host) + 1) = '.' || referrer_host then null
            else referrer_host
        end as source_host
    from named

),

with_search_engine as (

    select
        *,
        {{ search_engine_of('source_host') }} as search_engine
    from with_source_host

),

with_source as (

    select
        *,
        coalesce(user_id, visitor_key) as visitor_id,
        case
            when session_id is not null then 's:' || session_id
            when user_id is not null then 'u:' || user_id
            when visitor_key is not null then 'v:' || visitor_key
            else 'e:' || cast(event_date as varchar) || ':' || event_id
        end as stream_key,
        {{ has_utm() }} or source_click_id is not null or source_host is not null as tells_source,
        {{ clickstream_source() }} as source,
        {{ clickstream_medium() }} as medium,
        utm_campaign as campaign
    from with_search_engine

)

select
    *,
    case when tells_source then {{ clickstream_channel('source', 'medium', 'campaign') }} end as channel
from with_source
