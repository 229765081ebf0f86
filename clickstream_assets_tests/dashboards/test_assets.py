"""Pages as assets: what Dagster's UI shows of them, and when they are made again."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from clickstream_assets import dashboards, run
from clickstream_assets.cli import main
from clickstream_assets.dashboards.build import bundle_name, write
from clickstream_assets.dashboards.charts import ranked
from clickstream_assets.dashboards.page import Page
from clickstream_assets.dashboards.read import MOST_BYTES, Data
from clickstream_assets.definitions import defs
from clickstream_assets.defs import dashboards as pages
from clickstream_assets.policies import READ_AT
from clickstream_assets_tests.conftest import Home
from clickstream_assets_tests.dashboards.test_core import BRANDS
from clickstream_assets_tests.servers import S3Server

CUSTOMER = dg.AssetKey(["dashboards", "customer"])
MART = dg.AssetKey(["sales", "customer_dashboard"])


def _pages() -> dg.AssetSelection:
    return dg.AssetSelection.assets(*(["dashboards", page.name] for page in dashboards.PAGES))


def test_the_pictures_of_a_page_are_in_dagsters_ui(shown: Home) -> None:
    with run.instance(shown.settings) as instance:
        for entry in dashboards.PAGES:
            found = instance.get_latest_materialization_event(dg.AssetKey(["dashboards", entry.name]))
            assert found is not None and found.asset_materialization is not None
            metadata = found.asset_materialization.metadata
            page = dashboards.load(entry.name)
            pictures = 0
            for chart in page.charts:
                if chart.question not in metadata:
                    continue  # it has no rows
                shown_as = str(metadata[chart.question].value)
                if chart.spec is None:
                    assert shown_as.startswith("| ")
                    continue
                head, _, encoded = shown_as.partition("base64,")
                assert head == f"![{chart.question}](data:image/png;"
                assert base64.b64decode(encoded.rstrip(")")).startswith(b"\x89PNG")
                pictures += 1
            assert pictures >= 4, entry.name
            assert Path(str(metadata["page"].value)).is_file()
            assert 0 < int(str(metadata["data_bytes"].value)) <= MOST_BYTES
            # An event is kept for each time that a page is made.
            assert len(json.dumps({key: str(value.value) for key, value in metadata.items()})) < 150_000, entry.name


def test_a_page_is_made_again_once_after_one_of_its_marts(home: Home) -> None:
    definitions = defs()
    with dg.DagsterInstance.ephemeral() as instance:

        def asked(cursor: dg.AutomationCursor | None = None) -> tuple[set[str], object]:
            result = dg.evaluate_automation_conditions(definitions, instance, _pages(), cursor=cursor)
            keys = {page.name: dg.AssetKey(["dashboards", page.name]) for page in dashboards.PAGES}
            return {name for name, key in keys.items() if result.get_num_requested(key)}, result.cursor

        def made(key: dg.AssetKey, **metadata: object) -> None:
            instance.report_runless_asset_event(dg.AssetMaterialization(key, metadata=metadata or None))

        none, cursor = asked()
        assert none == set()
        made(MART)
        wanted, cursor = asked(cursor)  # type: ignore[arg-type]
        assert wanted == {"customer"}
        again, cursor = asked(cursor)  # type: ignore[arg-type]
        assert again == set()
        # The page is made; meanwhile, after it had been read, so is the mart: between two looks of the sensor.
        begun = time.time()
        made(MART)
        made(CUSTOMER, **{READ_AT: dg.MetadataValue.timestamp(begun)})
        wanted, cursor = asked(cursor)  # type: ignore[arg-type]
        assert wanted == {"customer"}
        made(CUSTOMER, **{READ_AT: dg.MetadataValue.timestamp(time.time())})
        up_to_date, cursor = asked(cursor)  # type: ignore[arg-type]
        assert up_to_date == set()
        # A sensor that was stopped, or whose cursor was lost, does not make again what is up to date.
        assert asked()[0] == set()


def test_what_was_not_asked_for_is_asked_for_when_nobody_is_at_work(home: Home) -> None:
    definitions = defs()
    job = definitions.resolve_job_def("dashboards")
    with dg.DagsterInstance.ephemeral() as instance:

        def asked(cursor: dg.AutomationCursor | None) -> tuple[bool, dg.AutomationCursor]:
            result = dg.evaluate_automation_conditions(definitions, instance, _pages(), cursor=cursor)
            return result.get_num_requested(CUSTOMER) == 1, result.cursor

        begun = time.time()
        building = instance.create_run_for_job(
            job, status=dg.DagsterRunStatus.STARTED, asset_selection=frozenset({CUSTOMER})
        )
        instance.report_runless_asset_event(dg.AssetMaterialization(MART))
        at_work, cursor = asked(None)
        assert not at_work
        instance.report_runless_asset_event(
            dg.AssetMaterialization(CUSTOMER, metadata={READ_AT: dg.MetadataValue.timestamp(begun)})
        )
        instance.report_run_canceled(building)
        assert asked(cursor)[0]


def test_a_failed_run_is_on_the_page_of_health(home: Home) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        failed = dg.materialize([_fails], instance=instance, raise_on_error=False)
        event = next(e for e in failed.all_events if e.event_type == dg.DagsterEventType.RUN_FAILURE)
        for name, wanted in (("sales", "health"), ("dashboards", None)):
            run = instance.get_run_by_id(failed.run_id)
            assert run is not None
            context = dg.build_run_status_sensor_context(
                "health_after_a_failure", event, instance, run._replace(job_name=name)
            ).for_run_failure()
            found = pages.health_after_a_failure(context)
            if wanted:
                assert found.asset_selection == [dg.AssetKey(["dashboards", wanted])]
            else:
                assert isinstance(found, dg.SkipReason)


@dg.asset
def _fails() -> None:
    raise ValueError("as asked")


def test_pages_can_be_built_before_anything_was_run(home: Home) -> None:
    result = CliRunner().invoke(main, ["dashboards"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    folder = home.path / "dashboards"
    assert result.stdout.strip().endswith(str(folder / "index.html"))
    assert {path.stem for path in folder.glob("*.html")} == {"index", *(page.name for page in dashboards.PAGES)}
    assert "is not there yet: run its domain first" in (folder / "executive.html").read_text()


def test_pages_can_be_written_to_a_bucket(
    home: Home, s3_root: str, on_s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a bucket that something shows to browsers, which then have to be told what each file is."""
    monkeypatch.setenv("CLICKSTREAM_DASHBOARDS_URI", s3_root)
    page = Page("p", tiles=(), charts=(ranked("c", "?", BRANDS, "brand", "net"),))
    built = write(
        Home(home.path, {"CLICKSTREAM_DASHBOARDS_URI": s3_root}).platform,
        dashboards.Described("p", "P", "sales", "Intro.", ()),
        page,
        [Data(BRANDS, [("a", 1.0)])],
    )
    assert built.uri == f"{s3_root}/p.html"
    bucket, _, prefix = s3_root.removeprefix("s3://").partition("/")
    listed = on_s3.client.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
    kinds = {
        entry["Key"].removeprefix(f"{prefix}/"): on_s3.client.head_object(Bucket=bucket, Key=entry["Key"])[
            "ContentType"
        ]
        for entry in listed
        if not entry["Key"].endswith("/")
    }
    assert kinds == {
        "p.html": "text/html; charset=utf-8",
        "assets/dashboard.css": "text/css; charset=utf-8",
        "assets/dashboard.js": "text/javascript; charset=utf-8",
        f"assets/{bundle_name()}": "text/javascript; charset=utf-8",
    }
