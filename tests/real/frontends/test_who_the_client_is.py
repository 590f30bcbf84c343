"""What the application and the logs say of clients behind nginx and HAProxy, with the page's configurations.

The clients connect from 127.0.0.9, so that they are not mistaken for the frontend.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shlex
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reserve.options.table import FLAGS
from tests.clients import free_port
from tests.real.conftest import Serve
from tests.real.frontends.proxies import FRONTENDS, TEXT, replaced
from tests.real.processes import running
from tests.waiting import PATIENCE, eventually

CLIENT = "127.0.0.9"
RequirePeer = Callable[[str], str]
SPOOFED = (
    "Forwarded: for=192.0.2.66;proto=https;host=evil.example\r\n"
    "X-Forwarded-For: 192.0.2.66\r\n"
    "X-Forwarded-Proto: https\r\n"
    "X-Forwarded-Host: evil.example\r\n"
    "X-Forwarded-Port: 1\r\n"
    "X-Forwarded-Prefix: /evil\r\n"
)
STREAM_MODULE = next(
    (path for path in map(Path, ("/usr/lib/nginx/modules/ngx_stream_module.so",)) if path.exists()), None
)


def block(kind: str, containing: str = "") -> str:
    """The only block of a kind on the page, or the one that contains a text."""
    (text,) = [one for one in re.findall(rf"^```{kind}\n(.*?)^```$", TEXT, re.M | re.S) if containing in one]
    return text


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except ConnectionRefusedError:
        return False
    return True


def ask(port: int, target: str = "/page", fields: str = SPOOFED, context: ssl.SSLContext | None = None) -> None:
    """One request of the client to the frontend, which has to succeed."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE, source_address=(CLIENT, 0)) as sock:
        client = sock if context is None else context.wrap_socket(sock, server_hostname="a.test")
        with client:
            client.sendall(f"GET {target} HTTP/1.1\r\nHost: blog.example\r\n{fields}Connection: close\r\n\r\n".encode())
            assert client.makefile("rb").read().startswith(b"HTTP/1.1 200 ")


def environs(record: Path) -> list[dict[str, str]]:
    """The environ of each request that the application has recorded."""
    return [json.loads(line)["environ"] for line in record.read_text("utf-8").splitlines()]


@contextlib.contextmanager
def program(command: list[str], port: int, folder: Path, stop: signal.Signals) -> Iterator[None]:
    with (
        (folder / "log").open("ab") as log,
        running(command, lambda: accepts(port), stop_signal=stop, errors=folder / "errors", output=log, cwd=folder),
    ):
        yield


# ---- header fields ----


@pytest.mark.peer
@pytest.mark.parametrize("name", FRONTENDS)
@pytest.mark.parametrize("trusted", [True, False])
def test_the_pages_frontends_name_their_clients(
    serve: Serve, require_peer: RequirePeer, short_path: Path, name: str, trusted: bool
) -> None:
    option = shlex.split(block("sh", "--trusted-proxies unix")) if trusted else ["--trusted-proxies", "192.0.2.0/24"]
    record = short_path / "record"
    record.touch()
    bind = f"unix:{short_path}/reserve"
    frontend = FRONTENDS[name](require_peer(name), short_path, bind)
    port = free_port()
    text = frontend.config.read_text("utf-8")
    at = "listen unix:" if name == "nginx" else "bind unix@"
    text = replaced(text, f"{at}{frontend.address}", f"{at.partition('unix')[0]}127.0.0.1:{port}")
    frontend.config.write_text(text, "utf-8")
    with (
        serve("app", "http", "wsgi", "recorder", *option, "--", str(record), bind=bind) as server,
        program(frontend.command(), port, short_path, frontend.stop_signal),
    ):
        ask(port)
    (environ,) = environs(record)
    assert environ["wsgi.url_scheme"] == "http"
    assert (environ["HTTP_HOST"], environ["SCRIPT_NAME"]) == ("blog.example", "")
    for key in ("FORWARDED", "X_FORWARDED_HOST", "X_FORWARDED_PORT", "X_FORWARDED_PREFIX"):
        assert f"HTTP_{key}" not in environ
    assert environ["REMOTE_ADDR"] == (CLIENT if trusted else "")
    assert ("HTTP_X_FORWARDED_FOR" in environ) == trusted
    (line,) = [line for line in server.stdout if "/page" in line]
    assert line.startswith(f"{CLIENT if trusted else '-'} - - [")


