"""What the readers of other servers' configurations return. Pure; runs on the main thread."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Configuration", "Setting"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One option of another server, as it was found. Its value is not checked yet."""

    name: str
    """As it was written: ``workers``, ``--workers`` or ``-w``."""
    value: object = None
    """A str, int, float, bool, list or dict; True also for an option without a value."""
    line: int = 0
    """Of the file, from 1; 0: it comes from a command line."""
    unknown: str = ""
    """Why the value cannot be known; a clause. Empty: it is known."""
    note: str = ""
    """What has to be known about the value, although it is used; a clause, or empty."""

    @property
    def option(self) -> str:
        """The name as on a command line: ``--worker-class``."""
        return self.name if self.name.startswith("-") else "--" + self.name.replace("_", "-")

    @property
    def origin(self) -> str:
        """The name and the line, for a comment."""
        return f"{self.name}, line {self.line}" if self.line else self.name


@dataclass(slots=True)
class Configuration:
    """The configuration of another server. The reader fills it; then it belongs to the conversion."""

    server: str
    """A key of ``reserve.loader.otherservers.DEFAULT_ADDRESSES``, or ``uwsgi``."""
    origin: str
    """Where it comes from, for the first line: the name of the file, or the program."""
    settings: list[Setting] = field(default_factory=list)
    application: str = ""
    """The application as on the command line of the server: ``shop:app``; empty: none was named."""
