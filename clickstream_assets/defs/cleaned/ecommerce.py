"""E-commerce events, typed and valid."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from clickstream_assets import guards, layers, partitions
from clickstream_assets.platform import Platform
from clickstream_assets.schemas import ECOMMERCE_CLEANED, ECOMMERCE_RAW


@dg.asset(
    key=ECOMMERCE_CLEANED.key,
    ins={"raw": dg.AssetIn(key=ECOMMERCE_RAW.key, input_manager_key="lake")},
    group_name=layers.group(layers.CLEANED, "ecommerce"),
    partitions_def=partitions.DAILY,
    backfill_policy=partitions.SINGLE_RUN,
    check_specs=guards.specs(ECOMMERCE_CLEANED),
    metadata=guards.definition_metadata(ECOMMERCE_CLEANED),
    io_manager_key="warehouse",
    kinds={"pyspark", "parquet", "iceberg"},
    description=ECOMMERCE_CLEANED.description,
)
def events_cleaned(context: dg.AssetExecutionContext, raw: Any, platform: dg.ResourceParam[Platform]) -> Iterator[Any]:
    """One row per valid event, partitioned by ingestion date."""
    from clickstream_assets.storage import spark
    from clickstream_assets.transforms import ecommerce

    with platform.exclusive("ecommerce", f"cleaning {ECOMMERCE_CLEANED.name}"):
        staged = spark.stage(
            platform.spark,
            platform.lake,
            source=raw.snapshot(),
            target=ECOMMERCE_CLEANED,
            transform=ecommerce.clean,
            days=partitions.days(context.partition_keys),
            run_id=context.run.run_id,
        )
        yield from guards.report(context, staged, platform)
