-- The same users, events, purchases and money, cut in different ways, add up to the same totals.
{{ config(meta={'dagster': {'ref': {'name': 'weekday_weekend'}}}) }}

with

totals as (

    select
        (select coalesce(sum(events), 0) from {{ ref('weekday_weekend') }}) as events_by_kind_of_day,
        (select coalesce(sum(events), 0) from {{ ref('daily_active_users') }}) as events_by_day,
        (select coalesce(sum(total_events), 0) from {{ ref('users') }}) as events_by_user,
        (select coalesce(sum(user_count), 0) from {{ ref('user_segments') }}) as users_by_segment,
        (select count(*) from {{ ref('users') }}) as users_there_are,
        (select coalesce(sum(revenue), 0) from {{ ref('weekday_weekend') }}) as revenue_by_kind_of_day,
        (select total_revenue from {{ ref('revenue_metrics') }}) as revenue_in_all,
        (select users_purchased from {{ ref('conversion_funnel') }}) as purchasers_in_funnel,
        (select total_purchasers from {{ ref('revenue_metrics') }}) as purchasers_in_all

)

select * from totals
where
    events_by_kind_of_day <> events_by_day
    or events_by_day <> events_by_user
    or users_by_segment <> users_there_are
    or revenue_by_kind_of_day <> revenue_in_all
    or purchasers_in_funnel <> purchasers_in_all
