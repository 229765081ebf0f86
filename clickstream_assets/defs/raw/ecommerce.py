"""E-commerce exports, record by record, as text."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from clickstream_assets import guards, layers, partitions
from clickstream_assets.domains import domain
from clickstream_assets.platform import Platform
from clickstream_assets.schemas import ECOMMERCE_RAW

COLUMNS = ("UserID", "SessionID", "Timestamp", "EventType", "ProductID", "Amount", "Outcome")


@dg.asset(
    key=ECOMMERCE_RAW.key,
    deps=[["landing", "ecommerce"]],
    group_name=layers.group(layers.RAW, "ecommerce"),
    partitions_def=partitions.DAILY,
    backfill_policy=partitions.SINGLE_RUN,
    check_specs=guards.specs(ECOMMERCE_RAW),
    metadata=guards.definition_metadata(ECOMMERCE_RAW),
    io_manager_key="lake",
    kinds={"arrow", "parquet", "iceberg"},
    description=ECOMMERCE_RAW.description,
)
def events_raw(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> Iterator[Any]:
    """One row per record of an export, partitioned by the day of its landing folder."""
    from clickstream_assets.parsing.landing import LandingLoader

    loader = LandingLoader(
        table=ECOMMERCE_RAW,
        folder=domain("ecommerce").landing,
        required=COLUMNS,
        landing=platform.landing,
        lake=platform.lake,
        limits=platform.settings.limits,
    )
    with platform.exclusive("ecommerce", f"loading {ECOMMERCE_RAW.name}"):
        staged = loader.stage(
            partitions.days(context.partition_keys),
            platform.warehouse.landing_files("ecommerce"),
            run_id=context.run.run_id,
            progress=context.log.info,
        )
        yield from guards.report(context, staged, platform)
