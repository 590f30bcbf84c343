"""``wsgi NAME [--mount /PREFIX=NAME ...] [args...]``: the arguments of every protocol that hosts WSGI applications.

Runs on the main thread at start. ``ARGUMENTS`` describes what is accepted; the command has taken the server's own
options out before. All other arguments, and those after ``--``, belong to the application called NAME.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from reserve.errors import Correction, StartupError, UsageError, short_repr
from reserve.loader.arguments import Arguments, correct_options, option_hint
from reserve.loader.asgi import refuse_async
from reserve.loader.find import bundled_names, complete_words, load_application
from reserve.loader.importer import WSGI_NAMES, explain_none, signature_error

if TYPE_CHECKING:
    from reserve.apps.http.app import HTTPApp

__all__ = ["ARGUMENTS", "launch_wsgi", "nothing_here", "take_paths"]

ARGUMENTS = """\
wsgi NAME              serve a WSGI application: a module with launch(args), application or app, or
                       module:application, or a factory as "shop:create_app('test')"; one with
                       single_thread = True runs on the main thread
static DIR             serve the files of a directory
--mount /PREFIX=NAME   another one below a path (repeatable); NAME is at /
"""

_KINDS = ("wsgi", "static")
_MOUNT = "--mount"
_HELP = {"-h", "--help"}
_PREFIXES = ("reserve.examples",)


def launch_wsgi(args: Sequence[str], protocol: str, app_class: Callable[[], type[HTTPApp]]) -> HTTPApp:
    """Make the application of a protocol that ``args`` describes.

    :param args: ``["reserve http", "wsgi", NAME, ...]``.
    :param protocol: its name on the command line: ``http``.
    :param app_class: imports the class of the application, and returns it.
    :returns: with ``single_thread``, if one of the WSGI applications has a true attribute of that name: then the code
        of all of them runs on the thread that starts the server.
    :raises UsageError: unknown arguments, a malformed mount, or two mounts of one prefix.
    :raises StartupError: an application that cannot be imported or launched.
    """
    arguments = Arguments.of(args)
    remaining, mounts = take_paths(arguments.before, _MOUNT, "/PREFIX=NAME, as /blog=blog")
    if remaining[:1] == ["static"]:
        return _launch_static(protocol, remaining[1:], mounts, arguments, app_class)
    if remaining[:1] != ["wsgi"]:
        if remaining and remaining[0].startswith("-"):
            raise _unknown_option(protocol, remaining, arguments)
        if not remaining and not _HELP.isdisjoint(arguments.after):
            raise _refuse_help(protocol)
        what = f"{remaining[0]!r} is none of its kinds" if remaining else "the kind of application is missing"
        if remaining[:1] == ["asgi"]:
            right: tuple[str, ...] = (protocol, "wsgi")
        elif remaining and remaining[0] != protocol and remaining[0] in bundled_names():  # app http websocket NAME
            right = (remaining[0],)
        else:
            right = tuple(complete_words([protocol, *remaining[:1]]))
        raise UsageError(
            f"app {protocol}: {what} ({', '.join((*_KINDS, 'status') if protocol == 'http' else _KINDS)})",
            f"; write: reserve app {protocol} wsgi NAME",
            Correction(wrong=(protocol, *remaining[:1]), right=right),
        )
    remaining = remaining[1:]
    if remaining and remaining[0].startswith("-"):
        raise _unknown_option(protocol, remaining, arguments)
    if not remaining and not mounts:
        if not _HELP.isdisjoint(arguments.after):
            raise _refuse_help(protocol)
        raise UsageError(
            f"app {protocol} wsgi: the application's name is missing",
            f"; write: reserve app {protocol} wsgi NAME",
            Correction(wrong=(protocol, "wsgi"), right=tuple(complete_words([protocol, "wsgi"]))),
        )
    if not remaining and arguments.after:
        raise UsageError(f"with only --mount, no application takes the arguments after --: {' '.join(arguments.after)}")
    if remaining and "/" in mounts:
        raise UsageError(f"both {remaining[0]} and {mounts['/']} would be mounted at /; leave one of them out")

    mapping = {}
    if remaining:
        at = "/" if mounts else ""
        mapping["/"] = _load(protocol, remaining[0], arguments, remaining[1:], arguments.after, at)
    for prefix, mounted in mounts.items():
        mapping[prefix] = _load(protocol, mounted, arguments, (), (), prefix)
    return _make(app_class, mapping, mounts, remaining)


def _launch_static(
    protocol: str,
    remaining: Sequence[str],
    mounts: dict[str, str],
    arguments: Arguments,
    app_class: Callable[[], type[HTTPApp]],
) -> HTTPApp:
    """Make the application that serves a directory at ``/``, and what is mounted beside it.

    :param remaining: the arguments after ``static``.
    """
    if remaining and remaining[0].startswith("-"):
        raise _unknown_option(protocol, remaining, arguments)
    if len(remaining) != 1 or arguments.after:
        given = " ".join([*remaining, *arguments.after]) or "nothing"
        raise UsageError(
            f"app {protocol} static takes one directory; it got {given}", f"; write: reserve app {protocol} static DIR"
        )
    if "/" in mounts:
        raise UsageError(f"both {remaining[0]} and {mounts['/']} would be mounted at /; leave one of them out")
    arguments.served.append(f"static {remaining[0]}")
    mapping = {prefix: _load(protocol, mounted, arguments, (), (), prefix) for prefix, mounted in mounts.items()}
    mapping["/"] = nothing_here
    application = _make(app_class, mapping, mounts, remaining)
    application.serves_application = False
    application.serve_folder(remaining[0])
    return application


def nothing_here(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The application below files and pages of the server: it gets the requests that those do not respond to.

    With the codec of FastCGI, and for requests with a body, the gateway has the files.
    """
    start_response("404 Not Found", [("Content-Length", "0")])
    return []


