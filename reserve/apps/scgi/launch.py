"""``reserve app scgi wsgi NAME [--mount /PREFIX=NAME ...] [args...]``: makes a SCGI application from its arguments.

Runs on the main thread at start. ``reserve/apps/_wsgi.py`` has what it shares with the other protocols.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reserve.apps._wsgi import ARGUMENTS, launch_wsgi

if TYPE_CHECKING:
    from reserve.apps.http.app import HTTPApp
    from reserve.apps.scgi.app import SCGIApp

__all__ = ["ARGUMENTS", "launch"]


def launch(args: Sequence[str]) -> HTTPApp:
    """Make the SCGI application that ``args`` describes.

    :param args: ``["reserve scgi", "wsgi", NAME, ...]``.
    :raises UsageError: unknown arguments, a malformed mount, or two mounts of one prefix.
    :raises StartupError: an application that cannot be imported or launched.
    """
    return launch_wsgi(args, "scgi", _app_class)


def _app_class() -> type[SCGIApp]:
    from reserve.apps.scgi.app import SCGIApp

    return SCGIApp
