"""What adding a domain takes: its tables, a format, a transform with its rules, dbt models, and one entry."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from clickstream_assets import arrivals, dbt, domains, reference, run, schemas
from clickstream_assets.definitions import defs
from clickstream_assets.domains import Domain, Feed, RowModel
from clickstream_assets.parsing.content import Readable
from clickstream_assets.parsing.formats import Batch, Broken, Format
from clickstream_assets.schemas import DATE, INTEGER, LINEAGE, TEXT, Column, Table
from clickstream_assets.settings import Limits
from clickstream_assets.storage.spark import Split
from clickstream_assets.transforms.rules import Rule, Transform, first_broken, missing, record_json, text
from clickstream_assets_tests.conftest import Home

# 1. its tables
RAW = Table(
    name="toy_raw.visits_raw",
    domain="toy",
    lake="toy_raw.visits_raw",
    external="spectrum_toy.visits_raw",
    partition=("arrived",),
    description="One row per visit, as text.",
    columns=(Column("guest", TEXT, "Who."), *LINEAGE, Column("arrived", DATE, "Partition: the day of the folder.")),
)
CLEANED = Table(
    name="toy.visits_cleaned",
    domain="toy",
    lake="toy_cleaned.visits_cleaned",
    warehouse="toy.visits_cleaned",
    partition=("arrived",),
    description="One row per valid visit.",
    columns=(
        Column("guest", TEXT, "Who."),
        Column("source_line", INTEGER, "Line of the file."),
        Column("arrived", DATE, "Partition: the day of the folder."),
    ),
)


# 2. a format: one of ``parsing.formats``, or a reader of its own
def read(stream: Readable, columns: Sequence[str], limits: Limits) -> Iterator[Batch]:
    """JSON, one object a line."""
    content = b""
    while chunk := stream.read(1 << 20):
        content += chunk
    lines = content.decode().splitlines()
    return iter([_batch(lines, columns)])


def _batch(lines: Sequence[str], columns: Sequence[str]) -> Batch:
    good = [(n, json.loads(line)) for n, line in enumerate(lines, start=1) if line.startswith("{")]
    broken = [Broken(n, n, "not_an_object", line) for n, line in enumerate(lines, start=1) if not line.startswith("{")]
    values = {name: pa.array([visit.get(name) for _, visit in good], pa.string()) for name in columns}
    numbers = np.array([n for n, _ in good], dtype=np.int64)
    rows = pa.table(values | {"extra": pa.nulls(len(good), pa.string())})
    return Batch(len(lines), rows, numbers, numbers, broken)


# 3. a transform with its rules
RULES = (Rule("missing_guest", "guest is empty.", lambda: missing("guest")),)


def clean(raw: DataFrame) -> Split:
    judged = raw.withColumn("rule", first_broken(RULES))
    rejected = judged.where(F.col("rule").isNotNull()).select(
        "source_file",
        "source_line",
        "rule",
        record_json("guest").alias("payload"),
        F.current_timestamp().alias("quarantined_at"),
        F.col("arrived").alias("partition_date"),
    )
    accepted = judged.where(F.col("rule").isNull()).select(text("guest").alias("guest"), "source_line", "arrived")
    return Split(accepted, rejected)


VISITS = Transform(RULES, clean)

# 4. dbt models
MODELS = {
    "sources.yml": """
sources:
  - name: toy
    schema: toy
    tables:
      - name: visits_cleaned
        config: {meta: {dagster: {asset_key: ["toy", "visits_cleaned"]}}}
""",
    "visits.sql": "select guest, arrived from {{ source('toy', 'visits_cleaned') }}",
    "guests.sql": "select guest, count(*) as visits from {{ ref('visits') }} group by guest",
    "visits.yml": """
models:
  - name: visits
    description: One row per visit.
    config: {schema: toy, tags: [toy], materialized: view, meta: {dagster: {group: enhanced/toy}}}
  - name: guests
    description: One row per guest.
    config: {schema: toy, tags: [toy], materialized: table, meta: {dagster: {group: enhanced/toy}}}
    columns:
      - name: guest
        data_tests: [not_null, unique]
