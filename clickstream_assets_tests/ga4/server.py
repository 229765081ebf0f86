"""A GA4 property on a loopback port: answers ``runReport`` as the Data API does, and fails as it does when told to.

Its numbers are counted from visits, so that users and sessions are distinct at each grain and add up at none.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: what the API gives when no limit is asked for, and at most
DEFAULT_ROWS, MOST_ROWS = 10_000, 250_000

#: of a standard property
TOKENS = {"tokensPerDay": 200_000, "tokensPerHour": 40_000, "tokensPerProjectPerHour": 14_000}

NO_TOKENS = (
    "Exhausted property tokens for a project per hour. These quota tokens will return in under an hour. To learn more, "
    "see https://developers.google.com/analytics/devguides/reporting/data/v1/quotas"
)

#: numbers of enums, which the client asks for instead of names
_TYPES = {"TYPE_INTEGER": 1}

_STATUS = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
    403: (
        "PERMISSION_DENIED",
        "User does not have sufficient permissions for this property. To learn more about Property ID, see "
        "https://developers.google.com/analytics/devguides/reporting/data/v1/property-id.",
    ),
    404: ("NOT_FOUND", "Requested entity was not found."),
    429: ("RESOURCE_EXHAUSTED", NO_TOKENS),
    500: ("INTERNAL", "Internal error encountered."),
    502: ("UNAVAILABLE", "Bad gateway."),
    503: ("UNAVAILABLE", "The service is currently unavailable."),
    504: ("DEADLINE_EXCEEDED", "Deadline exceeded."),
}

#: a status that is none: the connection is closed without an answer
CUT = 0


@dataclass(frozen=True)
class Visit:
    """What one session did on one page: views and events are added up, users and sessions counted."""

    date: date
    page: str = "/"
    source: str = "(direct)"
    medium: str = "(none)"
    user: str = "u1"
    session: str = "s1"
    views: int = 1
    events: int = 1

    def value(self, dimension: str) -> str:
        return {
            "date": f"{self.date:%Y%m%d}",
            "pagePath": self.page,
            "source": self.source,
            "medium": self.medium,
        }[dimension]


DIMENSIONS = ("date", "pagePath", "source", "medium")
METRICS = ("sessions", "totalUsers", "screenPageViews", "eventCount")


@dataclass(frozen=True)
class Request:
    """A request as it came; names of headers in lower case."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def day(self) -> date:
        return date.fromisoformat(self.body["dateRanges"][0]["startDate"])

    @property
    def dimensions(self) -> tuple[str, ...]:
        return tuple(one["name"] for one in self.body.get("dimensions", ()))

    @property
    def offset(self) -> int:
        return int(self.body.get("offset", 0))


class _Refusal(Exception):
    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status
        self.message = message


