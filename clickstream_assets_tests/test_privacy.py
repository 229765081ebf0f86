"""Personal data: planted addresses do not survive, and what is none stays."""

import hashlib
import hmac
import ipaddress
import json
import secrets
from datetime import UTC, date, datetime, timedelta
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clickstream_assets import privacy
from clickstream_assets.errors import ClickstreamError
from clickstream_assets.parsing.formats import Batch, Broken
from clickstream_assets.schemas import CLICKSTREAM_RAW

KEY = secrets.token_bytes(32)


def redacted(text: str) -> str:
    return redact(pa.array([text, None])).to_pylist()[0]


def redact(values: pa.Array) -> pa.Array:
    columns = privacy.redact({"page_url": values, "timestamp": values}, str)
    assert columns["page_url"] == columns["timestamp"], "looked at once each, and one by one"
    return columns["page_url"]


def leaks(values: pa.Array) -> int:
    return privacy.scan(pa.table({"x": values})).get("x", 0)


# --- what is an address ---

ADDRESSES = [
    ("mail ann@example.com.", "mail [email]."),
    ("ANN+x_y%z'o-b.c@SUB.EXAMPLE.CO.UK", "[email]"),
    ("émile@exämple.рф", "[email]"),
    ("ann@xn--exmple-cua.com", "[email]"),
    ("a@b.co,c@d.co;e@f.co", "[email],[email];[email]"),
    ("/u/ann@example.com/cart", "/u/[email]/cart"),
    ("https://u:pw@host.example/", "https://u:[email]/"),
    ("/?email=ann%40example.com&q=1", "/?email=[email]&q=1"),
    ("/?email=ann%2Bx%40example%2ecom&q=1", "/?email=[email]&q=1"),
    ("%3Femail%3Dann%40example.com%26q", "%3Femail%3D[email]%26q"),
    ("%253Dann%2540example%252Ecom", "%253D[email]"),
    ("/?e=%C3%A9mile%40ex%C3%A4mple.%D1%80%D1%84", "/?e=[email]"),
    (r'{"a":"\nann\u0040example\u002ecom"}', r'{"a":"\n[email]"}'),
    (r'{"a":"\u00e9mile@ex\u00e4mple.com"}', r'{"a":"[email]"}'),
    (r'{"a":"\\nan@example.com"}', r'{"a":"\\[email]"}'),
    ("ann&#64;example&#46;com ann&#x40;example.com ann&commat;example.com", "[email] [email] [email]"),
    ("v=1.2.3.4", "v=[ip]"),
    ("1.1.1.1 2.2.2.2,3.3.3.3", "[ip] [ip],[ip]"),
    ("http://10.0.0.0/x 10.0.0.0/8", "http://[ip]/x [ip]/8"),
    ("from 203.0.113.007.", "from [ip]."),
    ("1.2.3.4:80", "[ip]:80"),
    ("%20203.0.113.7 %22203%2E0%2E113%2E7%22", "%20[ip] %22[ip]%22"),
    (r"\u0020203.0.113.7 203\u002e0\u002E113.7", r"\u0020[ip] [ip]"),
    (r"\u00e1.2.3.4", r"\u00e1[ip]"),
    ("x/120.0.1.0 1/120.0.0.0", "x/[ip] 1/[ip]"),
    ("2001:db8:1:2:3:4:5:6", "[ip]"),
    ("ip:2001:DB8::1, [2001:db8::1]:443", "ip:[ip], [[ip]]:443"),
    ("fe80::1%eth0 ::1 2001:db8::", "[ip] [ip] [ip]"),
    ("::ffff:203.0.113.7 64:ff9b::203.0.113.7", "[ip] [ip]"),
    ("%3D2001%3Adb8%3A%3A1 2001%253Adb8%253A%253A1", "%3D[ip] [ip]"),
    (r"\n2001\u003adb8\u003a\u003A1", r"\n[ip]"),
]

INNOCENT = [
    "",
    "ann at example.com",
    "@ann",
    "/@scope/package",
    "ann@localhost",
    "react@18.2.0",
    "1.2.3.4.5",
    "1234.1.1.1",
    "1.1.1.1234",
    "1.1.1.256",
    "1.2.3",
    "Mozilla/5.0 (X11) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36 (x)/9.8.0.0",
    "Chrome/120.0.6099.109",
    "10:20:30",
    "2026-03-02T10:20:30.123456+00:00",
    "aa:bb:cc:dd:ee:ff",
    "std::vector<int>",
    "a : b :: c",
    '{"a":1,"b":{"c":[1.25,2.5]}}',
    "203.0.113",
    "0123456789abcdef0123456789abcdef",
    "[email] [ip]",
]


@pytest.mark.parametrize(("text", "wanted"), ADDRESSES)
def test_addresses_are_taken_out(text, wanted):
    assert leaks(pa.array([text])) == 1
    assert redacted(text) == privacy.redact_text(text) == wanted


