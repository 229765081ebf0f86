"""Events in any order, cut into files in any way, and any number of times: the tables are the same."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clickstream_assets.platform import Platform
from clickstream_assets.storage import cleaning, slices
from clickstream_assets_tests.conftest import Home
from clickstream_assets_tests.events import FEED, load

KEY = "0123456789abcdef0123456789abcdef"

#: few ids, hours and prices, so that events meet; two rows of three are valid
EVENTS = st.fixed_dictionaries(
    {
        "event_id": st.sampled_from("abcdefgh"),
        "event_type": st.just("page_view"),
        "timestamp": st.builds(
            "2026-03-0{}T{:02}:00:00Z".format, st.integers(1, 3), st.sampled_from((0, 1, 2, 3, 9, 22, 23))
        ),
        "price": st.sampled_from((1, 2, 3, 3.5, -1)),
    },
    optional={"note": st.sampled_from(("x", "y")), "ip": st.sampled_from(("192.0.2.1", "192.0.2.2"))},
)


@dataclass(frozen=True)
class Arrival:
    """A file, the day on which it arrives, and its name."""

    day: date
    name: str
    events: Sequence[dict[str, Any]]
    between: str


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[list[Arrival]]]:
    """Events, and files that have each of them at least once, in the groups in which they arrive."""
    events = draw(st.lists(EVENTS, min_size=8, max_size=24))
    again = draw(st.lists(st.sampled_from(events), max_size=6))
    order = draw(st.permutations([*events, *again]))
    cuts = sorted(draw(st.lists(st.integers(0, len(order)), max_size=4)))
    pieces = [order[a:b] for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True) if a < b]
    files = [
        Arrival(date(2026, 3, draw(st.integers(2, 4))), f"f{n}", piece, draw(st.sampled_from(("\n", ""))))
        for n, piece in enumerate(pieces)
    ]
    copies = draw(st.lists(st.sampled_from(files), max_size=2))
    files += [replace(copy, day=date(2026, 3, 4), name=f"copy{n}") for n, copy in enumerate(copies)]
    files = draw(st.permutations(files))
    group = 0
    groups = [group := group + draw(st.booleans()) for _ in files]
    return events, [
        [f for _, f in found] for _, found in groupby(zip(groups, files, strict=True), lambda pair: pair[0])
    ]


def arrive(platform: Platform, arrivals: Sequence[Arrival]) -> None:
    """Land the files of a group, load their days, and make the days again that they touch."""
    for one in arrivals:
        text = one.between.join(map(json.dumps, one.events))
        path = f"{FEED.folder(one.day)}/{one.name}"
        platform.landing.write(path, gzip.compress(text.encode(), mtime=0))
    load(platform, {one.day for one in arrivals})


def cleaned(platform: Platform) -> list[tuple[Any, ...]]:
    """The rows of the cleaned table, less when they were loaded."""
    files = platform.lake.snapshot(FEED.cleaned).files
    tables = [
        pq.ParquetFile(platform.lake.files.open_random(platform.lake.files.relative(f.uri))).read() for f in files
    ]
    rows = pa.concat_tables(tables).drop_columns(["ingested_at"]).to_pylist() if tables else []
    return sorted((tuple(row.values()) for row in rows), key=repr)


@pytest.fixture
def platforms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(slices, "BY_HOUR", 5)
    monkeypatch.setattr(cleaning, "BY_HOUR", 5)

    def fresh(name: str) -> Platform:
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        return Home(tmp_path / name, {"CLICKSTREAM_PII_KEY": KEY}).platform

    return fresh


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories())
def test_any_order_split_and_repetition_give_the_same_rows(platforms: Any, history: Any) -> None:
    events, groups = history
    bit_by_bit, at_once = platforms("bit by bit"), platforms("at once")
    for group in groups:
        arrive(bit_by_bit, group)
    arrive(at_once, [Arrival(date(2026, 3, 3), "all", events, "\n")])
    assert cleaned(bit_by_bit) == cleaned(at_once)
    best = {}
    for event in events:
        if event["price"] >= 0:
            best.setdefault((event["timestamp"][:10], event["event_id"]), []).append(event)
    assert len(cleaned(at_once)) == len(best), "one row for each valid event of a day"
