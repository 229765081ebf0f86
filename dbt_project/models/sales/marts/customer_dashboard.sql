with

sold as (

    select
        customer_id,
        count(*) as orders,
        min(sale_date) as first_sale_date,
        max(sale_date) as last_sale_date,
        sum(net_amount) as lifetime_value
    from {{ ref('sales_fact') }}
    group by customer_id

),

ranked as (

    select
        *,
        count(*) over () as n,
        rank() over (order by last_sale_date) as recency_rank,
        rank() over (order by orders) as frequency_rank,
        rank() over (order by lifetime_value) as monetary_rank
    from sold

),

-- Who is equal is in the same fifth.
scored as (

    select
        *,
        cast(floor(cast(5 * (recency_rank - 1) as double precision) / n) as integer) + 1 as recency_quintile,
        cast(floor(cast(5 * (frequency_rank - 1) as double precision) / n) as integer) + 1 as frequency_quintile,
        cast(floor(cast(5 * (monetary_rank - 1) as double precision) / n) as integer) + 1 as monetary_quintile
    from ranked

)

select
    customers.customer_id,
    customers.city,
    customers.state,
    coalesce(scored.orders, 0) as orders,
    {{ money('scored.lifetime_value') }} as lifetime_value,
    {{ ratio('scored.lifetime_value', 'scored.orders') }} as average_order_value,
    scored.first_sale_date,
    scored.last_sale_date,
    scored.recency_quintile,
    scored.frequency_quintile,
    scored.monetary_quintile,
    case
        when scored.orders is null then 'No Sales'
        when scored.recency_quintile >= 4 and scored.frequency_quintile >= 4 and scored.monetary_quintile >= 4
            then 'Champions'
        when scored.recency_quintile >= 3 and scored.frequency_quintile >= 3 then 'Loyal'
        when scored.recency_quintile >= 4 then 'Recent'
        when scored.recency_quintile <= 2 and (scored.frequency_quintile >= 3 or scored.monetary_quintile >= 4)
            then 'At Risk'
        when scored.recency_quintile <= 2 then 'Lost'
        else 'Occasional'
    end as segment,
    coalesce(scored.orders, 0) > 1 as is_repeat
from {{ ref('customer_dim') }} as customers
left join scored
    on customers.customer_id = scored.customer_id
where customers.is_current
