with

dates as (

    select distinct event_date
    from {{ ref('event_type_days') }}

)

select
    {{ date_key('event_date') }} as date_key,
    event_date as date,
    cast(extract(year from event_date) as integer) as year,
    cast(extract(month from event_date) as integer) as month,
    cast(extract(day from event_date) as integer) as day,
    {{ day_of_week('event_date') }} as day_of_week,
    {{ day_of_week('event_date') }} >= 6 as is_weekend
from dates
