"""Synthetic landing data: one module per domain, looked up by the domain's name.

Here lives what all generators return. A module that makes a domain's files has the domain's name,
stands beside this one and is imported only when it is asked for, so that importing the package
costs nothing. Nothing here knows where the files go: the caller passes `write`.
"""

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from clickstream_assets.generate.story import Story

#: modules that are no domain's
_SHARED = {"story"}


@dataclass(frozen=True)
class Generated:
    """What a generator wrote.

    paths   relative to the landing root, in the order they were written
    rows    records, good or broken, of the files that load once (no header; neither a rejected
            file's nor a copy's, nor those of a pull in whose place another one counts)
    faults  planted faults by the name of the rule that reports them: records, or files for
            `rejected_file`, `duplicate_file`, `incomplete_pull` and `superseded`; empty without
            faults
    """

    paths: list[str]
    rows: int
    faults: dict[str, int]


class Generator(Protocol):
    """Writes a domain's landing files of the days `first` to `last`, both included."""

    def __call__(
        self,
        write: Callable[[str, bytes], None],
        *,
        first: date,
        last: date,
        rows_per_day: int,
        seed: int = 0,
        faults: bool = False,
        progress: Callable[[date], None] | None = None,
        story: "Story | None" = None,
    ) -> Generated:
        """Write the files through `write`; the same arguments write the same bytes.

        With a story the days differ, and `rows_per_day` is what an ordinary one has.
        """
        ...


def generator(domain: str) -> Generator:
    """The generator of a domain; ValueError when it has none."""
    known = sorted({module.name for module in pkgutil.iter_modules(__path__)} - _SHARED)
    if domain not in known:
        raise ValueError(f"No data generator for domain {domain!r}; there is one for: {', '.join(known)}.")
    return cast(Generator, import_module(f"{__name__}.{domain}").generate)