def _make(
    app_class: Callable[[], type[HTTPApp]],
    mapping: dict[str, Callable[..., Any]],
    mounts: dict[str, str],
    remaining: Sequence[str],
) -> HTTPApp:
    """Make the application of applications by prefix. ``remaining`` begins with the name of the one at ``/``."""
    from reserve.apps.http.settings import HTTPSettings
    from reserve.gateways.dispatch import PathInfoDispatcher
    from reserve.gateways.wsgi import WSGIGateway

    single = [prefix for prefix, app in mapping.items() if getattr(app, "single_thread", False) is True]
    app = PathInfoDispatcher(mapping) if mounts else mapping["/"]
    if not single:
        return app_class()(WSGIGateway(app), HTTPSettings())
    from reserve.gateways.callingthread import CallingThread

    application = app_class()(WSGIGateway(CallingThread(app)), HTTPSettings())
    application.single_thread = f"{mounts.get(single[0]) or remaining[0]} says single_thread = True"
    return application


def _refuse_help(protocol: str) -> UsageError:
    """The message about ``-- -h`` without an application."""
    return UsageError(
        f"app {protocol}: what follows -- is for an application, and none is named",
        f"; write: reserve app {protocol} -h",
        Correction(end=("-h",), drop_after=True),
    )


def take_paths(args: Sequence[str], option: str, form: str) -> tuple[list[str], dict[str, str]]:
    """Take an option out, at any position. Returns the other arguments, and names of applications by path.

    :param form: of its value, with an example.
    """
    remaining: list[str] = []
    mounts: dict[str, str] = {}
    iterator = iter(args)
    for argument in iterator:
        flag, equals, value = argument.partition("=")
        if flag != option:
            remaining.append(argument)
            continue
        if not equals:
            following = next(iterator, None)
            if following is None:
                raise UsageError(f"{option} needs a value: {form}")
            value = following
        prefix, _, name = value.partition("=")
        if not prefix.startswith("/") or not name:
            raise UsageError(f"{option} wants {form}; it got {value!r}", correction=_with_path(value))
        prefix = prefix.rstrip("/") or "/"
        if prefix in mounts:
            raise UsageError(f"{option} {prefix} is given twice, for {mounts[prefix]} and for {name}")
        mounts[prefix] = name
    return remaining, mounts


def _with_path(value: str) -> Correction | None:
    """What was probably meant by a value that is not /PATH=NAME; None: unknown."""
    path, equals, name = value.partition("=")
    if not equals and value != "wsgi" and not value.startswith("/"):  # only the name
        path, name = value.partition(":")[0].rpartition(".")[2], value
    path = path.strip("/")
    return Correction(wrong=(value,), right=(f"/{path}={name}",)) if path and name else None


def _load(
    protocol: str, name: str, arguments: Arguments, before: Sequence[str], after: Sequence[str], prefix: str
) -> Callable[..., Any]:
    """Import and launch one WSGI application.

    :param before: its own arguments left of ``--``.
    :param after: those right of ``--``.
    :param prefix: where it is mounted, for the start banner; empty: it is the only application.
    """
    served = len(arguments.served)
    args = arguments.derive(f"wsgi {name}", before, after, reserved=(_MOUNT,))
    app = load_application(name, args, packages=_PREFIXES, attributes=WSGI_NAMES)
    if not callable(app):
        hint = explain_none(name, "the application") if app is None else ""
        raise StartupError(f"{name} gave {short_repr(app)}, which is not a WSGI application{hint}")
    refuse_async(name, app, "a WSGI application", ())
    _check_signature(protocol, name, app)
    if prefix:
        arguments.served[served:] = [f"{prefix} -> {line}" for line in arguments.served[served:]]
    return cast("Callable[..., Any]", app)


def _check_signature(protocol: str, name: str, app: Callable[..., Any]) -> None:
    """Raise StartupError for what does not take (environ, start_response); mostly a factory that was not called."""
    reason = signature_error(app, 2)
    if reason:
        hint, correction = "", None
        if not name.endswith(")"):
            factory = f"{name}()" if ":" in name else _first_usable(name)
            hint = f'; for a factory write "{factory}"' if ":" in name else ""
            if factory and not signature_error(app, 0):
                correction = Correction(wrong=(name,), right=(factory,))
        if not signature_error(app, 3):
            hint = f"; for a handler(socket, client_address, server) write: reserve app {name}"
            correction = Correction(wrong=(protocol, "wsgi", name), right=(name,))
        raise StartupError(
            f"{name} cannot be called as a WSGI application, with (environ, start_response): {reason}", hint, correction
        )


def _first_usable(name: str) -> str:
    """The call of the function that a module has in place of its application; empty: there is none."""
    module = sys.modules.get(name)
    names = [one for one in WSGI_NAMES if module is not None and hasattr(module, one)]
    return f"{name}:{names[0]}()" if names else ""


def _unknown_option(protocol: str, words: Sequence[str], arguments: Arguments) -> UsageError:
    """The error about an option before the name. ``words`` begins with it."""
    flags = (*arguments.reserved, _MOUNT)
    why, hint = option_hint(words[0], flags)
    hint = hint or ("" if why else f"; it takes:\n{ARGUMENTS.rstrip()}")
    return UsageError(f"app {protocol} takes no {words[0]}{why}", hint, correct_options(words, flags))
