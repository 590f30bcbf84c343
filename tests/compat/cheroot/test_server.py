"""Start and stop, addresses, interrupts and attributes of cheroot's servers; their gateways are in test_request.py."""

from __future__ import annotations

import http.client
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from reserve.compat.cheroot import server as server_module
from reserve.compat.cheroot.server import HTTPServer, get_ssl_adapter_class, ssl_adapters
from reserve.compat.cheroot.wsgi import Server
from tests.compat.cheroot.serving import Serving, quiet
from tests.waiting import PATIENCE, eventually

ROOT = Path(__file__).parents[3]
ANY_PORT = ("127.0.0.1", 0)


def hello(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello ", environ["wsgi.input"].read()]


# ---- start and stop ----


def test_the_constructor_neither_listens_nor_starts_a_thread() -> None:
    before = threading.active_count()
    server = Server(ANY_PORT, hello)
    assert (server.ready, server.socket, server.bind_addr) == (False, None, ANY_PORT)
    assert threading.active_count() == before
    server.stop()


def test_prepare_listens_and_serve_blocks_until_stop() -> None:
    server = Server(ANY_PORT, hello, numthreads=2)
    server.prepare()
    assert server.ready
    assert isinstance(server.socket, socket.socket)
    assert server.socket.getsockname() == server.bind_addr
    early = socket.create_connection(server.bind_addr, PATIENCE)
    with early:
        early.sendall(b"GET / HTTP/1.0\r\n\r\n")
        thread = threading.Thread(target=server.serve)
        thread.start()
        assert b"\r\n\r\nhello " in b"".join(iter(lambda: early.recv(4096), b""))
    server.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert (server.ready, server.socket) == (False, None)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(server.bind_addr, PATIENCE)  # type: ignore[arg-type]


def test_a_stopped_server_can_be_started_again_at_the_same_address() -> None:
    server = Server(ANY_PORT, hello, numthreads=1)
    with Serving(server) as first:
        assert first.fetch()[2] == b"hello "
        address = server.bind_addr
    with Serving(server) as second:
        assert second.fetch()[2] == b"hello "
        assert server.bind_addr == address
        with pytest.raises(RuntimeError, match="is running"):
            server.prepare()


def test_stop_between_prepare_and_serve_ends_both() -> None:
    server = Server(ANY_PORT, hello)
    server.prepare()
    server.stop()
    server.serve()
    assert not server.ready
    server.stop()


def test_stop_waits_for_requests_in_flight() -> None:
    entered, may_go_on = threading.Event(), threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        entered.set()
        may_go_on.wait(PATIENCE)
        return hello(environ, start_response)

    server = Server(ANY_PORT, app, numthreads=1, shutdown_timeout=None)
    with Serving(server) as served:
        client = served.client()
        client.request("GET", "/")
        entered.wait(PATIENCE)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        eventually(lambda: not server.ready)
        may_go_on.set()
        response = client.getresponse()
        assert (response.status, response.read(), response.headers["Connection"]) == (200, b"hello ", "close")
        client.close()
        stopping.join(PATIENCE)


def test_an_application_stops_its_server() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        server.stop()
        return hello(environ, start_response)

    server = Server(ANY_PORT, app)
    served = Serving(server)
    with served:
        assert served.fetch()[2] == b"hello "
        served.join()
        assert served.raised is None
        assert not server.ready


def test_tick_serves_in_the_loop_of_a_program() -> None:
    server = Server(ANY_PORT, hello, numthreads=1)
    server.expiration_interval = 0.01
    server.prepare()
    responses = []

    def fetch() -> None:
        client = http.client.HTTPConnection(*server.bind_addr, timeout=PATIENCE)  # type: ignore[misc]
        client.request("GET", "/", headers={"Connection": "close"})
        responses.append(client.getresponse().read())
        client.close()

    thread = threading.Thread(target=fetch)
    thread.start()
    while not responses:
        server.tick()
    server.stop()
    server.tick()
    thread.join(PATIENCE)
    assert responses == [b"hello "]


def test_ctrl_c_ends_a_program_as_with_cheroot(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from reserve.compat.cheroot import wsgi\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', []); return [b'']\n"
        "server = wsgi.Server(('127.0.0.1', 0), app)\n"
        "server.prepare()\n"
        "print(server.bind_addr[1], flush=True)\n"
        "try:\n"
        "    server.serve()\n"
        "except KeyboardInterrupt:\n"
        "    server.stop()\n"
        "    print('stopped', server.ready, flush=True)\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        client.request("GET", "/")
        assert client.getresponse().status == 200
        client.close()
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "stopped False\n"
        assert process.wait(PATIENCE) == 0


# ---- addresses ----


@pytest.mark.parametrize("host", ["", None])
def test_an_empty_host_is_refused_as_by_cheroot(host: Any) -> None:
    with pytest.raises(ValueError, match=r"0\.0\.0\.0"):
        Server((host, 0), hello)


def test_an_address_in_use_is_an_oserror_with_its_number() -> None:
    with socket.create_server(ANY_PORT) as other:
        server = Server(other.getsockname(), hello)
        with pytest.raises(OSError, match="cannot listen on") as caught:
            server.prepare()
        assert caught.value.errno is not None
        assert (server.ready, server.socket) == (False, None)


def test_a_host_without_an_address_is_an_oserror() -> None:
    with pytest.raises(OSError, match="cannot listen on"):
        Server(("192.0.2.1", 0), hello).prepare()


def test_ipv6_for_all_interfaces_accepts_ipv4_too() -> None:
    server = Server(("::", 0), hello, numthreads=1)
    try:
        server.prepare()
    except OSError:
        pytest.skip("this machine has no IPv6")
    server.stop()
    with Serving(server) as served:
        server_port = server.bind_addr[1]
        for host in ("127.0.0.1", "::1"):
            client = http.client.HTTPConnection(host, server_port, timeout=PATIENCE)  # type: ignore[arg-type]
            client.request("GET", "/")
            assert client.getresponse().status == 200
            client.close()
        assert served.raised is None


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="this system has no SO_REUSEPORT")
def test_two_servers_share_a_port() -> None:
    first = Server(ANY_PORT, hello, numthreads=1, reuse_port=True)
    with Serving(first):
        second = Server(first.bind_addr, hello, numthreads=1, reuse_port=True)
        with Serving(second) as served:
            assert served.raised is None
            assert second.bind_addr == first.bind_addr


def test_a_unix_socket_is_open_to_every_user_and_removed_at_the_stop(short_path: Path) -> None:
    path = short_path / "s"
    seen: list[dict[str, Any]] = []

    def app(environ: Any, start_response: Any) -> Any:
        seen.append(environ)
        return hello(environ, start_response)

    for name in (str(path), os.fsencode(path)):
        for options in (
            {},
            {"peercreds_enabled": True},
            {"peercreds_enabled": True, "peercreds_resolve_enabled": True},
        ):
            server = Server(name, app, numthreads=1, **options)
            with Serving(server), socket.socket(socket.AF_UNIX) as client:
                assert path.stat().st_mode & 0o777 == 0o777
                client.settimeout(PATIENCE)
                client.connect(str(path))
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert client.recv(4096).startswith(b"HTTP/1.1 200 OK")
            assert not path.exists()
    plain, known, resolved = seen[:3]
    keys = {"X_REMOTE_PID", "X_REMOTE_UID", "X_REMOTE_GID"}
    assert keys & set(plain) == set()
    if sys.platform == "linux":
        assert {key: known[key] for key in keys} == {
            "X_REMOTE_PID": str(os.getpid()),
            "X_REMOTE_UID": str(os.getuid()),
            "X_REMOTE_GID": str(os.getgid()),
        }
        assert "REMOTE_USER" not in known
        import pwd

        assert resolved["REMOTE_USER"] == resolved["X_REMOTE_USER"] == pwd.getpwuid(os.getuid()).pw_name
        assert resolved["X_REMOTE_GROUP"]


def test_a_file_that_is_no_socket_is_not_removed(short_path: Path) -> None:
    path = short_path / "precious"
    path.write_text("content")
    with pytest.raises(OSError, match="cannot listen on"):
        Server(str(path), hello).prepare()
    assert path.read_text() == "content"


def test_a_socket_of_systemd_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(ANY_PORT) as passed:
        monkeypatch.setattr("reserve.compat.cheroot.listening._FIRST_INHERITED", passed.fileno())
        monkeypatch.setenv("LISTEN_PID", "1")
        monkeypatch.setenv("LISTEN_FDS", "1")
        server = Server(("127.0.0.1", 1), hello, numthreads=1)
        for _ in range(2):  # the variables stay
            with Serving(server), socket.create_connection(passed.getsockname(), PATIENCE) as client:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert client.recv(4096).startswith(b"HTTP/1.1 200 OK")


def test_a_derived_class_binds_in_its_own_way() -> None:
    opened = []

    class Own(Server):
        def bind(self, family: int, type: int, proto: int = 0) -> Any:
            sock = super().bind(family, type, proto)
            opened.append(sock.getsockname())
            return sock

    with Serving(Own(ANY_PORT, hello)) as served:
        assert served.fetch()[0] == 200
        assert opened == [served.server.bind_addr]


# ---- interrupts ----


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["call", "iteration", "close"])
def test_an_interrupt_of_an_application_ends_the_server(kind: type[BaseException], where: str) -> None:
    error = kind("from the application")

    class Result:
        def __iter__(self) -> Any:
            yield b"some"
            if where == "iteration":
                raise error
            yield b"thing"

        def close(self) -> None:
            if where == "close":
                raise error

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        if where == "call":
            raise error
        return Result()

    server = Server(ANY_PORT, app, numthreads=2)
    log = quiet(server)
    served = Serving(server)
    with served:
        client = served.client()
        client.request("GET", "/")
        if where == "call":
            with pytest.raises(http.client.RemoteDisconnected):  # as from cheroot: no response at all
                client.getresponse()
        elif where == "iteration":
            with pytest.raises(http.client.IncompleteRead):
                client.getresponse().read()
        else:
            assert client.getresponse().read() == b"something"
        client.close()
        served.join()
        assert served.raised is error
        assert server.interrupt is error
        assert not server.ready
        assert f"{kind.__name__}: the server stops" in log


