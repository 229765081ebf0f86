"""Compaction of what changes leave behind: many small files, since each run adds some to each partition that it met.

The registry's other tables are not for it: their days are compared file by file, to tell which have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from clickstream_assets.cdc import outcome
from clickstream_assets.cdc.tables import APPLIED, CdcTable
from clickstream_assets.schemas import CDC_CHANGES
from clickstream_assets.storage import maintenance
from clickstream_assets.storage.maintenance import Compacted

if TYPE_CHECKING:
    from clickstream_assets.cdc.declared import Declared
    from clickstream_assets.platform import Platform
    from clickstream_assets.storage.warehouse import Transaction


def compact(
    platform: Platform, declared: Sequence[Declared], progress: Callable[[str], None] = lambda line: None
) -> list[Compacted]:
    """Compact the raw changes and the tables made from them; an entry for each table.

    The warehouse shows the new files as soon as they are there. The caller has the domain for itself.
    """
    done = []
    for one in declared:
        for name in (f"{one.name}_history", one.name):
            done.append(maintenance.compact(platform.lake, name))
            if done[-1].snapshot is not None:
                progress(f"{name}: {done[-1].files_before:,} small files are {done[-1].files_after:,} now")
    show(platform, declared)
    # A file that a table has not seen yet must stay as it is: by its snapshot a table knows what is new.
    done.append(maintenance.compact(platform.lake, CDC_CHANGES.lake, up_to=_applied_everywhere(platform, declared)))
    return done


def show(platform: Platform, declared: Sequence[Declared]) -> None:
    """Show all tables as they are now: also those that a run changed which died before it told the warehouse."""

    def tell(transaction: Transaction) -> None:
        for one in declared:
            outcome.show(platform, transaction, one)

    platform.warehouse.transact("showing changed tables", tell)


def _applied_everywhere(platform: Platform, declared: Sequence[Declared]) -> int:
    """Iceberg's sequence number of the newest raw rows that all tables have applied, of those that have changes.

    0 where one of them has applied none.
    """
    targets = {file.partition[0] for file in platform.lake.snapshot(CDC_CHANGES).files}
    changed = (one for one in declared if one.target in targets)
    histories = (CdcTable.find(platform.lake, f"{one.name}_history") for one in changed)
    marks = [0 if table is None else int(table.properties.get(APPLIED, 0)) for table in histories]
    return min(marks, default=0)
