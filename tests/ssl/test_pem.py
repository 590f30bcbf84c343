"""PEM files as people have them."""

from __future__ import annotations

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from reserve.errors import UsageError
from reserve.ssl.pem import pem_certificates, to_pem
from tests.ssl import issuing

ONE = issuing.issue(kind="ed25519", subject=issuing.named("one"))
TWO = issuing.issue(kind="ed25519", subject=issuing.named("two"))
BOTH = [issuing.der(ONE), issuing.der(TWO)]
KEY = b"-----BEGIN PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END PRIVATE KEY-----\n"
EMPTY = b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    "text",
    [
        issuing.pem(ONE) + issuing.pem(TWO),
        issuing.pem(ONE) + KEY + issuing.pem(TWO),
        (issuing.pem(ONE) + issuing.pem(TWO)).replace(b"\n", b"\r\n"),
        b"subject=one\n" + issuing.pem(ONE) + b"\nsubject=two \xe9\n" + issuing.pem(TWO) + b"end",
        (issuing.pem(ONE) + issuing.pem(TWO)).rstrip(),
        issuing.pem(ONE).replace(b"\n", b" \n\n") + issuing.pem(TWO),
        issuing.pem(ONE).replace(b"CERT", b"X509 CERT") + issuing.pem(TWO),
    ],
)
def test_every_certificate_in_order(text: bytes) -> None:
    assert pem_certificates(text) == BOTH


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "in these 0 bytes"),
        (b"hello", "begins with -----BEGIN CERTIFICATE-----"),
        (KEY, "only PRIVATE KEY"),
        (BOTH[0], "look like DER; convert them with: openssl x509 -inform DER"),
        (issuing.pem(ONE)[:-10], "CERTIFICATE has no END line"),
        (issuing.pem(ONE)[:200] + b"\n" + issuing.pem(TWO), "begins inside the block CERTIFICATE"),
        (issuing.pem(ONE).partition(b"\n")[2], "END CERTIFICATE ends no block"),
        (issuing.pem(ONE).replace(b"END CERTIFICATE", b"END PRIVATE KEY"), "END PRIVATE KEY ends no block"),
        (issuing.pem(ONE).replace(b"CERT", b"TRUSTED CERT"), "TRUSTED CERTIFICATE is a format of OpenSSL's own"),
        (issuing.pem(ONE).replace(b"M", b"!", 1), "not base64"),
        (issuing.pem(ONE).replace(b"-----\n", b"-----\nA", 1), "not base64"),
        (EMPTY, "not base64"),
    ],
)
def test_what_holds_no_certificates(text: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        pem_certificates(text)


def test_written_as_others_write_it() -> None:
    assert to_pem(BOTH[0]).encode() == issuing.pem(ONE)


@given(st.binary(min_size=1, max_size=300))
def test_written_and_read(der: bytes) -> None:
    assert pem_certificates(to_pem(der).encode()) == [der]


@given(st.lists(st.sampled_from([*issuing.pem(ONE).splitlines(True), KEY, EMPTY, b"-----END \n", b"\0\xff"])))
def test_any_file_is_read_or_refused(pieces: list[bytes]) -> None:
    try:
        found = pem_certificates(b"".join(pieces))
    except UsageError:
        return
    assert found


def test_x509_reads_what_is_written() -> None:
    assert x509.load_pem_x509_certificate(to_pem(BOTH[1]).encode()) == TWO
