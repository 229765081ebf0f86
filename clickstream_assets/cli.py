"""The command line, ``clickstream``: run, backfill, query, status, generate, retention, ga4, cdc, demo, dev.

Commands import what they need when they run, so that ``--help`` answers at once. An error that is the user's to mend
is printed as one line on standard error and ends with exit code 1, a command that is not understood with 2; anything
else is a defect and shows its traceback. What a command tells people goes to standard error, what it was asked for to
standard output, where ``--format json`` makes it one JSON value.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TextIO

import click

from clickstream_assets.errors import ClickstreamError, SettingsError
from clickstream_assets.settings import Settings

if TYPE_CHECKING:
    from clickstream_assets.generate.story import Story
    from clickstream_assets.retention import Expired

#: names that ``generate`` and ``run`` take: the entries of ``domains`` and change data, which are no entry
_CDC = "cdc"


def _domains() -> list[str]:
    from clickstream_assets.domains import DOMAINS

    return [*DOMAINS, _CDC]


def _known(domain: str) -> str:
    """The name of a domain, or an error that lists those there are."""
    if domain not in (names := _domains()):
        raise ClickstreamError(f"There is no domain {domain!r}: choose {', '.join(names)}.")
    return domain


def _completed(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    """What the shell offers when Tab is pressed."""
    return [name for name in _domains() if name.startswith(begun)]


_DOMAIN = click.argument("domain", metavar="DOMAIN", shell_complete=_completed)
_DAY = click.DateTime(formats=["%Y-%m-%d"])
_RANGE = (
    click.option("--date", "day", type=_DAY, metavar="YYYY-MM-DD", help="One day."),
    click.option("--from", "first", type=_DAY, metavar="YYYY-MM-DD", help="First day of a range."),
    click.option("--to", "last", type=_DAY, metavar="YYYY-MM-DD", help="Last day of a range, included."),
)


def _form(*forms: str) -> Callable[[Any], Any]:
    """The option ``--format``: of rows table, csv and json, of an account of what was done text and json."""
    return click.option("--format", "form", type=click.Choice(forms), default=forms[0], show_default=True,
                        help="How to print it; json for scripts.")  # fmt: skip


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

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are written here, that in which a newcomer meets them."""
        return list(self.commands)


_EPILOG = """
\b
Exit codes:
  0  done
  1  not done: the last line on standard error says why, and what to do
  2  not understood: a command, option or argument is wrong

\b
Names are completed by Tab, in bash, after
  eval "$(_CLICKSTREAM_COMPLETE=bash_source clickstream)"
and in zsh with zsh_source. `clickstream COMMAND --help` tells more.
"""


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
@click.version_option(package_name="clickstream-assets")
def main() -> None:
    """Landing files to tables and answers, correct to the row.

    \b
    Try it:
      clickstream generate ecommerce --from 2024-07-01 --to 2024-07-07 \\
        --rows-per-day 1000
      clickstream run ecommerce --from 2024-07-01 --to 2024-07-07
      clickstream query "SELECT * FROM ecommerce.top_products ORDER BY rank"

    Everything is kept below the folder CLICKSTREAM_HOME (.clickstream unless set).
    """


