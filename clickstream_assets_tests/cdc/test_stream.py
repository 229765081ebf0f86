"""The consumer of DynamoDB streams, against a server with shards that split, and against MiniStack's tables."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from clickstream_assets.cdc import stream
from clickstream_assets.cdc.declared import Declared
from clickstream_assets.cdc.stream import Consumed, StreamGap, checkpoint_path
from clickstream_assets.errors import Busy, ClickstreamError
from clickstream_assets.platform import Platform
from clickstream_assets.storage import s3
from clickstream_assets.storage.files import Files
from clickstream_assets.storage.locks import ProcessLock
from clickstream_assets_tests.cdc import stream_server
from clickstream_assets_tests.cdc.stream_server import BASE, PREFIX, Server
from clickstream_assets_tests.conftest import Home, use_home

CARTS = Declared(source="dynamodb", table="carts", target="carts", primary_key=("cart_id",))
ENDPOINTS = ("AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_DYNAMODB_STREAMS")
NAME = re.compile(
    r"cdc/dynamodb/carts/year=(\d{4})/month=(\d\d)/day=(\d\d)/\1\2\3T\d{6}Z-"
    rf"({PREFIX}(shard|other)-\d+(-\d{{22,23}}){{2}}|scan-\d{{4}}-of-\d{{4}})\.json\.gz"
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with stream_server.running() as (server, endpoint):
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in {
            **dict.fromkeys(ENDPOINTS, endpoint),
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests",
            "AWS_REGION": "eu-central-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(s3, "client", cache(s3.client))  # a client takes longer to make than a stream to read
        yield server


@pytest.fixture
def platform(home: Home) -> Platform:
    return home.platform


def consume(
    server: Server, platform: Platform, of: Callable[..., Consumed] = stream.consume, **further: Any
) -> Consumed:
    return of(platform, CARTS, **{"clock": lambda: server.now, "pause": 0, **further})


def landed(platform: Platform) -> dict[str, list[dict[str, Any]]]:
    """The records of every file."""
    found = {}
    for info in platform.landing.files("cdc/dynamodb/carts"):
        assert NAME.fullmatch(info.path), info.path
        content = platform.landing.read(info.path)
        assert content is not None
        found[info.path] = [json.loads(line) for line in gzip.decompress(content).splitlines()]
    return found


def numbers(platform: Platform) -> list[int]:
    """The numbers of all records, counted from the server's base, as often as they landed."""
    every = (record for records in landed(platform).values() for record in records)
    return sorted(int(r["dynamodb"]["SequenceNumber"]) - BASE for r in every if r["eventName"] != "SCAN")


def state(platform: Platform) -> dict[str, Any]:
    """What the landed records make of the table: of each key the greatest number, a change before an item.

    Keys that a scan did not find and of which nothing newer is known are gone.
    """
    found: dict[str, tuple[tuple[int, int], Any]] = {}
    scans: dict[int, set[str]] = {}
    for path, records in landed(platform).items():
        for record in records:
            changes = record["dynamodb"]
            number, scanned = int(changes["SequenceNumber"]), record["eventName"] == "SCAN"
            assert scanned == ("-scan-" in path)
            key = changes["Keys"]["cart_id"]["S"]
            if scanned:
                scans.setdefault(number, set()).add(key)
            if key not in found or (number, scanned) >= found[key][0]:
                found[key] = (number, scanned), changes.get("NewImage")
    last = max(scans, default=-1)
    gone = {key for key, (place, _) in found.items() if place < (last, True) and key not in scans[last]}
    return {key: image for key, (_, image) in found.items() if image is not None and key not in gone}


def checkpoint(platform: Platform) -> dict[str, Any]:
    content = platform.lake.files.read(checkpoint_path(CARTS))
    found: dict[str, Any] = json.loads(content or b"{}")
    return found


# --- reading ---


