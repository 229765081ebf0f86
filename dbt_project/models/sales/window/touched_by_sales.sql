{{ config(
    materialized='incremental',
    incremental_strategy='append',
    full_refresh=false
) }}

{%- set before = sales_fact_before() %}
{%- set replaced = replaced_sales() %}
{%- set members = {
    'customer': ref('customer_versions'), 'product': ref('product_versions'), 'location': ref('location_versions')
} %}

select distinct
    cast('sale_date' as varchar(9)) as kind,
    cast(sale_date as varchar(65535)) as value
from {{ ref('sales_fact_changes') }}
{%- for kind in members %}

union

select distinct
    '{{ kind }}' as kind,
    {{ kind }}_id as value
from {{ ref('sales_fact_changes') }}
where {{ kind }}_is_inferred
{%- endfor %}
{%- if before %}
{%- for condition in replaced %}

union

select distinct
    'sale_date' as kind,
    cast(sale_date as varchar) as value
from {{ before }}
where {{ condition }}
{%- for kind, versions in members.items() %}

union

select
    '{{ kind }}' as kind,
    replaced.{{ kind }}_id as value
from (
    select distinct {{ kind }}_id
    from {{ before }}
    where {{ condition }}
) as replaced
where replaced.{{ kind }}_id not in (select {{ kind }}_id from {{ versions }})
{%- endfor %}
{%- endfor %}
{%- endif %}
