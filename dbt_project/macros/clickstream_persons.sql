{#- How a run attributes anew only the conversions of persons whose sessions differ, not all within reach.
    The protocol as a whole is told in models/clickstream/window/absorbed_event_dates.yml. -#}

{#- Stands for all persons in the list of changed ones, where a person has a prefix. -#}
{% macro everybody() -%}
    {{ return('*') }}
{%- endmacro %}

{#- What attribution reads of a session: sessions that are equal in it are the same to it. -#}
{% macro attributed_columns() -%}
    session_key,
    session_date,
    stream_key,
    started_at,
    ended_at,
    user_id,
    visitor_key,
    login_at,
    source,
    medium,
    campaign,
    channel,
    is_bot
{%- endmacro %}

{#- The condition that keeps the sessions which conversions within reach can have as touches. Robots' are none. -#}
{% macro is_attributable() -%}
    {%- set reach = reach_of_attribution() -%}
    {{ in_reach('session_date', reach[0] + attribution_reads_back(), reach[1]) }}
        and not is_bot
{%- endmacro %}

{#- All whom these sessions can be touches of, or change the touches of: the visitor and the user, and everybody who
    logs in on the visitor_key, since with another log-in before theirs, or without one, earlier sessions of the visitor
    become another's. `others`: where to look for these log-ins. -#}
{% macro persons_of(sessions, others) -%}
    select 'u:' || user_id as person from {{ sessions }}
    where user_id is not null
    union
    select 'v:' || visitor_key as person from {{ sessions }}
    where visitor_key is not null
    union
    select 's:' || session_key as person from {{ sessions }}
    where user_id is null and visitor_key is null
    union
    select 'u:' || user_id as person from {{ others }}
    where user_id is not null and visitor_key in (select visitor_key from {{ sessions }} where visitor_key is not null)
{%- endmacro %}

{#- Pre-hook of clickstream_sessions: keep what is about to be deleted. A table that is built as a whole has nothing to
    compare with. -#}
{% macro clickstream_keep_sessions() -%}
    {%- set changed_persons = ref('changed_persons') -%}
    {%- if is_incremental() -%}
    create temporary table sessions_before as
    select {{ attributed_columns() }}
    from {{ this }}
    where {{ in_reach('session_date', *reach_of_sessions()) }}
        and not is_bot
    {%- else -%}
    insert into {{ changed_persons }} select '{{ everybody() }}' as person
    {%- endif -%}
{%- endmacro %}

{#- Post-hooks of clickstream_sessions: list the persons whose sessions are not as they were. -#}
{% macro clickstream_list_persons() -%}
    {%- set changed_persons = ref('changed_persons') -%}
    {%- if is_incremental() -%}
    insert into {{ changed_persons }}
    with
    sessions_now as (
        select {{ attributed_columns() }}
        from {{ this }}
        where {{ in_reach('session_date', *reach_of_sessions()) }}
            and not is_bot
    ),
    before_and_now as (
        select * from sessions_before
        union all
        select * from sessions_now
    ),
    differing as (
        select {{ attributed_columns() }}
        from before_and_now
        group by {{ attributed_columns() }}
        having count(*) = 1
    ),
    attributable as (
        select user_id, visitor_key from {{ this }}
        where {{ is_attributable() }}
    )
    {{ persons_of('differing', 'attributable') }}
    {%- endif -%}
{%- endmacro %}

{% macro clickstream_drop_sessions() -%}
    {%- if is_incremental() -%}
    drop table sessions_before
    {%- endif -%}
{%- endmacro %}

{#- Whether attribution has to be computed for some persons only. -#}
{% macro some_persons_changed() -%}
    {%- set changed_persons = ref('changed_persons') -%}
    {%- if is_incremental() and execute -%}
        {%- set found = run_query("select count(*) from " ~ changed_persons ~ " where person = '" ~ everybody() ~ "'") -%}
        {{ return(found.rows[0][0] | int == 0) }}
    {%- endif -%}
    {{ return(false) }}
{%- endmacro %}

{#- The condition that keeps the conversions of such persons, and all of the changed dates, whose own rows may differ. -#}
{% macro of_changed_persons() -%}
    {%- set changed_persons = ref('changed_persons') -%}
    {%- if some_persons_changed() -%}
    ({{ in_reach('conversion_date') }} or person in (select person from {{ changed_persons }}))
    {%- else -%}
    1 = 1
    {%- endif -%}
{%- endmacro %}

{#- Pre-hook of attribution. -#}
{% macro clickstream_delete_attribution() -%}
    {%- if is_incremental() -%}
    {{ clickstream_delete('conversion_date', *reach_of_attribution()) }}
        and {{ of_changed_persons() }}
    {%- endif -%}
{%- endmacro %}
