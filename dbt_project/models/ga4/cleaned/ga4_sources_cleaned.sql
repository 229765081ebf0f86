with

source as (

    select * from {{ source('analytics_cleaned', 'ga4_sources') }}

)

select
    event_date,
    traffic_source,
    traffic_medium,
    sessions,
    total_users,
    screen_page_views,
    event_count,
    pulled_at,
    origin,
    is_synthetic,
    time_zone,
    row_key,
    source_file,
    source_line,
    processed_at,
    {{ ga4_is_final() }} as is_final
from source
