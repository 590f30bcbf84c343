"""nginx as a client: it speaks TLS to the installed command, and checks whom it speaks to."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.authority import Authority
from tests.real.conftest import Curl, Serve
from tests.real.serving import PATIENCE, clean_environ
from tests.waiting import eventually

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


@contextlib.contextmanager
def nginx(program: str, folder: Path, **values: object) -> Iterator[Path]:
    (folder / "config").write_text(CONFIG.format(folder=folder, **values))
    front, errors = folder / "front", folder / "errors"
    process = subprocess.Popen(
        [program, "-c", str(folder / "config"), "-e", str(errors), "-p", str(folder)],
        stdin=subprocess.DEVNULL,
        env=clean_environ(),
    )

    def accepts() -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(front)) == 0

    try:
        eventually(lambda: process.poll() is not None or accepts())
        assert process.poll() is None, errors.read_text()
        yield front
        process.send_signal(signal.SIGQUIT)
        process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()


def test_it_trusts_the_name_and_keeps_the_connection(
    serve: Serve, curl: Curl, authority: Authority, require_peer: Callable[[str], str], short_path: Path
) -> None:
    program = require_peer("nginx")
    cert, client = (
        authority.issue("a", "a.test").both,
        authority.issue("front", "front@a.test", common_name="front").both,
    )
    words = ["--tls-cert", cert, "--tls-client-cert", "required", "--tls-client-ca", authority.pem]
    with serve("app", "http", "wsgi", "everything", *words) as server:
        upstream = "{}:{}".format(*server.address)
        with nginx(
            program, short_path, upstream=upstream, name="a.test", authority=authority.pem, client=client
        ) as front:
            seen = [
                json.loads(curl("--unix-socket", str(front), f"http://a.test/facts?{number}").stdout)
                for number in range(5)
            ]
            body = curl("--unix-socket", str(front), "-T", cert, "http://a.test/digest").stdout
    assert {facts["SSL_CLIENT_S_DN_CN"] for facts in seen} == {"front"}
    assert {facts["SSL_TLS_SNI"] for facts in seen} == {"a.test"}
    assert [facts["QUERY_STRING"] for facts in seen] == list("01234")
    assert len({facts["REMOTE_PORT"] for facts in seen}) == 1
    assert json.loads(body)["size"] == Path(cert).stat().st_size


def test_it_does_not_trust_another_name(
    serve: Serve, curl: Curl, authority: Authority, require_peer: Callable[[str], str], short_path: Path
) -> None:
    program = require_peer("nginx")
    cert, client = (
        authority.issue("a", "a.test").both,
        authority.issue("front", "front@a.test", common_name="front").both,
    )
    with serve("app", "http", "wsgi", "everything", "--tls-cert", cert) as server:
        upstream = "{}:{}".format(*server.address)
        with nginx(
            program, short_path, upstream=upstream, name="b.test", authority=authority.pem, client=client
        ) as front:
            done = curl("--unix-socket", str(front), "-o", "/dev/null", "-w", "%{http_code}", "http://a.test/facts")
        assert done.stdout == b"502"
    assert 'does not match "b.test"' in (short_path / "errors").read_text()
    assert server.printed == []
