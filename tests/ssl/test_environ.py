"""The variables of mod_ssl: names, forms and that nothing in a certificate gets out of its value."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from reserve.errors import UsageError
from reserve.ssl.environ import client_variables, server_variables, session_variables
from reserve.ssl.x509 import Certificate, parse_certificate
from tests.ssl import encoding as e
from tests.ssl import issuing

NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=timezone.utc)
CN, O, OU, C, UID = "2.5.4.3", "2.5.4.10", "2.5.4.11", "2.5.4.6", "0.9.2342.19200300.100.1.1"  # noqa: E741
SESSION = {
    "protocol": "TLSv1.3",
    "cipher": "TLS_AES_256_GCM_SHA384",
    "use_bits": 256,
    "algorithm_bits": 256,
    "server_name": "a.example.org",
    "session_id": b"\xed\xad\x00",
    "resumed": False,
    "alpn": "http/1.1",
}


def utf8(kind: str, text: str) -> bytes:
    return e.attribute(kind, e.tlv(e.UTF8, text.encode()))


def made(*relative_names: list[bytes], **parts: bytes) -> Certificate:
    return parse_certificate(e.certificate(subject=e.name(*relative_names), **parts))


def subject(*relative_names: list[bytes]) -> str:
    return server_variables(made(*relative_names))["SSL_SERVER_S_DN"]


def client(certificate: Certificate, **options: object) -> dict[str, str]:
    return client_variables(certificate, (), **{"verify": "SUCCESS", "now": NOW} | options)  # type: ignore[arg-type]


def test_a_session() -> None:
    assert session_variables(**SESSION, interface="reserve/1.0", library="OpenSSL 3.0.19 27 Jan 2026") == {
        "HTTPS": "on",
        "SSL_PROTOCOL": "TLSv1.3",
        "SSL_CIPHER": "TLS_AES_256_GCM_SHA384",
        "SSL_CIPHER_EXPORT": "false",
        "SSL_CIPHER_USEKEYSIZE": "256",
        "SSL_CIPHER_ALGKEYSIZE": "256",
        "SSL_COMPRESS_METHOD": "NULL",
        "SSL_SECURE_RENEG": "false",
        "SSL_SESSION_ID": "edad00",
        "SSL_SESSION_RESUMED": "Initial",
        "SSL_TLS_SNI": "a.example.org",
        "SSL_TLS_ALPN": "http/1.1",
        "SSL_VERSION_INTERFACE": "reserve/1.0",
        "SSL_VERSION_LIBRARY": "OpenSSL/3.0.19",
    }


def test_what_a_session_does_not_have_is_left_out() -> None:
    variables = session_variables(**SESSION | {"server_name": None, "session_id": b"", "alpn": None, "resumed": True})
    assert variables["SSL_SESSION_RESUMED"] == "Resumed"
    absent = {"SSL_SESSION_ID", "SSL_TLS_SNI", "SSL_TLS_ALPN", "SSL_VERSION_INTERFACE", "SSL_VERSION_LIBRARY"}
    assert absent.isdisjoint(variables)


@pytest.mark.parametrize(
    ("given", "spelled"),
    [("TLSv1.2", "TLSv1.2"), ("TLSv1.0", "TLSv1"), ("TLSv1", "TLSv1"), ("TLS 1.3", "TLSv1.3"), ("TLSv1.4", "TLSv1.4")],
)
def test_protocols(given: str, spelled: str) -> None:
    assert session_variables(**SESSION | {"protocol": given})["SSL_PROTOCOL"] == spelled


def test_an_export_cipher() -> None:
    variables = session_variables(**SESSION | {"use_bits": 40, "algorithm_bits": 128})
    assert (variables["SSL_CIPHER_EXPORT"], variables["SSL_CIPHER_USEKEYSIZE"]) == ("true", "40")
    assert variables["SSL_CIPHER_ALGKEYSIZE"] == "128"


def test_a_server_certificate() -> None:
    issued = issuing.issue(
        kind="rsa",
        signer="p256",
        subject=issuing.named("a.example.org"),
        issuer=issuing.named("Authority"),
        names=[x509.DNSName("a.example.org"), x509.DNSName("*.b.example.org"), x509.RFC822Name("a@example.org")],
        serial=0x0A5B,
    )
    assert server_variables(parse_certificate(issuing.der(issued))) == {
        "SSL_SERVER_M_VERSION": "3",
        "SSL_SERVER_M_SERIAL": "0A5B",
        "SSL_SERVER_V_START": "Jan  2 03:04:05 2020 GMT",
        "SSL_SERVER_V_END": "Jan  2 03:04:05 2035 GMT",
        "SSL_SERVER_S_DN": "CN=a.example.org",
        "SSL_SERVER_S_DN_CN": "a.example.org",
        "SSL_SERVER_I_DN": "CN=Authority",
        "SSL_SERVER_I_DN_CN": "Authority",
        "SSL_SERVER_A_KEY": "rsaEncryption",
        "SSL_SERVER_A_SIG": "ecdsa-with-SHA256",
        "SSL_SERVER_SAN_DNS_0": "a.example.org",
        "SSL_SERVER_SAN_DNS_1": "*.b.example.org",
        "SSL_SERVER_SAN_Email_0": "a@example.org",
        "SSL_SERVER_CERT": issuing.pem(issued).decode(),
    }


def test_a_client_certificate_and_its_chain() -> None:
    own, middle, root = (issuing.issue(subject=issuing.named(name)) for name in ("own", "middle", "root"))
    certificate, *chain = (parse_certificate(issuing.der(each)) for each in (own, middle, root))
    variables = client_variables(certificate, chain, verify="SUCCESS", now=NOW)
    assert variables["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert variables["SSL_CLIENT_S_DN_CN"] == "own"
    assert variables["SSL_CLIENT_CERT"] == issuing.pem(own).decode()
    assert variables["SSL_CLIENT_CERT_CHAIN_0"] == issuing.pem(middle).decode()
    assert variables["SSL_CLIENT_CERT_CHAIN_1"] == issuing.pem(root).decode()
    assert "SSL_CLIENT_CERT_CHAIN_2" not in variables
    assert variables["SSL_CLIENT_CERT_RFC4523_CEA"] == '{ serialNumber 7, issuer rdnSequence:"CN=own" }'
    same = server_variables(certificate)
    assert {name.replace("SERVER", "CLIENT"): value for name, value in same.items()}.items() <= variables.items()


def test_no_client_certificate() -> None:
    assert client_variables(None, (), verify="NONE", now=NOW) == {"SSL_CLIENT_VERIFY": "NONE"}
    failed = client_variables(None, (), verify="FAILED:unable to get\r\nissuer", now=NOW)
    assert failed == {"SSL_CLIENT_VERIFY": "FAILED:unable to get\\0D\\0Aissuer"}


@pytest.mark.parametrize("verify", ["SUCCESS", "GENEROUS", "FAILED:expired"])
def test_verify_with_a_certificate(verify: str) -> None:
    assert client(made([utf8(CN, "a")]), verify=verify)["SSL_CLIENT_VERIFY"] == verify


@pytest.mark.parametrize(
    ("certificate", "verify"),
    [(None, "SUCCESS"), (None, "GENEROUS"), (None, ""), (made(), "NONE"), (made(), "success"), (made(), "FAILED")],
)
def test_a_claim_that_cannot_be_is_refused(certificate: Certificate | None, verify: str) -> None:
    with pytest.raises(UsageError, match=f"verify='{verify}' with"):
        client_variables(certificate, (), verify=verify, now=NOW)


@pytest.mark.parametrize(
    ("left", "days"),
    [
        (timedelta(days=10), "11"),
        (timedelta(days=10, seconds=-1), "10"),
        (timedelta(seconds=1), "1"),
        (timedelta(), "1"),
        (timedelta(seconds=-1), "0"),
        (timedelta(days=-400), "0"),
    ],
)
def test_days_that_remain(left: timedelta, days: str) -> None:
    certificate = made()
    assert client(certificate, now=certificate.not_after - left)["SSL_CLIENT_V_REMAIN"] == days


def test_a_certificate_that_never_ends() -> None:
    certificate = made(validity=e.times("500101000000Z", "99991231235959Z"))
    variables = client(certificate)
    assert variables["SSL_CLIENT_V_START"] == "Jan  1 00:00:00 1950 GMT"
    assert variables["SSL_CLIENT_V_END"] == "Dec 31 23:59:59 9999 GMT"
    assert int(variables["SSL_CLIENT_V_REMAIN"]) == (certificate.not_after - NOW).days + 1


@pytest.mark.parametrize(
    ("serial", "text"),
    [
        (0, "00"),
        (1, "01"),
        (0x80, "80"),
        (0xABC, "0ABC"),
        (-1, "-01"),
        (-0xABC, "-0ABC"),
        (2**1023 - 1, "7F" + "FF" * 127),
    ],
)
def test_serials(serial: int, text: str) -> None:
    variables = client(made(serial=e.integer(serial)))
    assert variables["SSL_CLIENT_M_SERIAL"] == text
    assert variables["SSL_CLIENT_CERT_RFC4523_CEA"].startswith(f"{{ serialNumber {serial}, issuer")


def test_every_part_that_mod_ssl_names() -> None:
    kinds = {
        NameOID.COUNTRY_NAME: "C",
        NameOID.STATE_OR_PROVINCE_NAME: "ST",
        NameOID.LOCALITY_NAME: "L",
        NameOID.ORGANIZATION_NAME: "O",
        NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
        NameOID.COMMON_NAME: "CN",
        NameOID.TITLE: "T",
        NameOID.INITIALS: "I",
        NameOID.GIVEN_NAME: "G",
        NameOID.SURNAME: "S",
        x509.ObjectIdentifier("2.5.4.13"): "D",
        NameOID.USER_ID: "UID",
        NameOID.EMAIL_ADDRESS: "Email",
    }
    variables = server_variables(made(*([utf8(kind.dotted_string, part)] for kind, part in kinds.items())))
    prefix = "SSL_SERVER_S_DN_"
    assert {name.removeprefix(prefix): value for name, value in variables.items() if name.startswith(prefix)} == {
        part: part for part in kinds.values()
    }


def test_parts_that_repeat_are_numbered() -> None:
    variables = server_variables(made([utf8(OU, "a")], [utf8(CN, "x")], [utf8(OU, "b"), utf8(OU, "c")]))
    parts = {name: value for name, value in variables.items() if name.startswith("SSL_SERVER_S_DN_")}
    assert parts == {
        "SSL_SERVER_S_DN_OU": "a",
        "SSL_SERVER_S_DN_OU_1": "b",
        "SSL_SERVER_S_DN_OU_2": "c",
        "SSL_SERVER_S_DN_CN": "x",
    }


HARD = [
    "",
    " ",
    "  ",
    " a ",
    "#a",
    "a#",
    'a,b+c"d<e>f;g\\h=i',
    "a\r\nb",
    "a\0b\x7fc\x1b",
    "Zoë 東京 🜚",
    "\\0A",
    "/CN=root",
]


@pytest.mark.parametrize(
    ("text", "whole", "part"),
    [
        (" a ", r"\ a\ ", " a "),
        (" ", r"\ ", " "),
        ("#a", r"\#a", "#a"),
        ('a,b+c"d<e>f;g\\h=i', r"a\,b\+c\"d\<e\>f\;g\\h=i", r'a,b+c"d<e>f;g\\h=i'),
        ("a\r\n\0\x7fb", r"a\0D\0A\00\7Fb", r"a\0D\0A\00\7Fb"),
        ("Zoë", "ZoÃ«", "ZoÃ«"),
    ],
)
def test_escapes(text: str, whole: str, part: str) -> None:
    variables = server_variables(made([utf8(CN, text)]))
    assert variables["SSL_SERVER_S_DN"] == f"CN={whole}"
    assert variables["SSL_SERVER_S_DN_CN"] == part


def test_names_are_reversed_and_groups_joined() -> None:
    assert subject([utf8(C, "NL")], [utf8(O, "o")], [utf8(CN, "a"), utf8(UID, "7")]) == "UID=7+CN=a,O=o,C=NL"
    assert subject() == ""


def test_what_has_no_name_or_is_no_string_is_shown_as_der() -> None:
    assert subject([utf8("1.2.3.4", "a\n")]) == "1.2.3.4=#0C02610A"
    assert subject([e.attribute(CN, e.tlv(4, b"\n"))]) == "CN=#04010A"


def _openssl(program: str, certificate: Certificate, place: Path, *options: str) -> str:
    file = place / "certificate.der"
    file.write_bytes(certificate.der)
    command = [program, "x509", "-inform", "DER", "-in", str(file), "-noout", *options]
    return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout.decode("latin-1")


NAMES = [
    *([utf8(CN, text)] for text in HARD),
    [e.attribute(CN, e.tlv(e.BMP, "Zoë 東京".encode("utf-16-be")))],
    [e.attribute(CN, e.tlv(e.UNIVERSAL, "Zoë 🜚".encode("utf-32-be")))],
    [e.attribute(CN, e.tlv(e.TELETEX, b" Zo\xeb;"))],
    [e.attribute("2.5.4.45", e.tlv(3, b"\0\xab"))],
    [utf8("1.2.3.4", "a,b")],
    [utf8("0.9.2342.19200300.100.1.25", "org"), utf8("1.2.840.113549.1.9.1", "a@b"), utf8("2.5.4.42", "g")],
    [utf8(number, "x") for number in ("2.5.4.4", "2.5.4.5", "2.5.4.12", "2.5.4.13", "2.5.4.15", "2.5.4.16")],
    [utf8(number, "x") for number in ("2.5.4.9", "2.5.4.17", "2.5.4.20", "2.5.4.41", "2.5.4.43", "2.5.4.44")],
    [utf8(number, "x") for number in ("2.5.4.46", "2.5.4.51", "2.5.4.65", "2.5.4.72", "2.5.4.97", UID)],
    [utf8(f"1.3.6.1.4.1.311.60.2.1.{number}", "x") for number in (1, 2, 3)],
    [utf8(number, "x") for number in ("0.9.2342.19200300.100.1.3", "1.2.840.113549.1.9.2", "1.2.840.113549.1.9.8")],
]


@pytest.mark.peer
def test_names_as_openssl_writes_them(require_peer: Callable[[str], str], tmp_path: Path) -> None:
    program = require_peer("openssl")
    for relative_name in NAMES:
        certificate = made([utf8(O, "o")], relative_name)
        shown = _openssl(program, certificate, tmp_path, "-subject", "-nameopt", "RFC2253,-esc_msb")
        assert shown == f"subject={server_variables(certificate)['SSL_SERVER_S_DN']}\n"


@pytest.mark.peer
@pytest.mark.parametrize(
    ("kind", "signer"), [("rsa", "p256"), ("p384", "rsa"), ("ed25519", "ed448"), ("ed448", "ed25519"), ("dsa", "dsa")]
)
def test_the_rest_as_openssl_writes_it(
    require_peer: Callable[[str], str], tmp_path: Path, kind: str, signer: str
) -> None:
    issued = issuing.issue(kind=kind, signer=signer, serial=2**159 - 5, end=datetime(2051, 1, 1, tzinfo=timezone.utc))
    certificate = parse_certificate(issuing.der(issued))
    variables = server_variables(certificate)
    program = require_peer("openssl")
    lines = _openssl(program, certificate, tmp_path, "-serial", "-dates").splitlines()
    assert lines == [
        f"serial={variables['SSL_SERVER_M_SERIAL']}",
        f"notBefore={variables['SSL_SERVER_V_START']}",
        f"notAfter={variables['SSL_SERVER_V_END']}",
    ]
    text = _openssl(program, certificate, tmp_path, "-text")
    assert re.search(r"Signature Algorithm: (\S+)", text)[1] == variables["SSL_SERVER_A_SIG"]  # type: ignore[index]
    assert re.search(r"Public Key Algorithm: (\S+)", text)[1] == variables["SSL_SERVER_A_KEY"]  # type: ignore[index]


def _check_safe(variables: dict[str, str]) -> None:
    for name, value in variables.items():
        assert re.fullmatch(r"[A-Za-z0-9_]+", name)
        value.encode("latin-1").decode("utf-8")
        inside_pem = "_CERT" in name and "_CEA" not in name
        assert not re.search(r"[\0-\x1f\x7f]", value.replace("\n", "") if inside_pem else value)


TEXTS = [(e.UTF8, "utf-8"), (e.TELETEX, "latin-1"), (e.BMP, "utf-16-be"), (e.UNIVERSAL, "utf-32-be")]


@given(
    st.lists(st.tuples(st.sampled_from([CN, OU, "1.2.3"]), st.sampled_from(TEXTS), st.text())),
    st.text(st.characters(max_codepoint=127)),
)
def test_every_value_is_safe_in_an_environ(parts: list[tuple[str, tuple[int, str], str]], host: str) -> None:
    names = [[e.attribute(kind, e.tlv(tag, text.encode(codec, "replace")))] for kind, (tag, codec), text in parts]
    alternative = e.extensions(e.alternative_names(e.tlv(0x82, host.encode()), e.tlv(0x81, host.encode())))
    certificate = made(*names, extensions=alternative)
    _check_safe(client_variables(certificate, [certificate], verify=f"FAILED:{host}", now=NOW))
    _check_safe(server_variables(certificate))


@given(st.text(), st.text(), st.binary())
def test_what_a_client_names_is_safe_in_an_environ(server_name: str, alpn: str, session_id: bytes) -> None:
    _check_safe(session_variables(**SESSION | {"server_name": server_name, "alpn": alpn, "session_id": session_id}))


def test_a_lone_surrogate_is_shown_as_an_escape() -> None:
    assert session_variables(**SESSION | {"server_name": "a\ud800"})["SSL_TLS_SNI"] == "a\\ud800"


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=4))
def test_a_name_can_be_taken_apart_again(values: list[str]) -> None:
    whole = subject(*([utf8(CN, value)] for value in reversed(values))).encode("latin-1").decode("utf-8")
    parts = re.findall(r"(?:^|,)CN=((?:\\.|[^\\,])*)", whole, re.S)
    assert [_unescaped(part) for part in parts] == values


def _unescaped(text: str) -> str:
    return re.sub(
        r"\\([0-9A-F]{2}|.)", lambda found: chr(int(found[1], 16)) if len(found[1]) == 2 else found[1], text, flags=re.S
    )
