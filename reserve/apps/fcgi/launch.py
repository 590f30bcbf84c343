"""``reserve app fcgi wsgi NAME [--mount /PREFIX=NAME ...] [args...]``: makes a FastCGI application from its arguments.

Runs on the main thread at start. ``reserve/apps/_wsgi.py`` has what it shares with the other protocols.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reserve.apps._wsgi import ARGUMENTS, launch_wsgi

if TYPE_CHECKING:
    from reserve.apps.fcgi.app import FastCGIApp
    from reserve.apps.http.app import HTTPApp

__all__ = ["ARGUMENTS", "launch"]


def launch(args: Sequence[str]) -> HTTPApp:
    """Make the FastCGI application that ``args`` describes.

    :param args: ``["reserve fcgi", "wsgi", NAME, ...]``.
    :raises UsageError: unknown arguments, a malformed mount, or two mounts of one prefix.
    :raises StartupError: an application that cannot be imported or launched.
    """
    return launch_wsgi(args, "fcgi", _app_class)


def _app_class() -> type[FastCGIApp]:
    from reserve.apps.fcgi.app import FastCGIApp

    return FastCGIApp