@pytest.mark.peer
def test_a_frontend_that_sets_every_field(serve: Serve, require_peer: RequirePeer, short_path: Path) -> None:
    record = short_path / "record"
    record.touch()
    fields = "x-forwarded-for,x-forwarded-proto,x-forwarded-host,x-forwarded-port,x-forwarded-prefix"
    frontend = FRONTENDS["nginx"](require_peer("nginx"), short_path, f"unix:{short_path}/reserve")
    port = free_port()
    text = frontend.config.read_text("utf-8")
    text = replaced(text, f"listen unix:{frontend.address}", f"listen 127.0.0.1:{port}")
    text = replaced(text, "X-Forwarded-For $remote_addr;", "X-Forwarded-For $proxy_add_x_forwarded_for;")
    text = replaced(text, "X-Forwarded-Proto $scheme;", "X-Forwarded-Proto https;")
    more = {"Host": "shop.example", "Port": "443", "Prefix": "/shop"}
    lines = "".join(f"proxy_set_header X-Forwarded-{name} {value};\n" for name, value in more.items())
    text = replaced(text, "proxy_request_buffering", f"{lines}proxy_request_buffering")
    frontend.config.write_text(text, "utf-8")
    options = ["--trusted-proxies", "unix", "--forwarded-fields", fields]
    with (
        serve("app", "http", "wsgi", "recorder", *options, "--", str(record), bind=f"unix:{short_path}/reserve"),
        program(frontend.command(), port, short_path, frontend.stop_signal),
    ):
        ask(port)
    (environ,) = environs(record)
    names = ("REMOTE_ADDR", "wsgi.url_scheme", "HTTP_HOST", "SERVER_NAME", "SERVER_PORT", "SCRIPT_NAME", "HTTPS")
    expected = [CLIENT, "https", "shop.example", "shop.example", "443", "/shop", "on"]
    assert [environ[name] for name in names] == expected


def begin(port: int, host: str, target: str) -> socket.socket:
    """A client at an address, which has sent a request."""
    client = socket.create_connection(("127.0.0.1", port), PATIENCE, source_address=(host, 0))
    client.sendall(f"GET {target} HTTP/1.1\r\nHost: blog.example\r\nConnection: close\r\n\r\n".encode())
    return client


def response(client: socket.socket) -> bytes:
    with client, client.makefile("rb") as file:
        return file.read()


@pytest.mark.peer
@pytest.mark.parametrize("name", FRONTENDS)
def test_a_greedy_client_behind_a_frontend_leaves_the_workers_to_others(
    serve: Serve, require_peer: RequirePeer, short_path: Path, name: str
) -> None:
    """Eight requests of one client: one runs, one waits, six are refused. The frontend itself has no limit."""
    gate = short_path / "gate"
    os.mkfifo(gate)
    bind = f"unix:{short_path}/reserve"
    frontend = FRONTENDS[name](require_peer(name), short_path, bind)
    port = free_port()
    text = frontend.config.read_text("utf-8")
    at = "listen unix:" if name == "nginx" else "bind unix@"
    text = replaced(text, f"{at}{frontend.address}", f"{at.partition('unix')[0]}127.0.0.1:{port}")
    frontend.config.write_text(text, "utf-8")
    limits = ["--max-running-per-client", "1", "--max-connections-per-client", "1"]
    options = ["--trusted-proxies", "unix", "--threads", "2", *limits]
    with (
        serve("app", "http", "wsgi", "gate", *options, "--", str(gate), bind=bind, log=None) as server,
        program(frontend.command(), port, short_path, frontend.stop_signal),
    ):
        greedy = [begin(port, CLIENT, "/wait") for _ in range(8)]
        for _ in range(6):
            (ready, *_), _, _ = select.select(greedy, [], [], PATIENCE)
            greedy.remove(ready)
            refused = response(ready)
            assert refused.startswith(b"HTTP/1.1 429 ")
            assert b"\r\nretry-after: 1\r\n" in refused.lower()
        for _ in range(5):
            assert response(begin(port, "127.0.0.8", "/")).endswith(b"at once")
        while greedy:
            gate.write_bytes(b"at last")  # the one that runs reads it
            (ready, *_), _, _ = select.select(greedy, [], [], PATIENCE)
            greedy.remove(ready)
            assert response(ready).endswith(b"at last")
    assert [line for line in server.log if f"{CLIENT} through unix: 429" in line]


