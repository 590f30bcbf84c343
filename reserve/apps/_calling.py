"""What somebody gave us to serve: whether it can be called as it will be, and how to show it in a message.

Runs on the main thread at start; calls nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["cannot_take", "shown"]

_LONGEST = 80


def cannot_take(called: Callable[..., Any], count: int) -> str:
    """Why ``called`` cannot be called with so many positional arguments; empty when it can, or hides its signature."""
    try:
        # What a decorator adds or takes away counts; what it wraps does not.
        signature = inspect.signature(called, follow_wrapped=False)
    except (TypeError, ValueError):
        return ""  # a callable of an extension module may hide it; the first call will tell
    try:
        signature.bind(*[None] * count)
    except TypeError as error:
        return str(error)
    return ""


def shown(value: object) -> str:
    """The repr of a value, not too long for a sentence."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
