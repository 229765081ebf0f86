{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ delete_versions() }}",
    dist='product_id',
    sort='load_date'
) }}

{%- set attributes = ['product_name', 'category', 'subcategory', 'brand', 'unit_price'] %}

{{ member_versions('products', 'product_id', 'product_key', attributes, attributes) }}
