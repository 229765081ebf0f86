{{ config(meta={'dagster': {'ref': {'name': 'sales_fact'}}}) }}

-- To the cent: the cleaned sales of each load date of the window are in the fact, but for those of which a later load
-- date says otherwise. Which those are is looked up for the load dates whose sums are not the same, which are few; each
-- step names the tables themselves, since what several steps name DuckDB keeps, all of it.
{%- set run_window = source('ops', 'run_window') %}
{%- set cleaned = source('sales_cleaned', 'sales_cleaned') %}
{%- set measures = ['quantity', 'gross_amount', 'discount', 'tax_amount', 'net_amount'] %}
{%- set window_dates = date_literals("select partition_date from " ~ run_window ~ " where domain = 'sales'") %}

with

differing as (

    select load_date
    from (
        {%- for relation, sign in [(cleaned, 1), (ref('sales_fact'), -1)] %}
        select
            load_date,
            {{ sign }} * count(*) as sales,
            {%- for measure in measures %}
            {{ sign }} * sum({{ measure }}) as {{ measure }}{% if not loop.last %},{% endif %}
            {%- endfor %}
        from {{ relation }}
        where load_date in ({{ window_dates }})
        group by load_date
        {%- if not loop.last %}

        union all

        {%- endif %}
        {%- endfor %}
    ) as sums
    group by load_date
    having
        sum(sales) <> 0
        {%- for measure in measures %}
        or sum({{ measure }}) <> 0
        {%- endfor %}

),

arrived as (

    select
        load_date,
        sale_id,
        {{ measures | join(',\n        ') }},
        {{ member_key('sale_id') }} as sale_key
    from {{ cleaned }}
    where
        load_date in ({{ window_dates }})
        and load_date in (select load_date from differing)

),

written as (

    select
        load_date,
        sale_id,
        {{ measures | join(',\n        ') }}
    from {{ ref('sales_fact') }}
    where
        load_date in ({{ window_dates }})
        and load_date in (select load_date from differing)

),

missing as (

    select arrived.*
    from arrived
    left join written
        on
            arrived.sale_id = written.sale_id
            and arrived.load_date = written.load_date
    where written.sale_id is null

),

superseded as (

    select missing.*
    from missing
    inner join {{ ref('sales_fact') }} as later
        on
            missing.sale_key = later.sale_key
            and missing.sale_id = later.sale_id
            and missing.load_date < later.load_date

),

counted as (

    {%- for relation, sign in [('arrived', 1), ('superseded', -1), ('written', -1)] %}
    select
        load_date,
        {{ sign }} as sales,
        {%- for measure in measures %}
        {{ sign }} * {{ measure }} as {{ measure }}{% if not loop.last %},{% endif %}
        {%- endfor %}
    from {{ relation }}
    {%- if not loop.last %}

    union all

    {%- endif %}
    {%- endfor %}

)

select
    load_date,
    sum(sales) as sales_missing,
    {%- for measure in measures %}
    sum({{ measure }}) as {{ measure }}_missing{% if not loop.last %},{% endif %}
    {%- endfor %}
from counted
group by load_date
having
    sum(sales) <> 0
    {%- for measure in measures %}
    or sum({{ measure }}) <> 0
    {%- endfor %}
