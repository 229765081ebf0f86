"""A root of files, a folder or a bucket prefix, addressed by relative paths.

What touches landing or lake files directly goes through ``Files``; engines get ``uri(path)``.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import pyarrow as pa
import pyarrow.fs as pafs

from clickstream_assets.errors import ClickstreamError

#: a part of a path that some writer has not finished; looked for behind the prefix, 100,000 times in 0.05 s
_HIDDEN = re.compile(r"/[._]")


@dataclass(frozen=True)
class FileInfo:
    """One file: path relative to its root, size in bytes, modification time in nanoseconds since 1970 UTC."""

    path: str
    size: int
    modified_ns: int


class Files:
    """The files below one root."""

    def __init__(self, root: str):
        self.root = root.rstrip("/")

    @cached_property
    def _fs(self) -> pafs.FileSystem:
        Path(self.root).mkdir(parents=True, exist_ok=True)
        return pafs.SubTreeFileSystem(self.root, pafs.LocalFileSystem())

    def uri(self, path: str = "") -> str:
        """The address of a file that engines understand: an absolute path.

        Raises:
            ClickstreamError: the path would leave the root.
        """
        return f"{self.root}/{_inside(path)}" if path else self.root

    def relative(self, uri: str) -> str:
        """The inverse of ``uri``."""
        return uri.removeprefix(self.root + "/")

    def files(self, prefix: str, *, hidden: bool = False) -> list[FileInfo]:
        """All files below a prefix, sorted by path; none when the prefix does not exist.

        Names of files and folders that start with ``.`` or ``_`` are some writer's unfinished work, and left out unless
        ``hidden`` asks for them too.

        Raises:
            ClickstreamError: a name is not UTF-8, so that no table could hold it.
        """
        selector = pafs.FileSelector(_inside(prefix), recursive=True, allow_not_found=True)
        infos = self._fs.get_file_info(selector)
        found = [
            FileInfo(_path(info, self.root), info.size, info.mtime_ns)
            for info in infos
            if info.type == pafs.FileType.File
            and (hidden or not _HIDDEN.search(_path(info, self.root), len(prefix.rstrip("/"))))
        ]
        found.sort(key=lambda info: info.path)
        return found

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders directly below a prefix, sorted."""
        selector = pafs.FileSelector(_inside(prefix), recursive=False, allow_not_found=True)
        infos = self._fs.get_file_info(selector)
        return sorted(info.base_name for info in infos if info.type == pafs.FileType.Directory)

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        """A file's bytes as they are, to read."""
        with self._fs.open_input_stream(_inside(path), compression=None) as stream:
            yield stream

    @contextlib.contextmanager
    def open_random(self, path: str) -> Iterator[pa.NativeFile]:
        """A file to read in any order, e.g. a Parquet footer."""
        with self._fs.open_input_file(_inside(path)) as source:
            yield source

    def create(self, path: str) -> pa.NativeFile:
        """A new file to write; its folders are made. The caller closes it."""
        path = _inside(path)
        self._fs.create_dir(str(PurePosixPath(path).parent), recursive=True)
        return self._fs.open_output_stream(path, compression=None)

    def write(self, path: str, content: bytes) -> None:
        """Write a whole file so that a reader sees nothing or all of it."""
        hidden = str(PurePosixPath(path).with_name(f"_{uuid.uuid4().hex}"))
        with self.create(hidden) as stream:
            stream.write(content)
        self.move(hidden, path)

    def move(self, source: str, target: str) -> None:
        """Rename a file; the folders of the target are made."""
        target = _inside(target)
        self._fs.create_dir(str(PurePosixPath(target).parent), recursive=True)
        self._fs.move(_inside(source), target)

    def delete_folder(self, path: str) -> None:
        """Remove a folder and all below it, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.delete_dir(_inside(path))

    def delete(self, path: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.delete_file(_inside(path))


def _path(info: pafs.FileInfo, root: str) -> str:
    try:
        return str(info.path)
    except UnicodeDecodeError as error:
        name = bytes(error.object).decode(errors="backslashreplace")
        raise ClickstreamError(f"{root}/{name}: its name is not UTF-8; rename it.") from error


def _inside(path: str) -> str:
    if path.startswith("/") or "\0" in path or ".." in PurePosixPath(path).parts:
        raise ClickstreamError(f"{path!r} is not a path below the root: rename it.")
    return path
