"""What a step hands to the IO managers: files that are written but not yet published, and their accounts.

No rows pass through here. The counts of ``Account`` come from different code on each side of the balance: ``rows_in``
from the reader, ``rows_out`` and ``rejected`` from the footers of the staged files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from clickstream_assets.schemas import Table

#: a bad first file of three rows should not stop a day; below this many rows the rejected share does not block
SHARE_NEEDS_ROWS = 1000


@dataclass(frozen=True)
class StagedFile:
    """A finished Parquet file in the lake that no snapshot refers to yet."""

    path: str
    rows: int
    day: date


@dataclass(frozen=True)
class Account:
    """The ledger row of one partition: rows_in = rows_out + rejected + duplicate + late + filtered."""

    day: date
    rows_in: int
    rows_out: int
    rejected: int = 0
    duplicate: int = 0
    late: int = 0
    filtered: int = 0
    #: the source table's snapshot that last brought rows to this partition, as it was read; None for landing, or none
    source_snapshot: int | None = None

    @property
    def missing(self) -> int:
        """Rows that the account does not explain; zero when it balances."""
        return self.rows_in - self.rows_out - self.rejected - self.duplicate - self.late - self.filtered


@dataclass(frozen=True)
class Check:
    """The outcome of one guard, evaluated on staged files; the days on which it failed are not published.

    One that only ``warns`` keeps no day from being published.
    """

    name: str
    failed: frozenset[date]
    description: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    warns: bool = False

    @property
    def passed(self) -> bool:
        """Whether it held on every day."""
        return not self.failed


@dataclass(frozen=True)
class LandingFile:
    """A row of ``ops.landing_files``: one per file that the domain has ever seen and still stands for.

    ``read_as``: the file's etag and how it was read; while both are the same it is not read again.
    """

    path: str
    size: int
    content_hash: str
    partition_date: date
    rows: int
    status: str
    run_id: str
    read_as: str | None = None


@dataclass(frozen=True)
class Staged:
    """Everything that one step will publish for the days ``days`` of ``table``."""

    table: Table
    days: Sequence[date]
    files: Sequence[StagedFile]
    quarantine: Sequence[StagedFile]
    accounts: Sequence[Account]
    run_id: str
    #: published files of these days that stay: the table's, and those of its quarantine
    kept: Sequence[StagedFile] = ()
    kept_quarantine: Sequence[StagedFile] = ()
    #: for a raw table: the folders of landing that its files come from, and what is known of them on these days
    landing_roots: Sequence[str] = ()
    landing_files: Sequence[LandingFile] = ()
    rejected_by_rule: Mapping[str, int] = field(default_factory=dict)
    #: which code made the rows, where that matters later
    made_by: str = ""
    #: groups of days between which rows move: one without the other would lose rows or double them
    together: Sequence[Collection[date]] = ()
    #: what was found while the rows were read, besides what every table is checked for
    findings: Sequence[Check] = ()

    def without(self, days: Collection[date]) -> Staged:
        """The same less some days, and less those that must be published together with them."""
        left_out = set(days)
        while more := {day for group in self.together if left_out & set(group) for day in group} - left_out:
            left_out |= more
        return replace(
            self,
            days=[day for day in self.days if day not in left_out],
            files=[file for file in self.files if file.day not in left_out],
            quarantine=[file for file in self.quarantine if file.day not in left_out],
            kept=[file for file in self.kept if file.day not in left_out],
            kept_quarantine=[file for file in self.kept_quarantine if file.day not in left_out],
            accounts=[account for account in self.accounts if account.day not in left_out],
            landing_files=[file for file in self.landing_files if file.partition_date not in left_out],
        )

    def checks(self, *, rejected_share: float) -> list[Check]:
        """Evaluate the guards that every table has."""
        return [_balances(self.accounts), _rejected_share(self, limit=rejected_share), *self.findings]


GUARDS = {
    "ledger_balances": "rows_in = rows_out + rejected + duplicate + late + filtered, for every partition of the run.",
    "rejected_share": "The share of rejected rows is within the limit (0.5 unless set otherwise; from 1,000 rows on).",
}


#: that of tables about persons under pseudonyms
PRIVACY = {"no_personal_data": "No text of the rows, and none of the rejected ones, has an e-mail or IP address in it."}

#: that of tables with a contract
CONTRACT = {
    "keeps_contract": "The rows keep what the registry says of them: columns, types, what is never null, ranges, keys."
}

#: that of tables of money
TOTALS = {"totals_agree": "The sums of money are those of the hop before, to the cent, on every day of the run."}

#: those of tables that are a property's answers; those in ``PULL_WARNINGS`` only warn
PULLS = {
    "pull_is_whole": "Every date with pulls has a whole one: all pages are there, with as many rows as Google says.",
    "same_time_zone": "The newest pull is in the property's time zone.",
    "newest_pull_is_whole": "No newer pull than the published one was left incomplete.",
    "numbers_are_exact": "The published numbers are neither sampled nor thresholded, and no rows are put into (other).",
    "rows_are_told_apart": "No two rows of the published pull have the same dimensions.",
    "appflow_agrees": "Where AppFlow has rows of a date too, their sums are those of the published pull.",
}
PULL_WARNINGS = frozenset({"newest_pull_is_whole", "numbers_are_exact", "rows_are_told_apart", "appflow_agrees"})


def count_by_day(files: Iterable[StagedFile]) -> Counter[date]:
    """Rows per day of staged files."""
    counts: Counter[date] = Counter()
    for file in files:
        counts[file.day] += file.rows
    return counts


def _balances(accounts: Sequence[Account]) -> Check:
    wrong = {a.day: a.missing for a in accounts if a.missing}
    named = {day.isoformat(): missing for day, missing in wrong.items()}
    text = f"rows unaccounted for: {named}" if wrong else f"all rows of {len(accounts)} partition(s) accounted for"
    return Check("ledger_balances", frozenset(wrong), text, {"partitions": len(accounts), "unaccounted": named})


def _rejected_share(staged: Staged, *, limit: float) -> Check:
    shares = {a.day: a.rejected / a.rows_in for a in staged.accounts if a.rows_in >= SHARE_NEEDS_ROWS}
    over = {day: share for day, share in shares.items() if share > limit}
    named = ", ".join(f"{day} ({share:.0%})" for day, share in over.items())
    rules = ", ".join(f"{rule} {n:,}" for rule, n in staged.rejected_by_rule.items())
    text = (
        f"more than {limit:.0%} of the rows rejected on {named} ({rules}); mend the files under their names "
        "(a file that is removed keeps its rows), or raise CLICKSTREAM_MAX_REJECTED_SHARE if this is right"
        if over
        else f"at most {max(shares.values(), default=0.0):.1%} rejected"
    )
    return Check("rejected_share", frozenset(over), text, {"rejected_by_rule": dict(staged.rejected_by_rule)})
