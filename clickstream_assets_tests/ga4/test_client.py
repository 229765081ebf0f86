"""The Data API's client against a server that speaks its protocol: requests, bodies, back-off, quotas and refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from clickstream_assets.errors import SettingsError
from clickstream_assets.ga4.client import ATTEMPTS, SERVER_ERRORS, UNREACHED, DataApi
from clickstream_assets.ga4.property import PullFailed, QuotaExhausted
from clickstream_assets.ga4.reports import REPORTS
from clickstream_assets.settings import Ga4
from clickstream_assets_tests.ga4.server import CUT, Ga4Server, Visit
from clickstream_assets_tests.servers import free_ports

DAY = date(2024, 1, 5)
DAILY, EVENTS = REPORTS["ga_daily"], REPORTS["ga_events"]

#: one user in two sessions, one of which saw two pages, and another user
VISITS = [
    Visit(DAY, "/a", "google", "organic", "ada", "s1", views=2, events=5),
    Visit(DAY, "/b", "google", "organic", "ada", "s1"),
    Visit(DAY, "/a", user="ada", session="s2"),
    Visit(DAY, "/a", user="bob", session="s3", views=0, events=1),
]


@pytest.fixture
def server() -> Iterator[Ga4Server]:
    with Ga4Server(VISITS) as server:
        yield server


def api(endpoint: str) -> DataApi:
    return DataApi.of(Ga4("123", None, endpoint, None), first_wait=0.001, longest_wait=0.002)


def rows(body: bytes) -> list[list[str]]:
    return [
        [one["value"] for one in (*row["dimensionValues"], *row["metricValues"])]
        for row in json.loads(body).get("rows", ())
    ]


def test_a_request_asks_for_one_day_in_a_fixed_order_and_for_the_quota(server: Ga4Server) -> None:
    api(server.endpoint).run_report(EVENTS, DAY, offset=7, limit=10)
    (request,) = server.requests
    assert request.path.startswith("/v1beta/properties/123:runReport")
    assert "authorization" not in request.headers
    assert request.body == {
        "dimensions": [{"name": name} for name in ("date", "pagePath", "source", "medium")],
        "metrics": [{"name": name} for name in ("sessions", "totalUsers", "screenPageViews", "eventCount")],
        "dateRanges": [{"startDate": "2024-01-05", "endDate": "2024-01-05"}],
        "offset": "7",
        "limit": "10",
        "orderBys": [{"dimension": {"dimensionName": n}} for n in ("date", "pagePath", "source", "medium")],
        "returnPropertyQuota": True,
    }


def test_users_and_sessions_are_counted_at_each_grain(server: Ga4Server) -> None:
    asked = api(server.endpoint)
    assert rows(asked.run_report(DAILY, DAY, offset=0)) == [["20240105", "3", "2", "4", "8"]]
    assert rows(asked.run_report(REPORTS["ga_pages"], DAY, offset=0)) == [
        ["20240105", "/a", "3", "2", "3", "7"],
        ["20240105", "/b", "1", "1", "1", "1"],
    ]


def test_the_body_is_what_came_also_what_the_library_does_not_know(server: Ga4Server) -> None:
    # Spaces, a field of a later version, zero written out, and a number in another notation.
    server.says = b'{ "rowCount" : 0,\n\n "metadata": {"newField": [1.50]}, "kind":"analyticsData#runReport" }'
    assert api(server.endpoint).run_report(DAILY, DAY, offset=0) == server.says


def test_bodies_are_those_that_were_sent_page_by_page(server: Ga4Server) -> None:
    asked = api(server.endpoint)
    bodies = [asked.run_report(EVENTS, DAY, offset=offset, limit=1) for offset in range(3)]
    assert bodies == server.sent
    assert [body for page in bodies for body in rows(page)] == rows(asked.run_report(EVENTS, DAY, offset=0))
    assert len({bytes(body) for body in bodies}) == 3


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, CUT])
def test_what_passes_is_asked_again(server: Ga4Server, status: int) -> None:
    server.statuses = [status] * (ATTEMPTS - 1)
    assert api(server.endpoint).run_report(DAILY, DAY, offset=0) == server.sent[0]
    assert len(server.requests) == ATTEMPTS


def test_the_waits_grow(server: Ga4Server, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("google.api_core.retry.retry_unary.time.sleep", waited.append)
    # At random, up to the longest: the most that can be is taken here.
    monkeypatch.setattr("google.api_core.retry.retry_base.random.uniform", lambda least, most: most)
    server.statuses = [503] * 3
    DataApi.of(Ga4("123", None, server.endpoint, None)).run_report(DAILY, DAY, offset=0)
    assert waited == [2, 4, 8]


def test_errors_end_a_request_then_the_object_before_google_locks_the_project(server: Ga4Server) -> None:
    server.statuses = [503] * 100
    asked = api(server.endpoint)
    with pytest.raises(
        PullFailed, match=r"failed 4 times \(HTTP 503, The service is currently unavailable\)"
    ) as failed:
        asked.run_report(DAILY, DAY, offset=0)
    assert not isinstance(failed.value, QuotaExhausted)
    assert len(server.requests) == ATTEMPTS
    for _ in range(3):
        with pytest.raises(QuotaExhausted, match=r"failed so often \(5 times .* run the same command again in an hour"):
            asked.run_report(EVENTS, DAY, offset=0)
    assert len(server.requests) == SERVER_ERRORS


def test_what_google_says_is_left_of_errors_counts(server: Ga4Server) -> None:
    server.remaining["serverErrorsPerProjectPerHour"] = 3
    asked = api(server.endpoint)
    asked.run_report(DAILY, DAY, offset=0)
    server.statuses = [500] * 100
    with pytest.raises(QuotaExhausted, match="in an hour"):
        asked.run_report(DAILY, DAY, offset=0)
    assert server.remaining["serverErrorsPerProjectPerHour"] == 1
    assert len(server.requests) == 3


def test_nothing_is_asked_when_others_used_up_the_errors(server: Ga4Server) -> None:
    server.remaining["serverErrorsPerProjectPerHour"] = 0
    asked = api(server.endpoint)
    asked.run_report(DAILY, DAY, offset=0)
    with pytest.raises(QuotaExhausted):
        asked.run_report(DAILY, DAY, offset=0)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("", "this project's tokens of the hour (HTTP 429, Exhausted property tokens for a project per hour)"),
        ("Exhausted property tokens per day.", "the tokens of the day"),
        ("Exhausted property tokens per hour.", "the tokens of the hour"),
        ("Exhausted concurrent requests quota.", "answers at the same time"),
        ("Exhausted potentially thresholded requests quota.", "requests that may be thresholded"),
        ("Exhausted server errors per project per hour.", "server errors that this project"),
        ("Resource has been exhausted.", "hourly quotas fill up within an hour, daily ones at midnight Pacific time"),
    ],
)
def test_a_used_up_quota_is_named(server: Ga4Server, message: str, told: str) -> None:
    server.statuses = [(429, message)] * 100
    with pytest.raises(QuotaExhausted) as exhausted:
        api(server.endpoint).run_report(DAILY, DAY, offset=0)
    assert told in str(exhausted.value)
    assert "midnight Pacific" in str(exhausted.value) or "day" not in message.split()
    assert str(exhausted.value).endswith("run the same command again when there is some.")
    assert len(server.requests) == ATTEMPTS


@pytest.mark.parametrize(
    ("quota", "when"),
    [
        ("tokensPerDay", "tokens of the day, which fill up at midnight Pacific time"),
        ("tokensPerHour", "used up the tokens of the hour, which fill up within an hour"),
        ("tokensPerProjectPerHour", "this project's tokens of the hour, which fill up within an hour"),
    ],
)
def test_nothing_is_asked_when_the_last_answer_said_that_no_tokens_are_left(
    server: Ga4Server, quota: str, when: str
) -> None:
    server.remaining[quota] = 2 * server.cost
    asked = api(server.endpoint)
    for _ in range(2):
        asked.run_report(DAILY, DAY, offset=0)
    with pytest.raises(QuotaExhausted, match=when):
        asked.run_report(DAILY, DAY, offset=0)
    assert len(server.requests) == 2


def test_answers_without_a_quota_are_no_reason_to_stop(server: Ga4Server) -> None:
    server.tells_quota = False
    asked = api(server.endpoint)
    assert [asked.run_report(DAILY, DAY, offset=0) for _ in range(2)] == server.sent


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (400, r"\(HTTP 400, Request contains an invalid argument\): look at GA4_PROPERTY_ID and at the dimensions"),
        (401, "the credentials were not taken .*: give GOOGLE_APPLICATION_CREDENTIALS the key file"),
        (403, r"\(HTTP 403, User does not have .* for this property\): give the service account the Viewer role"),
        (404, r"\(HTTP 404, Requested entity was not found\): give GA4_PROPERTY_ID the property's number"),
    ],
)
def test_a_refusal_says_what_to_do_and_is_not_tried_again(server: Ga4Server, status: int, told: str) -> None:
    server.statuses = [status]
    with pytest.raises(PullFailed, match=told) as refused:
        api(server.endpoint).run_report(DAILY, DAY, offset=0)
    assert str(refused.value).startswith("GA4 property 123 was not read")
    assert not isinstance(refused.value, QuotaExhausted)
    assert len(server.requests) == 1


def test_a_server_that_is_not_there_is_tried_again_and_named() -> None:
    (port,) = free_ports(1)
    asked = api(f"http://127.0.0.1:{port}")
    with pytest.raises(PullFailed, match=rf"http://127.0.0.1:{port} was not reached: look at .* GA4_API_ENDPOINT"):
        asked.run_report(DAILY, DAY, offset=0)


def test_a_server_that_stays_away_is_waited_for_only_so_often(server: Ga4Server) -> None:
    server.statuses = [CUT] * 100
    asked = api(server.endpoint)
    for _ in range(8):
        with pytest.raises(PullFailed, match="was not reached"):
            asked.run_report(DAILY, DAY, offset=0)
    # Two requests with all their attempts, one for each of the others.
    assert UNREACHED == 2 * ATTEMPTS
    assert len(server.requests) == 2 * ATTEMPTS + 6


def test_an_answer_that_takes_too_long_is_not_waited_for(server: Ga4Server) -> None:
    from google.auth.credentials import AnonymousCredentials

    server.seconds = 5.0
    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]
    asked = DataApi("123", nobody, endpoint=server.endpoint, first_wait=0.001, longest_wait=0.001, timeout=0.05)
    with pytest.raises(PullFailed, match=r"did not answer within 0\.05 s: look at the network"):
        asked.run_report(DAILY, DAY, offset=0)


def test_what_is_no_data_api_is_named(server: Ga4Server) -> None:
    server.says = b"<html>Sign in</html>"
    with pytest.raises(PullFailed, match=r"is not the Data API: look at GA4_API_ENDPOINT\."):
        api(server.endpoint).run_report(DAILY, DAY, offset=0)


def key_file(path: Path) -> Path:
    """A service account's file with a key that is made for this once."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    # Where tokens are to be had is a port at which nothing is.
    account = {"type": "service_account", "client_email": "reader@test.invalid", "token_uri": "http://127.0.0.1:1/"}
    path.write_text(json.dumps(account | {"private_key": pem, "private_key_id": "1"}))
    return path


