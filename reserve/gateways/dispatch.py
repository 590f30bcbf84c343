"""WSGI applications mounted at path prefixes (``--mount``, ``--root-path``, :class:`PathInfoDispatcher`).

A dispatcher is a plain WSGI application. It does not change after its construction, so any number of workers may call
it at the same time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from reserve.errors import UsageError
from reserve.gateways.exchange import Environ, StartResponse, WSGIApplication

__all__ = ["PathInfoDispatcher", "mounted_at", "wsgi_path", "wsgi_prefix"]

_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")


class PathInfoDispatcher:
    """Calls the application with the longest prefix of the request's path, on segment boundaries.

    ``{"/": site, "/blog": blog}`` sends ``/blog``, ``/blog/`` and ``/blog/2`` to ``blog`` and ``/blogs`` to ``site``.
    The prefix moves from the beginning of PATH_INFO to the end of SCRIPT_NAME, so the two together stay the same.
    Without a match the response is 404. ``OPTIONS *`` goes to the application at ``/``.

    :param apps: a mapping, or pairs, of prefix and application. A prefix begins with a slash, is decoded (``/café``,
        not ``/caf%C3%A9``) and may end with one slash; ``""`` means ``/``.
    :raises UsageError: for no application at all, one that cannot be called, a prefix that can never match, or two
        applications at the same prefix.
    """

    def __init__(self, apps: Mapping[str, WSGIApplication] | Iterable[tuple[str, WSGIApplication]]) -> None:
        mounts: dict[str, WSGIApplication] = {}
        for prefix, app in _pairs(apps):
            path = wsgi_prefix(prefix)
            if not callable(app):
                raise UsageError(f"a WSGI application is a callable, got {app!r:.80} at {prefix!r:.80}")
            if path in mounts:
                raise UsageError(f"two applications are mounted at {path or '/'!r:.80}")
            mounts[path] = app
        if not mounts:
            raise UsageError("PathInfoDispatcher needs at least one application, like {'/': site}")
        self._root = mounts.get("")
        self._mounts = [
            (path, path + "/", mounts[path]) for path in sorted(mounts, key=lambda path: (-len(path), path))
        ]

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Where applications are mounted, as PATH_INFO has it, without the slash at the end."""
        return tuple(prefix for prefix, _, _ in self._mounts)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        for prefix, below, app in self._mounts:
            if path.startswith(below) or path == prefix:
                if prefix:
                    environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + prefix
                    environ["PATH_INFO"] = path[len(prefix) :]
                return app(environ, start_response)
        if path == "*" and self._root is not None:
            return self._root(environ, start_response)
        body = b"Nothing is mounted at this path.\n"
        start_response(
            "404 Not Found", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
        )
        return [body]


def mounted_at(root: str, app: WSGIApplication) -> WSGIApplication:
    """Return an application that moves ``root`` to SCRIPT_NAME, and calls ``app``.

    A frontend may have removed the root from the path already; then the path stays the same. A web server that speaks
    SCGI or the like may have moved it to SCRIPT_NAME; then both stay the same.

    :param root: decoded, like ``/shop``, without a slash at its end.
    """
    root = wsgi_path(root)
    below = root + "/"

    def mounted(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path, script = environ.get("PATH_INFO", ""), environ.get("SCRIPT_NAME", "")
        if script == root or script.startswith(below):  # a web server has told it, in a variable
            return app(environ, start_response)
        environ["SCRIPT_NAME"] = root + script
        if path == root or path.startswith(below):
            environ["PATH_INFO"] = path[len(root) :]
        return app(environ, start_response)

    return mounted


def wsgi_path(path: str) -> str:
    """A decoded path in the form that environs have: its UTF-8 bytes as latin-1 characters (PEP 3333)."""
    return path.encode("utf-8").decode("latin-1")


def _pairs(apps: object) -> Iterable[tuple[object, WSGIApplication]]:
    if isinstance(apps, Mapping):
        return list(apps.items())
    if isinstance(apps, str) or not isinstance(apps, Iterable):
        raise UsageError(f"PathInfoDispatcher wants a mapping of prefix to application, got {apps!r:.80}")
    pairs = list(apps)
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise UsageError(f"PathInfoDispatcher wants pairs of prefix and application, got {pair!r:.80}")
    return pairs


def wsgi_prefix(prefix: object) -> str:
    """Check a prefix, and return it as PATH_INFO has it, without the slash at its end."""
    if not isinstance(prefix, str):
        raise UsageError(f"a path prefix is a str like '/blog', got {prefix!r:.80}")
    if prefix and not prefix.startswith("/"):
        raise UsageError(f"a path prefix begins with a slash: write {'/' + prefix!r:.80}, not {prefix!r:.80}")
    path = prefix.removesuffix("/")
    if "//" in path + "/":
        raise UsageError(f"the path prefix {prefix!r:.80} has an empty segment")
    if _ESCAPE.search(path):
        raise UsageError(f"a path prefix is written decoded, without %XX: {prefix!r:.80}")
    try:
        return wsgi_path(path)
    except UnicodeEncodeError as error:
        raise UsageError(f"the path prefix {prefix!r:.80} cannot be encoded as UTF-8") from error
