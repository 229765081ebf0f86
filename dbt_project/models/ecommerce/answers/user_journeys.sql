{{ config(materialized='view') }}

with

events as (

    select * from {{ ref('events') }}

),

purchasers as (

    -- From the events themselves, not from a table that a run brings up to date a moment later:
    -- a reader in between must not see new events with old purchasers.
    select distinct user_id
    from events
    where event_type = 'purchase'

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
