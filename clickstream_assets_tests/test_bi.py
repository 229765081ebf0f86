"""What BI tools are told: each mart has a reader and metrics, and each metric is what it says, on both databases."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
import redshift_connector
import yaml

from clickstream_assets import dbt, metrics
from clickstream_assets.errors import ClickstreamError
from clickstream_assets.metrics import Metric
from clickstream_assets.settings import Settings
from clickstream_assets_tests.model_warehouse import ModelWarehouse, OnTwin

TOOLS = {"power_bi", "tableau", "quicksight", "looker", "grafana"}

#: folders of models that are made for people, and tables of other folders that are
FOR_PEOPLE = {"answers", "marts"}
ALSO = {
    "clickstream.sessions", "clickstream.event_days", "clickstream.visitor_days", "ecommerce.user_days",
    "ecommerce.product_days", "ecommerce.event_type_days", "sales.sales_fact", "sales.mv_daily_sales",
    "sales.mv_product_performance", "sales.customer_dim_masked",
}  # fmt: skip

METRICS = metrics.load()
ROWS = 60


def manifest() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(dbt.manifest(Settings.from_environment()).read_text())
    return content


@pytest.fixture(scope="module")
def models() -> Mapping[str, Mapping[str, Any]]:
    """Models by their relation."""
    return {dbt.relation(node): node for node in manifest()["nodes"].values() if node["resource_type"] == "model"}


@pytest.fixture(scope="module")
def for_people(models) -> set[str]:
    assert set(models) >= ALSO
    return {name for name, model in models.items() if model["fqn"][2] in FOR_PEOPLE} | ALSO


def test_every_mart_has_a_reader_and_every_reader_reads_what_there_is(for_people) -> None:
    content = manifest()
    exposures = {exposure["name"]: exposure for exposure in content["exposures"].values()}
    assert set(exposures) == TOOLS
    read = {dbt.relation(content["nodes"][key]) for one in exposures.values() for key in one["depends_on"]["nodes"]}
    assert for_people <= read
    for exposure in exposures.values():
        assert (
            exposure["description"]
            and exposure["maturity"]
            and exposure["owner"] == {"name": "data-engineering", "email": None}
        )
    assert "sales.customer_dim" not in read, "names of persons are for those who have to know them"


def test_every_mart_has_a_metric(models, for_people) -> None:
    assert for_people - {metric.table for metric in METRICS} == {"sales.customer_dim_masked"}  # whom the others count
    assert {metric.table for metric in METRICS} <= set(models)
    assert set(metrics.marts()) == {metric.table for metric in METRICS}
    assert all(
        description == " ".join(models[name]["description"].split()) for name, description in metrics.marts().items()
    )


def test_what_a_model_says_is_not_to_be_added_up_is_in_no_metric_that_is(models) -> None:
    warned = 0
    for metric in METRICS:
        for name, column in models[metric.table]["columns"].items():
            if re.search(r"(not|never) to be added up", column["description"], re.I):
                warned += 1
                if metric.adds_up_over:
                    assert not re.search(rf"\b{name}\b", metric.formula), (metric.name, name)
    assert warned > 5


class Warehouse(ModelWarehouse):
    """All marts with metrics, with the same made-up rows wherever it is."""

    def fill(self, models: Mapping[str, Mapping[str, Any]], seed: int) -> None:
        random = Random(seed)
        tables = {
            name: [(column, one["data_type"]) for column, one in models[name]["columns"].items()]
            for name in dict.fromkeys(metric.table for metric in METRICS)
        }
        self.create(tables)
        for name, columns in tables.items():
            rows = [", ".join(_value(column, type_, random) for column, type_ in columns) for _ in range(ROWS)]
            self.execute(f"insert into {name} values ({'), ('.join(rows)})")


class OnRedshift(OnTwin, Warehouse):
    """The same on Redshift's twin."""


#: values for which formulas look
_WORDS = {"model": ("last_non_direct", "linear"), "report": ("page", "traffic_source")}


def _value(column: str, type_: str, random: Random) -> str:
    if type_ == "date":
        return f"date '{date(2026, 3, 1) + timedelta(random.randrange(5))}'"
    if type_.startswith("timestamp"):
        return f"timestamp '2026-03-0{random.randrange(1, 9)} 10:00:00'"
    if type_ == "boolean":
        return random.choice(("true", "false"))
    if type_ == "varchar":
        return f"'{random.choice(_WORDS.get(column, ('a', 'b', 'c')))}'"
    if type_.startswith("decimal") or type_ == "double precision":
        return f"{random.randrange(1, 1000) / 100}"
    return str(random.randrange(1, 9))


