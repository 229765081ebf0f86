{{ config(meta={'dagster': {'ref': {'name': 'sales_fact'}}}) }}

-- To the cent: the cleaned sales of each load date of the window are in the fact, but for those of which a later load
-- date says otherwise.
{%- set run_window = source('ops', 'run_window') %}
{%- set window_dates = date_literals("select partition_date from " ~ run_window ~ " where domain = 'sales'") %}

with

cleaned as (

    select
        load_date,
        sale_id,
        quantity,
        gross_amount,
        discount,
        tax_amount,
        net_amount
    from {{ source('sales_cleaned', 'sales_cleaned') }}
    where load_date in ({{ window_dates }})

),

fact as (

    select
        load_date,
        sale_id,
        quantity,
        gross_amount,
        discount,
        tax_amount,
        net_amount
    from {{ ref('sales_fact') }}
    where load_date in ({{ window_dates }})

),

missing as (

    select
        cleaned.*,
        {{ member_key('cleaned.sale_id') }} as sale_key
    from cleaned
    left join fact
        on
            cleaned.sale_id = fact.sale_id
            and cleaned.load_date = fact.load_date
    where fact.sale_id is null

),

superseded as (

    select missing.*
    from missing
    inner join {{ ref('sales_fact') }} as later
        on
            missing.sale_key = later.sale_key
            and missing.sale_id = later.sale_id
            and missing.load_date < later.load_date

),

counted as (

    {%- for relation, sign in [('cleaned', 1), ('superseded', -1), ('fact', -1)] %}
    select
        load_date,
        {{ sign }} as sales,
        {{ sign }} * quantity as quantity,
        {{ sign }} * gross_amount as gross_amount,
        {{ sign }} * discount as discount,
        {{ sign }} * tax_amount as tax_amount,
        {{ sign }} * net_amount as net_amount
    from {{ relation }}
    {%- if not loop.last %}

    union all

    {%- endif %}
    {%- endfor %}

)

select
    load_date,
    sum(sales) as sales_missing,
    sum(quantity) as quantity_missing,
    sum(gross_amount) as gross_amount_missing,
    sum(discount) as discount_missing,
    sum(tax_amount) as tax_amount_missing,
    sum(net_amount) as net_amount_missing
from counted
group by load_date
having
    sum(sales) <> 0
    or sum(quantity) <> 0
    or sum(gross_amount) <> 0
    or sum(discount) <> 0
    or sum(tax_amount) <> 0
    or sum(net_amount) <> 0
