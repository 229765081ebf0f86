"""The command line, ``clickstream``: run, query, status, generate, retention, ga4, cdc, demo, dev.

Commands import what they need when they run, so that ``--help`` answers at once. An error that is the user's to mend
is printed as one line on standard error and ends with exit code 1; anything else is a defect and shows its traceback.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import click

from clickstream_assets.errors import ClickstreamError, SettingsError
from clickstream_assets.settings import Settings

_DOMAIN = click.argument("domain", metavar="DOMAIN")
_DAY = click.DateTime(formats=["%Y-%m-%d"])


class _Commands(click.Group):
    """Turns the errors that a user can mend into one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            reason = str(error)
        except Exception as error:
            from clickstream_assets import faults

            fault = faults.explain_error(error, Settings.from_environment())
            if fault is None and not isinstance(error, ClickstreamError):
                raise
            reason = f"{ctx.invoked_subcommand} {fault}" if fault else str(error)
        click.echo(f"clickstream: {reason}", err=True)
        return ctx.exit(1)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="clickstream-assets")
def main() -> None:
    """Landing files to tables and answers, correct to the row.

    \b
    Try it:
      clickstream generate ecommerce --from 2024-01-01 --to 2024-01-07 --rows-per-day 10000
      clickstream run ecommerce --from 2024-01-01 --to 2024-01-07
      clickstream query "SELECT * FROM ecommerce.top_products ORDER BY rank LIMIT 10"

    Everything is kept below the folder CLICKSTREAM_HOME (.clickstream unless set).
    """


@main.command()
@_DOMAIN
@click.option("--date", "day", type=_DAY, metavar="YYYY-MM-DD", help="One day.")
@click.option("--from", "first", type=_DAY, metavar="YYYY-MM-DD", help="First day of a range.")
@click.option("--to", "last", type=_DAY, metavar="YYYY-MM-DD", help="Last day of a range, included.")
@click.option("--no-repair", is_flag=True, help="The asked days only, not older ones whose rows have changed.")
@click.option("--replay", is_flag=True, help="Of cdc: all changes again, not only new ones.")
def run(
    domain: str,
    day: datetime | None,
    first: datetime | None,
    last: datetime | None,
    no_repair: bool,
    replay: bool,
) -> None:
    """Materialize DOMAIN from landing to its last table, checks and dbt included.

    A day with nothing landed becomes an empty partition. Running a day again replaces it.

    The domain cdc takes no dates: it applies every change file that has landed and was not applied yet.
    """
    import time

    if domain == "cdc":
        if day or first or last or no_repair:
            raise click.UsageError("cdc takes no dates: it applies what has landed.")
        begun = time.monotonic()
        from clickstream_assets.run import run_cdc

        run_cdc(replay=replay)
        click.echo(f"cdc: done in {time.monotonic() - begun:.1f} s", err=True)
        return
    if replay:
        raise click.UsageError(f"--replay is for cdc: running a day of {domain} again replaces it.")
    from clickstream_assets import domains

    start, end = _days(day, first, last)
    chosen = domains.domain(domain)
    begun = time.monotonic()
    from clickstream_assets.run import run_domain

    summary = run_domain(chosen, start, end, repairs=not no_repair)
    text = f"{domain}: {len(summary.days)} day(s) done in {time.monotonic() - begun:.1f} s"
    if summary.repaired:
        text += f", {len(summary.repaired)} of them repaired ({summary.repaired[0]} … {summary.repaired[-1]})"
    click.echo(text, err=True)


