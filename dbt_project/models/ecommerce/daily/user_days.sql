{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ delete_stale_event_dates() }}",
    dist='user_id',
    sort='event_date'
) }}

with

events as (

    select
        event_date,
        user_id,
        event_type,
        event_timestamp,
        amount
    from {{ ref('events') }}
    {{ where_event_date_is_stale() }}

),

first_views as (

    select
        event_date,
        user_id,
        min(event_timestamp) as first_view_at
    from events
    where event_type = 'product_view'
    group by
        event_date,
        user_id

),

with_first_view as (

    select
        events.event_date,
        events.user_id,
        events.event_type,
        events.event_timestamp,
        events.amount,
        first_views.first_view_at
    from events
    left join first_views
        on
            events.event_date = first_views.event_date
            and events.user_id = first_views.user_id

)

select
    event_date,
    user_id,

    -- counts
    count(*) as events,
    count(case when event_type = 'product_view' then 1 end) as product_views,
    count(case when event_type = 'add_to_cart' then 1 end) as add_to_carts,
    count(case when event_type = 'purchase' then 1 end) as purchases,

    -- money
    {{ money("sum(case when event_type = 'purchase' then amount end)") }} as revenue,

    -- what the ordered funnel over many days needs of one day
    min(first_view_at) as first_view_at,
    min(case when event_type = 'add_to_cart' then event_timestamp end) as first_add_at,
    min(
        case
            when event_type = 'add_to_cart' and event_timestamp >= first_view_at then event_timestamp
        end
    ) as first_add_after_view_at,
    max(case when event_type = 'purchase' then event_timestamp end) as last_purchase_at

from with_first_view
group by
    event_date,
    user_id
