"""``--debug``: who gets the page of an exception, and who the plain 500."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import reserve
from reserve.apps._debug import may_see_errors, not_local
from reserve.apps.http.app import HTTPApp
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.connections.peers import address_of
from reserve.gateways.wsgi import WSGIGateway
from reserve.testing import MemoryClient
from tests.apps.http.responses import only
from tests.waiting import PATIENCE

LOCAL = ("127.0.0.1", 50000)
REMOTE = ("192.0.2.9", 50000)


def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    path = environ["PATH_INFO"]
    if path == "/ok":
        start_response("200 OK", [])
        return [repr(environ.get("reserve.debug")).encode()]
    if path == "/late":
        start_response("200 OK", [("Content-Length", "100")])(b"begun")
    if path == "/lie":
        environ.update(REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost")
    if path == "/read":
        environ["wsgi.input"].read()
    raise ValueError("the <secret>")


# ---- who ----


def asked(
    *,
    peer: Any = LOCAL,
    named: Any = None,
    trusted: str = "",
    client: str = "",
    removed: bool = False,
    **fields: str,
) -> bool:
    """The decision about one request.

    :param peer: the other end of the connection.
    :param named: the client of a header of the PROXY protocol.
    :param client: the client that a field of a trusted frontend names.
    :param removed: fields of a frontend that is not trusted were removed.
    """
    sock = SimpleNamespace(getpeername=lambda: peer)
    header = None if named is None else SimpleNamespace(source=named, local=False)
    server = SimpleNamespace(settings=SimpleNamespace(trusted_proxies=trusted))
    connection = SimpleNamespace(sock=sock, peer=named or peer, proxy=header, server=server)
    address = client or address_of(connection.peer)[0]
    environ = {"REMOTE_ADDR": address, "HTTP_HOST": "localhost:8080", **fields}
    head = SimpleNamespace(environ=environ, untrusted_fields=removed)
    return may_see_errors(cast("Any", connection), cast("Any", head))


@pytest.mark.parametrize("peer", [LOCAL, ("127.8.8.8", 1), ("::1", 1, 0, 0), ("::ffff:127.0.0.1", 1, 0, 0)])
def test_a_client_on_this_machine_sees_it(peer: Any) -> None:
    assert asked(peer=peer)


@pytest.mark.parametrize("peer", [REMOTE, ("2001:db8::1", 1, 0, 0), ("::ffff:192.0.2.9", 1, 0, 0), "", "/run/x", b""])
def test_others_do_not_and_no_client_on_a_unix_socket(peer: Any) -> None:
    assert not asked(peer=peer)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "[::1]:8080", "[::1]", "localhost."])
def test_names_of_this_machine(host: str) -> None:
    assert asked(HTTP_HOST=host)


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.1", "[2001:db8::1]", "::1",
     "localhost:80:80", "evil.example:localhost", "0.0.0.0", "[localhost"],
)  # fmt: skip
def test_another_name_may_be_dns_rebinding(host: str) -> None:
    assert not asked(HTTP_HOST=host)


@pytest.mark.parametrize(
    ("trusted", "client", "sees"),
    [("127.0.0.1", "", True), ("127.0.0.1", "127.0.0.1", True), ("127.0.0.1", "203.0.113.9", False)],
)
def test_the_client_that_a_trusted_frontend_names(trusted: str, client: str, sees: bool) -> None:
    assert asked(trusted=trusted, client=client, HTTP_X_FORWARDED_FOR=client) is sees


def test_a_frontend_elsewhere_names_no_client_of_this_machine() -> None:
    assert not asked(peer=REMOTE, trusted="192.0.2.9", client="127.0.0.1")


@pytest.mark.parametrize(
    ("peer", "named", "sees"), [(LOCAL, LOCAL, True), (LOCAL, REMOTE, False), (REMOTE, LOCAL, False)]
)
def test_the_client_of_a_header_of_the_proxy_protocol(peer: Any, named: Any, sees: bool) -> None:
    assert asked(peer=peer, named=named, trusted="127.0.0.1,192.0.2.9") is sees


@pytest.mark.parametrize("field", ["FORWARDED", "X_FORWARDED_FOR", "X_FORWARDED_HOST", "X_REAL_IP", "VIA"])
def test_a_frontend_that_is_not_trusted_has_an_unknown_client(field: str) -> None:
    assert not asked(**{f"HTTP_{field}": "127.0.0.1"})
    assert not asked(trusted="192.0.2.9", **{f"HTTP_{field}": "127.0.0.1"})


def test_so_has_one_whose_fields_were_removed() -> None:
    assert not asked(trusted="192.0.2.9", removed=True)


def test_a_client_that_has_gone_sees_nothing() -> None:
    def gone() -> Any:
        raise OSError

    sock = SimpleNamespace(getpeername=gone)
    connection = cast("Any", SimpleNamespace(sock=sock, peer=LOCAL))
    assert not may_see_errors(connection, cast("Any", SimpleNamespace(environ={"REMOTE_ADDR": "127.0.0.1"})))


# ---- what ----


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("reserve")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


def ask(text: str, *, family: int = socket.AF_INET, path: str = "", **options: Any) -> Any:
    """The responses to what one client sends."""
    listeners = reserve.listen(f"unix:{path}" if path else "127.0.0.1:0")
    with (
        reserve.ReserveWSGIServer(listeners, app, threads=1, **{"debug": True, **options}) as server,
        socket.socket(socket.AF_UNIX if path else family) as client,
    ):
        client.settimeout(PATIENCE)
        client.connect(path or server.addresses[0])
        client.sendall(text.encode())
        with client.makefile("rb") as stream:
            return stream.read()


def get(path: str, *fields: str, host: str = "localhost", method: str = "GET") -> str:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *fields, "Connection: close"]
    return "\r\n".join([*lines, "", ""])


def is_page(data: bytes) -> bool:
    assert data.startswith(b"HTTP/1.1 500 ")
    assert (b"secret" in data) is (b"test_debug.py" in data)
    return b"secret" in data


def test_a_browser_gets_html_and_curl_gets_text() -> None:
    page = only(ask(get("/", "Accept: text/html,*/*;q=0.8")))
    assert page.status == 500
    assert page.fields["content-type"] == "text/html; charset=utf-8"
    assert page.fields["cache-control"] == "no-store"
    assert page.fields["x-frame-options"] == "DENY"
    assert "ValueError: the &lt;secret&gt;" in page.text
    text = only(ask(get("/", "Accept: */*")))
    assert text.fields["content-type"] == "text/plain; charset=utf-8"
    assert "ValueError: the <secret>" in text.text
    assert "Traceback" in text.text


def test_without_debug_nothing_is_shown() -> None:
    assert not is_page(ask(get("/"), debug=False))
    assert ask(get("/ok"), debug=False).endswith(b"None")


def test_the_application_is_told_that_its_client_may_see_errors() -> None:
    assert ask(get("/ok")).endswith(b"True")
    assert ask(get("/ok", host="evil.example")).endswith(b"None")


def test_what_the_application_writes_into_its_environ_does_not_count() -> None:
    assert not is_page(ask(get("/lie", host="evil.example")))


@pytest.mark.parametrize(
    ("options", "head", "fields", "shown"),
    [
        ({}, "", [], True),
        ({}, "", ["X-Forwarded-For: 127.0.0.1"], False),
        ({"trusted_proxies": "127.0.0.1"}, "", ["X-Forwarded-For: 127.0.0.1"], True),
        ({"trusted_proxies": "127.0.0.1"}, "", ["X-Forwarded-For: 203.0.113.9"], False),
        ({"trusted_proxies": "127.0.0.1"}, "", ["X-Forwarded-For: 127.0.0.1, 203.0.113.9"], False),
        ({"trusted_proxies": "127.0.0.1"}, "", [], True),
        ({"trusted_proxies": "192.0.2.1"}, "", [], True),
        ({"trusted_proxies": "192.0.2.1"}, "", ["X-Forwarded-For: 127.0.0.1"], False),
        ({"trusted_proxies": "127.0.0.1", "proxy_protocol": "v1"}, "PROXY TCP4 127.0.0.1 127.0.0.1 5 6\r\n", [], True),
        ({"trusted_proxies": "127.0.0.1", "proxy_protocol": "v1"}, "PROXY TCP4 192.0.2.9 127.0.0.1 5 6\r\n", [], False),
    ],
)
def test_frontends(options: dict[str, Any], head: str, fields: list[str], shown: bool) -> None:
    assert is_page(ask(head + get("/", *fields), **options)) is shown


def test_a_client_of_a_unix_socket_gets_the_plain_response(tmp_path: Path) -> None:
    assert not is_page(ask(get("/"), path=str(tmp_path / "socket")))


def test_a_response_that_has_begun_is_aborted_as_ever() -> None:
    assert b"secret" not in ask(get("/late"))


def test_a_response_to_head_has_no_body_and_the_connection_is_kept() -> None:
    text = get("/", method="HEAD").replace("Connection: close\r\n", "") + get("/ok")
    data = ask(text)
    head, _, rest = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 500 ")
    assert rest.startswith(b"HTTP/1.1 200 ")
    assert rest.endswith(b"True")


def test_a_request_with_a_body() -> None:
    body = "x" * 1000
    text = get("/read", f"Content-Length: {len(body)}", method="POST") + body
    assert is_page(ask(text))
    assert is_page(ask(text, stream_bodies=True))
    assert is_page(ask(text.replace("/read", "/"), stream_bodies=True))


def test_the_client_in_memory_is_one_on_this_machine() -> None:
    client = MemoryClient(HTTPApp(WSGIGateway(app), HTTPSettings(debug=True)))
    assert "secret" in only(client.send(get("/").encode())).text


# ---- the warning ----


def test_addresses_that_other_machines_reach() -> None:
    addresses = [LOCAL, ("::1", 1, 0, 0), "/run/x", ("0.0.0.0", 80), ("::", 81, 0, 0), ("192.0.2.1", 82)]
    assert not_local(addresses) == ["0.0.0.0:80", "[::]:81", "192.0.2.1:82"]


@pytest.mark.parametrize(
    ("bind", "debug", "warned"), [("0.0.0.0:0", True, True), ("0.0.0.0:0", False, False), ("127.0.0.1:0", True, False)]
)
def test_one_warning_at_the_start(bind: str, debug: bool, warned: bool) -> None:
    lines: list[str] = []
    hooks = reserve.Hooks(error_log=lambda level, text: lines.append(text))
    with reserve.ReserveWSGIServer(reserve.listen(bind), app, threads=1, debug=debug, hooks=hooks):
        pass
    assert [line for line in lines if line.startswith("--debug is for development")] == lines[: int(warned)]
    assert len(lines) >= int(warned)
