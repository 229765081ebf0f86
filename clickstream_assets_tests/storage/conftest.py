"""What the tests of storage share."""

from __future__ import annotations

from pathlib import Path

import pytest

from clickstream_assets_tests.conftest import Home, use_home


@pytest.fixture(params=["a laptop", "AWS"])
def either(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home with everything on this machine, and one with its lake on S3, the Glue catalog and Redshift."""
    further = {}
    if request.param == "AWS":
        request.getfixturevalue("on_glue")
        further = request.getfixturevalue("on_redshift") | {
            "CLICKSTREAM_WAREHOUSE": "redshift",
            "CLICKSTREAM_CATALOG": "glue",
            "CLICKSTREAM_LAKE_URI": request.getfixturevalue("s3_root"),
        }
    return use_home(tmp_path / "home", monkeypatch, **further)
