select
    event_date,
    event_type,
    count(*) as events,
    count(distinct coalesce(user_id, visitor_key)) as visitors
from clickstream_cleaned.events_cleaned
where
    event_date between date '2026-03-01' and date '2026-03-07'
    and not is_bot
group by
    event_date,
    event_type
order by
    event_date asc,
    events desc,
    event_type asc