@pytest.mark.parametrize("text", INNOCENT)
def test_what_is_no_address_stays(text):
    assert leaks(pa.array([text, None])) == 0
    assert redacted(text) == privacy.redact_text(text) == text


PIECES = st.sampled_from(
    [
        "ann",
        "@",
        "%40",
        "%2540",
        "example",
        ".",
        "com",
        "%2E",
        "\\u0040",
        "\\u002e",
        "&#64;",
        "\\",
        "n",
        "\\n",
        "1",
        "25",
        "0",
        "203.0.113.7",
        "1.2.3.4",
        "::",
        ":",
        "%3A",
        "\\u003a",
        "db8",
        "fe80::1",
        "[",
        "]",
        "[ip]",
        "[email]",
        "/",
        "Chrome/",
        ")",
        " ",
        "%20",
        "%",
        "é",
        "\uff20",
        "\u3002",
        '"',
        "a@b.co",
        "=",
        "&",
        ";",
        "\\u00e1",
        "\\b",
        "%25",
        "0.0",
        "255",
        "-",
        "\n",
    ]
)
MESSY = st.lists(PIECES, max_size=14).map("".join) | st.text(max_size=30)


@settings(max_examples=80, deadline=None)
@given(MESSY)
def test_after_redaction_there_is_nothing_left_and_nothing_more_to_do(text):
    clean = redacted(text)
    assert leaks(pa.array([clean])) == 0
    assert redacted(clean) == clean
    assert privacy.redact_text(text) == clean


@settings(max_examples=80, deadline=None)
@given(MESSY)
def test_both_engines_find_the_same(text):
    assert bool(privacy._ADDRESS_RE.search(text)) == bool(leaks(pa.array([text])))


@settings(max_examples=80, deadline=None)
@given(
    st.dictionaries(MESSY, MESSY | st.lists(MESSY, max_size=2) | st.floats(allow_nan=False), max_size=3), st.booleans()
)
def test_json_stays_json(value, ascii_only):
    json.loads(redacted(json.dumps(value, ensure_ascii=ascii_only)))


def _html(text: str) -> str:
    return "".join(c if c.isalnum() else f"&#{ord(c)};" for c in text)


def _json(text: str) -> str:
    return "".join(c if c.isalnum() else f"\\u{ord(c):04x}" for c in text)


FORMS = [
    str,
    str.upper,
    lambda text: quote(text, safe=""),
    lambda text: quote(quote(text, safe=""), safe=""),
    lambda text: quote(text, safe="").lower(),
    _html,
    _json,
    lambda text: json.dumps({"k": text}),
    lambda text: f"https://shop.example/a?x={text}&y=1#z",
    lambda text: "%20" + text + "%20",
    lambda text: quote(f"?to={text}&", safe=""),
    lambda text: _json(f" {text} "),
]
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=3, max_size=8)


@settings(max_examples=120, deadline=None)
@given(
    NAMES,
    NAMES,
    st.sampled_from(["com", "co.uk", "museum"]),
    st.sampled_from(FORMS),
    st.sampled_from(["", "+tag", ".x"]),
)
def test_a_planted_email_does_not_survive(name, host, top, form, tag):
    clean = redacted(form(f"zq{name}{tag}@{host}-zq.{top}"))
    assert "[email]" in clean and "zq" not in clean.lower()


@settings(max_examples=120, deadline=None)
@given(st.ip_addresses(), st.sampled_from(FORMS), st.booleans())
@example(ipaddress.ip_address("203.0.0.1"), FORMS[0], False)
def test_a_planted_ip_address_does_not_survive(address, form, long):
    text = form(address.exploded if long else str(address))
    clean = redacted(text)
    assert "[ip]" in clean or str(address) == "::"
    assert str(address) not in clean or str(address) == "::"


def test_values_that_are_null_or_clean_are_passed_on_as_they_are():
    values = pa.array(["a", None, "b"])
    assert redact(values) == values
    assert redact(pa.array(["a@b.co", None, "b", "a@b.co"])).to_pylist() == ["[email]", None, "b", "[email]"]
    assert redact(pa.array([], pa.string())).to_pylist() == []


