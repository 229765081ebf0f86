"""One job per domain: everything from landing to its last table."""

from functools import cache
from typing import Any

import dagster as dg

from clickstream_assets import layers
from clickstream_assets.domains import DOMAINS

_MADE_HERE = [layer for layer in layers.ORDER if layer != layers.LANDING]


def definitions() -> dg.Definitions:
    """The jobs, named like their domains."""
    return dg.Definitions(jobs=[job(name) for name in DOMAINS])


@cache
def job(name: str) -> Any:
    """The job of a domain, one object: Dagster refuses two of a name."""
    return dg.define_asset_job(
        name,
        selection=dg.AssetSelection.groups(*(layers.group(layer, name) for layer in _MADE_HERE)),
        description=f"{name}: raw, cleaned and enhanced for a day or a range of days.",
    )
