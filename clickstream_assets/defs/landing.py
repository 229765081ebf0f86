"""All that other systems deliver, on one screen. Nothing here is computed."""

import dagster as dg

from clickstream_assets import layers, partitions
from clickstream_assets.domains import DOMAINS, Domain, Feed


def definitions() -> dg.Definitions:
    """One asset per feed."""
    return dg.Definitions(assets=[_landing(domain, feed) for domain in DOMAINS.values() for feed in domain.feeds])


def _landing(domain: Domain, feed: Feed) -> dg.AssetSpec:
    names = " or ".join(f"`*{suffix}`" for suffix in feed.format.suffixes) or "of any name"
    columns = ", ".join(f"`{name}`" for name in feed.columns)
    return dg.AssetSpec(
        key=feed.key,
        group_name=layers.group(layers.LANDING, domain.name),
        partitions_def=partitions.DAILY,
        kinds={feed.format.name},
        description=f"Files {names} below `{feed.layout}/`. {feed.format.asks} {columns}.",
    )
