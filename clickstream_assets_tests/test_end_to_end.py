"""The e-commerce domain from landing files to answers, run as a user runs it."""

from __future__ import annotations

import csv
import gzip
import io
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from clickstream_assets.generate import generator
from clickstream_assets.generate.story import Story as SampleStory
from clickstream_assets.run import RunFailed
from clickstream_assets_tests import forked
from clickstream_assets_tests.conftest import Home, use_home
from clickstream_assets_tests.servers import S3Server

RAW, CLEANED, EVENTS = "ecommerce_raw.events_raw", "ecommerce.events_cleaned", "ecommerce.events"


@pytest.mark.parametrize("told", [None, SampleStory(date(2024, 3, 1), date(2024, 3, 4))], ids=["usual days", "a story"])
def test_planted_faults_are_what_ledger_and_quarantine_show(home: Home, told: SampleStory | None) -> None:
    days = {"first": date(2024, 3, 1), "last": date(2024, 3, 4)}
    made = generator("ecommerce")(home.platform.landing.write, **days, rows_per_day=1500, faults=True, story=told)
    home.run("2024-03-01", "2024-03-04")
    good = sum(told.on(date(2024, 3, day)).rows(1500) if told else 1500 for day in range(1, 5))

    files = made.faults["rejected_file"]
    row_rules = {rule for rule in made.faults if rule not in ("duplicate_file",)}
    assert dict(home.query("select rule, count(*) from ops.quarantine group by rule")) == {
        rule: made.faults[rule] for rule in row_rules
    }
    unread = made.faults["ragged"] + made.faults["bad_encoding"]
    raw_in, raw_out, raw_rejected = home.one(
        f"select sum(rows_in), sum(rows_out), sum(rejected) from ops.row_ledger where asset = '{RAW}'"
    )
    assert (raw_in, raw_out, raw_rejected) == (made.rows + files, made.rows - unread, unread + files)
    assert home.one(f"select sum(rows_in), sum(rows_out) from ops.row_ledger where asset = '{CLEANED}'") == (
        raw_out,
        good,
    )
    assert home.one(f"select sum(rows_in), sum(rows_out) from ops.row_ledger where asset = '{EVENTS}'") == (good, good)
    assert (
        home.query("select * from ops.row_ledger where rows_in <> rows_out + rejected + duplicate + late + filtered")
        == []
    )
    assert dict(home.query("select status, count(*) from ops.landing_files group by status")) == {
        "loaded": len(made.paths) - files - made.faults["duplicate_file"],
        "rejected_file": files,
        "duplicate_file": made.faults["duplicate_file"],
    }
    assert (
        home.query(
            "select asset, partition_date from ops.row_ledger l where rejected <> "
            "(select count(*) from ops.quarantine q where q.asset = l.asset and q.partition_date = l.partition_date)"
        )
        == []
    )


def test_every_answer_equals_plain_python_over_the_landing_files(home: Home) -> None:
    generator("ecommerce")(
        home.platform.landing.write, first=date(2024, 3, 1), last=date(2024, 3, 4), rows_per_day=800, seed=3
    )
    home.run("2024-03-01", "2024-03-04")
    events = _read_landing(home.path / "landing")
    want = _answers(events)

    assert len(events) == 3200
    assert home.table("ecommerce.users") == want["users"]
    assert home.table("ecommerce.sessions") == want["sessions"]
    assert home.table("ecommerce.products") == want["products"]
    assert home.table("ecommerce.event_types") == want["event_types"]
    assert home.query("select * from ecommerce.time order by date") == want["time"]
    assert home.query("select * from ecommerce.top_products order by rank") == want["top_products"]
    assert home.query("select * from ecommerce.daily_active_users order by event_date") == want["daily_active_users"]
    assert home.one("select * from ecommerce.conversion_funnel") == pytest.approx(want["conversion_funnel"])
    assert _near(home.table("ecommerce.user_segments"), want["user_segments"])
    assert home.one("select * from ecommerce.revenue_metrics") == want["revenue_metrics"]
    assert home.table("ecommerce.weekday_weekend") == want["weekday_weekend"]
    journeys = "select user_id, step, event_type, product_id, amount, event_timestamp from ecommerce.user_journeys"
    assert [row[:3] for row in home.query(f"{journeys} order by user_id, step")] == want["user_journeys"]


