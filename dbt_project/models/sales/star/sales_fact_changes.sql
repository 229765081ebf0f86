{{ config(materialized='table') }}

{%- set versions = {
    'customer': ref('customer_versions'), 'product': ref('product_versions'), 'location': ref('location_versions')
} %}
{%- set measures = ['quantity', 'gross_amount', 'discount', 'tax_amount', 'net_amount'] %}
{%- set cleaned = source('sales_cleaned', 'sales_cleaned') %}
{%- set before = sales_fact_before() %}
{%- set columns = ['sale_id', 'sale_date', 'customer_id', 'product_id', 'location_id'] + measures %}
{%- set run = sales_of_run(cleaned, before) %}

with

candidates as (
    {{ sale_candidates(columns, cleaned, before, run) }}

),

-- The few of which several load dates speak; read by themselves, since the candidates with all their columns would have
-- to be kept for it.
said as (

    {{ sale_candidates(['sale_id'], cleaned, before, run) }}

),

repeated as (

    select
        sale_id,
        max(load_date) as load_date,
        max(previous_sale_date) as previous_sale_date
    from said
    group by sale_id
    having count(*) > 1

),

latest as (

    select
        candidates.*,
        repeated.previous_sale_date as other_sale_date
    from candidates
    left join repeated
        on candidates.sale_id = repeated.sale_id
    where repeated.sale_id is null or candidates.load_date = repeated.load_date

),
{%- for kind, relation in versions.items() %}

{{ kind }}s as (

    select
        {{ kind }}_key,
        {{ kind }}_id,

        -- the first version serves all dates before it too
        case when is_first then cast('0001-01-01' as date) else load_date end as serves_from,
        coalesce(
            lead(load_date) over (partition by {{ kind }}_id order by load_date), cast('9999-12-31' as date)
        ) as serves_until
    from {{ relation }}

){% if not loop.last %},{% endif %}
{%- endfor %}

select
    {{ member_key('latest.sale_id') }} as sale_key,
    latest.sale_id,
    {%- for kind in versions %}
    coalesce({{ kind }}s.{{ kind }}_key, {{ member_key('latest.' ~ kind ~ '_id') }}) as {{ kind }}_key,
    {%- endfor %}
    {{ date_key('latest.sale_date') }} as date_key,
    {%- for measure in measures %}
    latest.{{ measure }},
    {%- endfor %}
    latest.sale_date,
    latest.load_date,
    {%- for kind in versions %}
    latest.{{ kind }}_id,
    {%- endfor %}
    coalesce(latest.previous_sale_date, latest.other_sale_date) as previous_sale_date,
    {%- for kind in versions %}
    {{ kind }}s.{{ kind }}_key is null as {{ kind }}_is_inferred{% if not loop.last %},{% endif %}
    {%- endfor %}
from latest
left join customers
    on
        latest.customer_id = customers.customer_id
        and latest.sale_date >= customers.serves_from
        and latest.sale_date < customers.serves_until
left join products
    on
        latest.product_id = products.product_id
        and latest.sale_date >= products.serves_from
        and latest.sale_date < products.serves_until
left join locations
    on
        latest.location_id = locations.location_id
        and latest.sale_date >= locations.serves_from
        and latest.sale_date < locations.serves_until
