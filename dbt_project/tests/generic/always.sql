{#- Every condition is true of every row; a condition that is null counts as broken. -#}
{% test always(model, conditions) %}

with checked as (

    select
        case
            {%- for condition in conditions %}
            when not coalesce({{ condition }}, false) then '{{ condition | replace("'", "''") }}'
            {%- endfor %}
        end as broken_condition
    from {{ model }}

)

select
    broken_condition,
    count(*) as rows_that_break_it
from checked
where broken_condition is not null
group by broken_condition

{% endtest %}
