"""Pictures of charts, drawn without a browser: what a page shows when nothing is filtered."""

from __future__ import annotations

import base64
import copy
import io
from typing import Any

from clickstream_assets.dashboards.page import Chart
from clickstream_assets.dashboards.read import Data
from clickstream_assets.dashboards.theme import config

#: of Vega-Lite, for which Altair writes
VEGA_LITE = "6.4"

#: of a picture; more are not to be told apart in a chart
_COLOURS = 64

#: pixels
_WIDTH = 560


def png(chart: Chart, data: Data) -> bytes:
    """A chart as PNG, light on white (7 kB, 0.1 s).

    Raises:
        ValueError: Vega-Lite cannot draw it.
    """
    import vl_convert

    spec: dict[str, Any] = copy.deepcopy(chart.spec or {})
    spec["width"] = _WIDTH
    spec["datasets"] = {data.dataset.name: data.records()}
    spec["title"] = chart.question
    drawn = vl_convert.vegalite_to_png(
        spec, vl_version=VEGA_LITE, config=config("light"), scale=1, allowed_base_urls=[]
    )
    return _packed(drawn)


def _packed(picture: bytes) -> bytes:
    """The same PNG in 64 colours: 90 kB of lines come as 7 kB, and an event has ten of them."""
    from PIL import Image

    packed = io.BytesIO()
    with Image.open(io.BytesIO(picture)) as drawn:
        few = drawn.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
        few.save(packed, "PNG", optimize=True)
    return packed.getvalue()


def markdown(chart: Chart, data: Data, *, rows: int) -> str:
    """A chart as Dagster's UI shows it: a picture, or so many rows of a table; nothing when there are no rows."""
    if not data.rows:
        return ""
    if chart.spec is not None:
        return f"![{chart.question}](data:image/png;base64,{base64.b64encode(png(chart, data)).decode()})"
    names = [shown.field for shown in chart.shown]
    lines = [[shown.title for shown in chart.shown], ["---"] * len(names)]
    records = _totals(chart, data.records()) if chart.by else data.records()
    lines += [[_cell(record[name]) for name in names] for record in records[:rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _totals(chart: Chart, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each group, in the order of the groups."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    measures = [shown.field for shown in chart.shown if shown.field not in chart.by]
    for record in records:
        group = tuple(record[name] for name in chart.by)
        row = found.setdefault(group, dict(zip(chart.by, group, strict=True)) | dict.fromkeys(measures, 0))
        for name in measures:
            row[name] += record[name] or 0
    return [found[group] for group in sorted(found, key=lambda group: [str(part) for part in group])]


def _cell(value: Any) -> str:
    """A value as text of one line that ends no cell and is no markup."""
    text = "" if value is None else " ".join(str(value).split())
    return "".join(f"\\{letter}" if letter in "\\|<>[]`*_!" else letter for letter in text)
