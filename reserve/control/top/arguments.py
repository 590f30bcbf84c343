"""The words of ``reserve top`` on the command line. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reserve.control.top.state import SORTS
from reserve.errors import UsageError
from reserve.suggest import nearest

__all__ = ["Settings", "parse"]

_INTERVAL = 0.2, 3600.0
"""Seconds: the server reuses what it has collected in the last 0.2."""
_VALUES = ("--interval", "--sort", "--filter")
_FLAGS = ("--once", "--json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the words say."""

    interval: float = 1.0
    """Seconds between two documents."""
    once: bool = False
    """Print one page."""
    json: bool = False
    """Print the document instead of the page; with ``once``."""
    sort: str = "time"
    filter: str = ""


def parse(words: Sequence[str]) -> Settings:
    """The settings of the words after ``top``.

    :raises UsageError: a word that is none of them, or a value that is not allowed.
    """
    values: dict[str, str] = {}
    flags: set[str] = set()
    left = list(words)
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        if word in _FLAGS:
            flags.add(word)
        elif name in _VALUES:
            if not equals:
                if not left:
                    raise UsageError(f"{name} of reserve top needs a value")
                value = left.pop(0)
            values[name] = value
        else:
            match = nearest(name, (*_VALUES, *_FLAGS, "--control")) if word.startswith("-") else None
            raise UsageError(
                f"reserve top has no argument {word[:80]!r}",
                f"; did you mean {match}?" if match else f"; it has {', '.join((*_VALUES, *_FLAGS))} and --control",
            )
    if "--json" in flags and "--once" not in flags:
        raise UsageError("--json of reserve top prints the numbers once", "; write --once --json")
    sort = values.get("--sort", "time")
    if sort not in SORTS:
        raise UsageError(f"--sort of reserve top is {sort[:40]!r}; allowed are {', '.join(SORTS)}")
    return Settings(
        interval=_interval(values.get("--interval", "1")),
        once="--once" in flags,
        json="--json" in flags,
        sort=sort,
        filter=values.get("--filter", ""),
    )


def _interval(text: str) -> float:
    try:
        interval = float(text.removesuffix("s"))
    except ValueError:
        interval = math.nan
    if not _INTERVAL[0] <= interval <= _INTERVAL[1]:
        raise UsageError(
            f"--interval of reserve top is {text[:40]!r}; allowed are seconds from {_INTERVAL[0]:g} to {_INTERVAL[1]:g}"
        )
    return interval
