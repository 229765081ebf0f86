"""Landing files to staged rows: whole files through a real lake, recounted with Python's csv and json modules."""

import csv
import gzip
import io
import json
import resource
import tempfile
import zlib
from collections import Counter
from dataclasses import replace
from datetime import date
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickstream_assets.domains import domain
from clickstream_assets.errors import ClickstreamError
from clickstream_assets.parsing.landing import DUPLICATE, LOADED, REJECTED, LandingLoader
from clickstream_assets.schemas import ECOMMERCE_CLEANED, ECOMMERCE_RAW, QUARANTINE
from clickstream_assets.settings import Catalog, Limits
from clickstream_assets.storage.files import Files
from clickstream_assets.storage.lake import Lake, StagedWriter
from clickstream_assets.storage.staged import LandingFile, Staged, StagedFile

(FEED,) = domain("ecommerce").feeds
COLUMNS = ("UserID", "SessionID", "Timestamp", "EventType", "ProductID", "Amount", "Outcome")
HEADER = ",".join(COLUMNS).encode() + b"\n"
ONE, TWO, THREE = date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 3)
BOM = b"\xef\xbb\xbf"


class Shop:
    """A landing folder, a lake, and what is known of the files: load, publish, look."""

    def __init__(self, root: Path, limits: Limits = Limits()):  # noqa: B008
        self.landing = Files(str(root / "landing"))
        self.lake = Lake(
            Files(str(root / "lake")), Catalog("sql", f"sqlite:///{root / 'catalog.db'}", root / "catalog.db.lock")
        )
        self.known: dict[str, LandingFile] = {}
        self.limits = limits
        self.runs = 0

    def path(self, day: date, name: str) -> str:
        return f"ecommerce/ingestion_date={day}/{name}"

    def put(self, day: date, name: str, content: bytes) -> str:
        path = self.path(day, name)
        self.landing.write(path, content)
        return path

    def drop(self, day: date, name: str) -> None:
        self.landing.delete(self.path(day, name))

    def stage(self, *days: date) -> Staged:
        self.runs += 1
        loader = LandingLoader(FEED, landing=self.landing, lake=self.lake, limits=self.limits)
        staged = loader.stage(days, self.known.values(), run_id=f"run {self.runs}", progress=lambda _: None)
        assert {account.day: account.missing for account in staged.accounts} == dict.fromkeys(staged.days, 0)
        return staged

    def load(self, *days: date) -> Staged:
        staged = self.stage(*days)
        self.lake.publish(staged)
        self.known = {f.path: f for f in self.known.values() if f.partition_date not in staged.days}
        self.known |= {f.path: f for f in staged.landing_files or ()}
        self.check_files()
        return staged

    def check_files(self) -> None:
        """What is known of each file is what the lake has of it, and no content is there twice."""
        rows = Counter((row["ingestion_date"], row["source_file"]) for row in self.rows())
        rows.update((reject["partition_date"], reject["source_file"]) for reject in self.rejects())
        assert rows == +Counter({(f.partition_date, f.path): f.rows for f in self.known.values()})
        loaded = [f.content_hash for f in self.known.values() if f.status == LOADED]
        assert len(loaded) == len(set(loaded))

    def statuses(self) -> dict[str, str]:
        return {f"{f.partition_date.day}/{f.path.rpartition('/')[2]}": f.status for f in self.known.values()}

    def rows(self, *days: date) -> list[dict]:
        snapshot = self.lake.snapshot(ECOMMERCE_RAW, days or None)
        return self._read([StagedFile(self.lake.files.relative(f.uri), f.rows, f.day) for f in snapshot.files])

    def rejects(self) -> list[dict]:
        snapshot = self.lake.snapshot(QUARANTINE)
        return self._read([StagedFile(self.lake.files.relative(f.uri), f.rows, f.day) for f in snapshot.files])

    def _read(self, files: list[StagedFile]) -> list[dict]:
        found = []
        for file in files:
            with self.lake.files.open_random(file.path) as source:
                rows = pq.read_table(source).to_pylist()
            assert len(rows) == file.rows
            found += rows
        return found

    def users(self, *days: date) -> list[str]:
        return sorted(row["UserID"] for row in self.rows(*days))

    def rules(self) -> Counter[str]:
        return Counter(reject["rule"] for reject in self.rejects())


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def csv_of(*users: str) -> bytes:
    return HEADER + b"".join(f"{user},1,2024-01-01 10:00:00,page_view,,,\n".encode() for user in users)


