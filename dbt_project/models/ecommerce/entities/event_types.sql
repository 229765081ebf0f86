with

event_type_days as (

    select * from {{ ref('event_type_days') }}

)

select distinct event_type
from event_type_days
