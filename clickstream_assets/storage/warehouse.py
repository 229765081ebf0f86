"""The warehouse: the tables that analysts query and dbt builds from, and the books that the pipeline keeps.

``Warehouse`` is what the rest of the project knows. What DuckDB and Redshift do differently, opening, locking and
loading, is in ``duckdb_warehouse`` and ``redshift_warehouse``; what both do alike is here, in SQL that both read.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from clickstream_assets.errors import PublishError
from clickstream_assets.schemas import Table
from clickstream_assets.storage.staged import Account, LandingFile

if TYPE_CHECKING:
    from clickstream_assets.storage.lake import Lake, Snapshot

Result = TypeVar("Result")
Row = tuple[Any, ...]

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}")

#: rows in one INSERT; on Redshift each statement is a round trip of tens of milliseconds
_ROWS_PER_INSERT = 500

#: title → SQL; a time stamp is shown by its age, too
_STATUS = {
    ("tables", "Tables, their newest partition and how fresh they are"): """
        select asset, count(*) as partitions, max(partition_date) as newest, sum(rows_in) as rows_in,
               sum(rows_out) as rows_out, sum(rejected) as rejected, sum(duplicate) as duplicate,
               max(recorded_at) as last_run
        from ops.row_ledger group by asset
        order by case when position('_raw.' in asset) > 0 then 1 when position('_cleaned' in asset) > 0 then 2
                 else 3 end, asset""",
    ("ledger", "Newest ledger rows"): """
        select asset, partition_date, rows_in, rows_out, rejected, duplicate, late, filtered
        from (select l.*, row_number() over (partition by asset order by partition_date desc) as place
              from ops.row_ledger as l) as placed
        where place <= 3 order by asset, partition_date desc""",
    ("rejected", "Rejected rows"): """
        select asset, rule, count(*) as rows, min(partition_date) as first_day, max(partition_date) as last_day
        from ops.quarantine group by asset, rule order by asset, rows desc, rule""",
    ("landing_files", "Landing files"): """
        select split_part(path, '/', 1) as domain, status, count(*) as files, sum(size) as bytes, sum(rows) as records
        from ops.landing_files group by 1, 2 order by 1, 2""",
}


class Part(NamedTuple):
    """A part of a status report: its name for programs, its title for people, and what it says."""

    name: str
    title: str
    columns: list[str]
    rows: list[Row]


class Transaction(Protocol):
    """An open transaction of either database. ``loads``: relations that nobody else loads meanwhile."""

    loads: Collection[str]

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run one statement, with ``?`` for each parameter; its rows, none for what has no result."""
        ...


