"""The WSGI gateway (PEP 3333): runs an application for one exchange after another.

One gateway serves all connections; many workers call :meth:`WSGIGateway.respond` at the same time. Between calls it
keeps only the kinds of warnings that it has logged. It guarantees that every exchange ends in exactly one of
``finish``, ``abort`` and ``fail``, and that the ``close()`` of a result is called exactly once however the response
ended. Exceptions of an application do not leave it, not even SystemExit and KeyboardInterrupt, because they must not
end a worker or the server; only RequestTimeout does. With ``on_interrupt`` a program decides about those two itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from reserve.errors import (
    ClientDisconnected,
    RequestTimeout,
    UsageError,
    describe_exception,
    format_exception,
    type_name,
)
from reserve.gateways.callingthread import CallingThread
from reserve.gateways.dispatch import mounted_at
from reserve.gateways.exchange import Environ, Exchange, WSGIApplication
from reserve.gateways.response import WSGIResponse
from reserve.gateways.staticsite import StaticMounts
from reserve.gateways.streams import ErrorStream, FileWrapper

__all__ = ["WSGIGateway", "log_error", "request_line"]

_LOGGER = logging.getLogger("reserve.error")


def log_error(message: str, error: BaseException) -> None:
    """The default error-log hook: one record with a traceback in the logger ``reserve.error``."""
    if format_exception(error) is None:  # then a handler would fail at it, too, with what the application raises
        _LOGGER.error("%s\n%s", message, describe_exception(error))
    else:
        _LOGGER.error(message, exc_info=error)


def log_warning(message: str) -> None:
    """The default hook for warnings: one record in the logger ``reserve.error``."""
    _LOGGER.warning("%s", message)


def request_line(environ: Mapping[str, Any]) -> str:
    """Method and target for a log message: one line of ASCII, whatever the application has done to the environ."""
    method, uri, script, path, query = (
        value if isinstance(value := environ.get(key), str) else ""
        for key in ("REQUEST_METHOD", "REQUEST_URI", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING")
    )
    text = f"{method or '-'} {uri or script + path + ('?' + query if query else '')}"
    return ascii(text if len(text) <= 500 else text[:500] + "...")[1:-1]


class WSGIGateway:
    """Runs a WSGI application. A server has one gateway, and its workers call it.

    :param app: the application. A :class:`~reserve.gateways.callingthread.CallingThread` has one thread for it.
    :param root_path: the path that the application is mounted under, decoded, like ``/shop``; it becomes SCRIPT_NAME.
        A slash at its end is dropped. It is removed from the path of each request, unless a frontend has done that.
    :param multithread: ``wsgi.multithread``: whether another thread of this process may run the application meanwhile.
    :param multiprocess: ``wsgi.multiprocess``: whether another process may.
    :param log: gets one sentence and the exception for every failure of the application, on the worker.
    :param log_warning: gets one sentence for each kind of error of the application that is corrected, on the worker.
    :param errors: ``wsgi.errors``. Default: complete lines to standard error.
    :param on_interrupt: gets a KeyboardInterrupt or SystemExit of the application, on the worker; its client then gets
        no (further) response. Default: they are failures like all others.
    :raises UsageError: for a ``root_path`` that does not begin with a slash, or an ``app`` that cannot be called.
    """

    has_constant_environ = True
    """What :meth:`base_environ` returns depends on its arguments alone; False: also on what may change meanwhile."""

    def __init__(
        self,
        app: WSGIApplication,
        *,
        root_path: str = "",
        multithread: bool = True,
        multiprocess: bool = False,
        log: Callable[[str, BaseException], None] = log_error,
        log_warning: Callable[[str], None] = log_warning,
        errors: ErrorStream | None = None,
        on_interrupt: Callable[[BaseException], None] | None = None,
    ) -> None:
        if not callable(app):
            raise UsageError(f"a WSGI application is a callable (environ, start_response), got {app!r:.80}")
        self._application = app
        self.calling_thread = app if isinstance(app, CallingThread) else None
        """What runs the application on the thread that starts the server; None: workers run it."""
        self.app = app
        """What :meth:`respond` calls: the application, or the function that handles its root path and calls it."""
        self.mount(root_path)
        self._multithread = multithread and self.calling_thread is None
        self._multiprocess = multiprocess
        self._log = log
        self._log_warning = log_warning
        self._warned: set[str] = set()
        """The kinds of warnings that are in the log. Two workers may log the first one of a kind each."""
        self.errors = ErrorStream() if errors is None else errors
        """``wsgi.errors``."""
        self._on_interrupt = on_interrupt

    @property
    def application(self) -> WSGIApplication:
        """The application without what the gateway puts before it."""
        return self._application

    def mount(self, root_path: str, static: StaticMounts | None = None) -> None:
        """Set ``root_path`` (see the class), and the folders whose files are served in place of the application.
        Called before the first request.
        """
        root_path = root_path.removesuffix("/")
        if root_path and not root_path.startswith("/"):
            raise UsageError(f"a root path begins with a slash, like /shop; got {root_path!r:.80} (--root-path)")
        app = self._application if static is None else static.before(self._application)
        self.app = mounted_at(root_path, app) if root_path else app

    def use_log(self, log: Callable[[str, BaseException], None], log_warning: Callable[[str], None]) -> None:
        """Set both hooks (see the class). Called before the first request."""
        self._log = log
        self._log_warning = log_warning

    def warn_once(self, environ: Mapping[str, Any], kind: str, message: str) -> None:
        """Log an error of the application that is corrected, unless one of its kind has been logged. Never raises.

        :param environ: of the request that showed it.
        :param kind: one of few: the gateway keeps it for its lifetime.
        :param message: a sentence that says what came and which rule it breaks.
        """
        if kind in self._warned:
            return
        self._warned.add(kind)
        try:
            self._log_warning(f"{request_line(environ)}: {message} (logged once)")
        except Exception:
            _LOGGER.exception("the hook for warnings failed; it was called with: %s", message)

    def base_environ(
        self,
        *,
        server_name: str,
        server_port: str,
        remote_addr: str,
        remote_port: str,
        url_scheme: str,
        software: str,
        extra: Mapping[str, Any],
    ) -> Environ:
        """Return the part of the environ that all requests of one connection share; it is copied for each request.

        The caller adds the keys of the request: REQUEST_METHOD, PATH_INFO, QUERY_STRING, SERVER_PROTOCOL, ``HTTP_*``,
        CONTENT_TYPE, CONTENT_LENGTH, ``wsgi.input``.

        :param server_name: host or address; ``localhost`` if empty, since PEP 3333 wants it never empty.
        :param server_port: decimal; the scheme's default port if empty, for the same reason.
        :param remote_addr: the client's address; empty on a UNIX socket.
        :param remote_port: decimal; empty on a UNIX socket.
        :param url_scheme: ``http`` or ``https``; the latter adds ``HTTPS=on``.
        :param software: SERVER_SOFTWARE.
        :param extra: more keys, such as TLS variables or peer credentials; they replace those that are set here.
        """
        https = url_scheme == "https"
        environ: Environ = {
            "GATEWAY_INTERFACE": "CGI/1.1",
            "SERVER_SOFTWARE": software,
            "SERVER_NAME": server_name or "localhost",
            "SERVER_PORT": server_port or ("443" if https else "80"),
            # Each request sets it. With it there are 22 keys, and a copy has room for those of the request; one of 21
            # keys would be enlarged at once.
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": remote_addr,
            "REMOTE_PORT": remote_port,
            "SCRIPT_NAME": "",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": url_scheme,
            "wsgi.errors": self.errors,
            "wsgi.multithread": self._multithread,
            "wsgi.multiprocess": self._multiprocess,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
            "wsgi.file_wrapper": FileWrapper,
        }
        if https:
            environ["HTTPS"] = "on"
        environ.update(extra)
        return environ

    def respond(self, exchange: Exchange) -> None:
        """Run the application and send its response. A worker calls it, in a :class:`contextvars.Context` that no other
        request has, which then covers the application, the iteration of its result and ``close()``.

        :raises RequestTimeout: when the monitor has raised it in the application before the response started.
        """
        response = WSGIResponse(exchange, self.warn_once)
        result = None
        try:
            result = self.app(exchange.environ, response.start_response)
        except BaseException as error:
            self.end(exchange, response, result, error)
        else:
            self.end(exchange, response, result)

    def end(
        self, exchange: Exchange, response: WSGIResponse, result: Any, failure: BaseException | None = None
    ) -> None:
        """Send what the application has returned, and end the exchange: the second part of :meth:`respond`.

        :param failure: what the application has raised instead.
        """
        try:
            if failure is not None:
                self._handle_error(exchange, failure)
            else:
                response.send_body(result)
                exchange.finish()
        except BaseException as error:
            if failure is not None:
                raise
            self._handle_error(exchange, error)
        finally:
            failure = None  # its traceback refers to this frame
            response.detach()
            if type(result) is not list:
                self.close_result(exchange, exchange.environ, result)
            if self.errors.partial:
                self.flush_errors(exchange)

    def _handle_error(self, exchange: Exchange, error: BaseException) -> None:
        """End the exchange after an exception of the application, the response or the exchange."""
        kind = type(error)  # isinstance() asks for __class__, which is code of the application and may raise anything
        if issubclass(kind, ClientDisconnected):
            _LOGGER.debug("%s: %s", request_line(exchange.environ), error)
            exchange.abort()
            return
        if issubclass(kind, RequestTimeout) and not exchange.started:
            raise error  # the monitor, which raised it, logs it and sends the response
        if self._on_interrupt is not None and issubclass(kind, (KeyboardInterrupt, SystemExit)):
            exchange.abort()
            self._interrupt(exchange, exchange.environ, error)
            return
        try:
            self._report(exchange, exchange.environ, "the application failed", error)
        finally:
            exchange.fail(error)

    def _interrupt(self, exchange: Exchange | None, environ: Environ, error: BaseException) -> None:
        assert self._on_interrupt is not None, "checked by every caller"
        try:
            self._on_interrupt(error)
        except BaseException as failure:
            self._report(exchange, environ, "the hook for an interrupt failed", failure)

    def close_result(self, exchange: Exchange | None, environ: Environ, result: object) -> None:
        """Call ``close()`` of the result; an exception is reported, but does not change the response.

        :param exchange: None: there is none, and the response has been sent.
        :param environ: of the request.
        """
        try:
            close = getattr(result, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            self.close_failed(exchange, environ, error)

    def close_failed(self, exchange: Exchange | None, environ: Environ, error: BaseException) -> None:
        """Report an exception that ``close()`` of a result has raised."""
        if issubclass(type(error), ClientDisconnected):
            _LOGGER.debug("%s: close(): %s", request_line(environ), error)
        elif self._on_interrupt is not None and issubclass(type(error), (KeyboardInterrupt, SystemExit)):
            self._interrupt(exchange, environ, error)
        else:
            self._report(exchange, environ, "close() of the response failed", error)

    def flush_errors(self, exchange: Exchange | None, environ: Environ | None = None) -> None:
        """Write the incomplete line of ``wsgi.errors`` that the calling thread has left.

        :param environ: of the request, if there is no exchange.
        """
        try:
            self.errors.flush()
        except BaseException as error:
            if environ is None:
                environ = {} if exchange is None else exchange.environ
            self._report(exchange, environ, "wsgi.errors could not be written", error)

    def _report(self, exchange: Exchange | None, environ: Environ, what: str, error: BaseException) -> None:
        message = f"{request_line(environ)}: {what}: {type_name(error)}"
        if exchange is not None and exchange.upgraded:  # an exception is how most of these applications end
            _LOGGER.debug("%s", message, exc_info=error)
            return
        self._log_failure(message, error)

    def _log_failure(self, message: str, error: BaseException) -> None:
        try:
            self._log(message, error)
        except BaseException as failure:
            log_error(f"the error-log hook failed; it was called with: {message}", failure)
