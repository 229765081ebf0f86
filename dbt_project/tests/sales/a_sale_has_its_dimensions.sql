{{ config(meta={'dagster': {'ref': {'name': 'sales_fact'}}}) }}

-- Every sale on the dates that the last run wrote to names a version of its customer, product and location that serves
-- its date, and a date of date_dim.
with

written as (

    select distinct sale_date from {{ ref('sales_fact_changes') }}

),

sales as (

    select
        sale_id,
        sale_date,
        date_key,
        customer_key,
        customer_id,
        product_key,
        product_id,
        location_key,
        location_id
    from {{ ref('sales_fact') }}
    where sale_date in (select sale_date from written)

)

select sales.sale_id
from sales
left join {{ ref('customer_dim') }} as customers
    on
        sales.customer_key = customers.customer_key
        and sales.customer_id = customers.customer_id
        and sales.sale_date < coalesce(customers.valid_to, cast('9999-12-31' as date))
left join {{ ref('product_dim') }} as products
    on
        sales.product_key = products.product_key
        and sales.product_id = products.product_id
        and sales.sale_date < coalesce(products.valid_to, cast('9999-12-31' as date))
left join {{ ref('location_dim') }} as locations
    on
        sales.location_key = locations.location_key
        and sales.location_id = locations.location_id
        and sales.sale_date < coalesce(locations.valid_to, cast('9999-12-31' as date))
left join {{ ref('date_dim') }} as dates
    on sales.date_key = dates.date_key
where
    customers.customer_key is null
    or products.product_key is null
    or locations.location_key is null
    or dates.date_key is null
