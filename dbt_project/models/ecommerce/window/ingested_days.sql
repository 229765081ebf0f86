{{ config(
    materialized='incremental',
    incremental_strategy='append',
    full_refresh=false,
    pre_hook="{{ delete_stale_event_dates() }}",
    post_hook=[
        "{{ forget(ref('stale_event_dates')) }}",
        "{{ forget(ref('pending_ingestion_dates')) }}"
    ]
) }}

-- Written after everything that reads the lists of work:
-- depends_on: {{ ref('user_days') }}
-- depends_on: {{ ref('product_days') }}
-- depends_on: {{ ref('event_type_days') }}
-- depends_on: {{ ref('session_parts') }}
-- depends_on: {{ ref('pending_ingestion_dates') }}

with

events as (

    select
        ingestion_date,
        event_date
    from {{ ref('events') }}
    {{ where_event_date_is_stale() }}

)

select
    ingestion_date,
    event_date,
    count(*) as events
from events
group by
    ingestion_date,
    event_date
