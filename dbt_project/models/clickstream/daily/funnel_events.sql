{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ clickstream_delete('event_date') }}",
    dist='visitor_id',
    sort='event_date'
) }}
{%- set steps = var('clickstream_funnel_steps') %}
{%- if steps | unique | list | length < steps | length or steps | length < 2 %}
{{ exceptions.raise_compiler_error('clickstream_funnel_steps needs two or more different event types') }}
{%- endif %}

-- Of the first step the first of a date, which is the one that counts; of the others each.
select
    event_date,
    visitor_id,
    event_type,
    min(event_ts) as event_ts
from {{ ref('events_enhanced') }}
where
    {{ in_reach('event_date') }}
    and event_type in ({{ literals(steps) }})
    and visitor_id is not null
    and not is_bot
group by
    event_date,
    visitor_id,
    event_type,
    case when event_type = {{ literals(steps[:1]) }} then null else event_ts end
