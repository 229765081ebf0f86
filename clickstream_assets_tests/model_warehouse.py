"""A warehouse with tables that are written by hand, for models that are to be tested without the pipeline."""

from __future__ import annotations

import contextlib
import copy
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import duckdb
import redshift_connector

from clickstream_assets import dbt
from clickstream_assets.settings import Settings, exported


class ModelWarehouse:
    """A warehouse file in which dbt, in this process, makes the models that have ``tag``."""

    target = "duckdb"
    tag = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True)

    def create(self, tables: Mapping[str, Sequence[tuple[str, str]]]) -> None:
        """Make empty tables and their schemas: columns with their types, by relation."""
        self.execute(
            *(f"create schema {name}" for name in sorted({name.split(".")[0] for name in tables})),
            *(f"create table {name} ({', '.join(map(' '.join, columns))})" for name, columns in tables.items()),
        )

    def copy(self, folder: Path) -> Self:
        """Another one, in a folder of its own, with all that is in this one."""
        other = copy.deepcopy(self)
        other.folder = folder
        folder.mkdir(parents=True)
        shutil.copyfile(self.path, other.path)
        return other

    @property
    def path(self) -> Path:
        return self.folder / "warehouse.duckdb"

    @property
    def variables(self) -> dict[str, str]:
        return {"CLICKSTREAM_DBT_DUCKDB_PATH": str(self.path), "CLICKSTREAM_DBT_DUCKDB_MEMORY": "1GB"}

    def execute(self, *statements: str) -> None:
        with contextlib.closing(duckdb.connect(str(self.path))) as connection:
            for sql in statements:
                connection.execute(sql)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(duckdb.connect(str(self.path))) as connection:
            return connection.execute(sql).fetchall()

    def dbt(self, verb: str, *arguments: str, select: str | None = None) -> dict[str, str]:
        """What became of each model and test: its status by its name."""
        words = [verb, "--select", select or f"tag:{self.tag}", "--target", self.target, "--no-write-json", *arguments]
        with exported(self.variables):
            manifest = dbt._parsed(dbt.manifest(Settings.from_environment()))
            result: Any = dbt._invoke(words, target=self.folder / "dbt", manifest=manifest)
        assert result.exception is None, result.exception
        errors = [f"{one.node.name}: {one.message}" for one in result.result if one.status in ("error", "skipped")]
        assert errors == [], "\n".join(errors)
        return {one.node.name: str(one.status) for one in result.result}


class OnTwin(ModelWarehouse):
    """The same in a database of Redshift's twin; for a class that is a ``ModelWarehouse`` already."""

    target = "redshift"

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self._variables = dict(variables)
        super().__init__(folder)

    @property
    def variables(self) -> dict[str, str]:
        return {"CLICKSTREAM_WAREHOUSE": "redshift", "CLICKSTREAM_LAKE_URI": "s3://bucket/lake", **self._variables}

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[Any]:
        found: dict[str, Any] = {
            name: self._variables[f"REDSHIFT_{name.upper()}"] for name in ("host", "database", "user", "password")
        }
        port = int(self._variables["REDSHIFT_PORT"])
        connection = redshift_connector.connect(**found, port=port, ssl=False, application_name="tests")
        with contextlib.closing(connection), connection.cursor() as cursor:
            yield cursor
            connection.commit()

    def execute(self, *statements: str) -> None:
        with self._cursor() as cursor:
            for sql in statements:
                cursor.execute(sql)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with self._cursor() as cursor:
            cursor.execute(sql)
            return [tuple(row) for row in cursor.fetchall()]
