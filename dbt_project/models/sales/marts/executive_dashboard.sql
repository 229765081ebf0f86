with

days as (

    select * from {{ ref('mv_daily_sales') }}

),

customers as (

    select
        sale_date,
        count(distinct customer_id) as customers
    from {{ ref('sales_fact') }}
    group by sale_date

),

first_day as (

    select min(date_value) as date_value from days

),

-- By date, not by row: a date without sales has sold nothing, and its neighbours stay where they are.
weeks as (

    select
        days.date_value,
        sum(of_week.net_amount) as net_amount
    from days
    inner join days as of_week
        on
            days.date_value >= of_week.date_value
            and days.date_value <= of_week.date_value + 6
    group by days.date_value

)

select
    days.date_value,
    days.date_key,
    days.net_amount,
    days.gross_amount,
    days.discount,
    days.tax_amount,
    days.orders,
    days.quantity,
    customers.customers,
    {{ ratio('days.net_amount', 'days.orders') }} as average_order_value,
    cast(weeks.net_amount as double precision)
    / case
        when days.date_value - first_day.date_value < 6 then days.date_value - first_day.date_value + 1
        else 7
    end as net_amount_7_day_average,
    year_before.net_amount as net_amount_year_before,
    {{ ratio('days.net_amount - year_before.net_amount', 'year_before.net_amount') }} as net_amount_change_share
from days
inner join weeks
    on days.date_value = weeks.date_value
cross join first_day
left join customers
    on days.date_value = customers.sale_date
left join days as year_before
    on days.date_key = year_before.date_key + 10000
