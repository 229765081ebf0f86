{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ delete_versions() }}",
    dist='customer_id',
    sort='load_date'
) }}

-- Without the attributes, which are personal and in customer_dim alone.
{%- set attributes = ['first_name', 'last_name', 'email', 'city', 'state'] %}

{{ member_versions('customers', 'customer_id', 'customer_key', attributes, []) }}
