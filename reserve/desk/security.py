"""Who may talk to a program on this machine: checks of Host and of the origin, from fields that a page cannot forge.

Two attacks reach a server on localhost through the browser of its own user. With DNS rebinding a page of another site
gives its own host name the address 127.0.0.1, and then reads everything as its own origin: such requests have the name
of that site in Host, so names that are not of this machine are refused. And any page can send a form to
``http://localhost:8080/``: a browser says so in Sec-Fetch-Site and Origin. So forms need no tokens.

A page of another site could also show this program in a frame, under something else that the user believes to click
on. So HTML gets ``X-Frame-Options: SAMEORIGIN``, unless it has that header already or other sites may send forms.

Programs that are no browsers send neither field, and are not what this is against; see ``serve_http(private=True)``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from reserve.sockets.addresses import is_local

__all__ = ["SAFE_METHODS", "Refusal", "SecurityPolicy", "is_local"]

SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
"""Methods with which a page of another site may send requests: handlers change nothing for them."""

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::([0-9]*))?")


class Refusal(NamedTuple):
    """Why a request is refused, for the one who reads the page of it."""

    code: int
    detail: str
    """Text, not HTML."""


class SecurityPolicy:
    """What one program accepts. It is made once, and does not change.

    :param hosts: the names under which it is reached, beside those of this machine itself (localhost, names that end
        with ``.localhost``, 127.0.0.1, ``[::1]``): ``"desk.example.org"`` with any port,
        ``"desk.example.org:8080"`` with this one, ``"*.example.org"`` for all names below one. A str is one name;
        ``"*"`` is any. Default: none.
    :param cross_origin: True if pages of any other site may send forms, or the origins that may, like
        ``"https://www.example.org"``. Default: none.
    :raises ValueError: for what is no name or no origin.
    """

    def __init__(self, hosts: str | Iterable[str] | None = None, cross_origin: bool | str | Iterable[str] = False):
        names = (hosts,) if isinstance(hosts, str) else tuple(hosts or ())
        self._any_host = "*" in names
        self._hosts = frozenset(_checked_host(name) for name in names if name != "*")
        self._any_origin = cross_origin is True
        if isinstance(cross_origin, (bool, str)):
            cross_origin = (cross_origin,) if isinstance(cross_origin, str) else ()
        self._origins = frozenset(_checked_origin(origin) for origin in cross_origin)
        self.allows_frames = self._any_origin or bool(self._origins)
        """Whether pages of other sites may show this program in a frame: if some of them may send forms."""

    def check(self, environ: Mapping[str, Any]) -> Refusal | None:
        """Look at the head of a request; None if it may pass."""
        return self.check_host(environ.get("HTTP_HOST")) or self.check_origin(environ)

    def check_host(self, field: str | None) -> Refusal | None:
        """Look at a Host field. None and an empty one are no browser's: they come by HTTP/1.0 and UNIX sockets."""
        if not field or self._any_host:
            return None
        match = _HOST.fullmatch(field)
        if match is None:
            return Refusal(400, f"The Host field of the request is not valid: {field!a:.200}")
        name, port = match[1].lower().removesuffix("."), match[2]
        if is_local(name):
            return None
        if name in self._hosts or (port and f"{name}:{port}" in self._hosts):
            return None
        labels = name.split(".")
        if any(f"*.{'.'.join(labels[at:])}" in self._hosts for at in range(1, len(labels))):
            return None
        return Refusal(
            421,
            f"This program does not answer to the name {name!r}, because a page of another site could have that name "
            "lead here (DNS rebinding). Use localhost. If the name is right, allow it in the program: "
            f"hosts=[{name!r}]",
        )

    def check_origin(self, environ: Mapping[str, Any]) -> Refusal | None:
        """Look at the fields with which a browser says which page sends the request."""
        if self._any_origin or environ["REQUEST_METHOD"] in SAFE_METHODS:
            return None
        site, origin = environ.get("HTTP_SEC_FETCH_SITE"), environ.get("HTTP_ORIGIN")
        if origin is not None and origin.lower() in self._origins:
            return None
        if site is not None:
            passes = site in ("same-origin", "none")
        else:
            passes = origin is None or _is_same(origin, environ.get("HTTP_HOST") or "")
        if passes:
            return None
        where = "another site" if origin in (None, "null") else ascii(origin)[1:-1][:200]
        return Refusal(
            403,
            f"The page that sends this is of {where}, and pages of other sites may change nothing here. If it is meant "
            "to, allow it in the program: cross_origin=['https://...']. Behind a proxy, have that pass the Host field "
            "on.",
        )


def _checked_host(name: str) -> str:
    match = _HOST.fullmatch(name.removeprefix("*.")) if isinstance(name, str) else None
    if match is None or not match[1]:
        raise ValueError(f"hosts are names like 'desk.example.org', with or without a port; got {name!r:.80}")
    return name.lower().removesuffix(".")


def _checked_origin(origin: str) -> str:
    if isinstance(origin, str):
        scheme, separator, authority = origin.partition("://")
        if scheme and separator and authority and not re.search(r"[/?#@\s]", authority):
            return origin.lower()
    raise ValueError(f"origins are like 'https://www.example.org', without a path; got {origin!r:.80}")


def _is_same(origin: str, host: str) -> bool:
    """Whether an Origin field names the host and port of a Host field. Browsers leave the default port out of both."""
    try:
        url = urlsplit(origin.lower())
        port = {"http": 80, "https": 443}[url.scheme]
    except (ValueError, KeyError):  # an extension of the browser is no page of this program
        return False
    return bool(url.netloc) and url.netloc.removesuffix(f":{port}") == host.lower().removesuffix(f":{port}")
