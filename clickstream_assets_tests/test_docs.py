"""What the documentation says: its commands run, print what it shows, and its links lead somewhere.

Every ``sh`` block of a page is run, in order, by one bash in a folder of its own; ``sql`` and ``python`` blocks in
their place among them. What a command prints is compared with the block that follows it. A block that cannot run is
listed in ``NOT_RUN`` with the reason and what covers it instead; its commands have to exist all the same.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from clickstream_assets import cli
from clickstream_assets_tests.command_server import CLIENT

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "queries/*.md", "benchmarks/README.md")
    for path in ROOT.glob(pattern)
)


@dataclass(frozen=True)
class Block:
    """A fenced block. ``line``: where it begins; ``prints``: the block without a language right behind it."""

    page: str
    language: str
    text: str
    line: int
    prints: str | None = None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def _blocks(page: str) -> Iterator[Block]:
    lines = (ROOT / page).read_text().split("\n")
    found: list[Block] = []
    number = behind = 0
    while number < len(lines):
        if fence := re.fullmatch(r"```(\w*)", lines[number]):
            end = lines.index("```", number + 1)
            text = "".join(f"{line}\n" for line in lines[number + 1 : end])
            if not fence[1] and found and not "".join(lines[behind:number]):
                found[-1] = Block(page, found[-1].language, found[-1].text, found[-1].line, text)
            else:
                found.append(Block(page, fence[1], text, number + 1))
            number = behind = end + 1
        else:
            number += 1
    yield from found


BLOCKS = [block for page in PAGES for block in _blocks(page)]


@dataclass(frozen=True)
class NotRun:
    """Blocks of a page that begin so; why they are not run, and what covers them instead."""

    page: str
    begins: str
    why: str

    def covers(self, block: Block) -> bool:
        return block.page == self.page and block.text.startswith(self.begins)


NOT_RUN = (
    NotRun("README.md", "make demo", "runs in test_installed; the UI never ends, test_daemon starts its daemon"),
    NotRun("CONTRIBUTING.md", "make test", "the suite itself, and what CI runs"),
    NotRun(
        "docs/how-to/aws.md", "", "an AWS account: test_aws_docs reads all of it, test_aws runs the graph on servers"
    ),
    NotRun("docs/how-to/scale-out.md", "export SPARK_HOME", "five JVMs: campaign_cluster starts them in make soak"),
    NotRun(
        "docs/how-to/glue-emr.md", "", "an AWS account: test_aws_docs reads it, spark_jobs/test_jobs runs such jobs"
    ),
    NotRun("docs/operations.md", "account=", "SQS: test_notifications asks a server of it"),
    NotRun("docs/operations.md", "gcloud", "a Google account"),
    NotRun("docs/operations.md", "export GA4_PROPERTY_ID", "a GA4 property: ga4/test_runs asks a server that is one"),
    NotRun("docs/operations.md", "clickstream run ga4", "half a year of a GA4 property; docs/sources.md runs days"),
    NotRun("docs/sources.md", "export CLICKSTREAM_HOME", "a GA4 property: ga4/test_runs asks a server that is one"),
    NotRun("docs/bi.md", "create group", "rights of Redshift: test_bi gives them on a database that speaks as it does"),
    NotRun("docs/cdc.md", "aws dynamodb", "a DynamoDB table: cdc/test_stream reads a server's"),
    NotRun(
        "docs/cdc.md", "SELECT * FROM cdc.subscriptions FOR TIMESTAMP", "SQL of Athena; the Python block travels too"
    ),
)

#: what a block prints that is other each time, by page and the first words of it
VARIES = (
    ("docs/cdc.md", "  status   orders   amount"),  # of generated rows
    ("docs/cdc.md", "             committed_at"),  # times and ids
)

#: files that a page takes for granted
GIVEN = {
    "README.md": {
        "my-export.csv": "userid,sessionid,timestamp,eventtype,productid,amount,outcome,coupon\n"
        "u1,1,2024-07-01 10:00:00,product_view,p1,,,\nu1,1,2024-07-01 10:01:00,purchase,p1,9.90,success,spring\n"
    }
}

#: pages that are read after others, in the same folder
TOGETHER = {"docs/sources.md": ("docs/operations.md", "docs/bi.md", "queries/README.md")}

#: pages that change the project: a copy of it
CHANGE = ("docs/how-to/add-a-rule.md", "docs/how-to/add-a-source.md")

#: of bash; what make would install is there, and targets that only call others are these
_BEGIN = """
set -eo pipefail
make() {
  case $1 in
    .venv/.installed) ;;
    dashboards) clickstream dashboards ;;
    docs) python -m clickstream_assets.reference ;;
    *) echo "make $1: test_docs does not know it" >&2; return 1 ;;
  esac
}
"""


def runs(block: Block) -> bool:
    """Whether a block is run: shell, SQL and Python are, and what a page that changes the project changes."""
    languages = ("sh", "sql", "python") + (("diff", "yaml") if block.page in CHANGE else ())
    return block.language in languages and not any(one.covers(block) for one in NOT_RUN)


def script(pages: Sequence[str]) -> str:
    """All that is run of these pages; each block prints into a file that is named by its page and line."""
    parts = [_BEGIN]
    for block in (block for page in pages for block in BLOCKS if block.page == page and runs(block)):
        text, place = block.text, re.match(r"(?:#|--) (\S+/\S+\.\w+)\n", block.text)
        if block.language == "diff":
            text = f"git apply <<'END-OF-BLOCK'\n{text}END-OF-BLOCK\n"
        elif place and block.language != "sh":
            text = f"mkdir -p $(dirname {place[1]})\ncat > {place[1]} <<'END-OF-BLOCK'\n{text}END-OF-BLOCK\n"
        elif block.language == "sql":
            text = f"clickstream query --file - <<'END-OF-BLOCK'\n{text}END-OF-BLOCK\n"
        elif block.language == "python":
            text = f"python - <<'END-OF-BLOCK'\n{text}END-OF-BLOCK\n"
        parts.append(f"echo {block} > $RECORD/at\nexec > $RECORD/{_named(block)}\n{text}")
    return "\n".join(parts)


def _named(block: Block) -> str:
    return f"{block.page.replace('/', '_')}_{block.line}"


@dataclass(frozen=True)
class Ran:
    """How a page's blocks ended, and what they printed, by file. ``at``: the last one that was begun."""

    code: int
    at: str
    errors: str
    folder: Path

    def printed(self, block: Block) -> str:
        path = self.folder / _named(block)
        return path.read_text() if path.exists() else f"not run: {self.at}"


