"""Which landing files are new: real files, looked at again and again, one change between two looks."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickstream_assets import arrivals
from clickstream_assets.arrivals import Arrivals, New
from clickstream_assets.domains import domain
from clickstream_assets.errors import ClickstreamError
from clickstream_assets.storage.files import Files

FOLDER = "shop/day={day}"
FEED = replace(domain("ecommerce").landings[0], pattern=FOLDER)
FIRST, LAST = date(2026, 1, 1), date(2026, 3, 31)
MONDAY, TUESDAY = "2026-03-02", "2026-03-03"
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
#: modification times in these tests are counted from here
NOON = 1_772_452_800 * SECOND

#: a path, its size and its modification time
Version = tuple[str, int, int]


class Landing:
    """A landing folder whose files get the modification times they are told, and the looks at it."""

    def __init__(self, root: Path):
        self.root = root
        self.cursor: str | None = None
        self.now = NOON + 60 * MINUTE

    def put(self, path: str, modified_ns: int = NOON, content: bytes = b"") -> str:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        os.utime(target, ns=(modified_ns, modified_ns))
        return path

    def put_day(self, day: str, name: str, modified_ns: int = NOON, content: bytes = b"") -> str:
        return self.put(f"{FOLDER.format(day=day)}/{name}", modified_ns, content)

    def remove(self, path: str) -> None:
        (self.root / path).unlink()

    def look(self, cap: int = arrivals.CAP, last: date = LAST) -> New:
        """The next look, which remembers what it found."""
        landing = Arrivals(Files(str(self.root)), FEED, first=FIRST, last=last)
        new = landing.since(self.cursor, now_ns=self.now, cap=cap)
        self.cursor = new.cursor
        return new

    def names(self, cap: int = arrivals.CAP) -> list[str]:
        """Names of the files that the next look finds."""
        return [file.path.rpartition("/")[2] for files in self.look(cap).days.values() for file in files]


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing(tmp_path / "landing")


def test_nothing_landed_is_nothing_new(landing) -> None:
    assert landing.look().days == {}
    assert landing.look().days == {}


def test_a_file_is_new_once(landing) -> None:
    landing.put_day(MONDAY, "a.csv")
    assert list(landing.look().days) == [date(2026, 3, 2)]
    assert landing.look().days == {}


@pytest.mark.parametrize(("before", "after"), [("a.csv", "b.csv"), ("b.csv", "a.csv")])
def test_two_files_of_one_second_on_either_side_of_a_look_are_each_new_once(landing, before, after) -> None:
    landing.put_day(MONDAY, before, NOON)
    assert landing.names() == [before]
    landing.put_day(MONDAY, after, NOON)
    assert landing.names() == [after]
    assert landing.names() == []


def test_an_overwritten_file_is_new_again(landing) -> None:
    landing.put_day(MONDAY, "a.csv", NOON, b"1")
    landing.names()
    landing.put_day(MONDAY, "a.csv", NOON, b"12")
    assert landing.names() == ["a.csv"], "another size"
    landing.put_day(MONDAY, "a.csv", NOON + SECOND, b"21")
    assert landing.names() == ["a.csv"], "another time"
    assert landing.names() == []


def test_an_overwritten_file_that_is_older_than_the_overlap_is_new_alone_and_once(landing) -> None:
    landing.put_day(MONDAY, "a.csv", NOON)
    landing.put_day(MONDAY, "b.csv", NOON)
    landing.put_day(TUESDAY, "c.csv", NOON + 30 * MINUTE)
    landing.names()
    landing.put_day(TUESDAY, "d.csv", NOON + 31 * MINUTE)
    landing.put_day(MONDAY, "b.csv", NOON + 32 * MINUTE, b"1")
    assert landing.names(cap=1) == ["d.csv"]
    assert landing.names(cap=1) == ["b.csv"]
    assert landing.names() == []


def test_a_late_file_is_new_for_its_old_day_only(landing) -> None:
    landing.put_day(MONDAY, "a.csv")
    landing.put_day(TUESDAY, "b.csv", NOON + MINUTE)
    landing.look()
    landing.put_day("2026-01-07", "late.csv", NOON + 2 * MINUTE)
    assert {day: len(files) for day, files in landing.look().days.items()} == {date(2026, 1, 7): 1}


def test_2500_files_are_five_looks_of_500_and_each_file_is_new_once(landing) -> None:
    for number in range(2500):
        landing.put_day(f"2026-03-{number % 10 + 1:02}", f"{number:04}.csv", NOON + number % 7 * SECOND)
    looks = [landing.look() for _ in range(6)]
    found = Counter(file.path for new in looks for files in new.days.values() for file in files)
    assert [sum(map(len, new.days.values())) for new in looks] == [500, 500, 500, 500, 500, 0]
    assert [new.left for new in looks] == [2000, 1500, 1000, 500, 0, 0]
    assert len(found) == 2500 and set(found.values()) == {1}
    times = [max(file.modified_ns for files in new.days.values() for file in files) for new in looks[:5]]
    assert times == sorted(times), "the oldest first"


def test_files_that_land_while_others_wait_for_their_look_are_new_once_too(landing) -> None:
    for number in range(6):
        landing.put_day(MONDAY, f"{number}.csv", NOON + number * SECOND)
    assert landing.names(cap=2) == ["0.csv", "1.csv"]
    landing.put_day(MONDAY, "late.csv", NOON - MINUTE)
    assert landing.names(cap=2) == ["late.csv", "2.csv"]
    assert landing.names(cap=3) == ["3.csv", "4.csv", "5.csv"]
    assert landing.names() == []


def test_a_file_that_has_vanished_is_no_error_and_no_reason_to_run(landing) -> None:
    gone = landing.put_day(MONDAY, "a.csv")
    landing.put_day(MONDAY, "b.csv")
    landing.look()
    landing.remove(gone)
    assert landing.look().days == {}
    (landing.root / FOLDER.format(day=MONDAY) / "b.csv").unlink()
    (landing.root / FOLDER.format(day=MONDAY)).rmdir()
    assert landing.look().days == {}


def test_the_removal_of_an_older_file_runs_its_day_once_at_most(landing) -> None:
    """The digest tells that the day is not what it was, and not that it has only lost something."""
    gone = landing.put_day(MONDAY, "a.csv", NOON - 60 * MINUTE)
    landing.put_day(MONDAY, "b.csv", NOON - 60 * MINUTE)
    landing.put_day(TUESDAY, "c.csv", NOON)
    landing.look()
    landing.remove(gone)
    assert list(landing.look().days) == [date(2026, 3, 2)]
    assert landing.look().days == {}


def test_days_that_are_away_for_a_while_are_not_new_when_they_come_back(landing) -> None:
    for day in (MONDAY, TUESDAY):
        landing.put_day(day, "a.csv", NOON - 60 * MINUTE)
    landing.put_day("2026-03-04", "a.csv", NOON)
    landing.look()
    away = landing.root.with_name("away")
    for day in (MONDAY, TUESDAY):
        (landing.root / FOLDER.format(day=day)).rename(away)
        assert landing.look().days == {}
        away.rename(landing.root / FOLDER.format(day=day))
        assert landing.look().days == {}


def test_a_file_of_a_slower_clock_is_new_alone(landing) -> None:
    landing.put_day(MONDAY, "a.csv", NOON)
    landing.look()
    landing.put_day(MONDAY, "b.csv", NOON - 9 * MINUTE)
    assert landing.names() == ["b.csv"]
    assert landing.names() == []


def test_a_file_moved_here_with_an_old_time_runs_its_day(landing) -> None:
    """``mv`` and ``cp -p`` keep modification times: hours before the newest file's, in this case."""
    landing.put_day(MONDAY, "a.csv", NOON - 300 * MINUTE)
    landing.put_day(TUESDAY, "b.csv", NOON)
    landing.look()
    landing.put_day(MONDAY, "moved.csv", NOON - 200 * MINUTE)
    landing.put_day("2026-03-01", "moved.csv", NOON - 200 * MINUTE)
    assert list(landing.look().days) == [date(2026, 3, 1), date(2026, 3, 2)]
    assert landing.look().days == {}