# ---- the PROXY protocol ----


@contextlib.contextmanager
def behind(serve: Serve, folder: Path, *options: str) -> Iterator[tuple[Any, Path]]:
    """reserve with the page's options, and the record of its requests."""
    record = folder / "record"
    record.touch()
    arguments = shlex.split(block("sh", "--proxy-protocol"))
    assert arguments[:7] == ["reserve", "app", "http", "wsgi", "blog", "--bind", "127.0.0.1:8000"]
    with serve("app", "http", "wsgi", "recorder", *arguments[7:], *options, "--", str(record), log=None) as server:
        yield server, record


def haproxy(folder: Path, program: str, port: int, upstream: tuple[str, int], send: str, tls: str = "") -> list[str]:
    """The command for HAProxy with the page's configuration.

    :param send: in place of the page's options of the server.
    :param tls: options of the bind.
    """
    text = replaced(block("haproxy tcp"), "bind :80", f"bind 127.0.0.1:{port} {tls}".rstrip())
    text = replaced(text, "127.0.0.1:8000", "{}:{}".format(*upstream))
    text = replaced(text, "send-proxy-v2 check", send)
    stats = f"global\n    nbthread 1\n    stats socket {folder}/stats level admin\n"
    (folder / "config").write_text(f"{stats}\n{text}", "utf-8")
    return [program, "-db", "-f", str(folder / "config")]


@pytest.mark.peer
@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2", "send-proxy-v2 check", "send-proxy-v2-ssl"])
def test_haproxy(serve: Serve, require_peer: RequirePeer, short_path: Path, send: str) -> None:
    path, port = require_peer("haproxy"), free_port()
    with behind(serve, short_path) as (server, record):
        command = haproxy(short_path, path, port, server.address, send)
        with program(command, port, short_path, signal.SIGUSR1):
            ask(port)
    (environ,) = environs(record)
    assert (environ["REMOTE_ADDR"], environ["SERVER_NAME"], environ["SERVER_PORT"]) == (CLIENT, "127.0.0.1", str(port))
    assert environ["wsgi.url_scheme"] == "http"
    assert not [key for key in environ if "FORWARDED" in key], "a client's own field is believed or left"
    (line,) = [line for line in server.stdout if "/page" in line]
    assert line.startswith(f"{CLIENT} - - [")
    assert server.log == []


@pytest.mark.peer
@pytest.mark.parametrize(("send", "scheme"), [("send-proxy-v2-ssl", "https"), ("send-proxy-v2-ssl-cn", "https")])
def test_tls_that_haproxy_ends(
    serve: Serve, require_peer: RequirePeer, short_path: Path, cert: str, send: str, scheme: str
) -> None:
    path, port = require_peer("haproxy"), free_port()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with behind(serve, short_path) as (server, record):
        command = haproxy(short_path, path, port, server.address, send, f"ssl crt {cert}")
        with program(command, port, short_path, signal.SIGUSR1):
            ask(port, context=context)
    (environ,) = environs(record)
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"], environ["HTTPS"]) == (CLIENT, scheme, "on")


