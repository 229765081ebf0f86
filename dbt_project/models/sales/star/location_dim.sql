{{ config(materialized='table') }}

with

versions as (

    select
        *,
        lead(load_date) over (partition by location_id order by load_date) as valid_to
    from {{ ref('location_versions') }}

),

inferred as (

    {{ inferred_members('location', 'location_id', 'location_key') }}

)

select
    location_key,
    location_id,
    store_name,
    city,
    state,
    region,
    country,
    load_date as valid_from,
    valid_to,
    valid_to is null as is_current,
    false as is_inferred
from versions

union all

select
    {{ member_key('location_id') }} as location_key,
    location_id,
    cast(null as varchar) as store_name,
    cast(null as varchar) as city,
    cast(null as varchar) as state,
    cast(null as varchar) as region,
    cast(null as varchar) as country,
    cast(null as date) as valid_from,
    cast(null as date) as valid_to,
    true as is_current,
    true as is_inferred
from inferred
