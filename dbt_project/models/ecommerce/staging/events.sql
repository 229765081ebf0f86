{{ config(materialized='view') }}

with

source as (

    select * from {{ source('ecommerce', 'events_cleaned') }}

),

renamed as (

    select
        -- ids
        event_id,
        user_id,
        session_id,
        product_id,

        -- what happened
        event_type,
        amount,
        outcome,

        -- when
        event_timestamp,
        event_date,
        {{ date_key('event_date') }} as date_key,
        ingestion_date

    from source

)

select * from renamed
