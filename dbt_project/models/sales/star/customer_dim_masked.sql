{{ config(materialized='view') }}

select
    customer_key,
    customer_id,
    substring(full_name, 1, 1) || '***' as full_name,
    substring(email, 1, 1) || '***@' || split_part(email, '@', 2) as email,
    city,
    state,
    valid_from,
    valid_to,
    is_current,
    is_inferred
from {{ ref('customer_dim') }}
