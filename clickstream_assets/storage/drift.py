"""Drift: where the catalog or the lake's files are no longer what the registry says.

Somebody edited a table in a console, another engine wrote to it, or a definition was changed without its days being run
again. Publishing refuses what it meets of that; this looks before, at all tables, and names what it finds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from clickstream_assets.schemas import Table

if TYPE_CHECKING:
    from clickstream_assets.storage.lake import Lake

#: files of a table whose footers are read, those of the newest days: a request each on S3
FILES = 20

#: a column by its name and its type, as the registry or another place calls it
Columns = Sequence[tuple[str, str]]


def drift(lake: Lake, table: Table) -> list[str]:
    """What differs, a phrase each that names the column; nothing of a table that was never published."""
    found = lake.described(table)
    if found is None:
        data = f"{lake.folder(table)}/data"
        return (
            [f"the catalog has no table {table.lake}, but there are files in {data}"]
            if lake.files.folders(data)
            else []
        )
    registered = [(field.name, str(field.field_type)) for field in table.iceberg.fields]
    differences = [*_columns("the catalog", found.columns, registered, whole=True)]
    if found.shown is not None:
        # Athena and the console show these; Glue keeps them beside Iceberg's own.
        glue = [(name.lower(), kind) for name, kind in _as_glue(found.columns)]
        differences += _columns("what Glue shows", found.shown, glue, whole=True, than="Iceberg's metadata has")
    if found.partition != table.partition:
        there, here = (", ".join(names) or "nothing" for names in (found.partition, table.partition))
        return [*differences, f"the catalog has it partitioned by {there}, the registry by {here}"]
    snapshot = lake.snapshot(table)
    for file in sorted(snapshot.files, key=lambda file: (file.day, file.uri), reverse=True)[:FILES]:
        arrow = [(field.name, str(field.type)) for field in table.arrow]
        differences += _columns(lake.files.relative(file.uri), lake.columns_of(file), arrow, whole=False)
    return differences


def _columns(
    place: str, there: Columns, wanted: Columns, *, whole: bool, than: str = "the registry has"
) -> Iterator[str]:
    """What a place has of other columns than are wanted. ``whole``: it must have all, else it may end sooner."""
    here, types = dict(there), dict(wanted)
    for name, kind in there:
        if name not in types:
            yield f"{place} has a column {name}, which is more than {than}"
        elif kind != types[name]:
            yield f"{place} has {name} as {kind}; {than} {types[name]}"
    missing = [name for name in types if name not in here]
    if not whole and missing == list(types)[len(here) :]:
        missing = []  # they were appended after it was written
    for name in missing:
        yield f"{place} has no column {name}; {than} it"
    known = [name for name in here if name in types]
    if known != [name for name in types if name in here]:
        yield f"{place} has the columns in another order: {', '.join(known)}"


def _as_glue(columns: Columns) -> list[tuple[str, str]]:
    """Iceberg's types by the names that Glue has for them."""
    names = {"long": "bigint", "timestamptz": "timestamp"}
    return [(name, names.get(kind, kind.replace(" ", ""))) for name, kind in columns]
