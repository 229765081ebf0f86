"""Pipeline health: whether every row is accounted for, what is rejected, how fresh tables are, what runs cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from clickstream_assets.dashboards.charts import over_time, ranked, table, totals
from clickstream_assets.dashboards.page import Column, Dataset, Filter, Page, Tile, count, day, text

if TYPE_CHECKING:
    from clickstream_assets.platform import Platform

#: runs of which the history is read, newest first; and of which every step is, which takes a look at the run's events
_RUNS, _STEPS = 2_000, 40

#: whose a table is, by its schema
_DOMAIN = """case
                   when asset like 'analytics%' then 'ga4'
                   else replace(replace(split_part(asset, '.', 1), '_raw', ''), '_cleaned', '')
               end"""

# Of each row of the ledger what is missing or too much, so that the one does not make up for the other.
LEDGER = Dataset(
    name="ledger",
    tables=("ops.row_ledger",),
    sql=f"""
        select partition_date, asset, {_DOMAIN} as domain,
               case when right(split_part(asset, '.', 1), 4) = '_raw' then rows_in else 0 end as landed,
               rows_in, rows_out, rejected, duplicate, late, filtered,
               abs(rows_in - rows_out - rejected - duplicate - late - filtered) as unaccounted
        from ops.row_ledger""",
    columns=(
        day("partition_date"),
        text("asset", "Table"),
        text("domain", "Domain"),
        count("landed", "Rows that landed"),
        Column("rows_in", "In", "count", adds=True, within=("asset",)),
        Column("rows_out", "Out", "count", adds=True, within=("asset",)),
        count("rejected", "Rejected"),
        count("duplicate", "Duplicate"),
        count("late", "Late"),
        count("filtered", "Filtered"),
        count("unaccounted", "Unaccounted"),
    ),
    grain=("partition_date", "asset"),
    order="partition_date desc, asset",
)

QUARANTINE = Dataset(
    name="quarantine",
    tables=("ops.quarantine",),
    sql=f"""
        select partition_date, {_DOMAIN} as domain, rule, count(*) as rejected
        from ops.quarantine
        group by partition_date, {_DOMAIN}, rule""",
    columns=(day("partition_date"), text("domain", "Domain"), text("rule", "Rule"), count("rejected", "Records")),
    grain=("partition_date", "domain", "rule"),
    order="partition_date desc",
)

FILES = Dataset(
    name="landing",
    tables=("ops.landing_files",),
    sql="""
        select partition_date, status, count(*) as files, sum(size) as bytes
        from ops.landing_files
        group by partition_date, status""",
    columns=(day("partition_date"), text("status", "Status"), count("files", "Files"), count("bytes", "Bytes")),
    grain=("partition_date", "status"),
    order="partition_date desc",
)

PULLS = Dataset(
    name="pulls",
    tables=("analytics.ga4_pulls",),
    sql="""
        select event_date, status, count(*) as pulls
        from analytics.ga4_pulls
        group by event_date, status""",
    columns=(day("event_date"), text("status", "Status"), count("pulls", "Pulls")),
    grain=("event_date", "status"),
    order="event_date desc",
)


def _fresh(platform: Platform, _: Any) -> Sequence[Sequence[Any]]:
    """Each table's newest partition and last run, the stalest first."""
    now = datetime.now(UTC)
    _, rows = platform.warehouse.query(
        f"select asset, {_DOMAIN} as domain, cast(max(partition_date) as varchar) as newest, count(*) as partitions, "
        "max(recorded_at) as last_run from ops.row_ledger group by asset order by last_run, asset"
    )
    return [(*row, (now - row[-1]).total_seconds() / 3600) for row in rows]


FRESH = Dataset(
    name="fresh",
    tables=("ops.row_ledger",),
    rows=_fresh,
    columns=(
        text("asset", "Table"),
        text("domain", "Domain"),
        text("newest", "Newest partition"),
        Column("partitions", "Partitions", "count"),
        Column("last_run", "Last run, UTC", "moment"),
        Column("hours_ago", "Hours ago, when built", "number"),
    ),
    grain=("asset",),
    order="",
)


def _records(history: Any, limit: int) -> list[Any]:
    """Dagster's newest runs that are over, whoever started them."""
    records = history.get_run_records(limit=limit) if history is not None else []
    return [record for record in records if record.start_time and record.end_time]


def _domain_of(record: Any) -> str:
    """The job of a run, which is its domain; of a run of chosen assets the domains of their tables."""
    run = record.dagster_run
    if not run.job_name.startswith("__") or not run.asset_selection:
        return str(run.job_name).strip("_").lower()
    schemas = {key.path[0].removesuffix("_raw").removesuffix("_cleaned") for key in run.asset_selection}
    return ", ".join(sorted("ga4" if schema == "analytics" else schema for schema in schemas))


