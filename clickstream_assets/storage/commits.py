"""Commits to Iceberg tables: begun again when another process was faster, and what a manifest says of a new file."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow.parquet as pq

from clickstream_assets.errors import PublishError

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table.metadata import TableMetadata

    from clickstream_assets.storage.files import Files

Result = TypeVar("Result")

#: property of a snapshot that has the same rows as the one before, and its value: who follows the changes of a table by
#: the files that are added skips those of such a snapshot
REWRITE, COMPACTION = "clickstream.rewrite", "compaction"


def until_committed(commit: Callable[[], Result], name: str, purpose: str, *, attempts: int) -> Result:
    """What ``commit`` returns; begun again, from its first look at the table, when another process changed that.

    Raises:
        PublishError: others kept changing the table all the time; ``purpose`` says what for it was committed.
    """
    from pyiceberg.exceptions import CommitFailedException, ValidationException

    for attempt in range(1, attempts):
        try:
            return commit()
        except (CommitFailedException, ValidationException):
            time.sleep(random.uniform(0, 0.05 * attempt))  # noqa: S311 so that two do not meet again
    try:
        return commit()
    except (CommitFailedException, ValidationException) as error:
        raise PublishError(
            f"{name}: other processes changed the table during each of {attempts} attempts to {purpose}. Run again "
            "when they have finished."
        ) from error


def data_file(files: Files, path: str, metadata: TableMetadata, partition: Any, spec: int) -> DataFile:
    """What a manifest says of a Parquet file below the lake's root: its own statistics, and the partition given.

    ``spec``: which of the table's partitionings that is of. The file itself is not compared with either.
    """
    from pyiceberg.io.pyarrow import (
        compute_statistics_plan,
        data_file_statistics_from_parquet_metadata,
        parquet_path_to_id_mapping,
    )
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat

    schema = metadata.schema()
    with files.open_random(path) as source:
        footer = pq.read_metadata(source)
        size = source.size()
    statistics = data_file_statistics_from_parquet_metadata(
        footer, compute_statistics_plan(schema, metadata.properties), parquet_path_to_id_mapping(schema)
    )
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=files.uri(path),
        file_format=FileFormat.PARQUET,
        partition=partition,
        file_size_in_bytes=size,
        sort_order_id=None,
        spec_id=spec,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )
