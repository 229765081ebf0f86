"""Every kind of bad landing file side by side with good ones, in one run: what becomes of each, and of the others."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import os
import random
import subprocess
import sys
import unicodedata
import uuid
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest

from clickstream_assets.platform import Platform
from clickstream_assets.run import RunFailed
from clickstream_assets.settings import Settings
from clickstream_assets_tests.conftest import HEADER, Home, use_home
from clickstream_assets_tests.events import ECOMMERCE, load
from clickstream_assets_tests.servers import S3Server

DAY = "2024-03-01"
RAW, CLEANED, EVENTS = "ecommerce_raw.events_raw", "ecommerce.events_cleaned", "ecommerce.events"
LOADED, REJECTED, DUPLICATE = "loaded", "rejected_file", "duplicate_file"
WHOLE = {None: REJECTED}

#: one line of 200 MB, and what a process that reads it may take
LONG_LINE_BYTES = 200_000_000
PEAK_BYTES = 600_000_000


def event(user: str, *, product: str = "p1") -> str:
    return f"{user},1,2024-03-01 10:00:00,product_view,{product},,"


def text(*records: str, header: str = HEADER, end: str = "\n") -> bytes:
    return "".join(f"{line}{end}" for line in (header, *records)).encode()


@dataclass(frozen=True)
class Landed:
    """A file, and what must become of it.

    ``users``: of the events that arrive. ``broken``: the rule of each rejected record by its line, None for the whole
    file. ``recount``: the csv module can count its records, in this encoding.
    """

    content: bytes
    users: tuple[str, ...] = ()
    broken: Mapping[int | None, str] = field(default_factory=dict)
    recount: str | None = None
    says: str = ""
    listed: bool = True

    @property
    def records(self) -> int:
        return len(self.users) + len(self.broken)

    @property
    def status(self) -> str:
        return REJECTED if None in self.broken else LOADED


def good(name: str) -> Landed:
    """One event of a user called like the file, so that it is plain where each event came from."""
    return Landed(text(event(name)), (name,), recount="utf-8")


def bomb(size: int) -> bytes:
    zipper = zlib.compressobj(9, wbits=31)
    return zipper.compress(text(event("bomb"))) + zipper.compress(b"b" * size) + zipper.flush()


MANY = [event(f"{number}{random.Random(number).random()}") for number in range(5000)]
ZIPPED = gzip.compress(text(*MANY), mtime=0)

FILES = {
    "good one.csv": Landed(text(*map(event, ("g1", "g2", "g2"))), ("g1", "g2", "g2"), recount="utf-8"),
    "good two.csv.gz": Landed(gzip.compress(text(event("g3"), event("g4"))), ("g3", "g4")),
    # --- broken records: each costs itself alone ---
    "ragged.csv": Landed(
        text(event("r1"), "r2,1", event("r3") + ",,", event("r4")),
        ("r1", "r4"),
        {3: "ragged", 4: "ragged"},
        recount="utf-8",
    ),
    "bad quoting.csv": Landed(
        text(event("q1"), event('q"2'), '"q3"x,1,2024-03-01 10:00:00,page_view,,,', event("q4")),
        ("q1", "q4"),
        {3: "bad_quoting", 4: "bad_quoting"},
    ),
    "unclosed quote.csv": Landed(
        text(event("u1"), event('"u2'), event("u3"), event("u4")), ("u1", "u3", "u4"), {3: "bad_quoting"}
    ),
    "unclosed quote at the end.csv": Landed(
        text(event("v1"), event("v2")) + b'"v3,1', ("v1", "v2"), {4: "bad_quoting"}
    ),
    "latin-1.csv": Landed(
        text(event("l1"), event("l2", product="café"), event("l3")).decode().encode("latin-1"),
        ("l1", "l3"),
        {3: "bad_encoding"},
        recount="latin-1",
    ),
    # a NUL further ahead makes a file binary; behind its first megabyte it costs its record
    "nul.csv": Landed(
        text(event("n1"), " " * 600_000, " " * 600_000, "n2\0,1,,,,,", event("n3")),
        ("n1", "n3"),
        {3: "ragged", 4: "ragged", 5: "bad_encoding"},
    ),
    # --- unusual, and right ---
    "quoted newline.csv": Landed(
        text(event("w1"), event("w2", product='"a\nb\r\n\nc"'), event("w3"), "short"),
        ("w1", "w2", "w3"),
        {8: "ragged"},
        recount="utf-8",
    ),
    "bom.csv": Landed(b"\xef\xbb\xbf" + text(event("b1"), event("b2")), ("b1", "b2"), recount="utf-8-sig"),
    "crlf.csv": Landed(
        text(event("c1"), "short", event("c2"), end="\r\n"), ("c1", "c2"), {3: "ragged"}, recount="utf-8"
    ),
    "no last line end.csv": Landed(text(event("e1"), event("e2"))[:-1], ("e1", "e2"), recount="utf-8"),
    "header only.csv": Landed(text(), recount="utf-8"),
    "unknown column.csv": Landed(text(event("x1") + ",blue", header=f"{HEADER},Colour"), ("x1",), recount="utf-8"),
    "wide.csv": Landed(
        text("1," * 10_000 + event("wide"), header="".join(f"c{n}," for n in range(10_000)) + HEADER),
        broken=WHOLE,
        says="10,007 columns",
    ),
    # --- files that cannot be read ---
    "empty.csv": Landed(b"", broken=WHOLE, says="empty"),
    "missing column.csv": Landed(
        text("m1,1,2024-03-01 10:00:00", header="UserID,SessionID,Timestamp"), broken=WHOLE, says="lacks EventType"
    ),
    "binary.csv": Landed(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 50, broken=WHOLE, says="binary"),
    "binary without nul.csv": Landed(
        b"\x89PNG\r\n\x1a\n" + bytes(range(1, 256)) * 50, broken=WHOLE, says="header cannot be read"
    ),
    "utf-16.csv": Landed(text(event("z")).decode().encode("utf-16"), broken=WHOLE, says="binary"),
    "gzip.csv": Landed(gzip.compress(text(event("z")), mtime=0), broken=WHOLE, says="binary"),
    "plain.csv.gz": Landed(text(event("z")), broken=WHOLE, says="damaged"),
    "cut short.csv.gz": Landed(ZIPPED[: len(ZIPPED) // 2], broken=WHOLE, says="cut short"),
    "no trailer.csv.gz": Landed(ZIPPED[:-8], broken=WHOLE, says="cut short"),
    "bomb.csv.gz": Landed(bomb(64 * 1024 * 1024), broken=WHOLE, says="CLICKSTREAM_MAX_COMPRESSION_RATIO"),
    # --- names ---
    "path with spaces/more  spaces .csv": good("spaces"),
    "ünï 日本.csv": good("unicode"),
    unicodedata.normalize("NFC", "é.csv"): good("composed"),
    unicodedata.normalize("NFD", "é.csv"): good("decomposed"),
    """it's, "odd" é.csv""": good("odd"),
    "line\nend.csv": good("line end"),
    "back\\..\\slash.csv": good("backslash"),
    "two..dots..csv": good("dots"),
    "%2e%2e%2fpercent%00.csv": good("percent"),
    "a" * 246 + ".csv": good("long name"),
    "sub/ingestion_date=2024-03-02/nested.csv": good("nested"),
    # names that start with a dot or an underscore are unfinished uploads, whatever stands behind it
    "..csv": Landed(text(event("hidden")), listed=False),
    "..%2fup.csv": Landed(text(event("hidden")), listed=False),
    "_upload/half.csv": Landed(text(event("hidden")), listed=False),
    # and these are no CSV files
    "x.csv.part": Landed(text(event("hidden")), listed=False),
}