@pytest.mark.peer
@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl"])
def test_tls_that_haproxy_passes_on(
    serve: Serve, require_peer: RequirePeer, short_path: Path, cert: str, send: str
) -> None:
    path, port = require_peer("haproxy"), free_port()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with behind(serve, short_path, "--tls-cert", cert) as (server, record):
        command = haproxy(short_path, path, port, server.address, send)
        with program(command, port, short_path, signal.SIGUSR1):
            ask(port, context=context)
    (environ,) = environs(record)
    assert (environ["REMOTE_ADDR"], environ["SERVER_PORT"]) == (CLIENT, str(port))
    # Version 2 says that the client has no TLS with HAProxy; it has TLS with reserve.
    assert (environ["HTTPS"], environ["wsgi.url_scheme"]) == ("on", "https")


@pytest.mark.peer
@pytest.mark.parametrize(
    ("send", "expected"),
    [
        ("send-proxy-v2 check", "L7OK"),
        ("send-proxy check", "L7OK"),
        ("check check-send-proxy port {port}", "L7OK"),
        ("check port {port}", "L7RSP"),
    ],
)
def test_health_checks(serve: Serve, require_peer: RequirePeer, short_path: Path, send: str, expected: str) -> None:
    path, port = require_peer("haproxy"), free_port()
    with behind(serve, short_path, "--health-path", "/health") as (server, _):
        send = send.format(port=server.address[1]) + " inter 50ms"
        command = haproxy(short_path, path, port, server.address, send)
        config = short_path / "config"
        config.write_text(
            replaced(config.read_text("utf-8"), "    server blog", "    option httpchk GET /health\n    server blog"),
            "utf-8",
        )
        with program(command, port, short_path, signal.SIGUSR1):
            eventually(lambda: check_status(short_path).removeprefix("* ") not in ("", "INI"))
            eventually(lambda: check_status(short_path).removeprefix("* ").startswith(expected[:4]))
    lines = [line for line in server.log if "no header of the PROXY protocol" in line]
    assert bool(lines) == (expected != "L7OK")


def check_status(folder: Path) -> str:
    """What HAProxy says of its last check of the server: ``L7OK``."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        try:
            sock.connect(str(folder / "stats"))
        except (FileNotFoundError, ConnectionRefusedError):  # its port may be open before
            return ""
        sock.sendall(b"show stat\n")
        lines = sock.makefile().read().lstrip("# ").splitlines()
    rows = [dict(zip(lines[0].split(","), line.split(","), strict=False)) for line in lines[1:] if line]
    (row,) = [row for row in rows if row["svname"] == "blog"]
    return row["check_status"]


@pytest.mark.peer
def test_nginx(serve: Serve, require_peer: RequirePeer, short_path: Path) -> None:
    path, port = require_peer("nginx"), free_port()
    if STREAM_MODULE is None:
        if os.environ.get("RESERVE_CI") == "1":
            pytest.fail("nginx has no stream module (Debian: libnginx-mod-stream)")
        pytest.skip("nginx has no stream module (Debian: libnginx-mod-stream)")
    with behind(serve, short_path) as (server, record):
        text = replaced(block("nginx tcp"), "listen 80;", f"listen 127.0.0.1:{port};")
        text = replaced(text, "127.0.0.1:8000", "{}:{}".format(*server.address))
        user = "user root;" if os.geteuid() == 0 else ""
        (short_path / "config").write_text(
            f"load_module {STREAM_MODULE};\ndaemon off;\n{user}\nworker_processes 1;\npid {short_path}/pid;\n"
            f"error_log stderr warn;\nevents {{ worker_connections 64; }}\n{text}",
            "utf-8",
        )
        command = [path, "-e", "stderr", "-p", str(short_path), "-c", str(short_path / "config")]
        with program(command, port, short_path, signal.SIGQUIT):
            ask(port)
    (environ,) = environs(record)
    assert (environ["REMOTE_ADDR"], environ["SERVER_PORT"]) == (CLIENT, str(port))
    assert not [key for key in environ if "FORWARDED" in key]
    assert server.log == []


def test_the_page_names_fields_and_options_that_exist() -> None:
    section = TEXT.partition("## Who the client is")[2]
    allowed = FLAGS["--forwarded-fields"].kind.allowed  # type: ignore[attr-defined]
    for row in re.findall(r"^\| `([a-z][a-z-]+)` \|", section, re.M):
        assert row in allowed
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", section)) - {"--"} <= set(FLAGS)
