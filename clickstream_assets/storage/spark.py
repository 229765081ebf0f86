"""Spark sessions, and the one way in which rows that Spark has become staged files.

The engine is Sail inside this process, a Spark Connect endpoint that ``SPARK_REMOTE`` names, or, in a job, the Spark
that runs the job, which may be 3.5. Transforms do not know.
"""

from __future__ import annotations

import atexit
import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import TYPE_CHECKING

from clickstream_assets import faults
from clickstream_assets.schemas import Table
from clickstream_assets.settings import export, exported
from clickstream_assets.storage.lake import Workplace
from clickstream_assets.storage.s3 import ATTEMPTS, S3
from clickstream_assets.storage.staged import StagedFile

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """A transform's result: accepted rows with the table's columns, rejected ones with those of ``ops.quarantine``
    less ``run_id`` and ``asset``."""

    accepted: DataFrame
    rejected: DataFrame


@cache
def session(remote: str | None = None, *, on_s3: bool = False) -> SparkSession:
    """The process's Spark session; UTC, ended when the process ends. ``on_s3``: the embedded engine will need S3."""
    from pyspark.sql import SparkSession

    embedded = remote is None
    if remote is None:
        # A proxy for the internet is none for a server in this process; gRPC would ask it all the same.
        export({"RUST_LOG": "error", "no_grpc_proxy": "127.0.0.1"})
        # Sail's allocator reads this when its library is loaded. With pages of 2 MB, 1,000,000 events need 2.0 GB
        # instead of 1.6 GB, and the kernel takes 6 s to clear them instead of 4 s.
        # And what it has freed it would keep: 0.3 GB more after 20 days of 100,000 sales, when the models want memory.
        # Giving it back takes the kernel 0.7 of 8 s.
        export({"MIMALLOC_ALLOW_THP": "0", "MIMALLOC_PURGE_DELAY": "0"})
        from pysail.spark import SparkConnectServer

        server = SparkConnectServer(ip="127.0.0.1", port=0)
        # For the moment of the start only: credentials that boto3 found would be taken for the user's afterwards, and
        # never be renewed.
        with exported(S3.find().engine if on_s3 else {}):
            server.start(background=True)
        remote = f"sc://127.0.0.1:{server.listening_address[1]}"
        atexit.register(server.stop)
    spark = SparkSession.builder.remote(remote).create()
    _configure(spark)
    if embedded:  # on a JVM it is static, and the server's to say
        # It looks for IPython at each call, to say in errors where the call stood: 0.2 s of a small run.
        spark.conf.set("spark.python.sql.dataFrameDebugging.enabled", "false")
    # Each error is raised here; the client would print it as JSON too.
    logging.getLogger("pyspark.sql.connect.logging").setLevel(logging.CRITICAL)
    atexit.register(spark.stop)  # runs before server.stop: the other way round hangs
    return spark


def of_a_job() -> SparkSession:
    """The session of the Spark application that this process drives, Spark 3.5 or newer; UTC."""
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.getOrCreate()
    _configure(spark)
    # As in Spark 4 by default. Spark 3.5 would refuse to read and write what is older than 1900.
    for mode in ("datetimeRebaseModeInRead", "datetimeRebaseModeInWrite"):
        spark.conf.set(f"spark.sql.parquet.{mode}", "CORRECTED")
    # For ``rules.try_cast``; what Spark 4 would raise in this mode, the transforms ask for as null anyway.
    spark.conf.set("spark.sql.ansi.enabled", "false")
    return spark


def _configure(spark: SparkSession) -> None:
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    # Spark on a JVM writes 96-bit time stamps unless told otherwise, which Iceberg does not take.
    spark.conf.set("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")


def fetched(rows: DataFrame) -> pa.Table:
    """The rows, in this process."""
    import pyarrow as pa

    if hasattr(type(rows), "toArrow"):
        return rows.toArrow()
    from pyspark.sql.pandas.types import to_arrow_schema  # Spark 3.5

    return pa.Table.from_pylist([row.asDict() for row in rows.collect()], to_arrow_schema(rows.schema))


def frame(session: SparkSession, rows: pa.Table, schema: StructType | str | None = None) -> DataFrame:
    """Rows of this process for the engine; ``schema``: where it is not plain from theirs."""
    from pyspark.sql import DataFrame

    if hasattr(DataFrame, "toArrow"):
        return session.createDataFrame(rows, schema)
    from pyspark.sql.pandas.types import from_arrow_schema  # Spark 3.5

    values = [tuple(row.values()) for row in rows.to_pylist()]
    return session.createDataFrame(values, schema or from_arrow_schema(rows.schema))


def write(
    lake: Workplace, table: Table, days: Sequence[date], rows: DataFrame, *, by_hour: Collection[date] = ()
) -> list[StagedFile]:
    """Stage rows by day; of the days ``by_hour`` each hour has a file of its own.

    Begun again, in a new folder, when the engine could not reach S3: Sail tries for 2 to 3 s, a response that breaks
    off not at all, and cannot be told otherwise.
    """
    from pyspark.errors import PySparkException

    for attempt in range(1, ATTEMPTS + 1):
        staging = lake.new_staging_folder(table)
        try:
            _write_into(lake.files.uri(staging), table, days, rows, by_hour)
            break
        except PySparkException as error:
            if attempt == ATTEMPTS or not faults.is_of_s3(str(error)):
                raise
            _LOG.warning("%s: the engine could not reach S3: attempt %s", table.name, attempt + 1)
        time.sleep(0.5 * 2 ** (attempt - 1))
    return lake.adopt(table, staging)


def _write_into(uri: str, table: Table, days: Sequence[date], rows: DataFrame, by_hour: Collection[date]) -> None:
    """Write rows into ``_day=YYYY-MM-DD`` folders, for ``by_hour`` with ``slice=…`` folders in them.

    A single day, the usual case, is written straight into its folder: to distribute 2,000,000 rows over one folder
    takes Sail 0.9 of 2.5 s. That they are all of that day is verified before they are published.
    """
    from pyspark.sql import functions as F

    if len(days) == 1 and not by_hour:
        rows.write.option("compression", "snappy").parquet(f"{uri}/_day={days[0]}")
        return
    # partitionBy drops its columns from the files, so it gets copies.
    folders = {"_day": F.col(table.day)}
    if by_hour:
        folders["slice"] = F.when(F.col(table.day).isin(list(by_hour)), F.col(str(table.hour))).otherwise(-1)
    rows.withColumns(folders).write.option("compression", "snappy").partitionBy(*folders).parquet(uri)