@main.command()
@click.option("--from", "first", type=_DAY, metavar="YYYY-MM-DD", help="First day.  [default: 14 days ago]")
@click.option("--to", "last", type=_DAY, metavar="YYYY-MM-DD", help="Last day.  [default: yesterday]")
@click.option("--rows-per-day", type=click.IntRange(min=1), default=10_000, show_default=True)
def demo(first: datetime | None, last: datetime | None, rows_per_day: int) -> None:
    """Generate sample data with faults for every domain, run the whole graph over it, show what came out."""
    from clickstream_assets.demo import show

    today = datetime.now(UTC)
    days = _days(None, first or today - timedelta(days=14), last or today - timedelta(days=1))
    show(Settings.from_environment(), *days, rows_per_day=rows_per_day, table=_print_table)


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port of the web page.")
def dev(port: int) -> None:
    """Start the Dagster UI on 127.0.0.1, with the daemon that runs backfills, sensors and schedules."""
    import os

    from clickstream_assets.run import instance

    instance(Settings.from_environment()).dispose()
    module = ["-m", "clickstream_assets.definitions"]
    os.execv(sys.executable, [sys.executable, "-m", "dagster", "dev", *module, "-h", "127.0.0.1", "-p", str(port)])


@main.command()
@click.argument("sql", metavar="SQL")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
def query(sql: str, form: str) -> None:
    """Run read-only SQL on the warehouse.

    While a run holds the DuckDB file this waits up to 30 seconds, then says who holds it.
    """
    from clickstream_assets.platform import Platform

    names, rows = Platform(Settings.from_environment()).warehouse.query(sql)
    _PRINTERS[form](names, rows)


@main.command()
def status() -> None:
    """Show each table's newest partitions, its rejected rows, and how fresh it is."""
    from clickstream_assets.platform import Platform

    warehouse = Platform(Settings.from_environment()).warehouse
    for title, names, rows in warehouse.status():
        click.echo(title)
        if rows:
            _print_table(names, rows)
        else:
            click.echo("  nothing yet\n")


@main.command()
@_DOMAIN
@click.option("--from", "first", type=_DAY, required=True, metavar="YYYY-MM-DD", help="First day.")
@click.option("--to", "last", type=_DAY, required=True, metavar="YYYY-MM-DD", help="Last day, included.")
@click.option("--rows-per-day", type=click.IntRange(min=1), required=True, help="Good records per day.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed, other data.")
@click.option("--faults", is_flag=True, help="Plant known faults, and print how many of each.")
@click.option("--firehose", "stream", metavar="STREAM", help="Send the records to this delivery stream instead.")
def generate(
    domain: str, first: datetime, last: datetime, rows_per_day: int, seed: int, faults: bool, stream: str | None
) -> None:
    """Write deterministic landing files for DOMAIN.

    The same arguments write the same bytes. With --faults, the counts printed are what the ledger and the quarantine
    must show after a run.

    With --firehose the records of the domain clickstream go to a delivery stream of Amazon Data Firehose, one by one,
    and no file is written. Firehose is found by the variables AWS_*.
    """
    from rich.console import Console

    start, end = _days(None, first, last)
    if stream is not None and domain != "clickstream":
        raise ClickstreamError(f"--firehose sends the domain clickstream, not {domain!r}: leave it out.")
    try:
        with Console(stderr=True).status("generating") as console:
            if stream is not None:
                planted = _send(stream, console.update, start, end, rows_per_day, seed, faults)
            else:
                planted = _write(domain, console.update, start, end, rows_per_day, seed, faults)
    except ValueError as error:
        raise ClickstreamError(str(error)) from error
    for name, count in sorted(planted.items()):
        click.echo(f"{name}\t{count}")


def _write(
    domain: str, tell: Callable[[str], None], first: date, last: date, rows_per_day: int, seed: int, faults: bool
) -> dict[str, int]:
    """Write landing files; the planted faults."""
    from clickstream_assets.generate import generator
    from clickstream_assets.platform import Platform

    landing = Platform(Settings.from_environment()).landing
    made = generator(domain)(
        landing.write,
        first=first,
        last=last,
        rows_per_day=rows_per_day,
        seed=seed,
        faults=faults,
        progress=lambda day: tell(f"generating {domain} {day}"),
    )
    click.echo(f"{len(made.paths)} files, {made.rows:,} records below {landing.uri()}", err=True)
    return made.faults


