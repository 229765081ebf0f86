with

events as (

    select * from {{ ref('ga4_events_cleaned') }}

)

select
    *,
    {{ ratio('screen_page_views', 'sessions') }} as pages_per_session,
    {{ ratio('sessions', 'total_users') }} as sessions_per_user,
    {{ ratio('event_count', 'sessions') }} as events_per_session,
    {{ ga4_channel() }} as channel,
    {{ ga4_dbt_updated_at() }} as dbt_updated_at
from events
