"""The script that Glue or EMR Serverless starts. It stands alone: `make package` copies it beside the package.

The package is given as a zip of Python files. It is unpacked first, as some of its files are data.
"""

import os
import re
import sys
import tempfile
import zipfile


def unpack() -> None:
    """Put the package, and on EMR Serverless the archive of its dependencies, where Python looks first."""
    archive = next((path for path in sys.path if re.search(r"clickstream-[0-9a-f]{12}\.zip$", path)), None)
    if archive is None:
        raise SystemExit("The package clickstream-….zip was not given: start the job by the pipeline's step.")
    folder = tempfile.mkdtemp(prefix="clickstream-")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    sys.path.insert(0, folder)
    if os.path.isdir("dependencies"):
        sys.path.insert(0, os.path.abspath("dependencies"))


if __name__ == "__main__":
    unpack()
    from clickstream_assets.spark_jobs.job import main

    main()
