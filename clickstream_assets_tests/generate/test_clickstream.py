"""The clickstream generator, judged by code that shares nothing with it: gzip, json, datetime and decimal."""

import gzip
import ipaddress
import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from clickstream_assets.generate import Generated, clickstream, generator
from clickstream_assets.generate.clickstream import records

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 6)
ROWS = 2_000
START = datetime(2024, 1, 1, tzinfo=UTC)
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)?", re.ASCII)
PATH = re.compile(
    r"clickstream/year=(\d{4})/month=(\d\d)/day=(\d\d)/shop-events-1-\1-\2-\3-\d\d-\d\d-\d\d"
    r"-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.gz"
)
ADDRESSES = [
    ipaddress.ip_network(net)
    for net in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "10.0.0.0/8", "2001:db8::/32")
]
Event = dict[str, Any]


@cache
def made(
    first: date = FIRST, last: date = LAST, rows: int = ROWS, faults: bool = False, seed: int = 0
) -> tuple[Generated, dict[str, bytes]]:
    files: dict[str, bytes] = {}
    result = generator("clickstream")(
        files.__setitem__, first=first, last=last, rows_per_day=rows, faults=faults, seed=seed
    )
    assert result.paths == list(files)
    return result, files


def day_of(path: str) -> date:
    year, month, day = re.findall(r"=(\d+)/", path)
    return date(int(year), int(month), int(day))


