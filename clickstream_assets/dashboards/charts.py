"""The charts, as Vega-Lite without data: the same description is drawn in a browser and, for Dagster's UI, without one.

Each function answers a question of a dataset. What it computes, sums by groups and ratios of sums, is in the
description itself, so that numbers are computed once, by whoever draws, from the rows that the filters have left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import altair as alt

from clickstream_assets.dashboards.page import FORMATS, Chart, Dataset, Kind, PageError, Shown

#: pixels; widths are the page's
_HEIGHT, _BAR = 260, 26
#: pixels that the number in a cell needs, and a name below it
_ROOM, _NAME = 28, 90
#: milliseconds
_DAY = 86_400_000

#: Vega's unit and d3's format of what is a time
_TIMES: dict[Kind, tuple[Any, str]] = {"day": ("utcyearmonthdate", "%Y-%m-%d"), "month": ("utcyearmonth", "%Y-%m")}

Op = Literal["sum", "mean"]


@dataclass(frozen=True)
class Ratio:
    """A measure that is one sum divided by another, e.g. what an order is worth on average."""

    name: str
    title: str
    above: str
    below: str
    kind: Kind = "share"


Measure = str | Ratio


def over_time(
    name: str,
    question: str,
    dataset: Dataset,
    measures: Measure | Sequence[Measure],
    *,
    split: str | None = None,
    mark: Literal["line", "bar", "area"] = "line",
    final: str | None = None,
    top: int = 8,
    note: str = "",
    wide: bool = False,
) -> Chart:
    """Measures by day or month. ``split``: one line for each of its ``top`` largest values; bars and areas are stacked.

    ``final``: a flag; days where it is false are drawn as provisional.

    Raises:
        PageError: the dataset has no day, or a measure does not add up.
    """
    several = [measures] if isinstance(measures, str | Ratio) else list(measures)
    if dataset.day is None or (split and len(several) > 1):
        raise PageError(f"{name}: a day is needed, and either one measure or no split.")
    day, further = dataset.day, [column for column in (split, final) if column]
    stacked = split is not None and mark != "line"
    for measure in several if stacked else ():
        # What is stacked is read as a sum of all its parts.
        _check(name, dataset, measure, [day])
    base = _aggregated(name, dataset, several, [day, *further])
    monthly = dataset.column(day).kind == "month"
    fields = [Shown(day, dataset.column(day).title, dataset.column(day).kind)]
    if split:
        base = base.transform_joinaggregate(
            joinaggregate=[alt.JoinAggregateFieldDef(op="sum", field=_name(several[0]), **{"as": "_whole"})],
            groupby=[split],
        )
        base = base.transform_window(
            _place="dense_rank()",
            sort=[alt.SortField("_whole", order="descending"), alt.SortField(split)],
        ).transform_filter(f"datum._place <= {top}")
        fields.append(Shown(split, dataset.column(split).title, dataset.column(split).kind))
    if len(several) > 1:
        titles = {_name(measure): _title(dataset, measure) for measure in several}
        labels = ", ".join(f"{key}: {_literal(title)}" for key, title in titles.items())
        base = base.transform_fold([*titles], as_=["_measure", "_value"])
        base = base.transform_calculate(_series=f"({{{labels}}})[datum._measure]")
        value, title = "_value", ""
        color: alt.Color | None = alt.Color("_series:N", title=None, sort=list(titles.values()))
        kind = _kind(dataset, several[0])
        fields += [Shown("_series", "Measure", "text"), Shown("_value", "Value", kind)]
    else:
        value, title, kind = _name(several[0]), _title(dataset, several[0]), _kind(dataset, several[0])
        color = alt.Color(f"{split}:N", title=dataset.column(split).title) if split else None
        fields.append(Shown(value, title, kind))
    if final:
        base = base.transform_calculate(_state=f"datum.{final} ? 'final' : 'provisional'")
        fields.append(Shown("_state", "State", "text"))
    written: dict[str, Any] = {"title": None, "grid": False, "labelOverlap": "greedy"}
    if monthly:
        # A place each, with its name below it: on a scale of time a month's name is where the month begins.
        across = alt.X(f"{day}:O", timeUnit="utcyearmonth", axis=alt.Axis(format="%b %Y", labelAngle=0, **written))
    else:
        across = alt.X(
            f"{day}:T",
            timeUnit="utcyearmonthdate" if mark == "bar" else alt.Undefined,
            scale=alt.Scale(type="utc"),
            axis=alt.Axis(format="%b %d", tickCount={"expr": "width / 80"}, tickMinStep=_DAY, **written),
        )
    encoding: dict[str, Any] = {
        "x": across,
        "y": alt.Y(f"{value}:Q", title=title or None, axis=_axis(kind), stack="zero" if stacked else None),
        "tooltip": _tooltip(fields),
    }
    if color is not None:
        encoding["color"] = color
    if final:
        state = alt.Scale(domain=["final", "provisional"], range=[1, 0.45])
        encoding["opacity"] = alt.Opacity("_state:O", title=None, scale=state)
    if mark == "bar":
        drawn = base.mark_bar(binSpacing=1)
    elif mark == "area":
        drawn = base.mark_area(line=split is None, opacity=alt.Undefined if split else 0.35)
    else:
        drawn = base.mark_line(point=alt.OverlayMarkDef(size=28), strokeWidth=2)
    return _chart(name, question, dataset, drawn.encode(**encoding), fields, note, wide)


def ranked(
    name: str,
    question: str,
    dataset: Dataset,
    by: str,
    measure: Measure,
    *,
    color: str | None = None,
    op: Op = "sum",
    order: Sequence[str] | None = None,
    top: int = 10,
    note: str = "",
    wide: bool = False,
) -> Chart:
    """The ``top`` values of a column by a measure, the largest first, as bars that go to the right.

    ``order``: the values in an order of their own, e.g. the steps of a funnel. ``color``: a column of which each value
    has only one.
    """
    keys = [by, *([color] if color and color != by else [])]
    base = _aggregated(name, dataset, [measure], keys, op=op)
    first = _name(measure)
    base = base.transform_window(
        _place="row_number()", sort=[alt.SortField(first, order="descending"), alt.SortField(by)]
    ).transform_filter(f"datum._place <= {top}")
    fields = [Shown(key, dataset.column(key).title, dataset.column(key).kind) for key in keys]
    kind = _kind(dataset, measure, op)
    fields.append(Shown(first, _title(dataset, measure, op), kind))
    sort: Any = list(order) if order else alt.EncodingSortField(field=first, order="descending")
    encoding: dict[str, Any] = {
        "x": alt.X(f"{_name(measure)}:Q", title=_title(dataset, measure, op), axis=_axis(kind)),
        "y": alt.Y(f"{by}:N", title=None, sort=sort, axis=alt.Axis(labelLimit=180, grid=False)),
        "tooltip": _tooltip(fields),
    }
    if color:
        legend = alt.Undefined if color != by else None
        encoding["color"] = alt.Color(f"{color}:N", title=dataset.column(color).title, legend=legend)
    drawn = base.mark_bar(cornerRadiusEnd=2).encode(**encoding).properties(height=alt.Step(_BAR))
    return _chart(name, question, dataset, drawn, fields, note, wide)


def changed(
    name: str,
    question: str,
    dataset: Dataset,
    by: str,
    measure: str,
    *,
    top: int = 10,
    note: str = "",
    wide: bool = False,
) -> Chart:
    """The ``top`` values of a column whose measure is furthest from nothing: gains to the right, losses to the left."""
    base = _aggregated(name, dataset, [measure], [by])
    base = base.transform_calculate(_far=f"abs(datum.{measure})", _way=f"datum.{measure} < 0 ? 'less' : 'more'")
    base = base.transform_window(
        _place="row_number()", sort=[alt.SortField("_far", order="descending"), alt.SortField(by)]
    ).transform_filter(f"datum._place <= {top} && datum.{measure} != 0")
    column = dataset.column(measure)
    fields = [Shown(by, dataset.column(by).title, dataset.column(by).kind), Shown(measure, column.title, column.kind)]
    drawn = (
        base.mark_bar(cornerRadiusEnd=2)
        .encode(
            x=alt.X(f"{measure}:Q", title=column.title, axis=_axis(column.kind)),
            y=alt.Y(
                f"{by}:N",
                title=None,
                sort=alt.EncodingSortField(field=measure, order="descending"),
                axis=alt.Axis(labelLimit=180, grid=False),
            ),
            color=alt.Color("_way:N", scale=alt.Scale(domain=["more", "less"]), legend=None),
            tooltip=_tooltip(fields),
        )
        .properties(height=alt.Step(_BAR))
    )
    return _chart(name, question, dataset, drawn, fields, note, wide)


def heat(
    name: str,
    question: str,
    dataset: Dataset,
    x: str,
    y: str,
    measure: Measure,
    *,
    op: Op = "sum",
    order: Sequence[str] | Literal["largest"] | None = None,
    note: str = "",
    wide: bool = False,
) -> Chart:
    """A measure by two columns, as the colour of a cell that also says the number where there is room for it.

    ``order``: the values of ``y`` in an order of their own, e.g. the days of the week, or the largest first.
    """
    base = _aggregated(name, dataset, [measure], [x, y], op=op)
    keys = [dataset.column(key) for key in (x, y)]
    fields = [Shown(key.name, key.title, key.kind) for key in keys]
    kind, value = _kind(dataset, measure, op), _name(measure)
    fields.append(Shown(value, _title(dataset, measure, op), kind))

    def axis(key: str, column: Any, channel: Any, **more: Any) -> Any:
        if column.kind in _TIMES:
            unit, _ = _TIMES[column.kind]
            axis = alt.Axis(format="%b %d" if column.kind == "day" else "%b %Y", labelAngle=0, labelOverlap="greedy")
            return channel(f"{key}:O", timeUnit=unit, title=column.title, axis=axis, **more)
        drawn = alt.Axis(labelLimit=160, labelAngle=0)
        if channel is alt.X and column.kind == "text":
            narrow = f"bandwidth('x') < {_NAME}"
            drawn.labelAngle, drawn.labelAlign = (
                alt.ExprRef(f"{narrow} ? -40 : 0"),
                alt.ExprRef(f"{narrow} ? 'right' : 'center'"),
            )
        elif channel is alt.X:
            drawn.labelOverlap = True
        return channel(f"{key}:O", title=column.title, axis=drawn, **more)

    sort: Any = alt.EncodingSortField(field=value, op="sum", order="descending") if order == "largest" else order
    across, down = axis(x, keys[0], alt.X), axis(y, keys[1], alt.Y, **({"sort": sort} if sort else {}))
    # Of both layers: rows of their own, and Vega-Lite sorts by no sum.
    base = base.transform_calculate(_label=_short(f"datum.{value}", kind))
    cells = base.mark_rect().encode(
        x=across,
        y=down,
        color=alt.Color(f"{value}:Q", title=None, legend=None, scale=alt.Scale(zero=True)),
        tooltip=_tooltip(fields),
    )
    pale = f"luminance(scale('color', datum.{value})) > 0.25"
    labels = base.mark_text(
        fontSize=alt.ExprRef(f"bandwidth('x') < {_ROOM + 12} ? 9 : 11"),
        opacity=alt.ExprRef(f"bandwidth('x') < {_ROOM} ? 0 : 1"),
    ).encode(
        x=across,
        y=down,
        text=alt.Text("_label:N"),
        color=alt.condition(pale, alt.value("#1b2430"), alt.value("white")),
    )
    return _chart(
        name, question, dataset, alt.layer(cells, labels).properties(height=alt.Step(_BAR)), fields, note, wide
    )


def table(
    name: str, question: str, dataset: Dataset, columns: Sequence[str], *, note: str = "", wide: bool = True
) -> Chart:
    """The dataset's rows as they are."""
    shown = tuple(Shown(c.name, c.title, c.kind) for c in map(dataset.column, columns))
    return Chart(name, question, dataset, None, shown, note, wide)


