"""WSGI programs for cheroot and for CherryPy's wsgiserver: applications, gateways of their own, and the dispatcher."""

from __future__ import annotations

from typing import Any

import pytest

import reserve
from reserve.compat import cheroot as wsgiserver
from reserve.compat.cheroot import wsgi
from reserve.errors import UsageError
from tests.compat.cheroot.serving import Serving, quiet
from tests.waiting import eventually

ANY_PORT = ("127.0.0.1", 0)


def named(name: str) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{name} {environ['SCRIPT_NAME']!r} {environ['PATH_INFO']!r}".encode()]

    return app


def test_the_example_of_cherrypys_wsgiserver_runs_with_another_import() -> None:
    def my_crazy_app(environ: Any, start_response: Any) -> Any:
        status = "200 OK"
        response_headers = [("Content-type", "text/plain")]
        start_response(status, response_headers)
        return [b"Hello world!"]

    server = wsgiserver.CherryPyWSGIServer(ANY_PORT, my_crazy_app, server_name="www.cherrypy.example")
    with Serving(server) as served:
        status, headers, body = served.fetch()
        assert (status, headers["Server"], body) == (200, "www.cherrypy.example", b"Hello world!")


def test_a_server_takes_every_parameter_of_cheroots() -> None:
    server = wsgi.Server(
        ANY_PORT, named("a"), 2, "name", 3, 4, 5.0, 6.0, 7, 8.0, True, True, False
    )  # in the order of cheroot 11
    with Serving(server) as served:
        assert served.fetch()[0] == 200
        engine = server.engine
        assert engine is not None
        assert (engine.settings.threads, engine.settings.max_queued, engine.settings.stop_timeout) == ((2, 3), 7, 6.0)
        assert engine.settings.write_timeout == 5.0
    assert (server.request_queue_size, server.timeout, server.shutdown_timeout) == (4, 5.0, 6.0)


# ---- gateways ----


class Marked(wsgi.Gateway_10):
    """As programs derive one: another environ, and something around the response."""

    def get_environ(self) -> Any:
        environ = super().get_environ()
        environ["marked"] = "by the gateway"
        return environ

    def respond(self) -> None:
        try:
            super().respond()
        except LookupError as error:
            self.req.simple_response("503 Service Unavailable", str(error))


def serving_marked(app: Any) -> Serving:
    server = wsgi.Server(ANY_PORT, app, numthreads=2)
    server.gateway = Marked
    return Serving(server)


def test_a_gateway_of_the_program_changes_the_environ() -> None:
    closed = []

    class Result:
        def __iter__(self) -> Any:
            return iter([b"", b"some", b"", b"thing"])

        def close(self) -> None:
            closed.append(True)

    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [("X-Marked", environ["marked"])])
        write(b"first, ")
        return Result()

    with serving_marked(app) as served:
        status, headers, body = served.fetch()
        assert (status, headers["X-Marked"], body) == (200, "by the gateway", b"first, something")
        assert closed == [True]


def test_a_gateway_of_the_program_handles_errors_of_the_application() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        raise LookupError("nothing there")

    with serving_marked(app) as served:
        assert served.fetch()[::2] == (503, b"nothing there")


def test_start_response_in_a_gateway_of_the_program() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        try:
            if environ["PATH_INFO"] == "/twice":
                start_response("200 OK", [])
            raise LookupError("replaced")
        except LookupError as error:
            start_response("404 Not Found", [], (LookupError, error, error.__traceback__))
        yield b"replaced"
        if environ["PATH_INFO"] == "/late":
            error = LookupError("too late")
            start_response("500 Error", [], (LookupError, error, error.__traceback__))

    served = serving_marked(app)
    log = quiet(served.server)
    with served:
        assert served.fetch()[::2] == (404, b"replaced")
        assert served.fetch("/twice")[0] == 500
        eventually(lambda: any("start_response() was called twice" in line for line in log))


def test_write_before_start_response_is_an_error() -> None:
    class Early(wsgi.Gateway_10):
        def respond(self) -> None:
            self.write(b"early")

    server = wsgi.Server(ANY_PORT, named("a"))
    server.gateway = Early
    log = quiet(server)
    with Serving(server) as served:
        assert served.fetch()[0] == 500
    assert any("write() was called before start_response()" in line for line in log)


def test_the_unicode_version_of_the_environ() -> None:
    class Unicode(wsgi.Server):
        wsgi_version = ("u", 0)

    seen: list[dict[str, Any]] = []

    def app(environ: Any, start_response: Any) -> Any:
        seen.append(environ)
        start_response("200 OK", [])
        return []

    with Serving(Unicode(ANY_PORT, app)) as served:
        for target in ("/%C3%BC?x", "/%FC"):
            assert served.fetch(target)[0] == 200
    assert [(one["PATH_INFO"], one["wsgi.url_encoding"], one["wsgi.version"]) for one in seen] == [
        ("/\xfc", "utf-8", ("u", 0)),
        ("/\xfc", "ISO-8859-1", ("u", 0)),
    ]


def test_gateways_are_found_by_their_version() -> None:
    assert wsgi.wsgi_gateways == {(1, 0): wsgi.Gateway_10, ("u", 0): wsgi.Gateway_u0}
    with pytest.raises(NotImplementedError, match="get_environ"):
        wsgi.Gateway(None)  # type: ignore[arg-type]


# ---- the dispatcher ----


@pytest.mark.parametrize(
    ("path", "response"),
    [
        ("/", "site '' '/'"),
        ("/blog", "blog '/blog' ''"),
        ("/blog/2", "blog '/blog' '/2'"),
        ("/blogs", "site '' '/blogs'"),
        ("/blog/admin/", "admin '/blog/admin' '/'"),
    ],
)
@pytest.mark.parametrize("as_pairs", [False, True])
def test_the_dispatcher_serves_many_applications(path: str, response: str, as_pairs: bool) -> None:
    apps = {"/": named("site"), "/blog/": named("blog"), "/blog/admin": named("admin")}
    dispatcher = wsgi.WSGIPathInfoDispatcher(list(apps.items()) if as_pairs else apps)
    assert isinstance(dispatcher, reserve.PathInfoDispatcher)
    assert [prefix for prefix, _ in dispatcher.apps] == ["/blog/admin", "/blog", ""]
    with Serving(wsgi.Server(ANY_PORT, dispatcher)) as served:
        assert served.fetch(path)[2].decode() == response


def test_the_dispatcher_has_a_404_and_takes_the_first_of_two() -> None:
    dispatcher = wsgi.PathInfoDispatcher([("/a", named("first")), ("/a/", named("second"))])
    with Serving(wsgi.Server(ANY_PORT, dispatcher)) as served:
        assert served.fetch("/")[0] == 404
        assert served.fetch("/a/b")[2].decode() == "first '/a' '/b'"
    with pytest.raises(UsageError, match="begins with a slash"):
        wsgi.PathInfoDispatcher({"a": named("never found")})
