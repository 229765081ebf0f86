{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ clickstream_delete('event_date') }}",
    post_hook=["{{ clickstream_forget('changed_event_dates') }}", "{{ clickstream_forget('changed_persons') }}"]
) }}

-- Written after everything that reads the lists of work:
-- depends_on: {{ ref('changed_event_dates') }}
-- depends_on: {{ ref('changed_persons') }}
-- depends_on: {{ ref('event_days') }}
-- depends_on: {{ ref('visitor_weeks') }}
-- depends_on: {{ ref('identity_days') }}
-- depends_on: {{ ref('page_paths') }}
-- depends_on: {{ ref('session_hours') }}
-- depends_on: {{ ref('daily_metrics') }}
-- depends_on: {{ ref('attribution') }}
-- depends_on: {{ ref('funnel') }}

select
    event_date,
    cast(sum(events) as bigint) as events
from {{ ref('session_pieces') }}
where {{ in_reach('event_date') }}
group by event_date
