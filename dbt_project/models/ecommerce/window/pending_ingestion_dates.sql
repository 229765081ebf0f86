{{ config(
    materialized='incremental',
    incremental_strategy='append',
    full_refresh=false
) }}

with

run_window as (

    select distinct partition_date as ingestion_date
    from {{ source('ops', 'run_window') }}
    where domain = 'ecommerce'

)

select run_window.ingestion_date
from run_window
{% if is_incremental() %}
where
    not exists (
        select 1
        from {{ this }} as known
        where known.ingestion_date = run_window.ingestion_date
    )
{% endif %}
