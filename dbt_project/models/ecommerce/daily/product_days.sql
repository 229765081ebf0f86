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
        product_id,
        event_type,
        amount
    from {{ ref('events') }}
    {{ where_event_date_is_stale() }}

)

select
    event_date,
    product_id,
    count(case when event_type = 'product_view' then 1 end) as view_count,
    count(case when event_type = 'add_to_cart' then 1 end) as add_to_cart_count,
    count(case when event_type = 'purchase' then 1 end) as purchase_count,
    {{ money("sum(case when event_type = 'purchase' then amount end)") }} as revenue
from events
where product_id is not null
group by
    event_date,
    product_id
