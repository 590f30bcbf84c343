"""OpenSSL's client and the installed command: versions, server names, resumption, refusals."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.authority import Authority
from tests.real.conftest import Serve
from tests.real.processes import run
from tests.real.serving import ServerProcess

pytestmark = pytest.mark.peer

Connect = Callable[..., str]
FAILED = r".* INFO: 127\.0\.0\.1:\d+: the TLS handshake failed: .*"


@pytest.fixture
def secure(serve: Serve, authority: Authority) -> Iterator[ServerProcess]:
    """A server with three certificates on one address."""
    certs = [authority.issue(str(index), name).both for index, name in enumerate(("a.test", "b.test", "*.c.test"))]
    options = [argument for cert in certs for argument in ("--tls-cert", cert)]
    with serve("app", "http", "wsgi", "everything", "--threads", "2", *options, log=None) as server:
        yield server


@pytest.fixture
def connect(secure: ServerProcess, authority: Authority, require_peer: Callable[[str], str]) -> Connect:
    """``connect("-tls1_2", ...)``: connects ``openssl s_client``, which requests ``/facts``; returns its output.

    ``name``: the server name. ``data``: sent in place of the request. ``succeeds``: whether the exit code has to be 0.
    """
    program = require_peer("openssl")

    def connect(*options: str, name: str = "a.test", data: str = "", succeeds: bool = True) -> str:
        host, port = secure.address
        trust = ["-CAfile", authority.pem, "-verify_return_error", "-verify_hostname", name]
        server_name = [] if "-noservername" in options else ["-servername", name]
        until_closed = [] if data else ["-ign_eof"]
        request = f"GET /facts HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"
        command = [program, "s_client", "-connect", f"{host}:{port}", *server_name, *trust, *options, *until_closed]
        result = run(command, input=(data or request).encode())
        assert not succeeds or result.returncode == 0, result.stderr.decode()
        return (result.stdout + result.stderr).decode("utf-8", "replace")

    return connect


def facts(output: str) -> dict[str, str]:
    """The environ in the output of ``openssl s_client``."""
    (text,) = re.findall(r"^\{.*\}", output, re.MULTILINE)
    return json.loads(text)  # type: ignore[no-any-return]


@pytest.mark.parametrize(("option", "version"), [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")])
def test_both_versions_are_served(connect: Connect, option: str, version: str) -> None:
    output = connect(option)
    assert "Verify return code: 0 (ok)" in output
    environ = facts(output)
    assert (environ["SSL_PROTOCOL"], environ["HTTPS"], environ["wsgi.url_scheme"]) == (version, "on", "https")
    assert (environ["SSL_TLS_SNI"], environ["SSL_SESSION_RESUMED"]) == ("a.test", "Initial")
    assert environ["SERVER_PORT"] != "443"
    # Both sides sent close_notify, so there is no error at the end.
    assert "unexpected eof" not in output


def test_the_server_name_selects_the_certificate(connect: Connect, secure: ServerProcess) -> None:
    for name, pattern in (("b.test", "b.test"), ("x.c.test", r"*.c.test"), ("a.test", "a.test"), ("B.TEST", "b.test")):
        output = connect(name=name)  # the client checks the name
        assert facts(output)["SSL_SERVER_SAN_DNS_0"] == pattern
    # For an unknown name the server sends the first certificate, which the client does not accept.
    output = connect(name="d.test", succeeds=False)
    assert "verify error:num=62" in output  # X509_V_ERR_HOSTNAME_MISMATCH
    output = connect("-noservername", name="a.test")
    assert facts(output)["SSL_SERVER_SAN_DNS_0"] == "a.test"


@pytest.mark.parametrize("name", ["a.test", "b.test"], ids=["the first", "another"])
@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_a_session_resumes(connect: Connect, option: str, name: str, tmp_path: Path) -> None:
    session = str(tmp_path / "session")
    assert "New, TLSv1." in connect(option, "-sess_out", session, name=name)
    output = connect(option, "-sess_in", session, name=name)
    assert "Reused, TLSv1." in output
    environ = facts(output)
    assert (environ["SSL_SESSION_RESUMED"], environ["SSL_SERVER_SAN_DNS_0"]) == ("Resumed", name)


@pytest.mark.parametrize("name", ["a.test", "b.test"], ids=["the first", "another"])
@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_a_session_of_another_host_does_not_resume(connect: Connect, option: str, name: str, tmp_path: Path) -> None:
    """RFC 6066 section 3."""
    session = str(tmp_path / "session")
    connect(option, "-sess_out", session, name=name)
    other = {"a.test": "b.test", "b.test": "a.test"}[name]
    output = connect(option, "-sess_in", session, name=other)
    assert "New, TLSv1." in output
    environ = facts(output)
    assert environ["SSL_SESSION_RESUMED"] == "Initial"
    assert (environ["SSL_TLS_SNI"], environ["SSL_SERVER_SAN_DNS_0"]) == (other, other)


@pytest.mark.parametrize("adapter", ["builtin", "pyopenssl"])
@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_a_resumed_session_has_the_certificate_of_its_client(
    serve: Serve,
    authority: Authority,
    cert: str,
    require_peer: Callable[[str], str],
    tmp_path: Path,
    option: str,
    adapter: str,
) -> None:
    program, session = require_peer("openssl"), str(tmp_path / "session")
    ann = authority.issue("ann", "ann@a.test", common_name="ann").both
    options = ["--tls-cert", cert, "--tls-client-cert", "required", "--tls-client-ca", authority.pem]
    with serve("app", "http", "wsgi", "everything", *options, "--tls-adapter", adapter) as server:
        host, port = server.address
        command = [program, "s_client", "-connect", f"{host}:{port}", "-servername", "a.test", "-ign_eof", option]
        command += ["-CAfile", authority.pem, "-cert", ann, "-key", ann]
        results = []
        for session_option in ("-sess_out", "-sess_in"):
            request = b"GET /facts HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
            result = run([*command, session_option, session], input=request, check=True)
            environ = facts(result.stdout.decode("utf-8", "replace"))
            results.append([environ[f"SSL_{name}"] for name in ("SESSION_RESUMED", "CLIENT_VERIFY", "CLIENT_S_DN_CN")])
    assert results == [["Initial", "SUCCESS", "ann"], ["Resumed", "SUCCESS", "ann"]]


def test_old_versions_are_refused(connect: Connect, secure: ServerProcess) -> None:
    output = connect("-tls1_1", "-cipher", "ALL:@SECLEVEL=0", succeeds=False)
    assert "alert protocol version" in output
    assert re.fullmatch(FAILED, secure.wait_for_line("handshake failed"))
    assert facts(connect())["SSL_PROTOCOL"] == "TLSv1.3"


def test_weak_ciphers_are_refused(connect: Connect, secure: ServerProcess) -> None:
    for cipher in ("AES128-SHA", "ECDHE-ECDSA-AES128-SHA256"):
        output = connect("-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0", succeeds=False)
        assert "alert handshake failure" in output
    assert re.fullmatch(FAILED, secure.wait_for_line("no shared cipher"))


def test_renegotiation_is_refused(connect: Connect) -> None:
    output = connect("-tls1_2", data="R\n", succeeds=False)
    assert "RENEGOTIATING" in output
    assert "no renegotiation" in output
    assert facts(connect("-tls1_2"))["SSL_PROTOCOL"] == "TLSv1.2"


def test_both_sides_agree_on_an_application_protocol(connect: Connect) -> None:
    output = connect("-alpn", "h2,http/1.1")
    assert "ALPN protocol: http/1.1" in output
    assert facts(output)["SSL_TLS_ALPN"] == "http/1.1"


def test_a_client_without_a_common_application_protocol_is_refused(connect: Connect, secure: ServerProcess) -> None:
    """RFC 7301 section 3.2."""
    assert "alert no application protocol" in connect("-alpn", "h2", succeeds=False)
    line = secure.wait_for_line("the client offers the protocols b'h2', and the server has only http/1.1, http/1.0")
    assert re.fullmatch(FAILED, line)


def test_tls_1_2_is_refused_with_min_version_1_3(serve: Serve, cert: str, require_peer: Callable[[str], str]) -> None:
    arguments = ["app", "http", "wsgi", "everything", "--tls-cert", cert, "--tls-min-version", "1.3"]
    with serve(*arguments, log=[FAILED]) as server:
        host, port = server.address
        result = run([require_peer("openssl"), "s_client", "-connect", f"{host}:{port}", "-tls1_2"], input=b"")
    assert b"alert protocol version" in result.stderr
