"""Clickstream events: what a reader gives of them as columns of their raw table, without the persons behind them."""

from __future__ import annotations

import hmac
import threading
from datetime import date
from typing import TYPE_CHECKING

from clickstream_assets import privacy
from clickstream_assets.parsing.formats import Batch

if TYPE_CHECKING:
    from clickstream_assets.platform import Platform

#: counted up when the same record would give another row: files are read again then
_VERSION = 1


class Events:
    """The shape of events; see ``formats.Shape``."""

    def __init__(self, key: bytes, start_date: date):
        self._key = key
        self._start_date = start_date
        self._pseudonyms = privacy.Pseudonyms(key)
        self._of_thread = threading.local()
        self.identity = f"{_VERSION} {self._pseudonyms.key_id} {start_date}"

    def __call__(self, batch: Batch, day: date) -> Batch:
        """The batch without e-mail and IP addresses."""
        if not hasattr(self._of_thread, "shaper"):
            self._of_thread.shaper = privacy.shaper(self._pseudonyms, self._start_date)
        shaped: Batch = self._of_thread.shaper(batch, day)
        return shaped

    def seal(self, content_hash: str) -> str:
        """Keyed: a file may hold one event, of which everything but the IP address can be read in raw."""
        return hmac.digest(self._key, b"content|" + content_hash.encode(), "sha256").hex()


def shape(platform: Platform) -> Events:
    """As the platform's settings have it.

    Raises:
        ClickstreamError: there is no key.
    """
    return Events(platform.pii_key, platform.settings.start_date)
