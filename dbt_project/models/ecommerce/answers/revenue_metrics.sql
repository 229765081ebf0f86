with

user_totals as (

    select * from {{ ref('user_totals') }}

),

summed as (

    select
        count(case when purchases >= 1 then 1 end) as total_purchasers,
        count(case when purchases >= 2 then 1 end) as repeat_purchasers,
        sum(purchases) as purchases,
        {{ money('sum(revenue)') }} as total_revenue
    from user_totals

)

select
    total_purchasers,
    repeat_purchasers,
    total_revenue,
    {{ ratio('total_revenue', 'total_purchasers') }} as average_revenue_per_purchaser,
    {{ ratio('total_revenue', 'purchases') }} as average_order_value
from summed
