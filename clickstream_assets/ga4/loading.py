"""Landing → raw for GA4: of each date the pull that counts, or AppFlow's rows where there is none."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clickstream_assets.errors import ClickstreamError, RejectedFile
from clickstream_assets.ga4 import pulls
from clickstream_assets.ga4.pulls import Chosen, Elsewhere, Page, Pull
from clickstream_assets.ga4.reports import REPORTS, Report
from clickstream_assets.parsing.content import Hashed
from clickstream_assets.parsing.formats import Batch
from clickstream_assets.parsing.landing import DUPLICATE, LOADED, REJECTED, paced
from clickstream_assets.parsing.rows import REJECTED_FILE, DayWriter
from clickstream_assets.schemas import QUARANTINE
from clickstream_assets.storage.files import misnamed
from clickstream_assets.storage.staged import (
    PULL_WARNINGS,
    PULLS,
    Account,
    Check,
    LandingFile,
    Staged,
    StagedFile,
    count_by_day,
)

if TYPE_CHECKING:
    from clickstream_assets.domains import Feed
    from clickstream_assets.platform import Platform
    from clickstream_assets.settings import Limits
    from clickstream_assets.storage.files import FileInfo, Files
    from clickstream_assets.storage.lake import Lake

#: of a file whose rows are not in raw, since those of another one stand for the date
SUPERSEDED = pulls.SUPERSEDED

#: a key of made-up rows, so that they can be told
SYNTHETIC = "synthetic"

#: dates named in a message
_NAMED = 3


def loader(feed: Feed, platform: Platform) -> PullLoader:
    """The loader of a report."""
    return PullLoader(feed, platform)


@dataclass
class Found:
    """What landing has of a report and date.

    ``strangers``: files that belong to no pull, as their names do not tell. ``appflow``: AppFlow's files of the date.
    ``gone``: what is known of files that are there no longer, or not all of their pull; ``settled``: of those that were
    not read, since another pull has taken their place. ``elsewhere``: the published pull, where its files are gone.
    """

    pulls: list[Pull]
    strangers: list[Page]
    appflow: list[FileInfo]
    gone: list[LandingFile]
    settled: list[LandingFile]
    elsewhere: Elsewhere | None
    chosen: Chosen


class PullLoader:
    """Stages the newest whole pull of each date for the raw table of a report."""

    def __init__(self, feed: Feed, platform: Platform):
        self._report: Report = REPORTS[feed.raw.name.partition(".")[2].removesuffix("_raw")]
        self._feed = feed
        self._landing: Files = platform.landing
        self._lake: Lake = platform.lake
        self._limits: Limits = platform.settings.limits
        self._zone = fixed_zone(platform)

    @property
    def report(self) -> Report:
        """Whose pulls it stages."""
        return self._report

    def stage(
        self, days: Sequence[date], known: Iterable[LandingFile], *, run_id: str, progress: Callable[[str], None]
    ) -> Staged:
        """Read the files of ``days``; ``known``: what ``ops.landing_files`` has of the report's folders."""
        standing: dict[date, dict[str, LandingFile]] = defaultdict(dict)
        for file in known:
            standing[file.partition_date][file.path] = file
        found = self.look(days, standing)
        rows_of, rejects_of = (self._published(rejects=rejects, days=days) for rejects in (False, True))
        files: list[StagedFile] = []
        quarantine: list[StagedFile] = []
        accounts: list[Account] = []
        landing_files: list[LandingFile] = []
        rules: Counter[str] = Counter()
        findings = _Findings()
        moving = paced(progress)
        for day in days:
            writer = DayWriter(self._feed.raw, self._lake, day, run_id)
            of_day = found[day]
            entries = list(self._entries(day, of_day, run_id, writer))
            gone = {file.path for file in of_day.gone}
            kept = {e.path for e in entries if e.path in gone and e.status in (LOADED, REJECTED)}
            if kept:
                writer.carry_over(rows_of.get(day, []), rejects_of.get(day, []), kept)
            rows, rejects = writer.close()
            files += rows
            quarantine += rejects
            landing_files += entries
            rules += writer.rules
            accounts.append(Account(day, writer.found, count_by_day(rows)[day], rejected=count_by_day(rejects)[day]))
            self._judge(findings, day, of_day, entries)
            if entries:
                moving(f"read {len(entries)} file(s) of {self._report.name} {day}")
        return Staged(
            self._feed.raw,
            list(days),
            files,
            quarantine,
            accounts,
            run_id,
            landing_roots=self._feed.roots,
            landing_files=landing_files,
            rejected_by_rule=dict(rules),
            findings=findings.checks(),
        )

    def look(self, days: Sequence[date], standing: Mapping[date, Mapping[str, LandingFile]]) -> dict[date, Found]:
        """What landing has of each day; ``standing``: what is known of the report's files, by day and path."""
        own, *others = self._feed.landings
        listed = pulls.files_by_day(self._landing, own, days)
        appflow: dict[date, list[FileInfo]] = defaultdict(list)
        for place in others:
            for day, files in pulls.files_by_day(self._landing, place, days).items():
                appflow[day] += files
        found = {day: self._read(day, listed[day], appflow[day], standing[day]) for day in days}
        if self._zone is None:
            self._zone = pulls.first_zone(pull for of_day in found.values() for pull in of_day.pulls)
        for day, of_day in found.items():
            self._choose(of_day)
            if of_day.settled and of_day.chosen.published is None and of_day.elsewhere is None:
                # What stood for the date does so no longer: perhaps one that it had taken the place of does.
                found[day] = self._read(day, listed[day], appflow[day], standing[day], again=True)
                self._choose(found[day])
        return found

    def _choose(self, found: Found) -> None:
        found.chosen = pulls.choose(found.pulls, zone=self._zone, elsewhere=found.elsewhere)

    def _read(
        self,
        day: date,
        listed: Sequence[FileInfo],
        appflow: list[FileInfo],
        known: Mapping[str, LandingFile],
        *,
        again: bool = False,
    ) -> Found:
        """Read a day's files, but for pulls that another one has taken the place of, unless ``again``."""
        odd = {info.path: problem for info in listed if (problem := misnamed(info.path))}
        files = [info for info in listed if info.path not in odd]
        as_known = {info.path for info in files if info.path in known and self._is(info, known[info.path])}
        present = {info.path for info in (*listed, *appflow)}
        gone = [file for path, file in known.items() if path not in present]
        loaded = {stamp for file in known.values() if file.status == LOADED and (stamp := pulls.stamp_of(file.path))}
        published = max(loaded, default=None)
        # Of a pull that is published some files may have expired: the others are as good as gone then.
        expired = {pulls.stamp_of(file.path) for file in gone if file.status == LOADED} - {None}
        halves = {p for p in as_known if known[p].status == LOADED and pulls.stamp_of(p) in expired}
        gone += [known[path] for path in sorted(halves)]
        stamps: dict[datetime, list[str]] = defaultdict(list)
        for info in files:
            if stamp := pulls.stamp_of(info.path):
                stamps[stamp].append(info.path)
        settled = {
            path
            for stamp, paths in stamps.items()
            if not again and published is not None and stamp < published
            for path in paths
            if all(p in as_known and known[p].status == SUPERSEDED for p in paths)
        }
        read = [info for info in files if info.path not in settled | halves]
        of_day, strangers = pulls.read_pulls(self._landing, read, self._report, day, self._limits)
        strangers += [
            Page(info, hashlib.sha256(f"{info.path}\0{info.etag}".encode()).hexdigest(), 1, odd[info.path])
            for info in listed
            if info.path in odd
        ]
        elsewhere = max((stamp for stamp in expired if stamp), default=None)
        return Found(
            of_day,
            strangers,
            appflow,
            gone,
            [known[path] for path in sorted(settled)],
            pulls.Elsewhere(elsewhere, self._is_synthetic(day)) if elsewhere else None,
            pulls.choose((), zone=None),
        )

    def _is(self, info: FileInfo, known: LandingFile) -> bool:
        """Whether a file is as it was when it was read."""
        return known.read_as == self._landing.version(info)

    def _is_synthetic(self, day: date) -> bool:
        """Whether what raw has of a day is made up."""
        for file in self._published(rejects=False, days=[day]).get(day, []):
            with self._lake.files.open_random(file.path) as source:
                return bool(pc.any(pq.read_table(source, columns=["is_synthetic"], partitioning=None)[0]).as_py())
        return False

    def _published(self, *, rejects: bool, days: Sequence[date]) -> dict[date, list[StagedFile]]:
        """The lake's files of these days: the raw table's, or those of its rejects."""
        table = QUARANTINE if rejects else self._feed.raw
        found: dict[date, list[StagedFile]] = defaultdict(list)
        for file in self._lake.snapshot(table, days).files:
            if not rejects or file.partition[0] == self._feed.raw.name:
                found[file.day].append(StagedFile(self._lake.files.relative(file.uri), file.rows, file.day))
        return found

    def _entries(self, day: date, found: Found, run_id: str, writer: DayWriter) -> Iterator[LandingFile]:
        """What is known of each file from now on; the rows of those that count are given to ``writer``."""

        def entry(info: FileInfo, content_hash: str, status: str, rows: int) -> LandingFile:
            version = self._landing.version(info) if not misnamed(info.path) else info.etag
            return LandingFile(info.path, info.size, content_hash, day, rows, status, run_id, version)

        for stranger in found.strangers:
            writer.reject_file(stranger.info.path, str(stranger.problem))
            yield entry(stranger.info, stranger.content_hash, REJECTED, 1)
        winner = found.chosen.published
        for pull, (status, reason) in zip(found.pulls, found.chosen.status, strict=True):
            for page in pull.pages:
                if pull is winner:
                    read = pulls.read_page(self._landing, page.info, self._report, day, self._limits)
                    if read.content_hash != page.content_hash:
                        raise ClickstreamError(f"{page.info.path} changed while it was read: run again.")
                    rows = writer.write_file(page.info.path, page.content_hash, [pulls.batch(read, pull)])
                    yield entry(page.info, page.content_hash, LOADED, rows)
                elif status == pulls.SUPERSEDED:
                    yield entry(page.info, page.content_hash, SUPERSEDED, 0)
                else:
                    rule = {pulls.INCOMPLETE: "incomplete_pull"}.get(status, status)
                    unreadable = status == pulls.UNREADABLE
                    problem = page.problem or (
                        f"another page of its pull cannot be read: {reason}" if unreadable else reason
                    )
                    writer.reject_file(page.info.path, str(problem), rule=REJECTED_FILE if unreadable else rule)
                    yield entry(page.info, page.content_hash, REJECTED, 1)
        yield from found.settled
        stays = winner is None and found.elsewhere is not None
        for file in found.gone:
            of_pull = pulls.stamp_of(file.path) is not None
            if file.status == LOADED and (winner is not None or (stays and not of_pull)):
                yield replace(file, status=SUPERSEDED, rows=0, run_id=run_id)
            else:
                yield file
        yield from self._appflow(found, entry, writer, counts=winner is None and not stays)

    def _appflow(
        self, found: Found, entry: Callable[[FileInfo, str, str, int], LandingFile], writer: DayWriter, *, counts: bool
    ) -> Iterator[LandingFile]:
        seen = {file.content_hash for file in found.gone if file.status == LOADED}
        for info in found.appflow:
            if problem := misnamed(info.path):
                writer.reject_file(info.path, problem)
                yield entry(info, hashlib.sha256(info.path.encode()).hexdigest(), REJECTED, 1)
                continue
            try:
                digest, batches = read_appflow(self._landing, info, self._report, self._limits, zone=self._zone)
            except RejectedFile as error:
                with self._landing.open(info.path) as raw:
                    digest = hashlib.sha256(raw.read()).hexdigest()
                writer.reject_file(info.path, str(error))
                yield entry(info, digest, REJECTED, 1)
                continue
            if not counts:
                yield entry(info, digest, SUPERSEDED, 0)
            elif digest in seen:
                yield entry(info, digest, DUPLICATE, 0)
            else:
                seen.add(digest)
                yield entry(info, digest, LOADED, writer.write_file(info.path, digest, batches))

    def _judge(self, findings: _Findings, day: date, found: Found, entries: Sequence[LandingFile]) -> None:
        winner = found.chosen.published
        if found.pulls:
            newest, (status, reason) = found.pulls[-1], found.chosen.status[-1]
            what = f"{self._report.name} {day}, pulled {newest.stamp:%Y-%m-%d %H:%M:%S} UTC: {reason}"
            if status == pulls.OTHER_TIME_ZONE:
                findings.add("same_time_zone", day, what)
            elif not any(entry.status == LOADED for entry in entries) and winner is None:
                findings.add("pull_is_whole", day, what)
            elif status in (pulls.INCOMPLETE, pulls.UNREADABLE):
                findings.add("newest_pull_is_whole", day, what)
        if winner is None:
            return
        if inexact := _inexact(winner):
            findings.add("numbers_are_exact", day, f"{self._report.name} {day}: {inexact}")
        if winner.repeated:
            findings.add(
                "rows_are_told_apart",
                day,
                f"{self._report.name} {day}: {winner.repeated} repeated row(s), so as many others may be missing",
            )
        if found.appflow and (differing := self._differences(winner, found.appflow)):
            findings.add("appflow_agrees", day, f"{day}: {differing}")

    def _differences(self, winner: Pull, files: Sequence[FileInfo]) -> str:
        """Where the sums of AppFlow's rows are others than the pull's."""
        sums = appflow_sums(self._landing, files, self._report, self._limits)
        pairs = [(metric.name, winner.totals[metric.name], sums.get(metric.column)) for metric in self._report.metrics]
        return ", ".join(
            f"{name} {ours} by the Data API, {theirs} by AppFlow"
            for name, ours, theirs in pairs
            if ours != theirs and ours is not None and theirs is not None  # what is no number is rejected
        )


