{{ config(
    materialized='incremental',
    incremental_strategy='append',
    full_refresh=false
) }}

-- It is made with one row, which stands for everybody: how sessions differ that are older than it nobody has noted.
select cast('{{ everybody() }}' as varchar(65535)) as person
{% if is_incremental() %}
where 1 = 0
{% endif %}