@dataclass(frozen=True)
class Story:
    """A home after its first run, and after the last of those that followed when landing had changed.

    ``empty``: what the view of the lake had on the day without files. ``again``: the tables after the first day was run
    once more. ``refused``, ``kept``: why a run failed, and the tables after it. ``repaired``: days that the last made.
    """

    first: dict[str, list[tuple[Any, ...]]]
    before: Home
    again: dict[str, list[tuple[Any, ...]]]
    refused: str
    kept: dict[str, list[tuple[Any, ...]]]
    after: Home
    repaired: Sequence[date]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Days that have nothing to do with each other, in the same runs: each test looks at its own."""
    bought, viewed, seen = (f"2024-03-01 10:00:00,{kind}" for kind in ("purchase", "product_view", "page_view"))
    with pytest.MonkeyPatch.context() as patch:
        home = use_home(tmp_path_factory.mktemp("story") / "home", patch)
        rejected = f",1,{seen},,,"
        home.land("2024-03-01", "a.csv", *[f"twin,1,{viewed},p1,,"] * 2, rejected, f"twin,1,{viewed},p1,,")
        home.land("2024-03-04", "replaced.csv", "moved,1,2024-02-03 23:00:00,purchase,p4,5,", f"stays,1,{seen},,,")
        expires = home.land("2024-03-05", "a.csv", f"expired,1,{seen},,,", "1,1,broken")
        home.land("2024-03-06", "plain.csv", f"zipped,1,{bought},p6,5.00,")
        home.land("2024-03-07", "plain.csv.gz", f"zipped,1,{bought},p6,5.00,")
        # Each optional column empty, words and dates nobody expects, and amounts where none belongs.
        home.land(
            "2024-03-08",
            "a.csv",
            "odd1,,2024-03-01 10:00:00,page_view,,,",
            "odd1,,2024-03-01 10:00:00,purchase,p1,0,",
            "odd2,1,0001-01-01 00:00:00,Ünknown,,7.777,x",
            "odd3,1,9999-12-31 23:59:59.999999,add_to_cart,p2,,",
            '"odd\'""4""",1,2024-03-01T10:00:00Z,purchase,p\'1,9999999999.99,',
            "odd5,1,2024-03-01 10:00:00,product_view,p3,12.00,",
        )
        home.land("2024-03-09", "copy.csv", f"copied,1,{bought},p9,5.00,")
        home.run("2024-03-01", "2024-03-09")
        first = home.tables()
        before = Home(home.path.with_name("before"))
        shutil.copytree(home.path, before.path)

        home.run("2024-03-01")
        again = home.tables()

        bad = [rejected] * 900
        whole = home.landing("2024-03-01").joinpath("a.csv").read_bytes()
        home.land("2024-03-01", "a.csv", *bad, *[f"guarded,1,{seen},,,"] * 300)
        with pytest.raises(RunFailed) as refused:
            home.run("2024-03-01")
        kept = home.tables()
        home.landing("2024-03-01").joinpath("a.csv").write_bytes(whole)

        home.land("2024-03-04", "replaced.csv", f"stays,1,{seen},,,")
        expires.unlink()
        home.land("2024-03-05", "b.csv", f"new,1,{seen},,,")
        home.land("2024-03-03", "original.csv", f"copied,1,{bought},p9,5.00,")
        summary = home.run("2024-03-01", "2024-03-05")
        yield Story(first, before, again, str(refused.value), kept, home, summary.repaired)


def test_identical_rows_are_distinct_events_and_running_their_day_again_changes_nothing(story: Story) -> None:
    of_twin = "select count(*), count(distinct event_id) from ecommerce.events where user_id = 'twin'"
    assert story.before.one(of_twin) == story.after.one(of_twin) == (3, 3)
    assert {name for name, rows in story.again.items() if rows != story.first[name]} <= {"ops.run_window"}


def test_a_replaced_file_also_clears_the_dates_that_it_no_longer_has(story: Story) -> None:
    of_date = "select event_date, users from ecommerce.daily_active_users where event_date = '2024-02-03'"
    of_product = "select product_id, revenue from ecommerce.top_products where product_id = 'p4'"
    assert story.before.query(of_date) == [(date(2024, 2, 3), 1)]
    assert story.before.query(of_product) == [("p4", Decimal(5))]
    assert story.after.query(of_date) == story.after.query(of_product) == []
    assert story.after.query("select product_id from ecommerce.products where product_id = 'p4'") == []
    assert story.after.query("select user_id from ecommerce.users where user_id in ('moved', 'stays')") == [("stays",)]


def test_a_day_with_nothing_landed_is_an_empty_partition(story: Story) -> None:
    for asset in (RAW, CLEANED, EVENTS):
        assert story.before.ledger(asset, "2024-03-02") == (0, 0, 0, 0, 0, 0)
    for table in ("ecommerce.events", "spectrum_ecommerce.events_raw"):
        assert story.after.query(f"select * from {table} where ingestion_date = '2024-03-02'") == []


