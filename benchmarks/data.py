"""The benchmark's inputs, made once and kept: a CSV file of N good records of one day, and clickstream's landing files.

The records come from the package's own generators. Those of the CSV file are rewritten as an export that most shops
would send: time stamps to the second and each user's sessions counted from 1, which gives 44 bytes a record. The same N
gives the same bytes. More than ``FILE_ROWS`` of a day come in several files, as such a day does, each with users of its
own.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from clickstream_assets.generate import generator
from clickstream_assets.generate.ecommerce import COLUMNS, MAX_DAILY_SESSIONS

#: a day that the generator does not compress
DAY = date(2024, 7, 2)

#: events of a file that comes later on that day
INTRADAY = 10_000

#: records of a file at most
FILE_ROWS = 20_000_000

_TYPES = ("page_view", "page_view", "product_view", "click", "add_to_cart", "purchase")
_QUERIES = ("?utm_source=google&utm_medium=cpc", "?utm_source=newsletter&utm_medium=email", "", "", "")
_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 Safari/537.36"


def make(folder: Path, rows: int) -> Path:
    """The input of ``rows`` records below ``folder``, in a folder named by its day; made when it is not there yet.

    The file, or the first of them. What was made of the others is kept when making them is interrupted.
    """
    day = folder / f"rows={rows}" / f"ingestion_date={DAY}"
    day.mkdir(parents=True, exist_ok=True)
    for number, before in enumerate(range(0, rows, FILE_ROWS)):
        path = day / (f"events-{number:03}.csv" if number else "events.csv")
        if not path.exists():
            unfinished = path.with_suffix(".unfinished")
            _write(unfinished, min(FILE_ROWS, rows - before), number)
            os.replace(unfinished, path)
    return day / "events.csv"


def _write(path: Path, rows: int, number: int) -> None:
    """One file of records; ``number``: of which the users are."""
    with path.open("wb") as target:
        target.write(",".join(COLUMNS).encode() + b"\n")
        options = csv.WriteOptions(include_header=False, quoting_style="none")
        generator("ecommerce")(
            lambda _, content: csv.write_csv(_plain(content, number), target, options),
            first=DAY,
            last=DAY,
            rows_per_day=rows,
            seed=number,
        )


def _plain(content: bytes, number: int) -> pa.Table:
    """One generated file as the records of a plain export, whose users have the file's number."""
    types = {"SessionID": pa.int64(), "Timestamp": pa.timestamp("us"), "Amount": pa.string()}
    options = csv.ConvertOptions(column_types=types, strings_can_be_null=True)
    records = csv.read_csv(pa.BufferReader(content), convert_options=options)
    sessions = pa.array((records["SessionID"].to_numpy() - 1) % MAX_DAILY_SESSIONS + 1)
    seconds = pc.strftime(records["Timestamp"].cast(pa.timestamp("s"), safe=False), "%Y-%m-%d %H:%M:%S")
    records = records.set_column(1, "SessionID", sessions).set_column(2, "Timestamp", seconds)
    if number:
        users = pc.binary_join_element_wise(records["UserID"].cast(pa.string()), str(number), "-")
        records = records.set_column(0, "UserID", users)
    return records


def events(folder: Path, rows_per_day: int, *, days: int = 1, last: date = DAY) -> Path:
    """A landing folder with what ``clickstream generate clickstream`` writes for so many days."""
    path = folder / f"events={rows_per_day}-days={days}-last={last}"
    if not path.exists():
        unfinished = path.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)

        def write(name: str, content: bytes) -> None:
            (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
            (unfinished / name).write_bytes(content)

        first = last - timedelta(days=days - 1)
        generator("clickstream")(write, first=first, last=last, rows_per_day=rows_per_day)
        os.replace(unfinished, path)
    return path


def days(folder: Path, domain: str, rows_per_day: int, first: date, last: date) -> Path:
    """What ``clickstream generate`` writes for these days, each day in a folder of its own, to be landed one by one."""
    path = days_folder(folder, domain, rows_per_day, first, last)
    if not path.exists():
        unfinished = path.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        day = first

        def write(name: str, content: bytes) -> None:
            target = unfinished / str(day) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)

        def done(of: date) -> None:
            nonlocal day
            day = of + timedelta(days=1)

        generator(domain)(write, first=first, last=last, rows_per_day=rows_per_day, progress=done)
        os.replace(unfinished, path)
    return path


def days_folder(folder: Path, domain: str, rows_per_day: int, first: date, last: date) -> Path:
    """Where ``days`` has them, or will."""
    return folder / f"{domain}-{rows_per_day}-{first}-{last}"


def land_days(source: Path, landing: Path, first: date, last: date) -> None:
    """Land some of these days: copies, since a second link of a file is a change of it."""
    for number in range((last - first).days + 1):
        of_day = source / str(first + timedelta(days=number))
        if of_day.exists():
            shutil.copytree(of_day, landing, dirs_exist_ok=True)


def plain_events(landing: Path, day: date, count: int, *, arrival: date, hours: Sequence[int] = range(24)) -> Path:
    """Put a file of events of one day, in some of its hours, into landing; when they arrive is another matter.

    The events of two files are never the same.
    """
    folder = landing / f"clickstream/year={arrival:%Y}/month={arrival:%m}/day={arrival:%d}"
    path = folder / f"plain-{day}-{hours[0]}-{hours[-1]}.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = random.Random(path.name)  # noqa: S311 the same file each time
    with gzip.open(path, "wt", compresslevel=1) as file:
        for number in range(count):
            visitor = draw.randrange(max(count // 3, 1))
            event = {
                "event_id": f"{path.name}-{arrival}-{number}",
                "event_type": draw.choice(_TYPES),
                "timestamp": f"{day}T{draw.choice(hours):02}:{draw.randrange(60):02}:{draw.randrange(60):02}Z",
                "session_id": f"{day}-{visitor}-{draw.randrange(2)}",
                "page_url": f"https://shop.example.com/p/{draw.randrange(500)}{draw.choice(_QUERIES)}",
                "user_agent": _AGENT.format(120 + visitor % 5),
                "ip": f"10.{visitor >> 8 & 255}.{visitor & 255}.7",
            }
            if visitor % 2:
                event["user_id"] = f"u_{visitor}"
            if event["event_type"] == "purchase":
                event |= {"product_id": "prod_1001", "quantity": 1, "price": 9.5, "currency": "EUR"}
            file.write(json.dumps(event) + "\n")
    return path


def event_bytes(landing: Path) -> int:
    """Bytes of the JSON in landing files."""
    return sum(len(gzip.decompress(path.read_bytes())) for path in landing.rglob("*.gz"))
