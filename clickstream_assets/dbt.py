"""dbt inside this process: one start per run, its results as Dagster events while they happen.

dagster-dbt's own ``DbtCliResource.cli`` starts two Python processes (``dbt --version``, then dbt); here dbt's
programmatic runner is called, and dagster-dbt turns each of its events into materializations and check results.

The project is parsed once per change of it, into a folder of ``dbt_project/target`` that is named by its content: the
asset graph is made from that manifest, and so is every run, in whichever home. Otherwise each new home would parse
again (3 s) and each run would look whether it has to (0.4 s). Beside the manifest is the lineage of the models'
columns, worked out then from the SQL that dbt compiles (6 s): whoever loads the graph reads it.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import importlib.metadata
import json
import os
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator
from filelock import FileLock

from clickstream_assets import about, lineage, policies, schemas
from clickstream_assets.domains import DOMAINS
from clickstream_assets.settings import Settings, export, exported
from clickstream_assets.storage.s3 import S3, import_httpfs

if TYPE_CHECKING:
    from dbt.cli.main import dbtRunnerResult
    from dbt.contracts.graph.manifest import Manifest

PROJECT = Path(__file__).resolve().parent.parent / "dbt_project"
#: what a manifest is made with besides the project: another version of one of them makes another manifest
PARSERS = ("dbt-core", "dbt-adapters", "dbt-common", "dbt-duckdb", "dbt-redshift", "sqlglot")
#: beside a manifest: the origins of the columns of its models
_LINEAGE = "lineage.json"
#: parsed projects that are kept, and seconds since its last use for which any is: processes that loaded the graph
#: before an edit, or for another database, go on with theirs
_KEPT, _IN_USE = 5, 24 * 3600


class Translator(DagsterDbtTranslator):
    """How dbt's models appear in the asset graph. ``origins``: of the columns of each relation, ``schema.table``."""

    def __init__(self, origins: Mapping[str, lineage.Lineage] | None = None) -> None:
        super().__init__()
        self._origins = origins or {}

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """Schema and table, as in the warehouse: two domains may have a table of a name, but no two models one."""
        return dg.AssetKey(
            [dbt_resource_props["schema"], dbt_resource_props.get("alias") or dbt_resource_props["name"]]
        )

    def get_metadata(self, dbt_resource_props: Mapping[str, Any]) -> Mapping[str, Any]:
        """Columns with their meaning and origins, the relation, and the files that make it."""
        if dbt_resource_props["resource_type"] != "model":  # an asset of its own, which says more
            return {}
        name = relation(dbt_resource_props)
        columns = [_column(name, column) for name, column in dbt_resource_props["columns"].items()]
        described = (dbt_resource_props.get("patch_path") or "").partition("://")[2]
        paths = [dbt_resource_props["original_file_path"], *([described] if described else [])]
        return {
            **about.of_table(name, columns, self._origins.get(name, {})),
            **about.code(*(PROJECT / path for path in paths)),
            "dagster-dbt/materialization_type": dbt_resource_props["config"]["materialized"],
        }

    def get_tags(self, dbt_resource_props: Mapping[str, Any]) -> Mapping[str, str]:
        """Whether persons are named; dbt's own tag is the domain, which every asset has."""
        return about.personal_tag(any(map(_names_persons, dbt_resource_props["columns"].values())))

    def get_automation_condition(
        self, dbt_resource_props: Mapping[str, Any]
    ) -> dg.AutomationCondition[dg.AssetKey] | None:
        """Models are made again together with the cleaned rows; the domain is the model's tag."""
        for tag in dbt_resource_props["tags"]:
            if tag in DOMAINS:
                return policies.when_rows_change(tag)
        return None


@functools.cache
def translator(described: Path) -> Translator:
    """The one translator of a manifest.

    It remembers what it has resolved, which would otherwise cost 20 ms per model and test.
    """
    return Translator(json.loads((described.parent / _LINEAGE).read_text()))


