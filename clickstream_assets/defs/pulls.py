"""GA4's own: pulls of the Data API into landing, by schedule or by hand, and the table that tells of each pull."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from clickstream_assets import guards, layers, partitions, policies
from clickstream_assets.days import day_range, last_day
from clickstream_assets.defs import jobs
from clickstream_assets.domains import DOMAINS
from clickstream_assets.errors import Busy
from clickstream_assets.ga4.reports import REPORTS
from clickstream_assets.platform import Platform
from clickstream_assets.schemas import GA4_PULLS
from clickstream_assets.settings import Settings

_GA4 = DOMAINS["ga4"]

#: schedule → (when, the first and the last day before today, why). The nightly one takes what Google may still change,
#: the weekly one what it should not.
SCHEDULES = {
    "ga4_recent": ("0 */6 * * *", (3, 0), "Every 6 hours: today and the last 3 days."),
    "ga4_nightly": ("30 2 * * *", (14, 1), "Every night: the last 14 days, after which a day is final."),
    "ga4_drift_audit": ("30 4 * * 0", (35, 1), "Every Sunday: the last 35 days, to see whether final numbers moved."),
}


@dg.asset(
    key=_GA4.collectors[0],
    group_name=layers.group(layers.LANDING, _GA4.name),
    partitions_def=partitions.DAILY,
    backfill_policy=partitions.SINGLE_RUN,
    pool=policies.pool(_GA4.name),
    kinds={"json"},
    description=(
        "Asks the GA4 property for every report of the dates and lands the responses, unprocessed: one file per pull "
        "and page, its rows in Google's JSON. Without GA4_PROPERTY_ID a made-up property answers, which the rows tell."
    ),
)
def data_api(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> dg.MaterializeResult[Any]:
    """Pull the dates of the run."""
    from clickstream_assets.ga4.sources import collect_days

    with platform.exclusive(_GA4.name, "pulling GA4"):
        collected = collect_days(platform, partitions.days(context.partition_keys), context.log.info)
    pulled = collected.pulls if collected else ()
    return dg.MaterializeResult(
        metadata={
            "pulls": len(pulled),
            "rows": sum(pull.rows for pull in pulled),
            # Which definition of each report was asked: with another one the numbers are others.
            "requests": {report.name: f"version {report.version}" for report in REPORTS.values()},
        }
    )


@dg.asset(
    key=GA4_PULLS.key,
    deps=[*(landing.key for landing in _GA4.landings), *_GA4.collectors],
    group_name=layers.group(layers.RAW, _GA4.name),
    partitions_def=partitions.DAILY,
    backfill_policy=partitions.SINGLE_RUN,
    check_specs=guards.specs(GA4_PULLS),
    io_manager_key="warehouse",
    pool=policies.pool(_GA4.name),
    kinds={"arrow", "parquet", "iceberg"},
    description=GA4_PULLS.description,
)
def ga4_pulls(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> Iterator[Any]:
    """Tell of each pull of the dates of the run."""
    from clickstream_assets.ga4 import quality

    with platform.exclusive(_GA4.name, f"loading {GA4_PULLS.name}"):
        days = partitions.days(context.partition_keys)
        yield from guards.report(context, quality.stage(platform, _GA4, days, run_id=context.run.run_id), platform)


def window(now: datetime, back: tuple[int, int], settings: Settings) -> list[date]:
    """The days from so many to so many days before today, by the clock of ``now``; those that are partitions."""
    first, last = (now.date() - timedelta(days) for days in back)
    return [d for d in day_range(first, last) if settings.start_date <= d <= last_day()]


def _zone() -> ZoneInfo:
    """The property's: as set, else as its first response said; UTC before there is one."""
    from clickstream_assets.ga4.loading import fixed_zone

    try:
        name = fixed_zone(Platform(Settings.from_environment()))
    except Busy:  # a run has the warehouse for long: the dates are wrong by one at most, and the next tick's are not
        name = None
    return ZoneInfo(name or "UTC")


def definitions() -> dg.Definitions:
    """The schedules.

    They run from the start where a property is set: a made-up one has nothing new to say.
    """
    settings = Settings.from_environment()
    zone = settings.ga4.time_zone or "UTC"
    status = dg.DefaultScheduleStatus.RUNNING if settings.ga4.property_id else dg.DefaultScheduleStatus.STOPPED
    job = jobs.refresh(_GA4.name)
    return dg.Definitions(
        schedules=[
            _schedule(name, job, cron, back, why, zone, status) for name, (cron, back, why) in SCHEDULES.items()
        ],
    )


def _schedule(
    name: str, job: Any, cron: str, back: tuple[int, int], why: str, zone: str, status: dg.DefaultScheduleStatus
) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=name,
        job=job,
        cron_schedule=cron,
        execution_timezone=zone,
        default_status=status,
        description=f"{why} By the property's clock (GA4_TIME_ZONE).",
    )
    def pull(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        now = context.scheduled_execution_time.astimezone(_zone())
        days = window(now, back, Settings.from_environment())
        if not days:
            return dg.SkipReason("none of these days is a partition")
        return dg.RunRequest(tags=partitions.tags(days[0], days[-1]))

    return pull
