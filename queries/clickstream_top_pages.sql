select
    page_path,
    count(*) as views,
    count(distinct coalesce(user_id, visitor_key)) as visitors
from clickstream_cleaned.events_cleaned
where
    event_date between date '2026-03-01' and date '2026-03-07'
    and event_type = 'page_view'
    and page_path is not null
    and not is_bot
group by page_path
order by
    views desc,
    page_path asc
limit 20
