{{ config(materialized='table') }}

{%- set before = dimension_before() %}
{%- set dates = dates_of_versions('customers', before) %}

with

versions as (

    select
        *,
        lead(load_date) over (partition by customer_id order by load_date) as valid_to
    from {{ ref('customer_versions') }}

),

-- Of snapshots that were absorbed before, the names are here already: no other table but the snapshots has them.
described as (

    select
        customer_id,
        load_date,
        nullif(trim(coalesce(first_name, '') || ' ' || coalesce(last_name, '')), '') as full_name,
        email,
        city,
        state
    from {{ source('sales_cleaned', 'customers_cleaned') }}
    where load_date in ({{ dates }})
    {%- if before %}

    union all

    select
        customer_id,
        valid_from as load_date,
        full_name,
        email,
        city,
        state
    from {{ this }}
    where
        not is_inferred
        and coalesce(valid_from not in ({{ dates }}), true)
    {%- endif %}

),

inferred as (

    {{ inferred_members('customer', 'customer_id', 'customer_key') }}

)

select
    versions.customer_key,
    versions.customer_id,
    described.full_name,
    described.email,
    described.city,
    described.state,
    versions.load_date as valid_from,
    versions.valid_to,
    versions.valid_to is null as is_current,
    false as is_inferred
from versions
inner join described
    on
        versions.customer_id = described.customer_id
        and versions.load_date = described.load_date

union all

select
    {{ member_key('customer_id') }} as customer_key,
    customer_id,
    cast(null as varchar) as full_name,
    cast(null as varchar) as email,
    cast(null as varchar) as city,
    cast(null as varchar) as state,
    cast(null as date) as valid_from,
    cast(null as date) as valid_to,
    true as is_current,
    true as is_inferred
from inferred
