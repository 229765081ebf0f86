"""Finding JSON records, judged by the standard library's parser and by the same file cut into other blocks."""

import io
import json
import time
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickstream_assets.parsing import json_objects, json_records
from clickstream_assets.parsing.payload import PAYLOAD_BYTES
from clickstream_assets.settings import Limits

LIMITS = Limits()
WHOLE = 64 * 1024 * 1024
PARSER = json_objects._Objects(["a"])


class Record(NamedTuple):
    """A record as found: ``rule`` is None for a good one; ``text`` is without the white space behind it."""

    number: int
    line: int
    rule: str | None
    text: str


def found(content: bytes, limits: Limits = LIMITS, block_bytes: int = WHOLE) -> list[Record]:
    """Records of a file, good and broken ones in the order of the file; DuckDB says which are valid."""
    finder = json_records.Finder(io.BytesIO(content), limits, block_bytes=block_bytes)
    records: list[Record] = []
    while (block := finder.next()) is not None:
        block.records.validate(full=True)
        valid = PARSER.valid(block.records) if len(block.records) else []
        assert block.found == len(block.records) + len(block.broken) == len(block.numbers) + len(block.broken) > 0
        texts = [text.strip(" \t\r\n") for text in block.records.to_pylist()]
        mine = [
            Record(int(n), int(at), None, text) for n, at, text in zip(block.numbers, block.lines, texts, strict=True)
        ]
        if not all(valid):
            assert not block.judged, "the two grammars do not agree"
            first = list(valid).index(False)
            records += mine[:first]
            finder.doubt(block, first)
            continue
        records += sorted(mine + [Record(b.record_number, b.line, b.rule, b.text) for b in block.broken])
    assert [record.number for record in records] == list(range(1, len(records) + 1))
    return records


def shown(content: bytes, **options: object) -> list[tuple[int, str | None, str]]:
    return [(r.line, r.rule, r.text) for r in found(content, **options)]  # type: ignore[arg-type]


SIZES = [1, 2, 3, 7, 20, 64, WHOLE]