def test_a_file_that_landing_no_longer_has_keeps_its_rows(story: Story) -> None:
    assert story.after.ledger(RAW, "2024-03-05") == (3, 2, 1, 0, 0, 0)
    users = story.after.query("select user_id from ecommerce.events where ingestion_date = '2024-03-05' order by 1")
    assert users == [("expired",), ("new",)]


def test_the_same_content_counts_once_whichever_day_runs_first(story: Story) -> None:
    assert story.before.ledger(EVENTS, "2024-03-09") == (1, 1, 0, 0, 0, 0)
    assert story.repaired == [date(2024, 3, 9)]
    assert story.after.ledger(EVENTS, "2024-03-03") == (1, 1, 0, 0, 0, 0)
    assert story.after.ledger(EVENTS, "2024-03-09") == (0, 0, 0, 0, 0, 0)
    both = "path like '%/original.csv' or path like '%/copy.csv'"
    assert story.after.query(f"select path, status from ops.landing_files where {both} order by path") == [
        ("ecommerce/ingestion_date=2024-03-03/original.csv", "loaded"),
        ("ecommerce/ingestion_date=2024-03-09/copy.csv", "duplicate_file"),
    ]
    assert revenue(story.before, "p9") == revenue(story.after, "p9") == Decimal("5.00")


def test_a_guard_that_fails_publishes_nothing(story: Story) -> None:
    why = r"ecommerce\.events_cleaned was not published for 2024-03-01: rejected_share: .*2024-03-01 \(75%\)"
    assert re.search(why, story.refused)
    unchanged = [name for name in story.again if name.startswith("ecommerce.")]
    assert len(unchanged) > 20
    assert {name: story.kept[name] for name in unchanged} == {name: story.again[name] for name in unchanged}


def test_a_file_and_its_gzipped_copy_are_the_same_content(story: Story) -> None:
    assert revenue(story.before, "p6") == Decimal("5.00")


def test_everything_that_the_rules_accept_passes_the_models_tests(story: Story) -> None:
    assert story.before.ledger(EVENTS, "2024-03-08") == (6, 6, 0, 0, 0, 0)
    sessions = "select user_id, session_id from ecommerce.sessions where user_id like 'odd%' order by 1, 2"
    assert story.before.query(sessions) == [('odd\'"4"', "1"), ("odd2", "1"), ("odd3", "1"), ("odd5", "1")]
    (counted,) = story.before.one("select sum(events) from ecommerce.daily_active_users")
    assert story.before.one("select count(*) from ecommerce.events") == (counted,)


def revenue(home: Home, product: str) -> Any:
    (found,) = home.one(f"select revenue from ecommerce.top_products where product_id = '{product}'")
    return found


def _read_landing(root: Path) -> list[dict[str, str]]:
    events = []
    for path in sorted(root.rglob("*.csv*")):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        events += csv.DictReader(io.StringIO(content.decode(), newline=""))
    return events


