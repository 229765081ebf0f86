"""The clickstream models: an incremental run equals a full refresh, whatever arrives, and both are what they should be.

Without the pipeline: a DuckDB file with ``clickstream.events_cleaned`` and ``ops.run_window``, and dbt in this process.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import redshift_connector
import sqlglot
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from clickstream_assets import dbt
from clickstream_assets.schemas import CLICKSTREAM_CLEANED
from clickstream_assets.settings import Settings, exported
from clickstream_assets.storage.redshift_warehouse import ddl

DAY = timedelta(days=1)
FIRST = date(2026, 3, 1)
Event = dict[str, Any]

#: by their columns; what is left out are the lists of work
MODELS = (
    "event_days", "visitor_days", "visitor_weeks", "identity_days", "identity_edges", "conversions", "funnel_events",
    "session_pieces", "page_paths", "sessions", "session_identities", "session_hours", "daily_metrics",
    "retention_cohorts", "funnel", "attribution", "absorbed_event_dates",
)  # fmt: skip


@dataclass
class Warehouse:
    """A warehouse file that dbt builds the models in; ``days``: the events that it has, by event date."""

    folder: Path
    days: dict[date, list[Event]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        columns = ", ".join(f"{column.name} {column.type}" for column in CLICKSTREAM_CLEANED.columns)
        self.run(
            f"create schema ops; create schema clickstream; create table clickstream.events_cleaned ({columns});"
            "create table ops.run_window (domain varchar not null, partition_date date not null)"
        )

    @property
    def path(self) -> Path:
        return self.folder / "warehouse.duckdb"

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with contextlib.closing(duckdb.connect(str(self.path))) as connection:
            return connection.execute(sql, parameters).fetchall()

    def replace(self, days: Mapping[date, Iterable[Event]]) -> None:
        """Give these dates these events and no others."""
        self.days |= {day: list(events) for day, events in days.items()}
        rows = [one for events in days.values() for one in events]
        with contextlib.closing(duckdb.connect(str(self.path))) as connection:
            connection.execute(
                "delete from clickstream.events_cleaned where list_contains(?, event_date)", [list(days)]
            )
            connection.register("arrived", pa.Table.from_pylist(rows, schema=CLICKSTREAM_CLEANED.arrow))
            connection.execute("insert into clickstream.events_cleaned select * from arrived")
            connection.execute("delete from ops.run_window")
            connection.execute("insert into ops.run_window select 'clickstream', unnest(?::date[])", [list(days)])

    @property
    def target(self) -> str:
        return "duckdb"

    @property
    def variables(self) -> dict[str, str]:
        return {"CLICKSTREAM_DBT_DUCKDB_PATH": str(self.path), "CLICKSTREAM_DBT_DUCKDB_MEMORY": "1GB"}

    def build(self, *arguments: str, verb: str = "run", select: str = "tag:clickstream") -> Any:
        """What dbt says about a run of the models; it must succeed."""
        words = [verb, "--select", select, "--target", self.target, "--no-write-json", *arguments]
        with exported(self.variables):
            manifest = dbt._parsed(dbt.manifest(Settings.from_environment()))
            result = dbt._invoke(words, target=self.folder / "dbt", manifest=manifest)
        assert result.exception is None, result.exception
        problems = [f"{one.node.name}: {one.message}" for one in result.result if one.status not in ("success", "pass")]
        assert problems == [], "\n".join(problems)
        return result.result

    def rows(self, model: str) -> list[tuple[Any, ...]]:
        return self.run(f"select * from clickstream.{model} order by all")

    def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        return {model: self.rows(model) for model in MODELS}


class OnRedshift(Warehouse):
    """The same in a database of Redshift's twin, which is given the events of another warehouse."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self._variables = dict(variables)
        super().__init__(folder)

    @property
    def target(self) -> str:
        return "redshift"

    @property
    def variables(self) -> dict[str, str]:
        return {"CLICKSTREAM_WAREHOUSE": "redshift", "CLICKSTREAM_LAKE_URI": "s3://bucket/lake", **self._variables}

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        with self._cursor() as cursor:
            for sql in (
                "create schema ops",
                "create schema clickstream",
                "create table ops.run_window (domain varchar(255) not null, partition_date date not null)",
                ddl(CLICKSTREAM_CLEANED),
            ):
                cursor.execute(sql)

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[Any]:
        names = ("host", "port", "database", "user", "password")
        found = {name: self._variables[f"REDSHIFT_{name.upper()}"] for name in names}
        found["port"] = int(found["port"])  # type: ignore[assignment]
        connection = redshift_connector.connect(**found, ssl=False, application_name="tests")
        with contextlib.closing(connection), connection.cursor() as cursor:
            yield cursor
            connection.commit()

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._cursor() as cursor:
            cursor.execute(sql)
            return [tuple(row) for row in cursor.fetchall()]

    def replace(self, days: Mapping[date, Iterable[Event]]) -> None:
        names = [column.name for column in CLICKSTREAM_CLEANED.columns]
        self.days |= {day: list(events) for day, events in days.items()}
        with self._cursor() as cursor:
            cursor.execute("delete from ops.run_window")
            for day, events in days.items():
                cursor.execute(f"insert into ops.run_window values ('clickstream', '{day}')")
                cursor.execute(f"delete from clickstream.events_cleaned where event_date = '{day}'")
                rows = [["null" if (v := one.get(name)) is None else f"'{v}'" for name in names] for one in events]
                if rows:
                    values = ", ".join(f"({', '.join(row)})" for row in rows)
                    cursor.execute(f"insert into clickstream.events_cleaned values {values}")

    def rows(self, model: str) -> list[tuple[Any, ...]]:
        return self.run(f"select * from clickstream.{model}")


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path / "warehouse")