#: written by ``land_long_line``: too long to be held here
LONG = "long line.csv"
LONG_LINE = Landed(b"", ("before", "after"), {3: "too_long"})

NAMES = [*FILES, LONG]


def land_long_line(path: Path) -> None:
    """Two events and between them a line of 200 MB, without holding it."""
    block = b"x" * 1_000_000
    with path.open("wb") as out:
        out.write(text(event("before")))
        for _ in range(LONG_LINE_BYTES // len(block)):
            out.write(block)
        out.write(b"\n" + event("after").encode() + b"\n")


@dataclass(frozen=True)
class Loaded:
    """A home folder after the run, with what its tables say, read once."""

    home: Home
    files: Mapping[str, tuple[str, int]]
    rejects: Mapping[str, list[tuple[Any, ...]]]
    events: Mapping[str, list[str]]

    @classmethod
    def of(cls, home: Home) -> Loaded:
        rejects: dict[str, list[tuple[Any, ...]]] = {}
        for path, *reject in home.query(
            "select source_file, source_line, rule, payload, asset from ops.quarantine order by 1, 2"
        ):
            rejects.setdefault(path, []).append(tuple(reject))
        events: dict[str, list[str]] = {}
        for path, user in home.query(
            "select c.source_file, e.user_id from ecommerce.events e join ecommerce.events_cleaned c using (event_id) "
            "order by c.source_file, c.source_line"
        ):
            events.setdefault(path, []).append(user)
        files = {path: (status, rows) for path, status, rows in home.query(
            "select path, status, rows from ops.landing_files"
        )}  # fmt: skip
        return cls(home, files, rejects, events)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    """All the files in one day's folder, and one run of that day."""
    folder = tmp_path_factory.mktemp("bad")
    with pytest.MonkeyPatch.context() as patch:
        home = use_home(folder / "home", patch)
        for name, file in FILES.items():
            path = home.landing(DAY) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content)
        land_long_line(home.landing(DAY) / LONG)
        # folders of which the names only look like the day's
        for near in (f"{DAY}..", f"{DAY}%2F..%2F{DAY}", f"..%2fingestion_date={DAY}"):
            home.land(near, "near.csv", event("near"))
        home.run(DAY)
        yield Loaded.of(home)
        (home.landing(DAY) / LONG).unlink()