def _send(
    stream: str, tell: Callable[[str], None], first: date, last: date, rows_per_day: int, seed: int, faults: bool
) -> dict[str, int]:
    """Send records to a delivery stream; the planted faults."""
    from clickstream_assets.firehose import DeliveryStream
    from clickstream_assets.generate.clickstream import records

    planted: dict[str, int] = {}
    made = records(first=first, last=last, rows_per_day=rows_per_day, seed=seed, faults=faults, planted=planted)
    each = (record + b"\n" for some in made for record in some)
    sent = DeliveryStream(stream).send(each, lambda count: tell(f"{count:,} records sent to {stream}"))
    click.echo(f"{sent:,} records sent to the delivery stream {stream}", err=True)
    return planted


@main.command()
@click.option("--days", type=click.IntRange(min=1), help="Keep this many days, whatever is set.")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
def retention(days: int | None, dry_run: bool) -> None:
    """Delete old landing files that hold personal data.

    These are the files of the domain clickstream that arrived more than CLICKSTREAM_LANDING_RETENTION_DAYS days ago
    (30 unless set). A file goes only when it was loaded, and its rows stay; one that was never loaded stays and is
    named.
    """
    from clickstream_assets.platform import Platform
    from clickstream_assets.retention import PERSONAL, expire

    settings = Settings.from_environment()
    keep = settings.landing_retention_days if days is None else days
    today = datetime.now(UTC).date()
    for domain in PERSONAL:
        found = expire(Platform(settings), domain, today=today, days=keep, dry_run=dry_run)
        done = "to be deleted" if dry_run else "deleted"
        for day, files in sorted(found.loaded.items()):
            click.echo(f"{domain} {day}: {len(files):,} file(s), {sum(file.size for file in files):,} bytes {done}")
        for day, files in sorted(found.waiting.items()):
            for file in files:
                click.echo(f"{file.path}: not loaded: run its day first, clickstream run {domain} --date {day}")
        for path in found.unfinished:
            click.echo(f"{path}: not loaded, as its name starts with . or _: rename or remove it")
        if not found.loaded:
            click.echo(f"{domain}: no loaded file arrived more than {keep} days ago")


@main.group()
def ga4() -> None:
    """Look after the pulls of a GA4 property."""


@ga4.command()
@click.option("--from", "first", type=_DAY, metavar="YYYY-MM-DD", help="First day.  [default: 35 days ago]")
@click.option("--to", "last", type=_DAY, metavar="YYYY-MM-DD", help="Last day, included.  [default: today]")
@click.option("--report", default="ga_daily", show_default=True, help="Which report.")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
def drift(first: datetime | None, last: datetime | None, report: str, form: str) -> None:
    """Show how much past numbers moved between pulls.

    One line per day that was pulled at least twice: the newest numbers, and how far they are from the first ones.
    """
    from clickstream_assets.ga4.drift import moved
    from clickstream_assets.platform import Platform

    today = datetime.now(UTC)
    start, end = _days(None, first or today - timedelta(days=35), last or today)
    names, rows = moved(Platform(Settings.from_environment()), report, start, end)
    _PRINTERS[form](names, rows)


@ga4.command()
@click.option("--date", "day", type=_DAY, metavar="YYYY-MM-DD", help="One day.")
@click.option("--from", "first", type=_DAY, metavar="YYYY-MM-DD", help="First day of a range.")
@click.option("--to", "last", type=_DAY, metavar="YYYY-MM-DD", help="Last day of a range, included.")
def pull(day: datetime | None, first: datetime | None, last: datetime | None) -> None:
    """Ask the property for all reports of these days, and put the answers into landing.

    `clickstream run ga4` does this too, and then loads them.
    """
    from clickstream_assets.days import day_range
    from clickstream_assets.ga4.sources import collect_days
    from clickstream_assets.platform import Platform
    from clickstream_assets.run import check_days

    start, end = _days(day, first, last)
    settings = Settings.from_environment()
    check_days(settings, start, end)
    platform = Platform(settings)
    with platform.exclusive("ga4", "pulling GA4"):
        collected = collect_days(platform, day_range(start, end), lambda line: click.echo(line, err=True))
    if collected is None:
        raise ClickstreamError("There is nobody to ask: set GA4_PROPERTY_ID and GOOGLE_APPLICATION_CREDENTIALS.")
    click.echo(str(collected), err=True)


