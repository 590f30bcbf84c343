"""``reserve app uwsgi wsgi NAME [--mount /PREFIX=NAME ...] [args...]``: makes a uwsgi application from its arguments.

Runs on the main thread at start. ``reserve/apps/_wsgi.py`` has what it shares with the other protocols.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reserve.apps._wsgi import ARGUMENTS, launch_wsgi

if TYPE_CHECKING:
    from reserve.apps.http.app import HTTPApp
    from reserve.apps.uwsgi.app import UwsgiApp

__all__ = ["ARGUMENTS", "launch"]


def launch(args: Sequence[str]) -> HTTPApp:
    """Make the uwsgi application that ``args`` describes.

    :param args: ``["reserve uwsgi", "wsgi", NAME, ...]``.
    :raises UsageError: unknown arguments, a malformed mount, or two mounts of one prefix.
    :raises StartupError: an application that cannot be imported or launched.
    """
    return launch_wsgi(args, "uwsgi", _app_class)


def _app_class() -> type[UwsgiApp]:
    from reserve.apps.uwsgi.app import UwsgiApp

    return UwsgiApp
