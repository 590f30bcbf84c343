"""Which form of the straight line serves: the one in C where it was compiled, else the one in Python.

``RESERVE_PURE=1`` in the environment has the one in Python serve in any case. Both have the same outcome, byte for
byte.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reserve.apps.http.context import HTTPContext
    from reserve.engine.connections import straightline
    from reserve.engine.connections.connection import Connection
    from reserve.engine.connections.context import ServerContext

__all__ = ["form", "is_compiled", "make_straight_line"]


def is_compiled() -> bool:
    """Whether there is the form in C: there was a compiler where this was installed, and it is the same interpreter."""
    return find_spec("reserve.apps.http._straightline") is not None


def form() -> str:
    """``C`` or ``Python``. Imports nothing."""
    return "C" if os.environ.get("RESERVE_PURE") != "1" and is_compiled() else "Python"


def make_straight_line(
    context: HTTPContext, server: ServerContext[Connection]
) -> straightline.StraightLine[Connection]:
    """The straight line of an application, with its present settings.

    :param server: what serves the application.
    """
    # Imported only now: the command asks for form() before it needs anything of HTTP.
    from reserve.apps.http.straightline import StraightLine, line_settings

    settings = line_settings(context, server)
    if form() == "Python":
        return StraightLine(settings).serve
    try:
        from reserve.apps.http import _straightline
    except ImportError:  # it was compiled for another system
        return StraightLine(settings).serve
    return _straightline.StraightLine(settings)