@dataclass
class _Findings:
    """What the checks of pulls will say."""

    found: dict[str, dict[date, str]] = field(default_factory=lambda: {name: {} for name in PULLS})

    def add(self, name: str, day: date, what: str) -> None:
        self.found[name][day] = what

    def checks(self) -> tuple[Check, ...]:
        return tuple(
            Check(name, frozenset(of), _sentence(name, of), warns=name in PULL_WARNINGS)
            for name, of in self.found.items()
        )


_REMEDY = {
    "pull_is_whole": "; pull the date again: clickstream run ga4 --date …",
    "same_time_zone": "; if the property has moved, set GA4_TIME_ZONE and load all dates into a new CLICKSTREAM_HOME",
    "newest_pull_is_whole": "; an older pull is published instead; pull the date again",
}


def _sentence(name: str, of: Mapping[date, str]) -> str:
    if not of:
        return "so it is"
    some = "; ".join(of[day] for day in sorted(of)[:_NAMED])
    return some + (f"; and {len(of) - _NAMED} more" if len(of) > _NAMED else "") + _REMEDY.get(name, "")


def _inexact(pull: Pull) -> str:
    """Why the numbers are not exact; empty where they are."""
    said = []
    if pull.flagged("samplingMetadatas"):
        said.append("sampled")
    if pull.flagged("subjectToThresholding"):
        said.append("thresholded")
    if pull.flagged("dataLossFromOtherRow"):
        said.append("rows are put together as (other)")
    return ", ".join(said)


