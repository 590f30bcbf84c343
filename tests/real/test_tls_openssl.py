"""OpenSSL's own client against the installed command: versions, names, resumption, what is refused."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.authority import Authority
from tests.real.conftest import Serve
from tests.real.serving import PATIENCE, Served, clean_environ

pytestmark = pytest.mark.peer

Talk = Callable[..., str]
FAILED = r".* INFO: 127\.0\.0\.1:\d+: the TLS handshake failed: .*"


@pytest.fixture
def secure(serve: Serve, authority: Authority) -> Iterator[Served]:
    """Three certificates on one address."""
    certs = [authority.issue(str(index), name).both for index, name in enumerate(("a.test", "b.test", "*.c.test"))]
    options = [word for cert in certs for word in ("--tls-cert", cert)]
    with serve("app", "http", "wsgi", "everything", "--threads", "2", *options, says=None) as server:
        yield server


@pytest.fixture
def talk(secure: Served, authority: Authority, require_peer: Callable[[str], str]) -> Talk:
    """``talk("-tls1_2", ...)``: what ``openssl s_client`` says while it asks for the facts."""
    program = require_peer("openssl")

    def run(*options: str, name: str = "a.test", says: str = "", ends: bool = True) -> str:
        host, port = secure.address
        trust = ["-CAfile", authority.pem, "-verify_return_error", "-verify_hostname", name]
        server_name = [] if "-noservername" in options else ["-servername", name]
        until_it_closes = [] if says else ["-ign_eof"]
        asked = says or f"GET /facts HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"
        done = subprocess.run(
            [program, "s_client", "-connect", f"{host}:{port}", *server_name, *trust, *options, *until_it_closes],
            input=asked.encode(),
            capture_output=True,
            check=False,
            timeout=PATIENCE,
            env=clean_environ(),
        )
        assert not ends or done.returncode == 0, done.stderr.decode()
        return (done.stdout + done.stderr).decode("utf-8", "replace")

    return run


def facts(said: str) -> dict[str, str]:
    (text,) = re.findall(r"^\{.*\}", said, re.MULTILINE)
    return json.loads(text)  # type: ignore[no-any-return]


@pytest.mark.parametrize(("option", "version"), [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")])
def test_both_versions(talk: Talk, option: str, version: str) -> None:
    said = talk(option)
    assert "Verify return code: 0 (ok)" in said
    seen = facts(said)
    assert (seen["SSL_PROTOCOL"], seen["HTTPS"], seen["wsgi.url_scheme"]) == (version, "on", "https")
    assert (seen["SSL_TLS_SNI"], seen["SSL_SESSION_RESUMED"]) == ("a.test", "Initial")
    assert seen["SERVER_PORT"] != "443"
    # It asked to close, and both sides said goodbye: no error at the end.
    assert "unexpected eof" not in said


def test_the_name_that_is_asked_for_picks_the_certificate(talk: Talk, secure: Served) -> None:
    for name, pattern in (("b.test", "b.test"), ("x.c.test", r"*.c.test"), ("a.test", "a.test"), ("B.TEST", "b.test")):
        said = talk(name=name)  # which checks the name
        assert facts(said)["SSL_SERVER_SAN_DNS_0"] == pattern
    # Nobody's: the first one, which is not for it.
    said = talk(name="d.test", ends=False)
    assert "verify error:num=62" in said  # X509_V_ERR_HOSTNAME_MISMATCH
    said = talk("-noservername", name="a.test")
    assert facts(said)["SSL_SERVER_SAN_DNS_0"] == "a.test"


@pytest.mark.parametrize("name", ["a.test", "b.test"], ids=["the first", "another"])
@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_sessions_resume(talk: Talk, secure: Served, option: str, name: str, tmp_path: Path) -> None:
    kept = tmp_path / "session"
    assert "New, TLSv1." in talk(option, "-sess_out", str(kept), name=name)
    said = talk(option, "-sess_in", str(kept), name=name)
    assert "Reused, TLSv1." in said
    seen = facts(said)
    assert (seen["SSL_SESSION_RESUMED"], seen["SSL_SERVER_SAN_DNS_0"]) == ("Resumed", name)


@pytest.mark.parametrize("name", ["a.test", "b.test"], ids=["the first", "another"])
@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_a_session_of_another_host_does_not_resume(talk: Talk, option: str, name: str, tmp_path: Path) -> None:
    """RFC 6066 section 3."""
    kept = tmp_path / "session"
    talk(option, "-sess_out", str(kept), name=name)
    other = {"a.test": "b.test", "b.test": "a.test"}[name]
    said = talk(option, "-sess_in", str(kept), name=other)
    assert "New, TLSv1." in said
    seen = facts(said)
    assert (seen["SSL_SESSION_RESUMED"], seen["SSL_TLS_SNI"], seen["SSL_SERVER_SAN_DNS_0"]) == ("Initial", other, other)


@pytest.mark.parametrize("adapter", ["builtin", "pyopenssl"])
@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
def test_a_session_that_resumes_knows_its_client(
    serve: Serve,
    authority: Authority,
    require_peer: Callable[[str], str],
    tmp_path: Path,
    option: str,
    adapter: str,
) -> None:
    program, kept = require_peer("openssl"), tmp_path / "session"
    cert, ann = authority.issue("a", "a.test").both, authority.issue("ann", "ann@a.test", common_name="ann").both
    words = ["--tls-cert", cert, "--tls-client-cert", "required", "--tls-client-ca", authority.pem]
    with serve("app", "http", "wsgi", "everything", *words, "--tls-adapter", adapter) as server:
        host, port = server.address
        command = [program, "s_client", "-connect", f"{host}:{port}", "-servername", "a.test", "-ign_eof", option]
        command += ["-CAfile", authority.pem, "-cert", ann, "-key", ann]
        seen = []
        for session in (["-sess_out", str(kept)], ["-sess_in", str(kept)]):
            done = subprocess.run(
                [*command, *session],
                input=b"GET /facts HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n",
                capture_output=True,
                check=True,
                timeout=PATIENCE,
            )
            found = facts(done.stdout.decode("utf-8", "replace"))
            seen.append((found["SSL_SESSION_RESUMED"], found["SSL_CLIENT_VERIFY"], found["SSL_CLIENT_S_DN_CN"]))
    assert seen == [("Initial", "SUCCESS", "ann"), ("Resumed", "SUCCESS", "ann")]


def test_old_versions_are_refused(talk: Talk, secure: Served) -> None:
    said = talk("-tls1_1", "-cipher", "ALL:@SECLEVEL=0", ends=False)
    assert "alert protocol version" in said
    assert re.fullmatch(FAILED, secure.wait_for_line("handshake failed"))
    assert facts(talk())["SSL_PROTOCOL"] == "TLSv1.3"


def test_weak_ciphers_are_refused(talk: Talk, secure: Served) -> None:
    for cipher in ("AES128-SHA", "ECDHE-ECDSA-AES128-SHA256"):
        assert "alert handshake failure" in talk("-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0", ends=False)
    assert re.fullmatch(FAILED, secure.wait_for_line("no shared cipher"))


def test_no_renegotiation(talk: Talk, secure: Served) -> None:
    said = talk("-tls1_2", says="R\n", ends=False)
    assert "RENEGOTIATING" in said
    assert "no renegotiation" in said
    assert facts(talk("-tls1_2"))["SSL_PROTOCOL"] == "TLSv1.2"


def test_the_application_protocol_is_agreed_on(talk: Talk) -> None:
    said = talk("-alpn", "h2,http/1.1")
    assert "ALPN protocol: http/1.1" in said
    assert facts(said)["SSL_TLS_ALPN"] == "http/1.1"


def test_a_client_of_other_protocols_is_told(talk: Talk, secure: Served) -> None:
    """RFC 7301 section 3.2."""
    assert "alert no application protocol" in talk("-alpn", "h2", ends=False)
    line = secure.wait_for_line("the client offers the protocols b'h2', and the server has only http/1.1, http/1.0")
    assert re.fullmatch(FAILED, line)


def test_only_the_newest_version_if_asked_for(
    serve: Serve, authority: Authority, require_peer: Callable[[str], str]
) -> None:
    cert = authority.issue("a", "a.test").both
    words = ["app", "http", "wsgi", "everything", "--tls-cert", cert, "--tls-min-version", "1.3"]
    with serve(*words, says=[FAILED]) as server:
        host, port = server.address
        command = [require_peer("openssl"), "s_client", "-connect", f"{host}:{port}", "-tls1_2"]
        done = subprocess.run(command, input=b"", capture_output=True, check=False, timeout=PATIENCE)
    assert b"alert protocol version" in done.stderr
