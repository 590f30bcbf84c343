"""``Server``, cheroot's WSGI server (``CherryPyWSGIServer`` in older CherryPy), its gateways and its dispatcher."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from reserve.compat.cheroot.request import Gateway as _Gateway
from reserve.compat.cheroot.request import HTTPRequest, run_gateway
from reserve.compat.cheroot.server import BindAddress, HTTPServer
from reserve.compat.cheroot.workers.threadpool import ThreadPool
from reserve.gateways.dispatch import PathInfoDispatcher as _PathInfoDispatcher
from reserve.gateways.exchange import Environ, ExcInfo, StartResponse, Write, WSGIApplication

__all__ = [
    "CherryPyWSGIServer",
    "Gateway",
    "Gateway_10",
    "Gateway_u0",
    "PathInfoDispatcher",
    "Server",
    "WSGIGateway",
    "WSGIGateway_10",
    "WSGIGateway_u0",
    "WSGIPathInfoDispatcher",
    "WSGIServer",
    "wsgi_gateways",
]


class Server(HTTPServer):
    """A server for one WSGI application; owned by the program that makes it.

    :param bind_addr: see :class:`~reserve.compat.cheroot.server.HTTPServer`.
    :param wsgi_app: the application. The attribute of this name may be replaced at any time.
    :param numthreads: threads that are always there.
    :param server_name: the Server field of responses, and SERVER_NAME. Default: ``version``, and the address.
    :param max: how many threads there may be while requests wait; -1: not more than ``numthreads``.
    :param request_queue_size: see the attribute.
    :param timeout: see the attribute.
    :param shutdown_timeout: see the attribute.
    :param accepted_queue_size: requests that may wait for a thread; see
        :class:`~reserve.compat.cheroot.workers.threadpool.ThreadPool`.
    :param accepted_queue_timeout: not used.
    :param peercreds_enabled: see :class:`~reserve.compat.cheroot.server.HTTPServer`, like the next two.
    """

    wsgi_version: Any = (1, 0)
    """Which of :data:`wsgi_gateways` is used."""

    def __init__(
        self,
        bind_addr: BindAddress,
        wsgi_app: WSGIApplication,
        numthreads: int = 10,
        server_name: str | None = None,
        max: float = -1,
        request_queue_size: int = 5,
        timeout: float | None = 10,
        shutdown_timeout: float | None = 5,
        accepted_queue_size: int = -1,
        accepted_queue_timeout: float = 10,
        peercreds_enabled: bool = False,
        peercreds_resolve_enabled: bool = False,
        reuse_port: bool = False,
    ) -> None:
        super().__init__(
            bind_addr,
            wsgi_gateways[self.wsgi_version],
            server_name=server_name,
            peercreds_enabled=peercreds_enabled,
            peercreds_resolve_enabled=peercreds_resolve_enabled,
            reuse_port=reuse_port,
        )
        self.wsgi_app = wsgi_app
        self.request_queue_size = request_queue_size
        self.timeout = timeout
        self.shutdown_timeout = shutdown_timeout
        self.requests = ThreadPool(
            self,
            min=numthreads or 1,
            max=max,
            accepted_queue_size=accepted_queue_size,
            accepted_queue_timeout=accepted_queue_timeout,
        )

    @property
    def numthreads(self) -> int:
        """Threads that are always there; read when the server starts."""
        return self.requests.min

    @numthreads.setter
    def numthreads(self, value: int) -> None:
        self.requests.min = value

    def _make_application(self) -> WSGIApplication:
        def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            if self.gateway is Gateway_10:  # then nothing is between the engine and the application
                return self.wsgi_app(environ, start_response)
            return run_gateway(self, environ, start_response)

        return self._with_users(application)


class Gateway(_Gateway):
    """Calls the WSGI application of a server for one request: the base class.

    A class that derives from :class:`Gateway_10` and is set as ``server.gateway`` may change the environ, or what is
    sent. The worker that runs the request makes one, and calls ``respond()``.
    """

    version: ClassVar[Any]

    def __init__(self, req: HTTPRequest) -> None:
        super().__init__(req)
        self.started_response = False
        self.env = self.get_environ()

    @classmethod
    def gateway_map(cls) -> dict[Any, Any]:
        """The classes that derive from this one, by their versions."""
        return {gateway.version: gateway for gateway in cls.__subclasses__()}

    def get_environ(self) -> Environ:
        """Make the environ. Derived classes implement it."""
        raise NotImplementedError(f"{type(self).__name__} has no method get_environ()")

    def respond(self) -> None:
        """Call the application, and send what it returns."""
        result = self.req.server.wsgi_app(self.env, self.start_response)
        try:
            for chunk in result:
                if chunk:
                    self.write(chunk)
            self.req.ensure_headers_sent()
        finally:
            close: Callable[[], object] | None = getattr(result, "close", None)
            if close is not None:
                close()

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None) -> Write:
        """Take the status and the fields of the application (PEP 3333); the first bytes of the body send them."""
        try:
            if self.started_response and not exc_info:
                raise RuntimeError(
                    "start_response() was called twice; only a call with exc_info replaces the first one"
                )
            if self.req.sent_headers and exc_info and exc_info[1] is not None:
                raise exc_info[1].with_traceback(exc_info[2])
        finally:
            exc_info = None  # the traceback refers to this frame
        self.started_response = True
        self.req.status = status
        self.req.outheaders = list(headers)
        return self.write

    def write(self, chunk: bytes) -> None:
        """Send a part of the body now (PEP 3333)."""
        if not self.started_response:
            raise RuntimeError("write() was called before start_response()")
        self.req.write(chunk)


class Gateway_10(Gateway):
    """WSGI 1.0 (PEP 3333)."""

    version = (1, 0)

    def get_environ(self) -> Environ:
        return dict(self.req.conn.environ)


class Gateway_u0(Gateway):
    """An experiment of CherryPy: the path and the query are text in UTF-8, where they can be."""

    version = ("u", 0)

    def get_environ(self) -> Environ:
        environ = dict(self.req.conn.environ)
        environ["wsgi.version"] = self.version
        encoding = environ.setdefault("wsgi.url_encoding", "utf-8")
        try:
            decoded = self.req.path.decode(encoding), self.req.qs.decode(encoding)
        except UnicodeDecodeError:
            environ["wsgi.url_encoding"] = "ISO-8859-1"  # as it is
        else:
            environ["PATH_INFO"], environ["QUERY_STRING"] = decoded
        return environ


wsgi_gateways: dict[Any, Any] = Gateway.gateway_map()
"""Classes of gateways by their versions. A program may add others."""


class PathInfoDispatcher(_PathInfoDispatcher):
    """Calls the application with the longest prefix of the path: :class:`reserve.PathInfoDispatcher`, less strict.

    :param apps: a mapping, or pairs, of prefix and application. Slashes at the end of a prefix do not count, and of two
        applications with one prefix the first is called.
    """

    def __init__(self, apps: Mapping[str, WSGIApplication] | Iterable[tuple[str, WSGIApplication]]) -> None:
        pairs = apps.items() if isinstance(apps, Mapping) else apps
        mounts: dict[str, WSGIApplication] = {}
        for prefix, app in pairs:
            mounts.setdefault(prefix.rstrip("/"), app)
        super().__init__(mounts)
        self.apps = sorted(mounts.items(), key=lambda item: len(item[0]), reverse=True)
        """Pairs of prefix and application, the longest first."""


CherryPyWSGIServer = WSGIServer = Server
WSGIGateway = Gateway
WSGIGateway_10 = Gateway_10
WSGIGateway_u0 = Gateway_u0
WSGIPathInfoDispatcher = PathInfoDispatcher
