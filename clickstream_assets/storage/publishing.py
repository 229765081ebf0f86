"""Publishing a step's staged files, and finishing what a killed process left half done.

Publishing is two stores in a row, the lake and the warehouse, and a process can die between them. So what is to be
published is written down first, in ``publishing.json`` in the table's folder; ``reconcile`` compares it with the
lake. If the lake has the staged files the rest is done over, and every part of it can be done twice; if not, nothing
had happened, or not yet: the note may be that of a process on another machine, which is just about to. It stays until
the next publication of the table takes its place, and comes true of no other, since files have unique names.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from clickstream_assets import schemas
from clickstream_assets.errors import PublishError
from clickstream_assets.storage.staged import Account, LandingFile, Staged, StagedFile

if TYPE_CHECKING:
    from clickstream_assets.storage.lake import Lake, Snapshot
    from clickstream_assets.storage.warehouse import Transaction, Warehouse

_LOG = logging.getLogger(__name__)


def publish(lake: Lake, warehouse: Warehouse, staged: Staged, *, load: bool | None = None) -> Snapshot:
    """Replace the staged days of a table: rows, quarantine, ledger, landing files; with ``load`` in the warehouse too.

    The caller has the domain for itself. Whether a table is loaded is the registry's word, unless it is said.

    Raises:
        PublishError: the files do not match the table, and nothing was published; the warehouse does not show the
            published rows; or an earlier publication of further days is in the lake and could not be loaded.
    """
    if not staged.days:
        return lake.snapshot(staged.table, ())
    lake.verify(staged)
    earlier = _read(lake, staged.table)
    if earlier is not None and (left := set(earlier.days) - set(staged.days)) and _is_in(lake, earlier):
        raise PublishError(
            f"{staged.table.name}: {min(left)} to {max(left)} are in the lake and could not be loaded into the "
            f"warehouse: run {min(earlier.days)} to {max(earlier.days)} together."
        )
    lake.files.write(note(lake, staged.table), to_json(staged).encode())
    published = lake.publish(staged, verified=True)
    _record(lake, warehouse, staged, load=load)
    return published


def reconcile(lake: Lake, warehouse: Warehouse, domain: str) -> list[str]:
    """Finish what killed processes had published in the lake; names the tables that were finished.

    What the warehouse refuses is left for the next publication of its days: it must not keep others from theirs.
    The caller has the domain for itself on this machine.
    """
    finished = []
    for staged in unfinished(lake, domain):
        if not _is_in(lake, staged) or _read(lake, staged.table) != staged:
            continue
        lake.publish_quarantine(staged)
        try:
            _record(lake, warehouse, staged, again=True)
        except PublishError as error:
            _LOG.warning("%s to %s of %s: %s", staged.days[0], staged.days[-1], staged.table.name, error)
        else:
            finished.append(staged.table.name)
    return finished


def _is_in(lake: Lake, staged: Staged) -> bool:
    """Whether the lake has exactly these files on these days."""
    files = {lake.files.uri(file.path) for file in (*staged.files, *staged.kept)}
    return files == set(lake.snapshot(staged.table, staged.days).uris)


def unfinished(lake: Lake, domain: str) -> list[Staged]:
    """What is being published, or was when its process died; a table has one at most."""
    notes = (_read(lake, table) for table in schemas.TABLES if table.domain == domain)
    return [staged for staged in notes if staged is not None]


def _read(lake: Lake, table: schemas.Table) -> Staged | None:
    content = lake.files.read(note(lake, table))
    return None if content is None else from_json(content.decode())


def note(lake: Lake, table: schemas.Table) -> str:
    """Where it is written down what is being published to a table: where the sweep of orphans finds half of it, too."""
    return f"{lake.folder(table)}/staging/publishing.json"


def _record(lake: Lake, warehouse: Warehouse, staged: Staged, *, load: bool | None = None, again: bool = False) -> None:
    """All that the warehouse knows of it, in one transaction; then the note is of no more use.

    ``again``: another process began it; nothing is done when that one, on another machine, has finished it meanwhile.
    """
    wanted = load if load is not None else staged.table.warehouse is not None
    loads = [staged.table, schemas.QUARANTINE] if wanted else [schemas.QUARANTINE]

    def record(transaction: Transaction) -> bool:
        if again and _read(lake, staged.table) != staged:
            return False
        warehouse.show(transaction, lake, staged.table)
        for table in loads:
            warehouse.load(transaction, lake, table, staged.days)
        warehouse.record(transaction, asset=staged.table.name, run_id=staged.run_id, accounts=staged.accounts)
        for root in staged.landing_roots:
            files = [file for file in staged.landing_files if file.path.startswith(f"{root}/")]
            warehouse.replace_landing_files(transaction, root=root, days=staged.days, files=files)
        return True

    if warehouse.transact(f"recording {staged.table.name}", record, loads=loads):
        lake.files.delete(note(lake, staged.table))


def to_json(staged: Staged) -> str:
    """All that ``from_json`` needs; a table by its name, days as ISO dates."""
    plain = replace(
        staged, rejected_by_rule=dict(staged.rejected_by_rule), together=(), findings=()
    )  # asdict copies no Counter
    return json.dumps(asdict(plain) | {"table": staged.table.name}, default=date.isoformat)


def from_json(text: str) -> Staged:
    """The inverse of ``to_json``."""
    fields: dict[str, Any] = json.loads(text)
    return Staged(
        table=schemas.table(fields["table"]),
        days=[date.fromisoformat(day) for day in fields["days"]],
        files=[StagedFile(**_dated(file, "day")) for file in fields["files"]],
        quarantine=[StagedFile(**_dated(file, "day")) for file in fields["quarantine"]],
        accounts=[Account(**_dated(account, "day")) for account in fields["accounts"]],
        run_id=fields["run_id"],
        kept=[StagedFile(**_dated(file, "day")) for file in fields["kept"]],
        kept_quarantine=[StagedFile(**_dated(file, "day")) for file in fields["kept_quarantine"]],
        landing_roots=fields["landing_roots"],
        landing_files=[LandingFile(**_dated(file, "partition_date")) for file in fields["landing_files"]],
        rejected_by_rule=fields["rejected_by_rule"],
        made_by=fields["made_by"],
    )


def _dated(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return fields | {name: date.fromisoformat(fields[name])}
