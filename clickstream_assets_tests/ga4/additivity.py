"""Whether a model adds up what cannot be added up: sessions and users, whose values of several rows overlap.

A column is followed from the sources through subqueries, CTEs, unions and the columns of other models, under whatever
name. An expression carries such a metric when one of its columns does; a condition and a count do not, of which the
values say something else. Whoever is not sure that it can be followed is found out too.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope

#: by column in their order, whether it carries a metric that cannot be added up
Columns = dict[str, bool]


@dataclass(frozen=True)
class Finding:
    """A model, and the expression in it that adds up; or what could not be followed."""

    model: str
    expression: str


def findings(
    models: Mapping[str, str],
    sources: Mapping[str, Sequence[str]],
    metrics: Collection[str],
    *,
    dialect: str = "duckdb",
) -> list[Finding]:
    """The places where models add up a metric that cannot be.

    ``models``: compiled SQL by relation, ``schema.table``, lower case; ``sources``: the columns of every other relation
    that they read. ``metrics``: the columns of sources that cannot be added up.
    """
    known = {name: {column: column in metrics for column in columns} for name, columns in sources.items()}
    found: list[Finding] = []
    for name in _in_order(models, dialect):
        try:
            model = _Model(models[name], known, dialect)
        except (SqlglotError, _CannotFollow) as error:
            found.append(Finding(name, f"cannot be followed: {error}"))
            # Whoever reads it goes by the names of the metrics.
            known[name] = dict.fromkeys(metrics, True)
        else:
            found += [Finding(name, expression) for expression in model.sums]
            known[name] = model.columns
    return found


class _CannotFollow(Exception):
    pass


def _relation(table: exp.Table) -> str:
    return f"{table.db}.{table.name}".lower()


def _in_order(models: Mapping[str, str], dialect: str) -> Iterator[str]:
    """A model after those that it reads."""
    done: set[str] = set()

    def visit(name: str) -> Iterator[str]:
        if name in done or name not in models:
            return
        done.add(name)
        with contextlib.suppress(SqlglotError):
            for table in sqlglot.parse_one(models[name], read=dialect).find_all(exp.Table):
                yield from visit(_relation(table))
        yield name

    for name in models:
        yield from visit(name)


class _Model:
    """A model that was read: its ``columns``, and the ``sums`` that it should not have, as SQL."""

    def __init__(self, sql: str, known: Mapping[str, Columns], dialect: str) -> None:
        self._known, self._dialect = known, dialect
        tree: exp.Expr = sqlglot.parse_one(sql, read=dialect)
        schema: dict[str, object] = {}
        ctes = {cte.alias for cte in tree.find_all(exp.CTE)}
        for table in tree.find_all(exp.Table):
            if table.db or table.name not in ctes:
                columns = known.get(_relation(table))
                if columns is None:
                    raise _CannotFollow(f"{_relation(table)} is neither a model nor a source")
                of_database = schema.setdefault(table.db.lower(), {})
                assert isinstance(of_database, dict)
                of_database[table.name.lower()] = dict.fromkeys(columns, "unknown")
            table.set("catalog", None)
        tree = qualify(tree, dialect=dialect, schema=schema, quote_identifiers=False)
        root = build_scope(tree)
        if root is None:
            raise _CannotFollow("it is no query")
        scopes = list(root.traverse())
        self._scopes = {id(scope.expression): scope for scope in scopes}
        self._outputs: dict[int, Columns] = {}
        self.sums = [found for scope in scopes for found in self._sums_of(scope)]
        self.columns = self._columns_of(root.expression)

    def _columns_of(self, query: exp.Expr) -> Columns:
        if id(query) not in self._outputs:
            self._outputs[id(query)] = {}  # what a recursive CTE finds of itself
            self._outputs[id(query)] = self._output(query)
        return self._outputs[id(query)]

    def _output(self, query: exp.Expr) -> Columns:
        if isinstance(query, exp.Subquery):
            return self._columns_of(query.unnest())
        if isinstance(query, exp.SetOperation):
            left, right = self._columns_of(query.left), self._columns_of(query.right)
            carried = [any(both) for both in zip(left.values(), right.values(), strict=True)]
            return dict(zip(left, carried, strict=True))
        if not isinstance(query, exp.Select) or query.is_star or id(query) not in self._scopes:
            raise _CannotFollow(f"the columns of {self._sql(query)[:60]}")
        scope = self._scopes[id(query)]
        return {one.alias_or_name: self._carries(one, scope) for one in query.selects}

    def _sums_of(self, scope: Scope) -> Iterable[str]:
        """Of the query itself: what is in its subqueries is said of them."""
        for node in scope.walk():
            if isinstance(node, exp.Add):
                adds_up = self._carries(node.left, scope) and self._carries(node.right, scope)
            elif isinstance(node, exp.Mul):  # an average, times how many there are
                sides = (node.left, node.right), (node.right, node.left)
                adds_up = any(one.find(exp.Count) and self._carries(other, scope) for one, other in sides)
            elif _is_sum(node):
                adds_up = any(self._carries(one, scope) for one in node.iter_expressions())
            else:
                continue
            if adds_up:
                yield self._sql(node.parent if isinstance(node.parent, exp.Window) else node)

    def _carries(self, node: exp.Expr, scope: Scope) -> bool:
        if isinstance(node, exp.Column):
            return self._column(node, scope)
        if isinstance(node, exp.Query | exp.Subquery):
            return any(self._columns_of(node).values())
        if isinstance(node, exp.Star | exp.Columns | exp.TableColumn):
            raise _CannotFollow(f"which columns are meant by {self._sql(node)}")
        if isinstance(node, exp.Predicate | exp.Connector | exp.Not | exp.Count | exp.CountIf):
            return False
        if isinstance(node, exp.Window):
            return self._carries(node.this, scope)
        if isinstance(node, exp.Case):
            values = [branch.args["true"] for branch in node.args["ifs"]] + [node.args.get("default")]
            return any(self._carries(value, scope) for value in values if value is not None)
        if isinstance(node, exp.If):
            values = [node.args["true"], node.args.get("false")]
            return any(self._carries(value, scope) for value in values if value is not None)
        return any(self._carries(child, scope) for child in node.iter_expressions())

    def _column(self, column: exp.Column, scope: Scope) -> bool:
        within: Scope | None = scope
        while within is not None:
            source = within.sources.get(column.table)
            if isinstance(source, exp.Table):
                return self._one(self._known[_relation(source)], column)
            if source is not None:
                return self._one(self._columns_of(source.expression), column)
            within = within.parent
        select = scope.expression
        for one in select.selects if not column.table and isinstance(select, exp.Select) else ():
            if one.alias == column.name:  # in HAVING or ORDER BY
                return self._carries(one, scope)
        raise _CannotFollow(f"the column {self._sql(column)}")

    def _one(self, columns: Columns, column: exp.Column) -> bool:
        if column.name not in columns:
            raise _CannotFollow(f"the column {self._sql(column)}")
        return columns[column.name]

    def _sql(self, node: exp.Expr) -> str:
        return node.sql(dialect=self._dialect, comments=False)


def _is_sum(node: exp.Expr) -> bool:
    """Any function that is called a sum of some kind, sum_no_overflow, fsum, list_sum, or can be one, list_reduce."""
    if not isinstance(node, exp.Func):
        return False
    name = node.name if isinstance(node, exp.Anonymous) else node.sql_name()
    return re.search("SUM|REDUCE|AGGREGATE", name.upper()) is not None