def loaded(shop: Shop, content: bytes, name: str = "x.csv") -> tuple[list[dict], list[dict]]:
    """Rows and rejects of one file loaded alone."""
    shop.put(ONE, name, content)
    shop.load(ONE)
    return shop.rows(), shop.rejects()


def problem(shop: Shop, content: bytes, name: str = "x.csv") -> str:
    """Why a file was rejected as a whole: one in, one rejected, no rows."""
    shop.put(ONE, name, content)
    staged = shop.load(ONE)
    assert [(a.rows_in, a.rows_out, a.rejected) for a in staged.accounts] == [(1, 0, 1)]
    assert staged.rejected_by_rule == {"rejected_file": 1}
    assert shop.rows() == []
    (reject,) = shop.rejects()
    assert (reject["rule"], reject["source_line"], reject["source_file"]) == (
        "rejected_file",
        None,
        shop.path(ONE, name),
    )
    (file,) = shop.known.values()
    assert (file.status, file.rows, file.size, file.content_hash) == (
        REJECTED,
        1,
        len(content),
        sha256(content).hexdigest(),
    )
    return json.loads(reject["payload"])["error"]


# --- what is in a row ---


def test_the_text_of_a_field_is_kept_byte_for_byte(shop):
    values = ["  a b\t", "", 'say ""hi""', "x,y", "null", "NaN", "line\r\nend"]
    quoted = [f'"{value}"' if any(mark in value for mark in '",\n') else value for value in values]
    other = ["0012", "1e5", "ünï\u2028", "\ufeff", "N/A", "true", '""']
    rows, _ = loaded(shop, HEADER + ",".join(quoted).encode() + b"\n" + ",".join(other).encode() + b"\n")
    assert [tuple(row[name] for name in COLUMNS) for row in rows] == [
        tuple(value.replace('""', '"') for value in values),
        (*other[:6], ""),
    ]
    assert rows[0]["extra"] is None


def test_a_row_knows_its_file_its_line_and_its_number(shop):
    content = HEADER + b'"a\nb",,,,,,\n\nshort\nc,,,,,,\n'
    rows, rejects = loaded(shop, content)
    assert [(row["source_line"], row["record_number"]) for row in rows] == [(2, 1), (6, 3)]
    assert [(r["source_line"], r["rule"], r["payload"]) for r in rejects] == [(5, "ragged", "short")]
    assert {row["source_file"] for row in rows} == {"ecommerce/ingestion_date=2024-01-01/x.csv"}
    assert {row["content_hash"] for row in rows} == {sha256(content).hexdigest()}
    assert {row["ingestion_date"] for row in rows} == {ONE}


def test_a_byte_order_mark_that_starts_a_record_is_text(shop):
    rows, _ = loaded(shop, BOM + HEADER + BOM + b"a,,,,,,\n" + BOM + b"b,,,,,,\n")
    assert [row["UserID"] for row in rows] == ["\ufeffa", "\ufeffb"]


def test_quoted_line_ends_are_kept_wherever_they_fall(tmp_path):
    """Arrow's reader loses the LF of a quoted CR LF between two of its blocks: at any of these places in turn."""
    shop = Shop(tmp_path, Limits(record_bytes=80))
    values = ["x" * (n % 3) + "\r\n" * 20 for n in range(200)]
    rows, _ = loaded(shop, HEADER + b"".join(f'"{value}",,,,,,\n'.encode() for value in values))
    assert [row["UserID"] for row in rows] == values


def test_quoted_line_ends_are_kept_in_a_large_file(shop):
    values = ["x" * (n % 2) + "\r\n" * 25_000 for n in range(200)]
    rows, _ = loaded(shop, HEADER + b"".join(f'"{value}",,,,,,\n'.encode() for value in values))
    assert [len(row["UserID"]) for row in rows] == [len(value) for value in values]


def test_identical_records_are_all_kept(shop):
    rows, _ = loaded(shop, csv_of("a", "a", "a"))
    assert [row["record_number"] for row in rows] == [1, 2, 3]


# --- headers ---


