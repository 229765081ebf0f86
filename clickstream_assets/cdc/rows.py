"""What the readers of change files have in common: the columns that they give, and the faults of single records."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clickstream_assets.parsing.formats import Batch, Broken
from clickstream_assets.parsing.payload import payload

CHANGE, LOAD = "change", "load"

#: operations: a row that came, that changed, that went, and one of a full load
INSERT, UPDATE, DELETE, LOADED = "I", "U", "D", "L"

#: digits of a sequence number here: more than any source has
SEQUENCE_DIGITS = 48

#: what a reader gives of a record; its place, its file and its table are added when it is loaded
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("kind", "op", "reason", "key", "old_key", "before", "after", "types")]
    + [("committed_at", pa.timestamp("us", tz="UTC")), ("sequence", pa.string())]
)

#: why a change is not taken, for the reference page; that it cannot be read at all is its format's to say
RULES = {
    "bad_op": "Its operation is none that there is: I, U, D; of DynamoDB INSERT, MODIFY, REMOVE, SCAN.",
    "missing_key": "It lacks a column of the primary key, or the key is empty.",
    "bad_sequence": "Its sequence number is not one of at most 48 digits.",
    "bad_commit_time": "Its commit time is not a time.",
    "bad_value": "An attribute is not what its type says, e.g. a number that is none.",
    "column_collision": "Two of its columns have the same name here, where only a-z, 0-9 and _ are kept apart.",
    "long_column": "The name of a column has more than 63 characters: declare a shorter one under `renames`.",
    "not_a_record": "It has no dynamodb part with the record's keys.",
    "bad_encoding": "A text of it has a NUL character.",
    "too_long": "It is longer than CLICKSTREAM_MAX_RECORD_BYTES.",
}


#: of each row, a place in its file
Places = npt.NDArray[np.int64]


def judged(batch: Batch, faults: pa.ChunkedArray, texts: pa.ChunkedArray) -> Batch:
    """The batch with those of its rows that have a fault among the broken records; ``texts``: of these, in order."""
    faulty = np.flatnonzero(np.asarray(faults.is_valid()))
    if not len(faulty):
        return batch
    lines, numbers = np.asarray(batch.lines), batch.numbers
    more = [
        Broken(int(numbers[i]), int(lines[i]), rule, payload((text or "").encode()))
        for i, rule, text in zip(faulty, faults.drop_null().to_pylist(), texts.to_pylist(), strict=True)
    ]
    sound = np.ones(batch.rows.num_rows, dtype=bool)
    sound[faulty] = False
    broken = sorted([*batch.broken, *more], key=lambda one: one.record_number)
    return Batch(batch.found, batch.rows.filter(pa.array(sound)), lines[sound], numbers[sound], broken)