@main.command(short_help="Landing to the last table of DOMAIN, for some days.")
@_DOMAIN
@_RANGE[0]
@_RANGE[1]
@_RANGE[2]
@click.option("--no-repair", is_flag=True, help="The asked days only, not older ones whose rows have changed.")
@click.option("--replay", is_flag=True, help="Of cdc: all changes again, not only new ones.")
@_form("text", "json")
def run(
    domain: str,
    day: datetime | None,
    first: datetime | None,
    last: datetime | None,
    no_repair: bool,
    replay: bool,
    form: str,
) -> None:
    """Materialize DOMAIN from landing to its last table, checks and dbt included.

    DOMAIN is ecommerce, clickstream, ga4, sales or cdc. A day with nothing landed becomes an empty partition. Running
    a day again replaces it. Older days whose rows have changed are made again, too.

    The domain cdc takes no dates: it applies every change file that has landed and was not applied yet.

    \b
    Examples:
      clickstream run ecommerce --date 2024-07-01
      clickstream run sales --from 2024-01-01 --to 2024-12-31
      clickstream run cdc

    With --format json: the days made, those of them that were repairs, the ids of the runs in Dagster, the seconds.
    """
    import time

    begun = time.monotonic()
    if domain == _CDC:
        if day or first or last or no_repair:
            raise click.UsageError("cdc takes no dates: it applies what has landed.")
        from clickstream_assets.run import run_cdc

        run_ids = run_cdc(replay=replay)
        seconds = time.monotonic() - begun
        click.echo(f"cdc: done in {seconds:.1f} s", err=True)
        _told(form, domain=domain, days=[], repaired=[], run_ids=run_ids, seconds=round(seconds, 1))
        return
    if replay:
        raise click.UsageError(f"--replay is for cdc: running a day of {domain} again replaces it.")
    from clickstream_assets import domains

    chosen = domains.DOMAINS[_known(domain)]
    start, end = _days(day, first, last)
    from clickstream_assets.run import run_domain

    summary = run_domain(chosen, start, end, repairs=not no_repair)
    seconds = time.monotonic() - begun
    text = f"{domain}: {len(summary.days)} day(s) done in {seconds:.1f} s"
    if summary.repaired:
        text += f", {len(summary.repaired)} of them repaired ({summary.repaired[0]} … {summary.repaired[-1]})"
    click.echo(text, err=True)
    _told(
        form,
        domain=domain,
        days=summary.days,
        repaired=summary.repaired,
        run_ids=summary.run_ids,
        seconds=round(seconds, 1),
    )


@main.command(short_help="Many days of some domains or all, after an estimate of what it takes.")
@click.argument("domains", metavar="[DOMAIN]...", nargs=-1, shell_complete=_completed)
@click.option("--from", "first", type=_DAY, required=True, metavar="YYYY-MM-DD", help="First day.")
@click.option("--to", "last", type=_DAY, required=True, metavar="YYYY-MM-DD", help="Last day, included.")
@click.option("--dry-run", is_flag=True, help="The estimate alone; nothing is run, and nothing written.")
@click.option("--over-budget", is_flag=True, help="Go on although the estimate is above the budget.")
@_form("text", "json")
def backfill(
    domains: tuple[str, ...], first: datetime, last: datetime, dry_run: bool, over_budget: bool, form: str
) -> None:
    """Run many days, one DOMAIN after the other: all that have days, unless some are named.

    Before it begins it says what it will take: files and bytes to read, rows, time, disk, memory and, on AWS, dollars.
    The times come from the runs that are recorded here. It refuses when the estimate is above
    CLICKSTREAM_BACKFILL_MINUTES or CLICKSTREAM_BACKFILL_DOLLARS, unless --over-budget is given.

    A domain that fails costs itself alone. The exit code is 1 when one did, and also when a --dry-run is above the
    budget.

    \b
    Examples:
      clickstream backfill --from 2024-01-01 --to 2024-12-31 --dry-run
      clickstream backfill sales ecommerce --from 2024-01-01 --to 2024-12-31

    With --format json: the estimate as price, and done: of each domain its days, those repaired, the ids of the runs in
    Dagster, the seconds, and the error, if there was one.
    """
    from clickstream_assets import backfill
    from clickstream_assets import domains as known
    from clickstream_assets.days import day_range
    from clickstream_assets.platform import Platform
    from clickstream_assets.price import estimate
    from clickstream_assets.run import check_days

    if _CDC in domains:
        raise ClickstreamError("cdc has no days: `clickstream run cdc --replay` takes all its changes again.")
    chosen = [known.domain(name) for name in dict.fromkeys(domains or known.DOMAINS)]
    start, end = _days(None, first, last)
    settings = Settings.from_environment()
    check_days(settings, start, end)
    price = estimate(Platform(settings), chosen, day_range(start, end))
    account: dict[str, Any] = {"first": start, "last": end, "price": asdict(price), "done": []}
    if form == "text" or not dry_run:
        _print_table(*backfill.table(price), err=not dry_run)
        click.echo(backfill.summary(price), err=not dry_run)
    if price.above is None or (over_budget and not dry_run):
        failed = None
        if not dry_run:
            done, failed = backfill.run(price, chosen, start, end, tell=lambda line: click.echo(line, err=True))
            account["done"] = [asdict(one) for one in done]
        _told(form, **account)
        if failed is not None:
            raise ClickstreamError(failed)
        return
    _told(form, **account)
    remedy = "" if dry_run else ": take fewer days or domains, raise the budget, or give --over-budget"
    raise ClickstreamError(f"{price.above}{remedy}.")


