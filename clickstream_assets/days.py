"""Days, which are partitions: UTC, up to tomorrow. No Dagster here."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta


def last_day() -> date:
    """The newest partition: tomorrow, UTC."""
    return datetime.now(UTC).date() + timedelta(days=1)


def day_range(first: date, last: date) -> list[date]:
    """Every day from ``first`` to ``last``, both included."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]
