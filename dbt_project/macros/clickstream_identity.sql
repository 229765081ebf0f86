{#- For each session without a user: the user who logs in next on the same visitor_key, if within
    clickstream_login_lookback_days of the session's start; at the same microsecond the least user_id. One row per such
    session: session_key, resolved_user_id, resolved_at. `sessions` is a CTE of the model. -#}
{% macro next_logins(sessions) -%}
    select
        anonymous.session_key,
        min(logins.user_id) as resolved_user_id,
        anonymous.login_at as resolved_at
    from (
        select
            session_key,
            visitor_key,
            happened_at,
            is_login,
            min(case when is_login = 1 then happened_at end) over (
                partition by visitor_key
                order by happened_at, is_login, session_key
                rows between current row and unbounded following
            ) as login_at
        from (
            select
                session_key,
                visitor_key,
                case when user_id is null then started_at else login_at end as happened_at,
                case when user_id is null then 0 else 1 end as is_login
            from {{ sessions }}
            where visitor_key is not null and not (user_id is not null and is_bot)
        ) as points
    ) as anonymous
    inner join {{ sessions }} as logins
        on
            anonymous.visitor_key = logins.visitor_key
            and anonymous.login_at = logins.login_at
    where
        anonymous.is_login = 0
        and not logins.is_bot
        and {{ seconds_between('anonymous.happened_at', 'anonymous.login_at') }} <= {{ var('clickstream_login_lookback_days') * 86400 }}
    group by
        anonymous.session_key,
        anonymous.login_at
{%- endmacro %}
