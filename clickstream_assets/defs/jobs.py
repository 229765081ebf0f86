"""One job per domain: everything from landing to its last table; and one more where files are fetched first."""

from functools import cache
from typing import Any

import dagster as dg

from clickstream_assets import dashboards, layers
from clickstream_assets.domains import DOMAINS

#: the domain of change data, and its job
CDC = "cdc"

#: the pages of the dashboards, and the job that builds them
DASHBOARDS = "dashboards"

_MADE_HERE = [layer for layer in layers.ORDER if layer != layers.LANDING]


def definitions() -> dg.Definitions:
    """The jobs, named like their domains, and those that fetch."""
    fetching = [refresh(name) for name, domain in DOMAINS.items() if domain.collect is not None]
    return dg.Definitions(jobs=[*(job(name) for name in DOMAINS), *fetching, changes(), pages()])


@cache
def job(name: str) -> Any:
    """The job of a domain, one object: Dagster refuses two of a name."""
    return dg.define_asset_job(
        name,
        selection=dg.AssetSelection.groups(*(layers.group(layer, name) for layer in _MADE_HERE)),
        description=f"{name}: raw, cleaned and enhanced for a day or a range of days.",
    )


@cache
def changes() -> Any:
    """The job of change data, whose assets have no partitions."""
    return dg.define_asset_job(
        CDC,
        selection=dg.AssetSelection.groups(*(layers.group(layer, CDC) for layer in (layers.RAW, layers.CLEANED))),
        description="cdc: takes the changes that have landed into the current state and the history of each table.",
    )


def refresh_name(domain: str) -> str:
    """The name of the job that fetches a domain's files and then does all that its other job does."""
    return f"{domain}_refresh"


@cache
def refresh(name: str) -> Any:
    """That job. The sensors start the other one: files that arrive are there already."""
    return dg.define_asset_job(
        refresh_name(name),
        selection=dg.AssetSelection.groups(*(layers.group(layer, name) for layer in layers.ORDER)),
        description=f"{name}: fetches a day or a range of days into landing, then raw, cleaned and enhanced.",
    )


@cache
def pages() -> Any:
    """The job that builds the dashboards, whatever was made since."""
    groups = sorted({layers.group(layers.DASHBOARDS, page.domain) for page in dashboards.PAGES})
    return dg.define_asset_job(
        DASHBOARDS,
        selection=dg.AssetSelection.groups(*groups),
        description="dashboards: builds every page from what the warehouse has now.",
    )