def test_setting_the_interrupt_stops_the_server_and_serve_raises_it() -> None:
    server = Server(ANY_PORT, hello)
    quiet(server)
    served = Serving(server)
    with served:
        server.interrupt = SystemExit
        served.join()
        assert isinstance(served.raised, SystemExit)


def test_an_interrupt_belongs_to_one_start() -> None:
    server = Server(ANY_PORT, hello)
    quiet(server)
    with Serving(server):
        server.interrupt = KeyboardInterrupt()
    with Serving(server) as again:
        assert server.interrupt is None
        assert again.fetch()[0] == 200
    assert again.raised is None


def test_other_failures_of_an_application_are_a_500_and_a_line_of_the_error_log() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        raise LookupError("broken")

    server = Server(ANY_PORT, app)
    log = quiet(server)
    with Serving(server) as served:
        assert served.fetch()[0] == 500
        assert served.fetch()[0] == 500
    assert any("LookupError: broken" in line for line in log)


def test_error_log_writes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server(ANY_PORT, hello)
    server.error_log("a line", logging.WARNING)
    try:
        raise LookupError("kept")
    except LookupError:
        server.error_log("another", traceback=True)
    written = capsys.readouterr().err
    assert written.startswith("a line\nanother\nTraceback")
    assert written.endswith("LookupError: kept\n")


