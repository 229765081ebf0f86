"""The command line in processes of their own, forked from one that has loaded what a run loads.

A cold ``clickstream run`` spends half of its ten seconds importing, and the suite starts fifty of them. What is tested
here is what a process does to files and locks, not how it starts; that is in ``test_cli`` and ``test_installed``.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from clickstream_assets_tests.conftest import Home

#: variables that a command is given as the test has them
_OURS = ("CLICKSTREAM_", "AWS_", "REDSHIFT_", "SPARK_REMOTE", "DAGSTER_HOME")

#: makes processes that have loaded what a run loads
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["clickstream_assets_tests.preloaded"])


@dataclass(frozen=True)
class Command:
    """A command at work or ended. ``log``: what it prints, on standard output and standard error."""

    process: BaseProcess
    log: Path
    begun: float

    def join(self, timeout: float = 180) -> int:
        """Wait for its end: the exit code, or the negative number of the signal that ended it."""
        self.process.join(timeout)
        assert self.process.exitcode is not None, f"still at work after {timeout} s: {self.printed()}"
        return self.process.exitcode

    def succeed(self) -> float:
        """Wait for its end, which has to be a good one; seconds that it took."""
        assert self.join() == 0, self.printed()[-3000:]
        return time.monotonic() - self.begun

    def printed(self) -> str:
        return self.log.read_text()


def start(home: Home, *arguments: str, first: Callable[[], None] | None = None) -> Command:
    """Start ``clickstream`` with these arguments, as the leader of a process group.

    ``first`` is called in the new process before anything else, or, without arguments, alone: a function at the top
    level of a module.
    """
    log = home.path.parent / f"{time.monotonic_ns()}.log"
    log.touch()
    environment = {name: value for name, value in os.environ.items() if name.startswith(_OURS)} | home.variables
    process = FORKS.Process(target=_main, args=(environment, str(log), arguments, first))
    begun = time.monotonic()
    process.start()
    return Command(process, log, begun)


def _main(environment: dict[str, str], log: str, arguments: tuple[str, ...], first: Callable[[], None] | None) -> None:
    os.setsid()
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for name in [name for name in os.environ if name.startswith(_OURS)]:  # those in which the server was started
        del os.environ[name]
    os.environ.update(environment)
    if first is not None:
        first()
    if arguments:
        from clickstream_assets import cli

        cli.main(list(arguments))