@main.command(short_help="Sample data with faults, and the whole graph over it.")
@click.option("--from", "first", type=_DAY, metavar="YYYY-MM-DD", help="First day.  [default: Monday 7 weeks ago]")
@click.option("--to", "last", type=_DAY, metavar="YYYY-MM-DD", help="Last day.  [default: yesterday]")
@click.option("--rows-per-day", type=click.IntRange(min=1), metavar="N", default=2_000, show_default=True,
              help="Good records of an average day; some domains get fewer.")  # fmt: skip
def demo(first: datetime | None, last: datetime | None, rows_per_day: int) -> None:
    """Generate sample data with faults for every domain, run the whole graph over it, show what came out."""
    from clickstream_assets.demo import show

    today = datetime.now(UTC)
    monday = today - timedelta(days=today.weekday(), weeks=7)
    days = _days(None, first or monday, last or today - timedelta(days=1))
    show(Settings.from_environment(), *days, rows_per_day=rows_per_day, table=_print_table)


@main.command(short_help="The Dagster UI, with its sensors and schedules.")
@click.option(
    "--port", type=click.IntRange(1, 65535), metavar="N", default=3000, show_default=True, help="Port of the web page."
)
def dev(port: int) -> None:
    """Start the Dagster UI on 127.0.0.1, with the daemon that runs backfills, sensors and schedules."""
    import os

    from clickstream_assets.run import instance

    instance(Settings.from_environment()).dispose()
    module = ["-m", "clickstream_assets.definitions"]
    os.execv(sys.executable, [sys.executable, "-m", "dagster", "dev", *module, "-h", "127.0.0.1", "-p", str(port)])


@main.command(short_help="Read-only SQL on the warehouse.")
@click.argument("sql", metavar="[SQL]", required=False)
@click.option(
    "--file", "source", type=click.File(encoding="utf-8"), help="Read the SQL from this file; - is standard input."
)
@_form("table", "csv", "json")
def query(sql: str | None, source: TextIO | None, form: str) -> None:
    """Run read-only SQL on the warehouse.

    While a run holds the DuckDB file this waits up to 30 seconds, then says who holds it.

    \b
    Examples:
      clickstream query "SELECT * FROM ecommerce.conversion_funnel"
      clickstream query --file queries/clickstream_funnel.sql --format csv
      echo "SELECT 1 AS n" | clickstream query --file - --format json
    """
    from clickstream_assets.platform import Platform

    if (sql is None) == (source is None):
        raise click.UsageError("Give either the SQL, or --file.")
    text = source.read() if source is not None else str(sql)
    names, rows = Platform(Settings.from_environment()).warehouse.query(text)
    _PRINTERS[form](names, rows)


@main.command(short_help="What each table holds, rejected rows, freshness.")
@_form("table", "json")
def status(form: str) -> None:
    """Show each table's newest partitions, its rejected rows, and how fresh it is.

    With --format json: an object with the lists tables, ledger, rejected and landing_files.
    """
    from clickstream_assets.platform import Platform

    parts = list(Platform(Settings.from_environment()).warehouse.status())
    if form == "json":
        lists = (f"{json.dumps(part.name)}: {_objects(part.columns, part.rows)}" for part in parts)
        click.echo("{" + ", ".join(lists) + "}")
        return
    for part in parts:
        click.echo(part.title)
        if part.rows:
            _print_table(part.columns, part.rows)
        else:
            click.echo("  nothing yet\n")


