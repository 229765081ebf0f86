"""A full disk, a limit on file sizes, a lake or a home that cannot be written to: one sentence, and nothing torn.

Each fault is the operating system's own, and works for root too: a process may be forbidden to let files grow, and root
without the capability to pass over permissions is told no like anybody else.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from clickstream_assets_tests import forked
from clickstream_assets_tests.conftest import Home, use_home

DAY, OTHER = "2024-03-01", "2024-03-02"


class _Capabilities(ctypes.Structure):
    """``struct __user_cap_data_struct`` of Linux, of which ``capset`` takes two."""

    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def bound_by_permissions() -> None:
    """Root without its capability to pass over them."""
    if os.geteuid() == 0 and sys.platform == "linux":
        libc, version, dac_override = ctypes.CDLL(None), 0x20080522, 1 << 1
        header, sets = (ctypes.c_uint32 * 2)(version, 0), (_Capabilities * 2)()
        assert libc.capget(header, sets) == 0
        sets[0].effective &= ~dac_override
        assert libc.capset(header, sets) == 0


def bound_by_size(limit: int) -> None:
    """No file may grow beyond so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # Python ignores the signal: writes fail with EFBIG


@dataclass(frozen=True)
class Shop:
    """A home with a day published and another landed. A copy of it as it was then can be put back.

    ``before``: its tables. ``after``: its tables when the other day has been run without any fault.
    """

    home: Home
    before: dict[str, list[tuple[Any, ...]]]
    after: dict[str, list[tuple[Any, ...]]]

    @property
    def copy(self) -> Path:
        return self.home.path.with_name("copy")

    def put_back(self) -> None:
        shutil.rmtree(self.home.path)
        shutil.copytree(self.copy, self.home.path)


def tables(home: Home) -> dict[str, list[tuple[Any, ...]]]:
    """What is published: all but what the models keep for the next run."""
    lists = ("ecommerce.stale_event_dates", "ecommerce.pending_ingestion_dates", "ops.run_window")
    return {name: rows for name, rows in home.tables().items() if name not in lists}


def sentence(command: forked.Command) -> str:
    """The last line, if the command failed as it should."""
    assert command.join() == 1, command.printed()
    lines = command.printed().strip().splitlines()
    assert all(line.startswith(("\u2713 ", "\u2717 ", "clickstream: ", "ecommerce: ")) for line in lines), lines
    assert lines[-1].startswith("clickstream: "), lines
    return lines[-1]


def check_nothing_is_torn(shop: Shop, found: dict[str, list[tuple[Any, ...]]]) -> None:
    """Each relation is what it was before, or what it is after a run without faults; accounts are so row by row."""
    for name, rows in found.items():
        if name.startswith("ops."):
            known = {repr(row) for row in (*shop.before[name], *shop.after[name])}
            assert {repr(row) for row in rows} <= known, f"{name} is torn"
        else:
            assert rows in (shop.before[name], shop.after[name]), f"{name} is torn"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One published day; and the rows of the other are many, so that each layer writes larger files than the last."""
    with pytest.MonkeyPatch.context() as patch:
        home = use_home(tmp_path_factory.mktemp("disk") / "home", patch)
        home.land(DAY, "a.csv", "1,1,2024-03-01 10:00:00,purchase,p1,5.00,", "broken")
        home.run(DAY)
        before = tables(home)
        # Parquet keeps a long value that repeats once, the warehouse's log each time: it is what grows largest.
        products = [f"p{n}" + "-" * 300 for n in range(20)]
        rows = (
            f"u{n * 7919 % 9973},{n % 9},2024-03-02 {n % 24:02}:{n % 60:02}:00,purchase,{products[n % 20]},{n}.5,"
            for n in range(60_000)
        )
        home.land(OTHER, "b.csv", *rows, "broken")
        shutil.copytree(home.path, home.path.with_name("copy"))
        home.run(OTHER)
        made = Shop(home, before, tables(home))
        yield made


@pytest.fixture
def fresh(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    shop.put_back()
    use_home(shop.home.path, monkeypatch)
    return shop


#: bytes beyond which no file may grow, and the step that is the first to need more
LIMITS = {
    4_000: "run",
    950_000: "ecommerce_raw.events_raw",
    2_200_000: "ecommerce.events_cleaned",
    3_200_000: "ecommerce_models",
}


def test_files_that_cannot_grow(fresh: Shop) -> None:
    """Each limit lets a run come one step further; then one without makes what all of them kept from it."""
    # Two days, since Sail puts a single one into several files, and the limit could not tell its from those before.
    days = ("--from", DAY, "--to", OTHER)
    for limit, what in LIMITS.items():
        last = sentence(forked.start(fresh.home, "run", "ecommerce", *days, first=partial(bound_by_size, limit)))
        assert last.startswith(f"clickstream: {what} could not read or write "), last
        assert str(fresh.home.path) in last
        assert "ulimit -f" in last
        found = tables(fresh.home)
        check_nothing_is_torn(fresh, found)
        if what != "ecommerce_models":
            gold = [name for name in found if name.startswith("ecommerce.")]
            assert {name: found[name] for name in gold} == {name: fresh.before[name] for name in gold}, what

    fresh.home.run(OTHER)
    assert tables(fresh.home) == fresh.after


@contextlib.contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Take the right to write from a file, or from a folder and all below it."""
    paths = [path, *path.rglob("*")] if path.is_dir() else [path]
    modes = {one: stat.S_IMODE(one.stat().st_mode) for one in paths}
    for one, mode in modes.items():
        one.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for one, mode in modes.items():
            one.chmod(mode)


@contextlib.contextmanager
def replaced(path: Path, by: Callable[[Path], object]) -> Iterator[None]:
    """Have something else in the place of a folder."""
    away = path.with_name("away")
    path.rename(away)
    by(path)
    try:
        yield
    finally:
        path.unlink()
        away.rename(path)


FAULTS: dict[str, Callable[[Path], contextlib.AbstractContextManager[None]]] = {
    "read-only lake": lambda home: read_only(home / "lake"),
    "read-only catalog": lambda home: read_only(home / "catalog.db"),
    "read-only warehouse": lambda home: read_only(home / "warehouse.duckdb"),
    "read-only run history": lambda home: read_only(home / "dagster"),
    "a file for a lake": lambda home: replaced(home / "lake", Path.touch),
    "a lake that is not mounted": lambda home: replaced(home / "lake", lambda lake: lake.symlink_to("/nowhere/lake")),
}


def test_what_cannot_be_written_to(fresh: Shop) -> None:
    """One fault after the other, each told in one sentence; then a run that makes what all of them kept from it."""
    for name, fault in FAULTS.items():
        with fault(fresh.home.path):
            command = ("run", "ecommerce", "--date", OTHER)
            last = sentence(forked.start(fresh.home, *command, first=bound_by_permissions))
            assert "could not read or write " in last, name
            assert str(fresh.home.path) in last, name
            assert last.endswith(", and run again. What was published before is as it was."), name
            if name.startswith("read-only"):
                check_nothing_is_torn(fresh, tables(fresh.home))
        found = tables(fresh.home)
        gold = [relation for relation in found if relation.startswith("ecommerce.")]
        assert {relation: found[relation] for relation in gold} == {
            relation: fresh.before[relation] for relation in gold
        }, name
    fresh.home.run(OTHER)
    assert tables(fresh.home) == fresh.after
