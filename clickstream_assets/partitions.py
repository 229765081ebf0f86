"""The one partitions definition: days, UTC, from the start date to tomorrow.

Every partitioned asset shares ``DAILY``: assets whose partitions start on different days would be split into odd
chunks by a single-run backfill. Helpers that turn partition keys into dates live here too.
"""

import warnings
from collections.abc import Iterable, Mapping
from datetime import date

import dagster as dg

from clickstream_assets.days import day_range
from clickstream_assets.settings import Settings

#: ``end_offset=2``: today, since the day's files arrive during the day, and tomorrow, since clocks run ahead
DAILY = dg.DailyPartitionsDefinition(
    start_date=Settings.from_environment().start_date.isoformat(), timezone="UTC", end_offset=2
)

# The parameter is years old and still labelled beta; the label would be printed once per asset at every start.
warnings.filterwarnings("ignore", message=r"Parameter `backfill_policy`", category=dg.BetaWarning)

#: a range of days is one run, whatever its length
SINGLE_RUN = dg.BackfillPolicy.single_run()


def days(partition_keys: Iterable[str]) -> list[date]:
    """Partition keys as dates, in order."""
    return sorted(date.fromisoformat(key) for key in partition_keys)


#: a run's tag: days that it makes again beside its partitions, since what they were made from has changed
REPAIRED_DAYS = "clickstream/repaired_days"


def repaired(context: dg.AssetExecutionContext) -> list[date]:
    """Days that the run makes again beside its partitions."""
    tag = context.run.tags.get(REPAIRED_DAYS, "")
    return sorted({date.fromisoformat(day) for day in tag.split(",") if day} - set(days(context.partition_keys)))


def tags(first: date, last: date) -> dict[str, str]:
    """How Dagster marks a run of one partition or of a range; the UI lists runs by them."""
    if first == last:
        return {"dagster/partition": first.isoformat()}
    return {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": last.isoformat(),
    }


def of_run(tags_of_run: Mapping[str, str]) -> set[date]:
    """The days of a run, by its tags: those that ``tags`` gives, and those that it made again; none without any."""
    one = tags_of_run.get("dagster/partition")
    first = tags_of_run.get("dagster/asset_partition_range_start", one)
    last = tags_of_run.get("dagster/asset_partition_range_end", one)
    if first is None or last is None:
        return set()
    again = tags_of_run.get(REPAIRED_DAYS, "")
    whole = day_range(date.fromisoformat(first), date.fromisoformat(last))
    return {*whole, *(date.fromisoformat(day) for day in again.split(",") if day)}
