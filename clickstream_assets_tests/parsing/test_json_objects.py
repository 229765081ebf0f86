"""Values of JSON records, judged by the standard library's parser."""

import gzip
import io
import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickstream_assets.errors import RejectedFile
from clickstream_assets.parsing import content as contents
from clickstream_assets.parsing import json_objects
from clickstream_assets.parsing.formats import CSV, JSON, Batch
from clickstream_assets.settings import Limits
from clickstream_assets_tests.parsing.test_json_records import OBJECTS, TEXTS, written

LIMITS = Limits()


def batches(content: bytes, columns: list[str], block_bytes: int = 64 * 1024 * 1024) -> list[Batch]:
    read = list(json_objects.read(io.BytesIO(content), columns, LIMITS, block_bytes=block_bytes))
    for batch in read:
        assert batch.rows.column_names == [*columns, "extra"]
        assert set(batch.rows.schema.types) == {pa.string()}
        assert batch.found == batch.rows.num_rows + len(batch.broken) == len(batch.lines) + len(batch.broken)
    return read


def rows(content: bytes, *columns: str, block_bytes: int = 64 * 1024 * 1024) -> list[tuple]:
    return [
        tuple(row.values()) for batch in batches(content, list(columns), block_bytes) for row in batch.rows.to_pylist()
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1", "1"),
        ("1.50", "1.5"),
        ("9999999999.99", "9999999999.99"),
        ("0.1", "0.1"),
        ("19.99", "19.99"),
        ("1e3", "1000.0"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("-0", "0"),
        ("0.1000000000000000055511151231257827", "0.1"),
        ("true", "true"),
        ("null", None),
        ('""', ""),
        ('"null"', "null"),
        ('"a\\n\\u00e9"', "a\né"),
        ('{"b" : [1, null]}', '{"b":[1,null]}'),
        ("[1,2]", "[1,2]"),
        ("NaN", "NaN"),
    ],
)
def test_a_value_as_text(value, text):
    assert rows(b'{"a":%s}' % value.encode(), "a") == [(text, None)]


def test_a_key_is_matched_exactly_and_the_others_are_kept_with_their_nulls():
    content = b'{"A":1,"b.c":null,"a":2,"d":{"e":null}}{"a":null}{}{"x\'":"\\u00e9"}'
    assert rows(content, "a", "q'\"") == [
        ("2", None, '{"A":1,"b.c":null,"d":{"e":null}}'),
        (None, None, None),
        (None, None, None),
        (None, None, '{"x\'":"é"}'),
    ]


def test_of_a_key_that_is_there_twice_the_first_counts():
    assert rows(b'{"a":1,"a":2,"b":3}', "a") == [("1", '{"b":3}')]


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "A", ""]), TEXTS | st.integers() | st.none()), max_size=5))
def test_values_are_those_of_the_standard_library(objects):
    read = rows("".join(map(json.dumps, objects)).encode(), "a", "b")
    assert [row[:2] for row in read] == [(_text(o.get("a")), _text(o.get("b"))) for o in objects]
    others = [{k: v for k, v in o.items() if k not in ("a", "b")} for o in objects]
    assert [row[2] and json.loads(row[2]) for row in read] == [o or None for o in others]


@settings(max_examples=50, deadline=None)
@given(st.lists(written(OBJECTS), max_size=5), st.integers(1, 50))
def test_all_readable_records_have_a_row_whatever_the_blocks(texts, block_bytes):
    content = "\n".join([*texts, "x", *texts, '{"a":', *texts]).encode()
    read = batches(content, ["a"], block_bytes)
    assert sum(batch.rows.num_rows for batch in read) == 3 * len(texts)
    assert sum(len(batch.broken) for batch in read) == 2
    numbers = sorted(n for b in read for n in [*b.numbers.tolist(), *(x.record_number for x in b.broken)])
    assert numbers == list(range(1, 3 * len(texts) + 3))


def test_two_broken_records_in_a_sound_looking_block_cost_themselves():
    read = batches(b'{"a":0}{"a":x}{"a":1}{"a":y}{"a":2}', ["a"])
    assert [value for batch in read for value in batch.rows["a"].to_pylist()] == ["0", "1", "2"]
    assert [b.record_number for batch in read for b in batch.broken] == [2, 4]


def test_what_only_one_of_the_grammars_takes_is_broken(monkeypatch):
    from clickstream_assets.parsing import json_records

    monkeypatch.setattr(json_records._Walk, "_valid", lambda self, start: self._buffer.index(b"}", start) + 1)
    [first, second] = batches(b'{"a":1}{"a":x}{"a":3}', ["a"])
    assert (first.rows["a"].to_pylist(), second.rows["a"].to_pylist()) == (["1"], ["3"])
    assert [(b.record_number, b.line, b.rule, b.text) for b in second.broken] == [(2, 1, "bad_json", '{"a":x}')]


# --- names and compression ---


def test_firehose_objects_have_any_name_and_csv_files_have_not():
    assert JSON.has("clickstream/year=2026/month=03/day=02/stream-1-2026-03-02-10-00-00-uuid")
    assert not CSV.has("a.json") and CSV.has("a.CSV.gz")


@pytest.mark.parametrize("name", ["x", "x.gz", "x.json"])
def test_compression_is_told_by_the_first_bytes(name):
    for raw in (b'{"a":1}', gzip.compress(b'{"a":1}'), gzip.compress(b'{"a"') + gzip.compress(b":1}")):
        stream = contents.text_of(io.BytesIO(raw), name, LIMITS, sniff=True)
        assert [b.rows["a"].to_pylist() for b in json_objects.read(stream, ["a"], LIMITS)] == [["1"]]
    assert contents.text_of(io.BytesIO(b""), name, LIMITS, sniff=True).read(10) == b""


def test_a_cut_gzip_stream_rejects_the_file():
    raw = gzip.compress(b'{"a":1}' * 1000)[:-20]
    with pytest.raises(RejectedFile, match="cut short"):
        list(json_objects.read(contents.text_of(io.BytesIO(raw), "x", LIMITS, sniff=True), ["a"], LIMITS))


def test_the_reader_is_the_formats():
    assert JSON.load() is json_objects.read
