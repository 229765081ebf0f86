"""A root of files, a folder or a bucket prefix, addressed by relative paths.

What touches landing or lake files directly goes through ``Files``, which ``at`` gives for an address; engines get
``uri(path)``.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.fs as pafs

from clickstream_assets.errors import ClickstreamError
from clickstream_assets.storage import s3, s3_lists
from clickstream_assets.storage.s3 import S3

#: a part of a path that some writer has not finished; looked for behind the prefix, 100,000 times in 0.05 s
_HIDDEN = re.compile(r"/(?!\.{1,2}/)[._]")

#: bytes of an object that are asked for at once when it is read from its beginning
_READ_AHEAD = 8 * 1024 * 1024

#: lists of one bucket at the same time
_LISTS = 4


@dataclass(frozen=True)
class FileInfo:
    """One file: path relative to its root, size in bytes, modification time in nanoseconds since 1970 UTC.

    ``etag`` changes when the content does. A folder has nothing better than size and modification time.
    """

    path: str
    size: int
    modified_ns: int
    etag: str


def at(root: str) -> Files:
    """The files below a folder, or below ``s3://bucket/prefix``."""
    return S3Files(root) if s3.is_s3(root) else Files(root)


class Files:
    """The files below one folder."""

    def __init__(self, root: str):
        self.root = root.rstrip("/")

    @cached_property
    def _fs(self) -> pafs.FileSystem:
        return pafs.SubTreeFileSystem(self.root, pafs.LocalFileSystem())

    @property
    def iceberg(self) -> dict[str, str]:
        """Properties with which pyiceberg finds them: none for a folder."""
        return {}

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
        found = [info for info in self._below(_inside(prefix)) if hidden or not is_hidden(info.path, prefix)]
        found.sort(key=lambda info: info.path)
        return found

    def _below(self, prefix: str) -> Iterator[FileInfo]:
        selector = pafs.FileSelector(prefix, recursive=True, allow_not_found=True)
        for info in self._fs.get_file_info(selector):
            if info.type == pafs.FileType.File:
                size, modified_ns = info.size, info.mtime_ns
                yield FileInfo(_path(info, self.root), size, modified_ns, f"{size:x}-{modified_ns:x}")

    def version(self, info: FileInfo) -> str:
        """What is another one whenever the file has been written again, also by whoever kept its times (``cp -p``)."""
        return f"{info.etag}-{Path(self.uri(info.path)).stat().st_ctime_ns:x}"

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders directly below a prefix, sorted."""
        selector = pafs.FileSelector(_inside(prefix), recursive=False, allow_not_found=True)
        infos = self._fs.get_file_info(selector)
        return sorted(info.base_name for info in infos if info.type == pafs.FileType.Directory)

    def open(self, path: str) -> AbstractContextManager[BinaryIO]:
        """A file's bytes as they are, to read."""
        stream: AbstractContextManager[BinaryIO] = self._fs.open_input_stream(_inside(path), compression=None)
        return stream

    def open_random(self, path: str) -> AbstractContextManager[pa.NativeFile]:
        """A file to read in any order, e.g. a Parquet footer."""
        source: AbstractContextManager[pa.NativeFile] = self._fs.open_input_file(_inside(path))
        return source

    def create(self, path: str, *, media_type: str | None = None) -> pa.NativeFile:
        """A new file to write; its folders are made. The caller closes it.

        ``media_type``: what a bucket tells browsers that the file is.
        """
        path = _inside(path)
        self._make_folder(path)
        metadata = {"Content-Type": media_type} if media_type else None
        return self._fs.open_output_stream(path, compression=None, metadata=metadata)

    def _make_folder(self, path: str) -> None:
        self._fs.create_dir(str(PurePosixPath(path).parent), recursive=True)

    def write(self, path: str, content: bytes, *, media_type: str | None = None) -> None:
        """Write a whole file so that a reader sees nothing or all of it."""
        hidden = str(PurePosixPath(path).with_name(f"_{uuid.uuid4().hex}"))
        with self.create(hidden, media_type=media_type) as stream:
            stream.write(content)
        self.move(hidden, path)

    def read(self, path: str) -> bytes | None:
        """A whole file; None when it is not there."""
        if self._fs.get_file_info(_inside(path)).type == pafs.FileType.NotFound:
            return None
        with self.open(path) as stream:
            return stream.read()

    def move(self, source: str, target: str) -> None:
        """Rename a file; the folders of the target are made."""
        target = _inside(target)
        self._make_folder(target)
        self._fs.move(_inside(source), target)

    def delete_folder(self, path: str) -> None:
        """Remove a folder and all below it, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.delete_dir(_inside(path))

    def delete(self, path: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.delete_file(_inside(path))


class S3Files(Files):
    """The objects below ``s3://bucket/prefix``, at the endpoint and with the credentials of the ``AWS_*`` variables.

    Arrow reads and writes them: its requests are tried again when they are throttled, large files go up in parts, and
    an object is there when its stream is closed. boto3 lists them, since Arrow does not tell the ETag.
    """

    #: objects of a page, of which S3 has this many at most
    _PAGE = 1000

    def __init__(self, root: str):
        super().__init__(root)
        self._bucket, _, prefix = self.root.removeprefix("s3://").partition("/")
        self._start = f"{prefix}/" if prefix else ""

    @cached_property
    def _fs(self) -> pafs.FileSystem:
        return pafs.SubTreeFileSystem(self.root.removeprefix("s3://"), self._s3.arrow())

    @cached_property
    def _s3(self) -> S3:
        return S3.find()

    @cached_property
    def _client(self) -> Any:
        client = s3.client()
        s3_lists.register(client)
        return client

    @property
    def iceberg(self) -> dict[str, str]:
        """Properties with which pyiceberg finds them."""
        return self._s3.iceberg

    def delete(self, path: str) -> None:
        """Remove an object, if it is there. Arrow would leave an empty one in its folder's place."""
        self._client.delete_object(Bucket=self._bucket, Key=self._start + _inside(path))

    def version(self, info: FileInfo) -> str:
        """The ETag, to which nothing is to be added."""
        return info.etag

    def open(self, path: str) -> AbstractContextManager[BinaryIO]:
        """A file's bytes as they are, to read.

        Raises:
            ClickstreamError: it is not there, or not to be had.
        """
        with self._told(path):
            # Python's gzip asks for 8 kB at a time, each of which would be a request.
            stream = self._fs.open_input_stream(_inside(path), compression=None, buffer_size=_READ_AHEAD)
        return cast("AbstractContextManager[BinaryIO]", _Download(stream, partial(self._told, path)))

    def open_random(self, path: str) -> AbstractContextManager[pa.NativeFile]:
        """A file to read in any order, e.g. a Parquet footer.

        Raises:
            ClickstreamError: it is not there, or not to be had.
        """
        with self._told(path):
            return super().open_random(path)

    @contextlib.contextmanager
    def _told(self, path: str) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            said = str(error).rstrip(".")
            raise ClickstreamError(f"{self.root}/{path} cannot be read: {said}. Run again when it can.") from error

    def folders(self, prefix: str) -> list[str]:
        """Names that keys have between the prefix and the next ``/``, sorted."""
        below = f"{self._start}{_inside(prefix)}/"
        pages = self._pages(Prefix=below, Delimiter="/")
        found = (entry["Prefix"] for page in pages for entry in page["CommonPrefixes"])
        return sorted(key[len(below) : -1] for key in found)

    def _below(self, prefix: str) -> Iterator[FileInfo]:
        for entry in self._objects(f"{self._start}{prefix}/" if prefix else self._start):
            key = entry["Key"][len(self._start) :]
            if not key.endswith("/"):  # what consoles make to show an empty folder
                modified_ns = int(entry["LastModified"].timestamp() * 1000) * 1_000_000
                # The ETag is the content's hash: that of a content that comes back is not new.
                etag = f"{entry['ETag'].strip(chr(34))}-{modified_ns:x}"
                yield FileInfo(key, entry["Size"], modified_ns, etag)

    def _objects(self, below: str) -> Iterator[dict[str, Any]]:
        """All objects below a prefix, in any order: where they are more than a page, several lists at once.

        A page of 1,000 takes S3 about 0.1 s, and tells where the next one begins.
        """
        first = next(self._pages(Prefix=below))
        if not first["IsTruncated"]:
            yield from first["Contents"]
            return
        beside, parts = self._split(below)
        yield from beside
        with ThreadPoolExecutor(_LISTS) as threads:
            for pages in threads.map(lambda part: list(self._pages(Prefix=part)), parts):
                for page in pages:
                    yield from page["Contents"]

    def _split(self, below: str) -> tuple[list[dict[str, Any]], list[str]]:
        """Prefixes to be listed at once, and the objects that are beside their folders: all that is below, together.

        Folders that begin alike are one prefix, so that few requests are added, which are paid.
        """
        beside: list[dict[str, Any]] = []
        folders = [below]
        while folders and len(folders) < _LISTS:
            deeper = []
            for folder in folders:
                for page in self._pages(Prefix=folder, Delimiter="/"):
                    beside += page["Contents"]
                    deeper += [entry["Prefix"] for entry in page["CommonPrefixes"]]
            folders = deeper
        length = max(map(len, folders), default=0)
        while len(parts := {folder[:length] for folder in folders}) > 4 * _LISTS:
            length -= 1
        # A prefix that is no whole folder has what is beside the folders, too, where that begins alike.
        return [entry for entry in beside if not entry["Key"].startswith(tuple(parts))], sorted(parts)

    def _pages(self, **arguments: str) -> Iterator[Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, PaginationConfig={"PageSize": self._PAGE}, **arguments
        )
        try:
            yield from pages
        except (ClientError, BotoCoreError) as error:
            raise ClickstreamError(f"{self.root} cannot be listed: {error}") from error

    def _make_folder(self, path: str) -> None:
        """Nothing: a bucket has no folders."""


