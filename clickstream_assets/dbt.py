"""dbt inside this process: one start per run, its results as Dagster events while they happen.

dagster-dbt's own ``DbtCliResource.cli`` starts two Python processes (``dbt --version``, then dbt); here dbt's
programmatic runner is called, and dagster-dbt turns each of its events into materializations and check results.

The project is parsed once per change of it, into ``dbt_project/target``: the asset graph is made from that manifest,
and so is every run, in whichever home. Otherwise each new home would parse again (3 s) and each run would look
whether it has to (0.4 s).
"""

from __future__ import annotations

import functools
import importlib.metadata
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator
from filelock import FileLock

from clickstream_assets import policies
from clickstream_assets.domains import DOMAINS
from clickstream_assets.settings import Settings, export
from clickstream_assets.storage.s3 import S3, import_httpfs, is_s3

if TYPE_CHECKING:
    from dbt.cli.main import dbtRunnerResult
    from dbt.contracts.graph.manifest import Manifest

PROJECT = Path(__file__).resolve().parent.parent / "dbt_project"
#: what a manifest is made with besides the project: another version of one of them makes another manifest
PARSERS = ("dbt-core", "dbt-duckdb")


class Translator(DagsterDbtTranslator):
    """How dbt's models appear in the asset graph."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """Schema and table, as in the warehouse."""
        return dg.AssetKey([dbt_resource_props["schema"], dbt_resource_props["name"]])

    def get_automation_condition(
        self, dbt_resource_props: Mapping[str, Any]
    ) -> dg.AutomationCondition[dg.AssetKey] | None:
        """Models are made again together with the cleaned rows; the domain is the model's tag."""
        for tag in dbt_resource_props["tags"]:
            if tag in DOMAINS:
                return policies.when_rows_change(tag)
        return None


@functools.cache
def translator() -> Translator:
    """The one translator: it remembers what it has resolved, which would otherwise cost 20 ms per model and test."""
    return Translator()


def manifest() -> Path:
    """The project's manifest, parsed anew when a file of the project is newer than it.

    Raises:
        dagster.Failure: dbt cannot parse the project.
    """
    # Folders too: their time changes when a file in them is removed.
    sources = (path for folder in ("models", "macros", "tests") for path in (PROJECT / folder).rglob("*"))
    newest = max(p.stat().st_mtime for p in (*sources, PROJECT / "dbt_project.yml", PROJECT / "profiles.yml"))
    versions = "-".join(importlib.metadata.version(name) for name in PARSERS)
    path = PROJECT / "target" / f"duckdb-{versions}" / "manifest.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two first loads at once would write over each other, or one would read what the other has half written.
    with FileLock(path.parent / "parse.lock"):
        if not path.exists() or path.stat().st_mtime < newest:
            result = _invoke(["parse", "--quiet"], target=path.parent)
            if not result.success:
                raise dg.Failure(f"dbt cannot parse {PROJECT}: {result.exception}")
            path.touch()
    return path


def _parsed() -> Manifest:
    """The manifest as dbt's own object, as its loader makes it. Of each run its own: dbt writes into it."""
    from dbt.contracts.graph.manifest import Manifest
    from dbt.parser.manifest import extended_mashumuro_decoder

    packed = (manifest().parent / "partial_parse.msgpack").read_bytes()
    parsed = Manifest.from_msgpack(packed, decoder=extended_mashumuro_decoder)
    parsed.build_flat_graph()
    return parsed


