"""Finding CSV records, judged by Python's csv module and by a reader that goes byte by byte."""

import contextlib
import csv
import io
import random
import re
import time
from typing import NamedTuple

import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clickstream_assets.errors import RejectedFile
from clickstream_assets.parsing import delimited
from clickstream_assets.settings import Limits

LIMITS = Limits()
BOM = b"\xef\xbb\xbf"
WHOLE = 64 * 1024 * 1024
LINE_END = re.compile(rb"\r\n|\n|\r")


class Record(NamedTuple):
    """A record as found: ``rule`` is None for a good one, whose ``content`` is its fields; else it is the text."""

    number: int
    line: int
    rule: str | None
    content: tuple[str, ...] | str


class Unread(io.BytesIO):
    """Keeps count of what was read, and of the most that was asked for at once."""

    def __init__(self, content: bytes):
        super().__init__(content)
        self.taken = 0

    def read(self, size: int = -1) -> bytes:
        chunk = super().read(size)
        self.taken += len(chunk)
        return chunk


def parsed(block: delimited.Block, columns: int) -> list[tuple[str, ...]]:
    """The rows of a block's good bytes as ``landing`` has Arrow read them."""
    names = [f"c{n}" for n in range(columns)]
    good = BOM + block.good  # Arrow passes over one BOM
    table = pacsv.read_csv(
        pa.BufferReader(good),
        read_options=pacsv.ReadOptions(column_names=names, block_size=len(good)),
        parse_options=pacsv.ParseOptions(newlines_in_values=block.quoted),
        convert_options=pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
    )
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def read(content: bytes, limits: Limits = LIMITS, block_bytes: int = WHOLE) -> tuple[list[str], list[Record]]:
    """Header and records of a file, good and broken ones in the order of the file."""
    reader = delimited.read(io.BytesIO(content), limits, block_bytes=block_bytes)
    records: list[Record] = []
    for block in reader.blocks:
        assert block.found == len(block.lines) + len(block.broken) == len(block.numbers) + len(block.broken)
        rows = parsed(block, len(reader.header)) if len(block.lines) else []
        assert len(rows) == len(block.lines)
        mine = [Record(int(n), int(at), None, row) for n, at, row in zip(block.numbers, block.lines, rows, strict=True)]
        mine += [Record(b.record_number, b.line, b.rule, b.text) for b in block.broken]
        records += sorted(mine)
    assert [record.number for record in records] == list(range(1, len(records) + 1))
    return reader.header, records


def records(content: bytes, limits: Limits = LIMITS, block_bytes: int = WHOLE) -> list[Record]:
    return read(content, limits, block_bytes)[1]


def shown(content: bytes, **options: object) -> list[tuple[int, str | None, str]]:
    """Line, rule, and text or fields joined with ``|``."""
    found = records(content, **options)  # type: ignore[arg-type]
    return [(r.line, r.rule, r.content if isinstance(r.content, str) else "|".join(r.content)) for r in found]


# --- the reader that goes byte by byte ---


def fields_at(content: bytes, at: int) -> tuple[list[bytes], int] | None:
    """The record that starts at ``at``, and where it ends; None when none can start there."""
    fields = []
    while True:
        value = bytearray()
        if content[at : at + 1] == b'"':
            at += 1
            while True:
                if at >= len(content):
                    return None
                if content[at : at + 2] == b'""':
                    value.append(content[at])
                    at += 2
                elif content[at] == ord('"'):
                    at += 1
                    break
                else:
                    value.append(content[at])
                    at += 1
        else:
            while at < len(content) and content[at] not in b'",\r\n':
                value.append(content[at])
                at += 1
        fields.append(bytes(value))
        if at >= len(content):
            return fields, at
        if content[at] == ord(","):
            at += 1
        elif end := LINE_END.match(content, at):
            return fields, end.end()
        else:
            return None


def byte_by_byte(content: bytes, limits: Limits) -> list[Record]:
    """All records after the header, from the rules alone: the whole file in memory, one byte after the other."""
    content = content.removeprefix(BOM)
    if content[-1:] not in (b"\n", b"\r"):
        content += b"\n"
    at, line, width, found = 0, 1, None, []
    while at < len(content):
        here = fields_at(content, at)
        end = here[1] if here else 0
        if here is None or (width is not None and end - at > limits.record_bytes):
            here, match = None, LINE_END.search(content, at)
            assert match is not None
            end = match.end()
        text = content[at:end]
        if text.strip(b"\r\n"):
            if width is None:
                assert here is not None
                width = len(here[0])
            else:
                rule = None
                if end - at > limits.record_bytes:
                    rule = "too_long"
                elif here is None:
                    rule = "bad_quoting"
                elif b"\0" in text or text.decode(errors="replace").encode() != text:
                    rule = "bad_encoding"
                elif len(here[0]) != width:
                    rule = "ragged"
                if rule is None:
                    assert here is not None
                    found.append(Record(len(found) + 1, line, None, tuple(f.decode() for f in here[0])))
                else:
                    kept = text.rstrip(b"\r\n").decode(errors="backslashreplace").replace("\0", "\\x00")
                    found.append(Record(len(found) + 1, line, rule, kept))
        line += len(LINE_END.findall(text))
        at = end
    return found