def test_records_land_as_they_are_and_once(server: Server, platform: Platform) -> None:
    for n in range(7):
        server.put(f"c{n}", total={"N": "1.50"}, token={"B": "aGVsbG8="}, pictures={"BS": ["AA==", "AQ=="]})
    server.delete("c1")
    done = consume(server, platform)
    assert done == Consumed("carts", 8, 1, 1, caught_up=True)
    ((path, records),) = landed(platform).items()
    name = f"{PREFIX}shard-0-{BASE + 10}-{BASE + 17}"
    assert path.endswith(f"/year=2024/month=03/day=01/20240301T120000Z-{name}.json.gz")
    assert records == [record for _, record in server.shards["shard-0"].records]
    assert records[0]["dynamodb"]["ApproximateCreationDateTime"] == 1_709_294_400
    assert consume(server, platform) == Consumed("carts", 0, 1, 0)
    server.put("c8")
    assert consume(server, platform).records == 1
    assert numbers(platform) == list(range(10, 19))
    assert state(platform) == server.items


def test_parents_are_read_before_their_children(
    server: Server, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "FILE_RECORDS", 1)
    order: list[str] = []
    write = Files.write

    def noted(self: Files, path: str, content: bytes) -> None:
        order.append(path)
        write(self, path, content)

    monkeypatch.setattr(Files, "write", noted)
    for n in range(4):
        server.put(f"c{n}")
    server.split("shard-0", "shard-1", "shard-2")
    for n in range(4):
        server.put(f"c{n}", f"shard-{n % 2 + 1}", round={"N": "2"})
    server.split("shard-1", "shard-3")
    server.put("c0", "shard-3", round={"N": "3"})
    server.shards.update(
        {name: server.shards.pop(name) for name in ("shard-0", "shard-1")}
    )  # children are listed first

    done = consume(server, platform)

    assert (done.records, done.shards, done.caught_up) == (9, 4, True)
    shards = [path.split(PREFIX)[1][:7] for path in order if path.startswith("cdc/dynamodb")]
    assert [shard for shard in shards if shard != "shard-2"] == ["shard-0"] * 2 + ["shard-1"] + ["shard-3"]
    assert shards[:2] == ["shard-0", "shard-0"]
    assert state(platform) == server.items
    assert {name.removeprefix(PREFIX): shard["finished"] for name, shard in checkpoint(platform)["shards"].items()} == {
        "shard-0": True, "shard-1": True, "shard-2": False, "shard-3": False
    }  # fmt: skip


def test_a_shard_that_splits_while_it_is_read_is_followed(
    server: Server, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put("a")
    answer = Server.answer

    def meanwhile(self: Server, action: str, question: dict[str, Any]) -> dict[str, Any]:
        if action == "GetRecords" and self.asked.count("GetRecords") == 3:
            self.split("shard-0", "shard-1")
            self.put("b", "shard-1")
        return answer(self, action, question)

    monkeypatch.setattr(Server, "answer", meanwhile)
    assert consume(server, platform).records == 2
    assert state(platform) == server.items


def test_empty_answers_between_records_are_no_end(server: Server, platform: Platform) -> None:
    server.sparse, server.page = stream.EMPTY_ANSWERS - 1, 1
    for n in range(5):
        server.put(f"c{n}")
    assert consume(server, platform).records == 5


def test_old_shards_are_forgotten_when_their_children_are_known(server: Server, platform: Platform) -> None:
    for n in range(4):
        server.put(f"c{n}", f"shard-{n}")
        server.split(f"shard-{n}", f"shard-{n + 1}")
        consume(server, platform)
        server.later(20)
    assert len(checkpoint(platform)["shards"]) <= 3
    assert numbers(platform) == [10, 11, 12, 13]


def test_an_iterator_that_expired_is_asked_for_anew(server: Server, platform: Platform) -> None:
    for n in range(7):
        server.put(f"c{n}")
    server.refusals["GetRecords"] = ["ExpiredIteratorException", "ExpiredIteratorException"]
    assert consume(server, platform).records == 7
    assert numbers(platform) == list(range(10, 17))


def test_large_reads_become_several_files(server: Server, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "FILE_RECORDS", 6)
    server.page = 2
    for n in range(13):
        server.put(f"c{n}")
    assert consume(server, platform).files == 3
    assert sorted(len(records) for records in landed(platform).values()) == [1, 6, 6]


def test_following_lands_what_comes_until_the_time_is_up(server: Server, platform: Platform) -> None:
    server.put("a")
    answer = Server.answer
    told: list[str] = []

    def come(self: Server, action: str, question: dict[str, Any]) -> dict[str, Any]:
        if action == "GetRecords" and len(self.items) < 4 and self.asked.count("GetRecords") % 5 == 0:
            self.later(0.02)
            self.put(f"n{len(self.items)}")
        return answer(self, action, question)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Server, "answer", come)
        done = consume(server, platform, follow=True, seconds=1.5, pause=0.01, progress=told.append)
    assert done.records == 4
    assert state(platform) == server.items
    assert any("4 records" in line for line in told)


