{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ delete_absorbed_load_dates() }}",
    post_hook=["{{ sales_forget('pending_load_dates') }}", "{{ sales_forget('touched_by_sales') }}"]
) }}

-- Written after everything that reads the lists of work:
-- depends_on: {{ ref('pending_load_dates') }}
-- depends_on: {{ ref('touched_by_sales') }}
-- depends_on: {{ ref('customer_dim') }}
-- depends_on: {{ ref('product_dim') }}
-- depends_on: {{ ref('location_dim') }}
-- depends_on: {{ ref('mv_daily_sales') }}
-- depends_on: {{ ref('product_sales_days') }}

{%- for feed in ['customers', 'products', 'locations', 'sales'] %}
{%- if not loop.first %}

union all
{%- endif %}

select
    'sales_cleaned.{{ feed }}_cleaned' as source,
    load_date,
    count(*) as absorbed_rows
from {{ source('sales_cleaned', feed ~ '_cleaned') }}
where load_date in ({{ sales_load_dates() }})
group by load_date
{%- endfor %}