def _run(pages: Sequence[str], folder: Path, server: Path) -> Ran:
    record, work, bin_folder = folder / "record", folder / "work", folder / "bin"
    for made in (record, work, bin_folder, folder / "home"):
        made.mkdir(parents=True)
    changes = pages[0] in CHANGE
    if changes:
        for part in ("clickstream_assets", "dbt_project"):
            shutil.copytree(ROOT / part, work / part, ignore=shutil.ignore_patterns("logs", "parsing-*", "*.pyc.*"))
        command = f"{sys.executable} -c 'from clickstream_assets.cli import main; main()'"
    else:
        (folder / "client.py").write_text(CLIENT)
        command = f"{sys.executable} -I -S {folder / 'client.py'} {server}"
        for part in ("queries", "docs"):
            (work / part).symlink_to(ROOT / part)
    (bin_folder / "clickstream").write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    (bin_folder / "clickstream").chmod(0o755)
    for opener in ("xdg-open", "open"):  # what shows a page has nobody to show it to
        (bin_folder / opener).write_text("#!/bin/sh\n")
        (bin_folder / opener).chmod(0o755)
    (work / ".venv" / "bin").mkdir(parents=True)
    (work / ".venv" / "bin" / "activate").touch()
    for page in pages:
        for name, content in GIVEN.get(page, {}).items():
            (work / name).write_text(content)
    environment = {
        "PATH": f"{bin_folder}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder / "home"),
        "PYTHONPATH": str(work if changes else ROOT),
        "GIT_CEILING_DIRECTORIES": str(folder),
        "BROWSER": "true",
        "LANG": "C.UTF-8",
        "RECORD": str(record),
    }
    done = subprocess.run(
        ["bash"], input=script(pages), cwd=work, env=environment, capture_output=True, text=True, timeout=600
    )
    return Ran(done.returncode, (record / "at").read_text(), done.stdout[-2000:] + done.stderr[-4000:], record)


@pytest.fixture(scope="module")
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Ran]]]:
    """The pages that are tested, two at a time."""
    asked = {_page(item) for item in request.session.items if item.path == Path(__file__)}
    folder = tmp_path_factory.mktemp("docs")
    with tempfile.TemporaryDirectory() as short, (folder / "server.log").open("wb") as log:
        address = Path(short) / "commands"  # a socket's name is no longer than 107 bytes
        module = [sys.executable, "-m", "clickstream_assets_tests.command_server", str(address)]
        with subprocess.Popen(module, stdout=log, stderr=log, cwd=ROOT) as server:
            try:
                with ThreadPoolExecutor(2) as pool:
                    later = {page for pages in TOGETHER.values() for page in pages}
                    futures: dict[str, Future[Ran]] = {}
                    # The longest first, but those that change the project need no server, which takes its time.
                    pages = {block.page for block in BLOCKS if runs(block)} - later
                    pages = {page for page in pages if asked & {page, *TOGETHER.get(page, ())}}
                    for page in sorted(pages, key=lambda page: (page not in CHANGE, -len(script([page])))):
                        group = (page, *TOGETHER.get(page, ()))
                        if page not in CHANGE:
                            _wait_for(address, server)
                        future = pool.submit(_run, group, folder / page.replace("/", "_"), address)
                        futures |= dict.fromkeys(group, future)
                    yield futures
            finally:
                server.terminate()


