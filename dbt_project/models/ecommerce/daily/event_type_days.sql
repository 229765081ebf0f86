{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ delete_stale_event_dates() }}",
    sort='event_date'
) }}

with

events as (

    select
        event_date,
        event_type
    from {{ ref('events') }}
    {{ where_event_date_is_stale() }}

)

select
    event_date,
    event_type,
    count(*) as events
from events
group by
    event_date,
    event_type
