with

product_days as (

    select * from {{ ref('product_days') }}

),

totals as (

    select
        product_id,
        cast(sum(view_count) as bigint) as view_count,
        cast(sum(add_to_cart_count) as bigint) as add_to_cart_count,
        cast(sum(purchase_count) as bigint) as purchase_count,
        {{ money('sum(revenue)') }} as revenue
    from product_days
    group by product_id

)

select
    product_id,
    view_count,
    add_to_cart_count,
    purchase_count,
    revenue,
    row_number() over (order by view_count desc, product_id asc) as rank
from totals
