"""The key by which persons become pseudonyms: from the settings, or a file that is made once in the home folder.

Whoever has the key can find out whether a given address is behind a pseudonym. So it is in no table, log or message.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import uuid
from collections.abc import Callable
from pathlib import Path

from clickstream_assets.errors import ClickstreamError
from clickstream_assets.settings import PII_KEY_BYTES, Settings


def find(settings: Settings, *, in_use: Callable[[], bool]) -> bytes:
    """The key; ``in_use``: whether there are pseudonyms already, so that a new one would tear visitors in two.

    Raises:
        ClickstreamError: there is none, or it is damaged.
    """
    if settings.pii_key is not None:
        return settings.pii_key
    path = settings.home / "pii.key"
    with contextlib.suppress(FileNotFoundError):
        return _read(path)
    if in_use():
        raise ClickstreamError(
            f"{path} is gone, and the tables have pseudonyms that were made with it: put it back, or give the key in "
            "CLICKSTREAM_PII_KEY. With another key every visitor would be a new one."
        )
    _make(path)
    return _read(path)


def _read(path: Path) -> bytes:
    key = path.read_bytes().strip()
    if len(key) < PII_KEY_BYTES:
        raise ClickstreamError(f"{path} is damaged: it has {len(key)} bytes instead of {PII_KEY_BYTES} or more.")
    return key


def _make(path: Path) -> None:
    """Whole or not at all, for its owner alone; another process may be doing the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_hex(PII_KEY_BYTES).encode())
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):
        os.link(temporary, path)
    temporary.unlink()
