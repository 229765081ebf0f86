"""How a page behaves in a browser: filters, the address, keys, small and dark screens, hostile texts."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from clickstream_assets.dashboards import Described
from clickstream_assets.dashboards.build import write, write_index
from clickstream_assets.dashboards.charts import over_time, ranked, table
from clickstream_assets.dashboards.page import Column, Dataset, Filter, Page, Tile, count, day, distinct, money, text
from clickstream_assets.dashboards.read import Data
from clickstream_assets_tests.conftest import Home, use_home
from clickstream_assets_tests.dashboards.browser import Chromium

HOSTILE = '<img src=x onerror="document.title=`taken`">'
FORMULA = '=HYPERLINK("http://127.0.0.1/","click")'
BRANDS = (HOSTILE, FORMULA, "plain, with a comma")

SALES = Dataset(
    name="sales",
    tables=("shop.sales",),
    sql="",
    columns=(
        day("day"),
        text("brand", "Brand"),
        money("net", "Net"),
        count("orders", "Orders"),
        distinct("people", "People"),
        Column("done", "Done", "flag"),
    ),
    grain=("day", "brand"),
    order="day desc",
)
STOCK = Dataset(
    name="stock",
    tables=("shop.stock",),
    sql="",
    columns=(text("place", "Place"), count("pieces", "Pieces")),
    grain=("place",),
    order="pieces desc",
)

#: of ten of the twelve days, and nothing is known of the third
VISITS = Dataset(
    name="visits",
    tables=("shop.visits",),
    sql="",
    columns=(day("day"), distinct("visitors", "Visitors")),
    grain=("day",),
    order="day desc",
)

#: twelve days; on day n each brand of place b sells n + b/100
ROWS = [
    (f"2024-03-{n:02}", brand, n + b / 100, n, 1 + b, n < 10)
    for n in range(12, 0, -1)
    for b, brand in enumerate(BRANDS)
]

PAGE = Page(
    "page",
    tiles=(
        Tile("All net", SALES, "sum", "net"),
        Tile("An order", SALES, "ratio", "net", "orders", "money"),
        Tile("Pieces", STOCK, "sum", "pieces"),
        Tile("Visitors a day", VISITS, "mean", "visitors"),
    ),
    charts=(
        over_time("by_day", "What is sold?", SALES, "net", mark="bar", final="done"),
        over_time("by_brand", "Who buys which brand?", SALES, "people", split="brand"),
        ranked("brands", "Which brands?", SALES, "brand", "net"),
        table("stock", "What is left?", STOCK, ["place", "pieces"]),
    ),
    filters=(Filter("brand", "Brand"),),
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        home: Home = use_home(tmp_path_factory.mktemp("pages") / "home", patch)
        visits = [(f"2024-03-{n:02}", None if n == 3 else 10 * n) for n in range(10, 0, -1)]
        data = [Data(SALES, ROWS), Data(STOCK, [("shelf", 5), (HOSTILE, 2)]), Data(VISITS, visits)]
        write_index(home.platform)
        yield Path(write(home.platform, Described("page", "Page", "sales", "Intro.", ()), PAGE, data).uri)


def test_dates_and_filters_choose_rows(page: Path, chromium: Chromium) -> None:
    with chromium.open(page) as shown:
        shown.drawn()
        assert shown.tiles() == {
            "All net": f"{3 * 78 + 12 * 0.03:.2f}",
            "An order": "1.00",
            "Pieces": "7",
            "Visitors a day": "57.78",
        }
        assert shown.numbers("by_day")[0] == ("2024-03-12", "36.03", "provisional")
        assert len(shown.numbers("by_day")) == 12
        shown.choose(first="2024-03-02", last="2024-03-03")
        assert shown.numbers("by_day") == [("2024-03-03", "9.03", "final"), ("2024-03-02", "6.03", "final")]
        assert shown.tiles()["All net"] == "15.06"
        shown.choose(brand="plain, with a comma")
        assert shown.numbers("by_day") == [("2024-03-03", "3.02", "final"), ("2024-03-02", "2.02", "final")]
        assert shown.numbers("brands") == [("plain, with a comma", "5.04")]
        # what has neither days nor brands says so, and stays
        assert shown.tab.inner_text("#chart-stock .ignored") == "Not filtered by: dates, Brand."
        assert shown.numbers("stock") == [("shelf", "5"), (HOSTILE, "2")]
        assert shown.tab.is_hidden("#chart-by_day .ignored")


def test_the_newest_days_at_one_press_and_how_they_compare(page: Path, chromium: Chromium) -> None:
    with chromium.open(page) as shown:
        shown.drawn()
        assert shown.tab.inner_text("#tile-0 .change") == ""
        shown.choose(first="2024-03-11")
        # 11 and 12 against 9 and 10, of three brands
        assert shown.tab.inner_text("#tile-0 .change") == "▲ +21.0% on the 2 days before"
        shown.tab.click("text=7 days")
        shown.drawn()
        assert [row[0] for row in shown.numbers("by_day")] == [f"2024-03-{n:02}" for n in range(12, 5, -1)]
        assert shown.tab.inner_text("#said") == "7 days"
        shown.tab.click("text=All days")
        shown.drawn()
        assert len(shown.numbers("by_day")) == 12


def test_days_that_a_table_has_not_are_no_days_of_nothing(page: Path, chromium: Chromium) -> None:
    with chromium.open(page) as shown:
        shown.drawn()
        shown.choose(first="2024-03-09")
        assert shown.tab.inner_text("#tile-0 .change") == "▲ +61.4% on the 4 days before"
        # Two days of it against four: what it has of the chosen days is told, and not compared.
        assert shown.tiles()["Visitors a day"] == "95.00"
        assert shown.tab.inner_text("#tile-3 .change") == ""
        shown.choose(first="2024-03-11")
        assert shown.tiles()["Visitors a day"] == "–"
        shown.choose(first="2024-03-09", last="2024-03-10")
        assert shown.tab.inner_text("#tile-3 .change") == "▲ +26.7% on the 2 days before"


def test_dates_the_wrong_way_round_are_swapped(page: Path, chromium: Chromium) -> None:
    with chromium.open(page) as shown:
        shown.drawn()
        shown.choose(first="2024-03-05", last="2024-03-04")
        assert [row[0] for row in shown.numbers("by_day")] == ["2024-03-05", "2024-03-04"]
        assert shown.tab.input_value("[name=first]") == "2024-03-04"


def test_a_choice_without_rows_says_so(page: Path, chromium: Chromium) -> None:
    with chromium.open(page) as shown:
        shown.drawn()
        shown.choose(first="2024-02-01", last="2024-02-02")
        assert shown.tab.inner_text("#chart-by_day .empty") == "No rows for this choice."
        assert shown.tab.is_hidden("#chart-by_day .drawn")
        assert shown.tiles()["All net"] == "–"
        shown.choose(first="2024-03-01", last="2024-03-02")
        assert shown.tab.is_visible("#chart-by_day .drawn svg")
        assert len(shown.numbers("by_day")) == 2


def test_what_is_chosen_is_in_the_address(page: Path, chromium: Chromium) -> None:
    with chromium.open(page) as shown:
        shown.drawn()
        shown.choose(first="2024-03-11", brand=FORMULA)
        address = shown.tab.url
        chosen = shown.numbers("by_day")
    with chromium.open(address) as again:
        again.drawn()
        assert again.numbers("by_day") == chosen and len(chosen) == 2
    with chromium.open(f"{page.as_uri()}#first=nonsense&brand=nobody&last=<b>") as wrong:
        wrong.drawn()
        assert len(wrong.numbers("by_day")) == 12


def test_marks_are_drawn_for_what_is_chosen(page: Path, chromium: Chromium) -> None:
    marks = "#chart-by_day .mark-rect path"
    with chromium.open(page) as shown:
        shown.drawn()
        labels = [mark.get_attribute("aria-label") or "" for mark in shown.tab.locator(marks).all()]
        assert len(labels) == 12 and any("Net: 36.03;" in label for label in labels)
        opacity = [mark.get_attribute("opacity") for mark in shown.tab.locator(marks).all()]
        assert sorted(opacity) == ["0.45"] * 3 + ["1"] * 9
        shown.choose(first="2024-03-10")
        assert shown.tab.locator(marks).count() == 3


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Asia/Tokyo"])
def test_a_day_is_the_same_day_wherever_it_is_read(page: Path, chromium: Chromium, zone: str) -> None:
    with chromium.open(page, timezone_id=zone) as shown:
        shown.drawn()
        shown.choose(first="2024-03-10", last="2024-03-11")  # a change of clocks in one of them
        assert [row[0] for row in shown.numbers("by_day")] == ["2024-03-11", "2024-03-10"]
        axis = shown.tab.locator("#chart-by_day .role-axis-label text").all_text_contents()
        assert {label for label in axis if label.startswith("Mar")} <= {"Mar 10", "Mar 11", "Mar 12"}
        assert "Mar 10" in axis and "Mar 09" not in axis


def test_hostile_texts_are_texts(page: Path, chromium: Chromium) -> None:
    with chromium.open(page) as shown:
        shown.drawn()
        assert HOSTILE in [row[0] for row in shown.numbers("brands")]
        shown.tab.locator("#chart-brands .mark-rect path").first.hover()
        shown.tab.wait_for_selector("#vg-tooltip-element.visible")
        assert shown.tab.locator("main img, #vg-tooltip-element img").count() == 0
        assert shown.tab.title() == "Page · Dashboards"


def test_numbers_are_downloaded_as_csv_that_no_spreadsheet_computes(page: Path, chromium: Chromium) -> None:
    with chromium.open(page) as shown:
        shown.drawn()
        shown.numbers("brands")
        with shown.tab.expect_download() as download:
            shown.tab.click("#chart-brands >> text=Download as CSV")
        assert download.value.suggested_filename == "brands.csv"
        lines = Path(download.value.path()).read_bytes().decode().split("\r\n")
        assert lines == [
            "Brand,Net",
            '"plain, with a comma",78.24',
            '"\'=HYPERLINK(""http://127.0.0.1/"",""click"")",78.12',
            '"<img src=x onerror=""document.title=`taken`"">",78.00',
            "",
        ]


def test_a_page_is_used_with_keys_alone(page: Path, chromium: Chromium) -> None:
    with chromium.open(page) as shown:
        shown.drawn()
        shown.tab.keyboard.press("Tab")
        assert shown.tab.evaluate("document.activeElement.textContent") == "To the charts"
        assert shown.tab.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
        reached = set()
        for _ in range(60):
            shown.tab.keyboard.press("Tab")
            reached.add(shown.tab.evaluate("(e => e.name || e.tagName)(document.activeElement)"))
            outlined = "getComputedStyle(document.activeElement).outlineStyle"
            style = shown.tab.evaluate(f"document.activeElement === document.body ? 'solid' : {outlined}")
            assert style == "solid", shown.tab.evaluate("document.activeElement.outerHTML")[:300]
        assert {"first", "last", "brand", "BUTTON", "SUMMARY"} <= reached
        shown.tab.focus("#chart-brands summary")
        shown.tab.keyboard.press("Enter")
        shown.tab.wait_for_selector("#chart-brands tbody tr")
        shown.tab.focus("[name=brand]")
        shown.tab.keyboard.press("ArrowDown")
        shown.drawn()
        assert len(shown.numbers("brands")) == 1


def test_a_page_is_read_on_a_phone(page: Path, chromium: Chromium) -> None:
    with chromium.open(page, viewport={"width": 360, "height": 740}, has_touch=True) as shown:
        shown.drawn()
        shown.shot("phone")
        assert shown.tab.evaluate("document.documentElement.scrollWidth") <= 360
        widths = shown.tab.evaluate("Array.from(document.querySelectorAll('.drawn svg'), s => s.clientWidth)")
        assert len(widths) == 3 and all(200 < width <= 340 for width in widths)


def _luminance(colour: str) -> float:
    """Relative luminance of ``rgb(…)``, as WCAG defines it."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_page_follows_a_dark_screen(page: Path, chromium: Chromium) -> None:
    parts = {
        "h1": "body",
        ".intro": "body",
        ".chart h2": ".chart",
        ".source": ".chart",
        ".tile .value": ".tile",
    }
    with chromium.open(page, color_scheme="light") as shown:
        for mode in ("light", "dark"):
            shown.tab.emulate_media(color_scheme=mode)  # type: ignore[arg-type]
            shown.tab.wait_for_function(
                "want => document.documentElement.dataset.state === 'ready' &&"
                " getComputedStyle(document.querySelector('.drawn svg')).backgroundColor === want",
                arg={"light": "rgb(255, 255, 255)", "dark": "rgb(24, 32, 43)"}[mode],
            )
            for part, behind in parts.items():
                style = "(s, p) => getComputedStyle(document.querySelector(s))[p]"
                ink = _luminance(shown.tab.evaluate(f"({style})('{part}', 'color')"))
                paper = _luminance(shown.tab.evaluate(f"({style})('{behind}', 'backgroundColor')"))
                assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5, (mode, part)
            ticks = shown.tab.locator("#chart-by_day .role-axis-label text").first.get_attribute("fill")
            assert ticks == {"light": "#5a6675", "dark": "#a3b0bf"}[mode]


def test_a_page_that_a_server_serves_is_the_same(page: Path, chromium: Chromium) -> None:
    handler = functools.partial(_Quiet, directory=str(page.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            context = chromium.browser.new_context()
            tab = context.new_page()
            tab.goto(f"http://127.0.0.1:{server.server_port}/page.html")
            tab.wait_for_selector("html[data-state=ready]")
            assert tab.locator(".drawn svg").count() == 3
            context.close()
        finally:
            server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 the library's name
