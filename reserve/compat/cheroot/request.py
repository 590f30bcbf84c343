"""One request as cheroot shows it to a gateway: ``HTTPRequest``, its ``HTTPConnection``, and ``Gateway``.

They stand over the environ and the ``start_response`` of a WSGI request (PEP 3333), so the engine keeps what it
guarantees for applications: the body was received and its framing checked before, and the response is checked and
framed after. The worker that runs the request makes them and uses them; :func:`run_gateway` is what it calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from reserve.errors import ApplicationError

if TYPE_CHECKING:
    from reserve.gateways.exchange import Environ, StartResponse

__all__ = ["Gateway", "HTTPConnection", "HTTPRequest", "run_gateway", "user_and_group"]

_TOO_LARGE = ("413", "414")


class HTTPConnection:
    """The client of a request. cheroot has one for each connection; here each request has one.

    :param server: the :class:`~reserve.compat.cheroot.server.HTTPServer`.
    :param environ: of the request.
    :param start_response: the server's.
    """

    RequestHandlerClass: ClassVar[Any]
    """The class of requests; a program may set another one, derived from :class:`HTTPRequest`."""

    def __init__(self, server: Any, environ: Environ, start_response: StartResponse) -> None:
        self.server = server
        self.environ = environ
        self.start_response = start_response
        self.remote_addr: str | None = environ.get("REMOTE_ADDR") or None
        self.remote_port: int | None = int(environ.get("REMOTE_PORT") or 0) or None
        self.ssl_env: dict[str, Any] = {
            name: value for name, value in environ.items() if name == "HTTPS" or name.startswith("SSL_")
        }
        """The variables of TLS."""
        self.rfile = environ["wsgi.input"]
        """The body of the request, and nothing else of the connection."""
        self.socket = None
        """The engine has the socket: it may belong to another thread while the application runs."""

    def get_peer_creds(self) -> tuple[int, int, int]:
        """Process, user and group of a client on a UNIX socket. Raises RuntimeError for others, and when the server's
        ``peercreds_enabled`` is off.
        """
        try:
            pid, uid, gid = (int(self.environ[f"X_REMOTE_{name}"]) for name in ("PID", "UID", "GID"))
        except KeyError:
            raise RuntimeError(
                "the client's process is known only on a UNIX socket, and with peercreds_enabled=True"
            ) from None
        return pid, uid, gid

    def resolve_peer_creds(self) -> tuple[str, str]:
        """The names of that user and group. Raises RuntimeError as :meth:`get_peer_creds`, and when
        ``peercreds_resolve_enabled`` is off.
        """
        if not self.server.peercreds_resolve_enabled:
            raise RuntimeError("names of users are looked up only with peercreds_resolve_enabled=True")
        return user_and_group(*self.get_peer_creds()[1:])

    @property
    def peer_pid(self) -> int:
        """The process of a client on a UNIX socket."""
        return self.get_peer_creds()[0]

    @property
    def peer_uid(self) -> int:
        """Its user."""
        return self.get_peer_creds()[1]

    @property
    def peer_gid(self) -> int:
        """Its group."""
        return self.get_peer_creds()[2]

    @property
    def peer_user(self) -> str:
        """The name of its user."""
        return self.resolve_peer_creds()[0]

    @property
    def peer_group(self) -> str:
        """The name of its group."""
        return self.resolve_peer_creds()[1]


class HTTPRequest:
    """One request and its response, for a gateway. Texts of the request are bytes, as in cheroot.

    :param server: the :class:`~reserve.compat.cheroot.server.HTTPServer`.
    :param conn: the client.
    :param proxy_mode: not used: a target in absolute form is always accepted (RFC 9112 section 3.2.2).
    :param strict_mode: not used: the server is always strict.
    """

    close_connection = False
    """Set it before the head is sent: the connection closes after the response."""
    chunked_write = False
    """Not used: the server frames the response."""

    def __init__(self, server: Any, conn: HTTPConnection, proxy_mode: bool = False, strict_mode: bool = True) -> None:
        environ = conn.environ
        self.server = server
        self.conn = conn
        self.ready = True
        """The head was read."""
        self.started_request = True
        self.proxy_mode = proxy_mode
        self.strict_mode = strict_mode
        self.method = _bytes(environ["REQUEST_METHOD"])
        self.uri = _bytes(environ["REQUEST_URI"])
        """As it was sent."""
        self.scheme = _bytes(environ["wsgi.url_scheme"])
        self.authority = b"" if self.uri[:1] in (b"/", b"*") else _bytes(urlsplit(environ["REQUEST_URI"]).netloc)
        """From a target in absolute form; else empty."""
        self.path = _bytes(environ["PATH_INFO"])
        """Decoded, but for ``%2F``."""
        self.qs = _bytes(environ["QUERY_STRING"])
        self.request_protocol = _bytes(environ["SERVER_PROTOCOL"])
        self.response_protocol = min(environ["SERVER_PROTOCOL"], server.protocol)
        self.inheaders: dict[bytes, bytes] = dict(_request_headers(environ))
        """By names as ``Content-Type``."""
        self.chunked_read = "wsgi.trailers" in environ
        """The client sent its body in chunks."""
        self.rfile = environ["wsgi.input"]
        """The body; ends where it ends."""
        self.status: bytes | str = b""
        """Set it before :meth:`ensure_headers_sent`, as ``b"200 OK"``."""
        self.outheaders: list[tuple[bytes | str, bytes | str]] = []
        """The fields of the response."""
        self.sent_headers = False
        """The status and the fields were passed on, and cannot be changed any more."""
        self._send: Callable[[bytes], object] | None = None

    def respond(self) -> None:
        """Call the server's gateway, and send the head if that has not been done."""
        self.server.gateway(self).respond()
        self.ensure_headers_sent()

    def ensure_headers_sent(self) -> None:
        """Pass the status and the fields on, unless that has been done."""
        if not self.sent_headers:
            self.sent_headers = True
            self.send_headers()

    def send_headers(self) -> None:
        """Pass the status and the fields on; they leave with the first bytes of the body, or at its end."""
        self.sent_headers = True
        if not self.status:
            raise ApplicationError("the gateway has not set req.status")
        headers = [(_text(name), _text(value)) for name, value in self.outheaders]
        if self.close_connection:
            headers.append(("Connection", "close"))
        self._send = self.conn.start_response(_text(self.status), headers)

    def write(self, chunk: bytes) -> None:
        """Send a part of the body, and the head before it."""
        self.ensure_headers_sent()
        if chunk:
            assert self._send is not None, "ensure_headers_sent() has set it"
            self._send(bytes(chunk))

    def simple_response(self, status: str | int, msg: str = "") -> None:
        """Send a complete response of plain text."""
        body = msg.encode()
        self.status = str(status)
        self.close_connection = self.close_connection or self.status[:3] in _TOO_LARGE
        self.outheaders = [("Content-Length", str(len(body))), ("Content-Type", "text/plain; charset=utf-8")]
        self.send_headers()
        self.write(body)


