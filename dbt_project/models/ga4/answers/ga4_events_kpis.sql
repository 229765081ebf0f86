{%- set metrics = ['sessions', 'total_users', 'screen_page_views', 'event_count'] %}

with

daily as (

    select * from {{ ref('ga4_daily_cleaned') }}

),

-- By date, not by row: a date without a row is in no average, and its neighbours stay where they are.
averages as (

    select
        daily.event_date,
        {%- for metric in metrics %}
        avg(cast(of_week.{{ metric }} as double precision)) as {{ metric }}_7_day_average,
        {%- endfor %}
        count(*) as days_in_average
    from daily
    inner join daily as of_week
        on
            daily.event_date >= of_week.event_date
            and daily.event_date <= of_week.event_date + 6
    group by daily.event_date

)

select
    daily.event_date,
    {%- for metric in metrics %}
    daily.{{ metric }},
    {%- endfor %}
    {{ ratio('daily.screen_page_views', 'daily.sessions') }} as pages_per_session,
    {{ ratio('daily.sessions', 'daily.total_users') }} as sessions_per_user,
    {{ ratio('daily.event_count', 'daily.sessions') }} as events_per_session,
    averages.days_in_average,
    {%- for metric in metrics %}
    averages.{{ metric }}_7_day_average,
    {%- endfor %}
    {%- for metric in metrics %}
    daily.{{ metric }} - week_before.{{ metric }} as {{ metric }}_change,
    {{ ratio('daily.' ~ metric ~ ' - week_before.' ~ metric, 'week_before.' ~ metric) }} as {{ metric }}_change_share,
    {%- endfor %}
    daily.is_final,
    daily.pulled_at,
    daily.time_zone,
    daily.is_synthetic,
    {{ ga4_dbt_updated_at() }} as dbt_updated_at
from daily
inner join averages
    on daily.event_date = averages.event_date
left join daily as week_before
    on daily.event_date = week_before.event_date + 7
