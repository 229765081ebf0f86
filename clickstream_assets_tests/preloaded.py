"""What a run imports and loads before it looks at its home; ``forked`` has it done once."""

from __future__ import annotations

import gc
import importlib
import os

from clickstream_assets import dbt, run
from clickstream_assets.domains import DOMAINS
from clickstream_assets.settings import Settings

MODULES = (
    *("alembic.config", "dagster._core.storage.event_log.sqlite.sqlite_event_log", "sqlalchemy.dialects.sqlite"),
    *("dagster._core.instance.factory", "dagster._core.storage.legacy_storage", "dagster._core.storage.root"),
    *("dagster._core.execution.execute_in_process", "dagster._core.storage.local_compute_log_manager"),
    *("dagster._core.secrets.env_file", "upath.implementations.local", "clickstream_assets.event_log"),
    *("clickstream_assets.cli", "clickstream_assets.parsing.landing", "clickstream_assets.parsing.arrow_csv"),
    *("clickstream_assets.storage.cleaning", "clickstream_assets.storage.duckdb_warehouse"),
    *("clickstream_assets.storage.io_managers", "clickstream_assets.transforms.ecommerce"),
    *("dagster_dbt.core.dbt_cli_event", "dbt.cli.main", "dbt.task.build", "dbt_common.clients.agate_helper"),
    *("dbt.adapters.duckdb", "dbt.adapters.duckdb.environments.local", "duckdb"),
    *("pyarrow.dataset", "pyarrow.parquet", "pyiceberg.catalog.sql", "pyiceberg.io.pyarrow"),
    *("pyiceberg.avro.decoder_fast", "pysail.spark", "pyspark.sql.connect.functions", "pyspark.sql.connect.session"),
)

# The server is started by whichever test is the first, with its settings.
for name in [name for name in os.environ if name.startswith(("CLICKSTREAM_", "AWS_", "REDSHIFT_"))]:
    del os.environ[name]
for name in MODULES:
    importlib.import_module(name)
# dbt's parser starts threads, which its forks would wait for in vain: it is a fork that parses.
if not (parser := os.fork()):
    dbt.manifest(Settings.from_environment())
    os._exit(0)
assert os.waitpid(parser, 0)[1] == 0, "dbt cannot parse the project"
dbt._parsed(dbt.manifest(Settings.from_environment()))  # makes its readers, half a second of work
for name in DOMAINS:
    run._definitions().resolve_job_def(name)
gc.freeze()  # what is looked through for garbage is copied into each fork