def test_without_following_the_time_ends_it_too(server: Server, platform: Platform) -> None:
    server.put("a")
    done = consume(server, platform, seconds=0)
    assert (done.records, done.caught_up) == (0, False)
    assert str(done).endswith("; there may be more")


# --- what breaks off ---


@pytest.mark.parametrize("at", ["the file", "the checkpoint"])
def test_a_kill_loses_nothing_and_comes_to_the_same(
    server: Server, platform: Platform, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "FILE_RECORDS", 2)
    server.page = 2
    for n in range(6):
        server.put(f"c{n}")
    write = Files.write
    count = 0

    def die(self: Files, path: str, content: bytes) -> None:
        nonlocal count
        count += path.startswith("cdc/dynamodb")
        if count >= 2 and path.startswith("cdc/dynamodb") == (at == "the file"):
            raise KeyboardInterrupt  # as a kill: nothing more is written
        write(self, path, content)

    with monkeypatch.context() as fault:
        fault.setattr(Files, "write", die)
        with pytest.raises(KeyboardInterrupt):
            consume(server, platform)
    server.put("c0", late={"BOOL": True})
    assert len(landed(platform)) == (1 if at == "the file" else 2)
    consume(server, platform)
    assert sorted(set(numbers(platform))) == list(range(10, 17))
    assert len(numbers(platform)) == 7, "the same batch has the same name"
    assert state(platform) == server.items


def test_what_was_read_is_landed_when_aws_refuses(server: Server, platform: Platform) -> None:
    for n in range(5):
        server.put(f"c{n}")
    answer, times = Server.answer, iter(range(100))

    def refuse(self: Server, action: str, question: dict[str, Any]) -> dict[str, Any]:
        if action == "GetRecords" and next(times) > 0:
            raise stream_server.Refused("AccessDeniedException")
        return answer(self, action, question)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Server, "answer", refuse)
        with pytest.raises(ClickstreamError, match=r"^carts: .*AccessDeniedException.*allow dynamodb:DescribeTable"):
            consume(server, platform)
    assert numbers(platform) == [10, 11, 12]
    assert consume(server, platform).records == 2


def test_throttled_questions_are_asked_again(server: Server, platform: Platform) -> None:
    server.put("a")
    server.refusals = {name: ["LimitExceededException"] for name in ("DescribeStream", "GetRecords")}
    assert consume(server, platform).records == 1


def test_two_do_not_read_one_stream(server: Server, home: Home) -> None:
    held = ProcessLock(home.path / "locks" / "stream-carts", "the stream of carts")
    with held.held("another", timeout=0), pytest.raises(Busy, match="the stream of carts"):
        consume(server, home.platform)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stream": None}, "its stream is not there: enable one with the view NEW_AND_OLD_IMAGES"),
        ({"view": "OLD_IMAGE"}, "tells what items were and not what they are: enable one"),
    ],
)
def test_a_table_without_a_usable_stream_is_told(
    server: Server, platform: Platform, change: dict[str, Any], said: str
) -> None:
    for name, value in change.items():
        setattr(server, name, value)
    with pytest.raises(ClickstreamError, match=said):
        consume(server, platform)
    unknown = Declared(source="dynamodb", table="baskets", target="baskets", primary_key=("id",))
    with pytest.raises(ClickstreamError, match=r"^baskets: .*mend the table's name in the declaration"):
        stream.consume(platform, unknown)
    assert not landed(platform)


