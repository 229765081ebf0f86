"""The exceptions that a user may meet.

Each message is one sentence that names the file, table, partition or setting and says what to do.
Add a class only where a caller must tell it apart from the others.
"""


class ClickstreamError(Exception):
    """Base of every error that is the user's to read: the CLI prints its message alone, without a traceback."""


class SettingsError(ClickstreamError):
    """An environment variable is missing or has a value that cannot be used."""


class RejectedFile(ClickstreamError):
    """A landing file cannot be read as a whole (cut short, binary, a required column missing).

    ``found``: what of the file's own text is told besides; ``plain`` is the message without it.
    """

    def __init__(self, plain: str, found: str = ""):
        super().__init__(plain + found)
        self.plain = plain


class PublishError(ClickstreamError):
    """Staged files do not match the table they are for; nothing was published."""


class IncompleteCollection(ClickstreamError):
    """Some of what was to be fetched into landing was not to be had; what was is there."""


class Busy(ClickstreamError):
    """Another process holds what is needed; the message names that process."""


class QueryRefused(ClickstreamError):
    """A statement given to ``clickstream query`` would change something, or is not valid SQL."""
