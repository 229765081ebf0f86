"""``docs/reference.md``, made from the code: tables, rules and settings are written down once.

Run ``make docs`` after a change; a test compares the file with what this module would write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from clickstream_assets import schemas, settings
from clickstream_assets.cdc import columns
from clickstream_assets.cdc import rows as changes
from clickstream_assets.domains import DOMAINS, Domain, Feed
from clickstream_assets.ga4 import pulls
from clickstream_assets.parsing import delimited, json_records, rows

PATH = Path(__file__).resolve().parent.parent / "docs" / "reference.md"


def markdown() -> str:
    """The whole page."""
    return "\n".join(
        [
            "# Reference",
            "Made from the code by `make docs`.",
            "",
            "## Why a row is rejected",
            "Each rejected row is in `ops.quarantine` under the first rule that it broke. While files are read:",
            "",
            *_table(
                ("rule", "a record or file is rejected when"),
                (json_records.RULES | delimited.RULES | rows.RULES | pulls.RULES).items(),
            ),
            "",
            *(line for domain in DOMAINS.values() for line in _rules(domain)),
            "While changes are read into `cdc_raw.changes`:",
            "",
            *_table(("rule", "a change is rejected when"), changes.RULES.items()),
            "",
            "While they are applied to a declared table; what waits there is taken once the declaration allows it:",
            "",
            *_table(("rule", "a change is refused when"), columns.RULES.items()),
            "",
            "## Tables of the lake",
            "dbt's models are described beside their SQL, in `dbt_project/models`, and in the Dagster UI.",
            *(line for table in schemas.TABLES for line in _described(table)),
            "",
            "## Settings",
            "Environment variables; each has a default, and a wrong value is refused in one sentence.",
            "",
            *_table(("variable", "default"), _settings()),
            "",
        ]
    )


def _rules(domain: Domain) -> Iterable[str]:
    """A list of rules per cleaned table; tables whose rules are of the same names share one."""
    groups: dict[tuple[str, ...], list[Feed]] = {}
    for feed in domain.feeds:
        groups.setdefault(tuple(rule.name for rule in feed.load_transform().rules), []).append(feed)
    for feeds in groups.values():
        tables = ", ".join(f"`{feed.cleaned.name}`" for feed in feeds)
        these = f"{tables} is made" if len(feeds) == 1 else f"{tables} are made, of the columns that each has"
        yield from (f"While {these}, tried in this order:", "")
        # Of the tables that have a column more or less, the one with most is described.
        rules = zip(*(feed.load_transform().rules for feed in feeds), strict=True)
        described = ((same[0].name, max((rule.description for rule in same), key=len)) for same in rules)
        yield from _table(("rule", "a row is rejected when"), described)
        yield ""


def _described(table: schemas.Table) -> Iterable[str]:
    names = [f"`{name}`" for name in (table.lake, table.warehouse, table.external) if name]
    yield from ("", f"### {table.name}", table.description, "")
    yield f"Names: {', '.join(dict.fromkeys(names))}. Partitioned by {' and '.join(table.partition)}."
    yield ""
    yield from _table(("column", "type", "meaning"), map(_column, table.columns))


def _column(column: schemas.Column) -> tuple[str, str, str]:
    return column.name, column.type, f"{column.description}{' Personal data.' if column.personal else ''}"


def _settings() -> Iterable[tuple[str, str]]:
    source = Path(settings.__file__).read_text()
    defaults = settings.Settings.from_environment({})
    values = {
        "CLICKSTREAM_ENVIRONMENT": f"{defaults.environment} (or aws: landing and lake must be given then)",
        "CLICKSTREAM_CATALOG": "sql (or glue, rest; with aws: glue)",
        "CLICKSTREAM_CATALOG_URI": "unset: the address of a rest catalog",
        "CLICKSTREAM_WAREHOUSE": "duckdb (or redshift; with aws: redshift)",
        "REDSHIFT_HOST": "unset: the cluster or workgroup",
        "REDSHIFT_PORT": "5439",
        "REDSHIFT_DATABASE": "unset",
        "REDSHIFT_USER": "unset: who loads, and runs dbt",
        "REDSHIFT_PASSWORD": "unset",
        "REDSHIFT_COPY_ROLE_ARN": "unset: the role by which COPY reads the lake",
        "REDSHIFT_SSL": "true",
        "CLICKSTREAM_HOME": ".clickstream",
        "CLICKSTREAM_LANDING_URI": "the folder `landing` in the home folder; or `s3://bucket/prefix`",
        "CLICKSTREAM_LAKE_URI": "the folder `lake` in the home folder; or `s3://bucket/prefix`",
        "CLICKSTREAM_START_DATE": defaults.start_date.isoformat(),
        "CLICKSTREAM_PII_KEY": "made once in the home folder; with aws it must be given, 32 bytes or more",
        "GA4_PROPERTY_ID": "unset: files arrive by themselves, or numbers are made up; or the property's number",
        "GOOGLE_APPLICATION_CREDENTIALS": "unset: the key file of a service account that may read the property",
        "GA4_TIME_ZONE": "unset: what the property's first pull says, and for schedules UTC",
        "GA4_API_ENDPOINT": "unset: Google's servers; or `http://host:port` of others, asked without credentials",
        "CLICKSTREAM_CDC_TABLES": "unset: the tables of the demo; or a file that declares others",
        "CLICKSTREAM_SNAPSHOT_DAYS": f"{defaults.snapshot_days} (so far back tables can be asked how they were)",
        "SPARK_REMOTE": "unset: Sail, inside the process",
        "CLICKSTREAM_MAX_REJECTED_SHARE": f"{defaults.rejected_share}",
        "CLICKSTREAM_SENSOR_SECONDS": f"{defaults.sensor_seconds} (between looks at landing)",
        "CLICKSTREAM_ARRIVALS_QUEUE_URL": "unset: landing is listed; or the SQS queue that gets its notifications",
        "CLICKSTREAM_LANDING_RETENTION_DAYS": f"{defaults.landing_retention_days} (files with personal data)",
        "CLICKSTREAM_LOCK_TIMEOUT_SECONDS": f"{defaults.lock_timeout:g}",
        "CLICKSTREAM_DUCKDB_MEMORY": f"{defaults.duckdb_memory} (dbt's, and changes'; beyond it DuckDB uses the disk)",
        "CLICKSTREAM_MAX_FILE_BYTES": f"{defaults.limits.file_bytes:,} (after decompression)",
        "CLICKSTREAM_MAX_COMPRESSION_RATIO": f"{defaults.limits.compression_ratio}",
        "CLICKSTREAM_MAX_RECORD_BYTES": f"{defaults.limits.record_bytes:,}",
        "CLICKSTREAM_MAX_COLUMNS": f"{defaults.limits.columns:,}",
    }
    names = r"CLICKSTREAM_(?!DBT_)[A-Z_]+|REDSHIFT_[A-Z_]+|GA4_[A-Z_]+|GOOGLE_APPLICATION_CREDENTIALS|SPARK_REMOTE"
    read = set(re.findall(rf'"({names})"', source))
    if read != set(values):
        raise AssertionError(f"settings and their descriptions differ: {sorted(read ^ set(values))}")
    return values.items()


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head)]
    lines += [[f"`{first}`", *rest] for first, *rest in body]
    return ["| " + " | ".join(line) + " |" for line in lines]


if __name__ == "__main__":
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(markdown())
