"""A moving bar on standard error while a command works; a file or a pipe gets plain lines only. No Dagster here.

For work outside of Dagster's steps; what a run shows is in ``progress``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Bar:
    """A bar at work. Without a terminal it shows nothing, and ``line`` prints."""

    def __init__(self, progress: Progress, task: TaskID):
        self._progress, self._task = progress, task

    def step(self, text: str) -> None:
        """One more is done; ``text`` says which."""
        self._progress.update(self._task, advance=1, text=escape(text[:40]))

    def at(self, done: int, total: int) -> None:
        """So many are done, of so many."""
        self._progress.update(self._task, completed=done, total=total)

    def line(self, text: str) -> None:
        """One more is done, and here is a line that stays, above the bar."""
        self._progress.console.print(escape(text), soft_wrap=True)
        self._progress.update(self._task, advance=1)


@contextlib.contextmanager
def bar(what: str, total: int | None) -> Iterator[Bar]:
    """A bar for ``total`` pieces of work, None where nobody knows how many; it goes when the work ends."""
    console = Console(stderr=True, highlight=False, emoji=False)
    columns = (
        TextColumn(f"[bold]{escape(what)}[/bold]"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Bar(progress, progress.add_task("", total=total, text=""))
