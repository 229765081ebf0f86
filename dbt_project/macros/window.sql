{#- How an e-commerce run recomputes exactly the days that its rows touch.
    The protocol as a whole is told in models/ecommerce/window/ingested_days.yml. -#}

{#- The condition that keeps only rows of stale event dates. A relation that is built for the first
    time takes every row instead, so that it starts complete. -#}
{% macro where_event_date_is_stale() -%}
    {%- set stale_event_dates = ref('stale_event_dates') -%}
    {%- set pending_ingestion_dates = ref('pending_ingestion_dates') -%}
    {%- if is_incremental() -%}
    where
        event_date in (select event_date from {{ stale_event_dates }})
        and ingestion_date in ({{ ingestion_dates_of_stale_event_dates() }})
    {%- endif -%}
{%- endmacro %}

{#- The ingestion dates in which rows of stale event dates can be: those of this run, and those in
    which they were when the aggregates last absorbed them. As literals, since events is stored by
    ingestion date and a list of literals is what lets DuckDB open these days' files and no others. -#}
{% macro ingestion_dates_of_stale_event_dates() -%}
    {%- set absorbed = absorbed_days() if execute -%}
    {%- set found -%}
        select ingestion_date from {{ ref('pending_ingestion_dates') }}
        {%- if absorbed %}
        union
        select ingestion_date from {{ absorbed }}
        where event_date in (select event_date from {{ ref('stale_event_dates') }})
        {%- endif -%}
    {%- endset -%}
    {{ return(date_literals(found)) }}
{%- endmacro %}

{#- The dates that a query gives, as a list of literals; null, which is in no list, for none. -#}
{% macro date_literals(query) -%}
    {%- set dates = [] -%}
    {%- if execute -%}
        {%- for row in run_query(query) -%}
            {%- do dates.append("cast('" ~ row[0] ~ "' as date)") -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(dates | join(', ') if dates else 'null') }}
{%- endmacro %}

{#- Pre-hook: clears the stale event dates, in the transaction that inserts their new rows. A date
    that lost its last event therefore ends up empty, and an error brings the old rows back. -#}
{% macro delete_stale_event_dates() -%}
    {%- if is_incremental() -%}
    delete from {{ this }}
    where event_date in (select event_date from {{ ref('stale_event_dates') }})
    {%- endif -%}
{%- endmacro %}

{#- The same pair for what is kept by ingestion date. -#}
{% macro where_ingestion_date_is_pending() -%}
    {%- set pending_ingestion_dates = ref('pending_ingestion_dates') -%}
    {%- if is_incremental() -%}
    where
        ingestion_date in (select ingestion_date from {{ pending_ingestion_dates }})
        and ingestion_date in ({{ date_literals('select ingestion_date from ' ~ pending_ingestion_dates) }})
    {%- endif -%}
{%- endmacro %}

{% macro delete_pending_ingestion_dates() -%}
    {%- if is_incremental() -%}
    delete from {{ this }}
    where ingestion_date in (select ingestion_date from {{ ref('pending_ingestion_dates') }})
    {%- endif -%}
{%- endmacro %}

{#- What the aggregates absorbed so far, (ingestion_date, event_date), as something to select from;
    none before the first run. ingested_days is written at the end of a run and read at its
    beginning: a ref() would be a circle, so the relation is looked up by name. -#}
{% macro absorbed_days() -%}
    {%- if execute -%}
        {{ return(adapter.get_relation(database=this.database, schema=this.schema, identifier='ingested_days')) }}
    {%- endif -%}
    {{ return(none) }}
{%- endmacro %}

{#- Post-hooks of ingested_days: empty the two lists of work. dbt reaches this point only when every
    selected model before it has succeeded; when some reader of the lists was not even selected, the
    work stays listed and the next full run does it. -#}
{% macro all_absorbed() -%}
    {%- set lists = [ref('stale_event_dates').identifier, ref('pending_ingestion_dates').identifier] -%}
    {%- set missed = [] -%}
    {%- set models = graph.nodes.values() | selectattr('resource_type', 'equalto', 'model') if execute else [] -%}
    {%- for node in models if node.unique_id not in selected_resources -%}
        {%- for parent in node.depends_on.nodes if parent.split('.')[-1] in lists -%}
            {%- do missed.append(node.unique_id) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(missed | length == 0) }}
{%- endmacro %}

{% macro forget(relation) -%}
    {%- if all_absorbed() -%}
    delete from {{ relation }}
    {%- endif -%}
{%- endmacro %}