def totals(
    name: str,
    question: str,
    dataset: Dataset,
    by: Sequence[str],
    measures: Sequence[str],
    *,
    note: str = "",
    wide: bool = True,
) -> Chart:
    """A table with one row for each value of ``by``, and the sums of the measures over the chosen days."""
    for measure in measures:
        _check(name, dataset, measure, by)
    return replace(table(name, question, dataset, [*by, *measures], note=note, wide=wide), by=tuple(by))


def _aggregated(
    name: str, dataset: Dataset, measures: Sequence[Measure], by: Sequence[str], *, op: Op = "sum"
) -> alt.Chart:
    """The dataset with one row for each group, which has the measures."""
    sums: dict[str, alt.AggregatedFieldDef] = {}
    for measure in measures:
        _check(name, dataset, measure, by, op)
        for column in [measure] if isinstance(measure, str) else [measure.above, measure.below]:
            sums[column] = alt.AggregatedFieldDef(op=op, field=column, **{"as": column})
    base = alt.Chart(alt.NamedData(dataset.name)).transform_aggregate(aggregate=list(sums.values()), groupby=[*by])
    for measure in measures:
        if isinstance(measure, Ratio):
            value = f"datum.{measure.below} ? datum.{measure.above} / datum.{measure.below} : null"
            base = base.transform_calculate(**{measure.name: value})
    return base


