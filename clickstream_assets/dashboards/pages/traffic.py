"""Traffic: what Google Analytics says of the site, with the days that it may still change."""

from clickstream_assets.dashboards.charts import over_time, ranked
from clickstream_assets.dashboards.page import (
    Column,
    Dataset,
    Filter,
    Notice,
    Page,
    Tile,
    count,
    day,
    distinct,
    share,
    text,
)

DAYS = Dataset(
    name="ga4_days",
    tables=("analytics.ga4_events_kpis",),
    sql="""
        select event_date, sessions, total_users, screen_page_views, event_count, pages_per_session,
               sessions_7_day_average, total_users_7_day_average, screen_page_views_7_day_average,
               case when is_final then 0 else 1 end as provisional_days, is_final, is_synthetic
        from analytics.ga4_events_kpis""",
    columns=(
        day("event_date"),
        distinct("sessions", "Sessions"),
        distinct("total_users", "Users"),
        count("screen_page_views", "Page views"),
        count("event_count", "Events"),
        Column("pages_per_session", "Page views of a session", "number"),
        Column("sessions_7_day_average", "Sessions", "number"),
        Column("total_users_7_day_average", "Users", "number"),
        Column("screen_page_views_7_day_average", "Page views", "number"),
        count("provisional_days", "Provisional days"),
        Column("is_final", "Final", "flag"),
        Column("is_synthetic", "Made up", "flag"),
    ),
    grain=("event_date",),
    order="event_date desc",
)

SOURCES = Dataset(
    name="ga4_sources",
    tables=("analytics.ga4_events_reports",),
    sql="""
        select event_date, traffic_source || ' / ' || traffic_medium as source_medium, channel, sessions, total_users,
               screen_page_views, event_count
        from analytics.ga4_events_reports
        where report = 'traffic_source'""",
    columns=(
        day("event_date"),
        text("source_medium", "Source / medium"),
        text("channel", "Channel"),
        distinct("sessions", "Sessions"),
        distinct("total_users", "Users"),
        count("screen_page_views", "Page views"),
        count("event_count", "Events"),
    ),
    grain=("event_date", "source_medium"),
    order="event_date desc",
)

#: so many pages have most views of all days; those of a day alone would be too many for one page
_PAGES = 50

PAGES = Dataset(
    name="ga4_pages",
    tables=("analytics.ga4_events_reports",),
    sql=f"""
        select event_date, page_path, screen_page_views, event_count
        from (
            select event_date, page_path, screen_page_views, event_count,
                   dense_rank() over (order by page_views desc, page_path) as place
            from (
                select event_date, page_path, screen_page_views, event_count,
                       sum(screen_page_views) over (partition by page_path) as page_views
                from analytics.ga4_events_reports
                where report = 'page'
            ) as viewed
        ) as placed
        where place <= {_PAGES}""",
    columns=(
        day("event_date"),
        text("page_path", "Page"),
        count("screen_page_views", "Page views"),
        count("event_count", "Events"),
    ),
    grain=("event_date", "page_path"),
    order="event_date desc",
)

# What a day's numbers became since they were first pulled: the changes of all its pulls, of what the first one said.
MOVED = Dataset(
    name="ga4_moved",
    tables=("analytics.ga4_pulls",),
    sql="""
        select event_date, count(*) as pulls,
               cast(sum(sessions_change) as double precision)
               / nullif(max(case when place = 1 then sessions end), 0) as sessions_moved,
               cast(sum(total_users_change) as double precision)
               / nullif(max(case when place = 1 then total_users end), 0) as users_moved,
               cast(sum(screen_page_views_change) as double precision)
               / nullif(max(case when place = 1 then screen_page_views end), 0) as page_views_moved
        from (
            select event_date, sessions, total_users, screen_page_views, sessions_change, total_users_change,
                   screen_page_views_change, row_number() over (partition by event_date order by pulled_at) as place
            from analytics.ga4_pulls
            where report = 'ga_daily' and origin = 'data_api' and status in ('published', 'superseded')
        ) as pulls
        group by event_date
        having count(*) > 1""",
    columns=(
        day("event_date"),
        count("pulls", "Pulls"),
        share("sessions_moved", "Sessions"),
        share("users_moved", "Users"),
        share("page_views_moved", "Page views"),
    ),
    grain=("event_date",),
    order="event_date desc",
)

_PROVISIONAL = "Faint days are provisional: Google may change the numbers of a day for two weeks."

PAGE = Page(
    name="traffic",
    notices=(
        Notice(
            DAYS,
            "is_synthetic",
            "Some numbers on this page are made up: where no property of Google Analytics is set, a sample stands in.",
        ),
    ),
    filters=(Filter("channel", "Channel"),),
    tiles=(
        Tile("Sessions a day", DAYS, "mean", "sessions"),
        Tile("Users a day", DAYS, "mean", "total_users"),
        Tile("Page views", DAYS, "sum", "screen_page_views"),
        Tile("Events", DAYS, "sum", "event_count"),
        Tile("Page views of a session, mean of the days", DAYS, "mean", "pages_per_session"),
        Tile("Provisional days", DAYS, "sum", "provisional_days"),
    ),
    charts=(
        over_time(
            "sessions",
            "How many sessions are there each day?",
            DAYS,
            "sessions",
            mark="bar",
            final="is_final",
            note=_PROVISIONAL,
        ),
        over_time(
            "users", "How many people is that?", DAYS, "total_users", mark="bar", final="is_final", note=_PROVISIONAL
        ),
        over_time(
            "trend",
            "Where is it going, weekdays evened out?",
            DAYS,
            ["screen_page_views_7_day_average", "sessions_7_day_average", "total_users_7_day_average"],
            note="Means of the seven days up to each day.",
        ),
        over_time(
            "views",
            "How many pages do they look at?",
            DAYS,
            "screen_page_views",
            mark="bar",
            final="is_final",
            note=_PROVISIONAL,
        ),
        over_time(
            "channels",
            "Which channels bring page views?",
            SOURCES,
            "screen_page_views",
            split="channel",
            mark="bar",
            top=10,
            note="Page views add up; sessions and users of channels do not, as one may be in several.",
            wide=True,
        ),
        ranked(
            "sources",
            "Which sources bring the most page views?",
            SOURCES,
            "source_medium",
            "screen_page_views",
            color="channel",
        ),
        over_time(
            "source_sessions",
            "How many sessions does each source bring?",
            SOURCES,
            "sessions",
            split="source_medium",
            top=5,
            note="The five largest sources. By Google's estimate: who comes by two is counted in each.",
        ),
        ranked(
            "pages",
            "Which pages are viewed most?",
            PAGES,
            "page_path",
            "screen_page_views",
            top=12,
            note=f"Of the {_PAGES} pages with most views of all days.",
        ),
        over_time(
            "moved",
            "How far do numbers move after they are first pulled?",
            MOVED,
            ["sessions_moved", "users_moved", "page_views_moved"],
            note="The newest pull of a day against its first; days that were pulled once have none.",
        ),
    ),
)
