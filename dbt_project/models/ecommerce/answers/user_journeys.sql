{{ config(materialized='view') }}

with

events as (

    select * from {{ ref('events') }}

),

purchasers as (

    select user_id
    from {{ ref('user_totals') }}
    where purchases > 0

)

select
    events.user_id,
    row_number() over (
        partition by events.user_id
        order by events.event_timestamp, events.event_id
    ) as step,
    events.event_id,
    events.event_type,
    events.product_id,
    events.amount,
    events.event_timestamp
from events
inner join purchasers
    on events.user_id = purchasers.user_id