def _check(name: str, dataset: Dataset, measure: Measure, by: Sequence[str], op: str = "sum") -> None:
    for column in [measure] if isinstance(measure, str) else [measure.above, measure.below]:
        dataset.check(f"chart {name}", column, op, by)


def _name(measure: Measure) -> str:
    return measure if isinstance(measure, str) else measure.name


def _title(dataset: Dataset, measure: Measure, op: str = "sum") -> str:
    title = dataset.column(measure).title if isinstance(measure, str) else measure.title
    return f"{title}, mean of the days" if op == "mean" else title


def _kind(dataset: Dataset, measure: Measure, op: str = "sum") -> Kind:
    kind = dataset.column(measure).kind if isinstance(measure, str) else measure.kind
    return "number" if op == "mean" and kind == "count" else kind


def _literal(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _short(value: str, kind: Kind) -> str:
    """An expression: a number as short text. Of those below 1000 it is the number; ``s`` would write 0.5 as 500m."""
    if kind == "share":
        return f"format({value}, '.1~%')"
    return f"abs({value}) < 1000 ? format({value}, '.3~r') : format({value}, '.3~s')"


def _axis(kind: Kind) -> alt.Axis:
    label = _short("datum.value", kind)
    if kind == "count":  # of which there is no half
        label = f"datum.value % 1 ? '' : {label}"
    return alt.Axis(labelExpr=label, tickCount=5, domain=False)


def _tooltip(fields: Sequence[Shown]) -> list[alt.Tooltip]:
    tips = []
    for shown in fields:
        if shown.kind in _TIMES:
            unit, written = _TIMES[shown.kind]
            tips.append(alt.Tooltip(f"{shown.field}:T", title=shown.title, timeUnit=unit, format=written))
        elif shown.kind in FORMATS:
            tips.append(alt.Tooltip(f"{shown.field}:Q", title=shown.title, format=FORMATS[shown.kind]))
        else:
            tips.append(alt.Tooltip(f"{shown.field}:N", title=shown.title))
    return tips


def _chart(
    name: str, question: str, dataset: Dataset, drawn: alt.TopLevelMixin, fields: list[Shown], note: str, wide: bool
) -> Chart:
    if isinstance(drawn, alt.Chart) and drawn.height is alt.Undefined:
        drawn = drawn.properties(height=_HEIGHT)
    spec = drawn.properties(width="container").to_dict()
    spec.pop("config", None)  # colours are the theme's, of which there are two
    spec["description"] = question
    return Chart(name, question, dataset, spec, tuple(fields), note, wide)