@pytest.mark.parametrize(
    "header",
    [
        b"Outcome,Amount,ProductID,EventType,Timestamp,SessionID,UserID",
        b"outcome,amount,productid,eventtype,timestamp,sessionid,userid",
        b'"Outcome","Amount",ProductID,EVENTTYPE," Timestamp",SessionID,UserID',
        b" Outcome , Amount,ProductID ,\tEventType,Timestamp,SessionID,  UserID  ",
        BOM + b"Outcome,Amount,ProductID,EventType,Timestamp,SessionID,UserID",
    ],
    ids=["shuffled", "lower case", "quoted", "padded", "bom"],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_columns_are_found_by_name(shop, header, end):
    rows, rejects = loaded(shop, header + end + b"7,6,5,4,3,2,1" + end)
    assert [tuple(row[name] for name in COLUMNS) for row in rows] == [("1", "2", "3", "4", "5", "6", "7")]
    assert rejects == []
    assert rows[0]["extra"] is None


def test_unknown_columns_are_kept_as_json(shop):
    content = HEADER.replace(b"UserID", b'UserID,note,"a ""b"""') + b'u,"x, ""y"",\nz",\xc3\xa9,,,,,,\n'
    rows, _ = loaded(shop, content)
    assert json.loads(rows[0]["extra"]) == {"note": 'x, "y",\nz', 'a "b"': "é"}


def test_no_unknown_column_is_lost_whatever_their_names(shop):
    names = [b"x", b"x_3", b"x", b"", b"", b"column_4", b"x_3", b"x_5"]
    for turn in range(len(names)):
        order = names[turn:] + names[:turn]
        rows, _ = loaded(shop, b",".join([*order, HEADER]) + b"0,1,2,3,4,5,6,7,,,,,,,\n")
        assert sorted(json.loads(rows[0]["extra"]).values()) == list("01234567")


def test_a_missing_column_rejects_the_file(shop):
    assert "lacks Amount" in problem(shop, HEADER.replace(b"Amount,", b"") + b"1,2,3,4,5,6\n")


@pytest.mark.parametrize("twin", [b"UserID", b"userid", b" USERID "])
def test_a_column_that_is_there_twice_rejects_the_file(shop, twin):
    assert "UserID twice" in problem(shop, twin + b"," + HEADER + b"1,2,3,4,5,6,7,8\n")


@pytest.mark.parametrize("content", [b"", b"\n\n\r\n", BOM])
def test_an_empty_file_is_rejected(shop, content):
    assert "empty" in problem(shop, content)
    assert "empty" in problem(Shop(Path(shop.landing.root).parent / "gz"), gzip.compress(content), "x.csv.gz")


def test_a_header_alone_is_a_loaded_file_without_rows(shop):
    assert loaded(shop, HEADER) == ([], [])
    assert [(f.status, f.rows) for f in shop.known.values()] == [(LOADED, 0)]


def test_ten_thousand_columns_reject_the_file(shop):
    assert "10,007 columns" in problem(shop, b",".join([HEADER.strip()] + [b"c"] * 10_000) + b"\n")


@pytest.mark.parametrize("before", [b"", BOM, b"\n", b"\r\n"], ids=["plain", "bom", "newline", "crlf"])
def test_a_header_that_the_first_read_cuts_is_read_on(tmp_path, before):
    names = b",".join(b"%06d" % n + b"x" * 2000 for n in range(600))
    content = before + HEADER.strip() + b"," + names + b"\n" + b",".join([b"1"] * 607) + b"\n"
    assert "too long" in problem(Shop(tmp_path / "a"), content)
    rows, _ = loaded(Shop(tmp_path / "b", Limits(record_bytes=4_000_000)), content)
    assert len(json.loads(rows[0]["extra"])) == 600


# --- files that cannot be read ---


def test_a_binary_file_is_rejected(shop):
    assert "binary" in problem(shop, b"PAR1" + bytes(range(256)) * 100)


def test_a_nul_behind_the_first_megabyte_costs_its_record(shop):
    content = csv_of(*(["u"] * 30_000)) + b"a\0,,,,,,\n" + b"last,,,,,,\n"
    assert len(content) > 1_100_000
    rows, rejects = loaded(shop, content)
    assert len(rows) == 30_001
    assert [(r["source_line"], r["rule"], r["payload"]) for r in rejects] == [(30_002, "bad_encoding", "a\\x00,,,,,,")]


ZIPPED = gzip.compress(csv_of(*(f"user {n}" for n in range(50_000))), mtime=0)


def test_a_compressed_file_is_read_whole(shop):
    rows, _ = loaded(shop, ZIPPED, "x.CSV.GZ")
    assert len(rows) == 50_000
    assert {row["content_hash"] for row in rows} == {sha256(gzip.decompress(ZIPPED)).hexdigest()}


def test_all_members_of_a_compressed_file_are_read(shop):
    rows, _ = loaded(shop, gzip.compress(csv_of("a")) + gzip.compress(b"b,,,,,,\n") + bytes(100), "x.csv.gz")
    assert [row["UserID"] for row in rows] == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (ZIPPED[: len(ZIPPED) // 2], "cut short"),
        (ZIPPED[:-8], "cut short"),
        (ZIPPED[:-1], "cut short"),
        (ZIPPED[:5], "cut short"),
        (ZIPPED[:-8] + bytes(4) + ZIPPED[-4:], "damaged"),
        (ZIPPED[:-4] + bytes(4), "damaged"),
        (ZIPPED + b"no gzip header", "damaged"),
        (ZIPPED[:20_000] + bytes([255]) * 30 + ZIPPED[20_030:], "damaged"),
        (csv_of("a"), "damaged"),
        (b"", "empty"),
        (ZIPPED + ZIPPED[:100], "cut short"),
    ],
    ids=[
        "half",
        "no-trailer",
        "one-byte",
        "five-bytes",
        "checksum",
        "length",
        "garbage",
        "middle",
        "plain",
        "empty",
        "second-member",
    ],
)
def test_a_damaged_compressed_file_is_rejected_whole(shop, content, why):
    assert why in problem(shop, content, "x.csv.gz")


def test_a_file_over_the_size_cap_is_rejected(tmp_path):
    limits = Limits(file_bytes=10_000)
    assert "larger than 10,000 bytes (" in problem(Shop(tmp_path / "a", limits), csv_of(*(["u"] * 3_000)))
    zipped = gzip.compress(csv_of(*(["u"] * 3_000)))
    assert "larger than 10,000 bytes decompressed" in problem(Shop(tmp_path / "b", limits), zipped, "x.csv.gz")


def test_a_bomb_is_rejected_and_takes_little_memory(shop):
    zipper = zlib.compressobj(9, wbits=31)
    bomb = (
        zipper.compress(csv_of("u"))
        + b"".join(zipper.compress(bytes([10]) * 1_000_000) for _ in range(200))
        + zipper.flush()
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "more than 200 times its size" in problem(shop, bomb, "x.csv.gz")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@pytest.mark.parametrize(
    "name", ["with space.csv", "ünï-日本.csv", "a..b.csv", "a..csv", "x'y\"z;%41.csv", "sub/x.csv", "a=b.csv", "x.CSV"]
)
def test_files_of_any_name_are_read(shop, name):
    loaded(shop, csv_of("a") + b"broken\n", name)
    for _ in range(2):  # the second time the file is gone, and its rows are found by its name
        assert [(row["UserID"], row["source_file"]) for row in shop.rows()] == [("a", shop.path(ONE, name))]
        assert [reject["source_file"] for reject in shop.rejects()] == [shop.path(ONE, name)]
        shop.drop(ONE, name)
        shop.load(ONE)


def test_other_and_unfinished_files_are_left_alone(shop):
    for name in ("x.txt", ".x.csv", "_x.csv", "x.csv.tmp", "x.gz", "x.csvx"):
        shop.put(ONE, name, csv_of("a"))
    staged = shop.load(ONE)
    assert (shop.rows(), shop.rejects(), shop.known) == ([], [], {})
    assert [(a.rows_in, a.rows_out) for a in staged.accounts] == [(0, 0)]


# --- accounts ---


def faulty(day: date) -> dict[str, tuple[bytes, int, dict[str, int]]]:
    """Files with their rows and what is rejected; other content each day."""
    mine = f"day {day}".encode()
    return {
        "good.csv": (csv_of(f"a{day}", "b"), 2, {}),
        "good again.csv": (csv_of(f"a{day}", "b"), 0, {}),
        "ragged.csv": (HEADER + mine + b",,,,,,\nshort\n\n,,,,,,,,\n", 1, {"ragged": 2}),
        "latin.csv": (HEADER + b"caf\xe9,,,,,,\n" + mine + b",,,,,,\n", 1, {"bad_encoding": 1}),
        "quote.csv": (HEADER + b'"e,,,,,,\n' + mine + b',,,,,,\n"g"h,,,,,,\n', 1, {"bad_quoting": 2}),
        "long.csv": (HEADER + b"x" * 3000 + b",,,,,,\n" + mine + b",,,,,,\n" + b"y" * 3000, 1, {"too_long": 2}),
        "lone.csv": (HEADER.replace(b"\n", b"\r") + mine + b",,,,,,\ri,,,,,,\r\r", 2, {}),
        "header.csv": (HEADER + b"\n" * day.day, 0, {}),
        "cut.csv.gz": (gzip.compress(csv_of(f"a{day}"))[:-8], 0, {"rejected_file": 1}),
        "binary.csv": (bytes(100), 0, {"rejected_file": 1}),
        "empty.csv": (b"", 0, {"rejected_file": 1}),
        "other.csv": (b"one,two\n1,2\n3,4\n", 0, {"rejected_file": 1}),
    }


@pytest.mark.parametrize(
    "names", [[name] for name in faulty(ONE)] + [list(faulty(ONE))], ids=lambda n: "+".join(n)[:12]
)
def test_every_fault_is_accounted_for(tmp_path, names):
    shop = Shop(tmp_path, Limits(record_bytes=1000))
    days = (ONE, TWO, THREE) if len(names) > 1 else (ONE,)
    if names == ["good again.csv"]:
        names = ["good.csv", "good again.csv"]
    for day in days:
        for name in names:
            shop.put(day, name, faulty(day)[name][0])
    staged = shop.load(*days)
    out = sum(faulty(ONE)[name][1] for name in names)
    rules = sum((Counter(faulty(ONE)[name][2]) for name in names), Counter())
    wanted = [(day, out + rules.total(), out, rules.total()) for day in days]
    assert [(a.day, a.rows_in, a.rows_out, a.rejected) for a in staged.accounts] == wanted
    assert staged.rejected_by_rule == {rule: count * len(days) for rule, count in rules.items()}
    assert shop.rules() == Counter(staged.rejected_by_rule)
    assert len(shop.rows()) == out * len(days)


def test_many_blank_lines_between_records_are_passed_over(tmp_path):
    shop = Shop(tmp_path, Limits(record_bytes=100))
    rows, rejects = loaded(
        shop, HEADER + b"a,,,,,,\n" + b"\n" * 5000 + b'"b",,,,,,\r\n' + b"\r\n" * 5000 + b"c,,,,,,\n"
    )
    assert [(row["UserID"], row["source_line"]) for row in rows] == [("a", 2), ("b", 5003), ("c", 10_004)]
    assert rejects == []


values = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('",\n\r'), max_size=5)
lines = st.one_of(
    st.lists(values, min_size=7, max_size=7).map(lambda row: ("good", row)),
    st.lists(values, min_size=7, max_size=7).map(lambda row: ("good", row)),
    st.integers(1, 12).filter(lambda n: n != 7).map(lambda n: ("ragged", ["x"] * n)),
    st.just(("blank", [])),
)
files = st.lists(lines, max_size=5)


@settings(max_examples=60, deadline=None)
@given(day=st.lists(st.tuples(files, st.booleans()), max_size=4), end=st.sampled_from(["\n", "\r\n", "\r"]))
def test_rows_and_accounts_are_those_of_a_recount(day, end):
    with tempfile.TemporaryDirectory() as folder:
        shop = Shop(Path(folder))
        good, found, seen = Counter(), 0, set()
        for number, (content, zipped) in enumerate(day):
            out = io.StringIO(newline="")
            writer = csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL)
            writer.writerow(COLUMNS)
            for _, row in content:
                writer.writerow(row)
            plain = out.getvalue().encode()
            shop.put(ONE, f"{number}.csv" + ".gz" * zipped, gzip.compress(plain, mtime=0) if zipped else plain)
            if plain in seen:  # the same content, zipped or not, counts once
                continue
            seen.add(plain)
            records = [row for row in csv.reader(io.StringIO(plain.decode(), newline="")) if row][1:]
            found += len(records)
            good.update(tuple(row) for row in records if len(row) == 7)
        staged = shop.stage(ONE)
        rows = Counter(tuple(row[name] for name in COLUMNS) for row in shop._read(staged.files))
        assert rows == good
        (account,) = staged.accounts
        assert (account.rows_in, account.rows_out, account.rejected) == (found, good.total(), found - good.total())
        assert shop.lake.count_values(staged.quarantine, "rule") == +Counter(ragged=account.rejected)


