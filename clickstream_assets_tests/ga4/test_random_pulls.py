"""Pulls and AppFlow's files that land, break off, expire and are loaded in any order: a few lines say what must be."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from clickstream_assets_tests.conftest import Home
from clickstream_assets_tests.ga4.landed import DAY, ROWS, appflow, body, cleaned, land, load, pulls

RAW, CLEANED = "analytics_raw.ga_events_raw", "analytics_cleaned.ga4_events"
DAYS = (DAY, DAY + timedelta(days=1))
FIRST = datetime(2024, 1, 6, tzinfo=UTC)

#: one row per combination of labels, and again with other numbers: what a later pull says of the same
NEWER = tuple((*row[:3], *(number + 1 for number in row[3:])) for row in ROWS)
SOME = st.sampled_from([(), ROWS[:1], ROWS[1:], ROWS, NEWER[:2], NEWER, (ROWS[0], *NEWER[1:])])
ANY = st.integers(0, 99)

ACTIONS = st.one_of(
    st.tuples(st.just("whole"), SOME, ANY),
    st.tuples(st.just("half"), SOME.filter(lambda rows: len(rows) > 1), ANY),
    st.tuples(st.just("rest"), st.just(()), ANY),
    st.tuples(st.just("again"), SOME, ANY),
    st.tuples(st.just("garbage"), st.just(()), ANY),
    st.tuples(st.just("appflow"), SOME.filter(lambda rows: set(rows) <= set(ROWS)), ANY),
    st.tuples(st.just("expire"), st.just(()), ANY),
)
#: what happens on which of the two dates, and then which of them are loaded
ROUNDS = st.tuples(
    st.lists(st.tuples(st.sampled_from(DAYS), ACTIONS), min_size=1, max_size=4),
    st.sampled_from([DAYS[:1], DAYS[1:], DAYS, DAYS]),
)


@dataclass
class Made:
    """A pull, or a file of AppFlow, with the files that it has in landing just now, and what else belongs to it."""

    rows: Sequence[Any]
    stamp: datetime | None = None
    files: dict[str, Path] = field(default_factory=dict)
    wanted: int = 1
    readable: bool = True
    left: Sequence[Any] = ()

    @property
    def whole(self) -> bool:
        return self.readable and len(self.files) == self.wanted


@dataclass
class Date:
    """What landing has of a date, what counted when it was loaded last, and what is known of it."""

    made: list[Made] = field(default_factory=list)
    counts: Made | None = None
    stands_in: list[Made] = field(default_factory=list)
    seen: set[datetime] = field(default_factory=set)
    rejected: set[str] = field(default_factory=set)

    def load(self) -> None:
        """The newest whole pull counts, be its files there or not; without one all that AppFlow ever delivered."""
        # Of two with the same stamp the one in landing is meant: it took the place of the other's file.
        whole = [one for one in self.made if one.stamp and one.whole] + ([self.counts] if self.counts else [])
        self.counts = max(whole, key=lambda one: one.stamp or FIRST, default=None)
        self.stands_in += [one for one in self.made if one.stamp is None and one not in self.stands_in]
        self.seen |= {one.stamp for one in self.made if one.stamp}

    @property
    def rows(self) -> list[Any]:
        if self.counts:
            return sorted(self.counts.rows)
        return sorted({row for one in self.stands_in for row in one.rows})

    @property
    def unusable(self) -> set[str]:
        return {name for one in self.made if one.stamp and not one.whole for name in one.files}


class World:
    """A home, and what must be in it."""

    def __init__(self, home: Home):
        self.home = home
        self.dates = {day: Date() for day in DAYS}
        self.made = 0

    def act(self, day: date, what: str, rows: Sequence[Any], pick: int) -> None:
        of_day = self.dates[day]
        present = [one for one in of_day.made if one.files]
        if what == "expire" and present:
            one = present[pick % len(present)]
            for path in one.files.values():
                path.unlink()
            of_day.made.remove(one)
        elif what == "rest" and (halves := [one for one in present if one.left]):
            one = halves[pick % len(halves)]
            self._land(one, day, body(one.left, row_count=len(one.rows), day=day), page=2)
            one.left = ()
        elif what == "again" and (single := [one for one in present if one.stamp and one.whole and one.wanted == 1]):
            one = single[pick % len(single)]
            of_day.made.remove(one)  # what was loaded of it is another thing from now on
            of_day.made.append(one := Made(rows, one.stamp))
            self._land(one, day, body(rows, day=day))
        elif what == "appflow":
            self.made += 1
            path = appflow(self.home, f"{self.made}.json", *rows, day=day)
            of_day.made.append(Made(rows, files={path.name: path}))
        elif what in ("whole", "half", "garbage"):
            of_day.made.append(one := Made(rows, self._stamp(pick)))
            if what == "half":
                one.wanted, one.left = 2, rows[1:]
                self._land(one, day, body(rows[:1], row_count=len(rows), day=day))
            else:
                one.readable = what == "whole"
                self._land(one, day, body(rows, day=day) if one.readable else b'{"rows": [')

    def _stamp(self, pick: int) -> datetime:
        """One that no other pull has, and that may be older than theirs."""
        self.made += 1
        return FIRST + timedelta(hours=pick, seconds=self.made)

    def _land(self, one: Made, day: date, content: bytes, *, page: int = 1) -> None:
        path = land(self.home, f"{one.stamp:%Y-%m-%d_%H%M%S}", content, page=page, day=day)
        one.files[path.name] = path

    def load(self, days: Iterable[date]) -> None:
        before = {day: set(self.dates[day].rejected) for day in days}
        loaded = load(self.home, *before)
        for day, known in before.items():
            of_day = self.dates[day]
            of_day.load()
            newest = max((one for one in of_day.made if one.stamp), key=lambda one: one.stamp or FIRST, default=None)
            nothing = of_day.counts is None and not of_day.stands_in
            if newest is not None and newest.readable and not newest.whole and nothing:
                assert day in loaded.blocked, "a pull that is not whole, and nothing else"
            if day in loaded.blocked:
                assert nothing and of_day.unusable, "there is what may be published"
            else:
                present = {name for one in of_day.made for name in one.files}
                of_day.rejected = {name for name in known if name not in present} | of_day.unusable
        for day in before:
            self.check(day, blocked=day in loaded.blocked)

    def tables(self) -> list[Any]:
        names = ("spectrum_analytics.ga_events_raw", CLEANED, "analytics.ga4_pulls", "ops.quarantine")
        return [self.home.table(name) for name in names]

    def check(self, day: date, *, blocked: bool) -> None:
        """Each table says the same of a date as this model does."""
        of_day, home = self.dates[day], self.home
        assert cleaned(home, day) == of_day.rows
        ((quarantined,),) = home.query(
            f"select count(*) from ops.quarantine where partition_date = '{day}' and asset = '{RAW}'"
        )
        assert quarantined == len(of_day.rejected)
        ledger = home.query(
            "select asset, rows_in, rows_out, rejected, duplicate from ops.row_ledger "
            f"where partition_date = '{day}' and asset in ('{RAW}', '{CLEANED}') order by asset desc"
        )
        for asset, rows_in, rows_out, rejected, duplicate in ledger:
            assert rows_in == rows_out + rejected + duplicate
            if asset == RAW:
                assert (rejected, duplicate) == (quarantined, 0)
            else:
                assert (rows_out, rejected) == (len(of_day.rows), 0)
        assert len(ledger) == 2 or blocked
        self._check_pulls(day)

    def _check_pulls(self, day: date) -> None:
        of_day = self.dates[day]
        found = pulls(self.home, "pulled_at, status, origin", day)
        published = [row[0] for row in found if row[1] == "published"]
        expected = [of_day.counts.stamp] if of_day.counts else [None] if of_day.stands_in else []
        assert published == expected, "one pull stands for a date"
        assert {row[0] for row in found if row[2] == "data_api"} == of_day.seen
        assert len(found) == len(of_day.seen) + bool(of_day.stands_in)
        loaded = {
            path.rpartition("/")[2]
            for (path,) in self.home.query(
                f"select path from ops.landing_files where partition_date = '{day}' and status = 'loaded'"
            )
        }
        if of_day.counts:
            assert loaded == set(of_day.counts.files)
        else:
            assert loaded <= {name for one in of_day.stands_in for name in one.files}


#: what is rejected, what counts and what stands in expire one after the other, and AppFlow comes after them
EXPIRING = [
    (
        [
            (DAY, ("half", ROWS, 1)),
            (DAY, ("garbage", (), 2)),
            (DAY, ("whole", ROWS[1:], 0)),
            (DAYS[1], ("appflow", ROWS[:1], 0)),
        ],
        DAYS,
    ),
    ([(DAY, ("expire", (), 0)), (DAY, ("expire", (), 0))], DAYS),
    (
        [
            (DAY, ("expire", (), 0)),
            (DAY, ("appflow", ROWS, 0)),
            (DAYS[1], ("expire", (), 0)),
            (DAYS[1], ("appflow", ROWS[:1], 0)),
        ],
        DAYS,
    ),
]


# To look for a smaller example would take minutes.
@settings(max_examples=3, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate))
@example(rounds=EXPIRING)
@given(rounds=st.lists(ROUNDS, min_size=2, max_size=4))
def test_the_newest_whole_pull_stands_for_its_date_whatever_happens(rounds: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Home(Path(folder)))
        for actions, days in rounds:
            for day, action in actions:
                world.act(day, *action)
            world.load(days)
        world.load(DAYS)
        once = world.tables()
        load(world.home, *DAYS)
        assert world.tables() == once, "loading again changes nothing"