# --- gaps ---


def test_records_that_went_before_they_were_read_are_a_gap(server: Server, platform: Platform) -> None:
    server.put("a")
    consume(server, platform)
    server.later(1)
    server.put("b")
    server.later(26)
    server.put("c")
    for _ in range(2):
        with pytest.raises(
            StreamGap,
            match=r"^carts: changes since 2024-03-01 12:00:00 UTC may be missing, .*: "
            r"run `clickstream cdc dynamodb carts --resync`\.$",
        ):
            consume(server, platform)
    assert numbers(platform) == [10], "nothing hides the gap"


def test_a_quiet_stream_that_is_looked_at_often_enough_is_none(server: Server, platform: Platform) -> None:
    server.put("a")
    for _ in range(5):
        assert consume(server, platform).caught_up
        server.later(20)
    server.put("b")  # the number that was noted is long gone
    assert consume(server, platform).records == 1
    assert numbers(platform) == [10, 11]


def test_a_quiet_stream_that_nobody_looked_at_may_have_one(server: Server, platform: Platform) -> None:
    server.put("a")
    consume(server, platform)
    server.later(30)
    with pytest.raises(StreamGap):
        consume(server, platform)


def test_a_shard_that_is_gone_unread_is_a_gap(server: Server, platform: Platform) -> None:
    server.put("a")
    consume(server, platform)
    server.put("b")
    server.split("shard-0", "shard-1")
    server.later(25)
    server.put("c", "shard-1")
    with pytest.raises(StreamGap):
        consume(server, platform)


def test_a_shard_that_is_gone_and_was_read_to_its_end_is_none(server: Server, platform: Platform) -> None:
    server.put("a")
    server.split("shard-0", "shard-1")
    consume(server, platform)
    server.later(20)
    server.put("b", "shard-1")
    consume(server, platform)
    server.later(10)
    server.put("c", "shard-1")
    assert consume(server, platform).records == 1
    assert numbers(platform) == [10, 11, 12]


def test_a_child_whose_first_records_went_unread_is_a_gap(server: Server, platform: Platform) -> None:
    server.put("a")
    server.split("shard-0")
    consume(server, platform)  # read to its end; no child yet
    server.shards["shard-1"] = stream_server.Shard("shard-0")
    server.put("b", "shard-1")
    server.later(25)
    server.put("c", "shard-1")
    with pytest.raises(StreamGap):
        consume(server, platform)


def test_a_child_that_was_known_and_never_read_is_a_gap(server: Server, platform: Platform) -> None:
    server.put("a")
    server.split("shard-0", "shard-1")
    server.refusals["GetRecords"] = []
    consume(server, platform)
    found = checkpoint(platform)
    assert found["shards"][PREFIX + "shard-1"]["sequence"] is None
    server.put("b", "shard-1")
    server.later(25)
    server.put("c", "shard-1")
    with pytest.raises(StreamGap):
        consume(server, platform)


