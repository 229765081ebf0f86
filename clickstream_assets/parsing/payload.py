"""What of a broken record goes to quarantine, the same for every format."""

from __future__ import annotations

from clickstream_assets.schemas import TEXT_BYTES

#: how much of a broken record goes to quarantine: a byte that is not text is written with four characters there
PAYLOAD_BYTES = TEXT_BYTES // 4


def payload(record: bytes) -> str:
    """The beginning of a record as text that every warehouse stores."""
    return record[:PAYLOAD_BYTES].rstrip(b"\r\n").decode(errors="backslashreplace").replace("\0", "\\x00")