PIECES = [b'"', b'""', b'","', b",", b"\n", b"\r", b"\r\n", b"a", b"bc", b" ", b"\xe9", b"\0", "é".encode(), BOM]
hostile = st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join)
small_caps = st.sampled_from([4, 8, 20, 1000]).map(lambda size: Limits(record_bytes=size))


@settings(max_examples=600, deadline=None)
@given(body=hostile, limits=small_caps, block_bytes=st.integers(1, 50))
@example(body=b"aaaaaaaaaaaaaaa\r\na,b\n", limits=Limits(record_bytes=8), block_bytes=4)
@example(body=b'a,"' + b"b\n" * 9 + b'"\na,b\n', limits=Limits(record_bytes=8), block_bytes=1000)
@example(body=b"aaaaaaaa\r\na,b\n", limits=Limits(record_bytes=8), block_bytes=1000)
@example(body=b'aaaaaaaa\r\na,"b\na,b\n', limits=Limits(record_bytes=8), block_bytes=1000)
@example(body=BOM + b"a,b\n", limits=Limits(record_bytes=8), block_bytes=4)
def test_whatever_the_bytes_and_the_block_size_the_records_are_those_found_byte_by_byte(body, limits, block_bytes):
    content = b"x,y\n" + body
    wanted = byte_by_byte(content, limits)
    assert records(content, limits) == wanted
    assert records(content, limits, block_bytes) == wanted


@settings(max_examples=300, deadline=None)
@given(content=hostile, limits=small_caps, block_bytes=st.integers(1, 50))
@example(content=BOM + b"a,b\n1,2\n", limits=LIMITS, block_bytes=1)
@example(content=b"\r\n\r\na,b\r\n1,2\r\n", limits=LIMITS, block_bytes=1)
@example(content=b'"a\r\nb",c\r\n1,2\r\n', limits=LIMITS, block_bytes=3)
def test_header_and_records_are_the_same_for_any_block_size(content, limits, block_bytes):
    def outcome(size: int) -> object:
        try:
            return read(content, limits, size)
        except RejectedFile as error:
            return str(error)

    assert outcome(block_bytes) == outcome(WHOLE)


@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=200))
def test_arbitrary_bytes_are_read_or_rejected_and_nothing_else(content):
    for limits in (LIMITS, Limits(record_bytes=16, columns=3)):
        with contextlib.suppress(RejectedFile):
            records(content, limits)


# --- valid files ---

texts = st.text(st.one_of(st.sampled_from('",\n\r; \t\ufeff'), st.characters(exclude_categories=["Cs"])), max_size=8)
texts = texts.filter(lambda text: "\0" not in text)


@st.composite
def valid_files(draw: st.DrawFn) -> tuple[bytes, int]:
    columns = draw(st.integers(1, 4))
    rows = draw(st.lists(st.lists(texts, min_size=columns, max_size=columns), max_size=8))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    random_quotes = draw(st.booleans())
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=end).writerow([f"name {n}" for n in range(columns)])
    all_quoted = csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL)
    for row in rows:
        if random_quotes:
            needed = [re.search(r'[",\r\n]', value) or (columns == 1 and not value) for value in row]
            quoted = [
                '"' + value.replace('"', '""') + '"' if need or draw(st.booleans()) else value
                for value, need in zip(row, needed, strict=True)
            ]
            out.write(",".join(quoted) + end)
        else:
            all_quoted.writerow(row)
    content = out.getvalue()
    if draw(st.booleans()):
        content = content.removesuffix(end)
    if draw(st.booleans()):
        content = content.replace(end, end + end, 1)
    return (BOM if draw(st.booleans()) else b"") + content.encode(), columns


@settings(max_examples=300, deadline=None)
@given(file=valid_files(), block_bytes=st.integers(1, 60))
def test_a_valid_file_has_the_rows_and_lines_that_pythons_csv_module_finds(file, block_bytes):
    content, columns = file
    source = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
    wanted, line = [], 1
    for row in source:
        if row:
            wanted.append((line, None, tuple(row)))
        line = source.line_num + 1
    for size in (WHOLE, block_bytes):
        header, found = read(content, LIMITS, size)
        assert len(header) == columns
        assert [(r.line, r.rule, r.content) for r in found] == wanted[1:]


