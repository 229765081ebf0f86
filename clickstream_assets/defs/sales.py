"""Sales' own: every night a run of the load date that has just ended."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg

from clickstream_assets import partitions
from clickstream_assets.defs import jobs
from clickstream_assets.domains import DOMAINS
from clickstream_assets.settings import Settings


def load_date(now: datetime) -> date:
    """The day before that of ``now``, UTC: at two in the morning the one whose files are all there."""
    return now.astimezone(UTC).date() - timedelta(1)


@dg.schedule(
    name="sales_nightly",
    job=jobs.job(DOMAINS["sales"].name),
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    # Where the sensor has run the day already, it finds the files as they were and reads none.
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night at 02:00 UTC: the load date that has just ended, whether or not it has files.",
)
def nightly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for that day."""
    day = load_date(context.scheduled_execution_time)
    start = Settings.from_environment().start_date
    if day < start:
        return dg.SkipReason(f"{day} is not a partition: they run from {start}")
    return dg.RunRequest(tags=partitions.tags(day, day))


def definitions() -> dg.Definitions:
    """The schedule."""
    return dg.Definitions(schedules=[nightly])
