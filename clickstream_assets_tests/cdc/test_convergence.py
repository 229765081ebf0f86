"""Changes in any order, cut into files in any way, any number of times, and interrupted: the tables are the model's."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from clickstream_assets.cdc import apply as applying
from clickstream_assets.cdc import tables
from clickstream_assets.cdc.declared import DMS, DYNAMODB, Declared
from clickstream_assets.platform import Platform
from clickstream_assets_tests.cdc.model import Change, found, model, ordered, publish, text_of
from clickstream_assets_tests.conftest import Home, use_home

COLUMNS = ("id", "region", "v")

#: seconds at which things happen: few, so that they tie; and two that are more than an hour later
SECONDS = (0, 1, 2, 3, 4000, 4001)


def _keys(bucket: int, count: int) -> list[str]:
    of_bucket = (str(n) for n in itertools.count(1) if tables.bucket(text_of([str(n)])) == bucket)
    return list(itertools.islice(of_bucket, count))


#: three keys in one bucket and two in another
KEYS = (*_keys(3, 3), *_keys(9, 2))

SEEDS = st.integers(0, 2**64 - 1)
_NUMBERS = itertools.count()

#: an example takes half a second, and a smaller seed is no smaller history
_PHASES = (Phase.explicit, Phase.generate)


@dataclass(frozen=True)
class History:
    """A table, its changes in the batches in which they arrive, and the batches whose apply is killed half way.

    ``of_a_group``: rows that are merged at once.
    """

    declared: Declared
    batches: Sequence[Sequence[Change]]
    killed: frozenset[int]
    of_a_group: int

    @property
    def changes(self) -> list[Change]:
        return [change for batch in self.batches for change in batch]


def history_of(seed: int) -> History:
    """Changes of five keys, each in one file or several, and files in batches.

    Drawn from a seed: hypothesis prefers few batches and little in them, where next to nothing can go wrong.
    """
    rng = random.Random(seed)
    source = rng.choice((DMS, DYNAMODB))
    with_numbers = source == DYNAMODB or rng.random() < 0.5
    changes = [_change(rng, source, n, with_numbers) for n in range(rng.randint(3, 20))]
    changes += rng.choices(changes, k=rng.randint(0, 6))
    rng.shuffle(changes)
    by_file: dict[str, list[Change]] = {}
    for change in changes:
        name = f"{'LOAD' if change.kind == 'load' else ''}F{rng.randint(0, 7)}"
        of_file = by_file.setdefault(name, [])
        of_file.append(replace(change, file=name, line=len(of_file) + 1))
    files = list(by_file.values())
    rng.shuffle(files)
    batches: list[list[Change]] = [[] for _ in range(rng.randint(1, 5))]
    for file in files:
        rng.choice(batches).extend(file)
    declared = Declared(
        source,
        "things",
        "",
        ("id",),
        schema="shop" if source == DMS else None,
        partition_by=rng.choice((None, "region")),
        complete_loads=source == DMS and rng.random() < 0.7,
    )
    killed = frozenset(n for n in range(len(batches)) if rng.random() < 0.1)
    return History(declared, [batch for batch in batches if batch], killed, rng.choice((6, 1000)))


def _change(rng: random.Random, source: str, n: int, with_numbers: bool) -> Change:
    key, op = rng.choice(KEYS), rng.choice("IIUUUDDL")
    row = {"id": key, "region": rng.choice(("eu", "us", None)), "v": rng.choice("ab")}
    second: int | None = rng.choice(SECONDS)
    number: int | None = None
    if source == DYNAMODB:
        # Each change has its own number there, and a scan that of the change before it.
        number = rng.randint(0, 20) if op == "L" else n + 1
    elif op == "L":
        second = rng.choice((second, None))
    elif with_numbers:
        number = rng.randint(1, 3)
    common = {"op": op, "key": (key,), "file": "", "line": 0, "second": second, "number": number}
    if op == "D":
        return Change(**common, before=rng.choice((row, {"id": key})))
    old = rng.choice(KEYS)
    if source == DMS and op == "U" and old != key and rng.random() < 0.3:
        return Change(**common, after=row, before=row | {"id": old}, old_key=(old,))
    return Change(**common, after=row, kind="load" if op == "L" else "change")


class _Killed(BaseException):
    pass


def _die(line: str) -> None:
    if line.endswith("changes applied"):
        raise _Killed


def converges(platform: Platform, history: History) -> None:
    """Apply the batches as they come, and compare what is there with the model; the same after a replay."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(applying, "_OF_A_GROUP", history.of_a_group)
        _converges(platform, history)


def _converges(platform: Platform, history: History) -> None:
    n = next(_NUMBERS)
    declared = replace(history.declared, target=f"t{n}")
    days = [date(2026, 1, 1) + timedelta(days=2 * n + second) for second in range(2)]
    changes = []
    for number, batch in enumerate(history.batches):
        of_batch = [replace(change, day=days[number % 2]) for change in batch]
        changes += of_batch
        publish(platform.lake, declared.target, of_batch)
        if number in history.killed:
            with pytest.raises(_Killed):
                applying.apply(platform, declared, run_id="killed", progress=_die)
            if number % 2:
                continue
        applying.apply(platform, declared, run_id=f"run-{number}")
    state, versions = model(changes, declared, COLUMNS)
    for replay in (False, True):
        done = applying.apply(platform, declared, run_id="last", replay=replay)
        there, of_history = found(platform, declared)
        assert ordered(of_history) == ordered(versions)
        assert there == state
        assert sum(account.rows_in for account in done.accounts) == len(changes)
        derived = sum(one.reason in ("key_changed", "absent_from_load") for one in versions)
        assert sum(account.rows_out for account in done.accounts) == len(versions) - derived
        assert not any(account.missing or account.rejected for account in done.accounts)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One lake for all histories: each has a table and days of its own."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield use_home(tmp_path_factory.mktemp("cdc") / "home", monkeypatch).platform


def test_any_order_split_and_repetition_gives_the_model(platform: Platform, histories: int) -> None:
    @given(seed=SEEDS)
    @settings(max_examples=histories, deadline=None, phases=_PHASES, suppress_health_check=list(HealthCheck))
    def in_the_catalog_of_a_laptop(seed: int) -> None:
        converges(platform, history_of(seed))

    in_the_catalog_of_a_laptop()


def test_the_same_on_glue(tmp_path: Path, on_glue: None, s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    home: Home = use_home(tmp_path / "home", monkeypatch, CLICKSTREAM_CATALOG="glue", CLICKSTREAM_LAKE_URI=s3_root)

    @given(seed=SEEDS)
    @settings(max_examples=4, deadline=None, phases=_PHASES, suppress_health_check=list(HealthCheck), database=None)
    def on_glue_too(seed: int) -> None:
        converges(home.platform, history_of(seed))

    on_glue_too()