class _Download:
    """An object that is being read: when that breaks off for good, Arrow's error does not say which it was."""

    def __init__(self, stream: pa.NativeFile, told: Callable[[], AbstractContextManager[None]]):
        self._stream = stream
        self._told = told

    def __enter__(self) -> _Download:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def read(self, size: int = -1) -> bytes:
        with self._told():
            content: bytes = self._stream.read(None if size < 0 else size)
            return content


def _path(info: pafs.FileInfo, root: str) -> str:
    try:
        return str(info.path)
    except UnicodeDecodeError as error:
        name = bytes(error.object).decode(errors="backslashreplace")
        raise ClickstreamError(f"{root}/{name}: its name is not UTF-8; rename it.") from error


def is_hidden(path: str, prefix: str) -> bool:
    """Whether a part of a path below the prefix starts with ``.`` or ``_``: some writer's unfinished work."""
    return _HIDDEN.search(path, len(prefix.rstrip("/"))) is not None


def misnamed(path: str) -> str | None:
    """Why a file cannot be opened under the name that a listing gave; None when it can.

    A bucket takes any key, and what is a path to every other store is not one that can be followed.
    """
    if {"", ".", ".."} & set(path.split("/")):
        return "its name has an empty part, . or .. between slashes: rename it"
    return None


def _inside(path: str) -> str:
    if path.startswith("/") or "\0" in path or ".." in PurePosixPath(path).parts:
        raise ClickstreamError(f"{path!r} is not a path below the root: rename it.")
    return path
