"""What a handler returns, for the browser."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from random import choice
from typing import Any, ClassVar, Protocol
from urllib.parse import SplitResult, quote

from reserve import __version__
from reserve.desk.bag import Bag, Pairs
from reserve.desk.content import Content, escape, flatten
from reserve.desk.errorpage import DETAILS, GENERIC, GRIPE, STACK_TRACE, describe_trace
from reserve.desk.formdata import ProtocolError
from reserve.desk.templates import AbstractTemplate

__all__ = ["HEADER_NAME", "Response"]

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_COOKIE_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")  # RFC 6265 section 4.1.1
_COOKIE_PATH = re.compile(r"[\x20-\x3a\x3c-\x7e]*")
_REDIRECTS = (302, 303, 307, 308)
_URL_CHARACTERS = "!#$%&'()*+,/:;=?@[]~"
"""What stays as it is in the address of a redirect: what is encoded already, and what separates its parts."""


class Asked(Protocol):
    """What an error page needs of the request."""

    command: str
    url: SplitResult
    handler: str
    debug: bool

    def root_url(self, path: list[str], query: Any = None) -> str: ...


class Response:
    """One response: a status, headers and a body.

    The content is made into bytes here, on the thread of the handler, while what a generator reads is still open, such
    as a cursor. Text becomes UTF-8. The pieces are joined once.

    :param content: str, bytes, numbers, None (nothing), objects with ``__html__``, a mapping (a line ``key: value`` for
        each item), and iterables of these in any depth.
    :param code: the status, 200 to 599.
    :param headers: a mapping, a Bag or pairs. Content-Type is ``text/html; charset=utf-8`` unless it is given. The
        server adds the length, and whether the browser has the same content already (ETag).
    :param shut_down: whether ``serve_http`` ends after this response.
    :raises TypeError: for content with a Response in it, whose status and headers would be lost.
    :raises ValueError: for an unknown code, or for a header that is not allowed, such as one with a line break.
    """

    REASON: ClassVar[dict[int, bytes]] = {status.value: status.phrase.encode() for status in HTTPStatus}
    """The phrase of each status. A program can add one."""
    TEMPLATE_GENERIC: ClassVar[AbstractTemplate] = GENERIC
    """The page of :meth:`generic`; it gets ``title`` (text), ``body`` (content) and ``version`` (of reserve). A program
    can replace this one and the others: ``Response.TEMPLATE_GENERIC = Template(...)``."""
    TEMPLATE_GRIPE: ClassVar[AbstractTemplate] = GRIPE
    """What :meth:`swear` says first; it gets ``command``, the method, and ``url``, which the browser asked for."""
    TEMPLATE_STACK_TRACE: ClassVar[AbstractTemplate] = STACK_TRACE
    """What :meth:`from_exception` shows in debug; it gets ``trace``, the whole traceback as text, ``error``, the type
    and message of the exception, ``frames`` (content), the lines of the program where it was, and ``handler``."""
    MINCED_OATHS: ClassVar[list[str]] = [
        "Botheration", "Bother", "Crumbs", "Dash it", "Good gracious", "Oh bother", "Oh dear", "Oops", "Phooey",
        "Tarnation", "What a pickle", "Well, blow me down", "Yikes",
    ]  # fmt: skip
    """What :meth:`swear` says for a title."""

    def __init__(
        self,
        content: Content,
        *,
        code: int = 200,
        headers: Pairs | Bag | None = None,
        shut_down: bool = False,
    ) -> None:
        check_code(code)
        if code not in self.REASON:
            raise ValueError(f"{code} has no phrase; add one: Response.REASON[{code}] = b'...'")
        self.code = int(code)
        self.headers: dict[str, str] = {}
        """The headers; their names are in lower case. A program may change it; it is checked when it is sent, too."""
        self.cookies: list[tuple[str, bool | None]] = []
        """What :meth:`set_cookie` added: the value of a Set-Cookie, and whether Secure is to be added (see there)."""
        if headers is not None:
            for name, value in headers.items() if isinstance(headers, (Mapping, Bag)) else headers:
                self.headers[str(name).lower()] = check_header(str(name), str(value))
        self.headers.setdefault("content-type", "text/html; charset=utf-8")
        self.body: bytes = b"".join(flatten(content))
        """The content, joined."""
        self.shut_down = bool(shut_down)
        self.wsgi: Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]] | None = None
        """A WSGI application that sends its own response in place of this one, as for a file that is read piece by
        piece. Default: none."""

    def __html__(self) -> str:
        # Its status and headers would be lost in other content. Templates of other libraries look for this method, too.
        raise TypeError("a Response is no content, and no part of any: return it alone, or use its body")

    @property
    def reason(self) -> str:
        """The phrase of the status."""
        return phrase(self.code)

    @property
    def content(self) -> bytes:
        """Status line, headers and body as they could be sent by HTTP/1.0, for tests and for programs that change it.

        Setting it sets the code, the headers and the body, and removes the cookies. The header of a cookie is then one
        of :attr:`headers`.
        """
        lines = [f"HTTP/1.0 {self.code} {self.reason}", *(f"{name}: {value}" for name, value in self.header_list())]
        return "\r\n".join([*lines, "\r\n"]).encode("latin-1", "replace") + self.body

    @content.setter
    def content(self, content: bytes) -> None:
        head, end, body = content.partition(b"\r\n\r\n")
        line, *fields = head.decode("utf-8", "replace").split("\r\n")
        code = line.split(" ")[1:2]
        if not (end and line.startswith("HTTP/") and code and re.fullmatch("[2-5][0-9][0-9]", code[0])):
            raise ValueError(f"the content of a response begins with a status line and headers, not {line!r:.80}")
        pairs = [(name, value.strip()) for name, _, value in (field.partition(":") for field in fields)]
        self.headers = {name.lower(): check_header(name, value) for name, value in pairs}
        self.code, self.cookies, self.body = int(code[0]), [], body

    def header_list(self, *, https: bool = False) -> list[tuple[str, str]]:
        """All headers as WSGI wants them (a character for each byte), one Set-Cookie for each cookie included.

        Text that is not ASCII is sent as UTF-8, which browsers understand in names of files (Content-Disposition).

        :param https: whether the request came by https; the cookies that leave it open get Secure then.
        :raises ValueError: for a header that is not allowed.
        """
        checked = {name.lower(): check_header(name, value) for name, value in self.headers.items()}
        headers = [(name, value.encode("utf-8").decode("latin-1")) for name, value in checked.items()]
        for cookie, secure in self.cookies:
            text = f"{cookie}; Secure" if (https if secure is None else secure) else cookie
            headers.append(("set-cookie", check_header("set-cookie", text)))
        return headers

    def set_cookie(
        self,
        name: str,
        value: str,
        *,
        max_age: int | None = None,
        path: str = "/",
        same_site: str = "Lax",
        http_only: bool = True,
        secure: bool | None = None,
    ) -> None:
        """Add a cookie. Cookies know no ports: all programs of one host name share them.

        :param name: a token (RFC 6265).
        :param value: ASCII without spaces, quotes, commas, semicolons and backslashes.
        :param max_age: seconds; 0 deletes the cookie. Default: until the browser ends.
        :param path: the browser sends it back for addresses that begin so.
        :param same_site: ``Lax``, ``Strict`` or ``None``, which needs ``secure=True``.
        :param http_only: whether JavaScript may not see it.
        :param secure: whether the browser sends it by https only. Default: if this request came so.
        :raises ValueError: for a name, value or path that a cookie cannot have.
        """
        if not HEADER_NAME.fullmatch(name):
            raise ValueError(f"a cookie cannot have the name {name!r:.80}")
        if not _COOKIE_VALUE.fullmatch(value):
            raise ValueError(f"the value of the cookie {name} has a character that cookies cannot have: {value!r:.80}")
        if not _COOKIE_PATH.fullmatch(path):
            raise ValueError(f"the path of the cookie {name} has a character that cookies cannot have: {path!r:.80}")
        if same_site not in ("Lax", "Strict", "None"):
            raise ValueError(f"same_site is Lax, Strict or None (a str), not {same_site!r:.80}")
        if same_site == "None" and not secure:
            raise ValueError("browsers refuse a cookie with same_site='None' unless it has secure=True")
        text = f"{name}={value}; Path={path}; SameSite={same_site}"
        if max_age is not None:
            text += f"; Max-Age={int(max_age)}"
            if max_age <= 0:
                text += f"; Expires={datetime.fromtimestamp(0, UTC):%a, %d %b %Y %H:%M:%S} GMT"
        if http_only:
            text += "; HttpOnly"
        self.cookies.append((text, secure))

    # ---- the usual responses ----

    @staticmethod
    def redirect(url: str, *, code: int = 302) -> Response:
        """Send the browser to another address.

        :param url: characters that an address cannot have, such as spaces and umlauts, are percent-encoded.
        :param code: 302 or 303, after which it sends a GET; 307 or 308, after which it sends the same again. 308 is
            remembered by browsers.
        :raises ValueError: for another code, and for line breaks and other control characters.
        """
        if code not in _REDIRECTS:
            raise ValueError(f"the code of a redirect is one of {_REDIRECTS}, not {code!r:.80}")
        url = str(url)
        if any(character < " " or character == "\x7f" for character in url):
            raise ValueError(f"the address of a redirect has a control character: {url!r:.200}")
        return Response("", code=code, headers={"location": quote(url, safe=_URL_CHARACTERS, errors="replace")})

    @staticmethod
    def plain_text(text: Content) -> Response:
        """Content that the browser shows as it is, not as HTML."""
        return Response(text, headers={"content-type": "text/plain; charset=utf-8"})

    @staticmethod
    def generic(body: Content = None, *, title: str | None = None, code: int = 200) -> Response:
        """A simple page.

        :param body: HTML. Default: a sentence about the code.
        :param title: text. Default: the phrase of the code.
        """
        if title is None:
            title = phrase(code)
        if body is None or body == "":
            body = DETAILS.get(code, "There is nothing more to say.")
        page = Response.TEMPLATE_GENERIC(
            title=title,
            body=body,
            version=__version__,
            kali_version=__version__,
            python_version=platform.python_version(),
        )
        return Response(page, code=code)

    @staticmethod
    def swear(request: Asked, detail: Content, *, code: int = 500) -> Response:
        """A page that says that something went wrong, and during which request.

        :param detail: HTML; it is shown as it is.
        """
        url = "/" + request.url.path.lstrip("/") + (f"?{request.url.query}" if request.url.query else "")
        prefix = request.root_url([]).rstrip("/")
        gripe = Response.TEMPLATE_GRIPE(command=request.command, url=prefix + url.replace("\\", "%5C"))
        return Response.generic([gripe, detail], code=code, title=f"{choice(Response.MINCED_OATHS)}!")

    @staticmethod
    def from_exception(request: Asked) -> Response:
        """The page of the exception that is being handled; call it in an ``except`` block.

        Its traceback is shown if ``request.debug`` is true; otherwise the page shows nothing of the program. A
        ProtocolError is the mistake of a browser: the page has its code and shows its message.
        """
        error = sys.exc_info()[1]
        if isinstance(error, ProtocolError):
            return Response.swear(request, escape(str(error)), code=error.code)
        if not request.debug or error is None:
            return Response.swear(request, DETAILS[500])
        return Response.swear(request, Response.TEMPLATE_STACK_TRACE(**describe_trace(error, request.handler)))


def phrase(code: int) -> str:
    """The phrase of a status; the number itself if it has none."""
    text: bytes | str = Response.REASON.get(code, str(code))  # a program may have set a str
    return text.decode("latin-1") if isinstance(text, bytes) else text


def check_code(code: int) -> None:
    """:raises ValueError: for a status that no response of a program can have."""
    if isinstance(code, bool) or not isinstance(code, int) or not 200 <= code <= 599:
        raise ValueError(f"the code of a response is a number from 200 to 599, not {code!r:.80}")


def check_header(name: str, value: str) -> str:
    """Return the value of a header.

    :raises ValueError: for a name that is no token, and a value with a control character or half of a surrogate pair.
    """
    if not HEADER_NAME.fullmatch(name):
        raise ValueError(f"a header cannot have the name {name!r:.80}")
    if any((character < " " and character != "\t") or character == "\x7f" for character in value):
        raise ValueError(f"the header {name} has a line break or another control character: {value!r:.80}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"the header {name} has a character that headers cannot have: {value!r:.80}") from None
    return value
