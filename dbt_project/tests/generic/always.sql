{#- Every condition is true of every row; a condition that is null counts as broken. -#}
{% test always(model, conditions) %}

with checked as (

    select
        *,
        case
            {%- for condition in conditions %}
            when not coalesce({{ condition }}, false) then '{{ condition | replace("'", "''") }}'
            {%- endfor %}
        end as broken_condition
    from {{ model }}

)

select * from checked
where broken_condition is not null

{% endtest %}
