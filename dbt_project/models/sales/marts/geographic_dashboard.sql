with

months as (

    select
        cast(date_trunc('month', sale_date) as date) as month,
        location_id,
        count(*) as orders,
        count(distinct customer_id) as customers,
        cast(sum(quantity) as bigint) as quantity,
        sum(gross_amount) as gross_amount,
        sum(discount) as discount,
        sum(tax_amount) as tax_amount,
        sum(net_amount) as net_amount
    from {{ ref('sales_fact') }}
    group by
        cast(date_trunc('month', sale_date) as date),
        location_id

)

select
    months.month,
    locations.country,
    locations.region,
    locations.state,
    locations.city,
    months.location_id,
    locations.store_name,
    months.orders,
    months.customers,
    months.quantity,
    months.gross_amount,
    months.discount,
    months.tax_amount,
    months.net_amount,
    {{ ratio('months.net_amount', 'months.orders') }} as average_order_value,
    {{ ratio('months.net_amount', 'sum(months.net_amount) over (partition by months.month)') }} as share_of_month
from months
left join {{ ref('location_dim') }} as locations
    on
        months.location_id = locations.location_id
        and locations.is_current