@main.group()
def cdc() -> None:
    """Look after changes of other databases."""


@cdc.command()
@click.argument("table", metavar="TABLE")
@click.option("--resync", is_flag=True, help="Read the whole table first, after changes were missed.")
@click.option("--follow", is_flag=True, help="Go on until interrupted, or until --seconds have passed.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="End after so many seconds.")
def dynamodb(table: str, resync: bool, follow: bool, seconds: float | None) -> None:
    """Read the stream of the DynamoDB table TABLE into landing files.

    What was read is noted beside the lake, so that the next call goes on there. A stream keeps changes for 24 hours:
    call this every hour, say, or keep it running with --follow. `clickstream run cdc` applies what it has landed.
    """
    from clickstream_assets.cdc import declared, stream
    from clickstream_assets.platform import Platform

    settings = Settings.from_environment()
    tables = {one.table: one for one in declared.load(settings.cdc_tables) if one.source == declared.DYNAMODB}
    if table not in tables:
        known = ", ".join(sorted(tables)) or "none"
        raise ClickstreamError(
            f"The DynamoDB table {table!r} is not declared: add it to the file of CLICKSTREAM_CDC_TABLES. "
            f"Declared: {known}."
        )
    read = stream.resync if resync else stream.consume
    consumed = read(
        *(Platform(settings), tables[table]),
        follow=follow,
        seconds=seconds,
        progress=lambda line: click.echo(line, err=True),
    )
    click.echo(str(consumed), err=True)


def _days(day: datetime | None, first: datetime | None, last: datetime | None) -> tuple[date, date]:
    if day is not None and first is None and last is None:
        return day.date(), day.date()
    if day is None and first is not None and last is not None:
        if first > last:
            raise ClickstreamError(f"--from {first.date()} is after --to {last.date()}: swap them.")
        return first.date(), last.date()
    raise click.UsageError("Give either --date, or --from and --to.")


def _print_table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for index, name in enumerate(names):
        numbers = bool(rows) and all(isinstance(row[index], (int, float)) or row[index] is None for row in rows)
        table.add_column(Text(name), justify="right" if numbers else "left", no_wrap=not sys.stdout.isatty())
    for row in rows:
        table.add_row(*(Text("" if value is None else _plain(value)) for value in row))
    console = Console() if sys.stdout.isatty() else Console(width=10_000)
    console.print(table)


def _print_csv(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(["" if value is None else _plain(value) for value in row] for row in rows)


def _print_json(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ClickstreamError(f"More than one column is called {', '.join(twice)}: name them apart with AS.")
    keys = [json.dumps(name, ensure_ascii=False) for name in names]
    objects = (
        "{" + ", ".join(f"{key}: {_json(value)}" for key, value in zip(keys, row, strict=True)) + "}" for row in rows
    )
    click.echo("[" + ", ".join(objects) + "]")


def _plain(value: Any) -> str:
    return value.isoformat(sep=" ") if isinstance(value, datetime) else str(value)


def _json(value: Any) -> str:
    """Decimals are exact numbers, dates and time stamps ISO 8601 text, and what is not a finite number is null."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, float) and not math.isfinite(value):
        return "null"
    return json.dumps(value, default=lambda v: v.isoformat() if hasattr(v, "isoformat") else str(v), ensure_ascii=False)


_PRINTERS = {"table": _print_table, "csv": _print_csv, "json": _print_json}
