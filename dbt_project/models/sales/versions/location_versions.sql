{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ delete_versions() }}",
    dist='location_id',
    sort='load_date'
) }}

{%- set attributes = ['store_name', 'city', 'state', 'region', 'country'] %}

{{ member_versions('locations', 'location_id', 'location_key', attributes, attributes) }}
