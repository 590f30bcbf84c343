"""curl as a TLS client of the installed command: client certificates, redirects, the wrong scheme, large messages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.authority import Authority, Files
from tests.clients import free_port
from tests.real.conftest import Curl, Serve
from tests.real.installing import Installed
from tests.real.processes import run
from tests.real.serving import SITES, ServerProcess

pytestmark = pytest.mark.peer

EVERYTHING = ("app", "http", "wsgi", "everything", "--threads", "2")
MEGABYTE = 1_000_000
PLAIN = r".* INFO: 127\.0\.0\.1:\d+: no TLS on a port of TLS; it began with b'GET /'"
FAILED = r".* INFO: 127\.0\.0\.1:\d+: the TLS handshake failed: "


def connect_to(*urls: str) -> list[str]:
    """Options with which curl connects to the addresses of these URLs, whatever the host name in a request is."""
    options = []
    for url in urls:
        host, _, port = url.rstrip("/").rpartition("/")[2].rpartition(":")
        options += ["--connect-to", f":{port}:{host}:{port}"]
    return options


def url_of(server: ServerProcess, path: str, name: str = "a.test") -> str:
    return f"https://{name}:{server.address[1]}{path}"


def test_a_connection_is_kept_open(serve: Serve, curl: Curl, authority: Authority, cert: str) -> None:
    connects = ["-w", "%{http_code} %{num_connects}\n", "-o", "/dev/null"]
    with serve(*EVERYTHING, "--tls-cert", cert) as server:
        assert server.addresses == ["https://{}:{}/".format(*server.address)]
        trusted = ["--cacert", authority.pem, *connect_to(server.url)]
        result = curl(*trusted, *connects, url_of(server, "/generated"), *connects, url_of(server, "/written"))
    assert result.stdout == b"200 1\n201 0\n"


def test_100_megabytes_are_uploaded_and_128_downloaded(
    serve: Serve, curl: Curl, authority: Authority, cert: str, tmp_path: Path
) -> None:
    digest = hashlib.sha256()
    with (tmp_path / "upload").open("wb") as file:
        for number in range(100):
            piece = bytes((number, *range(249))) * 4000
            digest.update(piece)
            file.write(piece)
    with serve(*EVERYTHING, "--tls-cert", cert) as server:
        trusted = ["--cacert", authority.pem, *connect_to(server.url)]
        received = json.loads(curl(*trusted, "-T", str(tmp_path / "upload"), url_of(server, "/digest")).stdout)
        assert (received["size"], received["sha256"]) == (100 * MEGABYTE, digest.hexdigest())
        curl(*trusted, "-o", str(tmp_path / "large"), url_of(server, "/large"))
        assert server.peak_memory() < 150 * MEGABYTE
    expected = hashlib.sha256()
    for _ in range(2048):
        expected.update(bytes(range(256)) * 256)
    assert hashlib.sha256((tmp_path / "large").read_bytes()).hexdigest() == expected.hexdigest()


def test_plain_http_on_a_tls_port_is_refused(serve: Serve, curl: Curl, cert: str) -> None:
    with serve(*EVERYTHING, "--tls-cert", cert, log=[PLAIN]) as server:
        result = curl("-i", "http://{}:{}/".format(*server.address))
    head, _, body = result.stdout.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert body == b"This port speaks TLS: the address begins with https://.\n"


def test_curl_follows_a_redirect_with_method_and_body(
    serve: Serve, curl: Curl, authority: Authority, cert: str
) -> None:
    options = ["--tls-cert", cert, "--redirect-http", "127.0.0.1:0", "--plain-bind", "127.0.0.1:0"]
    with serve(*EVERYTHING, *options) as server:
        _, plain, redirect = server.addresses
        assert [address.partition(":")[0] for address in server.addresses] == ["https", "http", "http"]
        assert server.banner[3] == f"    on {redirect}   (redirects to https)"
        trusted = ["--cacert", authority.pem, *connect_to(server.url, redirect)]
        port = redirect.rstrip("/").rpartition(":")[2]
        write_out = ["-w", "\n%{url_effective} %{num_redirects}"]
        result = curl("-L", *trusted, *write_out, "-d", "kept", f"http://a.test:{port}/digest?x=1")
        text, _, effective = result.stdout.decode().rpartition("\n")
        assert json.loads(text) == {
            "size": 4,
            "sha256": hashlib.sha256(b"kept").hexdigest(),
            "method": "POST",
        }
        assert effective == f"{url_of(server, '/digest')}?x=1 1"
        assert json.loads(curl(f"{plain}facts").stdout)["wsgi.url_scheme"] == "http"
    assert [line.split('"')[1:3] for line in server.stdout] == [
        ["POST /digest?x=1 HTTP/1.1", " 308 62 "],
        ["POST /digest?x=1 HTTP/1.1", f" 200 {len(text)} "],
        ["GET /facts HTTP/1.1", server.stdout[2].split('"')[2]],
    ]


def test_the_body_of_a_redirected_request_is_not_read(serve: Serve, curl: Curl, cert: str, tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(bytes(5 * MEGABYTE))
    with serve(*EVERYTHING, "--tls-cert", cert, "--redirect-http", "127.0.0.1:0") as server:
        waiting = ["--expect100-timeout", "100", "-H", "Expect: 100-continue"]
        result = curl(
            *waiting,
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %{size_upload}",
            "-T",
            str(tmp_path / "upload"),
            server.addresses[1],
        )
    assert result.stdout == b"308 0"


@pytest.fixture
def users(authority: Authority) -> dict[str, Files]:
    """The client certificates of Ann and Bob."""
    return {name: authority.issue(name, f"{name}@a.test", common_name=name) for name in ("ann", "bob")}


@pytest.mark.parametrize(
    ("revoked", "reason"), [(False, "peer did not return a certificate"), (True, "certificate verify failed")]
)
def test_a_client_without_a_valid_certificate_is_refused(
    serve: Serve,
    curl: Curl,
    authority: Authority,
    cert: str,
    users: dict[str, Files],
    require_peer: Callable[[str], str],
    revoked: bool,
    reason: str,
) -> None:
    options = ["--tls-cert", cert, "--tls-client-cert", "required"]
    options += ["--tls-client-ca", authority.pem, "--tls-crl", authority.revoke(users["bob"])]
    with serve(*EVERYTHING, *options, log=[FAILED + reason]) as server:
        url = url_of(server, "/facts")
        trusted = ["--cacert", authority.pem, *connect_to(server.url)]
        facts = json.loads(curl(*trusted, "--cert", users["ann"].both, url).stdout)
        assert (facts["SSL_CLIENT_VERIFY"], facts["SSL_CLIENT_S_DN_CN"]) == ("SUCCESS", "ann")
        assert facts["SSL_CLIENT_CERT"].startswith("-----BEGIN CERTIFICATE-----\n")
        refused = ["--cert", users["bob"].both] if revoked else []
        result = run([require_peer("curl"), "-q", "-sS", "--noproxy", "*", *trusted, *refused, url])
        assert (result.returncode, result.stdout) == (56, b""), result.stderr.decode()
        assert b"alert" in result.stderr
        assert json.loads(curl(*trusted, "--cert", users["ann"].both, url).stdout)


def test_a_client_certificate_may_be_optional(
    serve: Serve, curl: Curl, authority: Authority, cert: str, users: dict[str, Files], tmp_path: Path
) -> None:
    # The options come from the environment and from a file here.
    text = f'[server]\ntls-client-cert = "optional"\ntls_client_ca = "{authority.pem}"\n'
    (tmp_path / "options.toml").write_text(text)
    environ = {"RESERVE_TLS_CERT": cert, "RESERVE_TLS_MIN_VERSION": "1.3"}
    with serve(*EVERYTHING, "--config", str(tmp_path / "options.toml"), environ=environ) as server:
        url = url_of(server, "/facts")
        trusted = ["--cacert", authority.pem, *connect_to(server.url)]
        facts = json.loads(curl(*trusted, url).stdout)
        assert facts["SSL_CLIENT_VERIFY"] == "NONE"
        assert "SSL_CLIENT_S_DN" not in facts
        facts = json.loads(curl(*trusted, "--cert", users["bob"].both, url).stdout)
        assert (facts["SSL_CLIENT_VERIFY"], facts["SSL_CLIENT_S_DN_CN"]) == ("SUCCESS", "bob")


def test_an_encrypted_key_is_used_on_a_unix_socket(
    serve: Serve,
    curl: Curl,
    authority: Authority,
    cert: str,
    require_peer: Callable[[str], str],
    short_path: Path,
    tmp_path: Path,
) -> None:
    key, password = tmp_path / "key.pem", tmp_path / "password"
    password.write_text("geheim \u00e4\nand another line\n", "utf-8")
    encrypt = [require_peer("openssl"), "pkcs8", "-topk8", "-in", cert, "-out", str(key)]
    run([*encrypt, "-passout", f"file:{password}"], check=True)
    options = ["--tls-cert", cert, "--tls-key", str(key), "--tls-password-file", str(password)]
    path = short_path / "web"
    with serve(*EVERYTHING, *options, bind=f"unix:{path}") as server:
        assert server.banner[1] == f"    on unix:{path}   (TLS)"
        trusted = ["--cacert", authority.pem, "--unix-socket", str(path)]
        facts = json.loads(curl(*trusted, "https://a.test/facts").stdout)
    assert (facts["wsgi.url_scheme"], facts["SERVER_NAME"], facts["SERVER_PORT"]) == ("https", "localhost", "443")


def test_the_names_of_systemd_sockets_select_tls_plain_and_redirect(
    installed: Installed, curl: Curl, authority: Authority, cert: str, require_peer: Callable[[str], str]
) -> None:
    activate = require_peer("systemd-socket-activate")
    ports = [free_port() for _ in range(3)]
    binds = [argument for port in ports for argument in ("-l", f"127.0.0.1:{port}")]
    arguments = [*EVERYTHING, "--tls-cert", cert, "--chdir", str(SITES), "--env", "PYTHONDONTWRITEBYTECODE=1"]
    command = [activate, *binds, "--fdname=redirect:web:plain", installed.reserve, *arguments]
    with ServerProcess(*command, wait=False) as server:
        # systemd-socket-activate starts the command on the first connection, which waits in the backlog until then.
        server.wait_for_line(lambda line: f"127.0.0.1:{ports[2]}" in line and "Listening" in line)
        trusted = ["--cacert", authority.pem, "--connect-to", "::127.0.0.1:"]
        facts = json.loads(curl("-L", *trusted, f"http://a.test:{ports[0]}/facts").stdout)
        assert (facts["SERVER_PORT"], facts["SSL_TLS_SNI"]) == (str(ports[1]), "a.test")
        assert json.loads(curl(f"http://127.0.0.1:{ports[2]}/facts").stdout)["wsgi.url_scheme"] == "http"
        assert server.addresses == [
            f"{scheme}://127.0.0.1:{ports[n]}/" for scheme, n in (("https", 1), ("http", 2), ("http", 0))
        ]