# --- files that come back, change, move and go ---


def test_a_copy_of_a_file_counts_once(shop):
    shop.put(ONE, "b.csv", csv_of("u"))
    shop.put(ONE, "a.csv", csv_of("u"))
    shop.put(TWO, "a.csv", csv_of("u"))
    staged = shop.load(ONE, TWO)
    assert shop.statuses() == {"1/a.csv": LOADED, "1/b.csv": DUPLICATE, "2/a.csv": DUPLICATE}
    assert [(a.rows_in, a.rows_out) for a in staged.accounts] == [(1, 1), (0, 0)]
    assert [row["source_file"] for row in shop.rows()] == [shop.path(ONE, "a.csv")]


@pytest.mark.parametrize("order", [[(ONE, TWO)], [(TWO, ONE)], [(ONE,), (TWO,)], [(TWO,), (ONE,)]])
def test_the_first_of_two_copies_counts_whatever_the_order_of_loading(shop, order):
    shop.put(ONE, "z.csv", csv_of("u"))
    shop.put(TWO, "a.csv", csv_of("u"))
    for days in order:
        shop.load(*days)
    assert shop.statuses() == {"1/z.csv": LOADED, "2/a.csv": DUPLICATE}
    assert (shop.users(ONE), shop.users(TWO)) == (["u"], [])


