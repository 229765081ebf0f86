"""The two IO managers: they publish what a step staged, and hand the next step what to read.

``lake`` is for tables that are read in the lake, ``warehouse`` for those that are loaded into the warehouse too. No
rows pass through them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from clickstream_assets import guards, partitions, schemas
from clickstream_assets.platform import Platform
from clickstream_assets.storage import publishing

if TYPE_CHECKING:
    from clickstream_assets.storage.lake import Source
    from clickstream_assets.storage.staged import Staged


class LakeIOManager(dg.IOManager):
    """Publishes ``Staged`` outputs; loads inputs as the ``Source`` of the partitions asked for, one or a range."""

    #: whether the warehouse gets the rows as well
    load = False

    def __init__(self, platform: Platform):
        self._platform = platform

    def handle_output(self, context: dg.OutputContext, obj: Staged) -> None:
        """Publish all of it, or leave it to the next step of the domain to finish."""
        published = publishing.publish(self._platform.lake, self._platform.warehouse, obj, load=self.load)
        context.add_output_metadata({"snapshot": str(published.id), "files": len(published.files)})
        if context.has_asset_partitions:  # else the days are the table's business, and Dagster knows none of them
            asked = set(partitions.days(context.asset_partition_keys))
            for event in guards.materializations(obj, set(obj.days) - asked):
                context.log_event(event)

    def load_input(self, context: dg.InputContext) -> Source:
        """The upstream table's partitions; which engine opens their files is the step's business."""
        from clickstream_assets.storage.lake import Source

        table = schemas.table(".".join(context.asset_key.path))
        return Source(self._platform.lake, table, partitions.days(context.asset_partition_keys))


class WarehouseIOManager(LakeIOManager):
    """Publishes to the lake, then loads the published snapshot into the warehouse and counts it there."""

    load = True

    def handle_output(self, context: dg.OutputContext, obj: Staged) -> None:
        """As in the lake; the output tells under which name the warehouse has the rows."""
        super().handle_output(context, obj)
        context.add_output_metadata({"warehouse table": str(obj.table.warehouse)})


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
