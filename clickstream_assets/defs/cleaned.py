"""Raw → cleaned: typed, valid rows; those that break a rule go to the quarantine. One asset per feed."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from clickstream_assets import guards, layers, partitions, policies
from clickstream_assets.domains import DOMAINS, Domain, Feed
from clickstream_assets.platform import Platform

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from clickstream_assets.storage.cleaning import Elsewhere


def definitions() -> dg.Definitions:
    """The cleaned tables of every domain."""
    return dg.Definitions(assets=[_cleaned(domain, feed) for domain in DOMAINS.values() for feed in domain.feeds])


def _cleaned(domain: Domain, feed: Feed) -> dg.AssetsDefinition:
    @dg.asset(
        key=feed.cleaned.key,
        ins={"raw": dg.AssetIn(key=feed.raw.key, input_manager_key="lake")},
        group_name=layers.group(layers.CLEANED, domain.name),
        partitions_def=partitions.DAILY,
        backfill_policy=partitions.SINGLE_RUN,
        automation_condition=policies.when_rows_change(domain.name),
        check_specs=guards.specs(feed.cleaned),
        io_manager_key="warehouse",
        pool=policies.pool(domain.name),
        kinds={"pyspark", "parquet", "iceberg"},
        description=feed.cleaned.description,
    )
    def cleaned(context: dg.AssetExecutionContext, raw: Any, platform: dg.ResourceParam[Platform]) -> Iterator[Any]:
        from clickstream_assets.storage import cleaning

        repaired = partitions.repaired(context)
        with platform.exclusive(domain.name, f"cleaning {feed.cleaned.name}"):
            staged = cleaning.stage(
                _engine(context, platform, feed),
                platform.lake,
                source=raw.snapshot(repaired, by=feed.cleaned.day),
                target=feed.cleaned,
                transform=feed.load_transform(),
                days=[*partitions.days(context.partition_keys), *repaired],
                run_id=context.run.run_id,
                made=platform.warehouse.accounts(feed.cleaned.name),
            )
            yield from guards.report(context, staged, platform)

    return cleaned


def _engine(context: dg.AssetExecutionContext, platform: Platform, feed: Feed) -> "SparkSession | Elsewhere":
    """What cleans a feed's rows by the current settings: a session, or jobs of AWS."""
    if platform.settings.spark_jobs is None:
        return platform.spark
    from clickstream_assets.spark_jobs.launch import Jobs  # takes as long to import as to clean a small day

    return Jobs(context, platform, feed, platform.settings.spark_jobs)