def test_days_changed_by_old_files_keep_to_the_cap_too(landing) -> None:
    landing.put_day(TUESDAY, "a.csv", NOON)
    landing.look()
    for day in range(1, 6):
        landing.put_day(f"2026-02-{day:02}", "moved.csv", NOON - 200 * MINUTE)
    assert [[day.day for day in landing.look(cap=2).days] for _ in range(4)] == [[1, 2], [3, 4], [5], []]


def test_a_time_stamp_in_the_future_hides_no_later_file(landing) -> None:
    landing.put_day(MONDAY, "future.csv", NOON + 10**6 * MINUTE)
    assert landing.names() == ["future.csv"]
    landing.put_day(MONDAY, "a.csv", landing.now)
    assert landing.names() == ["a.csv"]
    landing.now += 60 * MINUTE
    landing.put_day(MONDAY, "b.csv", landing.now)
    assert landing.names() == ["b.csv"]
    assert landing.names() == []


def test_a_time_stamp_in_the_future_does_not_age_files_that_wait_for_their_look(landing) -> None:
    landing.put_day(TUESDAY, "future.csv", NOON + 10**6 * MINUTE)
    landing.look()
    for number in range(3):
        landing.put_day(MONDAY, f"{number}.csv", landing.now + number)
    looks = []
    for _ in range(4):
        landing.now += 20 * MINUTE
        looks.append(landing.names(cap=1))
    assert looks == [["0.csv"], ["1.csv"], ["2.csv"], []]