def test_a_copy_on_an_earlier_day_takes_over_and_the_later_day_is_staged_too(shop):
    shop.put(ONE, "x.csv", csv_of("u"))
    shop.put(TWO, "x.csv", csv_of("u"))
    shop.put(TWO, "y.csv", csv_of("v"))
    shop.put(THREE, "y.csv", csv_of("w"))
    shop.load(TWO, THREE)
    assert shop.statuses()["2/x.csv"] == LOADED
    assert shop.users(TWO) == ["u", "v"]
    staged = shop.load(ONE)
    assert staged.days == [ONE, TWO]
    assert shop.statuses() == {"1/x.csv": LOADED, "2/x.csv": DUPLICATE, "2/y.csv": LOADED, "3/y.csv": LOADED}
    assert (shop.users(ONE), shop.users(TWO), shop.users(THREE)) == (["u"], ["v"], ["w"])


def test_the_next_copy_takes_over_when_the_first_is_replaced(shop):
    for day in (ONE, TWO, THREE):
        shop.put(day, "x.csv", csv_of("u"))
    shop.load(ONE, TWO, THREE)
    shop.put(ONE, "x.csv", csv_of("other"))
    assert shop.load(ONE).days == [ONE, TWO]
    assert shop.statuses() == {"1/x.csv": LOADED, "2/x.csv": LOADED, "3/x.csv": DUPLICATE}
    assert (shop.users(ONE), shop.users(TWO), shop.users(THREE)) == (["other"], ["u"], [])