def test_a_child_that_a_late_reader_did_not_come_to_is_a_gap(
    server: Server, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its records are as old as its parent's end, not as the moment at which somebody saw it."""
    consume(server, platform)
    server.put("a")
    server.split("shard-0", "shard-1")
    server.put("b", "shard-1")
    server.later(20)
    answer = Server.answer

    def refuse(self: Server, action: str, question: dict[str, Any]) -> dict[str, Any]:
        if action == "GetShardIterator" and question["ShardId"].endswith("shard-1"):
            raise stream_server.Refused("AccessDeniedException")
        return answer(self, action, question)

    with monkeypatch.context() as patch:
        patch.setattr(Server, "answer", refuse)
        with pytest.raises(ClickstreamError, match="AccessDenied"):
            consume(server, platform)
    assert numbers(platform) == [10]
    server.later(10)
    server.put("c", "shard-1")
    with pytest.raises(StreamGap):
        consume(server, platform)


def test_a_child_that_was_listed_late_is_as_old_as_its_parents_last_record(server: Server, platform: Platform) -> None:
    consume(server, platform)
    server.put("a")
    server.split("shard-0")
    server.later(20)
    consume(server, platform)
    server.shards["shard-1"] = stream_server.Shard("shard-0")
    server.later(-19)
    server.put("b", "shard-1")
    server.later(29)
    server.put("c", "shard-1")
    with pytest.raises(StreamGap):
        consume(server, platform)


def test_a_stream_that_was_made_anew_is_a_gap_and_the_old_one_is_read(server: Server, platform: Platform) -> None:
    server.put("a")
    consume(server, platform)
    server.put("b")
    server.renew()
    server.put("c", "other-0")
    for _ in range(2):
        with pytest.raises(StreamGap, match=r"its stream was made anew.*--resync"):
            consume(server, platform)
        assert numbers(platform) == [10, 11]
    consume(server, platform, stream.resync)
    assert state(platform) == server.items
    server.put("d", "other-0")
    assert consume(server, platform).records == 1


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_changes_are_landed_or_missed_aloud(
    server: Server, platform: Platform, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changes, splits and waits at random, and readers that are killed: no read is content with less than all."""
    rng = random.Random(seed)
    monkeypatch.setattr(stream, "FILE_RECORDS", 3)
    server.put("always")
    consume(server, platform, stream.resync)
    write, left = Files.write, [0]

    def die(self: Files, path: str, content: bytes) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        write(self, path, content)

    monkeypatch.setattr(Files, "write", die)
    read = gaps = 0
    for n in range(40):
        what = rng.random()
        open_shards = [name for name, shard in server.shards.items() if shard.closed is None]
        # A key is of one shard; as after a split the other child has the other keys.
        if what < 0.45:
            key = f"c{rng.randrange(8)}"
            shard = min(open_shards, key=lambda name, key=key: random.Random(name + key).random())  # type: ignore[misc]
            change = server.delete if key in server.items and rng.random() < 0.3 else server.put
            change(key, shard, **({"n": {"N": str(n)}} if change == server.put else {}))
        elif what < 0.55:
            name = rng.choice(open_shards)
            server.split(name, *(f"{'other' if child else 'shard'}-{n + 10}" for child in range(rng.randrange(1, 3))))
        elif what < 0.75:
            server.later(rng.choice((0.1, 3, 8, 14, 26)))
        else:
            left[0] = rng.choice((-1, -1, 1, 2, 4, 6))
            try:
                consume(server, platform)
            except KeyboardInterrupt:
                continue
            except StreamGap:
                gaps += 1
                left[0] = -1
                consume(server, platform, stream.resync)
            read += 1
            assert state(platform) == server.items, (seed, n)
    left[0] = -1
    server.later(0.1)
    try:
        consume(server, platform)
    except StreamGap:
        consume(server, platform, stream.resync)
    assert state(platform) == server.items
    assert read + gaps > 0


# --- resync ---


def test_a_resync_tells_what_the_table_is_after_a_gap(server: Server, platform: Platform) -> None:
    for n in range(8):
        server.put(f"c{n}")
    consume(server, platform)
    server.later(1)
    server.put("c1", lost={"BOOL": True})
    server.put("new", lost={"BOOL": True})
    server.later(26)
    server.put("c2", kept={"BOOL": True})
    server.delete("c3")
    with pytest.raises(StreamGap):
        consume(server, platform)

    done = consume(server, platform, stream.resync)

    assert (done.items, done.records, done.caught_up) == (8, 2, True)
    assert state(platform) == server.items
    scans = {path: records for path, records in landed(platform).items() if "-scan-" in path}
    (records,) = scans.values()
    assert {record["eventName"] for record in records} == {"SCAN"}
    assert {record["dynamodb"]["SequenceNumber"] for record in records} == {str(BASE + 17)}, "the last that was read"
    assert records[0]["dynamodb"]["Keys"] == {"cart_id": {"S": "c0"}}
    assert records[0]["dynamodb"]["NewImage"] == server.items["c0"]
    server.put("c9")
    assert consume(server, platform).records == 1


def test_each_resync_has_a_number_of_its_own(server: Server, platform: Platform) -> None:
    server.put("a")
    server.later(25)
    for _ in range(3):
        consume(server, platform, stream.resync)
        server.later(0.01)
    server.put("b")
    consume(server, platform)
    for _ in range(2):
        server.later(0.01)
        consume(server, platform, stream.resync)
    scans = [records for path, records in landed(platform).items() if "-scan-" in path]
    found = [int(records[0]["dynamodb"]["SequenceNumber"]) for records in scans]
    assert sorted(found) == [0, 1, 2, BASE + 11, BASE + 12]


def test_the_files_of_a_scan_appear_when_all_are_written(
    server: Server, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "FILE_RECORDS", 2)
    for n in range(5):
        server.put(f"c{n}")
    server.later(25)
    server.refusals["Scan"] = []
    answer, scans = Server.answer, iter(range(100))

    def refuse(self: Server, action: str, question: dict[str, Any]) -> dict[str, Any]:
        if action == "Scan" and next(scans) == 1:
            raise stream_server.Refused("AccessDeniedException")
        return answer(self, action, question)

    with monkeypatch.context() as patch:
        patch.setattr(Server, "answer", refuse)
        with pytest.raises(ClickstreamError, match="AccessDenied"):
            consume(server, platform, stream.resync)
    assert landed(platform) == {}
    with pytest.raises(StreamGap, match="a resync was not finished"):
        consume(server, platform)

    done = consume(server, platform, stream.resync)
    assert (done.items, done.files) == (5, 3)
    assert [path.partition("-scan-")[2] for path in landed(platform)] == [f"000{n}-of-0003.json.gz" for n in (1, 2, 3)]
    assert state(platform) == server.items
    hidden = [info.path for info in platform.landing.files("cdc", hidden=True)]
    assert hidden == list(landed(platform)), "nothing is left of the first one"


def test_a_scan_that_takes_longer_than_records_are_kept_is_told(
    server: Server, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        server.put(f"c{n}")
    answer, scans = Server.answer, iter(range(100))

    def slow(self: Server, action: str, question: dict[str, Any]) -> dict[str, Any]:
        if action == "Scan" and next(scans) == 1:
            self.put("c0", unseen={"BOOL": True})
            self.later(26)
        return answer(self, action, question)

    with monkeypatch.context() as patch:
        patch.setattr(Server, "answer", slow)
        with pytest.raises(StreamGap):
            consume(server, platform, stream.resync)
    assert state(platform) != server.items
    consume(server, platform, stream.resync)
    assert state(platform) == server.items


def test_a_kill_while_the_files_of_a_scan_get_their_names_is_made_good(
    server: Server, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "FILE_RECORDS", 2)
    for n in range(6):
        server.put(f"c{n}")
    move, count = Files.move, 0

    def die(self: Files, source: str, target: str) -> None:
        nonlocal count
        count += "/_scan-" in source
        if count == 2 and "/_scan-" in source:
            raise KeyboardInterrupt
        move(self, source, target)

    with monkeypatch.context() as fault:
        fault.setattr(Files, "move", die)
        with pytest.raises(KeyboardInterrupt):
            consume(server, platform, stream.resync)
    assert len(landed(platform)) == 1
    consume(server, platform)
    assert len([path for path in landed(platform) if "-scan-" in path]) == 3
    assert state(platform) == server.items


def test_landing_and_checkpoint_are_on_s3_as_well(
    server: Server, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = os.environ[ENDPOINTS[0]]
    root = request.getfixturevalue("s3_root")
    for name in ENDPOINTS:
        monkeypatch.setenv(name, endpoint)
    roots = {"CLICKSTREAM_LANDING_URI": f"{root}/landing", "CLICKSTREAM_LAKE_URI": f"{root}/lake"}
    platform = use_home(tmp_path / "home", monkeypatch, **roots).platform
    for n in range(4):
        server.put(f"c{n}")
    assert consume(server, platform, stream.resync).items == 4
    server.delete("c0")
    elsewhere = use_home(tmp_path / "another machine", monkeypatch, **roots).platform
    assert consume(server, elsewhere).records == 1
    assert state(elsewhere) == server.items
    assert not [info for info in platform.landing.files("cdc", hidden=True) if "/_" in info.path]


# --- MiniStack ---


@pytest.fixture
def real(aws_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Platform, Any]]:
    """A table of MiniStack's DynamoDB with a stream, and boto3's client of it."""
    import boto3

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    client = boto3.client("dynamodb", region_name="eu-central-1")
    client.create_table(
        TableName="carts",
        KeySchema=[{"AttributeName": "cart_id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "cart_id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    yield use_home(tmp_path / "home", monkeypatch).platform, client
    client.delete_table(TableName="carts")


def test_a_table_of_dynamodb_is_followed_with_all_types_of_attributes(real: tuple[Platform, Any]) -> None:
    platform, client = real
    item: dict[str, Any] = {
        "cart_id": {"S": "ü1"}, "n": {"N": "1.5"}, "b": {"B": b"\x00\xff"}, "t": {"BOOL": True}, "z": {"NULL": True},
        "ss": {"SS": ["a", "b"]}, "ns": {"NS": ["1", "2"]}, "bs": {"BS": [b"\x01"]}, "l": {"L": [{"N": "1"}]},
        "m": {"M": {"deep": {"L": [{"B": b"\x02"}]}}},
    }  # fmt: skip
    client.put_item(TableName="carts", Item=item)
    client.update_item(
        TableName="carts", Key={"cart_id": {"S": "ü1"}}, UpdateExpression="SET n = :n",
        ExpressionAttributeValues={":n": {"N": "2"}},
    )  # fmt: skip
    assert stream.consume(platform, CARTS, pause=0).records == 2
    client.delete_item(TableName="carts", Key={"cart_id": {"S": "ü1"}})
    client.put_item(TableName="carts", Item={"cart_id": {"S": "two"}})
    assert stream.consume(platform, CARTS, pause=0).records == 2
    files = [platform.landing.read(info.path) or b"" for info in platform.landing.files("cdc/dynamodb/carts")]
    records = [json.loads(line) for content in files for line in gzip.decompress(content).splitlines()]
    records.sort(key=lambda record: int(record["dynamodb"]["SequenceNumber"]))
    assert [record["eventName"] for record in records] == ["INSERT", "MODIFY", "REMOVE", "INSERT"]
    image = records[0]["dynamodb"]["NewImage"]
    assert image["b"] == {"B": "AP8="} and image["bs"] == {"BS": ["AQ=="]}
    assert image["m"] == {"M": {"deep": {"L": [{"B": "Ag=="}]}}}
    assert {name for name in image if image[name] == item[name]} == item.keys() - {"b", "bs", "m"}
    assert isinstance(records[0]["dynamodb"]["ApproximateCreationDateTime"], int)
    done = stream.resync(platform, CARTS, pause=0)
    assert (done.items, done.records) == (1, 4), "the stream is read from its beginning again"
    assert stream.consume(platform, CARTS, pause=0).records == 0


def test_a_stream_that_dynamodb_makes_anew_asks_for_a_resync(real: tuple[Platform, Any]) -> None:
    platform, client = real
    client.put_item(TableName="carts", Item={"cart_id": {"S": "one"}})
    stream.consume(platform, CARTS, pause=0)
    client.put_item(TableName="carts", Item={"cart_id": {"S": "two"}})
    client.update_table(TableName="carts", StreamSpecification={"StreamEnabled": False})
    told: list[str] = []
    assert stream.consume(platform, CARTS, pause=0, progress=told.append).records == 1
    assert any("disabled" in line for line in told)
    client.put_item(TableName="carts", Item={"cart_id": {"S": "unseen"}})
    again = {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}
    client.update_table(TableName="carts", StreamSpecification=again)
    with pytest.raises(StreamGap, match="made anew"):
        stream.consume(platform, CARTS, pause=0)
    assert stream.resync(platform, CARTS, pause=0).items == 3
