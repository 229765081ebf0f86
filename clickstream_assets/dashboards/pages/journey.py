"""Journey: from the first view to the purchase, who comes back, and who is to be thanked."""

from clickstream_assets.dashboards.charts import Ratio, heat, over_time, ranked
from clickstream_assets.dashboards.page import (
    Column,
    Dataset,
    Filter,
    Page,
    Tile,
    count,
    day,
    distinct,
    money,
    share,
    text,
)

STEPS = Dataset(
    name="funnel_days",
    tables=("clickstream.funnel",),
    sql="""
        select funnel_date, cast(step as varchar) || '. ' || event_type as step_name, visitors
        from clickstream.funnel""",
    columns=(day("funnel_date"), text("step_name", "Step"), distinct("visitors", "Visitors")),
    grain=("funnel_date", "step_name"),
    order="funnel_date desc",
)

# Without the first step, whose part is always the whole.
FURTHER = Dataset(
    name="funnel_further",
    tables=("clickstream.funnel",),
    sql="""
        select funnel_date, cast(step as varchar) || '. ' || event_type as step_name, share_of_first
        from clickstream.funnel
        where step > 1""",
    columns=(day("funnel_date"), text("step_name", "Step"), share("share_of_first", "Of the first step")),
    grain=("funnel_date", "step_name"),
    order="funnel_date desc",
)

BUYERS = Dataset(
    name="funnel_ends",
    tables=("clickstream.funnel",),
    sql="""
        select funnel_date, share_of_first
        from clickstream.funnel
        where step = (select max(step) from clickstream.funnel)""",
    columns=(day("funnel_date"), share("share_of_first", "Of the first step")),
    grain=("funnel_date",),
    order="funnel_date desc",
)

SESSIONS = Dataset(
    name="session_channels",
    tables=("clickstream.session_hours",),
    sql="""
        select session_date, channel, sum(sessions) as sessions, sum(engaged_sessions) as engaged_sessions,
               sum(bounces) as bounces, sum(page_views) as page_views, sum(conversions) as conversions,
               sum(revenue) as revenue
        from clickstream.session_hours
        group by session_date, channel""",
    columns=(
        day("session_date"),
        text("channel", "Channel"),
        count("sessions", "Sessions"),
        count("engaged_sessions", "Engaged sessions"),
        count("bounces", "Bounces"),
        count("page_views", "Page views"),
        count("conversions", "Conversions"),
        money("revenue", "Revenue"),
    ),
    grain=("session_date", "channel"),
    order="session_date desc",
)

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

HOURS = Dataset(
    name="session_hours",
    tables=("clickstream.session_hours",),
    sql="""
        select session_date,
               case extract(dow from session_date)
                   when 0 then 'Sun' when 1 then 'Mon' when 2 then 'Tue' when 3 then 'Wed' when 4 then 'Thu'
                   when 5 then 'Fri' else 'Sat'
               end as weekday,
               started_hour, sum(sessions) as sessions
        from clickstream.session_hours
        group by session_date, started_hour""",
    columns=(
        day("session_date"),
        text("weekday", "Weekday"),
        Column("started_hour", "Hour, UTC", "count"),
        count("sessions", "Sessions"),
    ),
    grain=("session_date", "started_hour"),
    order="session_date desc",
)

#: weeks of the first visit that are shown, and weeks after each
_COHORTS, _WEEKS = 16, 12

RETENTION = Dataset(
    name="cohorts",
    tables=("clickstream.retention_cohorts",),
    sql=f"""
        select cast(cohort_week as varchar) as cohort_week, week_number, cohort_visitors, visitors, share
        from clickstream.retention_cohorts
        where week_number between 1 and {_WEEKS}
          and cohort_week > (select max(cohort_week) from clickstream.retention_cohorts) - {7 * (_COHORTS + 1)}""",
    columns=(
        # A text, since dates that choose days of visits would leave no weeks after them.
        text("cohort_week", "Week of the first visit"),
        Column("week_number", "Weeks later", "count"),
        distinct("cohort_visitors", "Visitors of the first week"),
        distinct("visitors", "Came back"),
        share("share", "Came back, of the first week"),
    ),
    grain=("cohort_week", "week_number"),
    order="cohort_week desc",
)

