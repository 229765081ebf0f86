"""Files in the lake that nothing refers to, and their removal.

They are left by processes that died between writing a file and committing it, by steps that failed, and by commits
that another process was faster than. No reader sees them; they take space. A file is an orphan when all of this holds:

- It lies in one of the three folders of a table, ``data``, ``metadata`` or ``staging``: a registered one, or one that
  the catalog has in the namespace of the declared ones. Whatever else is below the lake's root is none of ours.
- The table's metadata does not refer to it, be it for the current snapshot or for an older one that is kept.
- No note of ``publishing.json`` names it: what a killed process was publishing may still be finished.
- It has not been touched since the horizon.

Why metadata files may go by the same rule: a commit is the catalog's row and nothing before it, and nobody commits
meanwhile, since the caller has every domain for itself. The horizon is for those who know no such lock, e.g. another
home folder that uses the same lake.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from clickstream_assets.schemas import TABLES, Table
from clickstream_assets.storage.lake import Unregistered
from clickstream_assets.storage.publishing import note, unfinished

if TYPE_CHECKING:
    from clickstream_assets.storage.files import FileInfo
    from clickstream_assets.storage.lake import Lake

DATA, METADATA, STAGING = "data", "metadata", "staging"

#: the namespace of tables that are declared in a file of their own, which the registry does not list
DECLARED = "cdc"


@dataclass(frozen=True)
class Swept:
    """What was found of one table: orphans and their bytes. ``left`` says why its orphans were not looked for."""

    table: Table | Unregistered
    files: int
    size: int
    left: str | None = None


def sweep(lake: Lake, *, older_than: timedelta, dry_run: bool = False, now: datetime | None = None) -> list[Swept]:
    """Remove the orphans of every table, or with ``dry_run`` only count them; one entry per table.

    The caller has every domain for itself: the quarantine belongs to all of them.
    """
    horizon_ns = int(((now or datetime.now(UTC)) - older_than).timestamp() * 1e9)
    noted = _noted(lake)
    return [_sweep(lake, table, noted, horizon_ns, dry_run=dry_run) for table in tables(lake)]


def tables(lake: Lake) -> list[Table | Unregistered]:
    """Every table that has a place in the lake: the registry's, and those that the catalog has of the declared ones."""
    registered = {table.lake for table in TABLES}
    return [*TABLES, *(Unregistered(name) for name in lake.tables(DECLARED) if name not in registered)]


def is_ours(lake: Lake, table: Table | Unregistered) -> bool:
    """Whether the catalog has the table where this lake would have made it: others may use its namespace, too."""
    iceberg = lake.iceberg(table.lake)
    return iceberg is not None and iceberg.location().removeprefix("file://") == lake.files.uri(lake.folder(table))


def _noted(lake: Lake) -> set[str]:
    """The notes of what is being published, and the paths that they name."""
    staged = [one for domain in {table.domain for table in TABLES} for one in unfinished(lake, domain)]
    named = {file.path for one in staged for files in (one.files, one.quarantine) for file in files}
    return named | {note(lake, one.table) for one in staged}


def _sweep(lake: Lake, table: Table | Unregistered, noted: set[str], horizon_ns: int, *, dry_run: bool) -> Swept:
    folder = lake.folder(table)
    found = [file for part in (DATA, METADATA, STAGING) for file in _files(lake, f"{folder}/{part}")]
    if not found:
        return Swept(table, 0, 0)
    metadata = lake.metadata(table)
    if metadata is None and any(file.path.startswith(f"{folder}/{METADATA}/") for file in found):
        return Swept(table, 0, 0, "the catalog does not know the table, but its folder has the metadata of one")
    if metadata is not None and metadata.location != lake.files.uri(folder):
        return Swept(table, 0, 0, f"the catalog has it in {metadata.location}")
    kept = noted if metadata is None else noted | {lake.files.relative(uri) for uri in metadata.uris}
    strangers = [file for file in found if file.path not in kept]
    foreign = [] if metadata is None else [f for f in strangers if _is_of_another_table(lake, f, metadata.uuid)]
    if any(_has_snapshots(lake, file) for file in foreign):
        return Swept(table, 0, 0, "its folder also has the metadata of another table: two catalogs use one lake")
    orphans = [file for file in strangers if file.modified_ns < horizon_ns and file not in foreign]
    if not dry_run:
        _remove(lake, f"{folder}/{STAGING}", orphans)
    return Swept(table, len(orphans), sum(file.size for file in orphans))


def _files(lake: Lake, folder: str) -> list[FileInfo]:
    """All of them: what was being written when its process died has a name that starts with ``_``."""
    return lake.files.files(folder, hidden=True)


def _is_of_another_table(lake: Lake, file: FileInfo, uuid: str) -> bool:
    """Whether a file is the metadata of a table that was made twice, or by another catalog."""
    return file.path.endswith(".metadata.json") and _read(lake, file).get("table-uuid") != uuid


def _has_snapshots(lake: Lake, file: FileInfo) -> bool:
    return bool(_read(lake, file).get("snapshots"))


def _read(lake: Lake, file: FileInfo) -> dict[str, object]:
    """A metadata file; nothing of one that was not written to its end."""
    with lake.files.open(file.path) as stream:
        try:
            content: dict[str, object] = json.loads(stream.read())
        except ValueError:
            return {}
    return content


def _remove(lake: Lake, staging: str, orphans: Iterable[FileInfo]) -> None:
    for file in orphans:
        lake.files.delete(file.path)
    for name in lake.files.folders(staging):
        if not _files(lake, f"{staging}/{name}"):
            lake.files.delete_folder(f"{staging}/{name}")
