"""Enhanced → dashboards: an asset per page, made again when a mart that it shows has been."""

import time
import warnings
from typing import Any

import dagster as dg

from clickstream_assets import dashboards, layers, policies
from clickstream_assets.defs import jobs
from clickstream_assets.platform import Platform
from clickstream_assets.settings import Settings

warnings.filterwarnings("ignore", message=r"Parameter `use_user_code_server`", category=dg.BetaWarning)

#: rows of a table that Dagster's UI shows
_ROWS = 20


def definitions() -> dg.Definitions:
    """The pages, and the sensor that makes a page again after its marts."""
    chosen = dg.AssetSelection.groups(*sorted({_group(described.domain) for described in dashboards.PAGES}))
    sensor = dg.AutomationConditionSensorDefinition(
        name="dashboards",
        target=chosen,
        minimum_interval_seconds=Settings.from_environment().sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        use_user_code_server=True,
        description="Builds a page again when a table that it shows has been made, once no run makes another of them.",
    )
    return dg.Definitions(
        assets=[_asset(described) for described in dashboards.PAGES], sensors=[sensor, health_after_a_failure]
    )


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.RUNNING,
    request_job=jobs.pages(),
    description="Builds the page of the pipeline's health when a run has failed: it has made no table that would.",
)
def health_after_a_failure(context: dg.RunFailureSensorContext) -> dg.RunRequest | dg.SkipReason:
    """One build for each failed run, but not for one that builds pages: it would fail again."""
    run = context.dagster_run
    if {key.path[0] for key in run.asset_selection or ()} == {"dashboards"} or run.job_name == jobs.DASHBOARDS:
        return dg.SkipReason("What failed is a page itself.")
    return dg.RunRequest(run_key=run.run_id, asset_selection=[dg.AssetKey(["dashboards", dashboards.HEALTH])])


def _group(domain: str) -> str:
    return layers.group(layers.DASHBOARDS, domain)


def _asset(described: dashboards.Described) -> dg.AssetsDefinition:
    @dg.asset(
        key=["dashboards", described.name],
        deps=[dg.AssetKey(table.split(".")) for table in described.after],
        group_name=_group(described.domain),
        kinds={"html", "vega"},
        description=f"{described.intro} A page of static HTML; it has no rows of its own.",
        automation_condition=policies.when_tables_change(),
    )
    def page(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> dg.MaterializeResult:  # type: ignore[type-arg]
        from clickstream_assets.dashboards.build import build, write_index

        read_at = time.time()
        built = build(platform, described.name, history=context.instance)
        write_index(platform)
        for one in built.data:
            if one.cut:
                context.log.warning("%s: %s", one.dataset.name, one.cut)
            if one.missing:
                context.log.warning("%s is not there yet: run its domain first.", ", ".join(one.missing))
        return dg.MaterializeResult(
            metadata={policies.READ_AT: dg.MetadataValue.timestamp(read_at), **_metadata(built)}
        )

    return page


def _metadata(built: Any) -> dict[str, Any]:
    """What Dagster's UI shows of a page: its charts as pictures, its tables as far as they are short."""
    from clickstream_assets.dashboards.pictures import markdown

    data = {one.dataset.name: one for one in built.data}
    address = built.uri if "://" in built.uri else f"file://{built.uri}"
    found: dict[str, Any] = {
        "page": dg.MetadataValue.url(address) if "://" in built.uri else dg.MetadataValue.path(built.uri),
        "bytes": built.bytes,
        "data_bytes": built.data_bytes,
        "rows": sum(len(one.rows) for one in built.data),
    }
    for chart in built.page.charts:
        shown = markdown(chart, data[chart.dataset.name], rows=_ROWS)
        if shown:
            found[chart.question] = dg.MetadataValue.md(shown)
    return found
