{{ config(
    materialized='incremental',
    incremental_strategy='append',
    full_refresh=false
) }}

with

run_window as (

    select distinct partition_date as load_date
    from {{ source('ops', 'run_window') }}
    where domain = 'sales'

)

select run_window.load_date
from run_window
{% if is_incremental() %}
where
    not exists (
        select 1
        from {{ this }} as known
        where known.load_date = run_window.load_date
    )
{% endif %}
