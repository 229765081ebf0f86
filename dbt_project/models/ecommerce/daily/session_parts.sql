{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ delete_pending_ingestion_dates() }}",
    dist='user_id',
    sort='ingestion_date'
) }}

with

events as (

    select
        ingestion_date,
        user_id,
        session_id,
        event_timestamp
    from {{ ref('events') }}
    {{ where_ingestion_date_is_pending() }}

),

-- An event may come without a session; it belongs to none then.
of_sessions as (

    select * from events
    where session_id is not null

)

select
    ingestion_date,
    user_id,
    session_id,
    min(event_timestamp) as first_event_at,
    max(event_timestamp) as last_event_at,
    count(*) as events
from of_sessions
group by
    ingestion_date,
    user_id,
    session_id
