select
    event_date,
    currency,
    count(*) as purchases,
    count(distinct coalesce(user_id, visitor_key)) as buyers,
    sum(revenue) as revenue
from clickstream_cleaned.events_cleaned
where
    event_date between date '2026-03-01' and date '2026-03-07'
    and event_type = 'purchase'
    and not is_bot
group by
    event_date,
    currency
order by
    event_date,
    currency
