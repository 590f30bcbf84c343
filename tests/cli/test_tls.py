"""The TLS options of the command: which listeners use TLS, and what a mistake gets."""

from __future__ import annotations

import errno
import os
import re
import sys
from pathlib import Path

import pytest

from reserve.apps.http.redirect import RedirectApp
from reserve.cli.command import main
from reserve.engine.settings import EngineSettings
from reserve.ssl import BuiltinSSLAdapter, PyOpenSSLAdapter, TLSSettings
from tests.cli.fakes import ARGV, FakeServer


def test_with_a_certificate_every_bind_uses_tls_except_plain_ones(
    tls_workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--tls-cert", "a.pem", "--tls-cert=b.pem", "--tls-key", "a.key", "--tls-key", "b.key"]
    more_options = ["-b", "127.0.0.1:0", "--plain-bind", "127.0.0.1:0", "--tls-min-version", "1.3", "--tls-check=0"]
    assert main([*ARGV, *options, *more_options]) == 0
    (server,) = FakeServer.made
    assert isinstance(server.ssl_adapter, BuiltinSSLAdapter)
    assert [files.cert for files in server.ssl_adapter.certificates] == ["a.pem", "b.pem"]
    assert server.ssl_adapter.settings == TLSSettings(min_version="1.3")
    assert server.settings == EngineSettings(tls_check=0)
    assert [len(server.sockets), len(server.without_tls), server.extra] == [2, 1, []]
    notes = [line.rpartition("   ")[2] for line in capsys.readouterr().err.splitlines()[1:4]]
    assert notes == ["(TLS)", "(TLS)", "(without TLS)"]


def test_a_key_can_be_in_the_file_of_its_certificate_or_encrypted(tls_workdir: Path) -> None:
    assert main([*ARGV, "--tls-cert", "a.both", "--tls-cert", "b.both"]) == 0
    options = ["--tls-cert", "a.pem", "--tls-key", "locked.key", "--tls-password-file", "password"]
    assert main([*ARGV, *options]) == 0
    assert len(FakeServer.made) == 2


def test_the_pyopenssl_adapter_is_used_if_it_is_installed(
    tls_workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--tls-cert", "a.both", "--tls-adapter", "pyopenssl"]
    assert main([*ARGV, *options]) == 0
    assert isinstance(FakeServer.made[0].ssl_adapter, PyOpenSSLAdapter)
    capsys.readouterr()
    monkeypatch.delitem(sys.modules, "reserve.ssl.pyopenssl")
    monkeypatch.setitem(sys.modules, "OpenSSL", None)
    assert main([*ARGV, *options]) == 1
    message = capsys.readouterr().err
    assert re.fullmatch(r"reserve: \S+ needs pyOpenSSL, .*pip install 'reserve\[pyopenssl\]'\n", message)


def test_a_redirect_listener_is_served_in_addition_to_the_application(
    tls_workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--redirect-http", "127.0.0.1:0", "--plain-bind", f"unix:{tls_workdir / 's'}", "--unix-mode", "600"]
    assert main(["app", "http", "wsgi", "blog", "-b", "127.0.0.1:0", *options, "--tls-cert", "a.both"]) == 0
    (server,) = FakeServer.made
    ((sockets, redirects),) = server.extra
    assert isinstance(redirects, RedirectApp)
    assert (len(sockets), redirects.port) == (1, server.addresses[0][1])
    lines = [line.strip() for line in capsys.readouterr().err.splitlines() if line.startswith("    on ")]
    assert lines[0] == f"on https://127.0.0.1:{redirects.port}/"
    assert lines[1] == f"on unix:{tls_workdir / 's'}   (without TLS)"
    assert re.fullmatch(r"on http://127\.0\.0\.1:\d+/   \(redirects to https\)", lines[2])


def test_redirects_use_the_port_of_the_option(tls_workdir: Path) -> None:
    options = ["-b", "127.0.0.1:0", "--tls-cert", "a.both", "--redirect-http", "127.0.0.1:0", "--redirect-port", "443"]
    assert main(["app", "http", "wsgi", "blog", *options]) == 0
    ((_, redirects),) = FakeServer.made[0].extra
    assert redirects.port == 443


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--tls-key", "a.key"], 2, "--tls-key is for TLS, which needs a certificate: --tls-cert FILE\n"),
        (["--handshake-timeout", "3"], 2, "--handshake-timeout is for TLS, which needs a certificate"),
        (["--plain-bind", "127.0.0.1:0"], 2, "--plain-bind is for TLS, which needs a certificate"),
        (["--tls-cert", "a.pem", "--tls-cert", "b.pem", "--tls-key", "a.key"], 2, "--tls-cert is given 2 times and "),
        (["--tls-cert", "a.pem", "--tls-key", "a.key", "--tls-key", "b.key"], 2, "--tls-cert is given once and "),
        (["--tls-cert", "a.both", "--tls-client-cert", "required"], 2, "needs client_ca (--tls-client-ca)"),
        (["--tls-cert", "a.both", "--tls-client-ca", "ca.pem"], 2, "(--tls-client-ca, --tls-crl) do nothing unless"),
        (["--tls-cert", "a.both", "--redirect-http", ":0"], 2, "(--redirect-http) are for HTTP applications (reserve"),
        (
            ["--tls-cert", "a.both", "--redirect-port", "443"],
            2,
            "--redirect-port is for redirects to https, and there ",
        ),
        (["--redirect-port", "443"], 2, "--redirect-port is for TLS, which needs a certificate"),
        (["--redirect-port", "0"], 2, "--redirect-port"),
        (["--tls-cert", "a.both", "--plain-bind", "[::1]:7"], 2, "[::1]:7 is given as --bind and as --plain-bind; it"),
        (
            ["--tls-cert", "nowhere"],
            1,
            "the certificate nowhere (--tls-cert) cannot be read: No such file or ",
        ),
        (["--tls-cert", "."], 1, "the certificate . (--tls-cert) cannot be read: Is a directory\n"),
        (["--tls-cert", "junk"], 1, "junk (--tls-cert) holds no certificate that can be used: there is no"),
        (["--tls-cert", "a.pem"], 1, "a.pem (--tls-cert) holds no private key in PEM; --tls-key names the file th"),
        (["--tls-cert", "a.pem", "--tls-key", "nowhere"], 1, "the file nowhere (--tls-key) cannot be read: No such"),
        (["--tls-cert", "a.pem", "--tls-key", "junk"], 1, "junk (--tls-key) holds no private key in PEM\n"),
        (
            ["--tls-cert", "a.pem", "--tls-key", "b.key"],
            1,
            "b.key (--tls-key) does not belong to the certificate a.pem",
        ),
        (["--tls-cert", "a.pem", "--tls-key", "locked.key"], 1, "it is encrypted, and no password was given (--tls-p"),
        (
            ["--tls-cert", "a.pem", "--tls-key", "locked.key", "--tls-password-file", "wrong"],
            1,
            "the password (--tls-password-file) does not open the private key locked.key (--tls-key)\n",
        ),
        (["--tls-cert", "a.both", "--tls-password-file", "nowhere"], 1, "the password file nowhere (--tls-password-f"),
        (["--tls-cert", "a.both", "--tls-ciphers", "ROT13"], 1, "OpenSSL knows no cipher of 'ROT13' (--tls-ciphers)\n"),
        (
            ["--tls-cert", "a.both", "--tls-client-cert", "optional", "--tls-client-ca", "junk"],
            1,
            "junk (--tls-client-ca) cannot be used for clients' certificates: there is no PEM block CERTIFICATE in it",
        ),
        (
            ["--tls-cert", "a.both", "--tls-client-cert=required", "--tls-client-ca=a.pem", "--tls-crl=a.pem"],
            1,
            "a.pem (--tls-crl) cannot be used for clients' certificates: there is no PEM block X509 CRL in it\n",
        ),
    ],
)
def test_a_mistake_about_tls_gets_one_sentence(
    tls_workdir: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, message: str
) -> None:
    bind = ["-b", "[::1]:7"] if "[::1]:7" in options else ["-b", "127.0.0.1:0"]
    assert main(["app", "cli_plain", *bind, *options]) == code
    err = capsys.readouterr().err
    assert err.startswith("reserve: ")
    assert message in err
    assert err.count("\n") == 1
    assert FakeServer.made == []


def test_a_certificate_without_read_permission_gets_one_sentence(
    tls_workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def forbidden(path: str) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr("reserve.ssl.certfiles.read_file", forbidden)  # root may read any file
    assert main([*ARGV, "--tls-cert", "a.both"]) == 1
    assert capsys.readouterr().err == "reserve: the certificate a.both (--tls-cert) cannot be read: Permission denied\n"


def test_warnings_of_certificates_go_to_the_log_of_the_server(tls_workdir: Path) -> None:
    assert main(["app", "cli_plain", "-b", "127.0.0.1:0", "--tls-cert", "a.both"]) == 0
    (server,) = FakeServer.made
    server.ssl_adapter.warn("it expires")
    assert server.reloads == ["it expires"]


def test_a_password_file_is_no_pipe_because_it_is_read_again(
    tls_workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    assert main([*ARGV, "--tls-cert", "a.both", "--tls-password-file", pipe]) == 1
    assert f"{pipe} (--tls-password-file) cannot be read: it is not a regular file\n" in capsys.readouterr().err
