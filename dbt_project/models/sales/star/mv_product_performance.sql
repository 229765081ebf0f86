{{ config(
    materialized=materialized_view_or('table'),
    auto_refresh=false
) }}

-- From tables that are written to, not made anew: Redshift drops a materialized view together with a table under it.
with

versions as (

    select
        product_id,
        product_name,
        category,
        brand,
        row_number() over (partition by product_id order by load_date desc) as place
    from {{ ref('product_versions') }}

),

sold as (

    select
        product_id,
        cast(sum(sales) as bigint) as sales,
        cast(sum(quantity) as bigint) as quantity,
        sum(gross_amount) as gross_amount,
        sum(discount) as discount,
        sum(tax_amount) as tax_amount,
        sum(net_amount) as net_amount
    from {{ ref('product_sales_days') }}
    group by product_id

)

select
    sold.product_id,
    versions.product_name,
    versions.category,
    versions.brand,
    sold.sales,
    sold.quantity,
    sold.gross_amount,
    sold.discount,
    sold.tax_amount,
    sold.net_amount,
    row_number() over (
        order by
            sold.net_amount desc,
            sold.product_id asc
    ) as rank
from sold
left join versions
    on
        sold.product_id = versions.product_id
        and versions.place = 1
