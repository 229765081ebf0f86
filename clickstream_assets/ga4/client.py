"""Google's GA4 Data API as a property: asked page by page, and no oftener than the property's quotas allow.

Every quota counts against all who ask the property. One runs out sooner by trying again: ten server errors of a
project in an hour, and Google answers that project nothing more for an hour.
"""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Any

from clickstream_assets.errors import SettingsError
from clickstream_assets.ga4.property import PAGE_ROWS, AccessRefused, PullFailed, QuotaExhausted
from clickstream_assets.ga4.reports import Report

if TYPE_CHECKING:
    from google.analytics.data_v1beta.types import PropertyQuota, RunReportRequest
    from google.auth.credentials import Credentials

    from clickstream_assets.settings import Ga4

#: how often a request is made at most
ATTEMPTS = 4

#: server errors that one ``DataApi`` may cause: half of what Google allows in an hour, as others ask as well
SERVER_ERRORS = 5

#: requests of one ``DataApi`` that are made again because nothing came back; where nothing can, each waits for itself
UNREACHED = 8

#: seconds to wait at most before the second attempt, twice as long before each further one, and the most ever
FIRST_WAIT, LONGEST_WAIT = 2.0, 60.0

#: seconds without a byte after which a request counts as lost
TIMEOUT = 60.0

_SCOPE = "https://www.googleapis.com/auth/analytics.readonly"

_SERVER_ERRORS = (500, 502, 503, 504)
_TOO_MANY = 429
_NO_ACCESS = (401, 403)

#: what to do about an HTTP status
_REMEDIES = {
    400: "look at GA4_PROPERTY_ID and at the dimensions and metrics in clickstream_assets/ga4/reports.yml",
    401: "give GOOGLE_APPLICATION_CREDENTIALS the key file of a service account whose key is still valid",
    403: "give {account} the Viewer role on the property, and enable the Google Analytics Data API in its Google Cloud "
    "project",
    404: "give GA4_PROPERTY_ID the property's number, as in its settings",
}

#: the longest that a server's words are repeated
_WORDS = 300

_WITHIN_AN_HOUR = "which fill up within an hour"
_AT_MIDNIGHT = "which fill up at midnight Pacific time"

#: which quota is used up: Google's words for it, ours, and when there is some again; the narrower first
_QUOTAS = (
    (r"concurrent", "the requests that it answers at the same time", "which others are making"),
    (r"thresholded", "the hour's requests that may be thresholded", _WITHIN_AN_HOUR),
    (r"server errors?", "the server errors that this project may cause in an hour", _WITHIN_AN_HOUR),
    (r"project per hour", "this project's tokens of the hour", _WITHIN_AN_HOUR),
    (r"per hour", "the tokens of the hour", _WITHIN_AN_HOUR),
    (r"per day", "the tokens of the day", _AT_MIDNIGHT),
)
_ANY_QUOTA = ("a quota", "and hourly quotas fill up within an hour, daily ones at midnight Pacific time")

#: what of the last answer's quota must not be zero, in the words of ``_QUOTAS``
_TOKENS = {
    "tokens_per_day": "per day",
    "tokens_per_hour": "per hour",
    "tokens_per_project_per_hour": "project per hour",
}