def specs(path: Path, described: Mapping[str, Any], domain: str) -> tuple[list[dg.AssetSpec], list[dg.AssetCheckSpec]]:
    """The models of a domain as assets, and their tests as checks; ``described``: the manifest that is at the path."""
    translated = translator(path)
    models = [
        key
        for key, node in sorted(described["nodes"].items())
        if node["resource_type"] == "model" and domain in node["tags"]
    ]
    assets = {key: translated.get_asset_spec(described, key, None) for key in models}
    tests = {(test, key) for key in models for test in described["child_map"][key] if test.startswith("test.")}
    checks = (translated.get_asset_check_spec(assets[key], described, test, None) for test, key in sorted(tests))
    unique = {check.get_python_identifier(): check for check in checks if check is not None}
    return list(assets.values()), list(unique.values())


def relation(model: Mapping[str, Any]) -> str:
    """Schema and table of a model or source of the manifest."""
    return f"{model['schema']}.{model.get('alias') or model['name']}"


def source_metadata(described: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What the project says of a source, by its relation."""
    (source,) = (source for source in described["sources"].values() if relation(source) == name)
    return about.of_table(name, [_column(key, column) for key, column in source["columns"].items()], {})


def _column(name: str, column: Mapping[str, Any]) -> dg.TableColumn:
    tags = {about.PERSONAL: ""} if _names_persons(column) else {}
    return dg.TableColumn(name, column.get("data_type") or "?", column.get("description"), tags=tags)


def _names_persons(column: Mapping[str, Any]) -> bool:
    return bool(column.get("meta", {}).get("personal_data"))


def manifest(settings: Settings) -> Path:
    """The manifest of the project as it is now, for the warehouse of the settings; parsed when there is none yet.

    Raises:
        dagster.Failure: dbt cannot parse the project.
    """
    target = PROJECT / "target"
    target.mkdir(exist_ok=True)
    path = target / _fingerprint(settings) / "manifest.json"
    if settings.redshift and not path.exists():
        manifest(replace(settings, redshift=None))  # whose lineage it shares
    # Two first loads at once would both parse.
    with contextlib.nullcontext() if path.exists() else FileLock(target / "parse.lock"):
        while not path.exists():
            with tempfile.TemporaryDirectory(prefix="parsing-", dir=target) as temporary:
                _parse_into(Path(temporary), settings)
                # Whole or not at all; and not what was edited meanwhile.
                if path.parent.name == _fingerprint(settings):
                    os.rename(temporary, path.parent)
                    _forget_old(target)
            path = target / _fingerprint(settings) / "manifest.json"
    os.utime(path)
    return path


def _parse_into(folder: Path, settings: Settings) -> None:
    # The names of the relations are those of every home: the database is called as its file is.
    with exported({"CLICKSTREAM_DBT_DUCKDB_PATH": "warehouse.duckdb"}):
        result = _invoke(["parse", "--quiet", "--target", _adapter(settings)], target=folder)
    if not result.success:
        raise dg.Failure(f"dbt cannot parse {PROJECT}: {result.exception}")
    if settings.redshift:  # models are the same on both, and DuckDB's SQL can be had without a server
        shutil.copy(manifest(replace(settings, redshift=None)).parent / _LINEAGE, folder)
    else:
        (folder / _LINEAGE).write_text(json.dumps(_lineage(folder / "manifest.json")))


def _lineage(described: Path) -> dict[str, dict[str, list[lineage.Origin]]]:
    """The origins of the columns of all models; none where dbt cannot compile them, which a run will tell of.

    dbt asks the warehouse while it compiles: here one whose tables are all there, and empty.
    """
    from clickstream_assets.storage.duckdb_warehouse import DuckDBWarehouse

    content = json.loads(described.read_text())
    models = {key: node for key, node in content["nodes"].items() if node["resource_type"] == "model"}
    names = {key: relation(node) for key, node in (content["sources"] | models).items()}
    columns = {names[key]: _types(node) for key, node in (content["sources"] | models).items()}
    columns |= {table.warehouse: {c.name: c.type for c in table.columns} for table in schemas.TABLES if table.warehouse}
    columns = {name: types for name, types in columns.items() if types}
    with tempfile.TemporaryDirectory(prefix="compiling-", dir=described.parent) as temporary:
        path = Path(temporary) / "warehouse.duckdb"
        with DuckDBWarehouse(path, lock_timeout=60).connect("compiling") as connection:
            for name, types in columns.items():
                connection.execute(f"create schema if not exists {name.partition('.')[0]}")
                of_table = ", ".join(f'"{column}" {type_}' for column, type_ in types.items())
                connection.execute(f"create table if not exists {name} ({of_table})")
        with exported({"CLICKSTREAM_DBT_DUCKDB_PATH": str(path)}):
            what = ["--select", "resource_type:model", "--indirect-selection", "empty", "--full-refresh", "--quiet"]
            words = ["compile", *what, "--no-write-json", "--target", "duckdb"]
            result: Any = _invoke(words, target=Path(temporary) / "dbt", manifest=_parsed(described))
    if not result.success:
        return {}
    compiled = {names[one.node.unique_id]: one.node.compiled_code for one in result.result.results}
    parents = {names[key]: {names[one] for one in node["depends_on"]["nodes"]} for key, node in models.items()}
    return lineage.of_models(compiled, parents, columns)


def _types(node: Mapping[str, Any]) -> dict[str, str]:
    return {name: column["data_type"] for name, column in node["columns"].items() if column.get("data_type")}


def _adapter(settings: Settings) -> str:
    """Which of dbt's adapters, and so of the targets in ``profiles.yml``."""
    return "redshift" if settings.redshift else "duckdb"


def _fingerprint(settings: Settings) -> str:
    """What a manifest is made from: the project's files, the database that its names begin with, dbt's versions."""
    digest = hashlib.sha256(settings.redshift.database.encode() if settings.redshift else b"")
    files = (path for folder in ("models", "macros", "tests") for path in (PROJECT / folder).rglob("*.*"))
    for path in sorted((*files, PROJECT / "dbt_project.yml", PROJECT / "profiles.yml")):
        digest.update(f"{path.relative_to(PROJECT)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    for name in PARSERS:
        digest.update(f"{name} {importlib.metadata.version(name)}\0".encode())
    digest.update(Path(lineage.__file__).read_bytes())
    return digest.hexdigest()[:16]


def _forget_old(target: Path) -> None:
    used = sorted((path.stat().st_mtime, path) for path in target.glob("*/manifest.json"))
    for last, path in used[:-_KEPT]:
        if last < time.time() - _IN_USE:
            shutil.rmtree(path.parent, ignore_errors=True)


def _parsed(described: Path) -> Manifest:
    """A manifest as dbt's own object, as its loader makes it. Of each run its own: dbt writes into it."""
    from dbt.contracts.graph.manifest import Manifest
    from dbt.parser.manifest import extended_mashumuro_decoder

    packed = (described.parent / "partial_parse.msgpack").read_bytes()
    parsed = Manifest.from_msgpack(packed, decoder=extended_mashumuro_decoder)
    parsed.build_flat_graph()
    return parsed


def build(
    context: dg.AssetExecutionContext, settings: Settings, *, described: Path, domain: str, whole: bool
) -> Iterator[Any]:
    """Run the models and tests of a domain, or those of its models that the run selected.

    ``described``: the manifest that the asset graph was made from.

    The caller holds the warehouse; dbt opens and closes it.

    Raises:
        dagster.Failure: a model or a test failed; names each.
    """
    from dagster_dbt.core.dbt_cli_event import DbtCoreCliEventMessage
    from dbt_common.events.functions import msg_to_dict

    os.utime(described)
    _free_memory()
    through_s3 = settings.lake_on_s3 and not settings.redshift  # which has the rows in tables of its own
    export(settings.dbt_environment() | (S3.find().dbt if through_s3 else {}))
    if through_s3:
        import_httpfs()
    parsed = _parsed(described)
    (settings.dbt_state / "run_results.json").unlink(missing_ok=True)
    # Without --no-write-json dbt writes the whole manifest again, and a picture of its graph: 0.3 s.
    selection = [f"tag:{domain}"] if whole else _models(context, parsed)
    target = ["--target", "duckdb_s3" if through_s3 else _adapter(settings)]
    arguments = ["build", *target, "--no-write-json", "--exclude-resource-type", "unit_test", "--select", *selection]
    events: queue.Queue[Any] = queue.Queue()
    results: list[dbtRunnerResult] = []
    rows: dict[str, int] = {}

    def tell(event: Any) -> None:
        if event.info.name == "LogModelResult":
            rows.update(_rows(event.data.node_info, _adapter(settings)))
        events.put(event)

    def run() -> None:
        try:
            results.append(_invoke(arguments, target=settings.dbt_state, callback=tell, manifest=parsed))
        finally:
            events.put(None)

    worker = threading.Thread(target=run, name="dbt")
    worker.start()
    try:
        while (event := events.get()) is not None:
            if event.info.name not in ("LogModelResult", "LogTestResult"):
                continue
            message = DbtCoreCliEventMessage(raw_event=msg_to_dict(event), event_history_metadata={})
            made = message.to_default_asset_events(
                manifest=described,
                dagster_dbt_translator=translator(described),
                context=context,
                target_path=settings.dbt_state,
            )
            for one in made:
                count = rows.get(event.data.node_info.unique_id) if isinstance(one, dg.Output) else None
                yield one if count is None else one.with_metadata({**one.metadata, "dagster/row_count": count})
    finally:
        worker.join()  # also when an event cannot be stored: the caller's locks must not be given back while dbt writes
    _keep(results, settings.dbt_state)
    _raise_for(results)


def _rows(node: Any, adapter_name: str) -> dict[str, int]:
    """The rows of a table that a model has just made, by the model's id; of a view, which has none of its own, nothing.

    Called in the thread that made it, whose connection is idle. Both databases count the rows of a table from what
    they keep beside its columns: 1 ms on DuckDB. What goes wrong here must not fail the model.
    """
    from dbt.adapters.factory import get_adapter_by_type

    if node.materialized == "view" or node.node_status != "success":
        return {}
    with contextlib.suppress(Exception):
        adapter: Any = get_adapter_by_type(adapter_name)
        with adapter.connection_named(f"rows of {node.node_name}"):
            sql = f"select count(*) from {node.node_relation.relation_name}"  # noqa: S608
            _, counted = adapter.execute(sql, fetch=True)
            return {node.unique_id: int(counted.rows[0][0])}
    return {}


def _free_memory() -> None:
    """Give back what the steps before no longer need and Arrow keeps: DuckDB is about to take its share.

    Rows that came from Spark are in cycles, of which Python does not know how large they are: 0.2 to 0.3 GB more.
    """
    import pyarrow as pa

    gc.collect()
    pa.default_memory_pool().release_unused()


def _models(context: dg.AssetExecutionContext, parsed: Manifest) -> list[str]:
    """The names of the models that the run selected: a table may have another name than its model."""
    selected = {tuple(key.path) for key in context.selected_asset_keys}
    models = (node for node in parsed.nodes.values() if node.unique_id.startswith("model."))
    return sorted(model.name for model in models if (model.schema, model.alias) in selected)


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
    if message and "Out of Memory Error" in message:
        message = f"{message.splitlines()[0]}: raise CLICKSTREAM_DUCKDB_MEMORY"
    return f"{node.resource_type} {node.name}{where}: {message} ({node.compiled_path or node.original_file_path})"