@main.command(short_help="Sample landing files for DOMAIN.")
@_DOMAIN
@click.option("--from", "first", type=_DAY, required=True, metavar="YYYY-MM-DD", help="First day.")
@click.option("--to", "last", type=_DAY, required=True, metavar="YYYY-MM-DD", help="Last day, included.")
@click.option("--rows-per-day", type=click.IntRange(min=1), metavar="N", required=True, help="Good records per day.")
@click.option(
    "--seed", type=click.IntRange(min=0), metavar="N", default=0, show_default=True, help="Another seed, other data."
)
@click.option("--faults", is_flag=True, help="Plant known faults, and print how many of each.")
@click.option("--story", "tells", is_flag=True, help="Days that differ: seasons, a campaign, an outage, a launch.")
@click.option("--firehose", "stream", metavar="STREAM", help="Send the records to this delivery stream instead.")
@_form("text", "json")
def generate(
    domain: str,
    first: datetime,
    last: datetime,
    rows_per_day: int,
    seed: int,
    faults: bool,
    tells: bool,
    stream: str | None,
    form: str,
) -> None:
    """Write deterministic landing files for DOMAIN.

    DOMAIN is ecommerce, clickstream, ga4, sales or cdc. The same arguments write the same bytes. With --faults, the
    counts printed are what the ledger and the quarantine must show after a run.

    With --story the days differ, in all domains alike, and the rows asked for are those of an average one.

    With --firehose the records of the domain clickstream go to a delivery stream of Amazon Data Firehose, one by one,
    and no file is written. Firehose is found by the variables AWS_*.

    \b
    Example:
      clickstream generate sales --from 2024-07-01 --to 2024-07-07 \\
        --rows-per-day 500 --faults

    With --format json: the files, how many records they have, and the faults.
    """
    from clickstream_assets.generate.story import Story

    start, end = _days(None, first, last)
    _known(domain)
    story = Story(start, end, datetime.now(UTC)) if tells else None
    if stream is not None and domain != "clickstream":
        raise ClickstreamError(f"--firehose sends the domain clickstream, not {domain!r}: leave it out.")
    try:
        if stream is not None:
            made = _send(stream, start, end, rows_per_day, seed, faults, story)
        else:
            made = _write(domain, start, end, rows_per_day, seed, faults, story)
    except ValueError as error:
        raise ClickstreamError(str(error)) from error
    if form == "text":
        for name, count in sorted(made["faults"].items()):
            click.echo(f"{name}\t{count}")
    _told(form, domain=domain, **made)


def _write(
    domain: str, first: date, last: date, rows_per_day: int, seed: int, faults: bool, story: Story | None
) -> dict[str, Any]:
    """Write landing files: which, how many records, the planted faults."""
    from clickstream_assets.generate import generator
    from clickstream_assets.platform import Platform
    from clickstream_assets.terminal import bar

    landing = Platform(Settings.from_environment()).landing
    with bar(f"generating {domain}", (last - first).days + 1) as moving:
        made = generator(domain)(
            landing.write,
            first=first,
            last=last,
            rows_per_day=rows_per_day,
            seed=seed,
            faults=faults,
            progress=lambda day: moving.step(str(day)),
            story=story,
        )
    click.echo(f"{len(made.paths)} files, {made.rows:,} records below {landing.uri()}", err=True)
    return {"files": made.paths, "records": made.rows, "faults": made.faults}


def _send(
    stream: str, first: date, last: date, rows_per_day: int, seed: int, faults: bool, story: Story | None
) -> dict[str, Any]:
    """Send records to a delivery stream: how many, the planted faults."""
    from clickstream_assets.firehose import DeliveryStream
    from clickstream_assets.generate.clickstream import records
    from clickstream_assets.terminal import bar

    planted: dict[str, int] = {}
    made = records(
        first=first, last=last, rows_per_day=rows_per_day, seed=seed, faults=faults, planted=planted, story=story
    )
    each = (record + b"\n" for some in made for record in some)
    with bar(f"sending to {stream}", None) as moving:
        sent = DeliveryStream(stream).send(each, lambda count: moving.step(f"{count:,} records"))
    click.echo(f"{sent:,} records sent to the delivery stream {stream}", err=True)
    return {"files": [], "records": sent, "faults": planted}