def expected(name: str) -> Landed:
    return LONG_LINE if name == LONG else FILES[name]


def landed(name: str) -> str:
    return f"ecommerce/ingestion_date={DAY}/{name}"


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.encode("ascii", "replace").decode()[:40])
def test_each_file_is_listed_and_each_of_its_records_is_an_event_or_in_quarantine(loaded: Loaded, name: str) -> None:
    want, path = expected(name), landed(name)
    assert loaded.files.get(path) == ((want.status, want.records) if want.listed else None)
    assert loaded.events.get(path, []) == (list(want.users) if want.listed else [])
    rejects = loaded.rejects.get(path, [])
    assert {line: rule for line, rule, *_ in rejects} == want.broken
    assert len(rejects) == len(want.broken)
    assert {asset for *_, asset in rejects} <= {RAW}
    assert all(want.says in payload for _, _, payload, _ in rejects)


def test_there_is_no_file_row_or_event_but_those_that_landed(loaded: Loaded) -> None:
    paths = {landed(name) for name in NAMES if expected(name).listed}
    assert loaded.files.keys() == paths
    assert loaded.rejects.keys() <= paths
    assert loaded.events.keys() <= paths


def test_the_ledger_balances_with_a_count_of_the_records_by_other_code(loaded: Loaded) -> None:
    """``rows_in`` against the numbers that stand with the files, and those against the csv module where it can read."""
    wanted = [expected(name) for name in NAMES if expected(name).listed]
    for file in wanted:
        if file.recount is not None:
            rows = csv.reader(io.StringIO(file.content.decode(file.recount), newline=""))
            assert len([row for row in rows if row]) - 1 == file.records
    records = sum(file.records for file in wanted)
    rejected = sum(len(file.broken) for file in wanted)
    good = sum(len(file.users) for file in wanted)
    assert loaded.home.ledger(RAW, DAY) == (records, good, rejected, 0, 0, 0)
    assert loaded.home.ledger(CLEANED, DAY) == (good, good, 0, 0, 0, 0)
    assert loaded.home.ledger(EVENTS, DAY) == (good, good, 0, 0, 0, 0)


def test_what_could_not_be_read_as_a_record_is_kept_as_it_was(loaded: Loaded) -> None:
    def payload(name: str, line: int) -> str:
        (found,) = (text for at, _, text, _ in loaded.rejects[landed(name)] if at == line)
        return str(found)

    assert payload("ragged.csv", 3) == "r2,1"
    assert payload("unclosed quote.csv", 3) == event('"u2')
    assert payload("latin-1.csv", 3) == event("l2", product="caf\\xe9")
    assert set(payload(LONG, 3)) == {"x"}
    assert len(payload(LONG, 3)) == 16_383, "enough to tell what it was"


def test_what_the_header_has_besides_is_kept(loaded: Loaded) -> None:
    (extra,) = loaded.home.one("select extra from spectrum_ecommerce.events_raw where UserID = 'x1'")
    assert json.loads(extra) == {"Colour": "blue"}


