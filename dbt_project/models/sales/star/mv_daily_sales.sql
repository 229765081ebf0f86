{{ config(
    materialized=materialized_view_or('incremental'),
    incremental_strategy='append',
    pre_hook="{{ delete_touched_sale_dates('date_value') }}",
    auto_refresh=false
) }}

select
    sale_date as date_value,
    date_key,
    count(*) as orders,
    cast(sum(quantity) as bigint) as quantity,
    sum(gross_amount) as gross_amount,
    sum(discount) as discount,
    sum(tax_amount) as tax_amount,
    sum(net_amount) as net_amount
from {{ ref('sales_fact') }}
{{ where_sale_date_is_touched('sale_date') }}
group by
    sale_date,
    date_key
