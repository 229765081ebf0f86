"""Change data: changes are applied to a table; ``python benchmarks/cdc.py`` alone prints what that took as JSON.

1,000,000 changes, a twentieth of them deletes and a fifth new rows, over 5,000,000 rows of ten columns; then 1,000
changes of keys of one bucket. The raw changes are written directly: reading landing files is not measured here.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

if __package__:  # in tests; otherwise these are scripts
    from benchmarks.measuring import Target, heading, run_process, section
else:
    from measuring import Target, heading, run_process, section

import duckdb
import pyarrow as pa
from rich.console import Console

from clickstream_assets.cdc import apply as applying
from clickstream_assets.cdc.declared import DMS, Declared
from clickstream_assets.cdc.tables import BUCKETS
from clickstream_assets.platform import Platform
from clickstream_assets.schemas import CDC_CHANGES
from clickstream_assets.settings import Settings
from clickstream_assets.storage.lake import StagedWriter
from clickstream_assets.storage.staged import Staged, StagedFile

TITLE = "# Change data results"
PACKAGES = ("pyarrow", "duckdb", "pyiceberg")

DECLARED = Declared(DMS, "orders", "orders", ("order_id",), schema="shop")
DAY = date(2026, 3, 2)

#: values as DMS has them, as text
_ROW = """
json_object(
    'order_id', order_id::varchar, 'customer_id', (order_id * 7919 % 200000)::varchar,
    'status', ['new', 'paid', 'sent', 'done'][1 + ((order_id + version) % 4)::integer],
    'amount', ((order_id * 31 + version * 17) % 100000 / 100)::decimal(10, 2)::varchar,
    'currency', 'EUR', 'country', ['de', 'fr', 'it', 'es', 'pl'][1 + (order_id % 5)::integer],
    'ordered_at', (timestamp '2026-01-01' + to_seconds(order_id))::varchar,
    'items', (1 + order_id % 9)::varchar, 'note', 'order ' || md5(order_id::varchar),
    'is_gift', case when order_id % 10 = 0 then 'true' else 'false' end)
