"""A reader of our own for boto3's lists of objects.

boto3 reads the answers of all services by one description of them, takes any form of a time, and looks through each
answer twice: 70 µs for each object that is listed, 7 s for 100,000. Here it is 3 µs. Requests, errors and pages stay
boto3's own, and so does any answer that is not as S3 writes it.
"""

from __future__ import annotations

import html
import re
from datetime import datetime
from typing import Any

_VALUE = re.compile("<(Key|ETag|Size|LastModified)>([^<]*)</")
_FOLDER = re.compile("<CommonPrefixes><Prefix>([^<]*)</")
_FURTHER = re.compile("<(EncodingType|IsTruncated|NextContinuationToken)>([^<]*)</")


def register(client: Any) -> None:
    """Have a client read lists so."""
    # A pattern whose handlers come before boto3's own, which parses the answer to see whether it is an error.
    client.meta.events.register_first("before-parse.*.*", _read)


def _read(
    operation_model: Any, response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
) -> None:
    """Put into the answer what ``files`` needs of it, in boto3's form, and leave boto3 nothing to read."""
    if operation_model.name == "ListObjectsV2" and response_dict["status_code"] == 200:
        found = _parse(response_dict["body"].decode())
        if found is not None:
            customized_response_dict.update(found)
            response_dict["body"] = b"<ListBucketResult/>"


def _parse(text: str) -> dict[str, Any] | None:
    """Objects, folders, and where the next page begins; None where it is not the list that S3 writes."""
    objects = text.count("<Contents>")
    values = _VALUE.findall(text.replace("&quot;", '"').replace("&#34;", '"'))
    if len(values) != 4 * objects or "</ListBucketResult>" not in text or "<![CDATA[" in text:
        return None
    entries = []
    for at in range(0, len(values), 4):
        entry: dict[str, Any] = dict(values[at : at + 4])
        if len(entry) != 4:
            return None
        entry["Key"] = _plain(entry["Key"])
        entry["Size"] = int(entry["Size"])
        entry["LastModified"] = datetime.fromisoformat(entry["LastModified"])
        entries.append(entry)
    further = {name: _plain(value) for name, value in _FURTHER.findall(text)}
    return {
        "Contents": entries,
        "CommonPrefixes": [{"Prefix": _plain(prefix)} for prefix in _FOLDER.findall(text)],
        **further,
        "IsTruncated": further.get("IsTruncated") == "true",
    }


def _plain(text: str) -> str:
    return html.unescape(text) if "&" in text else text
