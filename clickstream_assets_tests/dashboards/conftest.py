"""One home with a few days of every domain and its pages, and one browser, for all tests of pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clickstream_assets_tests.conftest import Home, use_home

pytest.register_assert_rewrite("clickstream_assets_tests.dashboards.browser")
from clickstream_assets_tests.dashboards import browser  # noqa: E402 what it asserts is to be told

FIRST, LAST = "2024-03-01", "2024-03-09"


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home with nine days of every domain, and the pages of it. Nobody changes it."""
    from click.testing import CliRunner

    from clickstream_assets.cli import main

    with pytest.MonkeyPatch.context() as patch:
        home = use_home(tmp_path_factory.mktemp("shown") / "home", patch)
        words = ["demo", "--from", FIRST, "--to", LAST, "--rows-per-day", "300"]
        result = CliRunner().invoke(main, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        yield home


@pytest.fixture(scope="module")
def chromium(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Chromium]:
    """The browser; pictures are kept in the folder of ``--screenshots``, or with pytest's temporary files.

    It is closed after each module: as long as it is open an event loop runs in this thread, and Dagster starts its own.
    """
    kept = request.config.getoption("--screenshots")
    with browser.chromium(Path(kept) if kept else tmp_path_factory.mktemp("screenshots")) as made:
        yield made