#: so many paths have most visits of all days
_PATHS = 60

PATHS = Dataset(
    name="paths",
    tables=("clickstream.page_paths",),
    sql=f"""
        select event_date, from_page || ' → ' || to_page as path, visits
        from (
            select event_date, from_page, to_page, visits,
                   dense_rank() over (order by all_visits desc, from_page, to_page) as place
            from (
                select event_date, from_page, to_page, visits,
                       sum(visits) over (partition by from_page, to_page) as all_visits
                from clickstream.page_paths
                where from_page <> to_page
            ) as counted
        ) as placed
        where place <= {_PATHS}""",
    columns=(day("event_date"), text("path", "From one page to the next"), count("visits", "Times")),
    grain=("event_date", "path"),
    order="event_date desc",
)

ATTRIBUTION = Dataset(
    name="attributed",
    tables=("clickstream.attribution",),
    sql="""
        select conversion_date, model, channel, sum(credit) as credit, sum(revenue) as revenue
        from clickstream.attribution
        group by conversion_date, model, channel""",
    columns=(
        day("conversion_date"),
        text("model", "Attribution model"),
        text("channel", "Channel"),
        Column("credit", "Conversions", "number", adds=True, within=("model",)),
        Column("revenue", "Revenue", "money", adds=True, within=("model",)),
    ),
    grain=("conversion_date", "model", "channel"),
    order="conversion_date desc",
)

PAGE = Page(
    name="journey",
    filters=(Filter("channel", "Channel"), Filter("model", "Attribution model")),
    tiles=(
        Tile("Sessions", SESSIONS, "sum", "sessions"),
        Tile("Bounced", SESSIONS, "ratio", "bounces", "sessions", "share"),
        Tile("Engaged", SESSIONS, "ratio", "engaged_sessions", "sessions", "share"),
        Tile("Conversions", SESSIONS, "sum", "conversions"),
        Tile("Revenue", SESSIONS, "sum", "revenue"),
        Tile("Visitors who buy, mean of the days", BUYERS, "mean", "share_of_first"),
    ),
    charts=(
        ranked(
            "funnel",
            "How far do visitors get?",
            STEPS,
            "step_name",
            "visitors",
            op="mean",
            note="Each step within 24 hours of the first. A visitor of two days is in both, so days are not added up.",
        ),
        over_time(
            "further",
            "Which part of a day's visitors gets to each step?",
            FURTHER,
            "share_of_first",
            split="step_name",
        ),
        over_time(
            "channels",
            "Which channels bring the sessions?",
            SESSIONS,
            "sessions",
            split="channel",
            mark="bar",
            top=10,
            note="The ten largest channels. A session has one channel.",
            wide=True,
        ),
        ranked(
            "bounces",
            "From which channels do visitors leave at once?",
            SESSIONS,
            "channel",
            Ratio("bounce_rate", "Bounced, of the sessions", "bounces", "sessions"),
            top=20,
        ),
        ranked(
            "converts",
            "How many conversions does a session of each channel bring?",
            SESSIONS,
            "channel",
            Ratio("session_conversions", "Conversions of a session", "conversions", "sessions", "number"),
            top=20,
        ),
        heat(
            "hours",
            "When do visitors come?",
            HOURS,
            "started_hour",
            "weekday",
            "sessions",
            order=_WEEKDAYS,
            note="Sessions of the chosen days, by the hour in which they begin.",
            wide=True,
        ),
        heat(
            "retention",
            "Who comes back, week after week?",
            RETENTION,
            "week_number",
            "cohort_week",
            "share",
            note=f"Of the visitors of one first week. The newest {_COHORTS} weeks, {_WEEKS} weeks after each.",
        ),
        ranked(
            "paths",
            "Which page follows which?",
            PATHS,
            "path",
            "visits",
            top=12,
            note=f"Two views in a row of one visit. Of the {_PATHS} paths that were taken most on all days.",
        ),
        heat(
            "attribution",
            "Which channels earn the revenue, by which model?",
            ATTRIBUTION,
            "model",
            "channel",
            "revenue",
            order="largest",
            note="Each model shares out the whole revenue, so models are compared and never added up.",
            wide=True,
        ),
    ),
)
