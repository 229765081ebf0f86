"""WebHDFS in front of a bucket: how a Spark from PyPI, which has no S3 client, reads and writes ``s3://`` all the same.

The bucket is the real S3 server's, so that what the job writes is where its own code and the step look for it. Spark is
told to take ``s3://`` for a file system that is mounted on this one: see ``spark_settings``. The operations are those
of https://hadoop.apache.org/docs/stable/hadoop-project-dist/hadoop-hdfs/WebHDFS.html that Spark asks for.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from clickstream_assets_tests.servers import S3Server

_ROOT = "/webhdfs/v1/"


class Gateway(ThreadingHTTPServer):
    """The server; ``folders``: those that were made and have nothing in them, which a bucket does not know."""

    daemon_threads = True

    def __init__(self, s3: S3Server):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.s3 = s3.client
        self.bucket = s3.bucket
        self.folders: set[str] = set()

    @property
    def spark_settings(self) -> dict[str, str]:
        """What makes the folders that ``s3://<bucket>`` has now this server's, for Spark's file systems."""
        classes = (
            "org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme",
            "org.apache.hadoop.hdfs.web.WebHdfsFileSystem",
        )
        mount, here = f"spark.hadoop.fs.viewfs.mounttable.{self.bucket}.link", f"webhdfs://127.0.0.1:{self.server_port}"
        found = self.s3.list_objects_v2(Bucket=self.bucket, Delimiter="/")["CommonPrefixes"]
        return {
            "spark.hadoop.fs.s3.impl": classes[0],
            "spark.hadoop.fs.viewfs.overload.scheme.target.webhdfs.impl": classes[1],
            **{f"{mount}./{entry['Prefix'].strip('/')}": f"{here}/{entry['Prefix'].strip('/')}" for entry in found},
        }

    def below(self, key: str) -> list[dict[str, Any]]:
        """The objects below a folder."""
        prefix = f"{key}/" if key else ""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [entry for page in pages for entry in page.get("Contents", ())]

    def status(self, key: str) -> dict[str, Any] | None:
        """A file's or a folder's, as WebHDFS describes it; None when there is neither."""
        from botocore.exceptions import ClientError

        if key:
            with contextlib.suppress(ClientError):
                found = self.s3.head_object(Bucket=self.bucket, Key=key)
                return _status("FILE", found["ContentLength"], found["LastModified"].timestamp())
        if not key or key in self.folders or self.below(key):
            return _status("DIRECTORY", 0, 0)
        return None

    def children(self, key: str) -> list[dict[str, Any]]:
        """The statuses of what is directly below a folder; of the file itself where it is one."""
        own = self.status(key)
        if own and own["type"] == "FILE":
            return [own]
        start = f"{key}/" if key else ""
        found = {}
        for entry in self.below(key):
            name, _, rest = entry["Key"][len(start) :].partition("/")
            stamp = entry["LastModified"].timestamp()
            found[name] = _status("DIRECTORY", 0, 0) if rest else _status("FILE", entry["Size"], stamp)
        for folder in self.folders:
            name = folder.removeprefix(start)
            if folder.startswith(start) and name and "/" not in name:
                found.setdefault(name, _status("DIRECTORY", 0, 0))
        return [{**status, "pathSuffix": name} for name, status in sorted(found.items())]

    def make(self, key: str) -> None:
        """A folder, and those above it."""
        parts = key.split("/")
        self.folders |= {"/".join(parts[:count]) for count in range(1, len(parts) + 1)}

    def rename(self, source: str, target: str) -> bool:
        """Of a file or a folder, which goes into the target where that is a folder already, as in HDFS."""
        own, there = self.status(source), self.status(target)
        if own is None:
            return False
        if there and there["type"] == "DIRECTORY":
            target = f"{target}/{source.rpartition('/')[2]}"
        keys = [source] if own["type"] == "FILE" else [entry["Key"] for entry in self.below(source)]
        for key in keys:
            new = target + key[len(source) :]
            self.s3.copy_object(Bucket=self.bucket, Key=new, CopySource={"Bucket": self.bucket, "Key": key})
            self.s3.delete_object(Bucket=self.bucket, Key=key)
        moved = {folder for folder in self.folders if folder == source or folder.startswith(f"{source}/")}
        self.folders -= moved
        for folder in moved:
            self.make(target + folder[len(source) :])
        return True

    def delete(self, key: str) -> bool:
        """Of a file or a folder with all below it."""
        there = self.status(key) is not None
        for name in (key, *(entry["Key"] for entry in self.below(key))):
            self.s3.delete_object(Bucket=self.bucket, Key=name)
        self.folders = {folder for folder in self.folders if folder != key and not folder.startswith(f"{key}/")}
        return there


