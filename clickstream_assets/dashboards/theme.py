"""Colours of pages and charts, for a light and a dark page."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import orjson

MODES = ("light", "dark")

#: of a legend: as many as there is room for; not of the chart's width, which the legend itself changes
_COLUMNS = "isFinite(containerSize()[0]) ? max(1, floor(containerSize()[0] / 140)) : 4"


@cache
def colours() -> dict[str, Any]:
    """Colours by mode and use; the page's style has the same as its charts."""
    found: dict[str, Any] = orjson.loads(Path(__file__).with_name("web").joinpath("theme.json").read_bytes())
    return found


def config(mode: str) -> dict[str, Any]:
    """Vega-Lite's configuration in the colours of a mode."""
    used = colours()[mode]
    label = {"labelColor": used["soft"], "titleColor": used["soft"], "labelFontSize": 11, "titleFontSize": 11}
    return {
        "background": used["card"],
        "font": "system-ui, sans-serif",
        "axis": {**label, "gridColor": used["line"], "domainColor": used["line"], "tickColor": used["line"]},
        "legend": {**label, "orient": "top", "columns": {"expr": _COLUMNS}, "labelLimit": 140},
        "title": {"color": used["text"], "anchor": "start", "fontSize": 14},
        "range": {"category": used["category"], "heatmap": used["ramp"], "ramp": used["ramp"]},
        "mark": {"color": used["accent"]},
        "view": {"stroke": None},
    }
