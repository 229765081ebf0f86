{#- Expressions that read the same on every database. -#}

{#- A double; null when there is nothing to divide by. -#}
{% macro ratio(numerator, denominator) -%}
    cast({{ numerator }} as double precision) / nullif({{ denominator }}, 0)
{%- endmacro %}

{% macro money(amount) -%}
    cast(coalesce({{ amount }}, 0) as decimal(18, 2))
{%- endmacro %}

{% macro day_type(date_column) -%}
    case when {{ day_of_week(date_column) }} >= 6 then 'Weekend' else 'Weekday' end
{%- endmacro %}

{#- Of the column cents, so many millionths, rounded down. Integers all the way, and in two parts, since the product of
    18 digits with a million is more than a bigint holds; the divisions meet multiples only. -#}
{% macro millionths_of_cents(parts) -%}
    cast(round((cents - mod(cents, 1000000)) / 1000000) as bigint) * {{ parts }}
    + cast(round((mod(cents, 1000000) * {{ parts }} - mod(mod(cents, 1000000) * {{ parts }}, 1000000)) / 1000000) as bigint)
{%- endmacro %}
