{{ config(dist='user_id') }}

with

user_days as (

    select * from {{ ref('user_days') }}

),

first_views as (

    select
        user_id,
        min(first_view_at) as first_view_at
    from user_days
    where first_view_at is not null
    group by user_id

),

with_first_view as (

    select
        user_days.*,
        first_views.first_view_at as first_view_ever_at
    from user_days
    left join first_views
        on user_days.user_id = first_views.user_id

)

select
    user_id,

    -- when
    min(event_date) as first_seen_date,
    max(event_date) as last_seen_date,

    -- counts
    cast(sum(events) as bigint) as total_events,
    cast(sum(product_views) as bigint) as product_views,
    cast(sum(add_to_carts) as bigint) as add_to_carts,
    cast(sum(purchases) as bigint) as purchases,

    -- money
    {{ money('sum(revenue)') }} as revenue,

    -- the ordered funnel
    min(first_view_ever_at) as first_view_at,
    -- On the day of the first view ever, adds before that view do not count: there the day's first
    -- add may be too early while its first add after a view is not. On later days every add counts.
    min(
        case
            when first_add_at >= first_view_ever_at then first_add_at
            when first_add_after_view_at >= first_view_ever_at then first_add_after_view_at
        end
    ) as first_add_after_view_at,
    max(last_purchase_at) as last_purchase_at

from with_first_view
group by user_id
