{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="{{ clickstream_delete_attribution() }}",
    sort='conversion_date'
) }}
{%- set reach = reach_of_attribution() %}
{%- set whole = 1000000 %}

with

conversions as (

    select * from {{ ref('conversions') }}
    where {{ in_reach('event_date', *reach) }}

),

attributable as (

    select {{ attributed_columns() }}
    from {{ ref('clickstream_sessions') }}
    where {{ is_attributable() }}

),

{% if some_persons_changed() -%}
-- The sessions of the conversions whose own rows may differ.
converting as (

    select
        attributable.session_key,
        attributable.visitor_key,
        attributable.user_id
    from conversions
    inner join attributable
        on
            conversions.stream_key = attributable.stream_key
            and conversions.event_ts >= attributable.started_at
            and conversions.event_ts <= attributable.ended_at
    where {{ in_reach('conversions.event_date') }}

),

wanted as (

    select person from {{ ref('changed_persons') }}
    union
    {{ persons_of('converting', 'attributable') }}

),

-- Whose a session without a user is tell all sessions of its visitor.
visitors as (

    select visitor_key
    from attributable
    where
        visitor_key is not null
        and (
            'u:' || user_id in (select person from wanted)
            or 'v:' || visitor_key in (select person from wanted)
        )

),

sessions as (

    select *
    from attributable
    where
        'u:' || user_id in (select person from wanted)
        or 's:' || session_key in (select person from wanted)
        or visitor_key in (select visitor_key from visitors)

),
{%- else -%}
sessions as (

    select * from attributable

),
{%- endif %}

resolved as (

    {{ next_logins('sessions') }}

),

-- Whose a session is, and until or from when that is known: a session without a user is its visitor's, and the user's
-- from the log-in on. A conversion never shares out credit by what was not known yet.
persons as (

    select
        session_key,
        case
            when user_id is not null then 'u:' || user_id
            when visitor_key is not null then 'v:' || visitor_key
            else 's:' || session_key
        end as person,
        cast(null as timestamp with time zone) as known_from,
        cast(null as timestamp with time zone) as known_until
    from sessions
    where session_key not in (select session_key from resolved)

    union all

    select
        sessions.session_key,
        'v:' || sessions.visitor_key as person,
        cast(null as timestamp with time zone) as known_from,
        resolved.resolved_at as known_until
    from sessions
    inner join resolved
        on sessions.session_key = resolved.session_key

    union all

    select
        session_key,
        'u:' || resolved_user_id as person,
        resolved_at as known_from,
        cast(null as timestamp with time zone) as known_until
    from resolved

),

session_persons as (

    select
        sessions.*,
        persons.person,
        persons.known_from,
        persons.known_until
    from sessions
    inner join persons
        on sessions.session_key = persons.session_key

),

-- The session in which a conversion happened: those of a stream do not overlap.
converted as (

    select
        conversions.event_date as conversion_date,
        conversions.event_id as conversion_id,
        conversions.event_ts as converted_at,
        conversions.revenue,
        conversions.currency,
        session_persons.session_key,
        session_persons.person
    from conversions
    inner join session_persons
        on
            conversions.stream_key = session_persons.stream_key
            and conversions.event_ts >= session_persons.started_at
            and conversions.event_ts <= session_persons.ended_at
    where
        (session_persons.known_from is null or conversions.event_ts >= session_persons.known_from)
        and (session_persons.known_until is null or conversions.event_ts < session_persons.known_until)

),

to_attribute as (

    select * from converted
    where {{ of_changed_persons() }}

),

touches as (

    select
        to_attribute.conversion_date,
        to_attribute.conversion_id,
        to_attribute.converted_at,
        to_attribute.revenue,
        to_attribute.currency,
        to_attribute.person,
        session_persons.session_key,
        session_persons.session_date,
        session_persons.started_at,
        session_persons.source,
        session_persons.medium,
        session_persons.campaign,
        session_persons.channel,
        row_number() over (
            partition by to_attribute.conversion_date, to_attribute.conversion_id
            order by session_persons.started_at, session_persons.session_key
        ) as touch,
        count(*) over (partition by to_attribute.conversion_date, to_attribute.conversion_id) as touches
    from to_attribute
    inner join session_persons
        on
            to_attribute.person = session_persons.person
            and to_attribute.converted_at >= session_persons.started_at
    where
        (session_persons.known_from is null or to_attribute.converted_at >= session_persons.known_from)
        and (session_persons.known_until is null or to_attribute.converted_at < session_persons.known_until)
        and (
            to_attribute.session_key = session_persons.session_key
            or {{ seconds_between('session_persons.started_at', 'to_attribute.converted_at') }}
            <= {{ attribution_lookback() }}
        )

),

with_shares as (

    select
        *,
        coalesce(
            max(case when channel <> 'Direct' then touch end) over (partition by conversion_date, conversion_id),
            touches
        ) as last_non_direct,
        cast(cast(revenue as decimal(20, 2)) * 100 as bigint) as cents,

        -- millionths of the conversion, rounded down, that linear gives to a touch and position_based to one in between
        cast(floor({{ whole }}.0 / touches) as bigint) as even,
        case
            when touches > 2 then cast(floor({{ whole * 2 // 10 }}.0 / (touches - 2)) as bigint)
            else 0
        end as between_ends,
        case when touches > 2 then {{ whole * 4 // 10 }} else {{ whole // 2 }} end as at_ends
    from touches

),

-- Cents for these.
with_cents as (

    select
        *,
        {{ millionths_of_cents('even') }} as even_cents,
        {{ millionths_of_cents('between_ends') }} as between_cents,
        {{ millionths_of_cents('at_ends') }} as at_ends_cents
    from with_shares

),

-- The last touch that has a share gets the rest of both.
shared as (

    select
        *,
        'first' as model,
        {{ whole }} as credit_millionths,
        cents as credit_cents
    from with_cents
    where touch = 1

    union all

    select
        *,
        'last' as model,
        {{ whole }} as credit_millionths,
        cents as credit_cents
    from with_cents
    where touch = touches

    union all

    select
        *,
        'last_non_direct' as model,
        {{ whole }} as credit_millionths,
        cents as credit_cents
    from with_cents
    where touch = last_non_direct

    union all

    select
        *,
        'linear' as model,
        case when touch < touches then even else {{ whole }} - (touches - 1) * even end as credit_millionths,
        case when touch < touches then even_cents else cents - (touches - 1) * even_cents end as credit_cents
    from with_cents

    union all

    select
        *,
        'position_based' as model,
        case
            when touches = 1 then {{ whole }}
            when touch = 1 then at_ends
            when touch < touches then between_ends
            else {{ whole }} - at_ends - (touches - 2) * between_ends
        end as credit_millionths,
        case
            when touches = 1 then cents
            when touch = 1 then at_ends_cents
            when touch < touches then between_cents
            else cents - at_ends_cents - (touches - 2) * between_cents
        end as credit_cents
    from with_cents

)

select
    conversion_date,
    conversion_id,
    converted_at,
    model,
    touch,
    touches,
    person,
    session_key,
    session_date,
    started_at,
    source,
    medium,
    campaign,
    channel,
    cast(credit_millionths * cast(0.000001 as decimal(7, 6)) as decimal(9, 6)) as credit,
    cast(credit_cents * cast(0.01 as decimal(3, 2)) as decimal(18, 2)) as revenue,
    currency
from shared
where credit_millionths > 0
