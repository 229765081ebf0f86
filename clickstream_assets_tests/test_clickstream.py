"""The clickstream domain from landing to its models: late data, privacy, and an arrival that costs the arrival."""

from __future__ import annotations

import gzip
import json
import os
import re
import urllib.parse
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from clickstream_assets import privacy
from clickstream_assets.errors import ClickstreamError
from clickstream_assets.generate import generator
from clickstream_assets.parsing import landing
from clickstream_assets.run import RunFailed
from clickstream_assets.schemas import CLICKSTREAM_CLEANED, CLICKSTREAM_RAW
from clickstream_assets.storage import slices
from clickstream_assets_tests.conftest import Home
from clickstream_assets_tests.events import CLEANED, MODELED, RAW, event, land, load, run


def files(home: Home, table: Any, day: str) -> dict[str, int]:
    """The published files of a day, with their rows."""
    snapshot = home.platform.lake.snapshot(table, [date.fromisoformat(day)])
    return {file.uri: file.rows for file in snapshot.files}


def test_an_event_that_arrives_late_goes_to_the_day_on_which_it_happened(home: Home) -> None:
    """The worked example of the contract, row for row; older days wait for a run that may make them."""
    a, b = event("a", "2026-03-02T10:00:00Z"), event("b", 1772445600000)
    land(home, "2026-03-02", "first", a, b, '{"event_id": "c", "event_type": "page_v')
    run(home, "2026-03-02")
    assert home.ledger(RAW, "2026-03-02") == (3, 2, 1, 0, 0, 0)
    assert home.ledger(CLEANED, "2026-03-02") == (2, 2, 0, 0, 0, 0)

    late = event("d", "2026-03-02 23:59:59.5+00:00")
    land(home, "2026-03-05", "second", late, a, event("e", "2026-03-05T00:00:00+00:00"))
    assert run(home, "2026-03-05", repairs=False).repaired == []
    assert home.query(f"select event_id from {CLEANED} order by 1") == [("a",), ("b",), ("e",)]
    made = run(home, "2026-03-05")
    assert made.repaired == [date(2026, 3, 2)]
    assert home.ledger(RAW, "2026-03-05") == (3, 3, 0, 0, 0, 0)
    assert home.ledger(CLEANED, "2026-03-05") == (1, 1, 0, 0, 0, 0)
    assert home.ledger(CLEANED, "2026-03-02") == (4, 3, 0, 1, 0, 0)
    assert home.ledger(MODELED, "2026-03-02") == (3, 3, 0, 0, 0, 0)
    ids = home.query("select event_date, event_id from clickstream.events_enhanced order by 1, 2")
    assert ids == [(date(2026, 3, 2), "a"), (date(2026, 3, 2), "b"), (date(2026, 3, 2), "d"), (date(2026, 3, 5), "e")]


def test_a_file_that_is_replaced_takes_its_late_events_away_again(home: Home) -> None:
    land(home, "2026-03-02", "x", event("a", "2026-03-02T10:00:00Z"))
    land(home, "2026-03-05", "y", event("b", "2026-03-02T11:00:00Z"), event("c", "2026-03-01T11:00:00Z"))
    load(home.platform, ["2026-03-02", "2026-03-05"])
    assert home.query(f"select event_id from {CLEANED} order by 1") == [("a",), ("b",), ("c",)]
    land(home, "2026-03-05", "y", event("d", "2026-03-05T11:00:00Z"))
    assert load(home.platform, ["2026-03-05"]) == [date(2026, 3, day) for day in (1, 2, 5)]
    assert home.query(f"select event_id from {CLEANED} order by 1") == [("a",), ("d",)]
    assert home.ledger(CLEANED, "2026-03-01") == (0, 0, 0, 0, 0, 0)


