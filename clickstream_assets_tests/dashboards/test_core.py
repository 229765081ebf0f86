"""What pages are made of: what may be added up, what a page takes, what is written, whatever is in the data."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import vl_convert

from clickstream_assets.dashboards import Described
from clickstream_assets.dashboards.build import write, write_index
from clickstream_assets.dashboards.charts import Ratio, heat, over_time, ranked, table
from clickstream_assets.dashboards.page import (
    Chart,
    Dataset,
    Filter,
    Page,
    PageError,
    Tile,
    count,
    day,
    distinct,
    money,
    share,
    text,
)
from clickstream_assets.dashboards.pictures import VEGA_LITE, markdown, png
from clickstream_assets.dashboards.read import Data, _first, _plain, fit, read, size
from clickstream_assets_tests.conftest import Home

DAYS = Dataset(
    name="days",
    tables=("shop.days",),
    sql="select day, brand, net, orders, people, part from shop.days",
    columns=(
        day("day"),
        text("brand", "Brand"),
        money("net", "Net"),
        count("orders", "Orders"),
        distinct("people", "People"),
        share("part", "Part"),
    ),
    grain=("day", "brand"),
    order="day desc, brand",
)
BRANDS = Dataset(
    name="brands",
    tables=("shop.brands",),
    sql="select brand, net from shop.brands",
    columns=(text("brand", "Brand"), money("net", "Net")),
    grain=("brand",),
    order="net desc, brand",
)


def _rows(days: int, brands: int = 2) -> list[tuple[object, ...]]:
    newest = date(2024, 3, 9)
    return [
        ((newest - timedelta(days=back)).isoformat(), f"brand {brand}", 1.1 * brand + back, brand + 1, 2, 0.5)
        for back in range(days)
        for brand in range(brands)
    ]


@pytest.mark.parametrize(
    ("make", "refused"),
    [
        (lambda: over_time("c", "?", DAYS, "people"), "sum of days.people by day"),
        (lambda: over_time("c", "?", DAYS, "people", split="brand", mark="bar"), "sum of days.people by day"),
        (lambda: over_time("c", "?", DAYS, Ratio("r", "R", "net", "people")), "sum of days.people by day"),
        (lambda: ranked("c", "?", DAYS, "brand", "people"), "sum of days.people by brand"),
        (lambda: heat("c", "?", DAYS, "brand", "brand", "part"), "sum of days.part"),
        (lambda: heat("c", "?", DAYS, "day", "day", "people", op="mean"), "mean of days.people by day"),
        (lambda: Tile("t", DAYS, "sum", "people"), "sum of days.people by nothing"),
        (lambda: Tile("t", DAYS, "mean", "people"), "mean of days.people by nothing"),
        (lambda: Tile("t", DAYS, "ratio", "net", "people"), "sum of days.people by nothing"),
        (lambda: Tile("t", DAYS, "sum", "nobody"), "no column nobody"),
        (lambda: over_time("c", "?", BRANDS, "net"), "a day is needed"),
        (lambda: table("c", "?", BRANDS, ["day"]), "no column day"),
    ],
)
def test_what_does_not_add_up_is_not_drawn(make, refused: str) -> None:
    with pytest.raises(PageError, match=re.escape(refused)):
        make()


def test_what_adds_up_is_drawn_and_so_is_what_needs_no_adding() -> None:
    over_time("c", "?", DAYS, ["net", "orders"])
    over_time("c", "?", DAYS, "people", split="brand")
    over_time("c", "?", DAYS, "net", split="brand", mark="area")
    ranked("c", "?", DAYS, "brand", "people", op="mean")
    ranked("c", "?", DAYS, "brand", Ratio("r", "R", "net", "orders"))
    Tile("t", DAYS, "ratio", "net", "orders")


def test_a_filter_needs_a_column() -> None:
    with pytest.raises(PageError, match="filtered by city"):
        Page("p", tiles=(Tile("t", DAYS, "sum", "net"),), charts=(), filters=(Filter("city", "City"),))


def test_values_are_what_json_has() -> None:
    column = {c.name: c for c in DAYS.columns}
    assert _plain(Decimal("12.30"), column["net"]) == 12.3
    assert _plain(Decimal(7), column["orders"]) == 7 and isinstance(_plain(Decimal(7), column["orders"]), int)
    assert _plain(date(2024, 3, 1), column["day"]) == "2024-03-01"
    assert _plain(datetime(2024, 3, 1, 23, 5, tzinfo=UTC), column["brand"]) == "2024-03-01 23:05:00"
    assert _plain(float("nan"), column["part"]) is None
    assert _plain(float("inf"), column["part"]) is None


def test_a_page_takes_so_much_and_says_what_it_left_out() -> None:
    large, small = Data(DAYS, _rows(4000)), Data(BRANDS, [("a", 1.0), ("b", 2.0)])
    assert size(large) > 120_000
    cut, whole = fit([large, small], most=60_000)
    assert whole is small
    assert 50_000 < size(cut) + size(small) <= 60_000
    assert list(cut.rows) == _rows(len(cut.rows) // 2)  # the newest days, each with all its rows
    assert cut.cut == f"The newest days, from {cut.rows[-1][0]} on; older ones are in shop.days."
    assert fit([large, small]) == [large, small]


def test_a_day_is_there_with_all_its_rows_or_not_at_all() -> None:
    data = _first(Data(DAYS, _rows(3, brands=4)), 7)
    assert data.rows == _rows(1, brands=4)
    none = _first(Data(DAYS, _rows(1, brands=4)), 3)
    assert none.rows == [] and "one alone has more than 3 rows" in none.cut


def test_what_is_counted_is_what_is_written() -> None:
    (cut,) = fit([Data(BRANDS, [("<" * 1000, float(n)) for n in range(100)])], most=60_000)
    assert len(cut.rows) == 100  # each text once
    (cut,) = fit([Data(BRANDS, [(f"{n}" + "<" * 1000, float(n)) for n in range(100)])], most=60_000)
    assert 5 <= len(cut.rows) <= 10  # as \u003c


def test_of_a_dataset_without_days_the_first_rows_stay() -> None:
    rows = [(f"brand {n}", float(n)) for n in range(3000)]
    (cut,) = fit([Data(BRANDS, rows)], most=20_000)
    assert cut.rows == rows[: len(cut.rows)] and 0 < len(cut.rows) < 3000
    assert cut.cut == f"The first {len(cut.rows):,} rows of shop.brands; the others are in the table."


def test_a_table_that_is_not_there_gives_no_rows_and_a_sentence(home: Home) -> None:
    page = Page("p", tiles=(), charts=(over_time("c", "?", DAYS, "net"),))
    (data,) = read(home.platform, page)
    assert (data.rows, data.missing) == ((), ("shop.days",))
    built = write(home.platform, Described("p", "P", "sales", "Intro.", ()), page, [data])
    html = Path(built.uri).read_text()
    assert "The table <code>shop.days</code> is not there yet" in html


def test_what_the_warehouse_has_is_read_in_the_order_of_the_dataset(home: Home) -> None:
    def make(transaction) -> None:
        transaction.run("create schema shop")
        transaction.run("create table shop.days (day date, brand varchar, net decimal(18, 2), orders bigint,"
                        " people bigint, part double)")  # fmt: skip
        transaction.run("insert into shop.days values ('2024-03-01', 'b', 1.10, 1, 1, 0.5),"
                        " ('2024-03-02', null, 2.20, 2, 1, null)")  # fmt: skip

    home.platform.warehouse.transact("a test", make)
    (data,) = read(home.platform, Page("p", tiles=(), charts=(over_time("c", "?", DAYS, "net"),)))
    assert data.rows == [("2024-03-02", None, 2.2, 2, 1, None), ("2024-03-01", "b", 1.1, 1, 1, 0.5)]
    assert data.encoded()["columns"]["brand"] == {"values": [None, "b"], "places": [0, 1]}


def test_no_text_ends_the_element_that_holds_the_data(home: Home) -> None:
    hostile = "</script><script>document.title='taken'</script>\u2028 \\ \" '"
    page = Page("p", tiles=(), charts=(ranked("c", "?", BRANDS, "brand", "net"),))
    built = write(home.platform, Described("p", "P", "sales", "<b>", ()), page, [Data(BRANDS, [(hostile, 1.0)])])
    html = Path(built.uri).read_text()
    assert "taken" in html and "</script><script>" not in html and "<b>" not in html
    inside = re.search(r'<script type="application/json" id="content">(.*?)</script>', html, re.S)
    assert inside and json.loads(inside[1])["datasets"]["brands"]["columns"]["brand"]["values"] == [hostile]


def test_a_page_is_whole_or_the_one_before(home: Home) -> None:
    page = Page("p", tiles=(), charts=(ranked("c", "?", BRANDS, "brand", "net"),))
    described = Described("p", "P", "sales", "Intro.", ())
    first = Path(write(home.platform, described, page, [Data(BRANDS, [("a", 1.0)])]).uri)
    before = first.read_bytes()
    with pytest.raises(TypeError):
        write(home.platform, described, page, [Data(BRANDS, [("a", object())])])
    assert first.read_bytes() == before
    assert [path.name for path in first.parent.iterdir() if path.name.startswith("_")] == []


def test_what_pages_share_is_written_once_and_again_when_it_is_another(home: Home) -> None:
    write_index(home.platform)
    assets = home.path / "dashboards" / "assets"
    times = {path.name: path.stat().st_mtime_ns for path in assets.iterdir()}
    assert len(times) == 3
    (assets / "dashboard.js").write_text("old")
    write_index(home.platform)
    changed = [path.name for path in assets.iterdir() if path.stat().st_mtime_ns != times[path.name]]
    assert changed == ["dashboard.js"] and (assets / "dashboard.js").read_text() != "old"


def _charts() -> list[Chart]:
    return [
        over_time("lines", "?", DAYS, ["net", "orders"]),
        over_time("split", "?", DAYS, "people", split="brand"),
        over_time("bars", "?", DAYS, "net", split="brand", mark="bar"),
        ranked("ranked", "?", DAYS, "brand", Ratio("r", "R", "net", "orders", "money")),
        heat("heat", "?", DAYS, "day", "brand", "part"),
    ]


@pytest.mark.parametrize("chart", _charts(), ids=lambda chart: chart.name)
def test_every_kind_of_chart_is_a_picture_that_depends_on_its_data(chart: Chart) -> None:
    picture, other = (png(chart, Data(DAYS, _rows(days))) for days in (4, 9))
    assert picture.startswith(b"\x89PNG") and other.startswith(b"\x89PNG")
    assert picture != other and len(picture) > 800


def _labels(chart: Chart, rows: list[tuple[object, ...]]) -> list[str]:
    spec = {**(chart.spec or {}), "width": 500, "datasets": {DAYS.name: Data(DAYS, rows).records()}}
    return re.findall(r"<text [^>]*>([^<]+)</text>", vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE))


def test_small_numbers_are_not_written_in_thousandths() -> None:
    """As ``s`` of d3 does: 0.5 is 500m, and so is a fifth of a sale."""
    rows = [(f"2024-03-0{n}", "a", 0.1 * n, 1 + n % 2, 1, 0.001 * n) for n in range(1, 5)]
    sums = _labels(over_time("c", "?", DAYS, "net"), rows)
    assert {"0.1", "0.2"} <= set(sums) and not [label for label in sums if re.fullmatch(r"[0-9.]+m", label)]
    counts = [label for label in _labels(over_time("c", "?", DAYS, "orders", mark="bar"), rows) if label[0].isdigit()]
    assert counts == ["0", "1", "2"]
    cells = _labels(heat("c", "?", DAYS, "day", "brand", "part"), rows)
    assert {"0.1%", "0.2%", "0.3%", "0.4%"} <= set(cells)
    large = _labels(over_time("c", "?", DAYS, "net"), [("2024-03-01", "a", 25_000.0, 1, 1, 0.5)])
    assert "20k" in large


def test_in_dagster_a_table_is_text_that_is_no_markup() -> None:
    shown = markdown(table("t", "?", BRANDS, ["brand", "net"]), Data(BRANDS, [("a|b\n<img src=x>", 1.5)] * 30), rows=3)
    assert shown.splitlines()[2:] == [r"| a\|b \<img src=x\> | 1.5 |"] * 3
    assert shown.splitlines()[:2] == ["| Brand | Net |", "| --- | --- |"]
    assert markdown(table("t", "?", BRANDS, ["brand"]), Data(BRANDS, []), rows=3) == ""