@main.command(short_help="Delete old landing files with personal data.")
@click.option("--days", type=click.IntRange(min=1), metavar="N", help="Keep this many days, whatever is set.")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@_form("text", "json")
def retention(days: int | None, dry_run: bool, form: str) -> None:
    """Delete old landing files that hold personal data.

    These are the files of the domain clickstream that arrived more than CLICKSTREAM_LANDING_RETENTION_DAYS days ago
    (30 unless set). A file goes only when it was loaded, and its rows stay; one that was never loaded stays and is
    named.

    \b
    Example:
      clickstream retention --days 90 --dry-run

    With --format json: a list of the files, each with its day, its bytes and what became of it: deleted, or to_delete
    with --dry-run; not_loaded; unfinished, as its name starts with . or _.
    """
    from clickstream_assets.platform import Platform
    from clickstream_assets.retention import PERSONAL, expire
    from clickstream_assets.terminal import bar

    settings = Settings.from_environment()
    keep = settings.landing_retention_days if days is None else days
    today = datetime.now(UTC).date()
    rows: list[tuple[Any, ...]] = []
    for domain in PERSONAL:
        with bar(f"{domain}: files older than {keep} days", None) as moving:
            found = expire(Platform(settings), domain, today=today, days=keep, dry_run=dry_run, progress=moving.at)
        done = "to_delete" if dry_run else "deleted"
        for became, groups in ((done, found.loaded), ("not_loaded", found.waiting)):
            each = ((day, file) for day, files in sorted(groups.items()) for file in files)
            rows += [(domain, day, file.path, file.size, became) for day, file in each]
        rows += [(domain, None, path, None, "unfinished") for path in found.unfinished]
        if form == "text":
            _tell_expired(domain, found, keep=keep, done="to be deleted" if dry_run else "deleted")
    if form == "json":
        _print_json(["domain", "day", "path", "bytes", "status"], rows)


def _tell_expired(domain: str, found: Expired, *, keep: int, done: str) -> None:
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
@click.option("--report", metavar="NAME", default="ga_daily", show_default=True, help="Which report.")
@_form("table", "csv", "json")
def drift(first: datetime | None, last: datetime | None, report: str, form: str) -> None:
    """Show how much past numbers moved between pulls.

    One line per day that was pulled at least twice: the newest numbers, and how far they are from the first ones.
    The reports are ga_events, ga_daily, ga_sources and ga_pages.
    """
    from clickstream_assets.ga4.drift import moved
    from clickstream_assets.platform import Platform

    today = datetime.now(UTC)
    start, end = _days(None, first or today - timedelta(days=35), last or today)
    names, rows = moved(Platform(Settings.from_environment()), report, start, end)
    _PRINTERS[form](names, rows)


@ga4.command()
@_RANGE[0]
@_RANGE[1]
@_RANGE[2]
@_form("text", "json")
def pull(day: datetime | None, first: datetime | None, last: datetime | None, form: str) -> None:
    """Ask the property for all reports of these days.

    The answers are put into landing. `clickstream run ga4` does this too, and then loads them.

    \b
    Example:
      clickstream ga4 pull --from 2024-07-01 --to 2024-07-14

    With --format json: the pulls with their pages and rows, and whether the property is a made-up one.
    """
    from clickstream_assets.days import day_range
    from clickstream_assets.ga4.reports import REPORTS
    from clickstream_assets.ga4.sources import collect_days
    from clickstream_assets.platform import Platform
    from clickstream_assets.run import check_days
    from clickstream_assets.terminal import bar

    start, end = _days(day, first, last)
    settings = Settings.from_environment()
    check_days(settings, start, end)
    platform = Platform(settings)
    days = day_range(start, end)
    with platform.exclusive("ga4", "pulling GA4"), bar("pulling GA4", len(days) * len(REPORTS)) as moving:
        collected = collect_days(platform, days, moving.line)
    if collected is None:
        raise ClickstreamError("There is nobody to ask: set GA4_PROPERTY_ID and GOOGLE_APPLICATION_CREDENTIALS.")
    click.echo(str(collected), err=True)
    _told(form, **asdict(collected))


@main.group()
def cdc() -> None:
    """Look after changes of other databases."""