HTTPConnection.RequestHandlerClass = HTTPRequest


class Gateway:
    """What responds to the requests of an :class:`~reserve.compat.cheroot.server.HTTPServer`: the base class.

    The worker that runs a request makes one, and calls :meth:`respond`.

    :param req: the request.
    """

    def __init__(self, req: HTTPRequest) -> None:
        self.req = req

    def respond(self) -> None:
        """Send the response. Derived classes implement it."""
        raise NotImplementedError(f"{type(self).__name__} has no method respond()")


def run_gateway(server: Any, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Call the gateway of a server for one request: a WSGI application, on a worker."""
    connection = server.ConnectionClass(server, environ, start_response)
    connection.RequestHandlerClass(server, connection).respond()
    return ()


@lru_cache(maxsize=256)
def user_and_group(uid: int, gid: int) -> tuple[str, str]:
    """The names of a user and a group. May wait for a directory service. Raises RuntimeError if there are none."""
    try:
        import grp
        import pwd

        return pwd.getpwuid(uid).pw_name, grp.getgrgid(gid).gr_name
    except (ImportError, KeyError) as error:
        raise RuntimeError(f"user {uid} and group {gid} have no names here: {error}") from error


def _request_headers(environ: Environ) -> Iterable[tuple[bytes, bytes]]:
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            name = name[5:]
        elif name not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            continue
        yield _bytes(name.replace("_", "-").title()), _bytes(value)


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")


def _text(value: bytes | str) -> str:
    return value.decode("latin-1") if isinstance(value, (bytes, bytearray)) else value
