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