def test_much_that_is_almost_an_address_takes_little_time():
    for piece in (
        "a",
        "a@",
        "@a.",
        "%25",
        "1.",
        "1:",
        "::",
        "1::",
        "\\",
        "\\u0040",
        "&#0",
        "a.b@c-",
        "é",
        "%C3",
        "a@b.co ",
    ):
        text = piece * (50_000 // len(piece)) + " a@b.co"
        assert "a@b.co" not in privacy.redact_text(text)


# --- the search for what is left ---


def test_what_is_left_is_counted_by_column_and_not_told(tmp_path):
    table = pa.table(
        {
            "a": ["x", "ann@example.com", None],
            "b": ["1.2.3.4", "%2Fann%40example.com", "y"],
            "clean": ["x", "y", None],
            "number": [1, 2, 3],
            "dictionary": pa.array(["ann@example.com"] * 3).dictionary_encode(),
            "ip_prefix": ["203.0.113.0/24", "2001:db8:1::/48", "203.0.113.7/24"],
        }
    )
    wanted = {"a": 1, "b": 2, "dictionary": 3, "ip_prefix": 1}
    assert privacy.scan(table) == wanted
    assert privacy.scan(table, ["a", "clean"]) == {"a": 1}
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=2)
    with pq.ParquetFile(tmp_path / "x.parquet") as file:
        assert privacy.scan(file) == wanted
        assert privacy.scan(file, ["b"]) == {"b": 2}
    with pq.ParquetFile(tmp_path / "x.parquet", read_dictionary=["a", "b", "ip_prefix"]) as file:
        assert privacy.scan(file) == wanted


# --- pseudonyms ---


def test_a_short_key_is_refused():
    with pytest.raises(ClickstreamError, match="31 bytes"):
        privacy.Pseudonyms(KEY[:31])


def test_pseudonyms_depend_on_the_key_and_the_kind():
    ours, others = privacy.Pseudonyms(KEY), privacy.Pseudonyms(secrets.token_bytes(32))
    assert ours.of_email("a@b.co") == hmac.new(KEY, b"email|a@b.co", hashlib.sha256).hexdigest()
    assert ours.of_ip("1.2.3.4")[0] == hmac.new(KEY, b"ip|1.2.3.4", hashlib.sha256).hexdigest()
    assert ours.key_id == hmac.new(KEY, b"key-id", hashlib.sha256).hexdigest()[:16] != others.key_id
    assert ours.of_email("a@b.co") != others.of_email("a@b.co")


@pytest.mark.parametrize(
    ("text", "same", "prefix"),
    [
        (" 203.0.113.7 ", "203.0.113.7", "203.0.113.0/24"),
        ("203.0.113.7:443", "203.0.113.7", "203.0.113.0/24"),
        ("::ffff:203.0.113.7", "203.0.113.7", "203.0.113.0/24"),
        ("[::FFFF:cb00:7107]:80", "203.0.113.7", "203.0.113.0/24"),
        ("203.0.113.7, 10.0.0.1", "203.0.113.7", "203.0.113.0/24"),
        ("2001:0DB8:0001:0002:0:0:0:3%eth0", "2001:db8:1:2::3", "2001:db8:1::/48"),
        ("[2001:db8:1:2::3]:443", "2001:db8:1:2::3", "2001:db8:1::/48"),
    ],
)
def test_an_ip_address_has_one_pseudonym_however_it_is_written(text, same, prefix):
    pseudonyms = privacy.Pseudonyms(KEY)
    assert pseudonyms.of_ip(text) == pseudonyms.of_ip(same)
    assert pseudonyms.of_ip(text)[1] == prefix


@pytest.mark.parametrize("text", ["", "x", "1.2.3", "1.2.3.4.5", "256.1.1.1", ":", "[", "unknown, 1.2.3.4", "12"])
def test_what_is_no_ip_address_has_no_pseudonym(text):
    assert privacy.Pseudonyms(KEY).of_ip(text) == (None, None)


def test_an_email_has_one_pseudonym_however_it_is_written():
    pseudonyms = privacy.Pseudonyms(KEY)
    assert len({pseudonyms.of_email(text) for text in ("a@b.co", " A@B.CO\n", "\uff41@b.co")}) == 1
    assert {pseudonyms.of_email(text) for text in ("", "a", "a@b", "@b.co", "a@b@c.co", "a b@c.co", "a@b.c")} == {None}


def test_ids_with_an_address_are_replaced_and_stay_distinct():
    pseudonyms = privacy.Pseudonyms(KEY)
    values = pa.array(["u1", None, "a@b.co", "A@b.co", "x-1.2.3.4", "a@b.co"])
    columns = privacy.redact({"user_id": values, "event_id": values}, pseudonyms.of_id)
    ids = columns["user_id"].to_pylist()
    assert ids == columns["event_id"].to_pylist()
    assert ids[:2] == ["u1", None] and ids[2] == ids[5] and len(set(ids)) == 5
    assert all(len(text) == 42 and text.startswith("pseudonym-") for text in ids[2:])
    assert ids[2] == "pseudonym-" + hmac.new(KEY, b"id|a@b.co", hashlib.sha256).hexdigest()[:32]
    assert leaks(pa.array(ids)) == 0


# --- events ---

START, ARRIVAL = date(2024, 1, 1), date(2026, 3, 2)