def _answers(rows: list[dict[str, str]]) -> dict[str, object]:
    """The answers as anybody would work them out, event by event."""
    events = []
    for row in rows:
        stamp = datetime.fromisoformat(row["Timestamp"] + "+00:00")
        amount = Decimal(row["Amount"]) if row["Amount"] else None
        events.append((row["UserID"], row["SessionID"], stamp, row["EventType"], row["ProductID"] or None, amount))
    by_user, by_session, by_day = defaultdict(list), defaultdict(list), defaultdict(list)
    for event in events:
        by_user[event[0]].append(event)
        by_session[event[:2]].append(event)
        by_day[event[2].date()].append(event)

    def of(kind: str, some: list) -> list:
        return [event for event in some if event[3] == kind]

    products = sorted({event[4] for event in events if event[4]})
    views, carts, bought = (
        Counter(event[4] for event in of(kind, events)) for kind in ("product_view", "add_to_cart", "purchase")
    )
    revenue = Counter()
    for event in of("purchase", events):
        revenue[event[4]] += event[5]
    ranked = sorted(products, key=lambda product: (-views[product], product))
    viewed = {user for user, some in by_user.items() if of("product_view", some)}
    added = {user for user, some in by_user.items() if of("add_to_cart", some)}
    purchased = {user for user, some in by_user.items() if of("purchase", some)}
    in_order_added, in_order_purchased = set(), set()
    for user, some in by_user.items():
        chains = [
            (a[2], [p for p in of("purchase", some) if p[2] >= a[2]])
            for a in of("add_to_cart", some)
            if any(v[2] <= a[2] for v in of("product_view", some))
        ]
        if chains:
            in_order_added.add(user)
        if any(later for _, later in chains):
            in_order_purchased.add(user)
    counts = [len(viewed), len(added), len(purchased)]
    ordered = [len(viewed), len(in_order_added), len(in_order_purchased)]

    def rates(a: int, b: int, c: int) -> list[float]:
        return [b / a, c / b, c / a]

    segments = defaultdict(list)
    for some in by_user.values():
        n = len(some)
        name = (
            "High Activity"
            if n >= 20
            else "Medium Activity"
            if n >= 5
            else "Low Activity"
            if n >= 2
            else "One-time Visitors"
        )
        segments[name].append((n, len(of("purchase", some)), sum((e[5] for e in of("purchase", some)), Decimal(0))))
    orders = of("purchase", events)
    total = sum((e[5] for e in orders), Decimal(0))
    kinds = defaultdict(list)
    for event in events:
        kinds["Weekend" if event[2].isoweekday() > 5 else "Weekday"].append(event)
    weekly = []
    for kind, some in kinds.items():
        users = len({e[0] for e in some})
        spent = sum((e[5] for e in of("purchase", some)), Decimal(0))
        weekly.append(
            (kind, users, len(some), len(some) / users, len(of("purchase", some)), spent, float(spent) / users)
        )
    return {
        "users": sorted(
            ((u, min(e[2] for e in s).date(), max(e[2] for e in s).date(), len(s)) for u, s in by_user.items()),
            key=repr,
        ),
        "sessions": sorted(
            (
                (*k, (a := min(e[2] for e in s)), (b := max(e[2] for e in s)), len(s), (b - a).total_seconds())
                for k, s in by_session.items()
            ),
            key=repr,
        ),
        "products": sorted(((p,) for p in products), key=repr),
        "event_types": sorted(((kind,) for kind in {e[3] for e in events}), key=repr),
        "time": [
            (int(f"{d:%Y%m%d}"), d, d.year, d.month, d.day, d.isoweekday(), d.isoweekday() > 5) for d in sorted(by_day)
        ],
        "top_products": [
            (p, views[p], carts[p], bought[p], Decimal(revenue[p]).quantize(Decimal("0.01")), n)
            for n, p in enumerate(ranked, start=1)
        ],
        "conversion_funnel": (*counts, *rates(*counts), *ordered, *rates(*ordered)),
        "daily_active_users": [
            (d, "Weekend" if d.isoweekday() > 5 else "Weekday", u := len({e[0] for e in s}), len(s), len(s) / u)
            for d, s in sorted(by_day.items())
        ],
        "user_segments": [
            (n, len(s), *(float(sum(x[i] for x in s)) / len(s) for i in range(3))) for n, s in segments.items()
        ],
        "revenue_metrics": (
            len(purchased),
            sum(1 for s in by_user.values() if len(of("purchase", s)) >= 2),
            total,
            float(total) / len(purchased),
            float(total) / len(orders),
        ),
        "weekday_weekend": sorted(weekly, key=repr),
        "user_journeys": [
            (user, step, event[3])
            for user in sorted(purchased)
            for step, event in enumerate(sorted(by_user[user], key=lambda e: e[2]), start=1)
        ],
    }


def _near(found: list[tuple], wanted: list[tuple]) -> bool:
    by_name = {row[0]: row[1:] for row in wanted}
    return {row[0] for row in found} == set(by_name) and all(row[1:] == pytest.approx(by_name[row[0]]) for row in found)


def test_a_bucket_gives_what_folders_give(
    home: Home, s3_root: str, on_s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own: the engine is told of S3 when it starts."""
    paths = [
        home.land("2024-03-01", "a b.csv", "1,1,2024-03-01 10:00:00,purchase,p1,5.00,", "broken"),
        home.land("2024-03-01", "ä.csv.gz", "2,1,2024-03-01 10:00:00,product_view,p1,,"),
        home.land("2024-03-02", "c.csv", "2,1,2024-03-01 11:00:00,add_to_cart,p1,,", ",,,,,,"),
    ]
    for path in paths:
        prefix = s3_root.removeprefix(f"s3://{on_s3.bucket}/")
        on_s3.client.upload_file(str(path), on_s3.bucket, f"{prefix}/in/{path.relative_to(home.path / 'landing')}")
    home.run("2024-03-01", "2024-03-02")
    local = home.tables()
    roots = {"CLICKSTREAM_LANDING_URI": f"{s3_root}/in", "CLICKSTREAM_LAKE_URI": f"{s3_root}/lake"}
    other = use_home(home.path.with_name("other"), monkeypatch, **roots)
    for days in (("--date", "2024-03-01"), ("--from", "2024-03-01", "--to", "2024-03-02")):
        forked.start(other, "run", "ecommerce", *days).succeed()
    assert other.tables() == local
    assert not (other.path / "lake").exists()