def test_the_copy_after_next_takes_over_when_the_next_has_gone_or_changed(shop):
    for day in (ONE, TWO, THREE):
        shop.put(day, "x.csv", csv_of("u"))
        shop.put(day, "y.csv", csv_of("v"))
    shop.load(ONE, TWO, THREE)
    shop.put(ONE, "x.csv", csv_of("other x"))
    shop.put(ONE, "y.csv", csv_of("other y"))
    shop.drop(TWO, "x.csv")
    shop.put(TWO, "y.csv", csv_of("another"))
    assert shop.load(ONE).days == [ONE, TWO, THREE]
    assert (shop.users(TWO), shop.users(THREE)) == (["another"], ["u", "v"])


def test_a_file_that_is_gone_keeps_its_rows_and_its_rejects(shop):
    shop.put(ONE, "x.csv", csv_of("u") + b"short\n")
    shop.put(ONE, "bad.csv", b"")
    shop.put(ONE, "y.csv", csv_of("v") + b"short\n")
    first = shop.load(ONE)
    rows, rejects = shop.rows(), shop.rejects()
    for name in ("x.csv", "bad.csv"):
        shop.drop(ONE, name)
    second = shop.load(ONE)
    assert replace(second.accounts[0], source_snapshot=None) == first.accounts[0]
    assert second.rejected_by_rule == first.rejected_by_rule == {"ragged": 2, "rejected_file": 1}
    key = ("source_file", "source_line", "record_number", "UserID")
    assert {tuple(row[k] for k in key) for row in shop.rows()} == {tuple(row[k] for k in key) for row in rows}
    assert {r["run_id"] for r in shop.rejects() if r["source_file"].endswith(("x.csv", "bad.csv"))} == {"run 1"}
    assert len(shop.rejects()) == len(rejects)
    assert [row for row in shop.rows() if row["source_file"].endswith("x.csv")] == [
        row for row in rows if row["source_file"].endswith("x.csv")
    ]


