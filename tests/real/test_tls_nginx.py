"""nginx as a TLS client of the installed command, whose certificate it checks."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.authority import Authority
from tests.real.conftest import Curl, Serve
from tests.real.processes import running

pytestmark = pytest.mark.peer

CONFIG = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/errors;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
    uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
    upstream reserve {{ server {upstream}; keepalive 4; }}
    server {{
        listen unix:{folder}/front;
        location / {{
            proxy_pass https://reserve;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host a.test;
            proxy_ssl_server_name on;
            proxy_ssl_name {name};
            proxy_ssl_verify on;
            proxy_ssl_trusted_certificate {authority};
            proxy_ssl_certificate {client};
            proxy_ssl_certificate_key {client};
            proxy_ssl_session_reuse on;
        }}
    }}
}}
"""


Nginx = Callable[..., contextlib.AbstractContextManager[Path]]


@pytest.fixture
def nginx(require_peer: Callable[[str], str], authority: Authority, short_path: Path) -> Nginx:
    """``nginx(upstream, name)``: runs nginx; gives its socket. It has a client certificate for ``front``."""
    program = require_peer("nginx")
    client = authority.issue("front", "front@a.test", common_name="front").both

    @contextlib.contextmanager
    def run(upstream: str, name: str) -> Iterator[Path]:
        folder = short_path
        config, front, errors = folder / "config", folder / "front", folder / "errors"
        config.write_text(
            CONFIG.format(folder=folder, upstream=upstream, name=name, authority=authority.pem, client=client)
        )

        def accepts() -> bool:
            with socket.socket(socket.AF_UNIX) as sock:
                return sock.connect_ex(str(front)) == 0

        command = [program, "-c", str(config), "-e", str(errors), "-p", str(folder)]
        with running(command, accepts, stop_signal=signal.SIGQUIT, errors=errors):
            yield front

    return run


def test_nginx_sends_its_certificate_and_keeps_the_connection(
    serve: Serve, curl: Curl, authority: Authority, cert: str, nginx: Nginx
) -> None:
    options = ["--tls-cert", cert, "--tls-client-cert", "required", "--tls-client-ca", authority.pem]
    with (
        serve("app", "http", "wsgi", "everything", *options) as server,
        nginx("{}:{}".format(*server.address), "a.test") as front,
    ):
        environs = [
            json.loads(curl("--unix-socket", str(front), f"http://a.test/facts?{number}").stdout) for number in range(5)
        ]
        digest = json.loads(curl("--unix-socket", str(front), "-T", cert, "http://a.test/digest").stdout)
    assert {environ["SSL_CLIENT_S_DN_CN"] for environ in environs} == {"front"}
    assert {environ["SSL_TLS_SNI"] for environ in environs} == {"a.test"}
    assert [environ["QUERY_STRING"] for environ in environs] == list("01234")
    assert len({environ["REMOTE_PORT"] for environ in environs}) == 1
    assert digest["size"] == Path(cert).stat().st_size


def test_nginx_does_not_trust_a_certificate_for_another_name(
    serve: Serve, curl: Curl, cert: str, nginx: Nginx, short_path: Path
) -> None:
    with serve("app", "http", "wsgi", "everything", "--tls-cert", cert) as server:
        with nginx("{}:{}".format(*server.address), "b.test") as front:
            result = curl("--unix-socket", str(front), "-o", "/dev/null", "-w", "%{http_code}", "http://a.test/facts")
        assert result.stdout == b"502"
    assert 'does not match "b.test"' in (short_path / "errors").read_text()
    assert server.stdout == []
