"""What a job needs, as files to upload: `make package`.

- ``clickstream-<hash>.zip``: what of this package runs in the job, and the pure Python libraries that it uses. The hash
  is that of the content, so that a step starts a job with its own code or not at all.
- ``clickstream_job.py``: the script.
- ``dependencies.tar.gz``: libraries with parts in C, and boto3, as they are installed here. Glue has them.

The same content gives the same bytes, on any machine.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import io
import platform
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

SCRIPT, DEPENDENCIES = "clickstream_job.py", "dependencies.tar.gz"

_PACKAGE = Path(__file__).resolve().parent.parent

#: what runs in the job, as patterns below the package
_OURS = (
    *("__init__.py", "errors.py", "faults.py", "grammars.py", "schemas.py", "settings.py"),
    *("ga4/__init__.py", "ga4/reports.py", "ga4/reports.yml", "transforms/*.py"),
    *(
        f"storage/{name}.py"
        for name in ("__init__", "commits", "files", "lake", "s3", "s3_lists", "shaping", "spark", "staged")
    ),
    *(f"spark_jobs/{name}.py" for name in ("__init__", "job", "wire")),
)

#: libraries of Python alone that neither service has
_PURE = ("crawler-user-agents", "dagster-pipes", "PyYAML")

#: what EMR Serverless has not, or has only for another Python
_INSTALLED = ("pyarrow", "boto3", "botocore", "s3transfer", "jmespath", "python-dateutil", "six", "urllib3")

#: what of a distribution no job uses
_LEFT_OUT = ("__pycache__", "tests", "include", "..")

#: the time that all files have
_EPOCH = (1980, 1, 1, 0, 0, 0)

#: what EMR Serverless runs, and the archive must be made with
_PYTHON, _MACHINE = (3, 11), ("Linux", "x86_64")


@cache
def archive() -> tuple[str, bytes]:
    """The name and the content of the zip."""
    found = {f"{_PACKAGE.name}/{path.relative_to(_PACKAGE).as_posix()}": path for path in _ours()}
    for name in _PURE:
        found |= {
            inside: path for inside, path in _files(name) if path.suffix in (".py", ".json") or "METADATA" in inside
        }
    content = io.BytesIO()
    # Not compressed: zlib's versions differ in what they write.
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as opened:
        for inside in sorted(found):
            opened.writestr(zipfile.ZipInfo(inside, _EPOCH), found[inside].read_bytes())
    return f"clickstream-{hashlib.sha256(content.getvalue()).hexdigest()[:12]}.zip", content.getvalue()


def build(folder: Path, *, distributions: Iterable[str] = _INSTALLED) -> list[Path]:
    """Write all files into a folder, where nothing else is left; ``distributions``: those of the archive."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("clickstream-*.zip"):
        old.unlink()
    name, content = archive()
    (folder / name).write_bytes(content)
    (folder / SCRIPT).write_bytes(Path(__file__).with_name("script.py").read_bytes())
    _pack(folder / DEPENDENCIES, distributions)
    return [folder / name, folder / SCRIPT, folder / DEPENDENCIES]


def _ours() -> list[Path]:
    return [path for pattern in _OURS for path in _PACKAGE.glob(pattern)]


def _files(distribution: str) -> list[tuple[str, Path]]:
    """The files of an installed distribution that a job may need, by where they are below ``site-packages``."""
    installed = importlib.metadata.files(distribution) or []
    return [
        (file.as_posix(), Path(str(file.locate())))
        for file in installed
        if not any(part in _LEFT_OUT for part in file.parts)
    ]


def _pack(path: Path, distributions: Iterable[str]) -> None:
    found = dict(file for distribution in distributions for file in _files(distribution))
    with (
        path.open("wb") as raw,
        # The least compression: most of it is machine code, and there are 200 MB.
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for inside in sorted(found):
            entry = tarfile.TarInfo(inside)
            entry.size = found[inside].stat().st_size
            entry.mode = 0o644
            with found[inside].open("rb") as content:
                tar.addfile(entry, content)


def main(folder: str) -> None:
    """Build, and print what to do with the files."""
    for path in build(Path(folder)):
        print(f"{path}  {path.stat().st_size / 1e6:,.1f} MB")
    print(
        "Upload them, and tell the pipeline where:\n"
        f"  aws s3 cp --recursive {folder} s3://BUCKET/jobs/\n"
        "  export CLICKSTREAM_SPARK_PACKAGE_URI=s3://BUCKET/jobs\n"
        "  export CLICKSTREAM_SPARK_JOBS=glue CLICKSTREAM_GLUE_JOB=NAME\n"
        "or\n"
        "  export CLICKSTREAM_SPARK_JOBS=emr-serverless CLICKSTREAM_EMR_APPLICATION_ID=ID\n"
        "  export CLICKSTREAM_EMR_ROLE_ARN=ARN\n"
        "What to create before is in docs/how-to/glue-emr.md."
    )
    if (sys.version_info[:2], (platform.system(), platform.machine())) != (_PYTHON, _MACHINE):
        print(
            f"{DEPENDENCIES} is not for EMR Serverless, which takes Python 3.11 on Linux, x86_64: make it there. Glue "
            "does not need it."
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
