"""The application of a command line: launching it, and passing it its options.

Runs on the main thread at start, after the listeners are open.
"""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from reserve.apps.http.settings import check_paths
from reserve.cli.console import Console
from reserve.engine.polling.processors import has_gil
from reserve.errors import Correction, StartupError, UsageError, short_repr
from reserve.loader.arguments import Arguments
from reserve.loader.asgi import refuse_async
from reserve.loader.find import FoundApplication
from reserve.loader.importer import describe_exit, explain_none, signature_error

if TYPE_CHECKING:
    from reserve.options.sources import Values

__all__ = [
    "GILWatch",
    "configure",
    "gunicorn_line",
    "launch",
    "refuse_shared_paths",
    "report_threads",
    "single_thread",
    "straight_line_form",
    "url_scheme",
]

_MESSAGE = re.compile(r"The global interpreter lock \(GIL\) has been enabled to load module '([^']+)'")
"""How CPython begins the warning."""

_HANDLER = "a handler(socket, client_address, server)"


def launch(application: FoundApplication, arguments: Arguments, console: Console) -> object:
    """Launch the application and return what it gave: a handler, or the application of a bundled protocol.

    :raises SystemExit: raised by the application. A message says so, unless the application gave its own message, or
        printed its help and exited with 0.
    """
    try:
        return application.launch(arguments)
    except SystemExit as error:
        asked_for_help = not {"-h", "--help"}.isdisjoint(arguments[1:])
        if not isinstance(error.code, str) and (error.code or not asked_for_help):
            name = " ".join([application.name, *arguments.before])
            console.write(f"reserve: {name} {describe_exit(error)}\n")
        raise


def configure(handle: object, name: str, values: Values) -> None:
    """Pass the application its options, and check that the server can call it.

    :param handle: what :func:`launch` returned.
    :param name: the name of the application, for messages.
    :raises UsageError: options for an application that takes none.
    :raises StartupError: it is not a handler.
    """
    from reserve.engine.connections.application import Application

    given = [value.source for value in values.given_for_application()]
    if isinstance(handle, Application):
        refuse_shared_paths(values)
        handle.configure(values.application(), given)
        return
    if given:
        raise UsageError(
            f"{given[0]} is for HTTP applications (reserve app http); the application {name} has no use for it"
        )
    if not callable(handle):
        hint = explain_none(name, "it") if handle is None else ""
        raise StartupError(f"{name} gave {short_repr(handle)}, which is not {_HANDLER}{hint}")
    refuse_async(name, handle, _HANDLER, ("http", "wsgi"))
    reason = signature_error(handle, 3)
    if reason:
        is_wsgi = not signature_error(cast("Callable[..., Any]", handle), 2)
        hint = f"; to serve it with WSGI write: reserve app http wsgi {name}" if is_wsgi else ""
        correction = Correction(wrong=(name,), right=("http", "wsgi", name)) if is_wsgi else None
        raise StartupError(f"{name} cannot be called as {_HANDLER}: {reason}", hint, correction)


def refuse_shared_paths(values: Values) -> None:
    """Refuse two purposes of one path of the server's own (``--status-path``, ``--health-path``).

    :raises UsageError: there are two, and where they come from.
    """
    check_paths(values.application(), {field: given.source for field, given in values.given.items()})


def gunicorn_line(before: Sequence[str], binds: Sequence[str]) -> str:
    """The command line that serves a WSGI application with gevent, by a server that has workers for it.

    :param before: the arguments of the application: ``["wsgi", NAME]``.
    :param binds: the addresses of ``--bind``.
    :returns: empty when it is not one WSGI application.
    """
    if len(before) != 2 or before[0] != "wsgi" or before[1].startswith("-"):
        return ""
    bind = next((bind for bind in binds if not bind.startswith(("fd:", "unix:@"))), "127.0.0.1:8080")
    return f"pip install gunicorn && gunicorn --worker-class gevent --bind {shlex.quote(bind)} {shlex.quote(before[1])}"


def single_thread(handle: object) -> str:
    """Why the application runs on the main thread, as a clause: the server has one worker. Empty: it does not."""
    from reserve.engine.connections.application import Application

    return handle.single_thread if isinstance(handle, Application) else ""


def report_threads(handle: object, values: Values, console: Console) -> None:
    """Say that the number of threads that the user has given has no effect, if that is so."""
    reason, given = single_thread(handle), values.given.get("threads")
    if reason and given is not None and values.engine().thread_range != (1, 1):
        console.write(
            f"reserve: {given.source} has no effect: {reason}, so it is served on the main thread, one request at a "
            "time\n"
        )


def straight_line_form(handle: object) -> str:
    """In which language an application's straight line is, for the banner; empty: it has none."""
    return str(getattr(handle, "straight_line_form", ""))


def url_scheme(handle: object) -> str:
    """The scheme of the application's URLs without TLS; empty: its addresses are not URLs."""
    from reserve.engine.connections.application import Application

    return handle.url_scheme if isinstance(handle, Application) else ""


class GILWatch:
    """``with GILWatch() as watch:`` an import; afterwards :meth:`line` says what has become of the GIL.

    A free-threaded Python (3.13 and later) switches the GIL on for the rest of the process when it imports an extension
    module that does not declare that it needs none. It says so by a RuntimeWarning, in the place of which the command
    writes its line. All other warnings are shown as before.
    """

    def __init__(self) -> None:
        self._module = ""
        self._before = has_gil()
        self._show: Any = None

    def __enter__(self) -> GILWatch:
        self._before = has_gil()
        self._show = warnings.showwarning
        warnings.showwarning = self._shown
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if warnings.showwarning == self._shown:  # else the application has replaced it
            warnings.showwarning = self._show

    def _shown(self, message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> None:
        found = _MESSAGE.match(str(message)) if issubclass(category, RuntimeWarning) else None
        if found is None:
            self._show(message, category, *where, **options)
        else:
            self._module = found[1]

    def line(self, shell_line: str) -> str:
        """The line, without its end; empty: nothing has switched the GIL on.

        :param shell_line: with which the command was started.
        """
        if self._before or not has_gil():
            return ""
        module = self._module or "a module that the application has imported"
        what = f"the GIL is on: {module} does not declare that it runs without it, so one thread at a time runs Python"
        return f"{what}; to keep it off all the same: PYTHON_GIL=0 {shell_line}"
