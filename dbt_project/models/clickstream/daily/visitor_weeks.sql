{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ clickstream_delete_weeks() }}",
    dist='visitor_id',
    sort='week'
) }}

with

visitor_days as (

    select
        event_date - ({{ day_of_week('event_date') }} - 1) as week,
        visitor_id
    from {{ ref('visitor_days') }}
    where {{ in_reach_of_weeks('event_date') }}

)

select distinct
    week,
    visitor_id
from visitor_days
