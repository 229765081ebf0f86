"""The benchmark's input: one CSV file of N good records, all of one day, made once and kept.

The records come from the package's own generator. They are rewritten as an export that most shops would send: time
stamps to the second and each user's sessions counted from 1, which gives 44 bytes a record. The same N gives the same
bytes.
"""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from clickstream_assets.generate import generator
from clickstream_assets.generate.ecommerce import COLUMNS, MAX_DAILY_SESSIONS

#: a day that the generator does not compress
DAY = date(2024, 7, 2)


def make(folder: Path, rows: int) -> Path:
    """The input of ``rows`` records below ``folder``, in a folder named by its day; made when it is not there yet."""
    path = folder / f"rows={rows}" / f"ingestion_date={DAY}" / "events.csv"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        with unfinished.open("wb") as target:
            target.write(",".join(COLUMNS).encode() + b"\n")
            options = csv.WriteOptions(include_header=False, quoting_style="none")
            generator("ecommerce")(
                lambda _, content: csv.write_csv(_plain(content), target, options),
                first=DAY,
                last=DAY,
                rows_per_day=rows,
            )
        os.replace(unfinished, path)
    return path


def _plain(content: bytes) -> pa.Table:
    """One generated file as the records of a plain export."""
    types = {"SessionID": pa.int64(), "Timestamp": pa.timestamp("us"), "Amount": pa.string()}
    options = csv.ConvertOptions(column_types=types, strings_can_be_null=True)
    records = csv.read_csv(pa.BufferReader(content), convert_options=options)
    sessions = pa.array((records["SessionID"].to_numpy() - 1) % MAX_DAILY_SESSIONS + 1)
    seconds = pc.strftime(records["Timestamp"].cast(pa.timestamp("s"), safe=False), "%Y-%m-%d %H:%M:%S")
    return records.set_column(1, "SessionID", sessions).set_column(2, "Timestamp", seconds)
