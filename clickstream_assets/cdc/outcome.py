"""What applying changes leaves besides the two tables: refused changes, the ledger, and the relations to query.

All of it follows from what the tables tell, so that a run that died before it is made good by the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from clickstream_assets.cdc import tables
from clickstream_assets.schemas import QUARANTINE

if TYPE_CHECKING:
    from clickstream_assets.cdc.apply import Applied
    from clickstream_assets.cdc.declared import Declared
    from clickstream_assets.platform import Platform
    from clickstream_assets.storage.lake import Lake
    from clickstream_assets.storage.staged import Account
    from clickstream_assets.storage.warehouse import Transaction


def record(platform: Platform, declared: Declared, applied: Applied, *, run_id: str) -> list[Account]:
    """Publish what was refused, and tell the warehouse; the accounts of the days that are other than they were.

    The caller has the domain for itself.
    """
    lake, warehouse = platform.lake, platform.warehouse
    refused = applied.refused
    if refused.days:
        lake.publish_quarantine(refused)
    known = warehouse.accounts(declared.name)
    changed = [account for account in applied.accounts if known.get(account.day) != account]

    def tell(transaction: Transaction) -> None:
        show(platform, transaction, declared)
        # Of all days whose account is another one: a run that died may have published theirs and not come to this.
        warehouse.load(transaction, lake, QUARANTINE, {*refused.days, *(account.day for account in changed)})
        warehouse.record(transaction, asset=declared.name, run_id=run_id, accounts=changed)

    warehouse.transact(f"recording {declared.name}", tell, loads=[QUARANTINE])
    return changed


def show(platform: Platform, transaction: Transaction, declared: Declared) -> Sequence[str]:
    """Show both tables, as they are now, in the warehouse; their names."""
    shown = []
    for name in (declared.name, f"{declared.name}_history"):
        if (select := tables.shown(platform.lake, name)) is not None:
            platform.warehouse.show_as(transaction, platform.lake, name, select)
            shown.append(name)
    return shown


def rows(lake: Lake, name: str) -> int:
    """The rows of one of the tables, as its metadata counts them."""
    table = tables.CdcTable.find(lake, name)
    return 0 if table is None else sum(file.record_count for file in table.files())


def columns(lake: Lake, name: str) -> dict[str, str]:
    """Names and SQL types of the columns of one of the tables; none before the first change."""
    table = tables.CdcTable.find(lake, name)
    return {} if table is None else table.columns
