"""The Glue catalog, with commits that recognise themselves.

pyiceberg takes a refused commit for one that did not happen, and deletes the manifests that it wrote. But boto3 asks
again when an answer was lost on the way, and a commit that has happened is refused the second time: the table had
moved on, to the very metadata that was to be committed. Without its manifests such a table could not be read any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyiceberg.catalog import glue
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import CommitTableResponse
from pyiceberg.table.update import AddSnapshotUpdate

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.table.update import TableRequirement, TableUpdate


class GlueCatalog(glue.GlueCatalog):
    """Glue as pyiceberg knows it, but for commits whose answer was lost."""

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        """Commit, and when that is refused look whether it happened before it was refused.

        Raises:
            CommitFailedException: it did not happen; another commit came first.
        """
        try:
            return super().commit_table(table, requirements, updates)
        except CommitFailedException:
            current = self.load_table(table.name())
            ours = {update.snapshot.snapshot_id for update in updates if isinstance(update, AddSnapshotUpdate)}
            if not ours or not ours <= {snapshot.snapshot_id for snapshot in current.metadata.snapshots}:
                raise
            return CommitTableResponse(metadata=current.metadata, **{"metadata-location": current.metadata_location})