def test_of_copies_one_is_kept_whichever_came_first(home: Home, tmp_path: Path) -> None:
    key = home.platform.pii_key.decode()
    other = Home(tmp_path / "other", {"CLICKSTREAM_PII_KEY": key})
    first = [event(f"e{n}", "2026-03-02T10:00:00Z", price=1) for n in range(20)]
    second = [event(f"e{n}", "2026-03-02T15:00:00Z", price=2) for n in range(20)]
    for place, files in ((home, (first, second)), (other, (second, first))):
        for day, events in zip(("2026-03-02", "2026-03-03"), files, strict=True):
            land(place, day, "x", *events)
            load(place.platform, [day])
    kept = home.query(f"select event_id, price from {CLEANED} order by 1")
    assert kept == other.query(f"select event_id, price from {CLEANED} order by 1")
    assert {price for _, price in kept} == {1, 2}, "neither the earlier nor the later file has all of them"
    assert home.ledger(CLEANED, "2026-03-02") == (40, 20, 0, 20, 0, 0)


def test_records_that_break_a_rule_are_told_by_its_name(home: Home) -> None:
    good = "2026-03-02T10:00:00Z"
    wrong = {
        "missing_event_id": [event("", good), event(" ", good), {"event_type": "x", "timestamp": good}],
        "missing_event_type": [event("t", good, event_type=None), event("t", good, event_type=" ")],
        "bad_timestamp": [
            event(f"s{n}", text) for n, text in enumerate(("10:00:00", "2026", 20260302, "2026-02-30T00:00:00", 1.5))
        ],
        "out_of_range": [
            event("o1", "2026-03-04T00:00:00Z"), event("o2", "2023-12-31T23:59:59Z"), event("o3", 1772445600)
        ],
        "bad_quantity": [event(f"q{n}", good, quantity=value) for n, value in enumerate((-1, 1.5, "two", 2**31 + 1))],
        "bad_price": [event(f"p{n}", good, price=value) for n, value in enumerate((-0.01, "abc", 1e10))],
        "revenue_too_large": [
            event("r1", good, quantity=2**31, price=4_656_612.88), event("r2", good, quantity=2**31, price=2**31)
        ],
        "text_too_long": [event("l", good, page_url="é" * 40_000)],
    }  # fmt: skip
    kept = [
        event("k1", "2026-03-03T23:59:59.999999Z"), event("k2", "2024-01-01T00:00:00Z"), event("k3", good, quantity=0),
        event("k4", good, quantity=2**31, price="0.005"), event("k5", good, price=9_999_999_999.99),
        event("k6", good, quantity=2**31, price=4_656_612.87),
    ]  # fmt: skip
    land(home, "2026-03-02", "x", *kept, *(one for records in wrong.values() for one in records))
    load(home.platform, ["2026-03-02"])
    found = home.query("select rule, count(*) from ops.quarantine group by 1")
    assert dict(found) == {rule: len(records) for rule, records in wrong.items()}
    assert home.query(f"select event_id from {CLEANED} order by 1") == [(f"k{n}",) for n in range(1, 7)]
    assert home.query("select distinct partition_date from ops.quarantine") == [(date(2026, 3, 2),)]


def test_what_an_event_says_is_typed_and_taken_apart(home: Home) -> None:
    url = "https://u@Shop.Example:8080/p/1;x?utm_source=Goo%20gle&utm_medium=cpc&a=utm_term=no&gclid=Z#utm_content=no"
    googlebot = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
    full: dict[str, Any] = {
        "page_url": url,
        "referrer": "http://www.Google.co.uk:80/search?q=x",
        "quantity": "3",
        "price": 19.995,
        "currency": "eur",
        "properties": {"b": [1, {"c": None}]},
        "weather": "rain",
        "user_agent": googlebot,
    }
    partly = {"page_url": "/only/path", "referrer": "android-app://com.x", "user_agent": "Mozilla/5.0"}
    land(
        home,
        "2026-03-02",
        "x",
        event(" a ", "2026-03-02T23:30:00+02:00", **full),
        event("b", 1772445600123, **partly),
        event("c", 1772445600123),
    )
    load(home.platform, ["2026-03-02"])
    columns = (
        "event_id, cast(event_ts as varchar), event_hour, page_path, utm_source, utm_medium, utm_campaign, utm_term, "
        "utm_content, click_id, referrer_host, is_bot, quantity, cast(price as varchar), cast(revenue as varchar), "
        "currency, properties, extra"
    )
    of_a = ("/p/1;x", "Goo gle", "cpc", None, None, None, "gclid", "google.co.uk", True, 3, "20.00", "60.00", "EUR")
    nothing = (None,) * 6
    assert home.query(f"select {columns} from {CLEANED} order by 1") == [
        (" a ", "2026-03-02 21:30:00+00", 21, *of_a, '{"b":[1,{"c":null}]}', '{"weather":"rain"}'),
        ("b", "2026-03-02 10:00:00.123+00", 10, "/only/path", *nothing, "com.x", False, *nothing),
        ("c", "2026-03-02 10:00:00.123+00", 10, None, *nothing, None, False, *nothing),
    ]  # fmt: skip