# ---- attributes ----


def test_attributes_that_are_changed_while_the_server_runs() -> None:
    server = Server(ANY_PORT, hello, numthreads=1, timeout=PATIENCE)
    quiet(server)
    with Serving(server) as served:
        assert served.fetch(method="POST", body=b"x" * 100)[0] == 200
        server.max_request_body_size = 10
        assert served.fetch(method="POST", body=b"x" * 100)[0] == 413
        server.max_request_body_size = 0
        assert served.fetch(method="POST", body=b"x" * 100)[0] == 200
        server.max_request_header_size = 200
        assert served.fetch(headers={"X-Long": "x" * 300})[0] == 431
        server.max_request_header_size = 500_000
        assert served.fetch(headers={"X-Long": "x" * 65000})[0] == 200
        server.server_name = "another"
        assert served.fetch()[1]["Server"] == "another"
        server.wsgi_app = lambda environ, start_response: hello(environ, start_response)[:1]
        assert served.fetch(method="POST", body=b"x")[2] == b"hello "
        client = served.client()
        client.request("GET", "/")
        assert client.getresponse().read() == b"hello "
        server.timeout = 0.01
        client.request("GET", "/")
        assert client.getresponse().read() == b"hello "
        assert client.sock.recv(1) == b""  # the idle connection is closed in time
        client.close()