"""
_TYPES = (
    '{"amount":"decimal(10,2)","country":"varchar","currency":"varchar","customer_id":"bigint","is_gift":"boolean",'
    '"items":"integer","note":"varchar","order_id":"bigint","ordered_at":"timestamp","status":"varchar"}'
)
_CHANGES = f"""
select case when op = 'L' then 'load' else 'change' end as kind, op, cast(null as varchar) as reason,
       '["' || order_id || '"]' as key, cast(null as varchar) as old_key,
       case when op = 'D' then json_object('order_id', order_id::varchar)::varchar end as before,
       case when op <> 'D' then {_ROW}::varchar end as after,
       '{_TYPES}' as types,
       timestamptz '2026-03-01 00:00:00+00' + to_seconds(version * 100000 + n // 10) as committed_at,
       case when op = 'L' then '' else lpad(n::varchar, 48, '0') end as sequence,
       file_name, n as source_line, 'cdc/dms/shop/orders/' || file_name as source_file,
       timestamptz '2026-03-02 00:00:00+00' as processed_at, 'orders' as target, date '2026-03-02' as first_seen
"""
_LOAD = (
    "from (select range as n, range as order_id, 'L' as op, 0 as version, 'LOAD00000001' as file_name from range({}))"
)
_BATCH = """
from (select range as n, 1 as version, '20260302-000000000' as file_name,
             case when range % 20 = 0 then 'D' when range % 5 = 1 then 'I' else 'U' end as op,
             case when range % 5 = 1 then {rows} + range else range * 48271 % {rows} end as order_id
      from range({changes}))
"""
_ONE_BUCKET = """
from (select row_number() over () as n, range as order_id, 'U' as op, 2 as version, '20260303-000000000' as file_name
      from range({rows}) where md5_number_upper('["' || range || '"]') % {buckets} = 3 limit {changes})
"""


def publish(platform: Platform, source: str) -> None:
    """Add raw changes to the lake."""
    lake = platform.lake
    writer = StagedWriter(lake, CDC_CHANGES, DAY, CDC_CHANGES.arrow)
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        for batch in connection.execute(_CHANGES + source).to_arrow_reader(200_000):
            writer.append(pa.Table.from_batches([batch]))
    kept = [StagedFile(lake.files.relative(f.uri), f.rows, f.day) for f in lake.snapshot(CDC_CHANGES).files]
    lake.publish(Staged(CDC_CHANGES, [DAY], writer.close(), (), (), "benchmark", kept=kept))


def measured(platform: Platform, what: str) -> dict[str, object]:
    """Apply what there is; what that took."""
    before = files(platform)
    begun, used = time.monotonic(), sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    done = applying.apply(platform, DECLARED, run_id="benchmark")
    seconds, cpu = time.monotonic() - begun, sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - used
    after = files(platform)
    return {
        "what": what,
        "changes": done.changes,
        "seconds": seconds,
        "cpu": cpu,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "gone": len(before - after),
        "new": len(after - before),
        "there": len(before),
    }


def files(platform: Platform) -> set[str]:
    """The data files of both tables."""
    found: set[str] = set()
    for name in (DECLARED.name, f"{DECLARED.name}_history"):
        table = platform.lake.iceberg(name)
        tasks: Iterable[object] = table.scan().plan_files() if table is not None else ()
        found |= {task.file.file_path for task in tasks}  # type: ignore[attr-defined]
    return found


def part(arguments: argparse.Namespace, work: Path) -> str:
    """Measure in a process of its own; the results as Markdown."""
    counts = ["--rows", str(arguments.cdc_rows), "--changes", str(arguments.cdc_changes)]
    with Console(stderr=True).status("changes of a table"):
        _, printed = run_process([sys.executable, __file__, *counts])
    return report(json.loads(printed.splitlines()[-1]), arguments.cdc_rows)


def report(found: list[dict[str, Any]], rows: int) -> str:
    """What was found."""
    what = (
        f"raw changes applied to a table of {rows:,} rows with ten columns, once; a twentieth of the batch are "
        "deletes, a fifth new rows. Without process start and without reading landing files. The files are those of "
        "the current state and of the history."
    )
    lines = [
        *heading(TITLE, what, PACKAGES),
        "| | changes | seconds | processor s | peak memory so far | files replaced | by | files before |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {one['what']} | {one['changes']:,} | {one['seconds']:.1f} | {one['cpu']:.1f} | "
        f"{one['memory'] / 1e9:.2f} GB | {one['gone']} | {one['new']} | {one['there']} |"
        for one in found
    ]
    _, batch, few = found
    into = f"{batch['changes']:,} changes into {rows:,} rows"
    targets = [
        Target(into, "< 60 s", f"{batch['seconds']:.1f} s", batch["seconds"] < 60),
        Target(into, "memory < 4 GB", f"{batch['memory'] / 1e9:.2f} GB", batch["memory"] < 4e9),
        Target(
            f"{few['changes']:,} changes of keys of one bucket",
            "the files of that bucket alone",
            f"{few['gone']} of {few['there']}",
            few["gone"] <= 3,
        ),
    ]
    return "\n".join([*lines, *section(targets)]) + "\n"


def main() -> None:
    """Measure and print, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000, help="of the table")
    parser.add_argument("--changes", type=int, default=1_000_000)
    arguments = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="clickstream-cdc-"))
    found = []
    try:
        platform = Platform(Settings.from_environment({"CLICKSTREAM_HOME": str(home)}))
        publish(platform, _LOAD.format(arguments.rows))
        found.append(measured(platform, "full load"))
        publish(platform, _BATCH.format(rows=arguments.rows, changes=arguments.changes))
        found.append(measured(platform, "a batch of keys anywhere"))
        publish(platform, _ONE_BUCKET.format(rows=arguments.rows, buckets=BUCKETS, changes=1000))
        found.append(measured(platform, "keys of one bucket"))
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