class DataApi:
    """A property that Google's servers answer for; for one run and one thread.

    ``credentials`` are asked for a token by request; ``endpoint``: other servers than Google's. ``first_wait`` and
    ``longest_wait``: seconds between attempts. A stricter budget of errors than Google's holds for the whole object.
    """

    synthetic = False

    def __init__(
        self,
        property_id: str,
        credentials: Credentials,
        *,
        endpoint: str | None = None,
        first_wait: float = FIRST_WAIT,
        longest_wait: float = LONGEST_WAIT,
        timeout: float = TIMEOUT,
    ):
        # Half a second that a run which asks nothing need not wait for.
        from google.analytics.data_v1beta import BetaAnalyticsDataClient
        from google.analytics.data_v1beta.services.beta_analytics_data.transports.rest import (
            BetaAnalyticsDataRestTransport,
        )

        self._property_id = property_id
        self._account: str | None = getattr(credentials, "service_account_email", None)
        self._endpoint = endpoint
        self._waits = (first_wait, longest_wait)
        self._timeout = timeout
        transport = BetaAnalyticsDataRestTransport(
            host=endpoint or BetaAnalyticsDataRestTransport.DEFAULT_HOST,
            credentials=credentials,
            url_scheme="http" if endpoint and endpoint.startswith("http://") else "https",
            # As the client would: the key signs the token itself, so that no other server is needed.
            always_use_jwt_access=True,
        )
        # The client gives a message, whose JSON is not the JSON that came: fields that this version of the library
        # does not know yet are gone, those that were left out as zero have come back. Requests hands every response
        # to its hooks before the client parses it. Those with which credentials are renewed take another session.
        transport._session.hooks["response"].append(self._keep)
        self._client = BetaAnalyticsDataClient(transport=transport)
        self._body: bytes | None = None
        self._quota: PropertyQuota | None = None
        self._server_errors = 0
        self._errors_since_quota = 0
        self._unreached = 0

    @classmethod
    def of(cls, ga4: Ga4, *, first_wait: float = FIRST_WAIT, longest_wait: float = LONGEST_WAIT) -> DataApi:
        """The property of the settings, with their service account, or without any at their endpoint.

        Raises:
            SettingsError: there is none, or its credentials are not those of a service account.
        """
        if ga4.property_id is None:
            raise SettingsError("GA4_PROPERTY_ID is not set: give the property's number, as in its settings.")
        return cls(
            ga4.property_id, _credentials(ga4), endpoint=ga4.endpoint, first_wait=first_wait, longest_wait=longest_wait
        )

    def run_report(self, report: Report, day: date, *, offset: int, limit: int = PAGE_ROWS) -> bytes:
        """One page of a report of one day: the response's body as it came.

        Raises:
            QuotaExhausted: a quota of the property is used up, or would be by more errors.
            AccessRefused: Google lets nobody in with these credentials.
            PullFailed: Google refused the request, failed at it, or was not reached.
        """
        from google.api_core.exceptions import GoogleAPICallError
        from google.api_core.retry import Retry
        from google.auth.exceptions import GoogleAuthError, TransportError
        from google.protobuf.json_format import ParseError  # type: ignore[import-untyped]
        from requests.exceptions import RequestException

        self._refuse_without_quota()
        request = self._request(report, day, offset, limit)
        tried = 0

        def again(error: Exception) -> bool:
            nonlocal tried
            tried += 1
            return self._may_repeat(error) and tried < ATTEMPTS

        first, longest = self._waits
        ask = Retry(predicate=again, initial=first, maximum=longest, multiplier=2, timeout=None)(self._ask)
        try:
            return ask(request)
        except GoogleAPICallError as error:
            raise self._refused(error.code, error.message.partition(": ")[2] or error.message, tried) from error
        except (RequestException, TransportError) as error:
            raise self._not_reached(error) from error
        except GoogleAuthError as error:
            # A 401 has the session renew the token before the client sees it.
            raise AccessRefused(
                f"{self._name} was not read, as the credentials were not taken ({_said(str(error))}): {_REMEDIES[401]}."
            ) from error
        except ParseError as error:
            raise PullFailed(
                f"{self._name} was not read, as what answers at {self._host} is not the Data API: look at "
                f"{'GA4_API_ENDPOINT' if self._endpoint else 'the network (a proxy?)'}."
            ) from error

    def _ask(self, request: RunReportRequest) -> bytes:
        from google.analytics.data_v1beta.types import PropertyQuota

        self._body = None
        response = self._client.run_report(request, retry=None, timeout=self._timeout)
        if "property_quota" in response:
            # A copy, as a part of a message keeps all its rows in memory.
            self._quota, self._errors_since_quota = PropertyQuota(response.property_quota), 0
        body: bytes | None = self._body
        if body is None:
            raise PullFailed(
                f"{self._name} was not read: google-analytics-data does not hand on what came; install the version "
                "that constraints.txt names."
            )
        return body

    def _keep(self, response: Any, *_: object, **__: object) -> None:
        self._body = response.content

    def _request(self, report: Report, day: date, offset: int, limit: int) -> RunReportRequest:
        from google.analytics.data_v1beta.types import DateRange, Dimension, Metric, OrderBy, RunReportRequest

        by = OrderBy.DimensionOrderBy
        return RunReportRequest(
            property=f"properties/{self._property_id}",
            dimensions=[Dimension(name=name) for name in report.dimensions],
            metrics=[Metric(name=metric.name) for metric in report.metrics],
            date_ranges=[DateRange(start_date=day.isoformat(), end_date=day.isoformat())],
            offset=offset,
            limit=limit,
            # Google orders by the first metric, and rows that are equal in it change places from page to page.
            order_bys=[OrderBy(dimension=by(dimension_name=name)) for name in report.dimensions],
            keep_empty_rows=False,
            return_property_quota=True,
        )

    def _may_repeat(self, error: Exception) -> bool:
        """Count a failed attempt; whether there may be another one."""
        from google.api_core.exceptions import GoogleAPICallError
        from google.auth.exceptions import TransportError
        from requests.exceptions import RequestException

        if isinstance(error, GoogleAPICallError):
            if error.code in _SERVER_ERRORS:
                self._server_errors += 1
                self._errors_since_quota += 1
                return self._errors_left() > 0
            return bool(error.code == _TOO_MANY)
        if isinstance(error, (RequestException, TransportError)):
            self._unreached += 1
            return self._unreached <= UNREACHED
        return False

    def _errors_left(self) -> int:
        """Server errors that this object may still cause; one of Google's is left to the others who ask."""
        left = SERVER_ERRORS - self._server_errors
        if self._quota is not None and "server_errors_per_project_per_hour" in self._quota:
            told = self._quota.server_errors_per_project_per_hour.remaining
            left = min(left, told - self._errors_since_quota - 1)
        return left

    def _refuse_without_quota(self) -> None:
        for name, words in _TOKENS.items():
            if self._quota is not None and name in self._quota and getattr(self._quota, name).remaining <= 0:
                raise self._exhausted(words)
        if self._errors_left() <= 0:
            raise self._too_many_errors()

    def _refused(self, code: int | None, message: str, tried: int) -> PullFailed:
        """What to raise for an error that the server answered."""
        said = _said(message)
        if code == _TOO_MANY:
            return self._exhausted(said, said)
        if code in _SERVER_ERRORS:
            if self._errors_left() <= 0:
                return self._too_many_errors()
            return PullFailed(
                f"{self._name} was not read, as Google's servers failed {tried} times (HTTP {code}, {said}): run the "
                "same command again later."
            )
        remedy = _REMEDIES.get(code or 0, "run the same command again later")
        account = f"the service account {self._account}" if self._account else "the service account"
        kind = AccessRefused if code in _NO_ACCESS else PullFailed
        return kind(f"{self._name} was not read (HTTP {code}, {said}): {remedy.format(account=account)}.")

    def _exhausted(self, words: str, said: str | None = None) -> QuotaExhausted:
        found = (rest for pattern, *rest in _QUOTAS if re.search(pattern, words, re.IGNORECASE))
        quota, when = next(found, _ANY_QUOTA)
        quoted = f" (HTTP {_TOO_MANY}, {said})" if said else ""
        return QuotaExhausted(
            f"{self._name} has used up {quota}{quoted}, {when}: run the same command again when there is some."
        )

    def _too_many_errors(self) -> QuotaExhausted:
        return QuotaExhausted(
            f"{self._name} is asked nothing more, as Google's servers failed so often ({self._server_errors} times in "
            "this run) that it would soon answer nobody of this project: run the same command again in an hour."
        )

    def _not_reached(self, error: Exception) -> PullFailed:
        from requests.exceptions import Timeout

        how = f"did not answer within {self._timeout:g} s" if isinstance(error, Timeout) else "was not reached"
        where = " and GA4_API_ENDPOINT" if self._endpoint else ""
        return PullFailed(
            f"{self._name} was not read, as {self._host} {how}: look at the network{where}, then run the same command "
            "again."
        )

    @property
    def _name(self) -> str:
        return f"GA4 property {self._property_id}"

    @property
    def _host(self) -> str:
        return self._endpoint or str(self._client.transport.host)


def _credentials(ga4: Ga4) -> Credentials:
    from google.auth.credentials import AnonymousCredentials
    from google.oauth2.service_account import Credentials as ServiceAccount

    if ga4.endpoint is not None:
        return AnonymousCredentials()  # type: ignore[no-untyped-call]
    if ga4.credentials is None:
        raise SettingsError("GOOGLE_APPLICATION_CREDENTIALS is not set: give the file of a service account.")
    try:
        found: Credentials = ServiceAccount.from_service_account_file(  # type: ignore[no-untyped-call]
            str(ga4.credentials), scopes=[_SCOPE]
        )
    except (OSError, ValueError) as error:
        # Its text could repeat what the file has.
        raise SettingsError(
            f"GOOGLE_APPLICATION_CREDENTIALS is {str(ga4.credentials)!r}, which is not the JSON key file of a service "
            "account that can be read: give the one that Google Cloud made."
        ) from error
    return found


def _said(message: str) -> str:
    """The first sentence of a server's words, to be part of another."""
    return " ".join(message.split()).partition(". ")[0][:_WORDS].rstrip(" .") or "no reason given"
