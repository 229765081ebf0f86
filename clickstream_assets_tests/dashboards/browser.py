"""Pages in a real Chromium, with no network."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright
from playwright.sync_api import Page as Tab

#: names under which distributions install it
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

#: milliseconds that a page may take to draw all its charts, on two busy cores
_PATIENCE = 60_000

#: Vega-Lite, of every chart that is as wide as its place and as high as its bars, also when asked for just that
_HARMLESS = 'WARN Dropping "fit-y" because spec has discrete height.'


@dataclass
class Chromium:
    """One browser; each page is opened in a profile of its own, offline."""

    browser: Browser
    #: where screenshots are kept
    shots: Path

    @contextlib.contextmanager
    def open(self, path: Path | str, **options: Any) -> Iterator[Shown]:
        """A page as a person has it before their eyes; it fails the test when it logs an error or asks the network."""
        wanted = {"viewport": {"width": 1280, "height": 900}, "offline": True, **options}
        context = self.browser.new_context(**wanted)
        try:
            shown = Shown(context.new_page(), self.shots)
            shown.tab.set_default_timeout(_PATIENCE)
            shown.tab.on("console", lambda message: shown.heard(message.type, message.text))
            shown.tab.on("pageerror", lambda error: shown.errors.append(str(error)))
            shown.tab.on("request", lambda request: shown.requests.append(request.url))
            shown.tab.goto(path if isinstance(path, str) else path.as_uri())
            yield shown
            assert shown.errors == []
            assert [url for url in shown.requests if not url.startswith(("file:", "data:", "blob:"))] == []
        finally:
            context.close()


@dataclass
class Shown:
    """A page that is open."""

    tab: Tab
    shots: Path
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def heard(self, kind: str, said: str) -> None:
        """What a page writes to its console."""
        if kind in ("error", "warning") and said != _HARMLESS:
            self.errors.append(said)

    def drawn(self) -> None:
        """Wait until every chart is drawn for what is chosen."""
        self.tab.wait_for_selector("html[data-state=ready]")

    def choose(self, **chosen: str) -> None:
        """Set dates (``first``, ``last``) and filters, as by hand."""
        for name, value in chosen.items():
            part = self.tab.locator(f"#filters [name={name}]")
            if part.evaluate("e => e.tagName") == "SELECT":
                part.select_option(value)
            else:
                part.fill(value)
                part.dispatch_event("change")
            self.drawn()

    def numbers(self, chart: str) -> list[tuple[str, ...]]:
        """The rows below a chart, as text."""
        self.tab.evaluate(f"document.querySelectorAll('#chart-{chart} details').forEach(d => d.open = true)")
        self.tab.wait_for_selector(f"#chart-{chart} .numbers tbody", state="attached")
        rows: list[list[str]] = self.tab.evaluate(
            f"Array.from(document.querySelectorAll('#chart-{chart} .numbers tbody tr'),"
            " row => Array.from(row.cells, cell => cell.textContent))"
        )
        return [tuple(row) for row in rows]

    def tiles(self) -> dict[str, str]:
        """The figures by their titles."""
        found: dict[str, str] = self.tab.evaluate(
            "Object.fromEntries(Array.from(document.querySelectorAll('.tile'),"
            " tile => [tile.querySelector('dt').textContent, tile.querySelector('.value').textContent]))"
        )
        return found

    def shot(self, name: str) -> Path:
        """Keep a picture of the whole page."""
        path = self.shots / f"{name}.png"
        self.tab.screenshot(path=path, full_page=True)
        return path


@contextlib.contextmanager
def chromium(shots: Path) -> Iterator[Chromium]:
    """A headless Chromium: the one of ``CHROMIUM``, or the one that is installed.

    Without any the tests of pages are skipped, but not where ``CI`` is set.
    """
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        missing = "There is no Chromium: install it (Debian: apt-get install chromium), or name one in CHROMIUM."
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    shots.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        # A container's root has no user namespaces to build a sandbox of; the pages are our own.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield Chromium(browser, shots)
        finally:
            browser.close()


def _rounded(value: Any, digits: int) -> Decimal:
    """As a browser rounds: what the number is in truth, and a half away from zero."""
    return Decimal(value).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)


def text(value: Any, kind: str) -> str:
    """How a page writes a value."""
    if value is None:
        return "–"
    if kind == "share":
        return f"{_rounded(value * 100, 1):,}%"
    if kind in ("money", "number"):
        return f"{_rounded(value, 2):,}"
    if kind == "seconds":
        return f"{_rounded(value, 1):,}"
    if kind == "month":
        return f"{value:%Y-%m}"
    if kind == "count":
        return f"{value:,d}"
    return str(value)