def test_a_changed_day_is_not_forgotten_when_the_file_it_waited_with_vanishes(landing) -> None:
    landing.put_day(TUESDAY, "a.csv", NOON)
    landing.look()
    landing.put_day(MONDAY, "moved.csv", NOON - 200 * MINUTE)
    landing.put_day(TUESDAY, "b.csv", NOON + SECOND)
    waits = landing.put_day(MONDAY, "waits.csv", NOON + 2 * SECOND)
    assert landing.names(cap=1) == ["b.csv"]
    landing.remove(waits)
    assert landing.names(cap=1) == ["moved.csv"]
    assert landing.names(cap=1) == []


def test_folders_that_are_no_partitions_are_named_once_and_stop_nothing(landing) -> None:
    for folder in ("day=2025-12-31", "day=2026-04-01", "day=2026-02-30", "day=20260302", "day=today", "other/deep", ""):
        landing.put(f"shop/{folder}/a.csv".replace("//", "/"))
    landing.put_day(MONDAY, "a.csv")
    new = landing.look()
    assert list(new.days) == [date(2026, 3, 2)]
    assert new.elsewhere == [
        *("shop", "shop/day=2025-12-31", "shop/day=2026-02-30", "shop/day=2026-04-01", "shop/day=20260302"),
        *("shop/day=today", "shop/other/deep"),
    ]
    assert landing.look().elsewhere == []


@pytest.mark.parametrize("minutes", [0, 300], ids=["remembered one by one", "remembered by day"])
def test_a_folder_that_becomes_a_partition_is_run_then(landing, minutes) -> None:
    landing.put_day("2026-04-01", "early.csv", NOON - minutes * MINUTE)
    landing.put_day(MONDAY, "a.csv", NOON)
    assert list(landing.look().days) == [date(2026, 3, 2)]
    assert list(landing.look(last=date(2026, 4, 1)).days) == [date(2026, 4, 1)]
    assert landing.look(last=date(2026, 4, 1)).days == {}


def test_files_below_a_days_folder_belong_to_the_day(landing) -> None:
    landing.put_day(MONDAY, "hour=10/part\n1.csv")
    assert list(landing.look().days) == [date(2026, 3, 2)]


def test_another_looks_cursor_is_refused_in_one_sentence(landing) -> None:
    for wrong in ("1772452800.0", "{}", "[]", '{"floor":[1,"a"],"seen":"%","days":{}}'):
        landing.cursor = wrong
        with pytest.raises(ClickstreamError, match="reset it in the UI"):
            landing.look()


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Landing:
    """100,000 files that landed within a minute, in as many days as there are digests."""
    landing = Landing(tmp_path_factory.mktemp("crowd"))
    for number in range(100_000):
        day = FIRST - timedelta(days=number % arrivals.DAYS)
        folder = landing.root / FOLDER.format(day=day)
        if number < arrivals.DAYS:
            folder.mkdir(parents=True)
        path = folder / f"export-from-the-shop-{number:06}.csv"
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        os.utime(path, ns=(NOON + number * 600_000, NOON + number * 600_000))
    return landing


