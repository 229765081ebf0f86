"""What a run imports and loads before it looks at its home; ``forked`` has it done once."""

from __future__ import annotations

import importlib

from clickstream_assets import run

MODULES = (
    *("alembic.config", "dagster._core.storage.event_log.sqlite.sqlite_event_log", "sqlalchemy.dialects.sqlite"),
    *("clickstream_assets.parsing.landing", "clickstream_assets.parsing.arrow_csv"),
    *("clickstream_assets.storage.io_managers", "clickstream_assets.transforms.ecommerce"),
    *("dagster_dbt.core.dbt_cli_event", "dbt.cli.main", "dbt.task.build"),
    *("dbt.adapters.duckdb", "dbt.adapters.duckdb.environments.local", "duckdb"),
    *("pyarrow.dataset", "pyarrow.parquet", "pyiceberg.catalog.sql", "pyiceberg.io.pyarrow"),
    *("pysail.spark", "pyspark.sql.connect.functions", "pyspark.sql.connect.session"),
)

for name in MODULES:
    importlib.import_module(name)
run._definitions()
