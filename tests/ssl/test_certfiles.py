"""The server's own certificate in PEM files as people have them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.errors import StartupError
from reserve.ssl.certfiles import check_authorities, check_revocation_list, read_certificate, without_mark
from tests.ssl import issuing

ONE = issuing.issue(kind="ed25519", subject=issuing.named("one"))
TWO = issuing.issue(kind="ed25519", subject=issuing.named("two"))
BOTH = issuing.pem(ONE) + issuing.pem(TWO)
KEY = b"-----BEGIN PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END PRIVATE KEY-----\n"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files") / "cert.pem"


@pytest.mark.parametrize(
    "text",
    [
        BOTH,
        KEY + BOTH,
        issuing.pem(ONE) + KEY + issuing.pem(TWO),
        BOTH.replace(b"\n", b"\r\n"),
        b"subject=one\n" + issuing.pem(ONE) + b"\nsubject=two \xe9\n" + issuing.pem(TWO) + b"end",
        issuing.pem(ONE).rstrip(),
        issuing.pem(ONE).replace(b"\n", b" \n\n") + issuing.pem(TWO),
        issuing.pem(ONE).replace(b"CERT", b"X509 CERT") + issuing.pem(TWO),
    ],
)
def test_the_first_certificate_is_the_servers_own(text: bytes, file: Path) -> None:
    file.write_bytes(text)
    assert read_certificate(str(file)) == issuing.der(ONE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "there is no complete PEM block CERTIFICATE"),
        (b"hello", "there is no complete PEM block CERTIFICATE"),
        (KEY, "there is no complete PEM block CERTIFICATE"),
        (issuing.pem(ONE)[:-10], "there is no complete PEM block CERTIFICATE"),
        (issuing.pem(ONE).replace(b"END CERT", b"END X509 CERT"), "there is no complete PEM block CERTIFICATE"),
        (issuing.der(ONE), "looks like DER; convert it with: openssl x509 -inform DER"),
        (issuing.pem(ONE).replace(b"CERT", b"TRUSTED CERT"), "TRUSTED CERTIFICATE is a format of OpenSSL's own"),
        (b"-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n", "its first PEM block is not base64"),
    ],
)
def test_what_holds_no_certificate(text: bytes, message: str, file: Path) -> None:
    file.write_bytes(text)
    expected = rf"cert\.pem \(--tls-cert\) holds no certificate that can be used: .*{message}"
    with pytest.raises(StartupError, match=expected):
        read_certificate(str(file))


def test_a_file_that_is_not_there(file: Path) -> None:
    with pytest.raises(StartupError, match=r"missing\.pem \(--tls-cert\) cannot be read: No such file"):
        read_certificate(str(file.with_name("missing.pem")))


@given(pieces=st.lists(st.sampled_from([*issuing.pem(ONE).splitlines(True), KEY, b"-----END \n", b"\0\xff"])))
def test_any_file_is_read_or_refused(pieces: list[bytes], file: Path) -> None:
    file.write_bytes(b"".join(pieces))
    with contextlib.suppress(StartupError):
        read_certificate(str(file))


def _read_without_mark(path: str) -> None:
    with without_mark(path):
        pass


@pytest.mark.parametrize("read", [read_certificate, check_authorities, check_revocation_list, _read_without_mark])
def test_no_file_of_certificates_may_be_a_pipe_whose_reader_waits(
    read: Callable[[str], object], tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(StartupError, match="it is not a regular file"):
        read(str(pipe))