@contextlib.contextmanager
def gateway(s3: S3Server) -> Iterator[Gateway]:
    """A server for as long as the block runs."""
    server = Gateway(s3)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def _status(kind: str, length: int, modified: float) -> dict[str, Any]:
    stamp = int(modified * 1000)
    return {
        "pathSuffix": "", "type": kind, "length": length, "modificationTime": stamp, "accessTime": stamp,
        "blockSize": 128 << 20, "replication": 1, "owner": "spark", "group": "spark", "permission": "755",
        "childrenNum": 0, "fileId": 0, "storagePolicy": 0,
    }  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gateway

    def log_message(self, *_: Any) -> None:
        pass

    def _asked(self) -> tuple[str, str, dict[str, str]]:
        parts = urlsplit(self.path)
        options = dict(parse_qsl(parts.query))
        return unquote(parts.path).removeprefix(_ROOT).strip("/"), options["op"].upper(), options

    def _answer(self, body: dict[str, Any] | bytes = b"", status: int = 200, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        # No Content-Type: Hadoop's client would look at it by a library that PySpark does not come with.
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, status: int, kind: str, message: str) -> None:
        if status == 400:
            print(message, file=sys.stderr)  # Spark would say something else
        told = {"exception": kind.rpartition(".")[2], "javaClassName": kind, "message": message}
        self._answer({"RemoteException": told}, status)

    def _missing(self, key: str) -> None:
        self._refuse(404, "java.io.FileNotFoundException", f"File does not exist: /{key}")

    def _redirected(self, options: dict[str, str]) -> bool:
        """Data goes to another address, which is this one again."""
        if "redirected" in options:
            return True
        address = f"http://127.0.0.1:{self.server.server_port}{self.path}&redirected=1"
        self._answer(status=307, Location=address)
        return False

    def do_GET(self) -> None:
        key, operation, options = self._asked()
        server = self.server
        if operation == "GETHOMEDIRECTORY":
            self._answer({"Path": "/user/spark"})
        elif operation == "GETFILEBLOCKLOCATIONS":
            self._answer({"BlockLocations": {"BlockLocation": []}})
        elif operation == "GET_BLOCK_LOCATIONS":  # the same, as Hadoop 3.3 asks for it
            nowhere = {"locatedBlocks": [], "lastLocatedBlock": None, "isLastBlockComplete": True}
            length = (server.status(key) or {"length": 0})["length"]
            self._answer({"LocatedBlocks": {"fileLength": length, "isUnderConstruction": False, **nowhere}})
        elif operation in ("GETFILESTATUS", "LISTSTATUS", "LISTSTATUS_BATCH"):
            if (status := server.status(key)) is None:
                self._missing(key)
            elif operation == "GETFILESTATUS":
                self._answer({"FileStatus": status})
            else:
                listed = {"FileStatuses": {"FileStatus": server.children(key)}}
                batch = {"DirectoryListing": {"partialListing": listed, "remainingEntries": 0}}
                self._answer(batch if operation.endswith("BATCH") else listed)
        elif operation == "OPEN":
            if (status := server.status(key)) is None:
                self._missing(key)
            elif self._redirected(options):
                first = int(options.get("offset", 0))
                last = (
                    min(first + int(options["length"]), status["length"]) if "length" in options else status["length"]
                )
                if first >= last:
                    self._answer(b"")
                    return
                found = server.s3.get_object(Bucket=server.bucket, Key=key, Range=f"bytes={first}-{last - 1}")
                self._answer(found["Body"].read())
        else:
            self._refuse(400, "java.lang.UnsupportedOperationException", f"{operation} is not supported")

    def do_PUT(self) -> None:
        key, operation, options = self._asked()
        server = self.server
        if operation == "CREATE":
            if self._redirected(options):
                server.s3.put_object(Bucket=server.bucket, Key=key, Body=self._body())
                self._answer(status=201, Location=f"webhdfs://127.0.0.1:{server.server_port}/{key}")
            return
        self._body()
        if operation == "MKDIRS":
            server.make(key)
            self._answer({"boolean": True})
        elif operation == "RENAME":
            self._answer({"boolean": server.rename(key, options["destination"].strip("/"))})
        elif operation in ("SETPERMISSION", "SETTIMES", "SETOWNER"):
            self._answer()
        else:
            self._refuse(400, "java.lang.UnsupportedOperationException", f"{operation} is not supported")

    def do_DELETE(self) -> None:
        key, _, _ = self._asked()
        self._answer({"boolean": self.server.delete(key)})

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = bytearray()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return bytes(content)
