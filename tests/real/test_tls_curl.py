"""curl against the installed command with TLS: clients' certificates, redirects, the wrong scheme, large messages."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.authority import Authority, Files
from tests.real.conftest import Curl, Serve
from tests.real.installing import Installed
from tests.real.serving import PATIENCE, SITES, Served, clean_environ

pytestmark = pytest.mark.peer

EVERYTHING = ("app", "http", "wsgi", "everything", "--threads", "2")
MEGABYTE = 1_000_000
PLAIN = r".* INFO: 127\.0\.0\.1:\d+: no TLS on a port of TLS; it began with b'GET /'"
FAILED = r".* INFO: 127\.0\.0\.1:\d+: the TLS handshake failed: "


def at(server: Served, *others: str) -> list[str]:
    """Options that make every name lead to the server, whatever its port."""
    words = []
    for place in [server.url, *others]:
        host, _, port = place.rstrip("/").rpartition("/")[2].rpartition(":")
        words += ["--connect-to", f":{port}:{host}:{port}"]
    return words


def url(server: Served, path: str, name: str = "a.test") -> str:
    return f"https://{name}:{server.address[1]}{path}"


def test_a_connection_is_kept(serve: Serve, curl: Curl, authority: Authority) -> None:
    cert = authority.issue("a", "a.test").both
    made = ["-w", "%{http_code} %{num_connects}\n", "-o", "/dev/null"]
    with serve(*EVERYTHING, "--tls-cert", cert) as server:
        assert server.places == ["https://{}:{}/".format(*server.address)]
        trusted = ["--cacert", authority.pem, *at(server)]
        done = curl(*trusted, *made, url(server, "/generated"), *made, url(server, "/written"))
    assert done.stdout == b"200 1\n201 0\n"


def test_100_megabytes_each_way(serve: Serve, curl: Curl, authority: Authority, tmp_path: Path) -> None:
    cert = authority.issue("a", "a.test").both
    digest = hashlib.sha256()
    with (tmp_path / "upload").open("wb") as file:
        for number in range(100):
            piece = bytes((number, *range(249))) * 4000
            digest.update(piece)
            file.write(piece)
    with serve(*EVERYTHING, "--tls-cert", cert) as server:
        trusted = ["--cacert", authority.pem, *at(server)]
        found = json.loads(curl(*trusted, "-T", str(tmp_path / "upload"), url(server, "/digest")).stdout)
        assert (found["size"], found["sha256"]) == (100 * MEGABYTE, digest.hexdigest())
        curl(*trusted, "-o", str(tmp_path / "large"), url(server, "/large"))
        assert server.peak_memory() < 150 * MEGABYTE
    expected = hashlib.sha256()
    for _ in range(2048):
        expected.update(bytes(range(256)) * 256)
    assert hashlib.sha256((tmp_path / "large").read_bytes()).hexdigest() == expected.hexdigest()


def test_plain_http_on_a_port_of_tls(serve: Serve, curl: Curl, authority: Authority) -> None:
    cert = authority.issue("a", "a.test").both
    with serve(*EVERYTHING, "--tls-cert", cert, says=[PLAIN]) as server:
        done = curl("-i", "http://{}:{}/".format(*server.address))
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert body == b"This port speaks TLS: the address begins with https://.\n"


def test_a_redirect_is_followed(serve: Serve, curl: Curl, authority: Authority) -> None:
    cert = authority.issue("a", "a.test").both
    words = ["--tls-cert", cert, "--redirect-http", "127.0.0.1:0", "--plain-bind", "127.0.0.1:0"]
    with serve(*EVERYTHING, *words) as server:
        _, plain, redirects = server.places
        assert [place.partition(":")[0] for place in server.places] == ["https", "http", "http"]
        assert server.banner[3] == f"    on {redirects}   (redirects to https)"
        trusted = ["--cacert", authority.pem, *at(server, redirects)]
        port = redirects.rstrip("/").rpartition(":")[2]
        shown = ["-w", "\n%{url_effective} %{num_redirects}"]
        done = curl("-L", *trusted, *shown, "-d", "kept", f"http://a.test:{port}/digest?x=1")
        text, _, where = done.stdout.decode().rpartition("\n")
        # The method and the body come along.
        assert json.loads(text) == {
            "size": 4,
            "sha256": hashlib.sha256(b"kept").hexdigest(),
            "method": "POST",
        }
        assert where == f"{url(server, '/digest')}?x=1 1"
        assert json.loads(curl(f"{plain}facts").stdout)["wsgi.url_scheme"] == "http"
    assert [line.split('"')[1:3] for line in server.printed] == [
        ["POST /digest?x=1 HTTP/1.1", " 308 62 "],
        ["POST /digest?x=1 HTTP/1.1", f" 200 {len(text)} "],
        ["GET /facts HTTP/1.1", server.printed[2].split('"')[2]],
    ]


def test_a_body_for_a_redirect_is_never_read(serve: Serve, curl: Curl, authority: Authority, tmp_path: Path) -> None:
    cert = authority.issue("a", "a.test").both
    (tmp_path / "upload").write_bytes(bytes(5 * MEGABYTE))
    with serve(*EVERYTHING, "--tls-cert", cert, "--redirect-http", "127.0.0.1:0") as server:
        waiting = ["--expect100-timeout", "100", "-H", "Expect: 100-continue"]
        done = curl(
            *waiting,
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %{size_upload}",
            "-T",
            str(tmp_path / "upload"),
            server.places[1],
        )
    assert done.stdout == b"308 0"


@pytest.fixture
def certificates(authority: Authority) -> dict[str, Files]:
    people = {name: authority.issue(name, f"{name}@a.test", common_name=name) for name in ("ann", "bob")}
    return {**people, "server": authority.issue("a", "a.test")}


@pytest.mark.parametrize(
    ("revoked", "why"), [(False, "peer did not return a certificate"), (True, "certificate verify failed")]
)
def test_clients_have_to_show_a_certificate(
    serve: Serve,
    curl: Curl,
    authority: Authority,
    certificates: dict[str, Files],
    require_peer: Callable[[str], str],
    revoked: bool,
    why: str,
) -> None:
    words = ["--tls-cert", certificates["server"].both, "--tls-client-cert", "required"]
    words += ["--tls-client-ca", authority.pem, "--tls-crl", authority.revoke(certificates["bob"])]
    shown = ["--cert", certificates["bob"].both] if revoked else []
    with serve(*EVERYTHING, *words, says=[FAILED + why]) as server:
        trusted = ["--cacert", authority.pem, *at(server)]
        facts = json.loads(curl(*trusted, "--cert", certificates["ann"].both, url(server, "/facts")).stdout)
        assert (facts["SSL_CLIENT_VERIFY"], facts["SSL_CLIENT_S_DN_CN"]) == ("SUCCESS", "ann")
        assert facts["SSL_CLIENT_CERT"].startswith("-----BEGIN CERTIFICATE-----\n")
        done = subprocess.run(
            [require_peer("curl"), "-q", "-sS", "--noproxy", "*", *trusted, *shown, url(server, "/facts")],
            capture_output=True,
            check=False,
            timeout=PATIENCE,
            env=clean_environ(),
        )
        assert (done.returncode, done.stdout) == (56, b""), done.stderr.decode()
        assert b"alert" in done.stderr
        assert json.loads(curl(*trusted, "--cert", certificates["ann"].both, url(server, "/facts")).stdout)


def test_clients_may_show_a_certificate(
    serve: Serve, curl: Curl, authority: Authority, certificates: dict[str, Files], tmp_path: Path
) -> None:
    # From the environment and from a file this time.
    text = f'[server]\ntls-client-cert = "optional"\ntls_client_ca = "{authority.pem}"\n'
    (tmp_path / "options.toml").write_text(text)
    environ = {"RESERVE_TLS_CERT": certificates["server"].both, "RESERVE_TLS_MIN_VERSION": "1.3"}
    with serve(*EVERYTHING, "--config", str(tmp_path / "options.toml"), environ=environ) as server:
        trusted = ["--cacert", authority.pem, *at(server)]
        facts = json.loads(curl(*trusted, url(server, "/facts")).stdout)
        assert facts["SSL_CLIENT_VERIFY"] == "NONE"
        assert "SSL_CLIENT_S_DN" not in facts
        facts = json.loads(curl(*trusted, "--cert", certificates["bob"].both, url(server, "/facts")).stdout)
        assert (facts["SSL_CLIENT_VERIFY"], facts["SSL_CLIENT_S_DN_CN"]) == ("SUCCESS", "bob")


def test_an_encrypted_key_and_a_unix_socket(
    serve: Serve, curl: Curl, authority: Authority, require_peer: Callable[[str], str], short_path: Path, tmp_path: Path
) -> None:
    both = authority.issue("a", "a.test").both
    key, password = tmp_path / "key.pem", tmp_path / "password"
    password.write_text("geheim \u00e4\nand another line\n", "utf-8")
    encrypt = [require_peer("openssl"), "pkcs8", "-topk8", "-in", both, "-out", str(key)]
    subprocess.run([*encrypt, "-passout", f"file:{password}"], check=True, capture_output=True)
    words = ["--tls-cert", both, "--tls-key", str(key), "--tls-password-file", str(password)]
    path = short_path / "web"
    with serve(*EVERYTHING, *words, bind=f"unix:{path}") as server:
        assert server.banner[1] == f"    on unix:{path}   (TLS)"
        trusted = ["--cacert", authority.pem, "--unix-socket", str(path)]
        facts = json.loads(curl(*trusted, "https://a.test/facts").stdout)
    assert (facts["wsgi.url_scheme"], facts["SERVER_NAME"], facts["SERVER_PORT"]) == ("https", "localhost", "443")


def test_sockets_of_systemd_by_their_names(
    installed: Installed, curl: Curl, authority: Authority, require_peer: Callable[[str], str]
) -> None:
    activate = require_peer("systemd-socket-activate")
    cert = authority.issue("a", "a.test").both
    ports = []
    for _ in range(3):
        with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as sock:
            ports.append(sock.getsockname()[1])
    binds = [word for port in ports for word in ("-l", f"127.0.0.1:{port}")]
    words = [*EVERYTHING, "--tls-cert", cert, "--chdir", str(SITES), "--env", "PYTHONDONTWRITEBYTECODE=1"]
    line = [activate, *binds, "--fdname=redirect:web:plain", installed.reserve, *words]
    with Served(*line, waits=False) as server:
        # The tool starts the command with the first connection, which waits in the backlog until then.
        server.wait_for_line(lambda line: f"127.0.0.1:{ports[2]}" in line and "Listening" in line)
        trusted = ["--cacert", authority.pem, "--connect-to", "::127.0.0.1:"]
        facts = json.loads(curl("-L", *trusted, f"http://a.test:{ports[0]}/facts").stdout)
        assert (facts["SERVER_PORT"], facts["SSL_TLS_SNI"]) == (str(ports[1]), "a.test")
        assert json.loads(curl(f"http://127.0.0.1:{ports[2]}/facts").stdout)["wsgi.url_scheme"] == "http"
        assert server.places == [
            f"{scheme}://127.0.0.1:{ports[n]}/" for scheme, n in (("https", 1), ("http", 2), ("http", 0))
        ]
