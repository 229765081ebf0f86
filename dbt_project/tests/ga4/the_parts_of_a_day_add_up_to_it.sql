{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'ga4_daily_cleaned'}}}) }}

-- What may be added up, page views and events, comes to the day's own number in each report, unless Google says that it
-- left rows out or put some together. Only a warning: the reports of a date are asked for one after the other, and what
-- happens in between is in some of them.
with

window_dates as (

    select partition_date as event_date
    from {{ source('ops', 'run_window') }}
    where domain = 'ga4'

),

inexact as (

    select
        event_date,
        report
    from {{ source('analytics', 'ga4_pulls') }}
    where
        event_date in (select event_date from window_dates)
        and status = 'published'
        and (data_loss_from_other_row or subject_to_thresholding or is_sampled)

),

parts as (

    select
        event_date,
        'ga_sources' as report,
        sum(screen_page_views) as screen_page_views,
        sum(event_count) as event_count
    from {{ ref('ga4_sources_cleaned') }}
    where event_date in (select event_date from window_dates)
    group by event_date

    union all

    select
        event_date,
        'ga_pages' as report,
        sum(screen_page_views) as screen_page_views,
        sum(event_count) as event_count
    from {{ ref('ga4_pages_cleaned') }}
    where event_date in (select event_date from window_dates)
    group by event_date

)

select
    parts.event_date,
    parts.report,
    parts.screen_page_views,
    daily.screen_page_views as screen_page_views_of_the_day,
    parts.event_count,
    daily.event_count as event_count_of_the_day
from parts
inner join {{ ref('ga4_daily_cleaned') }} as daily
    on parts.event_date = daily.event_date
left join inexact
    on
        parts.event_date = inexact.event_date
        and inexact.report in (parts.report, 'ga_daily')
where
    inexact.event_date is null
    and (parts.screen_page_views <> daily.screen_page_views or parts.event_count <> daily.event_count)