def at(day: int, clock: str) -> datetime:
    """A time of the day with that number, of which 0 is FIRST."""
    return datetime.combine(FIRST + day * DAY, datetime.strptime(clock, "%H:%M:%S").time(), tzinfo=UTC)


_numbers = iter(range(10**9))


def event(ts: datetime, /, **columns: Any) -> Event:
    """A cleaned event of that time."""
    found = {
        "event_id": f"e{next(_numbers):09}",
        "event_type": "page_view",
        "event_ts": ts,
        "event_date": ts.date(),
        "event_hour": ts.hour,
        "is_bot": False,
        "page_path": "/",
    } | columns
    if found.get("price") is not None and found.get("quantity") is not None:
        found["revenue"] = found["price"] * found["quantity"]
    return found


def by_day(events: Iterable[Event]) -> dict[date, list[Event]]:
    days: dict[date, list[Event]] = defaultdict(list)
    for one in events:
        days[one["event_date"]].append(one)
    return dict(days)


#: a run of these is one that was killed before attribution
UP_TO_SESSIONS = "changed_event_dates changed_persons session_pieces conversions clickstream_sessions"

#: dates as far apart as the models look: neighbours, a week, both sides of 30 days, and more
DATES = (0, 1, 2, 3, 4, 6, 7, 8, 28, 29, 30, 31, 33, 60, 61, 62, 95)
CLOCKS = ("00:00:00", "00:00:05", "00:10:00", "00:29:59", "00:45:00", "12:00:00", "12:30:00", "13:00:01", "23:20:00",
          "23:31:00", "23:45:00", "23:59:59")  # fmt: skip


