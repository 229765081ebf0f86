"""``analytics.ga4_pulls``: every pull of a date, what Google says of its quality, and how far the numbers moved."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from clickstream_assets.ga4 import pulls
from clickstream_assets.ga4.loading import Found, PullLoader, appflow_sums
from clickstream_assets.ga4.pulls import Page, Pull
from clickstream_assets.ga4.reports import DATE, Report
from clickstream_assets.schemas import GA4_PULLS, GA4_QUOTAS
from clickstream_assets.storage.lake import StagedWriter
from clickstream_assets.storage.staged import Account, LandingFile, Staged, StagedFile

if TYPE_CHECKING:
    from clickstream_assets.domains import Domain
    from clickstream_assets.platform import Platform

#: of whole pulls, which alone are compared
_WHOLE = (pulls.PUBLISHED, pulls.SUPERSEDED)

_OLDEST = datetime.min.replace(tzinfo=UTC)


def stage(platform: Platform, domain: Domain, days: Sequence[date], *, run_id: str) -> Staged:
    """The pulls of these dates, of all reports. A pull whose files have expired keeps its row."""
    rows: dict[date, list[dict[str, Any]]] = defaultdict(list)
    for feed in domain.feeds:
        standing: dict[date, dict[str, LandingFile]] = defaultdict(dict)
        for root in feed.roots:
            for file in platform.warehouse.landing_files(root):
                standing[file.partition_date][file.path] = file
        loader = PullLoader(feed, platform)
        for day, found in loader.look(days, standing).items():
            rows[day] += _rows(platform, loader.report, day, found)
    known = _known(platform, days)
    files: list[StagedFile] = []
    for day in days:
        merged = _merged(rows[day], known[day])
        writer = StagedWriter(platform.lake, GA4_PULLS, day, GA4_PULLS.arrow)
        if merged:
            writer.append(pa.Table.from_pylist(merged, schema=GA4_PULLS.arrow))
        files += writer.close()
        rows[day] = merged
    accounts = [Account(day, len(rows[day]), sum(file.rows for file in files if file.day == day)) for day in days]
    return Staged(GA4_PULLS, list(days), files, (), accounts, run_id)


def _rows(platform: Platform, report: Report, day: date, found: Found) -> list[dict[str, Any]]:
    rows = [
        _row(report, day, pull, status, reason)
        for pull, (status, reason) in zip(found.pulls, found.chosen.status, strict=True)
    ]
    if found.appflow:
        sums = appflow_sums(platform.landing, found.appflow, report, platform.settings.limits)
        counts = found.chosen.published is None and found.elsewhere is None
        row = _empty(report, day, pulls.APPFLOW, pulls.PUBLISHED if counts else pulls.SUPERSEDED)
        totals = {metric.column: sums[metric.column] for metric in report.metrics if metric.additive}
        rows.append(
            row | totals | {"pages": len(found.appflow), "rows": sums["rows"], "source_file": found.appflow[0].path}
        )
    return rows


def _row(report: Report, day: date, pull: Pull, status: str, reason: str | None) -> dict[str, Any]:
    first, last = pull.pages[0], pull.pages[-1]
    sampled = [one for page in pull.pages for one in _listed(page.metadata.get("samplingMetadatas"))]
    row = _empty(report, day, pulls.DATA_API, status) | {
        "pulled_at": pull.stamp,
        "reason": reason,
        "pages": len(pull.pages),
        "rows": pull.rows,
        "row_count": pull.row_count,
        "repeated_rows": pull.repeated,
        "data_loss_from_other_row": pull.flagged("dataLossFromOtherRow"),
        "is_sampled": pull.flagged("samplingMetadatas"),
        "samples_read": _total(sampled, "samplesReadCount"),
        "sampling_space": _total(sampled, "samplingSpaceSize"),
        "subject_to_thresholding": pull.flagged("subjectToThresholding"),
        "empty_reason": pulls.said(first.metadata, "emptyReason"),
        "time_zone": pull.time_zone,
        "currency": pulls.said(first.metadata, "currencyCode"),
        "is_synthetic": pull.synthetic,
        "source_file": pull.pages[0].info.path,
    }
    for quota, name in GA4_QUOTAS.items():
        left, used = _quota(first, quota, "remaining"), _quota(first, quota, "consumed")
        row[f"{name}_before"] = None if left is None else left + (used or 0)
        row[f"{name}_after"] = _quota(last, quota, "remaining")
    row["server_errors_left"] = _quota(last, "serverErrorsPerProjectPerHour", "remaining")
    whole_day = list(report.dimensions) == [DATE]
    for metric in report.metrics:
        if metric.additive or whole_day:
            row[metric.column] = pull.totals[metric.name]
    return row


def _empty(report: Report, day: date, origin: str, status: str) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(GA4_PULLS.arrow.names)
    return row | {
        "report": report.name,
        "event_date": day,
        "origin": origin,
        "status": status,
        "is_synthetic": False,
        "processed_at": datetime.now(UTC),
        "date": day,
    }


def _quota(page: Page, name: str, what: str) -> int | None:
    """What a page's answer says of a quota; Google leaves out what is 0."""
    told = page.quota.get(name)
    return pulls.number(told.get(what, 0)) if isinstance(told, dict) else None


def _listed(sampled: object) -> list[dict[str, Any]]:
    return [one for one in sampled if isinstance(one, dict)] if isinstance(sampled, list) else []


def _total(sampled: Sequence[Mapping[str, Any]], name: str) -> int | None:
    """Of pages that say the same it is said once."""
    told = {(pulls.number(one.get("samplesReadCount")), pulls.number(one.get("samplingSpaceSize"))) for one in sampled}
    place = 0 if name == "samplesReadCount" else 1
    numbers = [pair[place] for pair in told]
    return sum(n for n in numbers if n is not None) if numbers else None


def _known(platform: Platform, days: Sequence[date]) -> dict[date, list[dict[str, Any]]]:
    """The rows that the table has now."""
    found: dict[date, list[dict[str, Any]]] = defaultdict(list)
    lake = platform.lake
    for file in lake.snapshot(GA4_PULLS, days).files:
        with lake.files.open_random(lake.files.relative(file.uri)) as source:
            found[file.day] += pq.read_table(source, partitioning=None).to_pylist()
    return found


def _merged(rows: Sequence[dict[str, Any]], known: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pulls at hand and those whose files are gone, oldest first, each compared with the one before it."""

    def key(row: Mapping[str, Any]) -> tuple[Any, ...]:
        return row["report"], row["origin"], row["pulled_at"]

    present = {key(row) for row in rows}
    published = {row["report"] for row in rows if row["status"] == pulls.PUBLISHED}
    merged = list(rows)
    for row in known:
        if key(row) not in present:
            replaced = row["status"] == pulls.PUBLISHED and row["report"] in published
            merged.append(
                dict.fromkeys(GA4_PULLS.arrow.names) | row | ({"status": pulls.SUPERSEDED} if replaced else {})
            )
    merged.sort(key=lambda row: (row["report"], row["origin"], row["pulled_at"] or _OLDEST))
    before: dict[tuple[str, str], Mapping[str, Any]] = {}
    changes = [name for name in GA4_PULLS.arrow.names if name.endswith("_change")]
    for row in merged:
        whole = row["status"] in _WHOLE
        previous = before.get((row["report"], row["origin"])) if whole else None
        for change in changes:
            name = change.removesuffix("_change")
            now, then = row[name], previous[name] if previous else None
            row[change] = None if now is None or then is None else now - then
        if whole:
            before[row["report"], row["origin"]] = row
    return merged