@pytest.fixture(scope="module")
def on_duckdb(tmp_path_factory: pytest.TempPathFactory, models) -> Warehouse:
    warehouse = Warehouse(tmp_path_factory.mktemp("bi") / "warehouse")
    warehouse.fill(models, seed=1)
    return warehouse


@pytest.fixture(scope="module")
def on_twin(tmp_path_factory: pytest.TempPathFactory, models, twin) -> Iterator[Warehouse]:
    with twin.fresh_database() as name:
        variables = twin.environment | {"REDSHIFT_DATABASE": name}
        warehouse = OnRedshift(tmp_path_factory.mktemp("bi") / "warehouse", variables)
        warehouse.fill(models, seed=1)
        yield warehouse


def values(warehouse: Warehouse, metric: Metric, by: Sequence[str] = ()) -> list[float]:
    return sorted(float(row[-1]) for row in warehouse.query(metric.sql(by)) if row[-1] is not None)


def test_every_formula_gives_the_same_on_both_databases(on_duckdb, on_twin) -> None:
    for metric in METRICS:
        found = values(on_duckdb, metric)
        assert found and (len(found) == 1) != metric.of_one_row, metric.name
        assert found == pytest.approx(values(on_twin, metric)), metric.name


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_adds_up_over_what_it_says_and_over_nothing_else_that_it_denies(metric, models, on_duckdb) -> None:
    columns = models[metric.table]["columns"]
    if metric.of_one_row:
        assert not metric.adds_up_over and metric.formula in columns
        return
    (whole,) = values(on_duckdb, metric)
    for by in ((column,) for column in metric.adds_up_over):
        groups = values(on_duckdb, metric, by)
        assert len(groups) > 1 and sum(groups) == pytest.approx(whole), by
    if metric.adds_up_over:
        assert sum(values(on_duckdb, metric, metric.adds_up_over)) == pytest.approx(whole)
    else:
        others = [name for name, one in columns.items() if one["data_type"] in ("date", "varchar", "bigint", "integer")]
        sums = [sum(values(on_duckdb, metric, (name,))) for name in others if name not in metric.formula]
        assert sums and all(one != pytest.approx(whole) for one in sums)


def test_the_group_of_the_docs_reads_the_marts_and_no_names(tmp_path: Path, models, for_people, twin) -> None:
    """The statements of docs/bi.md, run as they stand there, and a user who is in the group and in no other."""
    (statements,) = re.findall(r"```sql\n(.*?)```", (metrics.PROJECT.parent / "docs" / "bi.md").read_text(), re.DOTALL)
    reporter, password = f"reporter_{uuid.uuid4().hex}", f"A1{uuid.uuid4().hex}"
    group, *grants = [sql.strip() for sql in statements.split(";") if sql.strip()]
    try:
        with twin.fresh_database() as database:
            variables = twin.environment | {"REDSHIFT_DATABASE": database}
            warehouse = OnRedshift(tmp_path / "warehouse", variables)
            names = [*for_people, "sales.customer_dim", "sales.date_dim", "sales.product_dim", "sales.location_dim"]
            warehouse.create({name: [("anything", "integer")] for name in names})
            user = f"create user {reporter} password '{password}' in group bi"
            twin._administer(group, "set password_encryption = md5", user, database=database)  # by a superuser
            warehouse.execute(*grants)
            reports = OnRedshift(
                tmp_path / "reports", variables | {"REDSHIFT_USER": reporter, "REDSHIFT_PASSWORD": password}
            )
            for name in sorted(for_people):
                assert reports.query(f"select * from {name}") == [], name
            with pytest.raises(redshift_connector.Error, match="permission denied"):
                reports.query("select * from sales.customer_dim")
    finally:
        twin._administer(f"drop user if exists {reporter}", "drop group if exists bi", database="postgres")


def test_a_wrong_entry_is_refused_by_its_name(tmp_path: Path) -> None:
    entry = {"name": "m", "description": "d", "table": "s.t", "formula": "sum(a)", "unit": "count", "adds_up_over": []}
    wrong: list[tuple[list[dict[str, Any]], str]] = [
        ([{**entry, "unit": "euros"}], "unit of 'm'"),
        ([{**entry, "formla": "x"}], "'m' has too much or too little: formla"),
        ([entry, entry], "two metrics 'm'"),
    ]
    for number, (entries, message) in enumerate(wrong):
        path = tmp_path / f"{number}.yml"
        path.write_text(yaml.safe_dump({"metrics": entries}))
        with pytest.raises(ClickstreamError, match=message):
            metrics.load(path)
