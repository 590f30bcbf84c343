"""Values that follow one browser from request to request, in a signed cookie (the library ``itsdangerous``)."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from reserve.desk.request import Request
from reserve.desk.response import Response

try:
    from itsdangerous import BadData, URLSafeTimedSerializer
except ImportError as error:
    raise ImportError(
        f"desk needs the library itsdangerous, which cannot be imported ({error}): pip install 'reserve[desk]'",
        name=error.name,
    ) from error

__all__ = ["SessionCookie"]

_MOST_BYTES = 4000
"""Browsers drop a cookie of more than 4,096 bytes, its name and attributes included."""


class SessionCookie:
    """Reads and writes a dict that a browser keeps for the program.

    The cookie is signed, so that a user cannot change it, but not encrypted: it can be read by the user. It has
    SameSite=Lax and HttpOnly, and Secure for a request that came by https. The object keeps nothing of a session; all
    requests may use one.

    ``data = session.load(request)``, then ``session.save(response, data)``.

    :param secret: the key of the signature, at least 16 characters or bytes that nobody can guess. Default: a random
        one, with which all sessions end when the program does.
    :param name: of the cookie. Cookies know no ports, so that two programs on localhost need two names.
    :param max_age: seconds from the last ``save`` after which the session is over. Default: 30 days.
    :param path: the browser sends it back for addresses that begin so. Default: all.
    :raises ValueError: for a short secret, or a name that a cookie cannot have.
    """

    def __init__(
        self,
        secret: str | bytes | None = None,
        *,
        name: str = "session",
        max_age: int = 30 * 24 * 3600,
        path: str = "/",
    ) -> None:
        if secret is None:
            secret = secrets.token_bytes(32)
        if len(secret) < 16:
            raise ValueError("the secret of a session has at least 16 characters; secrets.token_hex() makes one")
        self.name = name
        self._max_age = max_age
        self._path = path
        self._serializer = URLSafeTimedSerializer(
            secret, salt=f"reserve.desk.session {name}", signer_kwargs={"digest_method": hashlib.sha256}
        )
        Response("").set_cookie(name, "", path=path)  # raises what it has against them

    def load(self, request: Request) -> dict[str, Any]:
        """Return the values of the request's session; an empty dict if it has none, or an expired or changed one."""
        cookie = request.cookies.get(self.name)
        if not cookie or len(cookie) > 2 * _MOST_BYTES:
            return {}
        try:
            data = self._serializer.loads(cookie, max_age=self._max_age)
        except BadData:
            return {}
        return data if isinstance(data, dict) else {}

    def save(self, response: Response, data: dict[str, Any]) -> None:
        """Have the browser keep these values in place of those before; an empty dict ends the session.

        :param data: what JSON can hold, about 3,000 bytes.
        :raises ValueError: for more than a cookie can hold.
        :raises TypeError: for a value that JSON cannot hold.
        """
        if not data:
            response.set_cookie(self.name, "", max_age=0, path=self._path)
            return
        cookie = self._serializer.dumps(data)
        text = cookie.decode("ascii") if isinstance(cookie, bytes) else cookie
        if len(text) + len(self.name) > _MOST_BYTES:
            raise ValueError(f"a session of {len(text)} bytes is too large for a cookie ({_MOST_BYTES} bytes)")
        response.set_cookie(self.name, text, max_age=self._max_age, path=self._path)
