{{ config(
    materialized='incremental',
    incremental_strategy='append',
    full_refresh=false
) }}

with

run_window as (

    select distinct partition_date as event_date
    from {{ source('ops', 'run_window') }}
    where domain = 'clickstream'

)

select run_window.event_date
from run_window
{% if is_incremental() %}
where
    not exists (
        select 1
        from {{ this }} as known
        where known.event_date = run_window.event_date
    )
{% endif %}
