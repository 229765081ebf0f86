{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ delete_touched_sale_dates('sale_date') }}",
    sort='sale_date'
) }}

select
    sale_date,
    product_id,
    count(*) as sales,
    cast(sum(quantity) as bigint) as quantity,
    {{ money('sum(gross_amount)') }} as gross_amount,
    {{ money('sum(discount)') }} as discount,
    {{ money('sum(tax_amount)') }} as tax_amount,
    {{ money('sum(net_amount)') }} as net_amount
from {{ ref('sales_fact') }}
{{ where_sale_date_is_touched('sale_date') }}
group by
    sale_date,
    product_id