def test_a_large_file_is_read_alike_in_blocks_of_many_sizes():
    rng = random.Random(7)
    lines = [
        b'1,"two\r\nlines",3\r\n',
        b"1,2,3\n",
        b"1,2\n",
        b"\n",
        b'1,"open,3\n',
        b"1,\xff,3\n",
        b'"1","","3"\n',
        b"4,5,6\r",
    ]
    content = b"a,b,c\n" + b"".join(rng.choices(lines, weights=[5, 90, 1, 1, 0.2, 1, 5, 0.2], k=20_000))
    whole = records(content)
    assert {record.rule for record in whole} == {None, "ragged", "bad_quoting", "bad_encoding"}
    for size in (997, 4096, 65_537):
        assert records(content, LIMITS, size) == whole


# --- one fault each ---


def test_one_field_too_many_or_too_few_is_ragged():
    assert shown(b"a,b\n1\n1,2\n1,2,3\n1,2,\n3,4\n") == [
        (2, "ragged", "1"),
        (3, None, "1|2"),
        (4, "ragged", "1,2,3"),
        (5, "ragged", "1,2,"),
        (6, None, "3|4"),
    ]


@pytest.mark.parametrize("bad", [b"\xe9", b"\0", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"])
def test_text_that_is_not_utf_8_or_has_a_nul_costs_its_record(bad):
    found = shown(b"a,b\n1,2\ncaf" + bad + b',2\n"x\n' + bad + b'",2\n3,4\n')
    assert [(line, rule) for line, rule, _ in found] == [(2, None), (3, "bad_encoding"), (4, "bad_encoding"), (6, None)]
    assert found[1][2].startswith("caf\\x")


def test_an_unclosed_quote_costs_its_own_line():
    assert shown(b'a,b\n1,2\n3,"4\n5,6\n"7","8"\n') == [
        (2, None, "1|2"),
        (3, "bad_quoting", '3,"4'),
        (4, None, "5|6"),
        (5, None, "7|8"),
    ]


def test_an_unclosed_quote_on_the_last_line_costs_that_line():
    assert shown(b'a,b\n1,2\n3,"4') == [(2, None, "1|2"), (3, "bad_quoting", '3,"4')]


def test_an_unclosed_quote_is_not_waited_for_longer_than_a_record_may_be():
    stream = Unread(b'a,b\n1,"2\n' + b"3,4\n" * 500_000)
    blocks = delimited.read(stream, Limits(record_bytes=1000), block_bytes=5000).blocks
    first = next(blocks)
    assert [broken.rule for broken in first.broken] == ["bad_quoting"]
    assert stream.taken < 50_000
    assert first.found + sum(block.found for block in blocks) == 500_001


@pytest.mark.parametrize("line", [b'"a"b,2', b'a"b,2', b'a"b",2', b' "a",2', b'"a" ,2', b'1,"a"b"'])
def test_a_quote_that_neither_opens_nor_closes_a_field_costs_its_line(line):
    assert shown(b"a,b\n1,2\n" + line + b"\n3,4\n") == [
        (2, None, "1|2"),
        (3, "bad_quoting", line.decode()),
        (4, None, "3|4"),
    ]


def test_a_quoted_line_end_belongs_to_its_field_and_later_lines_are_numbered_right():
    assert shown(b'a,b\n1,"x\ny\r\nz"\n\n"p\r",2\n3,4\n') == [
        (2, None, "1|x\ny\r\nz"),
        (6, None, "p\r|2"),
        (8, None, "3|4"),
    ]


def test_a_byte_order_mark_is_not_part_of_the_header():
    assert read(BOM + b"a,b\n1,2\n")[0] == ["a", "b"]
    assert read(BOM + b'"a",b\n1,2\n', block_bytes=1) == (["a", "b"], [Record(1, 2, None, ("1", "2"))])


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_all_three_line_ends_are_known_and_blank_lines_are_not_records(end):
    content = end.join([b"", b"a,b", b"", b"1,2", b"", b"", b"3,4", b"5,6", b"", b""])
    for size in (1, 2, 3, WHOLE):
        assert shown(content, block_bytes=size) == [(4, None, "1|2"), (7, None, "3|4"), (8, None, "5|6")]


def test_a_line_of_one_space_is_a_record():
    assert shown(b"a,b\n \n1,2\n") == [(2, "ragged", " "), (3, None, "1|2")]


def test_the_last_line_needs_no_line_end():
    assert shown(b"a,b\n1,2\n3,") == [(2, None, "1|2"), (3, None, "3|")]


def test_a_header_alone_has_no_records():
    assert read(b"a,b") == read(b"a,b\r\n") == (["a", "b"], [])


@pytest.mark.parametrize("content", [b"", b"\n\r\n\r\n", BOM, BOM + b"\n"])
def test_a_file_without_a_header_is_rejected(content):
    for size in (1, WHOLE):
        with pytest.raises(RejectedFile, match="empty"):
            read(content, block_bytes=size)


@pytest.mark.parametrize("header", [b'a,"b\n1,2\n', b'"a"x,b\n', b"caf\xe9,b\n", b"a," + b"b" * 2_000_000])
def test_a_header_that_cannot_be_read_rejects_the_file(header):
    with pytest.raises(RejectedFile, match="header cannot be read"):
        read(header)


def test_ten_thousand_columns_are_refused_and_a_thousand_are_read():
    with pytest.raises(RejectedFile, match="10,000 columns"):
        read(b",".join([b"c"] * 10_000) + b"\n")
    assert len(read(b",".join([b"c"] * 1000) + b"\n")[0]) == 1000


# --- records longer than the cap ---


@pytest.mark.parametrize("where", [0, 1, 2])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_line_longer_than_a_record_may_be_costs_itself(where, end):
    lines = [b"1,2", b"3,4"]
    lines.insert(where, b"x" * 300)
    for size in (1, 7, 64, 100, 301, 302, 303, 304, 305, 306, 307, WHOLE):
        for last in (end, b""):
            found = shown(end.join([b"a,b", *lines]) + last, limits=Limits(record_bytes=64), block_bytes=size)
            assert [(line, rule) for line, rule, _ in found] == [
                (n + 2, "too_long" if n == where else None) for n in range(3)
            ]
            assert found[where][2] == "x" * 300


def test_no_more_of_a_long_line_is_kept_than_quarantine_takes():
    for size in (1000, 100_000, WHOLE):
        found = shown(b"a,b\n" + b"x" * 300_000 + b"\n1,2\n", limits=Limits(record_bytes=64), block_bytes=size)
        assert found == [(2, "too_long", "x" * delimited.PAYLOAD_BYTES), (3, None, "1|2")]


def test_the_cap_counts_the_line_end():
    limits = Limits(record_bytes=8)
    for size in (1, 5, WHOLE):
        found = shown(b"a,b\n1,23456\n1,234567\n1,23456\r\n1,2345\r\n1,234567", limits=limits, block_bytes=size)
        assert [rule for _, rule, _ in found] == [None, "too_long", "too_long", None, "too_long"]


def test_a_quoted_field_of_many_lines_longer_than_a_record_may_be_costs_the_lines_that_are_no_records():
    content = b'a,b\n0,"1\n' + b"text\n" * 20 + b'7"\n1,2\n'
    wanted = [(2, "bad_quoting"), *((line, "ragged") for line in range(3, 23)), (23, "bad_quoting"), (24, None)]
    for size in (1, 10, 70, WHOLE):
        found = shown(content, limits=Limits(record_bytes=64), block_bytes=size)
        assert [(line, rule) for line, rule, _ in found] == wanted


# --- time ---

MUCH = 2_000_000


@pytest.mark.parametrize("before", [b"a,b\n", b""], ids=["body", "header"])
@pytest.mark.parametrize(
    "piece",
    [b'"', b",", b"\n", b"\r", b'"a', b'"a\n', b'"""\n'],
    ids=["quotes", "commas", "newlines", "returns", "alternating", "open-quotes", "quotes-of-two-lines"],
)
def test_two_megabytes_of_the_same_few_bytes_take_seconds(piece, before):
    started = time.process_time()
    try:
        blocks = delimited.read(io.BytesIO(before + piece * (MUCH // len(piece))), LIMITS).blocks
        assert sum(block.found for block in blocks) <= MUCH
    except RejectedFile:
        assert not before
    assert time.process_time() - started < 15


def test_an_open_quote_before_many_lines_takes_seconds():
    started = time.process_time()
    blocks = delimited.read(io.BytesIO(b'a,b\n1,"2\n' + b"3,4\n" * (MUCH // 4)), LIMITS).blocks
    assert sum(block.found for block in blocks) == MUCH // 4 + 1
    assert time.process_time() - started < 15


def test_a_comma_too_many_here_and_one_too_few_there_do_not_make_up_for_each_other():
    rules = [rule for _, rule, _ in shown(b"a,b,c\n1,2,3\n1,2,3,4\n1,2\n1,2,3\n1,2\n1,2,3,4\n")]
    assert rules == [None, "ragged", "ragged", None, "ragged", "ragged"]
    rules = [rule for _, rule, _ in shown(b"a,b,c\n1,2\n1,2,3,4\n1,2,3\n")]
    assert rules == ["ragged", "ragged", None]
