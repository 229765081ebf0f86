{{ config(materialized='table') }}

with

sold as (

    select
        min(date_value) as first_date,
        max(date_value) as last_date
    from {{ ref('mv_daily_sales') }}

),

years as (

    select
        cast(date_trunc('year', first_date) as date) as first_date,
        cast(extract(year from last_date) as integer) as last_year
    from sold

),

digits as (
    {% for digit in range(10) %}
    select {{ digit }} as digit
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}

),

-- 273 years
numbers as (

    select a.digit + 10 * b.digit + 100 * c.digit + 1000 * d.digit + 10000 * e.digit as n
    from digits as a
    cross join digits as b
    cross join digits as c
    cross join digits as d
    cross join digits as e

),

dates as (

    select
        years.first_date + numbers.n as date_value,
        years.last_year
    from years
    cross join numbers

)

select
    {{ date_key('date_value') }} as date_key,
    date_value,
    cast(extract(year from date_value) as integer) as year,
    cast(extract(quarter from date_value) as integer) as quarter,
    cast(extract(month from date_value) as integer) as month,
    cast(extract(day from date_value) as integer) as day,
    {{ day_of_week('date_value') }} >= 6 as is_weekend
from dates
where extract(year from date_value) <= last_year