def test_a_service_account_signs_its_own_token_and_is_named_when_it_may_not_read(
    server: Ga4Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.auth import jwt
    from google.oauth2.service_account import Credentials

    # In a thread of its own Google's library would ask Google where the account may be used from.
    monkeypatch.setattr(Credentials, "_is_regional_access_boundary_lookup_required", lambda self: False)

    credentials = Credentials.from_service_account_file(  # type: ignore[no-untyped-call]
        str(key_file(tmp_path / "key.json")), scopes=["https://www.googleapis.com/auth/analytics.readonly"]
    )
    asked = DataApi("123", credentials, endpoint=server.endpoint)
    assert asked.run_report(DAILY, DAY, offset=0) == server.sent[0]
    token = server.requests[0].headers["authorization"].removeprefix("Bearer ")
    claims = jwt.decode(token, verify=False)  # type: ignore[no-untyped-call]
    assert (claims["iss"], claims["scope"]) == (
        "reader@test.invalid",
        "https://www.googleapis.com/auth/analytics.readonly",
    )
    server.statuses = [403, 401, 401, 401]
    with pytest.raises(PullFailed, match=r"give the service account reader@test\.invalid the Viewer role"):
        asked.run_report(DAILY, DAY, offset=0)
    with pytest.raises(PullFailed, match=r"HTTP 401, Request had invalid .*: give GOOGLE_APPLICATION_CREDENTIALS"):
        asked.run_report(DAILY, DAY, offset=0)


def test_the_settings_give_googles_servers_and_the_account(tmp_path: Path) -> None:
    asked = DataApi.of(Ga4("123", key_file(tmp_path / "key.json"), None, None))
    assert asked._host == "https://analyticsdata.googleapis.com"
    assert asked._account == "reader@test.invalid"
    credentials: Any = asked._client.transport._credentials
    assert credentials.scopes == ["https://www.googleapis.com/auth/analytics.readonly"]


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"type": "authorized_user"}', b"\xff"])
def test_a_file_that_is_no_service_account_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"GOOGLE_APPLICATION_CREDENTIALS is '.*key\.json', which is not the JSON"):
        DataApi.of(Ga4("123", path, None, None))


def test_without_a_property_nothing_is_asked() -> None:
    with pytest.raises(SettingsError, match="GA4_PROPERTY_ID is not set"):
        DataApi.of(Ga4(None, None, None, None))


def test_importing_costs_nothing_of_googles() -> None:
    code = (
        "import sys, clickstream_assets.ga4.client, clickstream_assets.ga4.collect; "
        "print([name for name in sys.modules if name.split('.')[0] in ('google', 'requests')])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
