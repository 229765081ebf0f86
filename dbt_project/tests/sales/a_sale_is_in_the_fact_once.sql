{{ config(meta={'dagster': {'ref': {'name': 'sales_fact'}}}) }}

-- Of the sales that the last run wrote; by the key first, to read one column of the others.
select
    sales.sale_id,
    count(*) as rows_of_it
from {{ ref('sales_fact') }} as sales
inner join {{ ref('sales_fact_changes') }} as written
    on
        sales.sale_key = written.sale_key
        and sales.sale_id = written.sale_id
group by sales.sale_id
having count(*) > 1
