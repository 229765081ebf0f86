"""Landing → raw: everything that arrived, as text, nothing lost; one asset per feed."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from clickstream_assets import guards, layers, partitions, policies
from clickstream_assets.domains import DOMAINS, Domain, Feed
from clickstream_assets.platform import Platform


def definitions() -> dg.Definitions:
    """The raw tables of every domain."""
    return dg.Definitions(assets=[_raw(domain, feed) for domain in DOMAINS.values() for feed in domain.feeds])


def _raw(domain: Domain, feed: Feed) -> dg.AssetsDefinition:
    @dg.asset(
        key=feed.raw.key,
        deps=[*(landing.key for landing in feed.landings), *domain.collectors],
        group_name=layers.group(layers.RAW, domain.name),
        partitions_def=partitions.DAILY,
        backfill_policy=partitions.SINGLE_RUN,
        check_specs=guards.specs(feed.raw),
        io_manager_key="lake",
        pool=policies.pool(domain.name),
        kinds={"arrow", "parquet", "iceberg"},
        description=feed.raw.description,
    )
    def raw(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> Iterator[Any]:
        loader = feed.load_loader(platform)
        with platform.exclusive(domain.name, f"loading {feed.raw.name}"):
            staged = loader.stage(
                partitions.days(context.partition_keys),
                [file for root in feed.roots for file in platform.warehouse.landing_files(root)],
                run_id=context.run.run_id,
                progress=context.log.info,
            )
            yield from guards.report(context, staged, platform)

    return raw