def build(context: dg.AssetExecutionContext, settings: Settings, *, domain: str, whole: bool) -> Iterator[Any]:
    """Run the models and tests of a domain, or those of its models that the run selected.

    The caller holds the warehouse; dbt opens and closes it.

    Raises:
        dagster.Failure: a model or a test failed; names each.
    """
    from dagster_dbt.core.dbt_cli_event import DbtCoreCliEventMessage
    from dbt_common.events.functions import msg_to_dict

    export(settings.dbt_environment() | (_for_s3() if is_s3(settings.lake_uri) else {}))
    parsed, described = _parsed(), manifest()
    # Without --no-write-json dbt writes the whole manifest again, and a picture of its graph: 0.3 s.
    selection = _selection(context, domain, whole)
    arguments = ["build", "--no-write-json", "--exclude-resource-type", "unit_test", "--select", *selection]
    events: queue.Queue[Any] = queue.Queue()
    results: list[dbtRunnerResult] = []

    def run() -> None:
        try:
            results.append(_invoke(arguments, target=settings.dbt_state, callback=events.put, manifest=parsed))
        finally:
            events.put(None)

    worker = threading.Thread(target=run, name="dbt")
    worker.start()
    try:
        while (event := events.get()) is not None:
            if event.info.name not in ("LogModelResult", "LogTestResult"):
                continue
            message = DbtCoreCliEventMessage(raw_event=msg_to_dict(event), event_history_metadata={})
            yield from message.to_default_asset_events(
                manifest=described,
                dagster_dbt_translator=translator(),
                context=context,
                target_path=settings.dbt_state,
            )
    finally:
        worker.join()  # also when an event cannot be stored: the caller's locks must not be given back while dbt writes
    _keep(results, settings.dbt_state)
    _raise_for(results)


def _for_s3() -> dict[str, str]:
    import_httpfs()
    return {"CLICKSTREAM_DBT_TARGET": "duckdb_s3"} | S3.find().dbt


def _selection(context: dg.AssetExecutionContext, domain: str, whole: bool) -> list[str]:
    if whole:
        return [f"tag:{domain}"]
    return sorted(key.path[-1] for key in context.selected_asset_keys)


def _invoke(
    arguments: Sequence[str], *, target: Path, callback: Any = None, manifest: Manifest | None = None
) -> dbtRunnerResult:
    from dbt.cli.main import dbtRunner

    target.mkdir(parents=True, exist_ok=True)
    folders = {"project-dir": PROJECT, "profiles-dir": PROJECT, "target-path": target, "log-path": target / "logs"}
    flags = [part for name, path in folders.items() for part in (f"--{name}", str(path))]
    runner = dbtRunner(manifest, callbacks=[callback] if callback else [])
    try:
        return runner.invoke([*arguments, *flags, "--log-level", "none", "--log-level-file", "none", "--no-use-colors"])
    finally:
        _close()


def _close() -> None:
    """Let go of the warehouse: dbt-duckdb keeps the file open until the process ends."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.adapters.factory import cleanup_connections, reset_adapters

    cleanup_connections()
    if DuckDBConnectionManager._ENV is not None:
        DuckDBConnectionManager._ENV.close()
    DuckDBConnectionManager.close_all_connections()
    reset_adapters()


def _keep(results: Sequence[dbtRunnerResult], folder: Path) -> None:
    """Write ``run_results.json``, dbt's account of the run, where its users look for it."""
    from dbt.artifacts.schemas.run import RunExecutionResult

    for result in results:
        if isinstance(result.result, RunExecutionResult):
            result.result.write(str(folder / "run_results.json"))


def _raise_for(results: Sequence[dbtRunnerResult]) -> None:
    if not results:
        raise dg.Failure("dbt ended without a result: see the run's log.")
    result = results[0]
    if result.exception is not None:
        raise dg.Failure(f"dbt failed: {result.exception}") from result.exception
    outcomes = getattr(result.result, "results", ())
    failed = [_described(o.node, o.message) for o in outcomes if o.status in ("error", "fail", "runtime error")]
    if failed:
        raise dg.Failure("dbt: " + "; ".join(failed), allow_retries=False)


def _described(node: Any, message: str | None) -> str:
    """What failed, on which model, and where its SQL is."""
    model = (getattr(node, "attached_node", None) or "").rpartition(".")[2]
    where = f" on {model}" if model else ""
    return f"{node.resource_type} {node.name}{where}: {message} ({node.compiled_path or node.original_file_path})"