def test_objects_may_follow_each_other_without_anything_between_them(home: Home) -> None:
    events = [event(f"e{n}", "2026-03-02T10:00:00Z") for n in range(4)]
    land(home, "2026-03-02", "newlines", *events[:1], "", between="\n")
    land(home, "2026-03-02", "nothing", *events[1:3], between="")
    land(home, "2026-03-02", "pretty", json.dumps(events[3], indent=2), '{"event_id": "cut', between="\n\n")
    load(home.platform, ["2026-03-02"])
    assert home.query(f"select event_id from {CLEANED} order by 1") == [(f"e{n}",) for n in range(4)]
    assert home.query("select rule, source_line from ops.quarantine") == [("bad_json", 8)]


def test_a_binary_file_is_rejected_whole_compressed_or_not(home: Home) -> None:
    land(home, "2026-03-02", "good", event("a", "2026-03-02T10:00:00Z"))
    for name, content in {"plain": b"PK\x03\x04\n\0\n", "packed": gzip.compress(b"PK\n\0\n")}.items():
        land(home, "2026-03-02", name).write_bytes(content)
    load(home.platform, ["2026-03-02"])
    assert home.query("select rule, count(*) from ops.quarantine group by 1") == [("rejected_file", 2)]
    assert home.ledger(RAW, "2026-03-02") == (3, 1, 2, 0, 0, 0)


# --- an arrival costs the arrival ---


