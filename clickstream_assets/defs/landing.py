"""All that other systems deliver, on one screen. Nothing here is computed."""

import dagster as dg

from clickstream_assets import layers, partitions
from clickstream_assets.domains import DOMAINS, Domain, Feed, Landing


def definitions() -> dg.Definitions:
    """One asset per place."""
    return dg.Definitions(
        assets=[
            _landing(domain, feed, landing)
            for domain in DOMAINS.values()
            for feed in domain.feeds
            for landing in feed.landings
        ]
    )


def _landing(domain: Domain, feed: Feed, landing: Landing) -> dg.AssetSpec:
    names = " or ".join(f"`*{suffix}`" for suffix in landing.format.suffixes) or "of any name"
    columns = ", ".join(f"`{name}`" for name in feed.columns)
    return dg.AssetSpec(
        key=landing.key,
        deps=domain.collectors if landing is feed.landings[0] else [],
        group_name=layers.group(layers.LANDING, domain.name),
        partitions_def=partitions.DAILY,
        kinds={landing.format.name},
        description=(
            f"Files {names} below `{landing.layout}/`, any number a day; a record of them is a row of "
            f"`{feed.raw.name}`. {landing.format.asks} {columns}."
        ),
    )
