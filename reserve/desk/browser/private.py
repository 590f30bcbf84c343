"""``private=True``: the program is open in the browser that it has opened itself, and in no other.

Every user of the machine, and every program on it, can connect to a port of 127.0.0.1. A private program therefore
opens a start address with a token, which works once. The response sets a cookie, and sends the browser on to an address
without the token, so that it is neither in the address bar nor in a Referer. Each other request, except the question of
a second start (:mod:`reserve.desk.browser.instance`), needs the cookie, or gets a page that says so, with status 403.

The token works only once because other users can see the command line of a browser. If one of them is faster, the
visitor gets the page with status 403, and knows.

The cookie has the port in its name, because browsers send the cookies of one port to all ports of a host. So a server
on another port of this machine also receives it, if the visitor opens that server in the same browser. ``HttpOnly``: no
script can read it. ``SameSite=Strict``: it is not sent when a page of another site links to the program.
"""

from __future__ import annotations

import hmac
import re
import secrets
import threading
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs, quote

from reserve.gateways.exchange import WSGIApplication

__all__ = ["START_PATH", "PrivateGate", "make_start_path"]

START_PATH = "/.desk/start"
"""Where a browser exchanges the token for the cookie."""
_TOKEN = re.compile(r"([0-9a-f]{32})-([0-9a-f]{64})\Z")
_PAGE = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>This program is private</title>
<style>body { font: 1.1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 15vh auto; padding: 0 1rem }</style>
</head><body><h1>This program is private</h1>
<p>It belongs to the user who started it. It answers only in the browser that it opened itself; other browsers, other
programs and other users of this machine are refused.</p>
<p>Is it yours? Then start it once more: it opens its page. If you followed a link from another site, enter the address
yourself.</p></body></html>
"""

StartResponse = Callable[..., Any]


def make_start_path(key: bytes, page: str) -> str:
    """The path and query with which a browser gets the cookie and is sent to a page.

    :param key: the secret of the server that runs.
    :param page: the path of the page, with its query.
    """
    nonce = secrets.token_hex(16)
    return f"{START_PATH}?token={nonce}-{_sign(key, 'token', nonce)}&page={quote('/' + page.lstrip('/'), safe='')}"


def _sign(key: bytes, purpose: str, text: str = "") -> str:
    return hmac.digest(key, f"{purpose}:{text}".encode(), "sha256").hex()


class PrivateGate:
    """A WSGI application around another one, which only requests with the cookie reach.

    :param app: the application.
    :param key: a secret of at least 16 bytes, new for each start.
    :param port: the TCP port of the server.
    :param open_paths: paths that need no cookie.
    """

    def __init__(self, app: WSGIApplication, key: bytes, port: int, open_paths: Iterable[str] = ()) -> None:
        self._app = app
        self._key = key
        self._name = f"desk-{port}"
        self._value = _sign(key, "cookie")
        self._open_paths = frozenset(open_paths)
        self._lock = threading.Lock()
        self._used: set[str] = set()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        allowed = path in self._open_paths or self._has_cookie(environ.get("HTTP_COOKIE", ""))
        if path == START_PATH:
            query = parse_qs(environ.get("QUERY_STRING", ""))
            page = "/" + query.get("page", ["/"])[0].lstrip("/\\")
            if self._take(query.get("token", [""])[0]) or allowed:
                start_response("303 See Other", self._redirection(quote(page, safe="/?&=%;:@!$'()*+,~")))
                return []
            allowed = False
        if allowed:
            return self._app(environ, start_response)
        headers = [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(_PAGE))),
            ("Cache-Control", "no-store"),
        ]
        start_response("403 Forbidden", headers)
        return [_PAGE]

    def _redirection(self, page: str) -> list[tuple[str, str]]:
        return [
            ("Location", page),
            ("Set-Cookie", f"{self._name}={self._value}; Path=/; HttpOnly; SameSite=Strict"),
            ("Cache-Control", "no-store"),
            ("Referrer-Policy", "no-referrer"),
            ("Content-Length", "0"),
        ]

    def _has_cookie(self, cookies: str) -> bool:
        """One of the cookies is ours. Another port of this host can have set more of the same name."""
        found = False
        for cookie in cookies.split(";"):
            name, _, value = cookie.strip().partition("=")
            if name == self._name:
                found |= hmac.compare_digest(value.encode(), self._value.encode())
        return found

    def _take(self, token: str) -> bool:
        """The token is right, and no request has used it yet."""
        match = _TOKEN.match(token)
        if match is None or not hmac.compare_digest(match[2].encode(), _sign(self._key, "token", match[1]).encode()):
            return False
        with self._lock:
            if match[1] in self._used:
                return False
            self._used.add(match[1])
        return True