def test_rejects_of_other_tables_are_not_carried_over(shop):
    shop.put(ONE, "x.csv", csv_of("u") + b"short\n")
    staged = shop.load(ONE)
    rejects = shop._read(list(staged.quarantine))
    cleaned = pa.Table.from_pylist([{**rejects[0], "asset": ECOMMERCE_CLEANED.name}], schema=QUARANTINE.arrow)
    writer = StagedWriter(shop.lake, QUARANTINE, ONE, QUARANTINE.arrow)
    writer.append(cleaned)
    shop.lake.publish(Staged(ECOMMERCE_CLEANED, [ONE], [], writer.close(), [], "cleaning"))
    shop.drop(ONE, "x.csv")
    assert shop.stage(ONE).accounts[0].rejected == 1
    shop.lake.publish(shop.stage(ONE))
    assert sorted(r["asset"] for r in shop.rejects()) == [ECOMMERCE_CLEANED.name, ECOMMERCE_RAW.name]


def test_a_copy_of_a_file_that_is_gone_is_still_a_copy(shop):
    shop.put(ONE, "x.csv", csv_of("u"))
    shop.load(ONE)
    shop.drop(ONE, "x.csv")
    shop.put(TWO, "x.csv", csv_of("u"))
    for days in ([TWO], [ONE], [ONE, TWO]):
        shop.load(*days)
        assert shop.statuses() == {"1/x.csv": LOADED, "2/x.csv": DUPLICATE}
        assert (shop.users(ONE), shop.users(TWO)) == (["u"], [])


def test_a_file_that_is_gone_makes_way_for_an_earlier_copy(shop):
    shop.put(TWO, "x.csv", csv_of("u") + b"short\n")
    shop.load(TWO)
    shop.drop(TWO, "x.csv")
    shop.put(ONE, "x.csv", csv_of("u") + b"short\n")
    shop.load(ONE)
    assert shop.statuses() == {"1/x.csv": LOADED, "2/x.csv": DUPLICATE}
    assert (shop.users(ONE), shop.users(TWO), shop.rules()) == (["u"], [], {"ragged": 1})


def test_a_copy_that_is_gone_does_not_take_over(shop):
    shop.put(ONE, "x.csv", csv_of("u"))
    shop.put(ONE, "y.csv", csv_of("u"))
    shop.load(ONE)
    shop.drop(ONE, "y.csv")
    shop.put(ONE, "x.csv", csv_of("v"))
    shop.load(ONE)
    assert shop.statuses() == {"1/x.csv": LOADED, "1/y.csv": DUPLICATE}
    assert shop.users() == ["v"]


def test_a_file_replaced_under_its_name_replaces_its_rows(shop):
    shop.put(ONE, "x.csv", csv_of("u", "v") + b"short\n")
    shop.put(ONE, "y.csv", csv_of("w"))
    shop.load(ONE)
    shop.put(ONE, "x.csv", csv_of("new"))
    shop.load(ONE)
    assert (shop.users(), shop.rules()) == (["new", "w"], {})
    shop.put(ONE, "x.csv", b"")
    shop.load(ONE)
    assert (shop.users(), shop.rules()) == (["w"], {"rejected_file": 1})


def test_a_rejected_file_that_is_mended_loads(shop):
    shop.put(ONE, "x.csv", b"")
    shop.load(ONE)
    assert shop.statuses() == {"1/x.csv": REJECTED}
    shop.put(ONE, "x.csv", csv_of("u"))
    shop.load(ONE)
    assert (shop.statuses(), shop.users(), shop.rejects()) == ({"1/x.csv": LOADED}, ["u"], [])


def test_two_rejected_files_of_the_same_content_are_both_rejected(shop):
    for day, name in ((ONE, "x.csv"), (ONE, "y.csv"), (TWO, "x.csv")):
        shop.put(day, name, b"a,b\n1,2\n")
    shop.load(ONE, TWO)
    assert set(shop.statuses().values()) == {REJECTED}
    assert shop.rules() == {"rejected_file": 3}