class Ga4Server:
    """The property; a context manager. Set what is to be answered at any time.

    ``endpoint``: for GA4_API_ENDPOINT. ``requests``: all that came, and ``sent``: the bodies of those that were
    answered, in order.

    ``visits``: the data. ``property_id``: the only one that there is, if given. ``time_zone``, ``currency``: as told.
    ``page_rows``: rows of a page at most. ``remaining``: what is left of each quota, by Google's names; ``cost``: a
    request's tokens; ``tells_quota``: whether answers say what is left.

    Faults. ``statuses``: answered first, one a request, alone or with a message; ``CUT`` closes the connection.
    ``exhausted_from``: the first request, counted from 1, that is answered 429. ``repeats``: how many rows of the page
    before come again on each next further page; ``shifts``: by how much its rowCount differs; ``ends``: further pages
    have no rows. ``sampled``: events read and all events. ``thresholded``, ``other_row``: as the metadata say.
    ``empty_reason``: why there are no rows. ``seconds``: until an answer. ``says``: a body to answer instead.
    """

    def __init__(self, visits: Iterable[Visit] = (), **settings: Any):
        self.visits = list(visits)
        self.property_id: str | None = None
        self.time_zone = "Europe/Berlin"
        self.currency = "EUR"
        self.page_rows = MOST_ROWS
        self.remaining = {**TOKENS, "serverErrorsPerProjectPerHour": 10, "potentiallyThresholdedRequestsPerHour": 120}
        self.cost = 3
        self.tells_quota = True
        self.statuses: list[int | tuple[int, str]] = []
        self.exhausted_from: int | None = None
        self.repeats: list[int] = []
        self.shifts: list[int] = []
        self.ends = False
        self.sampled: tuple[int, int] | None = None
        self.thresholded = False
        self.other_row = False
        self.empty_reason: str | None = None
        self.seconds = 0.0
        self.says: bytes | None = None
        for name, value in settings.items():
            if not hasattr(self, name):
                raise TypeError(f"Ga4Server has no {name}")
            setattr(self, name, value)
        self.requests: list[Request] = []
        self.sent: list[bytes] = []
        self._closing = threading.Event()
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer._closing.wait(outer.seconds)
                with outer._lock:
                    status, answer = outer._answer(
                        self.path, {name.lower(): value for name, value in self.headers.items()}, content
                    )
                if status == CUT:
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Type", "application/json; charset=UTF-8")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.block_on_close = False
        self.endpoint = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> Ga4Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()

    @property
    def asked(self) -> list[tuple[str, tuple[str, ...], int]]:
        """Day, dimensions beside the date, and offset of each request."""
        return [(str(one.day), one.dimensions[1:], one.offset) for one in self.requests]

    def forget(self) -> None:
        """Forget what came and was sent."""
        self.requests.clear()
        self.sent.clear()

    def _answer(self, path: str, headers: dict[str, str], content: bytes) -> tuple[int, bytes]:
        try:
            body = json.loads(content or b"{}")
        except ValueError:
            return _error(400, "Invalid JSON payload received.")
        self.requests.append(Request(path, headers, body))
        try:
            if self.statuses:
                told = self.statuses.pop(0)
                status, message = told if isinstance(told, tuple) else (told, "")
                if status >= 500:
                    self._take("serverErrorsPerProjectPerHour", 1)
                raise _Refusal(status, message)
            if self.exhausted_from is not None and len(self.requests) >= self.exhausted_from:
                raise _Refusal(429, "")
            answer = self.says or self._report(path, body)
        except _Refusal as refusal:
            return _error(refusal.status, refusal.message)
        self.sent.append(answer)
        return 200, answer

    def _take(self, quota: str, tokens: int) -> None:
        self.remaining[quota] = max(0, self.remaining[quota] - tokens)

    def _report(self, path: str, body: Mapping[str, Any]) -> bytes:
        address, _, query = path.partition("?")
        found = re.fullmatch(r"/v1beta/properties/([0-9]+):runReport", address)
        if found is None or self.property_id not in (None, found[1]):
            raise _Refusal(404 if found is None else 403, "")
        dimensions = [one["name"] for one in body.get("dimensions", ())]
        metrics = [one["name"] for one in body.get("metrics", ())]
        for kind, names, known, most in (("dimension", dimensions, DIMENSIONS, 9), ("metric", metrics, METRICS, 10)):
            for name in names:
                if name not in known:
                    raise _Refusal(400, f"Field {name} is not a valid {kind}.")
            if len(names) > most:
                raise _Refusal(400, f"Requests are limited to {most} {kind}s.")
        for name in TOKENS:
            if self.remaining[name] <= 0:
                raise _Refusal(429, "")
            self._take(name, self.cost)
        rows = self._rows(dimensions, metrics, _days(body["dateRanges"]), keep=bool(body.get("keepEmptyRows")))
        self._order(rows, dimensions, metrics, body.get("orderBys", ()))
        if self.empty_reason is not None:
            rows = []
        offset, limit = int(body.get("offset", 0)), int(body.get("limit", DEFAULT_ROWS))
        first, row_count = offset, len(rows)
        page_rows = min(limit, MOST_ROWS, self.page_rows)
        if offset:
            first -= self.repeats.pop(0) if self.repeats else 0
            row_count += self.shifts.pop(0) if self.shifts else 0
            page_rows = 0 if self.ends else page_rows
        page = rows[first : first + page_rows]
        as_number = "enum-encoding%3Dint" in query or "enum-encoding=int" in query
        integer: str | int = _TYPES["TYPE_INTEGER"] if as_number else "TYPE_INTEGER"
        answer: dict[str, Any] = {
            "dimensionHeaders": [{"name": name} for name in dimensions],
            "metricHeaders": [{"name": name, "type": integer} for name in metrics],
            "rows": [
                {
                    "dimensionValues": [{"value": value} for value in key],
                    "metricValues": [{"value": str(value)} for value in values],
                }
                for key, values in page
            ],
            "rowCount": row_count,
            "metadata": self._metadata(),
        }
        if body.get("returnPropertyQuota") and self.tells_quota:
            answer["propertyQuota"] = self._quota()
        answer["kind"] = "analyticsData#runReport"
        # What is zero or empty is not in Google's JSON.
        return json.dumps({name: value for name, value in answer.items() if value}, indent=2).encode() + b"\n"

    def _rows(
        self, dimensions: list[str], metrics: list[str], days: set[date], *, keep: bool
    ) -> list[tuple[tuple[str, ...], tuple[int, ...]]]:
        grouped: dict[tuple[str, ...], list[Visit]] = defaultdict(list)
        for visit in self.visits:
            if visit.date in days:
                grouped[tuple(visit.value(name) for name in dimensions)].append(visit)
        rows = []
        for key, visits in grouped.items():
            counted = {
                "sessions": len({visit.session for visit in visits if visit.events or visit.views}),
                "totalUsers": len({visit.user for visit in visits if visit.events or visit.views}),
                "screenPageViews": sum(visit.views for visit in visits),
                "eventCount": sum(visit.events for visit in visits),
            }
            values = tuple(counted[name] for name in metrics)
            if keep or any(values):
                rows.append((key, values))
        return rows

    def _order(self, rows: list[Any], dimensions: list[str], metrics: list[str], asked: Iterable[Any]) -> None:
        # Rows that are equal in what they are ordered by come in another order each time.
        def chance(row: Any) -> bytes:
            return hashlib.sha256(repr((len(self.requests), row)).encode()).digest()

        rows.sort(key=chance)
        by = list(asked) or ([{"metric": {"metricName": metrics[0]}, "desc": True}] if metrics else [])
        for one in reversed(by):
            place, of, names = (
                (0, one["dimension"]["dimensionName"], dimensions)
                if "dimension" in one
                else (1, one["metric"]["metricName"], metrics)
            )
            if of not in names:
                raise _Refusal(400, f"Field {of} is in orderBys, and not in the report.")
            rows.sort(key=lambda row: row[place][names.index(of)], reverse=bool(one.get("desc")))

    def _metadata(self) -> dict[str, Any]:
        told: dict[str, Any] = {"currencyCode": self.currency, "timeZone": self.time_zone}
        if self.other_row:
            told["dataLossFromOtherRow"] = True
        if self.sampled is not None:
            read, space = self.sampled
            # 64-bit integers are text in Google's JSON.
            told["samplingMetadatas"] = [{"samplesReadCount": str(read), "samplingSpaceSize": str(space)}]
        if self.thresholded:
            told["subjectToThresholding"] = True
        if self.empty_reason is not None:
            told["emptyReason"] = self.empty_reason
        return told

    def _quota(self) -> dict[str, Any]:
        told = {name: {"remaining": left} for name, left in self.remaining.items()} | {
            "concurrentRequests": {"remaining": 10}
        }
        for name in TOKENS:
            told[name]["consumed"] = self.cost
        return {name: {field: n for field, n in status.items() if n} for name, status in told.items()}


def _days(ranges: Iterable[Mapping[str, str]]) -> set[date]:
    days = set()
    for one in ranges:
        try:
            day, last = date.fromisoformat(one["startDate"]), date.fromisoformat(one["endDate"])
        except (KeyError, ValueError) as error:
            raise _Refusal(400, f"Invalid date range: {error}") from error
        while day <= last:
            days.add(day)
            day += timedelta(days=1)
    return days


def _error(status: int, message: str) -> tuple[int, bytes]:
    if status == CUT:
        return CUT, b""
    name, usual = _STATUS[status]
    error = {"error": {"code": status, "message": message or usual, "status": name}}
    return status, json.dumps(error, indent=2).encode() + b"\n"