def test_a_client_of_http_1_0_may_keep_its_connection() -> None:
    with (
        Serving(Server(ANY_PORT, hello)) as served,
        socket.create_connection(served.server.bind_addr, PATIENCE) as client,
    ):
        for _ in range(2):
            client.sendall(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
            received = b""
            while not received.endswith(b"\r\n\r\nhello "):
                received += client.recv(4096)
            assert b"\r\nConnection: keep-alive\r\n" in received


def test_http_1_0_closes_each_connection() -> None:
    server = Server(ANY_PORT, hello)
    server.protocol = "HTTP/1.0"
    with Serving(server) as served:
        client = served.client()
        client.request("GET", "/")
        response = client.getresponse()
        assert (response.read(), response.headers["Connection"]) == (b"hello ", "close")
        client.close()


def test_the_environ_has_cheroots_names() -> None:
    seen: list[dict[str, Any]] = []

    def app(environ: Any, start_response: Any) -> Any:
        seen.append(environ)
        return hello(environ, start_response)

    server = Server(ANY_PORT, app, server_name="www.cherrypy.example")
    server.software = "mine"
    with Serving(server) as served:
        headers = served.fetch("/a%2Fb%20c?d=%2F")[1]
        assert headers["Server"] == "www.cherrypy.example"
        environ = seen[0]
        assert environ["PATH_INFO"] == "/a%2Fb c"
        assert environ["QUERY_STRING"] == "d=%2F"
        assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == (
            "www.cherrypy.example",
            str(server.bind_addr[1]),
        )
        assert environ["SERVER_SOFTWARE"] == "mine"
        assert environ["ACTUAL_SERVER_PROTOCOL"] == "HTTP/1.1"
    with Serving(Server(ANY_PORT, app)) as served:
        assert served.fetch()[1]["Server"] == Server.version
        assert seen[1]["SERVER_NAME"] == "127.0.0.1"
        assert seen[1]["SERVER_SOFTWARE"] == f"{Server.version} Server"


def test_statistics_have_cheroots_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    cheroot = pytest.importorskip("cheroot.wsgi")
    collected: dict[str, Any] = {}
    monkeypatch.setattr(logging, "statistics", collected, raising=False)
    server = Server(ANY_PORT, hello, numthreads=3)
    theirs = cheroot.Server(ANY_PORT, hello)
    collected.clear()
    assert set(server.stats) == set(theirs.stats)
    server.stats["Enabled"] = True
    with Serving(server) as served:
        served.fetch()
        (name,) = collected
        record = collected[name]
        values = {key: value(record) if callable(value) else value for key, value in record.items()}
        assert (values["Accepts"], values["Threads"], values["Bind Address"]) == (1, 3, repr(server.bind_addr))
        eventually(lambda: record["Requests"](record) == 1)
        assert values["Run time"] > 0
        eventually(lambda: server.requests.idle == 3)
        assert server.requests.qsize == 0
    assert collected == {}
    assert server.runtime() == server.runtime() > 0
    server.clear_stats()
    assert server.runtime() == 0
    assert server.stats["Accepts"](server.stats) == 0


def test_the_text_of_a_server_names_its_class_and_address() -> None:
    assert str(Server(("127.0.0.1", 8070), hello)) == "reserve.compat.cheroot.wsgi.Server(('127.0.0.1', 8070))"


def test_a_context_manager_serves_in_a_thread() -> None:
    server = Server(ANY_PORT, hello)
    with server._run_in_thread() as thread:
        assert server.ready
        assert thread.is_alive()
    assert not server.ready
    thread.join(PATIENCE)


def test_adapters_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_ssl_adapter_class().__name__ == "BuiltinSSLAdapter"
    assert get_ssl_adapter_class("pyOpenSSL").__name__ == "pyOpenSSLAdapter"
    monkeypatch.setitem(ssl_adapters, "own", int)
    assert get_ssl_adapter_class("own") is int
    with pytest.raises(KeyError):
        get_ssl_adapter_class("other")


def test_the_module_has_what_programs_import_from_cheroot_server() -> None:
    assert {"Gateway", "HTTPConnection", "HTTPRequest", "HTTPServer"} <= set(server_module.__all__)
    assert issubclass(Server, HTTPServer)


def test_a_queue_that_is_full_responds_with_503() -> None:
    entered, may_go_on = threading.Semaphore(0), threading.Event()

    def app(environ: Any, start_response: Any) -> Any:
        entered.release()
        may_go_on.wait(PATIENCE)
        return hello(environ, start_response)

    server = Server(ANY_PORT, app, numthreads=1, accepted_queue_size=1)
    quiet(server)
    with Serving(server) as served:
        clients = [served.client() for _ in range(2)]
        clients[0].request("GET", "/")
        assert entered.acquire(timeout=PATIENCE)
        clients[1].request("GET", "/")
        eventually(lambda: server.requests.qsize == 1)
        assert served.fetch()[0] == 503
        may_go_on.set()
        for client in clients:
            assert client.getresponse().read() == b"hello "
            client.close()
