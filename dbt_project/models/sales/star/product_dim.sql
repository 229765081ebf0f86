{{ config(materialized='table') }}

with

versions as (

    select
        *,
        lead(load_date) over (partition by product_id order by load_date) as valid_to
    from {{ ref('product_versions') }}

),

inferred as (

    {{ inferred_members('product', 'product_id', 'product_key') }}

)

select
    product_key,
    product_id,
    product_name,
    category,
    subcategory,
    brand,
    unit_price,
    load_date as valid_from,
    valid_to,
    valid_to is null as is_current,
    false as is_inferred
from versions

union all

select
    {{ member_key('product_id') }} as product_key,
    product_id,
    cast(null as varchar) as product_name,
    cast(null as varchar) as category,
    cast(null as varchar) as subcategory,
    cast(null as varchar) as brand,
    cast(null as decimal(12, 2)) as unit_price,
    cast(null as date) as valid_from,
    cast(null as date) as valid_to,
    true as is_current,
    true as is_inferred
from inferred
