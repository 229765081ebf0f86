with

events as (

    select
        coalesce(user_id, visitor_key) as visitor_id,
        event_type,
        event_ts
    from clickstream_cleaned.events_cleaned
    where
        event_date between date '2026-03-01' and date '2026-03-07'
        and event_type in ('page_view', 'product_view', 'add_to_cart', 'purchase')
        and coalesce(user_id, visitor_key) is not null
        and not is_bot

),

viewed as (

    select
        visitor_id,
        min(event_ts) as started_at
    from events
    where event_type = 'page_view'
    group by visitor_id

),

viewed_product as (

    select
        viewed.visitor_id,
        viewed.started_at,
        min(events.event_ts) as reached_at
    from viewed
    inner join events
        on viewed.visitor_id = events.visitor_id
    where
        events.event_type = 'product_view'
        and events.event_ts >= viewed.started_at
        and events.event_ts <= viewed.started_at + interval '24' hour
    group by
        viewed.visitor_id,
        viewed.started_at

),

added as (

    select
        viewed_product.visitor_id,
        viewed_product.started_at,
        min(events.event_ts) as reached_at
    from viewed_product
    inner join events
        on viewed_product.visitor_id = events.visitor_id
    where
        events.event_type = 'add_to_cart'
        and events.event_ts >= viewed_product.reached_at
        and events.event_ts <= viewed_product.started_at + interval '24' hour
    group by
        viewed_product.visitor_id,
        viewed_product.started_at

),

purchased as (

    select
        added.visitor_id,
        min(events.event_ts) as reached_at
    from added
    inner join events
        on added.visitor_id = events.visitor_id
    where
        events.event_type = 'purchase'
        and events.event_ts >= added.reached_at
        and events.event_ts <= added.started_at + interval '24' hour
    group by added.visitor_id

)

select
    1 as step,
    'page_view' as event_type,
    count(*) as visitors
from viewed
union all
select
    2 as step,
    'product_view' as event_type,
    count(*) as visitors
from viewed_product
union all
select
    3 as step,
    'add_to_cart' as event_type,
    count(*) as visitors
from added
union all
select
    4 as step,
    'purchase' as event_type,
    count(*) as visitors
from purchased
order by step