def _page(item: pytest.Item) -> str | None:
    """The page that an item is about."""
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    block = parameters.get("block")
    return block.page if isinstance(block, Block) else parameters.get("page")


def _wait_for(address: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not address.exists():
        assert server.poll() is None and time.monotonic() < deadline, "the server of commands did not start"
        time.sleep(0.05)


@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS if runs(block)}))
def test_the_commands_of_a_page_run(page: str, ran: dict[str, Future[Ran]]) -> None:
    result = ran[page].result()
    assert result.code == 0, f"{result.at}{result.errors}"


@pytest.mark.parametrize("block", [block for block in BLOCKS if runs(block) and block.prints], ids=str)
def test_a_block_prints_what_the_page_shows(block: Block, ran: dict[str, Future[Ran]]) -> None:
    assert block.prints
    printed = ran[block.page].result().printed(block)
    if any(block.page == page and block.prints.startswith(begins) for page, begins in VARIES):
        assert printed.split()[:3] == block.prints.split()[:3]
    else:
        assert _lines(printed) == _lines(block.prints)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.split("\n") if line.strip()]


def test_what_is_not_run_is_there() -> None:
    stale = [one for one in NOT_RUN if not any(one.covers(block) for block in BLOCKS)]
    assert stale == []
    assert [v for v in VARIES if not any(b.page == v[0] and (b.prints or "").startswith(v[1]) for b in BLOCKS)] == []


SHELL = [block for block in BLOCKS if block.language == "sh"]


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_the_shell_can_read_a_block(block: Block) -> None:
    checked = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_blocks_of_commands_are_marked_as_such() -> None:
    """``bash``, ``console`` or ``shell`` would not be run."""
    known = {"sh", "sql", "python", "yaml", "json", "diff", ""}
    assert [str(block) for block in BLOCKS if block.language not in known] == []
    plain = [block for block in BLOCKS if not block.language and block.page != "docs/reference.md"]
    assert [str(block) for block in plain if re.match(r"clickstream [a-z]|make [a-z]|\$ ", block.text)] == []


def _mentioned(page: str) -> Iterator[str]:
    """The commands of ``clickstream`` that a page has in blocks that are not run, and within its sentences."""
    for block in BLOCKS:
        if block.page == page and block.language == "sh" and not runs(block):
            yield from re.findall(r"^clickstream .*", block.text.replace("\\\n", " "), re.MULTILINE)
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    yield from (" ".join(found.split()) for found in re.findall(r"`(clickstream\s[^`]+)`", text))


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_that_a_page_names_exist(page: str) -> None:
    for mentioned in _mentioned(page):
        words = shlex.split(re.sub(r"\[OPTIONS\]|[\[\]\\…]", " ", mentioned), comments=True)[1:]
        command: click.Command = cli.main
        while isinstance(command, click.Group) and words and not words[0].startswith("-") and words[0].islower():
            assert words[0] in command.commands, mentioned
            command = command.commands[words.pop(0)]
        known = {name for option in command.params for name in option.opts} | {"--help", "-h"}
        assert {word for word in words if word.startswith("--")} <= known, mentioned


@pytest.mark.parametrize("page", PAGES)
def test_targets_of_make_that_a_page_names_exist(page: str) -> None:
    made = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = (ROOT / page).read_text()
    named = re.findall(r"`make ([a-z]+)", text)
    named += re.findall(r"^make ([a-z]+)", text, re.MULTILINE)
    assert set(named) <= made


def _anchors(path: Path) -> set[str]:
    """The headings of a page as GitHub makes anchors of them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.add(next(s for s in (slug, *(f"{slug}-{n}" for n in range(1, 99))) if s not in found))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", text)):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        path = ((ROOT / page).parent / name).resolve() if name else ROOT / page
        if not path.is_file() or (anchor and anchor not in _anchors(path)):
            broken.append(target)
    assert broken == []


def test_the_readme_fits_and_leads_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 150
    linked = set(re.findall(r"\]\(([^)#\s]+)", readme))
    index = set(re.findall(r"\]\(([^)#\s]+)", (ROOT / "docs/decisions/README.md").read_text()))
    for page in PAGES:
        if page.startswith("docs/decisions/0"):
            assert Path(page).name in index
        elif page.startswith("docs/"):
            assert page in linked