def read(text: str) -> Iterator[Any]:
    """Values one after the other; ``ValueError`` for what is none, up to the next line that starts with ``{``."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        if text[at] == "\n":
            at += 1
            continue
        try:
            value, end = decoder.raw_decode(text, at)
            if text[end : end + 1] not in ("", "\n", "{"):
                raise ValueError(text[at:end])
            yield value
            at = end
        except ValueError:
            yield ValueError
            at = text.find("\n{", at) + 1 or len(text)


def loaded_once(files: dict[str, bytes]) -> dict[str, str]:
    """Texts of the files that can be read, each content once; undecodable bytes are surrogates."""
    texts: dict[str, str] = {}
    for path, content in files.items():
        try:
            text = gzip.decompress(content).decode(errors="surrogateescape")
        except EOFError:
            continue
        if text not in texts.values():
            texts[path] = text
    return texts


def moment_of(stamp: object) -> datetime | None:
    if isinstance(stamp, int):
        return datetime.fromtimestamp(stamp / 1000, UTC)
    try:
        moment = datetime.fromisoformat(stamp) if isinstance(stamp, str) and TIMESTAMP.fullmatch(stamp) else None
    except ValueError:
        return None
    return moment and (moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC))


def broken_rules(value: Any, arrived: date) -> list[str]:
    """All rules that a record breaks; one that cannot be read breaks no other."""
    if value is ValueError:
        return ["bad_json"]
    if not isinstance(value, dict):
        return ["not_an_object"]
    if any("\udc80" <= letter <= "\udcff" for letter in json.dumps(value, ensure_ascii=False)):
        return ["bad_encoding"]
    moment, quantity, price = moment_of(value.get("timestamp")), value.get("quantity"), value.get("price")
    ends = datetime(arrived.year, arrived.month, arrived.day, tzinfo=UTC) + timedelta(days=2)
    broken = {
        "missing_event_id": not value.get("event_id"),
        "missing_event_type": not value.get("event_type"),
        "bad_timestamp": moment is None,
        "out_of_range": moment is not None and not START <= moment < ends,
        "bad_quantity": quantity is not None and not (isinstance(quantity, int) and 0 <= quantity <= 2**31),
        "bad_price": price is not None
        and not (isinstance(price, (int, float)) and 0 <= price <= Decimal("9999999999.99")),
    }
    return [rule for rule, breaks in broken.items() if breaks]


def events(files: dict[str, bytes]) -> tuple[list[tuple[str, Event]], Counter[str]]:
    """Good events with their paths, second ones included, and the count of the others by rule."""
    good: list[tuple[str, Event]] = []
    bad: Counter[str] = Counter()
    for path, text in loaded_once(files).items():
        for value in read(text):
            if rules := broken_rules(value, day_of(path)):
                assert len(rules) == 1, (rules, value)
                bad[rules[0]] += 1
            else:
                good.append((path, value))
    return good, bad


@cache
def clean() -> list[tuple[str, Event]]:
    return events(made()[1])[0]


def repeated(good: list[tuple[str, Event]]) -> int:
    return len(good) - len({(event["event_id"], moment_of(event["timestamp"]).date()) for _, event in good})  # type: ignore[union-attr]


@pytest.mark.parametrize("faults", [False, True])
def test_the_same_arguments_give_the_same_bytes_and_another_seed_gives_others(faults: bool) -> None:
    assert made.__wrapped__(FIRST, LAST, 500, faults) == made.__wrapped__(FIRST, LAST, 500, faults)
    assert not set(made(FIRST, LAST, 500, faults)[1].values()) & set(made(FIRST, LAST, 500, faults, seed=1)[1].values())


@pytest.mark.parametrize("faults", [False, True])
def test_a_range_equals_the_sum_of_its_days(faults: bool) -> None:
    whole, files = made(faults=faults)
    by_day: dict[str, bytes] = {}
    rows, planted = 0, Counter[str]()
    for n in range((LAST - FIRST).days + 1):
        day = FIRST + timedelta(n)
        result, made_that_day = made(day, day, faults=faults)
        by_day |= made_that_day
        rows += result.rows
        planted.update(result.faults)
    assert (by_day, rows) == (files, whole.rows)
    if faults:  # what repeats an event of the day before is no duplicate where that day is not
        planted["duplicate"] += (LAST - FIRST).days * (ROWS // 1000)
    assert planted == whole.faults


@pytest.mark.parametrize("rows", [1, 2, 7, 60, 333, ROWS])
def test_without_faults_every_record_is_good(rows: int) -> None:
    result, files = made(rows=rows)
    good, bad = events(files)
    assert (result.faults, bad) == ({}, {})
    assert result.rows == len(good)
    assert set(Counter(day_of(path) for path, _ in good).values()) == {rows}
    assert all(PATH.fullmatch(path) for path in files)


@pytest.mark.parametrize("rows", [1, 9, 60, 700, 3_000])
def test_the_counts_of_planted_faults_add_up(rows: int) -> None:
    first, last = FIRST + timedelta(60), LAST + timedelta(60)  # the days before have events, and are not written
    result, files = made(first, last, rows=rows, faults=True)
    good, bad = events(files)
    days = (LAST - FIRST).days + 1
    found = bad | {"rejected_file": days, "duplicate_file": days, "duplicate": repeated(good)}
    assert result.faults == {rule: n for rule, n in found.items() if n}
    assert result.rows == len(good) + bad.total()
    per_rule = days * max(1, rows // 500)
    if rows > 10:
        assert set(bad.values()) == {per_rule} and len(bad) == 9
        copies = days * (rows // 250) + (days - 1) * (rows // 1000)
        assert result.faults["duplicate"] == per_rule + copies
        assert len(good) == days * rows + per_rule


def test_a_day_has_several_files_in_order_of_arrival_with_newlines_or_nothing_between() -> None:
    _, files = made()
    by_day = Counter(map(day_of, files))
    assert set(by_day.values()) == {6} and list(files) == sorted(files)
    lined = Counter[bool]()
    for path, content in files.items():
        text = gzip.decompress(content).decode()
        began = datetime.strptime(path.split("shop-events-1-")[1][:19], "%Y-%m-%d-%H-%M-%S").replace(tzinfo=UTC)
        assert began.date() == day_of(path)
        lined[text.endswith("\n")] += 1
        assert text.count("\n") == (len(list(read(text))) if text.endswith("\n") else 0)
        moments = (
            [moment_of(event["timestamp"]) for event in map(json.loads, text.splitlines())] if "\n" in text else []
        )
        in_time = [moment for moment in moments if began - timedelta(minutes=5) <= moment]  # type: ignore[operator]
        assert len(in_time) >= 0.9 * len(moments)
    assert lined == {True: 24, False: 12}


def test_some_events_are_late_and_some_arrive_twice_in_another_file() -> None:
    days = Counter[int]()
    places: dict[str, list[tuple[str, Event]]] = defaultdict(list)
    for path, event in clean():
        moment = moment_of(event["timestamp"])
        assert moment is not None and moment >= START
        days[(day_of(path) - moment.date()).days] += 1
        places[event["event_id"]].append((path, event))
    share = {late: n / len(clean()) for late, n in days.items()}
    assert set(share) == {0, 1, 2, 3}
    assert 0.008 < sum(n for late, n in share.items() if late) < 0.025 and share[2] > share[3] > 0.0005
    twice = [found for found in places.values() if len(found) > 1]
    assert 0.004 < len(twice) / len(clean()) < 0.006
    for found in twice:
        assert len({path for path, _ in found}) == len(found)
        assert all(event == found[0][1] for _, event in found)
    assert Counter(len({day_of(path) for path, _ in found}) for found in twice)[2] == 5 * (ROWS // 1000)


def test_the_time_is_written_in_four_ways_and_each_sender_keeps_to_one() -> None:
    forms: dict[tuple[str, str], set[str]] = defaultdict(set)
    for _, event in clean():
        stamp = event["timestamp"]
        form = "epoch" if isinstance(stamp, int) else re.sub(r"\d", "9", stamp)
        forms[event.get("session_id", "none"), form].add(event["event_id"])
    kinds = Counter(form for _, form in forms)
    assert set(kinds) == {
        *("epoch", "9999-99-99T99:99:99.999Z", "9999-99-99T99:99:99+99:99", "9999-99-99 99:99:99.999")
    }
    assert set(Counter(session for session, _ in forms if session != "none").values()) == {1}


def test_visits_tell_a_story() -> None:
    good = {event["event_id"]: event for _, event in events(made(FIRST, FIRST + timedelta(6), 5_000)[1])[0]}.values()
    visits: dict[str, list[Event]] = defaultdict(list)
    for event in sorted(good, key=lambda event: moment_of(event["timestamp"])):  # type: ignore[arg-type, return-value]
        if event.get("session_id"):
            visits[event["session_id"]].append(event)
    reached = Counter(kind for visit in visits.values() for kind in {event["event_type"] for event in visit})
    assert reached["page_view"] > reached["product_view"] > reached["add_to_cart"] > reached["purchase"] > 0
    assert 0.01 < reached["purchase"] / len(visits) < 0.1
    assert 0.8 < sum("session_id" in event for event in good) / len(good) < 0.95
    over_midnight = logged_in = 0
    for visit in visits.values():
        users = [event.get("user_id") for event in visit]
        known = [user for user in users if user is not None]
        assert len(set(known)) <= 1 and users == [None] * (len(users) - len(known)) + known
        moments = [moment_of(event["timestamp"]) for event in visit]
        over_midnight += moments[0].date() != moments[-1].date()  # type: ignore[union-attr]
        for event, user in zip(visit, users, strict=True):
            assert ("email" in event) == (event["event_type"] == "login") and (user or "email" not in event)
        logged_in += 0 < len(known) < len(users)
    assert over_midnight > 3 and logged_in > 50
    seen: dict[str, set[date]] = defaultdict(set)
    of_users: dict[str, set[str]] = defaultdict(set)
    for event in good:
        if event.get("ip"):
            seen[event["ip"]].add(moment_of(event["timestamp"]).date())  # type: ignore[union-attr]
            if event.get("user_id"):
                of_users[event["user_id"]].add(str(ipaddress.ip_address(event["ip"])))
    assert sum(len(days) > 1 for days in seen.values()) > 0.5 * len(seen), "visitors come back"
    assert sum(len(ips) > 1 for ips in of_users.values()) > 10, "some have two devices"


def test_records_have_the_documented_keys_and_values() -> None:
    families = Counter[int]()
    for _, event in clean():
        assert set(event) <= {
            *("event_id", "event_type", "user_id", "session_id", "timestamp", "page_url", "referrer", "user_agent"),
            *("ip", "email", "product_id", "quantity", "price", "currency", "properties"),
        }
        kind = event["event_type"]
        bought = kind in ("add_to_cart", "purchase")
        assert (kind == "product_view" or bought) == ("product_id" in event)
        assert bought == ("quantity" in event) == ("price" in event) == ("currency" in event)
        assert isinstance(event["properties"], dict) and event["properties"]["locale"]
        if event.get("ip"):
            ip = ipaddress.ip_address(event["ip"])
            families[ip.version] += 1
            assert any(ip in network for network in ADDRESSES)
        if "email" in event:
            assert re.fullmatch(r"visitor\d+@example\.(com|org)", event["email"], re.IGNORECASE)
    assert families[4] > 5 * families[6] > 0
    assert sum("ip" not in event for _, event in clean()) > 0


def test_visits_come_from_everywhere() -> None:
    good = [event for _, event in events(made(FIRST, FIRST + timedelta(6), 5_000)[1])[0]]
    hosts = Counter(urlsplit(event["referrer"]).hostname for event in good if event.get("referrer"))
    for host in ("www.google.com", "www.bing.com", "chatgpt.com", "www.perplexity.ai", "l.facebook.com", "t.co"):
        assert hosts[host] > 0
    assert hosts["shop.example.com"] > sum(hosts.values()) / 2
    assert sum(event.get("referrer") is None for event in good) > 100
    parameters = Counter(name for event in good for name in parse_qs(urlsplit(event["page_url"]).query))
    assert {"utm_source", "utm_medium", "utm_campaign", "utm_term", "gclid", "fbclid", "msclkid"} <= set(parameters)
    agents = {event["user_agent"] for event in good}
    assert len(agents) >= 40 and sum("bot" in agent.lower() for agent in agents) >= 5


def test_addresses_are_where_none_should_be() -> None:
    good, _ = events(made(rows=3_000, faults=True)[1])
    where = Counter[str]()
    known = set(clean()[0][1]) | {"user_id", "email", "product_id", "quantity", "price", "currency"}
    for _, event in good:
        for key, value in event.items():
            text = json.dumps(value)
            if key not in ("email", "ip"):
                place = key if key in known else "unknown"
                where[f"{place} @"] += "@" in text
                where[f"{place} %40"] += "%40" in text
                where[f"{place} ip"] += re.search(r"\b198\.51\.100\.\d", text) is not None
                where[f"{place} ip6"] += "2001:db8:" in unquote(text)
    for place in ("unknown @", "unknown ip", "unknown ip6", "page_url %40", "page_url ip", "page_url ip6"):
        assert where[place] > 10, place
    for place in ("properties @", "properties ip", "properties ip6", "referrer %40", "referrer ip", "user_id @"):
        assert where[place] > 10, place
    texts = loaded_once(made(rows=3_000, faults=True)[1]).values()
    broken = [line for text in texts for line in text.split("\n") if line and not line.startswith("{")]
    assert any("@example.com" in line for line in broken) and any("203.0.113." in line for line in broken)
    assert all(any(form in text for text in texts) for form in ('{\n  "event_id"', "\\u0040", "Überweisung", '{\n\t"'))


def test_what_follows_a_broken_record_starts_on_a_line_of_its_own() -> None:
    for text in loaded_once(made(faults=True)[1]).values():
        values = list(read(text))
        unreadable = [value is ValueError or not isinstance(value, dict) for value in values]
        assert not any(one and other for one, other in pairwise(unreadable))


def test_one_file_a_day_is_a_copy_and_one_is_cut_short() -> None:
    cut = copies = 0
    by_day: dict[date, list[bytes]] = defaultdict(list)
    for path, content in made(faults=True)[1].items():
        by_day[day_of(path)].append(content)
        assert PATH.fullmatch(path)
    for contents in by_day.values():
        copies += len(contents) - len(set(contents))
        for content in contents:
            try:
                gzip.decompress(content)
            except EOFError:
                cut += 1
    assert cut == copies == len(by_day) == 6


def test_a_large_day_is_several_files_of_at_most_50_000_records(monkeypatch: pytest.MonkeyPatch) -> None:
    assert clickstream.RECORDS_PER_FILE * 25 // 24 == 50_000
    monkeypatch.setattr(clickstream, "RECORDS_PER_FILE", 480)
    day = date(2024, 1, 2)
    result, files = made.__wrapped__(day, day, 4_000, True)
    sizes = [sum(1 for _ in read(text)) for text in loaded_once(files).values()]
    assert sum(sizes) == result.rows and len(sizes) == 9 and max(sizes) <= 500


@pytest.mark.parametrize("faults", [False, True])
def test_single_records_are_those_of_the_files(faults: bool) -> None:
    planted: dict[str, int] = {}
    arguments = {"first": FIRST, "last": date(2024, 1, 2), "rows_per_day": 700, "faults": faults}
    alone = [one for some in records(**arguments, planted=planted) for one in some]  # type: ignore[arg-type]
    result, files = made(FIRST, date(2024, 1, 2), 700, faults)
    together = "".join(loaded_once(files).values())
    assert len(alone) == result.rows
    assert sorted(b"".join(alone).replace(b"\n", b"")) == sorted(
        together.replace("\n", "").encode(errors="surrogateescape")
    )
    assert planted == {rule: n for rule, n in result.faults.items() if not rule.endswith("_file")}


def test_progress_is_told_each_day_after_its_files() -> None:
    seen: list[tuple[date, int]] = []
    files: dict[str, bytes] = {}
    tell: Callable[[date], None] = lambda day: seen.append((day, len(files)))  # noqa: E731
    generator("clickstream")(files.__setitem__, first=FIRST, last=date(2024, 1, 3), rows_per_day=5, progress=tell)
    assert seen == [(date(2024, 1, n), n) for n in (1, 2, 3)]


@pytest.mark.parametrize(
    "wrong",
    [{"last": date(2023, 12, 31)}, {"rows": 0}, {"seed": -1}, {"first": date(2023, 12, 31)}],
    ids=["range", "rows", "seed", "before the first day"],
)
def test_arguments_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"2023-12-31|not 0|-1"):
        made(**wrong)


def test_looking_a_generator_up_loads_no_other() -> None:
    code = (
        "import sys; from clickstream_assets.generate import generator; generator('clickstream'); "
        "sys.exit('clickstream_assets.generate.ecommerce' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
