{#- How a clickstream run recomputes exactly the dates that changed events can reach.
    The protocol as a whole is told in models/clickstream/window/absorbed_event_dates.yml. -#}

{#- The changed event dates, each with so many dates before and after it, as a list of literals, since the rows are
    stored by date and a list of literals is what lets DuckDB open these dates' files and no others; null for none. -#}
{% macro clickstream_dates(before=0, after=0) -%}
    {%- set changed_event_dates = ref('changed_event_dates') -%}
    {%- set dates = [] -%}
    {%- if execute -%}
        {%- for row in run_query('select event_date from ' ~ changed_event_dates) -%}
            {%- set day = modules.datetime.datetime.strptime((row[0] | string)[:10], '%Y-%m-%d') -%}
            {%- for offset in range(-before, after + 1) -%}
                {%- do dates.append("cast('" ~ (day + modules.datetime.timedelta(days=offset)).strftime('%Y-%m-%d') ~ "' as date)") -%}
            {%- endfor -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(dates | unique | sort | join(', ') if dates else 'null') }}
{%- endmacro %}

{#- The Mondays of the weeks of the changed event dates, and so many dates after each. -#}
{% macro clickstream_weeks(after=0) -%}
    {%- set changed_event_dates = ref('changed_event_dates') -%}
    {%- set dates = [] -%}
    {%- if execute -%}
        {%- for row in run_query('select event_date from ' ~ changed_event_dates) -%}
            {%- set day = modules.datetime.datetime.strptime((row[0] | string)[:10], '%Y-%m-%d') -%}
            {%- for offset in range(-day.weekday(), after + 1 - day.weekday()) -%}
                {%- do dates.append("cast('" ~ (day + modules.datetime.timedelta(days=offset)).strftime('%Y-%m-%d') ~ "' as date)") -%}
            {%- endfor -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(dates | unique | sort | join(', ') if dates else 'null') }}
{%- endmacro %}

{#- The condition that keeps only such dates. A relation that is built for the first time takes every row
    instead, so that it starts complete. -#}
{% macro in_reach(column, before=0, after=0) -%}
    {%- set changed_event_dates = ref('changed_event_dates') -%}
    {%- if is_incremental() -%}
    {{ column }} in ({{ clickstream_dates(before, after) }})
    {%- else -%}
    1 = 1
    {%- endif -%}
{%- endmacro %}

{#- Pre-hook: clears such dates, in the transaction that inserts their new rows. -#}
{% macro clickstream_delete(column, before=0, after=0) -%}
    {%- set changed_event_dates = ref('changed_event_dates') -%}
    {%- if is_incremental() -%}
    delete from {{ this }} where {{ column }} in ({{ clickstream_dates(before, after) }})
    {%- endif -%}
{%- endmacro %}

{#- Vars in seconds. -#}
{% macro session_timeout() -%}
    {{ return(var('clickstream_session_timeout_minutes') * 60) }}
{%- endmacro %}

{% macro attribution_lookback() -%}
    {{ return(var('clickstream_attribution_lookback_days') * 86400) }}
{%- endmacro %}

{% macro funnel_window() -%}
    {{ return(var('clickstream_funnel_window_hours') * 3600) }}
{%- endmacro %}

{#- How many midnights a session can cross. -#}
{% macro session_midnights() -%}
    {{ return(var('clickstream_session_max_days') - 1) }}
{%- endmacro %}

{#- The reach of changed events, in dates around theirs; each as (before, after).

    Sessions, by the date on which they start. With m midnights at most: a piece of date p is in another session than
    before only if one of the dates p - 2m … p changed (clickstream_sessions tells why), and that session began on
    p - m … p. -#}
{% macro reach_of_sessions() -%}
    {%- set m = session_midnights() -%}
    {{ return((m, 2 * m)) }}
{%- endmacro %}

{#- Daily metrics: the sessions, and the visitors of the 30 days up to the date. -#}
{% macro reach_of_daily_metrics() -%}
    {%- set sessions = reach_of_sessions() -%}
    {{ return((sessions[0], [sessions[1], 29] | max)) }}
{%- endmacro %}

{#- Before the changed dates: the visitors of the 30 days up to the first date to recompute. -#}
{% macro daily_metrics_read_back() -%}
    {{ return(reach_of_daily_metrics()[0] + 29) }}
{%- endmacro %}

{#- The dates that attribution looks back: sessions that began within the look-back, and those whose log-in fell into
    it though they began before. -#}
{% macro attribution_reads_back() -%}
    {{ return(var('clickstream_attribution_lookback_days') + session_midnights()) }}
{%- endmacro %}

{% macro reach_of_attribution() -%}
    {%- set sessions = reach_of_sessions() -%}
    {{ return((sessions[0], sessions[1] + attribution_reads_back())) }}
{%- endmacro %}

{#- Dates after that of step one on which further steps can be. -#}
{% macro funnel_days() -%}
    {{ return((var('clickstream_funnel_window_hours') + 23) // 24) }}
{%- endmacro %}

{#- A list of a var as literals. -#}
{% macro literals(values) -%}
    {%- set quoted = [] -%}
    {%- for value in values -%}
        {%- do quoted.append("'" ~ (value | replace("'", "''")) ~ "'") -%}
    {%- endfor -%}
    {{ return(quoted | join(', ') if quoted else 'null') }}
{%- endmacro %}

{#- Post-hooks of absorbed_event_dates: empty a list of work, unless some reader of one was not selected: then the work
    stays listed in both and the next full run does it. -#}
{% macro clickstream_forget(name) -%}
    {%- set lists = [ref('changed_event_dates').identifier, ref('changed_persons').identifier] -%}
    {%- set missed = [] -%}
    {%- set models = graph.nodes.values() | selectattr('resource_type', 'equalto', 'model') if execute else [] -%}
    {%- for node in models if node.unique_id not in selected_resources -%}
        {%- for parent in node.depends_on.nodes if parent.split('.')[-1] in lists -%}
            {%- do missed.append(node.unique_id) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- if not missed -%}
    delete from {{ ref(name) }}
    {%- endif -%}
{%- endmacro %}

{#- The same pair for what is kept by week. -#}
{% macro in_reach_of_weeks(column) -%}
    {%- set changed_event_dates = ref('changed_event_dates') -%}
    {%- if is_incremental() -%}
    {{ column }} in ({{ clickstream_weeks(6) }})
    {%- else -%}
    1 = 1
    {%- endif -%}
{%- endmacro %}

{% macro clickstream_delete_weeks() -%}
    {%- set changed_event_dates = ref('changed_event_dates') -%}
    {%- if is_incremental() -%}
    delete from {{ this }} where week in ({{ clickstream_weeks() }})
    {%- endif -%}
{%- endmacro %}
