"""Clients behind frontends, over sockets: what the application, the logs and the redirect say of them, and what a
client may try in order to look like another one.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reserve.apps._accesslog.log import AccessLog
from reserve.apps.http.app import HTTPApp
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.server import Hooks
from reserve.gateways.wsgi import WSGIGateway
from reserve.protocol.http1.head import parse_head
from reserve.sockets.listeners import listen
from reserve.testing import MemoryClient, RunningServer, running
from tests import tls
from tests.apps.http.doubles import hello, hooks_logging_to
from tests.apps.http.responses import Response, receive, request
from tests.protocol.proxy.headers import CLIENT, LOCAL, UNIX, V1, ssl_tlv, v2

HERE = "127.0.0.1"
SPOOFED = [
    "Forwarded: for=1.1.1.1;proto=https;host=evil.test",
    "X-Forwarded-For: 1.1.1.1",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil.test",
    "X-Forwarded-Port: 1",
    "X-Forwarded-Prefix: /evil",
]
KEYS = [f"HTTP_{field.partition(':')[0].upper().replace('-', '_')}" for field in SPOOFED]
EVERY_X = "x-forwarded-for,x-forwarded-proto,x-forwarded-host,x-forwarded-port,x-forwarded-prefix"


def telling(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Respond with the environ."""
    environ["wsgi.input"].read()
    body = json.dumps({key: value for key, value in environ.items() if isinstance(value, str)}).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@contextlib.contextmanager
def site(trusted: str = HERE, fields: str | None = None, **options: Any) -> Iterator[RunningServer]:
    http = {} if fields is None else {"forwarded_fields": fields}
    settings = HTTPSettings(access_log=False, **http, **options.pop("http", {}))
    with running(telling, http=settings, trusted_proxies=trusted, **options) as served:
        yield served


def ask(served: RunningServer, *fields: str, before: bytes = b"", path: str = "/a") -> Response:
    with served.connect() as client:
        client.sendall(before + request("GET", path, *fields))
        return receive(client)


def told(served: RunningServer, *fields: str, before: bytes = b"") -> dict[str, str]:
    """The environ of one request."""
    response = ask(served, *fields, before=before)
    assert response.status == 200, response.text
    environ: dict[str, str] = json.loads(response.text)
    environ.pop("REMOTE_PORT")
    return environ


def client_of(environ: dict[str, str]) -> tuple[str, str, str, str, str]:
    keys = ("REMOTE_ADDR", "wsgi.url_scheme", "HTTP_HOST", "SERVER_NAME", "SCRIPT_NAME")
    return tuple(environ[key] for key in keys)  # type: ignore[return-value]


# ---- header fields ----


def test_without_trusted_proxies_the_fields_reach_the_application_unchanged() -> None:
    with site("") as served:
        environ = told(served, *SPOOFED)
        assert [environ[key] for key in KEYS] == [field.partition(": ")[2] for field in SPOOFED]
        assert client_of(environ) == client_of(told(served))


@pytest.mark.parametrize("fields", [None, "", "forwarded", EVERY_X])
def test_a_client_that_is_no_proxy_changes_nothing(fields: str | None) -> None:
    with site("192.0.2.0/24,unix,::1", fields) as served:
        assert told(served, *SPOOFED) == told(served)


def test_only_the_fields_that_the_frontend_sets_are_believed() -> None:
    with site() as served:
        environ = told(served, *SPOOFED, f"X-Forwarded-For: {CLIENT}", "X-Forwarded-Proto: http")
        assert client_of(environ) == (CLIENT, "http", *client_of(told(served))[2:])
        assert [key for key in KEYS if key in environ] == ["HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO"]
        assert environ["HTTP_X_FORWARDED_FOR"] == f"1.1.1.1, {CLIENT}"


def test_everything_that_a_frontend_may_say() -> None:
    with site(fields=EVERY_X) as served:
        environ = told(
            served,
            f"X-Forwarded-For: 1.1.1.1, {CLIENT}:5",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: shop.test",
            "X-Forwarded-Port: 8443",
            "X-Forwarded-Prefix: /shop",
        )
        assert client_of(environ) == (CLIENT, "https", "shop.test:8443", "shop.test", "/shop")
        assert (environ["SERVER_PORT"], environ["HTTPS"], environ["PATH_INFO"]) == ("8443", "on", "/a")
    with site(fields="forwarded") as served:
        environ = told(served, *SPOOFED, f'Forwarded: for="{CLIENT}:5";host=shop.test;proto=http')
        assert client_of(environ) == (CLIENT, "http", "shop.test", "shop.test", "")


