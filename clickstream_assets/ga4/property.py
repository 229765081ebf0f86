"""What a GA4 property is to the rest: something that answers one page of a report; Google's, or the synthetic one."""

from __future__ import annotations

from datetime import date
from typing import Protocol

from clickstream_assets.errors import ClickstreamError
from clickstream_assets.ga4.reports import Report

#: rows of a page: what the API gives at most, however many are asked for
PAGE_ROWS = 250_000


class PullFailed(ClickstreamError):
    """The property did not answer a request, tried again as often as is allowed; others may still be answered."""


class QuotaExhausted(PullFailed):
    """Nothing more is answered until the property's quota fills up again."""


class AccessRefused(PullFailed):
    """The property lets nobody in with these credentials: whatever is asked."""


class Property(Protocol):
    """A GA4 property."""

    #: whether its numbers are made up
    synthetic: bool

    def run_report(self, report: Report, day: date, *, offset: int, limit: int = PAGE_ROWS) -> bytes:
        """One page of a report of one day, in the property's time zone: the response's body as it came, JSON.

        Rows are ordered by all dimensions.

        Raises:
            QuotaExhausted: nothing more is answered for now.
            AccessRefused: nothing is answered to these credentials.
            PullFailed: this request was not answered.
        """
        ...
