with

visitor_weeks as (

    select
        week,
        min(week) over (partition by visitor_id) as cohort_week
    from {{ ref('visitor_weeks') }}

),

counted as (

    select
        cohort_week,
        cast((week - cohort_week) / 7 as integer) as week_number,
        count(*) as visitors
    from visitor_weeks
    group by
        cohort_week,
        week

),

sized as (

    select
        *,
        max(case when week_number = 0 then visitors end) over (partition by cohort_week) as cohort_visitors
    from counted

)

select
    cohort_week,
    week_number,
    cohort_visitors,
    visitors,
    {{ ratio('visitors', 'cohort_visitors') }} as share
from sized