def test_text_under_a_compressed_name_is_rejected_and_its_copy_loads(shop):
    shop.put(ONE, "a.csv.gz", csv_of("u"))
    shop.put(ONE, "b.csv", csv_of("u"))
    shop.load(ONE)
    assert shop.statuses() == {"1/a.csv.gz": REJECTED, "1/b.csv": LOADED}


def test_loading_twice_changes_nothing(shop):
    for day in (ONE, TWO):
        for name, (content, *_) in faulty(ONE).items():
            shop.put(day, name, content)
    first = shop.load(ONE, TWO)
    before = shop.statuses(), shop.users(), shop.rules()
    second = shop.load(ONE, TWO)
    assert (shop.statuses(), shop.users(), shop.rules()) == before
    assert second.accounts == first.accounts


places = st.tuples(st.sampled_from([ONE, TWO, THREE]), st.sampled_from(["a.csv", "b.csv"]))
steps = st.one_of(
    st.tuples(st.just("put"), places, st.sampled_from(["u", "v", None])),
    st.tuples(st.just("put"), places, st.sampled_from(["u", "v", None])),
    st.tuples(st.just("drop"), places),
    st.tuples(st.just("load"), st.lists(st.sampled_from([ONE, TWO, THREE]), min_size=1, unique=True)),
)


@pytest.mark.parametrize("publish", [False, True], ids=["statuses", "published"])
def test_whatever_happens_each_content_is_loaded_once_from_its_first_place(publish):
    @settings(max_examples=8 if publish else 120, deadline=None)
    @given(happened=st.lists(steps, max_size=14), order=st.permutations([ONE, TWO, THREE]))
    def run(happened: list, order: list[date]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            shop, present = Shop(Path(folder)), {}

            def load(*days: date) -> None:
                if publish:
                    shop.load(*days)
                    return
                staged = shop.stage(*days)
                shop.known = {f.path: f for f in shop.known.values() if f.partition_date not in staged.days}
                shop.known |= {f.path: f for f in staged.landing_files or ()}

            for what, where, *content in happened:
                if what == "put":
                    present[where] = content[0]
                    shop.put(*where, b"" if content[0] is None else csv_of(content[0]))
                elif what == "drop":
                    present.pop(where, None)
                    shop.drop(*where)
                else:
                    load(*where)
            for day in order:
                load(day)
            hashes = {sha256(csv_of(user)).hexdigest(): user for user in "uv"}
            there = {shop.path(*where): user for where, user in present.items()}
            candidates: dict[str, list[tuple[date, str]]] = {}
            for (day, name), user in present.items():
                if user is not None:
                    candidates.setdefault(user, []).append((day, shop.path(day, name)))
            stand: dict[str, list[tuple[date, str]]] = {}
            for file in shop.known.values():
                if file.status == LOADED:
                    stand.setdefault(hashes[file.content_hash], []).append((file.partition_date, file.path))
                    if file.path not in there:
                        candidates.setdefault(hashes[file.content_hash], []).append((file.partition_date, file.path))
                elif file.path in there:
                    assert (file.status == REJECTED) == (there[file.path] is None)
            assert there.keys() <= shop.known.keys()
            assert stand == {user: [min(found)] for user, found in candidates.items()}
            if publish:
                assert shop.users() == sorted(stand)

    run()


def test_a_file_that_changes_while_it_is_read_stops_the_step_and_says_so(shop):
    path = shop.put(ONE, "x.csv", csv_of("u"))
    shop.load(ONE)
    loader = LandingLoader(FEED, landing=shop.landing, lake=shop.lake, limits=shop.limits)
    for changed in (csv_of("v"), b"\0"):
        shop.put(ONE, "x.csv", csv_of("u"))

        def rewrite(_: str, content: bytes = changed) -> None:
            shop.landing.write(path, content)  # between the two passes

        with pytest.raises(ClickstreamError, match=r"x\.csv changed while it was read.*: run again"):
            loader.stage([ONE], shop.known.values(), run_id="r", progress=rewrite)
    assert shop.users(ONE) == ["u"]


def test_unfinished_work_of_other_writers_is_not_landed(shop):
    for name in ("_upload/x.csv", ".x.csv", "_temporary/0/x.csv", "notes.txt"):
        shop.put(ONE, name, csv_of(name))
    shop.put(ONE, "done.csv", csv_of("u"))
    shop.load(ONE)
    assert shop.users(ONE) == ["u"]
