"""What a run shows on the terminal while it works: a Dagster logger that prints one line per finished step.

Lines go to standard error, so that what a command prints on standard output stays clean.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import dagster as dg
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from rich.status import Status


_terminal: ContextVar[Console | None] = ContextVar("terminal", default=None)


@contextlib.contextmanager
def terminal() -> Iterator[None]:
    """Print on a copy of standard error.

    During a step Dagster sends the original to the step's log, and shows it with a delay that may outlive the step.
    """
    with os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8") as copy:
        token = _terminal.set(Console(file=copy, highlight=False))
        try:
            yield
        finally:
            _terminal.reset(token)


def say(line: str) -> None:
    """Print a line between steps."""
    (_terminal.get() or Console(stderr=True, highlight=False)).print(escape(line))


@contextlib.contextmanager
def moving(what: str) -> Iterator[Callable[[str], None]]:
    """A moving line for work outside of a step; a file or a pipe gets none."""
    console = _terminal.get() or Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda line: None
        return
    with console.status(escape(what)) as status:
        yield lambda line: status.update(f"[bold]{escape(what)}[/bold]  {escape(line[:100])}")


def _logger(_: dg.InitLoggerContext) -> logging.Logger:
    logger = logging.Logger("clickstream.progress", level=logging.DEBUG)
    logger.addHandler(_StepLines())
    return logger


#: for runs started from the command line
progress_logger = dg.LoggerDefinition(
    _logger, description="One line per finished step, and a moving line for the step at work."
)


class _StepLines(logging.Handler):
    """Counts what a step reports and prints it when the step ends."""

    def __init__(self) -> None:
        super().__init__()
        self._console = _terminal.get() or Console(stderr=True, highlight=False)
        self._moves = self._console.is_terminal  # it asks the system each time: 7 % of a year's run
        self._status: Status | None = None
        self._step = _Step()

    def emit(self, record: logging.LogRecord) -> None:
        """Take one of Dagster's log records."""
        meta: Mapping[str, Any] = getattr(record, "dagster_meta", {})
        event, step = meta.get("dagster_event"), meta.get("step_key")
        if event is None:
            if step and record.levelno >= logging.INFO:
                self._show(step, str(meta.get("orig_message", "")))
        elif event.event_type_value == "STEP_START":
            self._step = _Step()
            self._show(step, "")
        elif event.event_type_value in ("STEP_SUCCESS", "STEP_FAILURE"):
            self._hide()
            mark = "[green]✓[/green]" if event.event_type_value == "STEP_SUCCESS" else "[red]✗[/red]"
            self._console.print(f"{mark} {_name(step):<34}{self._step}")
        elif event.event_type_value in ("PIPELINE_SUCCESS", "PIPELINE_FAILURE", "PIPELINE_CANCELED"):
            self._hide()
        else:
            self._step.take(event)
            if event.event_type_value == "ASSET_MATERIALIZATION":
                self._show(step, f"{event.asset_key.to_user_string()} ({self._step})")

    def _show(self, step: str | None, text: str) -> None:
        """Move the line of the step at work; a file or a pipe gets finished lines only."""
        if not self._moves:
            return
        line = f"[bold]{_name(step)}[/bold]  {escape(text[:100])}"
        if self._status is None:
            self._status = self._console.status(line)
            self._status.start()
        else:
            self._status.update(line)

    def _hide(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


class _Step:
    """What one step has reported so far."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._tables: set[str] = set()
        self._rows: Counter[str] = Counter()
        self._checks = 0
        self._failed = 0
        self._warned: list[str] = []

    def take(self, event: dg.DagsterEvent) -> None:
        if event.event_type_value == "ASSET_MATERIALIZATION":
            materialization = event.step_materialization_data.materialization
            self._tables.add(materialization.asset_key.to_user_string())
            for name in ("rows", "rejected"):
                if name in materialization.metadata:
                    self._rows[name] += int(str(materialization.metadata[name].value))
        elif event.event_type_value == "ASSET_CHECK_EVALUATION":
            self._checks += 1
            check = event.asset_check_evaluation_data
            if not check.passed and check.severity == dg.AssetCheckSeverity.WARN:
                self._warned.append(f"{check.check_name}: {check.description}")
            else:
                self._failed += not check.passed

    def __str__(self) -> str:
        parts = [f"{time.monotonic() - self._started:6.1f} s"]
        if len(self._tables) > 1:
            parts.append(f"{len(self._tables)} tables")
        parts += [f"{count:,} {name}" for name, count in self._rows.items()]
        parts.append(f"{self._checks} checks" + (f", [red]{self._failed} failed[/red]" if self._failed else ""))
        return ", ".join(parts) + "".join(f"\n  [yellow]![/yellow] {escape(line)}" for line in self._warned)


def _name(step: str | None) -> str:
    return (step or "").replace("__", ".")
