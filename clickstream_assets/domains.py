"""The domains: what each is called, and which of its tables feeds which.

Adding a domain means an entry here, its schemas, a module in ``defs/raw`` and ``defs/cleaned``, a transform with its
rules, and its dbt models. No Dagster here.
"""

from __future__ import annotations

from dataclasses import dataclass

from clickstream_assets.errors import ClickstreamError
from clickstream_assets.schemas import ECOMMERCE_CLEANED, ECOMMERCE_RAW, Table


@dataclass(frozen=True)
class Domain:
    """One kind of arriving data.

    ``landing`` is where its days arrive, as a pattern of the day below the landing root.
    ``raw`` is loaded from landing for the days asked; ``cleaned`` and all below are made from it, by the same days.
    ``events`` is the dbt model with one row per row of ``cleaned``, and the column that holds its partition.
    """

    name: str
    landing: str
    raw: Table
    cleaned: Table
    events: str
    events_day: str


DOMAINS = {
    domain.name: domain
    for domain in (
        Domain(
            "ecommerce",
            landing="ecommerce/ingestion_date={day}",
            raw=ECOMMERCE_RAW,
            cleaned=ECOMMERCE_CLEANED,
            events="ecommerce.events",
            events_day="ingestion_date",
        ),
    )
}


def domain(name: str) -> Domain:
    """The domain of that name.

    Raises:
        ClickstreamError: there is none; lists those there are.
    """
    if name not in DOMAINS:
        raise ClickstreamError(f"There is no domain {name!r}: choose {', '.join(DOMAINS)}.")
    return DOMAINS[name]