def test_the_cursor_stays_below_64_kib_and_a_look_below_two_seconds(crowd) -> None:
    """100,000 files within the overlap: every one is new once, a late one runs its day, nothing new costs little."""
    landing = Arrivals(Files(str(crowd.root)), FEED, first=FIRST - timedelta(days=arrivals.DAYS), last=LAST)
    found: Counter[str] = Counter()
    cursor: str | None = None
    for _ in range(2):
        new = landing.since(cursor, now_ns=crowd.now, cap=50_000)
        assert len(new.cursor.encode()) < 64 * 1024
        found.update(file.path for files in new.days.values() for file in files)
        cursor = new.cursor
    assert len(found) == 100_000 and set(found.values()) == {1}

    seconds = []
    for _ in range(2):
        begun = time.process_time()
        assert landing.since(cursor, now_ns=crowd.now).days == {}
        seconds.append(time.process_time() - begun)
    assert min(seconds) <= 2, seconds

    crowd.put_day(FIRST.isoformat(), "late.csv", NOON + 300_000)
    late = landing.since(cursor, now_ns=crowd.now)
    assert list(late.days) == [FIRST]
    assert landing.since(late.cursor, now_ns=crowd.now).days == {}


_DAYS = st.sampled_from([MONDAY, TUESDAY, "2026-01-07"])
_NAMES = st.sampled_from(["a.csv", "b.csv", "c.csv.gz"])
_PASSES = st.integers(0, 15)
_WRITE = st.tuples(st.just("write"), _DAYS, _NAMES, _PASSES, st.integers(0, 9))
_WRITE_ANY_TIME = st.tuples(st.just("write"), _DAYS, _NAMES, _PASSES, st.integers(-60, 60))
_LOOK = st.tuples(st.just("look"), st.integers(1, 4))
_REMOVE = st.tuples(st.just("remove"), _DAYS, _NAMES)


def _play(landing: Landing, steps: list[tuple]) -> Iterator[tuple[str, object]]:
    """Do the steps, then look until there is nothing new; what was written and what was found, in order."""
    for number, step in enumerate(steps):
        if step[0] == "write":
            _, day, name, passes, behind = step
            landing.now += passes * MINUTE
            yield "written", landing.put_day(day, name, landing.now - behind * MINUTE, b"x" * number)
        elif step[0] == "remove":
            path = f"{FOLDER.format(day=step[1])}/{step[2]}"
            if (landing.root / path).exists():
                landing.remove(path)
        else:
            yield "found", landing.look(cap=step[1])
    for _ in range(len(steps) + 1):
        new = landing.look(cap=2)
        yield "found", new
        if not new.days and not new.left:
            return
    raise AssertionError("the looks find no end")


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(st.one_of(_WRITE, _WRITE, _LOOK), max_size=25))
def test_whatever_the_order_of_writes_and_looks_every_file_is_new_exactly_once(steps) -> None:
    with tempfile.TemporaryDirectory() as folder:
        landing = Landing(Path(folder))
        found: Counter[Version] = Counter()
        for what, value in _play(landing, steps):
            if what == "found":
                found.update((f.path, f.size, f.modified_ns) for files in value.days.values() for f in files)
        assert set(found.values()) <= {1}
        present = {(f.path, f.size, f.modified_ns) for f in Files(folder).files("shop")}
        assert present <= found.keys()


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(st.one_of(_WRITE_ANY_TIME, _WRITE_ANY_TIME, _LOOK, _REMOVE), max_size=25))
def test_whatever_the_times_and_removals_every_write_is_followed_by_a_run_of_its_day(steps) -> None:
    """Also where next to nothing is remembered one by one, and days share their digests."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(arrivals, "SEEN", 2),
        mock.patch.object(arrivals, "DAYS", 2),
    ):
        landing = Landing(Path(folder))
        waiting: dict[str, set[date]] = defaultdict(set)
        for what, value in _play(landing, steps):
            if what == "written":
                waiting[value].add(date.fromisoformat(value.split("=")[1][:10]))
            else:
                waiting = {path: days - value.days.keys() for path, days in waiting.items()}
                waiting = defaultdict(set, {path: days for path, days in waiting.items() if days})
        present = {f.path for f in Files(folder).files("shop")}
        assert present & waiting.keys() == set()


def test_the_cursor_is_read_by_people_too(landing) -> None:
    landing.put_day(MONDAY, "a.csv", NOON)
    assert json.loads(landing.look().cursor)["floor"] == [NOON - arrivals.OVERLAP_NS, ""]