def fixed_zone(platform: Platform) -> str | None:
    """The property's time zone: that of the settings, else what the first pull said; None before the first one."""
    if platform.settings.ga4.time_zone is not None:
        return platform.settings.ga4.time_zone
    rows = _of_pulls(
        platform,
        "select time_zone {} and time_zone is not null and status in ('published', 'superseded') order by pulled_at",
    )
    return str(rows[0][0]) if rows else None


def has_synthetic(platform: Platform) -> bool:
    """Whether pulls of a made-up property were loaded."""
    return bool(_of_pulls(platform, "select 1 {} and is_synthetic"))


def has_real(platform: Platform) -> bool:
    """Whether pulls of a real property were loaded, wherever their files are now."""
    return bool(_of_pulls(platform, "select 1 {} and not is_synthetic"))


def _of_pulls(platform: Platform, sql: str) -> list[tuple[Any, ...]]:
    """The first row of a query of the pulls' table; none before there is one."""
    warehouse = platform.warehouse
    _, relations = warehouse.query(
        "select 1 from information_schema.tables where table_schema = 'analytics' and table_name = 'ga4_pulls'"
    )
    return warehouse.query(f"{sql.format('from analytics.ga4_pulls where true')} limit 1")[1] if relations else []


def read_appflow(
    landing: Files, info: FileInfo, report: Report, limits: Limits, *, zone: str | None
) -> tuple[str, list[Batch]]:
    """A file of AppFlow: its SHA-256, and its rows as columns of the raw table, less lineage.

    Raises:
        RejectedFile: it cannot be read as a whole.
    """
    from clickstream_assets.parsing import formats

    with landing.open(info.path) as raw:
        content = Hashed(formats.APPFLOW.text_of(raw, info.path, limits))
        read = formats.APPFLOW.load()(content, (*report.columns, SYNTHETIC), limits)
        batches = [_shaped(batch, report, zone) for batch in read]
        return content.hexdigest(), batches


