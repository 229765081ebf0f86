"""``docs/reference.md``, made from the code, where commands, rules, assets, tables, metrics and settings are told once.

Run ``make docs`` after a change; a test compares the file with what this module would write.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import click

from clickstream_assets import cli, layers, metrics, schemas, settings
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
            "Made from the code by `make docs`: [commands](#commands), [rejected rows](#why-a-row-is-rejected),",
            "[assets](#assets), [tables of the lake](#tables-of-the-lake), [metrics](#marts-and-metrics),",
            "[settings](#settings).",
            "",
            "## Commands",
            "What a command tells people goes to standard error, what it was asked for to standard output.",
            "`--format json` makes that one JSON value, for scripts.",
            "",
            *_fenced(_EXIT_CODES),
            *(line for name, command in _commands(cli.main, "clickstream") for line in _command(name, command)),
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
            "## Assets",
            "All that are in the graph, by group, which is layer and domain. A key is schema and table. Those with",
            "days are partitioned by day, UTC. Columns are told below, and of dbt's models in `dbt_project/models`.",
            *_assets(),
            "",
            "## Tables of the lake",
            "dbt's models are described beside their SQL, in `dbt_project/models`, and in the Dagster UI.",
            *(line for table in schemas.TABLES for line in _described(table)),
            "",
            "## Marts and metrics",
            "What BI tools show, from `dbt_project/metrics.yml`; [bi.md](bi.md) has the connections. A formula is an",
            "aggregate over any rows of the table. What adds up over columns may be grouped by them and added again;",
            "what does not is asked anew for each group, or is of one row.",
            *(line for table, description in metrics.marts().items() for line in _mart(table, description)),
            "",
            "## Settings",
            "Environment variables; each has a default, and a wrong value is refused in one sentence.",
            "",
            *_table(("variable", "default"), _settings()),
            "",
        ]
    )


#: the part of ``clickstream --help`` that says how commands end
_EXIT_CODES = next(part for part in cli.main.epilog.split("\n\n") if "Exit codes" in part) if cli.main.epilog else ""


def _commands(group: click.Group, name: str) -> Iterator[tuple[str, click.Command]]:
    for part, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, f"{name} {part}")
        else:
            yield f"{name} {part}", command


def _command(name: str, command: click.Command) -> Iterator[str]:
    """What ``--help`` says of a command, for a page."""
    context = click.Context(command, info_name=name)
    yield from ("", f"### {name}")
    yield f"`{name} {' '.join(command.collect_usage_pieces(context))}`"
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        yield ""
        if paragraph.startswith("\b"):
            yield from _fenced(paragraph)
        else:
            yield " ".join(paragraph.split()).replace("*", "\\*")
    options = (option.get_help_record(context) for option in command.params if isinstance(option, click.Option))
    yield ""
    yield from _table(("option", "meaning"), (record for record in options if record is not None))


def _fenced(paragraph: str) -> list[str]:
    """A paragraph that click does not wrap: a heading and lines, which go into a block."""
    _, head, *lines = paragraph.strip("\n").split("\n")
    return [head, "```", *inspect.cleandoc("\n" + "\n".join(lines)).split("\n"), "```"]


def _assets() -> Iterator[str]:
    """A table per group; of each asset the first sentence, which says its grain."""
    from clickstream_assets.definitions import defs

    graph = defs().resolve_asset_graph()
    nodes = [graph.get(key) for key in sorted(graph.get_all_asset_keys())]
    by_group = sorted(nodes, key=lambda node: (_place(node.group_name), node.key))
    for group, some in groupby(by_group, key=lambda node: node.group_name):
        rows = (
            (node.key.to_user_string(), "yes" if node.partitions_def else "", _first_sentence(node.description or ""))
            for node in some
        )
        yield from ("", f"### {group}", *_table(("asset", "days", "what it is"), rows))


def _place(group: str) -> tuple[int, str]:
    """Groups in the order of the layers, what is in none of them last."""
    layer = group.partition("/")[0]
    return (layers.ORDER.index(layer) if layer in layers.ORDER else len(layers.ORDER), group)


def _first_sentence(description: str) -> str:
    paragraph = " ".join(description.split("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z`])", paragraph)[0]


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


def _mart(table: str, description: str) -> Iterable[str]:
    yield from ("", f"### {table}", description, "")
    yield from _table(
        ("metric", "meaning", "formula", "unit", "adds up over"),
        (
            (
                metric.name,
                metric.description,
                f"`{metric.formula}`" + (f" where `{metric.where}`" if metric.where else ""),
                metric.unit,
                ", ".join(metric.adds_up_over) or ("no: of one row" if metric.of_one_row else "no: ask anew"),
            )
            for metric in metrics.load()
            if metric.table == table
        ),
    )


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
        "CLICKSTREAM_DASHBOARDS_URI": "the folder `dashboards` in the home folder; or `s3://bucket/prefix`",
        "CLICKSTREAM_START_DATE": defaults.start_date.isoformat(),
        "CLICKSTREAM_PII_KEY": "made once in the home folder; with aws it must be given, 32 bytes or more",
        "GA4_PROPERTY_ID": "unset: files arrive by themselves, or numbers are made up; or the property's number",
        "GOOGLE_APPLICATION_CREDENTIALS": "unset: the key file of a service account that may read the property",
        "GA4_TIME_ZONE": "unset: what the property's first pull says, and for schedules UTC",
        "GA4_API_ENDPOINT": "unset: Google's servers; or `http://host:port` of others, asked without credentials",
        "CLICKSTREAM_OWNER": f"{defaults.owner} (whom the Dagster UI names as the owner; or an e-mail address)",
        "CLICKSTREAM_CDC_TABLES": "unset: the tables of the demo; or a file that declares others",
        "CLICKSTREAM_SNAPSHOT_DAYS": f"{defaults.snapshot_days} (so far back tables can be asked how they were)",
        "SPARK_REMOTE": "unset: Sail, inside the process",
        "CLICKSTREAM_SPARK_JOBS": "none (or glue, emr-serverless: raw → cleaned is done by jobs there)",
        "CLICKSTREAM_SPARK_PACKAGE_URI": "unset: `s3://bucket/prefix` with the files of `make package`",
        "CLICKSTREAM_GLUE_JOB": "unset: the name of the Glue job",
        "CLICKSTREAM_EMR_APPLICATION_ID": "unset: the EMR Serverless application",
        "CLICKSTREAM_EMR_ROLE_ARN": "unset: the role that its jobs have",
        "CLICKSTREAM_MAX_REJECTED_SHARE": f"{defaults.rejected_share}",
        "CLICKSTREAM_SENSOR_SECONDS": f"{defaults.sensor_seconds} (between looks at landing)",
        "CLICKSTREAM_ARRIVALS_QUEUE_URL": "unset: landing is listed; or the SQS queue that gets its notifications",
        "CLICKSTREAM_LANDING_RETENTION_DAYS": f"{defaults.landing_retention_days} (files with personal data)",
        "CLICKSTREAM_LOCK_TIMEOUT_SECONDS": f"{defaults.lock_timeout:g}",
        "CLICKSTREAM_DUCKDB_MEMORY": f"{defaults.duckdb_memory} (dbt's, and changes'; beyond it DuckDB uses the disk)",
        "CLICKSTREAM_BACKFILL_MINUTES": "unset: no limit; a backfill that is estimated to take longer is refused",
        "CLICKSTREAM_BACKFILL_DOLLARS": "unset: no limit; a backfill that is estimated to cost more on AWS is refused",
        "CLICKSTREAM_PRICES": "unset: `prices.yml` of the package; or a file with those that are others",
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
    lines += [[cell.replace("|", "\\|") for cell in (f"`{first}`", *rest)] for first, *rest in body]
    return ["| " + " | ".join(line) + " |" for line in lines]


if __name__ == "__main__":
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(markdown())
