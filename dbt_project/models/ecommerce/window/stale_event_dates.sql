{{ config(
    materialized='incremental',
    incremental_strategy='append',
    full_refresh=false
) }}

-- What the pending ingestion dates held when the aggregates last read them is in ingested_days.
-- That model is the last of a run and this one among the first, so it cannot be a ref().
{%- set absorbed_days = absorbed_days() %}

with

pending as (

    select ingestion_date from {{ ref('pending_ingestion_dates') }}

),

touched as (

    -- the dates the pending rows have now
    select event_date
    from {{ ref('events') }}
    where ingestion_date in (select ingestion_date from pending)
    {%- if absorbed_days %}

    union

    -- the dates their predecessors had
    select event_date
    from {{ absorbed_days }}
    where ingestion_date in (select ingestion_date from pending)
    {%- endif %}

),

unique_dates as (

    select distinct event_date from touched

)

select unique_dates.event_date
from unique_dates
{% if is_incremental() %}
where
    not exists (
        select 1
        from {{ this }} as known
        where known.event_date = unique_dates.event_date
    )
{% endif %}
