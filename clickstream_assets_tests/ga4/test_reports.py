"""``reports.yml``: a further report is one entry, and one that cannot be asked is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from clickstream_assets import schemas
from clickstream_assets.errors import ClickstreamError
from clickstream_assets.ga4 import reports

OWN = Path(reports.__file__).with_name("reports.yml")


def written(folder: Path, **entry: object) -> Path:
    """The project's file with one entry more."""
    content = yaml.safe_load(OWN.read_text())
    content["dimensions"]["deviceCategory"] = "device"
    content["metrics"]["activeUsers"] = {"column": "active_users", "additive": False}
    plain = {"name": "ga_devices", "version": 2, "description": "By device."}
    asked = {"dimensions": ["date", "deviceCategory"], "metrics": ["activeUsers", "eventCount"]}
    content["reports"].append(plain | asked | entry)
    path = folder / "reports.yml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_further_report_is_one_entry(tmp_path: Path) -> None:
    report = reports.load(written(tmp_path))["ga_devices"]
    assert (report.version, report.table, report.key) == (2, "ga4_devices", ("device",))
    assert [(metric.name, metric.additive) for metric in report.metrics] == [
        ("activeUsers", False),
        ("eventCount", True),
    ]
    raw, cleaned = schemas.ga4_raw(report), schemas.ga4_cleaned(report)
    assert (raw.lake, raw.external) == ("analytics_raw.ga_devices_raw", "spectrum_analytics.ga_devices_raw")
    assert cleaned.warehouse == "analytics_cleaned.ga4_devices"
    assert cleaned.arrow.names[:4] == ["event_date", "device", "active_users", "event_count"]


def test_raw_has_the_columns_that_people_query() -> None:
    raw, _ = schemas.GA4_TABLES["ga_events"]
    assert raw.arrow.names[:9] == [
        *("event_date", "page_path", "traffic_source", "traffic_medium", "sessions", "total_users"),
        *("screen_page_views", "event_count", "processed_at"),
    ]
    assert raw.partition == ("date",)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"name": "devices"}, "'devices' needs a name of ga_"),
        ({"name": "ga_events"}, "two reports have the same name"),
        ({"dimensions": ["deviceCategory"]}, "has not date as its first dimension"),
        ({"dimensions": ["date", "browser"]}, "asks for browser: say further up"),
        ({"metrics": ["bounces"]}, "asks for bounces: say further up"),
        ({"metrics": []}, "not 1 to 10 metrics"),
        ({"metrics": ["eventCount"] * 11}, "not 1 to 10 metrics"),
        ({"dimensions": ["date", *["source"] * 9]}, "more than 9 dimensions"),
    ],
)
def test_an_entry_that_cannot_be_asked_is_refused(tmp_path: Path, entry: dict[str, object], says: str) -> None:
    with pytest.raises(ClickstreamError) as caught:
        reports.load(written(tmp_path, **entry))
    assert says in str(caught.value) and "\n" not in str(caught.value)
