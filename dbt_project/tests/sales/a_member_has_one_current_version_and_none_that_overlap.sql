{{ config(meta={'dagster': {'ref': {'name': 'customer_dim'}}}) }}

-- Of each customer, product and location: each version ends where the next begins, and the last one is open.
with

versions as (

    {%- for kind in ['customer', 'product', 'location'] %}
    select
        '{{ kind }}' as kind,
        {{ kind }}_id as id,
        valid_from,
        valid_to,
        is_current,
        lead(valid_from) over (partition by {{ kind }}_id order by valid_from) as next_from,
        count(*) over (partition by {{ kind }}_id) as versions,
        is_inferred
    from {{ ref(kind ~ '_dim') }}
    {%- if not loop.last %}

    union all

    {%- endif %}
    {%- endfor %}

)

select *
from versions
where
    coalesce(valid_to, cast('9999-12-31' as date)) <> coalesce(next_from, cast('9999-12-31' as date))
    or is_current <> (valid_to is null)
    or valid_from >= valid_to
    or (is_inferred and (versions > 1 or valid_from is not null))
    or (valid_from is null and not is_inferred)
