with

product_days as (

    select * from {{ ref('product_days') }}

)

select distinct product_id
from product_days
