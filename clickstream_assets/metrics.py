"""Metrics of the marts: what each number means, how it is computed, and over what it may be added up.

They are declared in ``dbt_project/metrics.yml``, beside the models that they read. No Dagster and no engine here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from clickstream_assets.errors import ClickstreamError

PROJECT = Path(__file__).resolve().parent.parent / "dbt_project"

UNITS = ("count", "share", "ratio", "seconds", "money")
_KEYS = {"name", "description", "table", "formula", "unit", "adds_up_over"}


@dataclass(frozen=True)
class Metric:
    """One number of a mart.

    ``formula``: an aggregate over rows of ``table`` for which ``where`` holds, or a column of one row.
    ``adds_up_over``: the columns by which it may be grouped and added up again; none where it must not be added.
    """

    name: str
    description: str
    table: str
    formula: str
    unit: str
    adds_up_over: tuple[str, ...]
    where: str | None = None

    @property
    def of_one_row(self) -> bool:
        """Whether it is a column of its table, and not an aggregate."""
        return self.formula.isidentifier()

    def sql(self, by: Sequence[str] = ()) -> str:
        """A query for it: one row for each combination of ``by``, or for each row of the table, its value last."""
        where = f" where {self.where}" if self.where else ""
        group = f" group by {', '.join(by)}" if by and not self.of_one_row else ""
        return f"select {', '.join((*by, f'{self.formula} as {self.name}'))} from {self.table}{where}{group}"


@cache
def load(path: Path = PROJECT / "metrics.yml") -> tuple[Metric, ...]:
    """The metrics of a file.

    Raises:
        ClickstreamError: names the entry that cannot be used, and says why.
    """
    entries: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))["metrics"]
    found: dict[str, Metric] = {}
    for entry in entries:
        name = str(entry.get("name"))
        if entry.keys() - {"where"} != _KEYS:
            wrong = ", ".join(sorted((entry.keys() - {"where"}) ^ _KEYS))
            raise ClickstreamError(f"{path}: the metric {name!r} has too much or too little: {wrong}.")
        if entry["unit"] not in UNITS:
            raise ClickstreamError(f"{path}: the unit of {name!r} is none of {', '.join(UNITS)}.")
        if name in found:
            raise ClickstreamError(f"{path}: there are two metrics {name!r}.")
        found[name] = Metric(**{**entry, "adds_up_over": tuple(entry["adds_up_over"])})
    return tuple(found.values())


def marts() -> dict[str, str]:
    """What a row of each table with metrics is, as dbt's files describe its model, by table."""
    described: dict[str, str] = {}
    for path in (PROJECT / "models").rglob("*.yml"):
        for model in yaml.safe_load(path.read_text(encoding="utf-8")).get("models", ()):
            described[model["name"]] = " ".join(model["description"].split())
    found = {}
    for table in dict.fromkeys(metric.table for metric in load()):
        schema, _, name = table.partition(".")
        # dbt names models uniquely: one that has the name of another domain's has its own domain before it
        found[table] = described.get(f"{schema}_{name}") or described[name]
    return found
