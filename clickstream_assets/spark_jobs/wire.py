"""What a step tells a job, and what the job answers, as JSON: addresses, days and counts, never rows."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, cast

import pyarrow as pa

from clickstream_assets import schemas
from clickstream_assets.storage.lake import SnapshotFile
from clickstream_assets.storage.shaping import Cleaned, Work
from clickstream_assets.storage.staged import StagedFile

#: keys of what a job reports: a piece of work that is done, or why it could not go on
CLEANED, FAILED = "cleaned", "failed"


def request(lake: str, region: str | None, transform: str, work: Sequence[Work]) -> dict[str, Any]:
    """What a job is to do in the lake at this address; ``transform``: as ``module:name``."""
    return {"lake": lake, "region": region, "work": [_encoded(piece, transform) for piece in work]}


def work(told: Sequence[Mapping[str, Any]]) -> list[Work]:
    """The work of a request."""
    return [_decoded(piece) for piece in told]


def answer(cleaned: Cleaned) -> dict[str, Any]:
    """What became of a piece of work."""
    return {
        "files": [[file.path, file.rows, str(file.day)] for file in cleaned.files],
        "quarantine": [[file.path, file.rows, str(file.day)] for file in cleaned.quarantine],
        "duplicate": {str(day): count for day, count in cleaned.duplicate.items()},
    }


def cleaned(answered: Mapping[str, Any]) -> Cleaned:
    """The inverse of ``answer``."""

    def staged(files: Sequence[tuple[str, int, str]]) -> list[StagedFile]:
        return [StagedFile(path, rows, date.fromisoformat(day)) for path, rows, day in files]

    duplicate = {date.fromisoformat(day): count for day, count in answered["duplicate"].items()}
    return Cleaned(staged(answered["files"]), staged(answered["quarantine"]), duplicate)


def _encoded(piece: Work, transform: str) -> dict[str, Any]:
    return {
        "source": piece.source.name,
        "target": piece.target.name,
        "transform": transform,
        "run_id": piece.run_id,
        "days": [str(day) for day in piece.days],
        "files": [[file.uri, file.rows, str(file.day), file.hours] for file in piece.files],
        "rows_in": piece.rows_in,
        "hours": {str(day): list(hours) for day, hours in piece.hours.items()},
        "by_hour": [str(day) for day in piece.by_hour],
        "elsewhere": {str(day): ids.to_pylist() for day, ids in piece.elsewhere.items()},
    }


def _decoded(told: Mapping[str, Any]) -> Work:
    day = date.fromisoformat
    return Work(
        source=schemas.table(told["source"]),
        target=schemas.table(told["target"]),
        transform=cast("Any", pkgutil.resolve_name(told["transform"])),
        run_id=told["run_id"],
        days=[day(text) for text in told["days"]],
        files=[
            # Of the snapshot and the size nothing is asked where rows are cleaned.
            SnapshotFile(uri, rows, day(text), added=0, size=0, width=0, hours=tuple(hours) if hours else None)
            for uri, rows, text, hours in told["files"]
        ],
        rows_in=told["rows_in"],
        hours={day(text): hours for text, hours in told["hours"].items()},
        by_hour=[day(text) for text in told["by_hour"]],
        elsewhere={day(text): pa.array(ids, pa.string()) for text, ids in told["elsewhere"].items()},
    )