""",
}

# and one entry that names them
TOY = Domain(
    "toy",
    feeds=(
        Feed(
            landing="toy/year={day:%Y}/month={day:%m}/day={day:%d}",
            format=Format("jsonl", (".jsonl", ".jsonl.gz"), f"{__name__}:read", "Keys:"),
            raw=RAW,
            cleaned=CLEANED,
            transform=f"{__name__}:VISITS",
        ),
    ),
    row_models=(RowModel("toy.visits", source=CLEANED, day="arrived"),),
)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Domain]:
    project = tmp_path / "project"
    shutil.copytree(dbt.PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    (project / "models" / "toy").mkdir()
    for name, content in MODELS.items():
        (project / "models" / "toy" / name).write_text(content)
    monkeypatch.setattr(dbt, "PROJECT", project)
    monkeypatch.setattr(schemas, "TABLES", [*schemas.TABLES, RAW, CLEANED])
    monkeypatch.setitem(domains.DOMAINS, "toy", TOY)
    run._definitions.cache_clear()
    yield TOY
    run._definitions.cache_clear()


def land(home: Home, day: str, name: str, *lines: str) -> None:
    year, month, number = day.split("-")
    folder = home.path / "landing" / "toy" / f"year={year}" / f"month={month}" / f"day={number}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(f"{line}\n" for line in lines))


def test_landing_folders_are_read_as_they_are_written() -> None:
    (place,) = TOY.landings
    day = date(2024, 3, 1)
    assert place.folder(day) == "toy/year=2024/month=03/day=01"
    assert place.layout == "toy/year=YYYY/month=MM/day=DD"
    assert place.day_of("toy/year=2024/month=03/day=01") == place.day_of("toy/year=2024/month=03/day=01/hour=10") == day
    assert [place.day_of(f"toy/year={rest}") for rest in ("2024/month=3/day=1", "2024/month=02/day=30", "x")] == [
        None
    ] * 3
    (shop,) = domains.domain("ecommerce").landings
    assert shop.day_of(shop.folder(day)) == day
    assert shop.layout == "ecommerce/ingestion_date=YYYY-MM-DD"
    assert shop.day_of("ecommerce/ingestion_date=2024-03-01x") is None


def test_the_sensor_finds_its_days(home: Home, toy: Domain) -> None:
    land(home, "2024-03-01", "a.jsonl", "{}")
    landing = arrivals.Arrivals(home.platform.landing, toy.landings[0], first=date(2024, 1, 1), last=date(2024, 12, 31))
    new = landing.since(None, now_ns=time.time_ns())
    assert list(new.days) == [date(2024, 3, 1)]
    assert new.elsewhere == []


def test_the_entry_brings_assets_job_sensor_and_reference(toy: Domain) -> None:
    graph = defs().resolve_asset_graph()
    names = {key.to_user_string() for key in graph.get_all_asset_keys()}
    assert {"landing/toy", "toy_raw/visits_raw", "toy/visits_cleaned", "toy/visits", "toy/guests"} <= names
    assert defs().resolve_job_def("toy").name == "toy"
    assert defs().resolve_sensor_def("toy_arrivals").job_name == "toy"
    page = reference.markdown()
    assert "| `missing_guest` | guest is empty. |" in page
    assert "toy_cleaned.visits_cleaned" in page


def test_a_run_takes_it_from_landing_to_its_models_with_ledger_quarantine_and_repair(home: Home, toy: Domain) -> None:
    land(home, "2024-03-01", "a.jsonl", '{"guest": "ann"}', '{"guest": " "}', "nobody")
    land(home, "2024-03-02", "b.jsonl", '{"guest": "ann"}', '{"guest": "bob"}')
    home.run("2024-03-01", "2024-03-02", domain="toy")
    assert home.query("select * from toy.guests order by guest") == [("ann", 2), ("bob", 1)]
    assert home.ledger("toy_raw.visits_raw", "2024-03-01") == (3, 2, 1, 0, 0, 0)
    assert home.ledger("toy.visits_cleaned", "2024-03-01") == (2, 1, 1, 0, 0, 0)
    assert home.ledger("toy.visits", "2024-03-01") == (1, 1, 0, 0, 0, 0)
    assert home.query("select rule, source_line from ops.quarantine order by 1") == [
        ("missing_guest", 2),
        ("not_an_object", 3),
    ]
    assert home.query("select guest from spectrum_toy.visits_raw order by all") == [
        (" ",),
        ("ann",),
        ("ann",),
        ("bob",),
    ]

    # the same content arrives on an earlier day, which makes the later day one to repair
    land(home, "2024-02-01", "c.jsonl", '{"guest": "ann"}', '{"guest": "bob"}')
    summary = home.run("2024-02-01", domain="toy")
    assert summary.repaired == [date(2024, 3, 2)]
    assert home.query("select arrived, guest from toy.visits order by all") == [
        (date(2024, 2, 1), "ann"),
        (date(2024, 2, 1), "bob"),
        (date(2024, 3, 1), "ann"),
    ]


def clean_with_room(raw: DataFrame) -> Split:
    split = clean(raw)
    rooms = raw.where(~missing("guest")).select(text("guest").alias("guest"), "source_line", "arrived", "room")
    return Split(rooms, split.rejected)


VISITS_WITH_ROOM = Transform(RULES, clean_with_room)


def test_a_column_that_is_appended_to_its_tables_is_null_in_what_was_loaded_before(
    home: Home, toy: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old files are read by every reader: the views, the transform of an old day, and the day whose landing is gone."""
    land(home, "2024-03-01", "a.jsonl", '{"guest": "ann"}', "nobody")
    land(home, "2024-03-02", "b.jsonl", '{"guest": "bob"}')
    home.run("2024-03-01", "2024-03-02", domain="toy")
    room = Column("room", TEXT, "Where.")
    raw, cleaned = (replace(table, columns=(*table.columns, room)) for table in (RAW, CLEANED))
    (feed,) = toy.feeds
    wider = replace(feed, raw=raw, cleaned=cleaned, transform=f"{__name__}:VISITS_WITH_ROOM")
    monkeypatch.setattr(schemas, "TABLES", [*schemas.TABLES[:-2], raw, cleaned])
    monkeypatch.setitem(domains.DOMAINS, "toy", replace(toy, feeds=(wider,)))
    run._definitions.cache_clear()

    land(home, "2024-03-03", "c.jsonl", '{"guest": "cyd", "room": "7"}')
    (home.path / "landing" / "toy" / "year=2024" / "month=03" / "day=01" / "a.jsonl").unlink()
    home.run("2024-03-03", domain="toy")
    wanted = [("ann", None), ("bob", None), ("cyd", "7")]
    for relation in ("spectrum_toy.visits_raw", "toy.visits_cleaned"):
        assert home.query(f"select guest, room from {relation} order by 1") == wanted
    home.run("2024-03-01", "2024-03-02", domain="toy")
    for relation in ("spectrum_toy.visits_raw", "toy.visits_cleaned"):
        assert home.query(f"select guest, room from {relation} order by 1") == wanted
    assert home.ledger("toy_raw.visits_raw", "2024-03-01") == (2, 1, 1, 0, 0, 0)