def world(random: Random, *, steps: int, places: int = 20) -> list[dict[date, list[Event]]]:
    """Steps, each of which replaces some dates; some of the dates lose all their events.

    Of many small worlds that share no visitor, since a run of dbt costs the same for one as for all. Most of them stay
    as they are, lose or get a few events, or have one that says something else: what a run leaves alone must be right.
    """

    def one(place: int, n: int) -> Event:
        def some(*names: str | None) -> str | None:
            name = random.choice(names)
            return name and f"{name}-{place}"

        sort = random.choice(["page_view", "page_view", "page_view", "product_view", "add_to_cart", "purchase"])
        return event(
            at(n, random.choice(CLOCKS)) + timedelta(microseconds=random.choice([0, 0, 1])),
            event_id=f"{random.randrange(100)}-{next(_numbers)}",
            event_type=sort,
            user_id=some(None, None, None, "u1", "u2"),
            visitor_key=some(None, "v1", "v1", "v2", "v3"),
            session_id=some(None, None, None, "s1", "s2", "s3"),
            page_path=random.choice([None, "/a", "/b"]),
            utm_source=random.choice([None] * 5 + ["news", "google"]),
            utm_medium=random.choice([None] * 5 + ["email", "cpc"]),
            referrer_host=random.choice([None, None, None, "google.com", "blog.example"]),
            click_id=random.choice([None] * 6 + ["gclid"]),
            is_bot=random.random() < 0.03,
            price=Decimal(random.randrange(1, 5000)) / 100 if sort == "purchase" else None,
            quantity=random.choice([1, 1, 2, 3, None]),
        )

    def otherwise(before: list[Event], place: int, n: int) -> list[Event]:
        match random.choice(["same", "same", "more", "fewer", "says", "another"]):
            case "more":
                return [*before, *(one(place, n) for _ in range(random.choice([1, 1, 2])))]
            case "fewer":
                return random.sample(before, random.randrange(len(before) + 1))
            case "says" if before:
                changed, other = random.choice(before), one(place, n)
                names = random.choice([["event_id"], ["user_id"], ["event_type", "price", "revenue"], ["is_bot"]])
                new = {**changed, **{name: other.get(name) for name in names}}
                return [new if kept is changed else kept for kept in before]
            case "another":
                return [
                    one(place, n) for _ in range(random.randrange(sizes[place]) // len(DATES) + random.randrange(2))
                ]
        return before

    def step(among: Iterable[int]) -> dict[date, list[Event]]:
        for n in among:
            gone = random.random() < 0.1
            for place in range(places):
                now[n][place] = [] if gone else otherwise(now[n][place], place, n)
        return {FIRST + n * DAY: [event for of_place in now[n] for event in of_place] for n in among}

    sizes = [random.choice([4, 10, 30, 100]) for _ in range(places)]
    now: dict[int, list[list[Event]]] = {n: [[] for _ in range(places)] for n in DATES}
    for place, size in enumerate(sizes):
        for _ in range(random.randrange(size)):
            n = random.choice(DATES)
            now[n][place].append(one(place, n))
    # What one date does to its neighbours shows where these stay as they are.
    first = {FIRST + n * DAY: [event for of_place in now[n] for event in of_place] for n in DATES}
    return [first, *(step(random.sample(DATES, random.choice([1, 1, 1, 2, 3, 8]))) for _ in range(steps - 1))]


def expected_sessions(events: Iterable[Event]) -> list[Event]:
    """The sessions by their definition, one event after the other; with the events of each."""
    streams: dict[tuple[Any, ...], list[Event]] = defaultdict(list)
    for one in sorted(events, key=lambda one: (one["event_ts"], one["event_id"])):
        names = ("session_id", "user_id", "visitor_key")
        key = next(
            ((name, one[name]) for name in names if one.get(name)), ("event_id", one["event_id"], one["event_ts"])
        )
        streams[key].append(one)
    found: list[list[Event]] = []
    for (name, *_), stream in streams.items():
        before, chain = None, FIRST
        for one in stream:
            today = one["event_date"]
            if before is None:
                goes_on = False
            elif name == "session_id":
                goes_on = today - before["event_date"] <= DAY
            else:
                goes_on = one["event_ts"] - before["event_ts"] <= timedelta(minutes=30)
            chain = chain if goes_on else today
            if before is not None and goes_on and (today == before["event_date"] or today - chain <= DAY):
                found[-1].append(one)
            else:
                found.append([one])
            before = one
    return [_session(events) for events in found]


def _session(events: list[Event]) -> Event:
    def known(name: str) -> list[Any]:
        return [one[name] for one in events if one.get(name)]

    told = [
        one
        for one in events
        if any(one.get(name) for name in ("utm_source", "utm_medium", "click_id", "referrer_host"))
    ]
    bought = [one for one in events if one["event_type"] == "purchase"]
    start, end = events[0]["event_ts"], events[-1]["event_ts"]
    views = sum(one["event_type"] == "page_view" for one in events)
    engaged = bool(end - start >= timedelta(seconds=10) or views >= 2 or bought)
    return {
        "started_at": start,
        "ended_at": end,
        "events": len(events),
        "user_id": (known("user_id") or [None])[-1],
        "visitor_key": (known("visitor_key") or [None])[0],
        "login_at": next((one["event_ts"] for one in events if one.get("user_id")), None),
        "entry_page": (known("page_path") or [None])[0],
        "exit_page": (known("page_path") or [None])[-1],
        "source": _source(told[0]) if told else "(direct)",
        "is_bot": any(one["is_bot"] for one in events),
        "is_bounce": views == 1 and not engaged,
        "is_engaged": engaged,
        "revenue": sum((one.get("revenue") or Decimal(0) for one in bought), Decimal("0.00")),
        "bought": [(one["event_date"], one["event_id"], one["event_ts"]) for one in bought],
    }


def _source(one: Event) -> str:
    if one.get("utm_source") or one.get("utm_medium"):
        return one.get("utm_source") or "(not set)"
    return "google" if one.get("click_id") or one["referrer_host"] == "google.com" else str(one["referrer_host"])


def expected_touches(sessions: Iterable[Event]) -> dict[tuple[date, str], list[datetime]]:
    """When the sessions began that share each conversion."""
    people = [session for session in sessions if not session["is_bot"]]
    logins = [one for one in people if one["user_id"] and one["visitor_key"]]
    next_login: dict[int, tuple[datetime, str]] = {}
    for one in people:
        later = [
            (login["login_at"], login["user_id"])
            for login in logins
            if login["visitor_key"] == one["visitor_key"]
            and one["started_at"] <= login["login_at"] <= one["started_at"] + 30 * DAY
        ]
        if later:
            next_login[id(one)] = min(later)

    def person(session: Event, known_at: datetime) -> Any:
        if session["user_id"]:
            return "user", session["user_id"]
        if id(session) in next_login and next_login[id(session)][0] <= known_at:
            return "user", next_login[id(session)][1]
        return ("visitor", session["visitor_key"]) if session["visitor_key"] else ("session", id(session))

    return {
        (day, event_id): sorted(
            touch["started_at"]
            for touch in people
            if person(touch, ts) == person(own, ts)
            and touch["started_at"] <= ts
            and (touch is own or touch["started_at"] >= ts - 30 * DAY)
        )
        for own in people
        for day, event_id, ts in own["bought"]
    }


def expected_paths(events: Iterable[Event]) -> Counter[tuple[date, str, str]]:
    """How often one page follows another, by date: one event after the other."""
    found: Counter[tuple[date, str, str]] = Counter()
    last: dict[tuple[Any, ...], tuple[datetime, str | None]] = {}
    for one in sorted(events, key=lambda one: (one["event_ts"], one["event_id"])):
        if one["is_bot"]:
            continue
        names = ("session_id", "user_id", "visitor_key")
        name = next((name for name in names if one.get(name)), "event_id")
        key = (one["event_date"], name, one[name])
        then, page = last.get(key, (one["event_ts"], None))
        if name == "event_id" or (name != "session_id" and one["event_ts"] - then > timedelta(minutes=30)):
            page = None
        if one["event_type"] == "page_view" and one["page_path"]:
            found.update([(one["event_date"], page, one["page_path"])] if page else [])
            page = one["page_path"]
        last[key] = one["event_ts"], page
    return found


def _texts(row: Iterable[Any]) -> list[str]:
    return [str(value) for value in row]


def check(warehouse: Warehouse) -> None:
    """The tables are what their definitions say, worked out here from the events in the simplest way."""
    events = [one for day in warehouse.days.values() for one in day]
    wanted = expected_sessions(events)
    names = [name for name in _session(events[:1]) if name != "bought"] if events else []
    if names:
        found = warehouse.run(f"select {', '.join(names)} from clickstream.sessions")
        assert sorted(map(_texts, found)) == sorted(_texts(one[name] for name in names) for one in wanted)
    touches: dict[tuple[date, str], list[datetime]] = defaultdict(list)
    for day, event_id, start in warehouse.run(
        "select conversion_date, conversion_id, started_at from clickstream.attribution"
        " where model = 'linear' order by touch"
    ):
        touches[day, event_id].append(start)
    assert touches == expected_touches(wanted)
    hours: dict[tuple[date, int], list[Any]] = defaultdict(lambda: [0, 0, 0, Decimal(0)])
    for one in wanted:
        if not one["is_bot"]:
            row = hours[one["started_at"].date(), one["started_at"].hour]
            for place, value in enumerate((1, one["is_engaged"], one["is_bounce"], one["revenue"])):
                row[place] += value
    assert hours == {
        (day, hour): row
        for day, hour, *row in warehouse.run(
            "select session_date, started_hour, sum(sessions), sum(engaged_sessions), sum(bounces), sum(revenue)"
            " from clickstream.session_hours group by 1, 2"
        )
    }
    paths = warehouse.run("select event_date, from_page, to_page, visits from clickstream.page_paths")
    assert {tuple(key): visits for *key, visits in paths} == expected_paths(events)
    active: dict[date, set[str]] = defaultdict(set)
    for one in events:
        who = one.get("user_id") or one.get("visitor_key")
        active[one["event_date"]] |= {who} if who and not one["is_bot"] else set()
    metrics = warehouse.run("select event_date, dau, wau, mau from clickstream.daily_metrics order by 1")
    assert metrics == [
        (day, *(len(set().union(*(active[day - n * DAY] for n in range(days)))) for days in (1, 7, 30)))
        for day in sorted({one["event_date"] for one in events})
    ]


# A world is many small ones already, and to find the smallest that fails would take minutes.
@settings(max_examples=2, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(seed=st.integers(0, 2**32))
def test_a_run_of_the_changed_dates_equals_a_full_refresh(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    warehouse = Warehouse(tmp_path_factory.mktemp("world") / "warehouse")
    first, killed, *others = world(Random(seed), steps=4)
    warehouse.replace(first)
    warehouse.build()
    warehouse.replace(killed)
    warehouse.build(select=UP_TO_SESSIONS)
    for step in others:
        warehouse.replace(step)
        warehouse.build()
    step_by_step = warehouse.tables()
    assert warehouse.rows("changed_event_dates") == warehouse.rows("changed_persons") == []
    warehouse.build("--full-refresh")
    whole = warehouse.tables()
    for model in MODELS:
        assert step_by_step[model] == whole[model], model
    check(warehouse)


QUERIES = sorted(dbt.PROJECT.parent.joinpath("queries").glob("clickstream_*.sql"))


def partition_filters(tree: sqlglot.Expression) -> list[bool]:
    """For each place where a query reads events_cleaned: whether its own WHERE keeps event_date between literals."""
    return [
        _keeps_to_dates(table.find_ancestor(exp.Select))
        for table in tree.find_all(exp.Table)
        if table.name == "events_cleaned"
    ]


def _keeps_to_dates(select: exp.Select | None) -> bool:
    where = select and select.args.get("where")
    if not where:
        return False
    conditions = where.this.flatten() if isinstance(where.this, exp.And) else [where.this]
    return any(
        isinstance(one, exp.Between)
        and one.this.sql() == "event_date"
        and all(isinstance(bound, exp.Cast) and bound.this.is_string for bound in (one.args["low"], one.args["high"]))
        for one in conditions
    )


@pytest.mark.parametrize("path", QUERIES, ids=lambda path: path.stem)
def test_a_saved_query_is_one_of_athenas_that_keeps_to_its_partitions(path: Path) -> None:
    """Athena bills by bytes read."""
    (tree,) = sqlglot.parse(path.read_text(), read="athena")
    assert tree is not None
    filters = partition_filters(tree)
    assert filters and all(filters)
    ctes = {cte.alias for cte in tree.find_all(exp.CTE)}
    assert {table.db for table in tree.find_all(exp.Table) if table.name not in ctes} == {"clickstream_cleaned"}
    assert f"| {path.name} |" in path.with_name("README.md").read_text()


def test_a_query_without_a_filter_or_with_a_moving_one_is_found_out() -> None:
    between = "event_date between date '2026-03-01' and date '2026-03-07'"
    for where in ("", "where event_type = 'a'", "where event_date > now()", f"where event_type = 'a' or {between}"):
        (tree,) = sqlglot.parse(f"with a as (select 1 from events_cleaned {where}) select * from a", read="athena")
        assert tree is not None and partition_filters(tree) == [False]


def test_the_saved_queries_give_what_they_say_on_duckdb(warehouse: Warehouse) -> None:
    shop = {"event_type": "purchase", "price": Decimal("2.50"), "quantity": 2, "currency": "EUR"}
    warehouse.replace(
        by_day(
            [
                event(at(0, "10:00:00"), user_id="u1", page_path="/a", event_id="1"),
                event(at(0, "10:01:00"), user_id="u1", event_type="product_view", page_path="/p", event_id="2"),
                event(at(0, "10:02:00"), user_id="u1", event_type="add_to_cart", page_path="/p", event_id="3"),
                event(at(1, "10:00:00"), user_id="u1", **shop, page_path="/buy", event_id="4"),
                event(at(1, "10:00:00"), visitor_key="v1", page_path="/a", event_id="5"),
                event(at(1, "10:00:01"), visitor_key="v1", **shop, event_id="6"),
                event(at(1, "10:00:01"), visitor_key="v2", **shop, is_bot=True),
                event(at(7, "10:00:00"), user_id="u1", page_path="/a"),
                event(at(7, "10:00:00"), user_id="u1", **shop),
            ]
        )
    )
    found = {path.stem.removeprefix("clickstream_"): path.read_text() for path in QUERIES}
    with contextlib.closing(duckdb.connect(str(warehouse.path))) as connection:
        connection.execute("create schema clickstream_cleaned")
        connection.execute("create view clickstream_cleaned.events_cleaned as from clickstream.events_cleaned")
        found = {name: connection.execute(sql).fetchall() for name, sql in found.items()}
    march = [FIRST, FIRST + DAY]
    assert found["events_by_type_and_day"] == [
        *[(march[0], name, 1, 1) for name in ("add_to_cart", "page_view", "product_view")],
        *[(march[1], "purchase", 2, 2), (march[1], "page_view", 1, 1)],
    ]
    assert found["top_pages"] == [("/a", 2, 2)]
    assert found["revenue_by_day"] == [(march[1], "EUR", 2, 2, Decimal("10.00"))]
    assert found["funnel"] == [(1, "page_view", 2), (2, "product_view", 1), (3, "add_to_cart", 1), (4, "purchase", 1)]
    assert [row[1:3] for row in found["path_of_one_user"]] == [
        *[("page_view", "/a"), ("product_view", "/p"), ("add_to_cart", "/p"), ("purchase", "/buy")]
    ]


def test_the_models_run_unchanged_on_redshift_and_give_the_same(
    warehouse: Warehouse, tmp_path: Path, on_redshift: dict[str, str]
) -> None:
    other = OnRedshift(tmp_path / "redshift", on_redshift)
    first, second = world(Random(7), steps=2)
    for step in (first, second):
        for one in (warehouse, other):
            one.replace(step)
            one.build()
    for model in MODELS:
        columns = sorted(row[0] for row in warehouse.run(f"describe clickstream.{model}"))
        select = f"select {', '.join(columns)} from clickstream.{model}"
        assert sorted(map(_texts, other.run(select))) == sorted(map(_texts, warehouse.run(select))), model
    assert warehouse.rows("attribution")


def test_the_tests_of_the_models_pass_and_each_model_is_described(warehouse: Warehouse) -> None:
    """The unit tests take the types of columns from the relations."""
    warehouse.replace(world(Random(3), steps=1)[0])
    warehouse.build()
    results = list(warehouse.build(verb="test"))
    units = {one.node.name for one in results if one.node.resource_type == "unit_test"}
    assert len([name for name in units if name.startswith("channel_")]) == 20
    manifest = dbt._parsed(dbt.manifest(Settings.from_environment()))
    for node in manifest.nodes.values():
        if node.resource_type == "model" and "clickstream" in node.tags:
            kinds = dict(warehouse.run(f"select column_name, column_type from (describe clickstream.{node.alias})"))
            told = {name: column.data_type for name, column in node.columns.items()}
            synonyms = {"timestamp with time zone": "TIMESTAMP WITH TIME ZONE", "double precision": "DOUBLE"}
            assert {name: synonyms.get(kind, kind.upper()) for name, kind in told.items()} == kinds, node.name
            assert node.description and all(column.description for column in node.columns.values()), node.name


def test_a_run_reads_events_of_the_changed_dates_and_the_rest_within_reach(warehouse: Warehouse) -> None:
    days = by_day(event(at(n, "12:00:00"), visitor_key="v") for n in range(100))
    warehouse.replace(days)
    warehouse.build()
    warehouse.replace({FIRST + 50 * DAY: days[FIRST + 50 * DAY]})
    warehouse.build()
    compiled = {path.stem: path.read_text() for path in (warehouse.folder / "dbt" / "compiled").rglob("*.sql")}
    dates = {
        name: [
            sorted((date.fromisoformat(one) - FIRST).days for one in re.findall(r"cast\('(\S+)' as date\)", found))
            for found in re.findall(r"where\s+\w+ in \((.*)\)", sql)
        ]
        for name, sql in compiled.items()
    }
    by_date = ("event_days", "visitor_days", "identity_days", "page_paths", "conversions", "funnel_events")
    for name in (*by_date, "session_pieces"):
        assert dates[name] == [[50]], name
    assert dates["absorbed_event_dates"] == [[50]]
    assert dates["visitor_weeks"] == [[*range(50, 57)]]
    assert dates["clickstream_sessions"] == [[*range(47, 54)], [*range(49, 53)]]
    assert dates["session_hours"] == [[*range(49, 53)]]
    assert dates["funnel"] == [[49, 50, 51], [49, 50]]
    assert [(one[0], one[-1]) for one in dates["daily_metrics"]] == [(49, 79), (49, 79), (20, 79)]
    assert [(one[0], one[-1]) for one in dates["attribution"]] == [(49, 83), (18, 83)]
    readers = [name for name, sql in compiled.items() if "events_enhanced" in sql or "events_cleaned" in sql]
    assert len([name for name in readers if dates.get(name)]) == 7


def test_a_run_that_did_not_finish_is_made_up_for_by_the_next(warehouse: Warehouse) -> None:
    """Some of the models, with which the dates stay listed; then a run for another date."""
    first, second = (event(at(n, "12:00:00"), user_id="u", event_type="purchase") for n in (0, 40))
    warehouse.replace(by_day([first, second]))
    warehouse.build()
    warehouse.replace({FIRST: [first, event(at(0, "13:00:00"), user_id="w")]})
    warehouse.build(select="changed_event_dates session_pieces absorbed_event_dates")
    assert warehouse.rows("changed_event_dates") == [(FIRST,)]
    assert warehouse.run("select count(*) from clickstream.sessions") == [(2,)]
    warehouse.replace({FIRST + 40 * DAY: []})
    warehouse.build()
    assert warehouse.rows("changed_event_dates") == []
    check(warehouse)


def test_whose_sessions_changed_is_known_until_attribution_has_run(warehouse: Warehouse) -> None:
    """Three runs that end between the two, after which the sessions are right and attribution is not."""
    buy = {"event_type": "purchase", "price": Decimal("1.00"), "quantity": 1}
    warehouse.replace(
        by_day(
            [
                *(event(at(n, "12:00:00"), user_id="u") for n in (0, 1, 2)),
                event(at(8, "12:00:00"), user_id="u", **buy),
                event(at(80, "12:00:00"), user_id="u"),
            ]
        )
    )
    warehouse.build()
    warehouse.replace({FIRST: []})
    warehouse.build(select=UP_TO_SESSIONS)
    assert warehouse.rows("changed_persons") == [("u:u",)]
    warehouse.replace({FIRST + 80 * DAY: []})
    warehouse.build()
    check(warehouse)
    assert warehouse.rows("changed_event_dates") == warehouse.rows("changed_persons") == []

    # Sessions that are made as a whole have none to be compared with.
    warehouse.replace({FIRST + DAY: []})
    warehouse.build(select="changed_event_dates changed_persons session_pieces")
    warehouse.build("--full-refresh", select="clickstream_sessions")
    warehouse.build()
    check(warehouse)

    # As in a warehouse that had no such list.
    warehouse.replace({FIRST + 2 * DAY: []})
    warehouse.build(select=UP_TO_SESSIONS)
    warehouse.run("drop table clickstream.changed_persons")
    warehouse.build()
    check(warehouse)
    assert warehouse.rows("changed_persons") == []


def test_one_changed_date_reaches_as_far_as_it_can_and_no_less_is_read(warehouse: Warehouse) -> None:
    """Each event is at the edge of what a run for date 50 must delete, or read."""
    buy = {"event_type": "purchase", "price": Decimal("1.00"), "quantity": 1}
    lost = [
        *(event(at(50, f"12:0{n}:00"), session_id="chain", user_id="x", page_path=f"/{n}") for n in (0, 1)),
        event(at(50, "00:05:00"), visitor_key="m"),
    ]
    events = [
        # Without the date 50 the session of 52 becomes part of that of 51, and no touch of its own.
        *(event(at(n, "12:00:00"), session_id="chain", user_id="x") for n in (51, 52, 53)),
        event(at(82, "11:00:00"), user_id="x", **buy),
        # Without its second date the session of 49 is shorter.
        event(at(49, "23:50:00"), visitor_key="m"),
        # Its start is three dates before the first session to make anew.
        *(event(at(n, "12:00:00"), session_id="long") for n in range(46, 52)),
        # Visitors 29 dates before the first date of metrics to make anew, and 29 after the changed one.
        *(event(at(n, "12:00:00"), visitor_key=f"v{n}") for n in (20, 49, 50, 79)),
        # A touch 30 days before the conversion, whose user is known by a session that began before that.
        event(at(18, "20:00:00"), session_id="login", visitor_key="w"),
        event(at(19, "13:00:00"), session_id="login", visitor_key="w", user_id="y"),
        event(at(19, "12:30:00"), visitor_key="w"),
        event(at(49, "12:00:00"), user_id="y", **buy),
        # Two purchases in a session without a user, before and after the log-in.
        *(event(at(50, clock), visitor_key="z", **buy) for clock in ("10:00:00", "10:10:00")),
        event(at(50, "10:05:00"), visitor_key="z", user_id="u"),
        event(at(50, "10:07:00"), visitor_key="z", session_id="still nobody's"),
        # A try of the funnel that goes on the next day.
        event(at(49, "13:00:00"), user_id="f"),
        gone := event(at(50, "12:00:00"), user_id="f", event_type="product_view"),
    ]
    warehouse.replace(by_day([*lost, *events]))
    warehouse.build()
    check(warehouse)
    before = warehouse.tables()
    warehouse.replace({FIRST + 50 * DAY: [one for one in warehouse.days[FIRST + 50 * DAY] if one not in (*lost, gone)]})
    warehouse.build()
    after = warehouse.tables()
    check(warehouse)
    warehouse.build("--full-refresh")
    assert after == warehouse.tables()
    assert [name for name in MODELS if before[name] == after[name]] == [
        "identity_days",
        "identity_edges",
        "conversions",
    ]