def test_a_quoted_line_end_arrives_as_it_was(loaded: Loaded) -> None:
    assert loaded.home.one("select product_id from ecommerce.events where user_id = 'w2'") == ("a\nb\r\n\nc",)


def test_caps_are_settings(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same record passes one file below each cap and is rejected above it."""
    mib = 1024 * 1024
    monkeypatch.setenv("CLICKSTREAM_MAX_FILE_BYTES", str(20 * mib))
    monkeypatch.setenv("CLICKSTREAM_MAX_COMPRESSION_RATIO", "50")
    monkeypatch.setenv("CLICKSTREAM_MAX_RECORD_BYTES", "200")
    monkeypatch.setenv("CLICKSTREAM_MAX_COLUMNS", "8")
    padding = b"\n" * (17 * mib)  # blank lines are not records
    folder = home.landing(DAY)
    home.land(DAY, "small.csv", event("small"))
    (folder / "large.csv").write_bytes(text(event("large")) + padding)
    (folder / "too large.csv").write_bytes(text(event("z")) + padding + b"\n" * (4 * mib))
    (folder / "bomb.csv.gz").write_bytes(gzip.compress(text(event("z")) + padding))
    (folder / "too large.csv.gz").write_bytes(
        gzip.compress(text(event("z")) + base64.b64encode(os.urandom(16 * mib)), 0)
    )
    home.land(DAY, "long.csv", event("l" * 150), event("l" * 170))
    home.land(DAY, "eight.csv", event("eight") + ",", header=f"{HEADER},a")
    home.land(DAY, "nine.csv", event("z") + ",,", header=f"{HEADER},a,b")
    load(Platform(Settings.from_environment()), [DAY], domain=ECOMMERCE)

    assert home.query("select user_id from ecommerce.events_cleaned order by 1") == [
        (user,) for user in sorted(("small", "large", "eight", "l" * 150))
    ]
    reasons = {path.rpartition("/")[2]: (rule, payload) for path, rule, payload in home.query(
        "select source_file, rule, payload from ops.quarantine"
    )}  # fmt: skip
    says = {
        "too large.csv": "CLICKSTREAM_MAX_FILE_BYTES",
        "too large.csv.gz": "CLICKSTREAM_MAX_FILE_BYTES",
        "bomb.csv.gz": "CLICKSTREAM_MAX_COMPRESSION_RATIO",
        "nine.csv": "9 columns; at most 8",
    }
    assert reasons.pop("long.csv") == ("too_long", event("l" * 170))
    assert reasons.keys() == says.keys()
    for name, reason in says.items():
        assert reasons[name][0] == REJECTED
        assert reason in reasons[name][1]
    assert home.ledger(RAW, DAY) == (9, 4, 5, 0, 0, 0)


def test_a_link_is_the_file_that_it_points_to_and_what_is_no_file_is_left_alone(home: Home) -> None:
    """Whoever may put links into landing decides what is loaded; names cannot lead out of it (``Files`` refuses)."""
    outside = home.path.parent / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "a.csv").write_bytes(text(event("linked")))
    (outside / "folder" / "b.csv").write_bytes(text(event("in a linked folder")))
    home.land(DAY, "good.csv", event("good"))
    folder = home.landing(DAY)
    (folder / "link.csv").symlink_to(outside / "a.csv")
    (folder / "relative.csv").symlink_to("../../../../outside/a.csv")
    (folder / "folder").symlink_to(outside / "folder")
    (folder / "nowhere.csv").symlink_to(outside / "nothing.csv")
    (folder / "folder.csv").mkdir()
    os.mkfifo(folder / "pipe.csv")
    load(home.platform, [DAY], domain=ECOMMERCE)

    assert home.query("select path, status from ops.landing_files order by path") == [
        (landed("folder/b.csv"), LOADED),
        (landed("good.csv"), LOADED),
        (landed("link.csv"), LOADED),
        (landed("relative.csv"), DUPLICATE),
    ]
    assert home.query("select user_id from ecommerce.events_cleaned order by 1") == [
        ("good",),
        ("in a linked folder",),
        ("linked",),
    ]
    assert home.ledger(RAW, DAY) == (3, 3, 0, 0, 0, 0)
    assert (outside / "a.csv").read_bytes() == text(event("linked")), "landing is only read"


def test_a_name_that_is_not_utf_8_stops_the_run_and_is_told(home: Home) -> None:
    """No table could hold it; what was published stays, and renaming it is all there is to do."""
    home.land(DAY, "good.csv", event("good"))
    bad = os.fsencode(home.landing(DAY)) + b"/caf\xe9.csv"
    with open(bad, "wb") as out:
        out.write(text(event("latin")))
    with pytest.raises(RunFailed, match=r"ingestion_date=2024-03-01/caf\\xe9\.csv: its name is not UTF-8; rename it"):
        home.run(DAY)
    os.rename(bad, home.landing(DAY) / "café.csv")
    load(home.platform, [DAY], domain=ECOMMERCE)
    assert home.query("select user_id from ecommerce.events_cleaned order by 1") == [("good",), ("latin",)]


#: Loads the raw table in a process of its own, and says what that took at most. ``ru_maxrss`` starts with what the
#: process that started this one took, so Linux's own count, which starts with the program, is preferred.
_LOAD = """
import re, resource, sys
from pathlib import Path
import dagster as dg
from clickstream_assets import run
from clickstream_assets.definitions import defs
from clickstream_assets.settings import Settings

with run.instance(Settings.from_environment()) as storage:
    result = defs().resolve_job_def("ecommerce").execute_in_process(
        instance=storage, partition_key=sys.argv[1], asset_selection=[dg.AssetKey(["ecommerce_raw", "events_raw"])]
    )
status = Path("/proc/self/status")
if status.exists():
    peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1]) * 1024
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak, result.success)
"""


def test_lines_of_200_mb_take_little_memory(home: Home) -> None:
    path, quoted = home.landing(DAY) / LONG, home.landing(DAY) / "quoted.csv"
    path.parent.mkdir(parents=True)
    land_long_line(path)
    with quoted.open("wb") as out:  # one quote that never closes, and no line end for 200 MB
        out.write(text(event("before it")) + b'"')
        for _ in range(LONG_LINE_BYTES // 1_000_000):
            out.write(b"x," * 500_000)
        out.write(b"\n" + event("after it").encode() + b"\n")
    done = subprocess.run([sys.executable, "-c", _LOAD, DAY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peak, success = done.stdout.split()[-2:]
    assert success == "True"
    assert int(peak) < PEAK_BYTES
    assert home.query("select path, status, rows from ops.landing_files order by 1") == [
        (landed(LONG), LOADED, 3),
        (landed("quoted.csv"), LOADED, 3),
    ]
    assert home.ledger(RAW, DAY) == (6, 4, 2, 0, 0, 0)
    path.unlink()
    quoted.unlink()


def test_keys_of_a_bucket_that_are_no_paths_cost_themselves_alone(
    tmp_path: Path, aws_endpoint: str, on_s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On MiniStack, which keeps keys as they are, as S3 does; SeaweedFS makes paths of them, or refuses them."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws_endpoint)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    client, bucket = boto3.client("s3"), f"b{uuid.uuid4().hex}"
    client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    odd = ("../d.csv", "./g.csv", "/c.csv", "a//b.csv", "x/../e.csv", "../../../../../etc/f.csv")
    for name in (*odd, "good.csv", "a b/\u00e4.csv"):
        key = f"in/ecommerce/ingestion_date={DAY}/{name}"
        client.put_object(Bucket=bucket, Key=key, Body=text(event(name)))
    home = use_home(tmp_path / "home", monkeypatch, CLICKSTREAM_LANDING_URI=f"s3://{bucket}/in")
    load(home.platform, [DAY], domain=ECOMMERCE)
    assert dict(home.query("select path, status from ops.landing_files")) == {
        **{landed(name): REJECTED for name in odd},
        **{landed(name): LOADED for name in ("good.csv", "a b/\u00e4.csv")},
    }
    assert home.query("select user_id from ecommerce.events_cleaned order by 1") == [("a b/\u00e4.csv",), ("good.csv",)]
    assert home.ledger(RAW, DAY) == (8, 2, 6, 0, 0, 0)
    ((says, files),) = home.query("select payload, count(*) from ops.quarantine group by 1")
    assert "rename it" in says and files == 6
    before = home.tables()
    load(home.platform, [DAY], domain=ECOMMERCE)
    assert home.tables() == before