def test_several_field_lines_are_one_list() -> None:
    with site(f"{HERE},10.0.0.0/8") as served:
        fields = (f"X-Forwarded-For: 1.1.1.1, {CLIENT}", "x-forwarded-for: 10.0.0.2", "X-FORWARDED-FOR: 10.0.0.3")
        assert told(served, *fields)["REMOTE_ADDR"] == CLIENT
        assert told(served, fields[0], "X-Forwarded-For: unknown")["REMOTE_ADDR"] == ""


def test_each_request_of_a_connection_has_its_own_client() -> None:
    with site() as served, served.connect() as client:
        for address, expected in ((CLIENT, CLIENT), ("", HERE), ("2001:db8::7", "2001:db8::7")):
            client.sendall(request("GET", "/", *([f"X-Forwarded-For: {address}"] if address else [])))
            assert json.loads(receive(client).text)["REMOTE_ADDR"] == expected


def test_names_with_underscores_are_no_way_around() -> None:
    with site() as served:
        assert told(served, "X_Forwarded_For: 1.1.1.1")["REMOTE_ADDR"] == HERE


def test_a_malformed_field_is_refused_and_names_the_option() -> None:
    lines: list[str] = []
    with site(hooks=hooks_logging_to(lines)) as served:
        response = ask(served, "X-Forwarded-For: evil")
        assert response.status == 400
        assert "--forwarded-fields" in response.text
        assert ask(served, "X-Forwarded-For: evil, 1.2.3.4").status == 200
    assert any("400 X-Forwarded-For 'evil'" in line for line in lines)


def test_unix_sockets(short_path: Path) -> None:
    for trusted, expected in (("unix", CLIENT), (HERE, "")):
        with site(trusted, address=f"unix:{short_path}/{trusted}") as served:
            environ = told(served, f"X-Forwarded-For: {CLIENT}", "X-Forwarded-Proto: https")
            assert environ["REMOTE_ADDR"] == expected
            assert environ["SERVER_PORT"] == ("443" if expected else "80")


def test_a_body_and_many_fields() -> None:
    """The environ of such a head is made twice: before the body, and again for the application."""
    many = [f"X-{number}: a" for number in range(60)]
    with site() as served, served.connect() as client:
        client.sendall(
            request("POST", "/", f"X-Forwarded-For: {CLIENT}", "Forwarded: for=1.1.1.1", *many, body=b"x" * 9)
        )
        environ = json.loads(receive(client).text)
        assert (environ["REMOTE_ADDR"], "HTTP_FORWARDED" in environ) == (CLIENT, False)


def test_the_prefix_and_the_mounts_of_the_server() -> None:
    http = {"root_path": "/shop", "health_path": "/health"}
    with site(fields="x-forwarded-prefix", http=http) as served:
        environ = told(served, "X-Forwarded-Prefix: /outer")
        assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/shop/outer", "/a")
        assert ask(served, "X-Forwarded-Prefix: /outer", path="/health").text == "ok\n"


def test_both_logs_name_the_client() -> None:
    lines: list[str] = []
    out = io.StringIO()
    app = HTTPApp(WSGIGateway(hello), HTTPSettings(access_log=False))
    hooks = hooks_logging_to(lines)
    with running(app, hooks=hooks, trusted_proxies=HERE, max_connections=50) as served:
        app.access_log = AccessLog(served.server._runtime.log, out)
        app.access_log.start()
        app.lay_straight_line()
        assert ask(served, f"X-Forwarded-For: {CLIENT}").status == 200
        assert ask(served, "X-Forwarded-For: unknown").status == 200
        assert ask(served).status == 200
        too_large = f"Content-Length: {1 << 40}"
        assert ask(served, f"X-Forwarded-For: {CLIENT}", "Expect: x", too_large).status in (413, 417)
    hosts = [line.split(" ")[0] for line in out.getvalue().splitlines()]
    assert hosts[:3] == [CLIENT, "-", HERE]


def test_a_refusal_after_the_head_names_client_and_frontend() -> None:
    lines: list[str] = []
    with site(hooks=hooks_logging_to(lines)) as served, served.connect() as client:
        head = request("POST", "/", f"X-Forwarded-For: {CLIENT}", "Transfer-Encoding: chunked")
        client.sendall(head + b"nonsense\r\n")
        assert receive(client).status == 400
    (line,) = [line for line in lines if " 400 " in line]
    assert line.startswith(f"{CLIENT} through {HERE}:")


def test_an_option_without_effect_is_said() -> None:
    lines: list[str] = []
    with site("", "forwarded", hooks=hooks_logging_to(lines)):
        pass
    assert any("--forwarded-fields has no effect" in line for line in lines)


