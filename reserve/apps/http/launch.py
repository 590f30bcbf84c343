"""``reserve app http wsgi NAME [--mount /PREFIX=NAME ...] [args...]``: from words to an HTTP application.

Runs on the main thread at start. The table of accepted words is ``ARGUMENTS``; the server's own options were taken out
before. The words that are left over, and everything after ``--``, belong to the application called NAME.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from reserve.errors import StartupError, UsageError, short_repr
from reserve.loader.arguments import Arguments, option_hint
from reserve.loader.find import load_application
from reserve.loader.importer import WSGI_NAMES, explain_none, signature_error

if TYPE_CHECKING:
    from reserve.apps.http.app import HTTPApp

__all__ = ["ARGUMENTS", "URL_SCHEME", "launch"]

URL_SCHEME = "http"
"""How the start banner writes the addresses of this application."""

ARGUMENTS = """\
wsgi NAME              serve a WSGI application: a module with launch(args), application or app, or
                       module:application, or a factory as "shop:create_app('test')"
--mount /PREFIX=NAME   serve another one below a path; may be repeated; NAME itself is mounted at /
"""

_KINDS = ("wsgi",)
_MOUNT = "--mount"
_PREFIXES = ("reserve.examples",)


def launch(args: Sequence[str]) -> HTTPApp:
    """Make the HTTP application that ``args`` describes.

    :param args: ``["reserve http", "wsgi", NAME, ...]``.
    :raises UsageError: words that are not in the table, a malformed or doubled mount.
    :raises StartupError: an application that cannot be imported or launched.
    """
    given = Arguments.of(args)
    words, mounts = _take_mounts(given.before)
    if words[:1] != ["wsgi"]:
        if words and words[0].startswith("-"):
            raise UsageError(_unknown(words[0], given.reserved))
        what = f"{words[0]!r} is none of its kinds" if words else "the kind of application is missing"
        raise UsageError(f"app http: {what} ({', '.join(_KINDS)}); write: reserve app http wsgi NAME")
    words = words[1:]
    if words and words[0].startswith("-"):
        raise UsageError(_unknown(words[0], given.reserved))
    if not words and not mounts:
        raise UsageError("app http wsgi: the application's name is missing; write: reserve app http wsgi NAME")
    if not words and given.after:
        raise UsageError(f"with only --mount, nobody takes what stands after --: {' '.join(given.after)}")
    if words and "/" in mounts:
        raise UsageError(f"both {words[0]} and {mounts['/']} would be mounted at /; leave one of them out")

    from reserve.apps.http.app import HTTPApp
    from reserve.apps.http.settings import HTTPSettings
    from reserve.gateways.dispatch import PathInfoDispatcher
    from reserve.gateways.wsgi import WSGIGateway

    if not mounts:
        app = _open(words[0], given, words[1:], given.after, "")
        return HTTPApp(WSGIGateway(app), HTTPSettings())
    mapping = {}
    if words:
        mapping["/"] = _open(words[0], given, words[1:], given.after, "/")
    for prefix, name in mounts.items():
        mapping[prefix] = _open(name, given, (), (), prefix)
    return HTTPApp(WSGIGateway(PathInfoDispatcher(mapping)), HTTPSettings())


def _take_mounts(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Take ``--mount`` out wherever it stands, as the server's options are."""
    left: list[str] = []
    mounts: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        flag, equals, value = word.partition("=")
        if flag != _MOUNT:
            left.append(word)
            continue
        if not equals:
            following = next(rest, None)
            if following is None:
                raise UsageError("--mount needs a value: /PREFIX=NAME, as /blog=blog")
            value = following
        prefix, _, name = value.partition("=")
        if not prefix.startswith("/") or not name:
            raise UsageError(f"--mount wants /PREFIX=NAME, as /blog=blog; it got {value!r}")
        prefix = prefix.rstrip("/") or "/"
        if prefix in mounts:
            raise UsageError(f"--mount {prefix} is given twice, for {mounts[prefix]} and for {name}")
        mounts[prefix] = name
    return left, mounts


def _open(name: str, given: Arguments, before: Sequence[str], after: Sequence[str], prefix: str) -> Callable[..., Any]:
    served = len(given.served)
    args = given.derive(f"wsgi {name}", before, after, reserved=(_MOUNT,))
    app = load_application(name, args, packages=_PREFIXES, attributes=WSGI_NAMES)
    if not callable(app):
        hint = explain_none(name, "the application") if app is None else ""
        raise StartupError(f"{name} gave {short_repr(app)}, which is not a WSGI application{hint}")
    _check_signature(name, app)
    if prefix:
        given.served[served:] = [f"{prefix} -> {line}" for line in given.served[served:]]
    return cast("Callable[..., Any]", app)


def _check_signature(name: str, app: Callable[..., Any]) -> None:
    """A factory that was not called is the usual mistake, and would fail on every request."""
    reason = signature_error(app, 2)
    if reason:
        hint = f'; for a factory write "{name}()"' if ":" in name and not name.endswith(")") else ""
        if not signature_error(app, 3):
            hint = f"; for a handler(socket, client_address, server) write: reserve app {name}"
        raise StartupError(
            f"{name} cannot be called as a WSGI application, with (environ, start_response): {reason}{hint}"
        )


def _unknown(word: str, reserved: Sequence[str]) -> str:
    hint = option_hint(word, (*reserved, _MOUNT))
    return f"app http takes no {word}; {hint or 'it takes:' + chr(10) + ARGUMENTS.rstrip()}"