@cdc.command()
@click.argument("table", metavar="TABLE")
@click.option("--resync", is_flag=True, help="Read the whole table first, after changes were missed.")
@click.option("--follow", is_flag=True, help="Go on until interrupted, or until --seconds have passed.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), metavar="N", help="End after N seconds.")
@_form("text", "json")
def dynamodb(table: str, resync: bool, follow: bool, seconds: float | None, form: str) -> None:
    """Read the stream of the DynamoDB table TABLE.

    It is written into landing files.

    What was read is noted beside the lake, so that the next call goes on there. A stream keeps changes for 24 hours:
    call this every hour, say, or keep it running with --follow. `clickstream run cdc` applies what it has landed.

    \b
    Examples:
      clickstream cdc dynamodb carts --resync
      clickstream cdc dynamodb carts --follow --seconds 3000

    With --format json: how many records, shards, items and files, and whether all was read.
    """
    from clickstream_assets.cdc import declared, stream
    from clickstream_assets.platform import Platform
    from clickstream_assets.terminal import bar

    settings = Settings.from_environment()
    tables = {one.table: one for one in declared.load(settings.cdc_tables) if one.source == declared.DYNAMODB}
    if table not in tables:
        known = ", ".join(sorted(tables)) or "none"
        raise ClickstreamError(
            f"The DynamoDB table {table!r} is not declared: add it to the file of CLICKSTREAM_CDC_TABLES. "
            f"Declared: {known}."
        )
    read = stream.resync if resync else stream.consume
    with bar(f"reading {table}", None) as moving:
        consumed = read(
            *(Platform(settings), tables[table]),
            follow=follow,
            seconds=seconds,
            progress=moving.line,
        )
    click.echo(str(consumed), err=True)
    _told(form, **asdict(consumed))


@main.command(short_help="Pages with the answers, as files.")
@click.option("--open", "open_page", is_flag=True, help="Open the first page in the browser.")
def dashboards(open_page: bool) -> None:
    """Build the dashboards: pages of static HTML from the tables as they are now.

    They are in the folder dashboards of CLICKSTREAM_HOME (or where CLICKSTREAM_DASHBOARDS_URI says), and need neither
    a server nor a network.
    """
    from clickstream_assets.run import run_dashboards

    address = run_dashboards()
    click.echo(address)
    if open_page:
        click.launch(address)


def _days(day: datetime | None, first: datetime | None, last: datetime | None) -> tuple[date, date]:
    if day is not None and first is None and last is None:
        return day.date(), day.date()
    if day is None and first is not None and last is not None:
        if first > last:
            raise ClickstreamError(f"--from {first.date()} is after --to {last.date()}: swap them.")
        return first.date(), last.date()
    raise click.UsageError("Give either --date, or --from and --to.")


def _print_table(names: Sequence[str], rows: Sequence[Sequence[Any]], *, err: bool = False) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    people = (sys.stderr if err else sys.stdout).isatty()
    table = Table(box=box.SIMPLE_HEAD)
    for index, name in enumerate(names):
        numbers = bool(rows) and all(isinstance(row[index], int | float | Decimal | None) for row in rows)
        table.add_column(Text(name), justify="right" if numbers else "left", no_wrap=not people)
    for row in rows:
        table.add_row(*(Text("" if value is None else _plain(value)) for value in row))
    console = Console(stderr=err) if people else Console(stderr=err, width=10_000)
    console.print(table)


def _print_csv(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(["" if value is None else _plain(value) for value in row] for row in rows)


def _print_json(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ClickstreamError(f"More than one column is called {', '.join(twice)}: name them apart with AS.")
    click.echo(_objects(names, rows))


def _objects(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A JSON list of an object per row."""
    keys = [json.dumps(name, ensure_ascii=False) for name in names]
    objects = (
        "{" + ", ".join(f"{key}: {_json(value)}" for key, value in zip(keys, row, strict=True)) + "}" for row in rows
    )
    return "[" + ", ".join(objects) + "]"


def _told(form: str, **account: Any) -> None:
    """What was done, as one JSON object where that is asked for; people have been told by then."""
    if form == "json":
        click.echo(_json(account))


def _plain(value: Any) -> str:
    return value.isoformat(sep=" ") if isinstance(value, datetime) else str(value)


def _json(value: Any) -> str:
    """Decimals are exact numbers, dates and time stamps ISO 8601 text, and what is not a finite number is null."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, float) and not math.isfinite(value):
        return "null"
    return json.dumps(value, default=lambda v: v.isoformat() if hasattr(v, "isoformat") else str(v), ensure_ascii=False)


_PRINTERS: dict[str, Callable[[Sequence[str], Sequence[Sequence[Any]]], None]] = {
    "table": _print_table,
    "csv": _print_csv,
    "json": _print_json,
}