@pytest.fixture
def by_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Days of ten rows are large ones."""
    monkeypatch.setattr(slices, "BY_HOUR", 10)
    monkeypatch.setattr("clickstream_assets.storage.cleaning.BY_HOUR", 10)


def a_day(hours: Iterable[int] = range(24), **more: Any) -> list[dict[str, Any]]:
    return [event(f"h{hour}", f"2026-03-02T{hour:02}:00:00Z", **more) for hour in hours]


def test_an_arrival_makes_the_hours_that_it_touches_and_no_others(home: Home, by_hour: None) -> None:
    land(home, "2026-03-02", "x", *a_day(), event("", "2026-03-02T05:00:00Z"), event("", "2026-03-02T07:00:00Z"))
    load(home.platform, ["2026-03-02"])
    raw, cleaned = files(home, CLICKSTREAM_RAW, "2026-03-02"), files(home, CLICKSTREAM_CLEANED, "2026-03-02")
    assert len(cleaned) == 24
    # A new event at 5, a copy of the event of 7 at 9, and a broken one at 5.
    new = [event("n", "2026-03-02T05:30:00Z"), event("h7", "2026-03-02T09:30:00Z"), event("", "2026-03-02T05:00:01Z")]
    land(home, "2026-03-02", "y", *new)
    load(home.platform, ["2026-03-02"])
    assert raw.items() < files(home, CLICKSTREAM_RAW, "2026-03-02").items(), "what was loaded stays as it is"
    stay = cleaned.items() & files(home, CLICKSTREAM_CLEANED, "2026-03-02").items()
    assert len(stay) == 21, "all but 5, 7 and 9 stay as they are"
    assert home.ledger(RAW, "2026-03-02") == (29, 29, 0, 0, 0, 0)
    assert home.ledger(CLEANED, "2026-03-02") == (29, 25, 3, 1, 0, 0)
    assert home.query("select partition_hour, count(*) from ops.quarantine group by 1 order by 1") == [(5, 2), (7, 1)]
    assert home.query(f"select count(*) from {CLEANED} where event_id = 'h7'") == [(1,)]
    # And once more, with a copy of what lies in an hour that stays.
    land(home, "2026-03-02", "z", event("h20", "2026-03-02T20:00:00Z", price=1), event("m", "2026-03-02T21:00:00Z"))
    load(home.platform, ["2026-03-02"])
    assert home.ledger(CLEANED, "2026-03-02") == (31, 26, 3, 2, 0, 0)


def test_files_that_were_loaded_are_not_opened_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    files_class = type(home.platform.landing)
    original = files_class.open

    def noted(self: Any, path: str) -> Any:
        if path.startswith("clickstream/"):  # and not clickstream_raw
            opened.append(path.rpartition("/")[2])
        return original(self, path)

    monkeypatch.setattr(files_class, "open", noted)
    first = land(home, "2026-03-02", "x", *a_day())
    first.write_bytes(gzip.decompress(first.read_bytes()))
    load(home.platform, ["2026-03-02"])
    assert set(opened) == {"x"}
    opened.clear()
    land(home, "2026-03-02", "y", event("n", "2026-03-02T05:30:00Z"))
    load(home.platform, ["2026-03-02"])
    assert set(opened) == {"y"}
    opened.clear()
    # Another content of the same size and time: cp -p, rsync -t.
    was = first.stat()
    first.write_bytes(first.read_bytes().replace(b"h23", b"H23"))
    os.utime(first, ns=(was.st_atime_ns, was.st_mtime_ns))
    load(home.platform, ["2026-03-02"])
    assert set(opened) == {"x"}
    assert home.query(f"select event_id from {CLEANED} where event_hour = 23") == [("H23",)]


def test_very_many_files_of_a_day_are_put_together(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing, "MOST_FILES", 3)
    for number in range(6):
        land(home, "2026-03-02", f"f{number}", event(f"e{number}", "2026-03-02T10:00:00Z"), "broken")
        load(home.platform, ["2026-03-02"])
        assert len(files(home, CLICKSTREAM_RAW, "2026-03-02")) <= 4
    assert home.ledger(RAW, "2026-03-02") == (12, 6, 6, 0, 0, 0)
    assert home.query(f"select event_id from {CLEANED} order by 1") == [(f"e{n}",) for n in range(6)]
    assert home.one("select count(*) from ops.quarantine") == (6,)


def test_a_rule_that_changes_makes_all_hours_again(home: Home, by_hour: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from clickstream_assets.transforms import clickstream

    land(home, "2026-03-02", "x", *a_day())
    load(home.platform, ["2026-03-02"])
    before = files(home, CLICKSTREAM_CLEANED, "2026-03-02")
    monkeypatch.setattr(clickstream, "EVENTS", replace(clickstream.EVENTS, identity="another"))
    land(home, "2026-03-02", "y", event("n", "2026-03-02T05:30:00Z"))
    load(home.platform, ["2026-03-02"])
    assert not before.items() & files(home, CLICKSTREAM_CLEANED, "2026-03-02").items()
    assert home.ledger(CLEANED, "2026-03-02") == (25, 25, 0, 0, 0, 0)


# --- privacy ---

KEY = "0123456789abcdef0123456789abcdef"


def everything_left(home: Home) -> dict[str, bytes]:
    """All bytes below the home but those of landing, each Parquet file with its values decoded; and the warehouse."""
    left = {str(p): p.read_bytes() for p in home.path.rglob("*") if p.is_file() and "landing" not in p.parts}
    decoded = {name: repr(pq.read_table(name).to_pylist()).encode() for name in left if name.endswith(".parquet")}
    tables = {name: repr(rows).encode() for name, rows in home.tables().items()}
    assert len(decoded) > 3 and len(tables) > 5
    return left | {f"{name} decoded": content for name, content in decoded.items()} | tables


def test_no_address_is_left_behind_landing(home: Home, capfd: pytest.CaptureFixture[str]) -> None:
    """Lake, warehouse, quarantine, Dagster's storage with logs and metadata, dbt's files, and what is printed."""
    emails = ("jane.doe@mail.example", "JOHN+x@sub.mail.example", "müller@straße.example", "key@mail.example")
    ips = ("203.0.113.77", "2001:db8:85a3::8a2e:370:7334", "198.51.100.23", "192.0.2.251")
    quoted = urllib.parse.quote
    good = "2026-03-02T10:00:00Z"
    land(
        home,
        "2026-03-02",
        "x",
        event("a", good, email=emails[0], ip=ips[0], user_id=emails[0], session_id=ips[2]),
        event("b", good, email=emails[1], ip=ips[1], page_url=f"https://x.test/?mail={quoted(emails[0])}&ip={ips[0]}"),
        event("c", good, properties={"note": f"{emails[2]} from {ips[1]}", ips[0]: 1}, user_agent=f"curl ({ips[3]})"),
        event("d", good, referrer=f"https://{ips[2]}/a", contact=emails[0], forwarded=f"for={ips[1]};by={ips[3]}"),
        event("e", "never", email=emails[0], page_url=f"/{emails[1]}/{ips[3]}", price=f"{ips[0]}"),
        json.dumps({"event_id": "f", "email": emails[2], "ip": ips[0], "page_url": emails[1]})[:-4],
        '{"event_id": "g", "email": "jane.doe\\u0040mail.example" "ip": "198.51.100.23"}',
        f"garbage {emails[0]} {ips[2]}",
        event(emails[3], good, product_id=ips[2], currency="EUR", quantity=ips[2], event_type=emails[2]),
    )  # fmt: skip
    run(home, "2026-03-02")
    assert home.one(f"select count(*) from {CLEANED}") == (4,)
    printed = capfd.readouterr()
    left = everything_left(home) | {"printed": (printed.out + printed.err).encode()}
    forms = [form for text in (*emails, *ips) for form in {text, text.lower(), quoted(text), quoted(text, safe="@")}]
    forms += ["jane.doe", "mail.example", "straße.example"]
    found = {(name, form) for name, content in left.items() for form in forms if form.encode() in content}
    assert found == set()
    key = (home.path / "pii.key").read_bytes().strip()
    assert [name for name, content in left.items() if key in content and not name.endswith("pii.key")] == []


def test_pseudonyms_are_the_same_for_the_same_address_and_key(home: Home) -> None:
    home = replace(home, further={"CLICKSTREAM_PII_KEY": KEY})
    good = "2026-03-02T10:00:00Z"
    land(
        home, "2026-03-02", "x",
        event("a", good, ip="203.0.113.7", email=" Jane@Mail.Example "), event("b", good, ip="::ffff:203.0.113.7"),
        event("c", good, ip="2001:0DB8:0:1::1", email="jane@mail.example"), event("d", good, ip="no address"),
    )  # fmt: skip
    load(home.platform, ["2026-03-02"])
    rows = home.query(f"select visitor_key, ip_prefix, email_key, pii_key_id from {CLEANED} order by event_id")
    keys, prefixes, emails, ids = zip(*rows, strict=True)
    assert keys[0] == keys[1] != keys[2] and keys[3] is None and all(re.fullmatch("[0-9a-f]{64}", k) for k in keys[:3])
    assert prefixes == ("203.0.113.0/24", "203.0.113.0/24", "2001:db8::/48", None)
    assert emails[0] == emails[2] != keys[0] and emails[1] is None
    assert len(set(ids)) == 1

    # Another key gives others, and files that landing still has are read again with it.
    home = replace(home, further={"CLICKSTREAM_PII_KEY": KEY[::-1]})
    load(home.platform, ["2026-03-02"])
    again = home.query(f"select visitor_key, ip_prefix, email_key, pii_key_id from {CLEANED} order by event_id")
    assert [row[1] for row in again] == list(prefixes) and not {row[0] for row in again[:3]} & set(keys[:3])
    assert {row[3] for row in again} != set(ids)


def test_without_its_key_nothing_is_run(home: Home) -> None:
    land(home, "2026-03-02", "x", *a_day())
    load(home.platform, ["2026-03-02"])
    key = home.path / "pii.key"
    assert key.stat().st_mode & 0o777 == 0o600
    kept = key.rename(home.path / "elsewhere")
    with pytest.raises(RunFailed, match=r"pii\.key is gone, and the tables have pseudonyms that were made with it"):
        run(home, "2026-03-02")
    assert not key.exists()
    key.write_text("short")
    with pytest.raises(RunFailed, match=r"pii\.key is damaged: it has 5 bytes"):
        run(home, "2026-03-02")
    kept.rename(key)
    load(home.platform, ["2026-03-02"])


@pytest.mark.parametrize("key", ["", "x" * 31])
def test_on_aws_the_key_has_to_be_given(key: str) -> None:
    from clickstream_assets.settings import Settings

    with pytest.raises(ClickstreamError, match="CLICKSTREAM_PII_KEY"):
        Settings.from_environment(
            {
                "CLICKSTREAM_ENVIRONMENT": "aws",
                "CLICKSTREAM_WAREHOUSE": "duckdb",
                "CLICKSTREAM_LANDING_URI": "s3://bucket/landing",
                "CLICKSTREAM_LAKE_URI": "s3://bucket/lake",
                "CLICKSTREAM_PII_KEY": key,
            }
        )


def test_an_address_that_redaction_missed_is_not_published(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyspark.sql import functions as F

    from clickstream_assets.transforms import clickstream

    def refused(where: str) -> None:
        with pytest.raises(RunFailed, match=f"no_personal_data: e-mail or IP addresses in {where}") as failed:
            run(home, "2026-03-02")
        assert "mail.example" not in str(failed.value) and "192.0.2.7" not in str(failed.value)

    land(home, "2026-03-02", "x", *a_day())
    run(home, "2026-03-02")
    before = home.tables()
    land(home, "2026-03-02", "y", event("n", "2026-03-02T05:30:00Z", page_url="/?m=jane%40mail.example"))
    with monkeypatch.context() as patch:
        patch.setattr(privacy, "redact", lambda texts, of_id: dict(texts))
        refused(r"clickstream_raw\.events_raw\.page_url")
    assert home.tables() == before

    with monkeypatch.context() as patch:
        patch.setattr(clickstream, "_path", lambda: F.lit("/192.0.2.7"))
        refused(r"clickstream\.events_cleaned\.page_path")
    assert home.ledger(RAW, "2026-03-02") == (25, 25, 0, 0, 0, 0), "raw was published"
    after = home.tables()
    of_layer = [name for name in before if "events_cleaned" in name]
    assert of_layer and {name: after[name] for name in of_layer} == {name: before[name] for name in of_layer}


# --- all of it ---


def test_planted_faults_are_what_ledger_and_quarantine_show(home: Home) -> None:
    made = generator("clickstream")(
        home.platform.landing.write, first=date(2026, 3, 1), last=date(2026, 3, 3), rows_per_day=400, faults=True
    )
    load(home.platform, [date(2026, 3, day) for day in (1, 2, 3)])
    planted = {rule: n for rule, n in made.faults.items() if rule not in ("duplicate_file", "duplicate")}
    assert dict(home.query("select rule, count(*) from ops.quarantine group by 1")) == planted
    assert home.one("select sum(duplicate) from ops.row_ledger") == (made.faults["duplicate"],)
    assert home.one(f"select sum(rows_in) from ops.row_ledger where asset = '{RAW}'") == (
        made.rows + made.faults["rejected_file"],
    )
    unbalanced = "rows_in <> rows_out + rejected + duplicate + late + filtered"
    assert home.query(f"select * from ops.row_ledger where {unbalanced}") == []
    rejected = home.query("select asset, partition_date, rejected from ops.row_ledger where rejected > 0 order by 1, 2")
    counted = "select asset, partition_date, count(*) from ops.quarantine group by 1, 2 order by 1, 2"
    assert rejected == home.query(counted)
    assert home.one("select count(*) from ops.landing_files where status = 'duplicate_file'") == (
        made.faults["duplicate_file"],
    )
