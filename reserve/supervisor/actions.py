"""What the policy of the supervisor decides, as values that the supervisor performs in their order."""

from __future__ import annotations

import enum
import logging
from dataclasses import dataclass, field

__all__ = ["Action", "Line", "Notice", "Plan", "Signal", "Stop", "Tell"]


@dataclass(frozen=True, slots=True)
class Line:
    """Write a line on standard error."""

    text: str
    level: int = field(default=logging.INFO, compare=False)
    """As in :mod:`logging`."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Send a worker a message."""

    pid: int
    kind: str


@dataclass(frozen=True, slots=True)
class Signal:
    """Send a worker a signal."""

    pid: int
    number: int


class Notice(enum.Enum):
    """What others have to know, and what the listeners depend on."""

    SERVES = enum.auto()
    """A worker of the present generation serves for the first time."""
    GIVEN_UP = enum.auto()
    """The generation that serves is the present one again."""
    COMPLETE = enum.auto()
    """All workers are good; nothing that only older ones need is needed any more."""
    READY = enum.auto()
    """The service manager is to be told: a start or a reload has ended, whether it has failed or not."""


Action = Line | Tell | Signal | Notice


@dataclass(frozen=True, slots=True)
class Plan:
    """What :meth:`~reserve.supervisor.policy.Policy.plan` has decided."""

    starts: int = 0
    """How many workers to start first, until one cannot be started."""
    actions: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True)
class Stop:
    """What :meth:`~reserve.supervisor.policy.Policy.stop` has decided."""

    text: str
    """The line for a person; empty: there is none."""
    delay: float
    """Seconds that the workers serve on."""
    timeout: float
    """Seconds that requests in flight have after that."""
    actions: tuple[Action, ...]
