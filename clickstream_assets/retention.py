"""Landing files with personal data: how long they are kept. No Dagster here.

A file goes when its rows are in raw, where the personal data are not, and stay there without it. On AWS a lifecycle
rule of the bucket may do the same, but does not know what was loaded.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from clickstream_assets.storage import s3

if TYPE_CHECKING:
    from clickstream_assets.platform import Platform
    from clickstream_assets.storage.files import FileInfo, Files

#: the domains whose landing files hold personal data; each has a folder of its name in landing
PERSONAL = ("clickstream",)

_DAY = re.compile(r"/year=([0-9]{4})/month=([0-9]{2})/day=([0-9]{2})/")


@dataclass(frozen=True)
class Expired:
    """Files of a domain that arrived longer ago than they are kept, by the day on which they arrived.

    ``loaded``: their rows are in raw, or they were rejected, or are copies of such files; they are deleted.
    ``waiting``: files that were never loaded, or were replaced since; they stay. ``unfinished``: paths of
    files that no run loads, as their names say that they are not complete; they stay, too.
    """

    loaded: dict[date, list[FileInfo]]
    waiting: dict[date, list[FileInfo]]
    unfinished: list[str]


def expire(
    platform: Platform,
    domain: str,
    *,
    today: date,
    days: int,
    dry_run: bool = False,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Expired:
    """Delete the landing files of a domain that arrived more than ``days`` days before ``today``, unless ``dry_run``.

    ``progress`` is called after each file, with how many were deleted and how many are to be.

    Raises:
        Busy: a run of the domain is at work, which may be reading them.
    """
    if dry_run:
        return _expired(platform, domain, today - timedelta(days))
    with platform.exclusive(domain, "retention"):
        found = _expired(platform, domain, today - timedelta(days))
        every = [file for files in found.loaded.values() for file in files]
        for done, file in enumerate(every, start=1):
            platform.landing.delete(file.path)
            progress(done, len(every))
        _remove_empty(platform.landing, domain, found)
    return found


def _expired(platform: Platform, domain: str, oldest: date) -> Expired:
    from clickstream_assets.storage.files import is_hidden

    found = Expired({}, {}, [])
    known = {(file.path, file.size) for file in platform.warehouse.landing_files(domain)}
    for file in platform.landing.files(domain, hidden=True):
        day = _arrival(file.path)
        if day is None or day >= oldest:
            continue
        if (file.path, file.size) in known:
            found.loaded.setdefault(day, []).append(file)
        elif is_hidden(file.path, domain):
            found.unfinished.append(file.path)
        else:
            found.waiting.setdefault(day, []).append(file)
    return found


def _arrival(path: str) -> date | None:
    match = _DAY.search(path)
    try:
        return date(*map(int, match.groups())) if match else None
    except ValueError:
        return None


def _remove_empty(landing: Files, domain: str, found: Expired) -> None:
    """Remove the folders that were left empty; a bucket has none."""
    if s3.is_s3(landing.root):
        return
    folders = {folder for files in found.loaded.values() for file in files for folder in _folders(file.path, domain)}
    for folder in sorted(folders, key=len, reverse=True):  # a folder after those in it
        with contextlib.suppress(OSError):  # something is in it
            Path(landing.uri(folder)).rmdir()


def _folders(path: str, domain: str) -> Iterator[str]:
    """The folders of a file, less the domain's own."""
    return (
        str(folder) for folder in PurePosixPath(path).parents if folder.is_relative_to(domain) and len(folder.parts) > 1
    )