class Warehouse(ABC):
    """A warehouse; every change to it is one transaction."""

    @abstractmethod
    def locked(self, what: str, *, timeout: float | None = None) -> AbstractContextManager[None]:
        """Hold the warehouse without opening it, e.g. while dbt does; may be nested within one process.

        Raises:
            Busy: another process still holds it after ``timeout`` seconds; names that process.
        """

    @abstractmethod
    def transact(self, what: str, work: Callable[[Transaction], Result], *, loads: Collection[Table] = ()) -> Result:
        """Do something in one transaction: committed when it returns, rolled back when it raises.

        ``work`` may be called again, from its beginning, when the database asks for that. ``loads``: the tables that it
        loads. They are made if they are missing, and are its alone before it sees anything.

        Raises:
            PublishError: a table that is to be loaded has other columns than the registry.
        """

    @abstractmethod
    def query(self, sql: str) -> tuple[list[str], list[Row]]:
        """Run read-only SQL; column names and rows of the last statement.

        Raises:
            QueryRefused: not valid SQL, or a statement that is not a query.
            Busy: a run held the warehouse for 30 s.
        """

    @abstractmethod
    def show(self, transaction: Transaction, lake: Lake, table: Table) -> None:
        """Show the lake's files of a table under its external name, if it has one."""

    @abstractmethod
    def show_as(self, transaction: Transaction, lake: Lake, name: str, select: str) -> None:
        """Show a table of the lake that the registry does not know, under its own name and as ``spectrum_<name>``.

        ``select``: SQL that reads its files, for a warehouse that cannot ask the catalog.
        """

    @abstractmethod
    def bring(self, transaction: Transaction, lake: Lake, table: Table, days: Collection[date]) -> Snapshot:
        """Replace the days of the warehouse's relation by those of the table in the lake.

        The snapshot is taken when no other load of the relation can come between: an older list of files must not
        replace a newer one.

        Returns:
            The snapshot that was brought, with the files of these days at least.
        """

    def load(self, transaction: Transaction, lake: Lake, table: Table, days: Collection[date]) -> None:
        """Bring days of a table into the warehouse, and count them there.

        Raises:
            PublishError: the warehouse does not show the published rows; the transaction is not committed.
            ValueError: the transaction was begun without the table among those that it ``loads``.
        """
        if str(table.warehouse) not in transaction.loads:
            raise ValueError(f"{table.warehouse} is loaded in a transaction that has not got it for itself.")
        snapshot = self.bring(transaction, lake, table, days)
        relation = str(table.warehouse)
        shown = self.rows_by_day(transaction, relation, table.day, days)
        wrong = {
            day: (shown.get(day, 0), snapshot.rows(day)) for day in days if shown.get(day, 0) != snapshot.rows(day)
        }
        if wrong:
            text = ", ".join(f"{day}: {found:,} instead of {rows:,}" for day, (found, rows) in wrong.items())
            raise PublishError(f"{relation} does not show the rows that were published ({text}): run the days again.")

    def status(self) -> Iterator[Part]:
        """The parts of a status report."""
        now = datetime.now(UTC)
        _, relations = self.query("select table_schema || '.' || table_name from information_schema.tables")
        for (name, title), sql in _STATUS.items():
            if "ops.quarantine" in sql and ("ops.quarantine",) not in relations:
                yield Part(name, title, ["asset", "rule", "rows", "first_day", "last_day"], [])
                continue  # nothing was published yet
            names, rows = self.query(sql)
            if "last_run" in names:
                place = names.index("last_run")
                rows = [(*row, int((now - row[place]).total_seconds() // 3600)) for row in rows]
                names = [*names, "hours_ago"]
            yield Part(name, title, names, [_shown(row) for row in rows])

    def record(self, transaction: Transaction, *, asset: str, run_id: str, accounts: Sequence[Account]) -> None:
        """Replace the ledger rows of an asset's partitions."""
        now = datetime.now(UTC)
        days = dates(account.day for account in accounts)
        transaction.run(f"delete from ops.row_ledger where asset = ? and partition_date in ({days})", [asset])
        rows = [
            (asset, a.day, run_id, a.rows_in, a.rows_out, a.rejected, a.duplicate, a.late, a.filtered,
             a.source_snapshot, now)
            for a in accounts
        ]  # fmt: skip
        _insert(transaction, "ops.row_ledger", rows)

    def accounts(self, asset: str) -> dict[date, Account]:
        """The ledger rows of an asset, by partition."""
        return self.accounts_of([asset])[asset]

    def accounts_of(self, assets: Collection[str]) -> dict[str, dict[date, Account]]:
        """The ledger rows of several assets, each by partition, in one transaction: opening DuckDB's takes 20 ms."""
        sql = (
            "select partition_date, rows_in, rows_out, rejected, duplicate, late, filtered, source_snapshot "
            "from ops.row_ledger where asset = ?"
        )
        rows = self.transact("ledger", lambda opened: {asset: opened.run(sql, [asset]) for asset in assets})
        return {asset: {row[0]: Account(*row) for row in found} for asset, found in rows.items()}

    def landing_files(self, root: str) -> list[LandingFile]:
        """What is known of the files below a folder of landing."""
        sql = _known(root)
        return [LandingFile(*row) for row in self.transact("landing files", lambda transaction: transaction.run(sql))]

    def has_books(self) -> bool:
        """Whether anything was ever recorded in ``ops``; a reader's question that makes nothing."""
        return bool(
            self.query(
                "select 1 from information_schema.tables where table_schema = 'ops' and table_name = 'landing_versions'"
            )[1]
        )

    def landing_files_seen(self, root: str) -> list[LandingFile]:
        """The same as a reader's question: see ``versions_read``."""
        return [LandingFile(*row) for row in self.query(_known(root))[1]]

    def accounts_seen(self, assets: Collection[str]) -> list[tuple[str, str, date, int]]:
        """Asset, run, partition and rows_in of the ledger's rows of some assets, as a reader's question."""
        names = ", ".join(f"'{identifier(asset)}'".replace('"', "") for asset in assets)
        sql = f"select asset, run_id, partition_date, rows_in from ops.row_ledger where asset in ({names})"
        return [(asset, run_id, day, rows) for asset, run_id, day, rows in self.query(sql)[1]]

    def versions_read(self, root: str, days: Collection[date]) -> dict[str, str]:
        """The versions in which files of some days below a folder of landing were read, by path.

        A reader's question, unlike ``landing_files``: nobody waits for it longer than for a query.

        Raises:
            ClickstreamError: the warehouse is held by somebody, is not there yet, or is not to be reached.
        """
        _, rows = self.query(
            f"select path, read_as from ops.landing_versions where {_below(root)} and partition_date in ({dates(days)})"
        )
        return {path: read_as.partition(" ")[0] for path, read_as in rows}

    def replace_landing_files(
        self,
        transaction: Transaction,
        *,
        root: str,
        days: Iterable[date],
        files: Sequence[LandingFile],
    ) -> None:
        """Replace what is known of the files below a folder of landing on some days."""
        for name in ("ops.landing_files", "ops.landing_versions"):
            transaction.run(f"delete from {name} where {_below(root)} and partition_date in ({dates(days)})")
        _insert(transaction, "ops.landing_files", [astuple(file)[:-1] for file in files])
        versions = [(file.path, file.partition_date, file.read_as) for file in files if file.read_as]
        _insert(transaction, "ops.landing_versions", versions)

    def set_run_window(self, domain: str, days: Iterable[date]) -> None:
        """Tell dbt which partitions to compute: the exact set of days, since a repair need not be contiguous."""
        rows = [(domain, day) for day in days]

        def replace(transaction: Transaction) -> None:
            transaction.run("delete from ops.run_window where domain = ?", [domain])
            _insert(transaction, "ops.run_window", rows)

        self.transact("run window", replace)

    def rows_by_day(
        self, transaction: Transaction, relation: str, day_column: str, days: Collection[date]
    ) -> Mapping[date, int]:
        """Rows per day of a relation, for the given days; none for a day without any."""
        column = identifier(day_column)
        return dict(
            transaction.run(
                f"select {column}, count(*) from {identifier(relation)} where {column} in ({dates(days)}) group by 1"
            )
        )

    def absorbed_by_day(
        self, transaction: Transaction, relation: str, source: str, day_column: str, days: Collection[date]
    ) -> Mapping[date, int]:
        """Rows per day of a source that dbt has noted in a relation to have taken account of."""
        column = identifier(day_column)
        sql = (
            f"select {column}, sum(absorbed_rows) from {identifier(relation)} "
            f"where source = ? and {column} in ({dates(days)}) group by 1"
        )
        return {day: int(count) for day, count in transaction.run(sql, [source])}


def dates(days: Iterable[date]) -> str:
    """Days as a list of literals: from a parameter DuckDB does not learn which files it need not open."""
    return ", ".join(f"date '{day.isoformat()}'" for day in days) or "null"


def _known(root: str) -> str:
    """The question for what is known of the files below a folder of landing."""
    return (
        "select f.path, size, content_hash, f.partition_date, rows, status, run_id, read_as "
        "from ops.landing_files as f left join ops.landing_versions as v on v.path = f.path "
        f"where {_below(root, 'f.path')}"
    )


def _below(root: str, path: str = "path") -> str:
    """The condition that a path is below a folder of landing, which a domain names and no user."""
    return f"left({path}, {len(root) + 1}) = '{root}/'"


def _insert(transaction: Transaction, relation: str, rows: Sequence[Row]) -> None:
    for start in range(0, len(rows), _ROWS_PER_INSERT):
        chunk = rows[start : start + _ROWS_PER_INSERT]
        places = ", ".join("(" + ", ".join("?" * len(row)) + ")" for row in chunk)
        transaction.run(f"insert into {relation} values {places}", [value for row in chunk for value in row])


def _shown(row: Row) -> Row:
    """To the second, and the same on both: Redshift's sums of integers are decimals."""

    def shown(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.replace(microsecond=0)
        return int(value) if isinstance(value, Decimal) else value

    return tuple(map(shown, row))


def identifier(name: str) -> str:
    """A schema, table or column name, checked and quoted.

    Raises:
        ValueError: a part of it is not a plain lower-case name.
    """
    parts = name.split(".")
    for part in parts:
        if not _IDENTIFIER.fullmatch(part):
            raise ValueError(f"{name!r} is not a name that the warehouse takes: use a-z, 0-9 and _.")
    return ".".join(f'"{part}"' for part in parts)
