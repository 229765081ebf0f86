{{ config(meta={'dagster': {'ref': {'name': 'sales_fact'}}}) }}

-- Of the sales that the last run wrote; by the key first, to read one column where rows are put together.
{%- set changes = ref('sales_fact_changes') %}
{%- set load_dates = date_literals('select distinct load_date from ' ~ changes) %}

with

doubtful as (

    select sale_key
    from {{ ref('sales_fact') }}
    where {{ is_sale_of(ref('sales_fact'), changes, load_dates) }}
    group by sale_key
    having count(*) > 1

)

select
    sale_id,
    count(*) as rows_of_it
from {{ ref('sales_fact') }}
where sale_key in (select sale_key from doubtful)
group by sale_id
having count(*) > 1
