{{ config(materialized='view') }}

with

sessions as (

    select
        session_key,
        session_date,
        started_at,
        visitor_key,
        user_id,
        login_at,
        is_bot
    from {{ ref('clickstream_sessions') }}

),

resolved as (

    {{ next_logins('sessions') }}

)

select
    sessions.session_key,
    sessions.session_date,
    sessions.visitor_key,
    sessions.user_id,
    coalesce(sessions.user_id, resolved.resolved_user_id) as resolved_user_id,
    coalesce(sessions.login_at, resolved.resolved_at) as resolved_at,
    coalesce(sessions.user_id, resolved.resolved_user_id, sessions.visitor_key) as resolved_visitor_id
from sessions
left join resolved
    on sessions.session_key = resolved.session_key
