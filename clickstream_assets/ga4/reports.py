"""The reports that are asked of a property: ``reports.yml``, validated. Loaded when the registry of tables is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clickstream_assets.errors import ClickstreamError

_PATH = Path(__file__).with_name("reports.yml")

#: the dimension that every report has, first: one request asks for one day
DATE = "date"

#: what the API takes at most in one report
_MOST_DIMENSIONS, _MOST_METRICS = 9, 10

_NAME = re.compile(r"ga_[a-z0-9_]{1,40}")
_COLUMN = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True)
class Metric:
    """A metric: Google's name, its column, and whether values of several rows may be added up."""

    name: str
    column: str
    additive: bool


@dataclass(frozen=True)
class Report:
    """One fixed request: ``dimensions`` by Google's name with their columns, and metrics, both in the order asked."""

    name: str
    version: int
    description: str
    dimensions: Mapping[str, str]
    metrics: tuple[Metric, ...]

    @property
    def table(self) -> str:
        """What its cleaned table is called: ``ga4_events`` of ``ga_events``."""
        return f"ga4_{self.name.removeprefix('ga_')}"

    @property
    def columns(self) -> dict[str, str]:
        """Columns by Google's names: dimensions, then metrics."""
        return dict(self.dimensions) | {metric.name: metric.column for metric in self.metrics}

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that tell the rows of a date apart."""
        return tuple(column for name, column in self.dimensions.items() if name != DATE)


def load(path: Path = _PATH) -> dict[str, Report]:
    """The reports of a file, by name.

    Raises:
        ClickstreamError: names the entry that cannot be used, and says why.
    """
    content = yaml.safe_load(path.read_text())
    columns: dict[str, str] = content["dimensions"]
    metrics = {name: Metric(name, **of_metric) for name, of_metric in content["metrics"].items()}
    reports = [_report(entry, columns, metrics, path) for entry in content["reports"]]
    found = {report.name: report for report in reports}
    if len(found) < len(reports):
        raise ClickstreamError(f"{path}: two reports have the same name.")
    return found


def _report(entry: dict[str, Any], columns: dict[str, str], metrics: dict[str, Metric], path: Path) -> Report:
    name = str(entry.get("name"))

    def refuse(why: str) -> ClickstreamError:
        return ClickstreamError(f"{path}: the report {name!r} {why}.")

    if not _NAME.fullmatch(name):
        raise refuse("needs a name of ga_ and lower-case letters, digits and _")
    asked, measured = entry.get("dimensions", []), entry.get("metrics", [])
    if unknown := [str(one) for one in asked if one not in columns] + [
        str(one) for one in measured if one not in metrics
    ]:
        raise refuse(f"asks for {', '.join(unknown)}: say further up how the column is called")
    if asked[:1] != [DATE]:
        raise refuse(f"has not {DATE} as its first dimension")
    if len(asked) > _MOST_DIMENSIONS or not 1 <= len(measured) <= _MOST_METRICS:
        raise refuse(f"has more than {_MOST_DIMENSIONS} dimensions, or not 1 to {_MOST_METRICS} metrics")
    if bad := [c for c in (*columns.values(), *(m.column for m in metrics.values())) if not _COLUMN.fullmatch(c)]:
        raise refuse(f"has columns that no warehouse takes: {', '.join(bad)}")
    return Report(
        name=name,
        version=int(entry["version"]),
        description=str(entry["description"]),
        dimensions={one: columns[one] for one in asked},
        metrics=tuple(metrics[one] for one in measured),
    )


#: the reports that are pulled, by name
REPORTS = load()
