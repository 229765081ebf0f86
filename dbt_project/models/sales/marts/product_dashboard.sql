with

months as (

    select
        cast(date_trunc('month', sale_date) as date) as month,
        product_id,
        cast(sum(sales) as bigint) as sales,
        cast(sum(quantity) as bigint) as quantity,
        sum(gross_amount) as gross_amount,
        sum(discount) as discount,
        sum(tax_amount) as tax_amount,
        sum(net_amount) as net_amount
    from {{ ref('product_sales_days') }}
    group by
        cast(date_trunc('month', sale_date) as date),
        product_id

)

select
    months.month,
    months.product_id,
    products.product_name,
    products.category,
    products.subcategory,
    products.brand,
    months.sales,
    months.quantity,
    months.gross_amount,
    months.discount,
    months.tax_amount,
    months.net_amount,
    {{ ratio('months.gross_amount', 'months.quantity') }} as average_price,
    {{ ratio('months.discount', 'months.gross_amount') }} as discount_share,
    {{ ratio('months.net_amount', 'sum(months.net_amount) over (partition by months.month)') }} as share_of_month,
    row_number() over (
        partition by months.month
        order by
            months.net_amount desc,
            months.product_id asc
    ) as rank_in_month
from months
left join {{ ref('product_dim') }} as products
    on
        months.product_id = products.product_id
        and products.is_current
