"""Building pages: a folder that any browser opens from disk, with no server and no network.

``<page>.html`` holds its data; ``assets`` holds what all pages share: Vega, our script and our style.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from clickstream_assets import dashboards
from clickstream_assets.dashboards import theme
from clickstream_assets.dashboards.page import Notice, Page
from clickstream_assets.dashboards.pictures import VEGA_LITE
from clickstream_assets.dashboards.read import Data, embedded, read
from clickstream_assets.platform import Platform
from clickstream_assets.storage import files

if TYPE_CHECKING:
    import jinja2

_WEB = Path(__file__).with_name("web")


@dataclass(frozen=True)
class Days:
    """The days from which a reader can choose. ``monthly``: what is chosen are months."""

    first: str
    last: str
    monthly: bool


@dataclass(frozen=True)
class Built:
    """A page that was written: where, its bytes, those of its data, and the data itself."""

    page: Page
    uri: str
    bytes: int
    data_bytes: int
    data: list[Data]


def build(platform: Platform, name: str, *, history: Any = None) -> Built:
    """Read a page's data and write the page.

    ``history``: what knows of past runs, Dagster's instance.
    """
    page = dashboards.load(name)
    return write(platform, dashboards.described(name), page, read(platform, page, history))


def write(platform: Platform, described: dashboards.Described, page: Page, data: list[Data]) -> Built:
    """Write a page; a reader sees the old one or the new one."""
    encoded = {one.dataset.name: one.encoded() for one in data}
    content = {
        "datasets": encoded,
        "tiles": [tile.described() for tile in page.tiles],
        "charts": [
            {
                "name": chart.name,
                "dataset": chart.dataset.name,
                "spec": chart.spec,
                "by": list(chart.by),
                "shown": [{"field": s.field, "title": s.title, "kind": s.kind} for s in chart.shown],
            }
            for chart in page.charts
        ],
        "filters": [{"column": chosen.column, "title": chosen.title} for chosen in page.filters],
        "configs": {mode: theme.config(mode) for mode in theme.MODES},
    }
    html = _template("page.html.j2").render(
        page=page,
        described=described,
        pages=dashboards.PAGES,
        content=embedded(content),
        theme=theme.colours(),
        built=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        notes=[one for one in data if one.cut],
        notices=[notice.sentence for notice in page.notices if _set(data, notice)],
        missing=sorted({name for one in data for name in one.missing}),
        days=_days(data),
    )
    folder = files.at(platform.settings.dashboards_uri)
    _share(folder)
    written = html.encode()
    _put(folder, f"{page.name}.html", written)
    return Built(page, folder.uri(f"{page.name}.html"), len(written), len(embedded(encoded).encode()), data)


def write_index(platform: Platform) -> str:
    """Write the page that leads to the others; its address."""
    folder = files.at(platform.settings.dashboards_uri)
    _share(folder)
    html = _template("index.html.j2").render(
        page=None,
        pages=dashboards.PAGES,
        charts={entry.name: dashboards.load(entry.name).charts for entry in dashboards.PAGES},
        theme=theme.colours(),
    )
    _put(folder, "index.html", html.encode())
    return folder.uri("index.html")


def _share(folder: files.Files) -> None:
    """Write what all pages share, unless it is there. Vega's bundle is made once per version (3 s)."""
    for name in ("dashboard.js", "dashboard.css"):
        content = (_WEB / name).read_bytes()
        if folder.read(f"assets/{name}") != content:
            _put(folder, f"assets/{name}", content)
    if folder.read(f"assets/{bundle_name()}") is None:
        import vl_convert

        bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
        _put(folder, f"assets/{bundle_name()}", bundle.encode())


def _put(folder: files.Files, path: str, content: bytes) -> None:
    kinds = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
    folder.write(path, content, media_type=f"{kinds[PurePath(path).suffix]}; charset=utf-8")


@cache
def bundle_name() -> str:
    """The file of Vega's scripts, named by what made it."""
    from importlib.metadata import version

    return f"vega-{version('vl-convert-python')}.js"


def _set(data: list[Data], notice: Notice) -> bool:
    """Whether the flag of a notice is set in any row."""
    rows = next(one for one in data if one.dataset is notice.dataset).records()
    return any(row[notice.flag] for row in rows)


def _days(data: list[Data]) -> Days | None:
    """The first and the last day of a page; of a page that has months alone, those of its months."""
    for kind in ("day", "month"):
        found = [
            row[place]
            for one in data
            for place, column in enumerate(one.dataset.columns)
            if column.name == one.dataset.day and column.kind == kind
            for row in one.rows
            if row[place]
        ]
        if found:
            last = date.fromisoformat(max(found))
            if kind == "month":
                last = last.replace(day=monthrange(last.year, last.month)[1])
            return Days(min(found), last.isoformat(), monthly=kind == "month")
    return None


def _template(name: str) -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_WEB),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals["bundle"] = bundle_name()
    environment.filters["css"] = _variables
    return environment.get_template(name)


def _variables(colours: dict[str, Any]) -> str:
    """Colours as variables of a style sheet."""
    return "; ".join(f"--{name}: {value}" for name, value in colours.items() if isinstance(value, str))
