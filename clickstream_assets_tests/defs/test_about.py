"""What the UI tells of each asset: nobody has to ask whose it is, what a row is, and where its columns come from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import pytest

from clickstream_assets import about, dbt
from clickstream_assets.definitions import defs
from clickstream_assets.domains import DOMAINS
from clickstream_assets.errors import SettingsError
from clickstream_assets.run import instance
from clickstream_assets.settings import Settings
from clickstream_assets_tests.conftest import Home

#: columns whose values are made up where they are: times of processing, places in files, counts of rows, names of cases
WITHOUT_ORIGIN = re.compile(
    r"(processed|dbt_updated|ingestion_timest)\w*|source_(file|line)|record_number|content_hash|extra|pii_key_id|"
    r"ingestion_date|arrival_date|load_date|date|pulled_at|origin|is_synthetic|time_zone|row_key"
)


@pytest.fixture(scope="module")
def specs() -> Mapping[dg.AssetKey, dg.AssetSpec]:
    graph = defs().resolve_asset_graph()
    return {key: graph.get(key).to_asset_spec() for key in graph.get_all_asset_keys()}


def layer(spec: dg.AssetSpec) -> str:
    return (spec.group_name or "").partition("/")[0]


def columns(spec: dg.AssetSpec) -> dict[str, dg.TableColumn]:
    schema = spec.metadata.get("dagster/column_schema")
    return {column.name: column for column in schema.columns} if schema else {}


def origins(spec: dg.AssetSpec) -> Mapping[str, list[dg.TableColumnDep]]:
    lineage = spec.metadata.get("dagster/column_lineage")
    return lineage.deps_by_column if lineage else {}


def trace(specs: Mapping[dg.AssetKey, dg.AssetSpec], key: dg.AssetKey, column: str) -> set[str]:
    """The columns of landing that a column is made of, hop by hop."""
    if layer(specs[key]) == "landing":
        return {f"{key.path[1]}.{column}"}
    found = (trace(specs, dep.asset_key, dep.column_name) for dep in origins(specs[key]).get(column, ()))
    return set().union(*found)


def test_every_asset_has_an_owner_a_layer_a_domain_and_a_page_of_the_docs(specs) -> None:
    for key, spec in specs.items():
        assert list(spec.owners) == ["team:data-engineering"], key
        assert spec.tags["layer"] == layer(spec), key
        assert spec.kinds or layer(spec) == "ops", key
        assert layer(spec) == "ops" or spec.tags["domain"] == (spec.group_name or "").partition("/")[2], key
        assert spec.description, key
        page, _, heading = spec.metadata["docs"].path.partition("#")
        text = (about.ROOT / page).read_text()
        headings = {about.anchor(line.lstrip("# ")) for line in text.splitlines() if line.startswith("#")}
        assert not heading or heading in headings, (key, spec.metadata["docs"])
        linked = spec.metadata["dagster/code_references"].code_references
        assert linked[-1].file_path == str(about.ROOT / page) and linked[-1].label == Path(page).name, key


def test_every_table_says_what_a_row_is_what_its_columns_mean_and_how_to_look_at_it(specs) -> None:
    tables = {key: spec for key, spec in specs.items() if layer(spec) not in ("ops", "dashboards")}
    assert len(tables) > 100
    for key, spec in tables.items():
        assert re.search(r"\b(row|file|record)s?\b", spec.description or ""), key
        if key.path[0] == "landing":
            continue
        assert re.search(r"\brows?\b", spec.description or ""), key
        assert spec.metadata["dagster/table_name"].count(".") == 1, key
        assert columns(spec), key
        assert [name for name, column in columns(spec).items() if not column.description] == [], key
        if spec.metadata["dagster/table_name"] != "cdc_raw.changes":  # which the lake alone has
            assert f"from {spec.metadata['dagster/table_name']} " in spec.metadata["query"].md_str, key
        assert spec.metadata["dagster/storage_kind"] in ("iceberg", "duckdb"), key


def test_origins_are_columns_of_assets_from_which_the_table_is_made(specs) -> None:
    found = 0
    for key, spec in specs.items():
        assert set(origins(spec)) <= set(columns(spec)), key
        parents = {dep.asset_key for dep in spec.deps}
        for column, deps in origins(spec).items():
            for dep in deps:
                found += 1
                assert dep.asset_key in parents, (key, column, dep)
                known = columns(specs[dep.asset_key])
                assert dep.column_name in known, (key, column, dep)
            if deps:
                assert f"From `{'.'.join(deps[0].asset_key.path)}`: " in (columns(spec)[column].description or "")
    assert found > 1000


def test_columns_of_raw_and_cleaned_have_an_origin_unless_they_are_made_there(specs) -> None:
    """Whoever adds a column to the registry either calls it as it was called, or says what it is made of."""
    for domain in DOMAINS.values():
        for feed in domain.feeds:
            for table in (feed.raw, feed.cleaned):
                deps = origins(specs[dg.AssetKey(table.key)])
                silent = [name for name, found in deps.items() if not found and not WITHOUT_ORIGIN.fullmatch(name)]
                assert silent == [], table.name


def test_numbers_of_marts_are_traced_to_what_arrived(specs) -> None:
    def traced(table: str, column: str) -> set[str]:
        return trace(specs, dg.AssetKey(table.split(".")), column)

    assert traced("sales.executive_dashboard", "net_amount") == {
        f"sales_sales.{name}" for name in ("quantity", "unit_price", "discount", "tax_amount")
    }
    assert traced("sales.customer_dim_masked", "email") == {"sales_customers.email"}
    assert "clickstream.email" not in traced("clickstream.sessions", "visitor_key") >= {"clickstream.ip"}
    assert traced("clickstream.sessions", "revenue") == {
        "clickstream.price", "clickstream.quantity", "clickstream.event_type",
    }  # fmt: skip
    assert traced("analytics.ga4_events_kpis", "sessions") == {"ga4_ga_daily.sessions"}
    assert traced("ecommerce.top_products", "revenue") >= {"ecommerce.Amount"}


def test_assets_with_names_of_persons_are_tagged_and_no_others(specs) -> None:
    tagged = {key.to_user_string() for key, spec in specs.items() if about.PERSONAL_DATA in spec.tags}
    assert tagged == {
        "landing/clickstream", "landing/sales_customers", "sales_raw/customers_raw", "sales_cleaned/customers_cleaned",
        "sales/customer_dim", "cdc_raw/changes", "cdc/customers", "cdc/customers_history", "landing/cdc_dms",
    }  # fmt: skip
    for key, spec in specs.items():
        personal = [name for name, column in columns(spec).items() if about.PERSONAL in column.tags]
        assert bool(personal) == (key.to_user_string() in tagged - {"landing/cdc_dms"}), key
    assert columns(specs[dg.AssetKey(["landing", "clickstream"])])["ip"].tags == {about.PERSONAL: ""}


def test_the_lineage_is_read_and_not_worked_out_when_the_graph_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    dbt.manifest(Settings.from_environment())

    def refuse(*_: object) -> None:
        raise AssertionError("the lineage was worked out again")

    monkeypatch.setattr(dbt, "_lineage", refuse)
    assert defs().resolve_asset_graph().get(dg.AssetKey(["sales", "sales_fact"])).metadata["dagster/column_lineage"]


def test_every_model_has_a_lineage_and_both_databases_the_same(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    described = dbt.manifest(home.settings)
    nodes = json.loads(described.read_text())["nodes"].values()
    models = {dbt.relation(node) for node in nodes if node["resource_type"] == "model"}
    content = (described.parent / "lineage.json").read_bytes()
    assert set(json.loads(content)) == models
    variables = {
        "CLICKSTREAM_WAREHOUSE": "redshift", "CLICKSTREAM_LAKE_URI": "s3://bucket/lake", "REDSHIFT_HOST": "none",
        "REDSHIFT_DATABASE": "analytics", "REDSHIFT_USER": "dbt", "REDSHIFT_PASSWORD": "none",
        "REDSHIFT_COPY_ROLE_ARN": "arn:aws:iam::123456789012:role/copy",
    }  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    other = dbt.manifest(Settings.from_environment())
    assert other != described and (other.parent / "lineage.json").read_bytes() == content


def test_the_owner_is_a_setting(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for owner in ("team:shop data", "data@example.com"):
        monkeypatch.setenv("CLICKSTREAM_OWNER", owner)
        graph = defs().resolve_asset_graph()
        assert {owner} == {one for key in graph.get_all_asset_keys() for one in graph.get(key).owners}
    for wrong in ("team:", "somebody", "a@b"):
        monkeypatch.setenv("CLICKSTREAM_OWNER", wrong)
        with pytest.raises(SettingsError, match="CLICKSTREAM_OWNER"):
            Settings.from_environment()


def test_each_materialization_of_a_table_tells_its_rows(home: Home) -> None:
    home.land("2024-03-01", "a.csv", "1,1,2024-03-01 10:00:00,product_view,p1,,", "2,1,2024-03-01 10:00:00,login,,,")
    home.run("2024-03-01")
    counted: dict[str, int] = {}
    with instance(home.settings) as storage:
        graph = defs().resolve_asset_graph()
        for key in graph.executable_asset_keys:
            event = storage.get_latest_materialization_event(key)
            if event is not None and event.asset_materialization is not None:
                metadata = event.asset_materialization.metadata
                for name in ("dagster/row_count", "dagster/partition_row_count"):
                    if name in metadata:
                        counted[".".join(key.path)] = metadata[name].value
    views = {
        dbt.relation(node)
        for node in json.loads(dbt.manifest(home.settings).read_text())["nodes"].values()
        if node["resource_type"] == "model" and node["config"]["materialized"] == "view"
    }
    made = {
        f"ecommerce.{name}"
        for (name,) in home.query("select table_name from duckdb_tables() where schema_name = 'ecommerce'")
    }
    assert set(counted) == made - views | {"ecommerce_raw.events_raw", "ecommerce.events_cleaned"}
    for name in made - {"ecommerce.stale_event_dates", "ecommerce.pending_ingestion_dates"}:  # emptied when all is done
        assert counted[name] == home.one(f"select count(*) from {name}")[0], name
    assert counted["ecommerce.events_cleaned"] == counted["ecommerce_raw.events_raw"] == 2
    assert counted["ecommerce.users"] == 2


def test_links_lead_to_files_that_are_there(specs) -> None:
    for key, spec in specs.items():
        linked = spec.metadata.get("dagster/code_references")
        if layer(spec) in ("raw", "cleaned", "enhanced") and spec.tags["domain"] != "cdc":
            assert linked is not None and linked.code_references, key
        for reference in linked.code_references if linked else ():
            assert Path(reference.file_path).is_file(), key
