"""Which columns a column is made of: of tables of the lake by the registry, of dbt's models by their SQL.

A column's origins are those of its value, hop by hop. What only decides whether a row is there, a join or a filter, is
not among them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from clickstream_assets.schemas import Column

if TYPE_CHECKING:
    from clickstream_assets.domains import Feed

#: a column of an asset: schema, table, column
Origin = tuple[str, str, str]
#: the origins of each column of a table; none for what is made up there, such as the time of loading
Lineage = Mapping[str, Sequence[Origin]]


def of_raw(feed: Feed) -> Lineage:
    """Of a feed's raw table: columns of the records in its first landing place."""
    record, there = set(feed.raw.record), {_plain(name): name for name in feed.columns}
    return {
        column.name: _origins(column, feed.landings[0].key, there, by_name=column.name in record)
        for column in feed.raw.columns
    }


def of_cleaned(feed: Feed) -> Lineage:
    """Of a feed's cleaned table: columns of its raw one."""
    there = {_plain(column.name): column.name for column in feed.raw.columns}
    return {
        column.name: _origins(column, feed.raw.key, there, by_name=not column.lineage)
        for column in feed.cleaned.columns
    }


def _origins(column: Column, parent: Sequence[str], there: Mapping[str, str], *, by_name: bool) -> list[Origin]:
    """What ``made_of`` says, where the parent has that; otherwise its column of the same name: UserID is user_id.

    ``there``: the names of the parent's columns by what is plain of them.
    """
    schema, table = parent
    said = [there[_plain(name)] for name in column.made_of if _plain(name) in there]
    same = [there[_plain(column.name)]] if by_name and _plain(column.name) in there else []
    return [(schema, table, name) for name in said or same]


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


def of_models(
    compiled: Mapping[str, str], parents: Mapping[str, Collection[str]], columns: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, list[Origin]]]:
    """Of models, from the SELECTs that dbt has made of them for DuckDB.

    ``compiled``: SQL by ``schema.table``, each after those that it reads. ``parents``: the relations that each reads.
    ``columns``: names and types of the columns of all relations; a model that is not among them has those that its SQL
    names. A model that cannot be read, or a column of it, has no origins.
    """
    from sqlglot import MappingSchema, exp, parse_one
    from sqlglot.errors import SqlglotError
    from sqlglot.lineage import lineage
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope

    schema = MappingSchema(dialect="duckdb")
    for name, types in columns.items():
        schema.add_table(exp.to_table(name), dict(types), dialect="duckdb")
    found: dict[str, dict[str, list[Origin]]] = {}
    for name, sql in compiled.items():
        try:
            parsed = parse_one(sql, dialect="duckdb")
            for table in parsed.find_all(exp.Table):
                table.set("catalog", None)  # of which there is one
            query = cast("exp.Query", qualify(parsed, schema=schema, dialect="duckdb", validate_qualify_columns=False))
            scope = build_scope(query)
        except SqlglotError:
            continue
        if name not in columns:
            schema.add_table(exp.to_table(name), dict.fromkeys(query.named_selects, ""), dialect="duckdb")
        origins: dict[str, list[Origin]] = {}
        for column in columns.get(name) or query.named_selects:
            try:
                root = lineage(column, query, schema=schema, dialect="duckdb", scope=scope, trim_selects=False)
            except SqlglotError:
                continue
            leaves = ((node.expression.find(exp.Table), node.name) for node in root.walk() if not node.downstream)
            of_column = {
                (table.db, table.name, exp.to_column(leaf).name)
                for table, leaf in leaves
                if table is not None and f"{table.db}.{table.name}" in parents[name]
            }
            origins[column] = sorted(of_column)
        found[name] = origins
    return found
