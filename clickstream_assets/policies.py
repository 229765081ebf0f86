"""Automation conditions, by name: when Dagster makes what lies below raw without being asked.

The sensor ``<domain>_repairs`` evaluates them (``defs/repairs.py``). Add one here when an asset must be made at another
moment than these.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import dagster as dg

from clickstream_assets import domains, repair
from clickstream_assets.errors import Busy
from clickstream_assets.platform import Platform
from clickstream_assets.settings import Settings


@dataclass(frozen=True)
class MadeFromOlderRows(dg.AutomationCondition[dg.AssetKey]):
    """True for the days of a domain that ``repair.pending_days`` names: the rows that they were made from have changed.

    While a step has the domain for itself nothing is true: it may be the one that makes the day.
    """

    domain: str

    @property
    def name(self) -> str:
        """How the UI calls it."""
        return "made_from_older_rows"

    def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        """Which of the candidates are pending."""
        days = _pending(self.domain, context.evaluation_time.isoformat())
        return dg.AutomationResult(
            context, context.candidate_subset.compute_intersection_with_partition_keys(set(days))
        )


@lru_cache(maxsize=8)
def _pending(domain: str, evaluation: str) -> frozenset[str]:
    """Looked up once for all assets of an evaluation."""
    platform = Platform(Settings.from_environment())
    try:
        days = repair.pending_days(platform, domains.domain(domain), timeout=0)
    except Busy:
        return frozenset()
    return frozenset(map(str, days))


def when_rows_change(domain: str) -> dg.AutomationCondition[dg.AssetKey]:
    """Make a day again once its raw rows are others than those that it was made from, and nobody is making it.

    Once for each change: a day that fails is not tried again and again.
    """
    behind: dg.AutomationCondition[dg.AssetKey] = MadeFromOlderRows(domain)
    handled = dg.AutomationCondition.newly_requested() | dg.AutomationCondition.newly_updated()
    condition = behind.newly_true().since(handled) & behind & ~dg.AutomationCondition.in_progress()
    return condition.with_label("when_rows_change")