# --- sound files ---

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8) | st.sampled_from(
    ['"', "\\", '\\"', "}{", '{"', "\n{", "{}", "a\\\\", "[", "é\u2028", "😀"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXTS, values, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=4)


@st.composite
def written(draw, objects=OBJECTS):
    """An object as text, in one of the ways in which it may be written."""
    value = draw(objects)
    indent, ascii_only = draw(st.sampled_from([None, None, 0, 2])), draw(st.booleans())
    separators = draw(st.sampled_from([None, (",", ":"), (" , ", " : ")]))
    return json.dumps(value, indent=indent, ensure_ascii=ascii_only, separators=separators)


@settings(max_examples=80, deadline=None)
@given(st.lists(written(), max_size=6), st.sampled_from(["", "\n", "\r\n", " ", "\n\n\t"]), st.integers(1, 80))
def test_what_was_written_is_found(texts, separator, block_bytes):
    content = separator.join(texts)
    records = found(content.encode(), block_bytes=block_bytes)
    assert [(record.rule, record.text) for record in records] == [(None, text) for text in texts]
    at = 0
    for record, text in zip(records, texts, strict=True):
        at = content.index(text, at)
        assert record.line == content.count("\n", 0, at) + 1
        at += len(text)


@pytest.mark.parametrize("content", [b"", b" \r\n\t", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_a_file_without_records_is_no_error(content):
    for size in SIZES:
        assert found(content, block_bytes=size) == []


def test_a_byte_order_mark_is_passed_over():
    for size in SIZES:
        assert shown(b'\xef\xbb\xbf{"a":1}{"a":2}', block_bytes=size) == [(1, None, '{"a":1}'), (1, None, '{"a":2}')]


def test_a_sound_file_is_found_at_once_and_not_record_by_record():
    values = [{"a": 'x"}{\\', "b\\": {"é": ["{}", "\\\\"]}}, {}, {"a": {"b": {"c": {"d": 1}}}}] * 3
    for separator in ("", "\n", " \r\n\t"):
        finder = json_records.Finder(io.BytesIO(separator.join(map(json.dumps, values)).encode()), LIMITS)
        block = finder.next()
        assert not block.judged and [json.loads(text) for text in block.records.to_pylist()] == values
        assert finder.next() is None


# --- broken records ---

DAMAGED = [
    # content, what is found: line, rule, text
    (b'{"a":1}{"a":2', [(1, None, '{"a":1}'), (1, "bad_json", '{"a":2')]),
    (b'{"a":1}\n{"a":2\n{"a":3}', [(1, None, '{"a":1}'), (2, "bad_json", '{"a":2'), (3, None, '{"a":3}')]),
    (b'{"a":"x\n{"a":3}', [(1, "bad_json", '{"a":"x'), (2, None, '{"a":3}')]),
    (b'{"a":"x{"a":3}{"a":4}', [(1, "bad_json", '{"a":"x'), (1, None, '{"a":3}'), (1, None, '{"a":4}')]),
    (b'{"a":x}{"a":3}', [(1, "bad_json", '{"a":x}'), (1, None, '{"a":3}')]),
    (b'{"a":x} y\n\n {"a":3}', [(1, "bad_json", '{"a":x}'), (1, "bad_json", "y"), (3, None, '{"a":3}')]),
    (b'{"a":{"b":1}\n{"a":3}', [(1, "bad_json", '{"a":{"b":1}'), (2, None, '{"a":3}')]),
    (b'{"a":1}}\n{"a":3}', [(1, None, '{"a":1}'), (1, "bad_json", "}"), (2, None, '{"a":3}')]),
    (b'{"a":[{"b":1},{"c":2}}{"a":3}', [(1, "bad_json", '{"a":[{"b":1},{"c":2}}'), (1, None, '{"a":3}')]),
    (b'hello\nworld {"a":1}', [(1, "bad_json", "hello"), (2, "bad_json", "world"), (2, None, '{"a":1}')]),
    (
        b'[1]\n5 {"a":1}\n"x{}"',
        [(1, "not_an_object", "[1]"), (2, "not_an_object", "5"), (2, None, '{"a":1}'), (3, "not_an_object", '"x{}"')],
    ),
    (b'[{"a":1},{"a":2}]', [(1, "not_an_object", '[{"a":1},{"a":2}]')]),
    (b'[{"a":1},\n{"a":2}]', [(1, "bad_json", '[{"a":1},'), (2, None, '{"a":2}'), (2, "bad_json", "]")]),
    (b'{}{"a":1}', [(1, None, "{}"), (1, None, '{"a":1}')]),
    (b'{"a":1,}{"a":NaN}{"a":-inf}', [(1, None, '{"a":1,}'), (1, None, '{"a":NaN}'), (1, None, '{"a":-inf}')]),
    (b'{,}{"a":01}{"a":1.}', [(1, "bad_json", "{,}"), (1, "bad_json", '{"a":01}'), (1, "bad_json", '{"a":1.}')]),
    (b'{"a":"\xe9"}{"a":1}', [(1, "bad_encoding", '{"a":"\\xe9"}'), (1, None, '{"a":1}')]),
    (b'{"a":"\0"}{"a":1}', [(1, "bad_encoding", '{"a":"\\x00"}'), (1, None, '{"a":1}')]),
    (b'{"a":"\\u0000"}{"a":"\\\\u0000"}', [(1, "bad_encoding", '{"a":"\\u0000"}'), (1, None, '{"a":"\\\\u0000"}')]),
    (b'{"a":"\\ud800"}{"a":1}', [(1, "bad_encoding", '{"a":"\\ud800"}'), (1, None, '{"a":1}')]),
    (b'{"a":"\\udc00"}{"a":1}', [(1, "bad_encoding", '{"a":"\\udc00"}'), (1, None, '{"a":1}')]),
    (b'{"\\ud83d\\ude00":1}', [(1, None, '{"\\ud83d\\ude00":1}')]),
    (b'\xff\n{"a":1}', [(1, "bad_encoding", "\\xff"), (2, None, '{"a":1}')]),
]


@pytest.mark.parametrize(("content", "wanted"), DAMAGED)
def test_a_broken_record_costs_itself(content, wanted):
    for size in SIZES:
        assert shown(content, block_bytes=size) == wanted


PIECES = st.sampled_from(
    [
        b'{"',
        b"{",
        b"}",
        b'"',
        b"\n",
        b":",
        b",",
        b"[",
        b"]",
        b"\\",
        b'\\"',
        b" ",
        b"a",
        b"1",
        b"{}",
        b'{"a":1}',
        b"\xe9",
        b"\n{",
        b'{"a":"b"}\n',
        b'{"a":',
        b"\\u0000",
        b"\\ud800",
        b"\0",
        b"nul",
        b"-",
        b"1.",
        b"[1]",
        b'"x"',
        b"\r\n",
        b"inf",
    ]
)


@settings(max_examples=120, deadline=None)
@given(st.lists(PIECES, max_size=30), st.integers(1, 12), st.integers(5, 60))
def test_where_blocks_end_does_not_matter(pieces, block_bytes, cap):
    content, limits = b"".join(pieces), Limits(record_bytes=cap)
    assert found(content, limits, block_bytes) == found(content, limits)


@settings(max_examples=80, deadline=None)
@given(st.lists(PIECES, max_size=12))
def test_the_grammar_of_the_finder_is_that_of_the_parser(pieces):
    """``found`` fails where the one calls a record valid and the other does not; the other way round is seen here."""
    content = b'{"a":' + b"".join(pieces).replace(b"\0", b"") + b"}"
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return
    if PARSER.valid(json_objects.pa.array([text]))[0]:
        assert [record.rule for record in found(content)] in ([None], ["bad_encoding"])


@settings(max_examples=80, deadline=None)
@given(
    st.lists(written(st.fixed_dictionaries({"id": VALUES, "é": VALUES})), min_size=1, max_size=6),
    st.data(),
    st.integers(1, 80),
)
def test_one_damaged_record_costs_that_record(texts, data, block_bytes):
    """Each on lines of its own, so that the next one begins in the first column."""
    texts = [json.dumps(json.loads(text), ensure_ascii=False) for text in texts]
    which = data.draw(st.integers(0, len(texts) - 1))
    damaged = texts[which]
    place = data.draw(st.integers(1, len(damaged) - 1))
    damaged = damaged[:place] + data.draw(st.sampled_from(["", '"', "}", "{", "\\", "x", "]"])) + damaged[place + 1 :]
    if data.draw(st.booleans()):
        damaged = damaged[:place]
    lines = [*texts[:which], damaged, *texts[which + 1 :]]
    records = found("\n".join(lines).encode(), block_bytes=block_bytes)
    for line, text in enumerate(lines, start=1):
        if line != which + 1:
            assert (line, None, text) in {(record.line, record.rule, record.text) for record in records}
    rest = [record for record in records if record.line == which + 1]
    assert rest and len(rest) + len(lines) - 1 == len(records)


# --- records longer than the cap, and time ---


def test_a_record_longer_than_may_be_costs_itself():
    long = b'{"a":"' + b"x" * 300 + b'"}'
    for size in (1, 7, 64, 290, 300, 310, 320, WHOLE):
        for between in (b"", b"\n"):
            content = between.join([b'{"a":1}', long, b'{"a":2}', b'{"a":3}'])
            records = found(content, Limits(record_bytes=64), size)
            assert [record.rule for record in records] == [None, "too_long", None, None]
            assert records[1].text == long[:64].decode()


def test_behind_a_long_record_an_anchor_counts_before_the_line_that_it_spans():
    content = b'{"a":"' + b"x" * 70 + b'" {  \n  "b":1}\n{"c":2}'
    whole = shown(content, limits=Limits(record_bytes=64))
    assert [(line, rule) for line, rule, _ in whole] == [(1, "too_long"), (1, None), (3, None)]
    for size in range(1, 90):
        assert shown(content, limits=Limits(record_bytes=64), block_bytes=size) == whole


def test_the_cap_is_the_longest_record():
    for size in (1, 5, WHOLE):
        content = b'{"a":"xx"}{"a":"xxx"}{"a":"xx"}'
        assert [r.rule for r in found(content, Limits(record_bytes=10), size)] == [None, "too_long", None]
        assert [r.rule for r in found(content, Limits(record_bytes=11), size)] == [None, None, None]


def test_no_more_of_a_long_record_is_kept_than_quarantine_takes():
    [record] = found(b'{"a":"' + b"x" * 300_000, Limits(record_bytes=100_000), 1000_000)
    assert record.rule == "too_long" and len(record.text) == PAYLOAD_BYTES


class Endless(io.RawIOBase):
    """The same bytes again and again, and then the end."""

    def __init__(self, piece: bytes, size: int):
        self.left = size
        self.piece = piece

    def read(self, size: int = -1) -> bytes:
        size = min(size, self.left)
        self.left -= size
        return (self.piece * (size // len(self.piece) + 1))[:size]


@pytest.mark.parametrize("piece", [b'{"a":"', b" ", b"[", b'{"a":[1,', b"x{"], ids=str)
def test_a_long_record_is_not_held_in_memory(piece):
    limits = Limits(record_bytes=10_000)
    finder = json_records.Finder(Endless(piece, 500_000), limits, block_bytes=50_000)
    held = 0
    while finder.next() is not None:
        held = max(held, len(finder._rest))
    assert held < 150_000


@pytest.mark.parametrize(
    "piece",
    [
        b"{",
        b"}",
        b'"',
        b"\\",
        b'{"',
        b'{"":',
        b"[",
        b"{}",
        b'{"a":x}',
        b'{"a" ',
        b'{"a":[\n',
        b'{"a":\n',
        b"x{}",
        b'["{}",',
        b'"{}"x',
        b'{"":{""',
        b'":":{",":,{',
        b"\n",
        b" ",
        b'\\"',
        b"{x}",
        b"[1]\n",
        b"{,}",
        b'{"a":1,}',
        b"\xff",
        b'{"":0}\0',
    ],
    ids=str,
)
def test_much_of_the_same_few_bytes_takes_little_time(piece):
    for start in (b"", b'{"a":"b"', b"x"):
        started = time.process_time()
        finder = json_records.Finder(io.BytesIO(start + piece * (60_000 // len(piece))), LIMITS)
        block = finder.next()
        while block is not None:
            if not block.judged:
                finder.doubt(block, 0)
            block = finder.next()
        assert time.process_time() - started < 5
