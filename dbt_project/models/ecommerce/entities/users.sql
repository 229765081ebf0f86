with

user_totals as (

    select * from {{ ref('user_totals') }}

)

select
    user_id,
    first_seen_date,
    last_seen_date,
    total_events
from user_totals
