with

daily as (

    select * from {{ ref('ga4_daily_cleaned') }}

),

events as (

    select * from {{ ref('ga4_events_cleaned') }}

),

source_rows as (

    select * from {{ ref('ga4_sources_cleaned') }}

),

page_rows as (

    select * from {{ ref('ga4_pages_cleaned') }}

),

-- Sessions and users of a source or page are what Google says of it: those of the finer rows do not add up to them, so
-- they stay unknown where the report of this grain was not pulled.
reports as (

    select
        event_date,
        'traffic_source' as report,
        traffic_source,
        traffic_medium,
        cast(null as varchar) as page_path,
        sessions,
        total_users,
        screen_page_views,
        event_count,
        is_final,
        is_synthetic,
        pulled_at
    from source_rows

    union all

    select
        event_date,
        'traffic_source' as report,
        traffic_source,
        traffic_medium,
        cast(null as varchar) as page_path,
        cast(null as bigint) as sessions,
        cast(null as bigint) as total_users,
        cast(sum(screen_page_views) as bigint) as screen_page_views,
        cast(sum(event_count) as bigint) as event_count,
        bool_and(is_final) as is_final,
        bool_or(is_synthetic) as is_synthetic,
        max(pulled_at) as pulled_at
    from events
    where event_date not in (select event_date from source_rows)
    group by
        event_date,
        traffic_source,
        traffic_medium

    union all

    select
        event_date,
        'page' as report,
        cast(null as varchar) as traffic_source,
        cast(null as varchar) as traffic_medium,
        page_path,
        sessions,
        total_users,
        screen_page_views,
        event_count,
        is_final,
        is_synthetic,
        pulled_at
    from page_rows

    union all

    select
        event_date,
        'page' as report,
        cast(null as varchar) as traffic_source,
        cast(null as varchar) as traffic_medium,
        page_path,
        cast(null as bigint) as sessions,
        cast(null as bigint) as total_users,
        cast(sum(screen_page_views) as bigint) as screen_page_views,
        cast(sum(event_count) as bigint) as event_count,
        bool_and(is_final) as is_final,
        bool_or(is_synthetic) as is_synthetic,
        max(pulled_at) as pulled_at
    from events
    where event_date not in (select event_date from page_rows)
    group by
        event_date,
        page_path

)

select
    reports.event_date,
    reports.report,
    reports.traffic_source,
    reports.traffic_medium,
    reports.page_path,
    case when reports.report = 'traffic_source' then {{ ga4_channel() }} end as channel,
    reports.sessions,
    reports.total_users,
    reports.screen_page_views,
    reports.event_count,
    {{ ratio('reports.sessions', 'daily.sessions') }} as share_of_sessions,
    {{ ratio('reports.total_users', 'daily.total_users') }} as share_of_users,
    {{ ratio('reports.screen_page_views', 'daily.screen_page_views') }} as share_of_page_views,
    {{ ratio('reports.event_count', 'daily.event_count') }} as share_of_events,
    row_number() over (
        partition by reports.event_date, reports.report
        order by
            coalesce(reports.screen_page_views, 0) desc,
            reports.page_path asc,
            reports.traffic_source asc,
            reports.traffic_medium asc
    ) as rank,
    reports.is_final,
    reports.is_synthetic,
    reports.pulled_at,
    {{ ga4_dbt_updated_at() }} as dbt_updated_at
from reports
left join daily
    on reports.event_date = daily.event_date