def _shaped(batch: Batch, report: Report, zone: str | None) -> Batch:
    count = batch.rows.num_rows
    values = {column: batch.rows.column(name) for name, column in report.columns.items()}
    values |= pulls.origin(count, pulls.APPFLOW, pulled_at=None, synthetic=False, zone=zone)
    values["is_synthetic"] = pc.fill_null(pc.equal(batch.rows.column(SYNTHETIC), "true"), False)
    dimensions = (batch.rows.column(name).to_pylist() for name in report.dimensions)
    keys = [pulls.row_key(row[1:]) for row in zip(*dimensions, strict=True)]
    values["row_key"] = pa.array(keys, pa.string())
    values["extra"] = batch.rows.column("extra")
    return replace(batch, rows=pa.table(values))


def appflow_sums(landing: Files, files: Sequence[FileInfo], report: Report, limits: Limits) -> dict[str, int | None]:
    """Rows, and sums of the metrics, over the files of AppFlow of a date; a metric that is not a number is None."""
    sums: dict[str, int | None] = {"rows": 0, **{metric.column: 0 for metric in report.metrics}}
    seen = set()
    for info in files:
        try:
            digest, batches = read_appflow(landing, info, report, limits, zone=None)
        except RejectedFile:
            continue  # it is in quarantine, with the reason
        if digest in seen:
            continue
        seen.add(digest)
        for batch in batches:
            sums["rows"] = (sums["rows"] or 0) + batch.rows.num_rows
            for metric in report.metrics:
                numbers = [pulls.number(value) for value in batch.rows.column(metric.column).to_pylist()]
                so_far = sums[metric.column]
                told = so_far is not None and None not in numbers
                sums[metric.column] = (
                    pulls.number(so_far + sum(filter(None, numbers))) if told and so_far is not None else None
                )
    return sums