def shaped(*events: dict, key: bytes = KEY, arrival: date = ARRIVAL) -> list[dict]:
    names = [*privacy.EVENT, "extra"]
    rows = pa.table({name: pa.array([event.get(name) for event in events], pa.string()) for name in names})
    count = len(events)
    batch = Batch(count, rows, np.arange(count), np.arange(count))
    made = privacy.shaper(privacy.Pseudonyms(key), START)(batch, arrival)
    assert made.found == count and made.rows.num_rows == count
    lineage = {"ingestion_timestamp", "source_file", "source_line", "record_number", "content_hash", "arrival_date"}
    wanted = [f for f in CLICKSTREAM_RAW.arrow if f.name not in lineage]
    assert [(f.name, f.type) for f in made.rows.schema] == [(f.name, f.type) for f in wanted]
    return made.rows.to_pylist()


def test_an_event_without_its_addresses():
    pseudonyms = privacy.Pseudonyms(KEY)
    event = {name: f"{name} of ann@example.com" for name in (*privacy.EVENT, "extra")}
    event |= {"ip": "203.0.113.7", "email": "Ann@example.com", "timestamp": "2026-03-02T10:20:30Z", "event_id": "e1"}
    [row] = shaped(event)
    assert row["page_url"] == "page_url of [email]" and row["extra"] == "extra of [email]"
    assert row["event_id"] == "e1" and row["user_id"] == pseudonyms.of_id("user_id of ann@example.com")
    assert row["visitor_key"] == pseudonyms.of_ip("203.0.113.7")[0] and row["ip_prefix"] == "203.0.113.0/24"
    assert row["email_key"] == pseudonyms.of_email("ann@example.com") and row["pii_key_id"] == pseudonyms.key_id
    assert row["event_ts"] == datetime(2026, 3, 2, 10, 20, 30, tzinfo=UTC)
    assert (row["event_hour"], row["event_date"]) == (10, date(2026, 3, 2))
    assert privacy.scan(pa.Table.from_pylist([row])) == {}


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-03-01 23:59:59", datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC)),
        (" 2026-03-02T01:30:00.1234567+02:00\u00a0", datetime(2026, 3, 1, 23, 30, 0, 123456, tzinfo=UTC)),
        ("2026-03-01T10:00:00.999999999Z", datetime(2026, 3, 1, 10, 0, 0, 999999, tzinfo=UTC)),
        ("2026-03-01T10:00:00-14:00", datetime(2026, 3, 2, tzinfo=UTC)),
        ("1772359200123", datetime(2026, 3, 1, 10, 0, 0, 123000, tzinfo=UTC)),
        ("2024", None),
        ("20260302", None),
        ("100000000", datetime(1970, 1, 2, 3, 46, 40, tzinfo=UTC)),
        ("-100000001", datetime(1969, 12, 30, 20, 13, 19, 999000, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.9Z", datetime(9999, 12, 31, 23, 59, 59, 900000, tzinfo=UTC)),
        *(
            (text, None)
            for text in (
                None,
                "",
                "18:00:26",
                "2026-03-01",
                "2026-02-30T00:00:00Z",
                "2026-03-01T24:00:00Z",
                "0000-01-01 00:00:00",
                "0001-01-01T00:00:00+01:00",
                "9999-12-31T23:59:59-01:00",
                "1772359200123.0",
                "1234567890123456",
                "999999999999999",
                "2026-03-01T10:00:00+14:30",
                "2026-03-01T10:00:00Z\n.",
            )
        ),
    ],
)
def test_the_time_of_an_event(text, time):
    [row] = shaped({"timestamp": text})
    assert row["event_ts"] == time
    if time is None:
        assert (row["event_date"], row["event_hour"]) == (ARRIVAL, 0)


@pytest.mark.parametrize(
    ("day", "own"),
    [(START, True), (START - timedelta(1), False), (ARRIVAL + timedelta(1), True), (ARRIVAL + timedelta(2), False)],
)
def test_an_event_out_of_range_is_filed_under_its_arrival(day, own):
    [row] = shaped({"timestamp": f"{day}T23:00:00Z"})
    assert row["event_ts"].date() == day
    assert (row["event_date"], row["event_hour"]) == ((day, 23) if own else (ARRIVAL, 0))


def test_no_events_at_all():
    assert shaped() == []


def test_what_goes_to_quarantine_has_no_address():
    rows = pa.table({name: pa.array([], pa.string()) for name in (*privacy.EVENT, "extra")})
    broken = [Broken(1, 1, "bad_json", '{"email":"ann@example.com","ip":"1.2.3.4"')]
    none = pa.array([], pa.int64()).to_numpy()
    made = privacy.shaper(privacy.Pseudonyms(KEY), START)(Batch(1, rows, none, none, broken), ARRIVAL)
    assert made.broken == [Broken(1, 1, "bad_json", '{"email":"[email]","ip":"[ip]"')]
