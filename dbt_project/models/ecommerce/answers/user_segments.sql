with

user_totals as (

    select * from {{ ref('user_totals') }}

),

segmented as (

    select
        case
            when total_events >= {{ var('high_activity_events') }} then 'High Activity'
            when total_events >= {{ var('medium_activity_events') }} then 'Medium Activity'
            when total_events >= {{ var('low_activity_events') }} then 'Low Activity'
            else 'One-time Visitors'
        end as segment,
        total_events,
        purchases,
        revenue
    from user_totals

)

select
    segment,
    count(*) as user_count,
    {{ ratio('sum(total_events)', 'count(*)') }} as avg_events,
    {{ ratio('sum(purchases)', 'count(*)') }} as avg_purchases,
    {{ ratio('sum(revenue)', 'count(*)') }} as avg_spent
from segmented
group by segment
