{{ config(
    materialized='incremental',
    incremental_strategy='append',
    full_refresh=false,
    pre_hook=[
        "{{ delete_replaced_sales(0) }}",
        "{{ delete_replaced_sales(1) }}",
        "{{ delete_replaced_sales(2) }}"
    ],
    dist='sale_key',
    sort=['sale_date', 'load_date']
) }}

-- Listed before the rows are replaced:
-- depends_on: {{ ref('touched_by_sales') }}

select
    sale_key,
    sale_id,
    customer_key,
    product_key,
    location_key,
    date_key,
    quantity,
    gross_amount,
    discount,
    tax_amount,
    net_amount,
    sale_date,
    load_date,
    customer_id,
    product_id,
    location_id
from {{ ref('sales_fact_changes') }}