def test_a_driver_without_trusted_proxies_calls_the_parser_itself() -> None:
    client = MemoryClient(hello)
    assert client._driver.parse_head is parse_head  # type: ignore[attr-defined]


# ---- the PROXY protocol ----

WITH_HEADER: dict[str, Any] = {"proxy_protocol": "any"}


@pytest.mark.parametrize("header", [V1, v2()], ids=["v1", "v2"])
def test_the_environ_speaks_of_the_client_and_of_what_it_connected_to(header: bytes) -> None:
    with site(**WITH_HEADER) as served, served.connect() as client:
        client.sendall(header + request())
        environ = json.loads(receive(client).text)
        names = ("REMOTE_ADDR", "REMOTE_PORT", "SERVER_NAME", "SERVER_PORT", "wsgi.url_scheme")
        assert [environ[name] for name in names] == [CLIENT, "50123", "198.51.100.1", "443", "http"]
        client.sendall(request())
        assert json.loads(receive(client).text)["REMOTE_ADDR"] == CLIENT


def test_the_clients_of_such_a_frontend_are_no_proxies_themselves() -> None:
    """A frontend that only passes bytes on passes the client's header fields on, too."""
    with site(fields=EVERY_X, **WITH_HEADER) as served:
        for header in (V1, v2(), v2(b"/run/c".ljust(216, b"\0"), family=UNIX), b"PROXY UNKNOWN\r\n"):
            environ = told(served, *SPOOFED, before=header)
            assert environ == told(served, before=header)
            assert environ["REMOTE_ADDR"] != "1.1.1.1"


def test_a_proxy_behind_such_a_frontend() -> None:
    with site(f"{HERE},{CLIENT}", **WITH_HEADER) as served:
        assert told(served, "X-Forwarded-For: 192.0.2.7", before=V1)["REMOTE_ADDR"] == "192.0.2.7"


def test_the_frontends_own_connections() -> None:
    with site(**WITH_HEADER) as served:
        environ = told(served, f"X-Forwarded-For: {CLIENT}", before=v2(command=LOCAL))
        assert environ["REMOTE_ADDR"] == CLIENT
        assert told(served, before=v2(command=LOCAL))["REMOTE_ADDR"] == HERE


@pytest.mark.parametrize(("client", "scheme"), [(1, "https"), (0, "http")])
def test_the_scheme_is_that_of_the_client(client: int, scheme: str) -> None:
    with site(**WITH_HEADER) as served:
        environ = told(served, before=v2(None, ssl_tlv(client, 1)))
        assert (environ["wsgi.url_scheme"], environ.get("HTTPS")) == (scheme, "on" if client else None)


@pytest.mark.parametrize("header", [V1, v2(None, ssl_tlv(0, 1))], ids=["v1", "a frontend without TLS"])
def test_under_tls(header: bytes) -> None:
    with site(ssl_adapter=tls.adapter(), **WITH_HEADER) as served, served.connect() as plain:
        plain.sendall(header)
        with tls.wrap_client(plain) as client:
            client.sendall(request("GET", "/", "X-Forwarded-For: 1.1.1.1"))
            environ = json.loads(receive(client).text)
            assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == (CLIENT, "https")


def test_a_unix_socket_has_no_process_of_the_client(short_path: Path) -> None:
    with site("unix", address=f"unix:{short_path}/s", **WITH_HEADER) as served:
        environ = told(served, before=V1)
        assert (environ["REMOTE_ADDR"], environ["SERVER_NAME"]) == (CLIENT, "198.51.100.1")
        assert "X_REMOTE_PID" not in environ


def test_the_application_gets_the_header() -> None:
    seen: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        seen.append(environ["reserve.proxy_header"])
        return hello(environ, start_response)

    with running(app, trusted_proxies=HERE, proxy_protocol="v2") as served:
        assert ask(served, before=v2(None, b"\x02\0\x04shop")).status == 200
    assert seen[0].authority == "shop"


def test_redirects_to_https_have_the_header_too() -> None:
    app = HTTPApp(WSGIGateway(hello), HTTPSettings(access_log=False))
    listeners = listen("127.0.0.1:0")
    hooks = Hooks(error_log=lambda level, text: None)
    with running(
        app,
        extra=[(listeners, app.redirect_application(443))],
        hooks=hooks,
        trusted_proxies=HERE,
        proxy_protocol="v1",
    ) as served:
        served.address = served.server.addresses[1][:2]
        response = ask(served, before=V1)
        assert (response.status, response.fields["location"]) == (301, "https://test/a")