def _day_of(record: Any) -> str:
    return datetime.fromtimestamp(record.start_time, UTC).date().isoformat()


def _runs(_: Platform, history: Any) -> Sequence[Sequence[Any]]:
    """Runs, failures, seconds and repaired days by day and domain, the newest days first."""
    found: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0, 0, 0.0])
    for record in _records(history, _RUNS):
        run = record.dagster_run
        repaired = [one for one in run.tags.get("clickstream/repaired_days", "").split(",") if one]
        row = found[_day_of(record), _domain_of(record)]
        for place, value in enumerate((1, not run.is_success, len(repaired), record.end_time - record.start_time)):
            row[place] += value
    return [(*key, *map(int, row[:3]), row[3]) for key, row in sorted(found.items(), reverse=True)]


RUNS = Dataset(
    name="runs",
    tables=(),
    rows=_runs,
    columns=(
        day("run_day", "Day of the run"),
        text("domain", "Domain"),
        count("runs", "Runs"),
        count("failed", "Failed runs"),
        count("repaired", "Repaired days"),
        Column("seconds", "Seconds", "seconds", adds=True),
    ),
    grain=("run_day", "domain"),
    order="",
)


def _steps(_: Platform, history: Any) -> Sequence[Sequence[Any]]:
    """Seconds of each step by day, the newest days first."""
    found: dict[tuple[str, str, str], list[float]] = defaultdict(lambda: [0, 0.0])
    for record in _records(history, _STEPS):
        for step in history.get_run_step_stats(record.dagster_run.run_id):
            if step.start_time and step.end_time:
                row = found[_day_of(record), step.step_key.replace("__", "."), _domain_of(record)]
                row[0] += 1
                row[1] += step.end_time - step.start_time
    return [(*key, int(times), seconds) for key, (times, seconds) in sorted(found.items(), reverse=True)]


STEPS = Dataset(
    name="steps",
    tables=(),
    rows=_steps,
    columns=(
        day("run_day", "Day of the run"),
        text("step", "Step"),
        text("domain", "Domain"),
        count("times", "Times"),
        Column("seconds", "Seconds", "seconds", adds=True),
    ),
    grain=("run_day", "step", "domain"),
    order="",
)

PAGE = Page(
    name="health",
    filters=(Filter("domain", "Domain"),),
    tiles=(
        Tile("Rows unaccounted for", LEDGER, "sum", "unaccounted"),
        Tile("Rows that landed", LEDGER, "sum", "landed"),
        Tile("Rejected, of those that landed", LEDGER, "ratio", "rejected", "landed", "share"),
        Tile("Duplicates dropped", LEDGER, "sum", "duplicate"),
        Tile("Failed runs", RUNS, "sum", "failed"),
        Tile("Days made again", RUNS, "sum", "repaired"),
    ),
    charts=(
        over_time(
            "landed",
            "How many rows land each day?",
            LEDGER,
            "landed",
            split="domain",
            mark="bar",
            note="By the partition that they landed in.",
        ),
        over_time(
            "rejected",
            "How many records are rejected each day?",
            QUARANTINE,
            "rejected",
            split="domain",
            mark="bar",
        ),
        totals(
            "accounts",
            "Is every row accounted for, in every table?",
            LEDGER,
            ["asset"],
            ["unaccounted", "rows_in", "rows_out", "rejected", "duplicate", "late", "filtered"],
            note="In is Out and the others together; Unaccounted is what is missing or too much, and has to be 0.",
        ),
        ranked("rules", "Which rules do rejected records break?", QUARANTINE, "rule", "rejected", top=12),
        over_time(
            "files",
            "What became of the files that landed?",
            FILES,
            "files",
            split="status",
            mark="bar",
            note="Copies and superseded files are set aside, files that cannot be read are rejected.",
        ),
        over_time(
            "seconds",
            "How long do runs take?",
            RUNS,
            "seconds",
            split="domain",
            mark="bar",
            note=f"Seconds of the newest {_RUNS:,} runs, by the day on which they ran.",
        ),
        ranked(
            "steps",
            "Which steps take longest?",
            STEPS,
            "step",
            "seconds",
            top=12,
            note=f"All seconds of a step in the newest {_STEPS} runs.",
        ),
        over_time(
            "pulls",
            "Which pulls of Google Analytics can be used?",
            PULLS,
            "pulls",
            split="status",
            mark="bar",
            note="By the date that was asked for. Tables show what is published, until a later pull supersedes it.",
        ),
        table(
            "fresh",
            "How fresh is each table?",
            FRESH,
            ["asset", "newest", "last_run", "hours_ago"],
            note="What was made longest ago is first.",
            wide=False,
        ),
    ),
)
