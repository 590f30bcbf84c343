"""Host names and variables that are read from certificates: as OpenSSL writes them, and always safe in an environ."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from reserve.ssl.certificate import LARGEST, client_variables, host_names, server_variables
from tests.ssl import encoding as e
from tests.ssl import issuing
from tests.waiting import PATIENCE

# pytest puts its own filter, "error", before the one that the module has installed.
pytestmark = pytest.mark.filterwarnings("ignore:::reserve.ssl.certificate")

NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
CN, O, OU, C, UID = "2.5.4.3", "2.5.4.10", "2.5.4.11", "2.5.4.6", "0.9.2342.19200300.100.1.1"  # noqa: E741
ALL_NAMES = (
    x509.DNSName("a.example.org"),
    x509.DNSName("*.example.org"),
    x509.IPAddress(ip_address("192.0.2.1")),
    x509.IPAddress(ip_address("2001:db8::1")),
    x509.RFC822Name("a@example.org"),
    x509.UniformResourceIdentifier("spiffe://example.org/a"),
    x509.DirectoryName(issuing.named("elsewhere")),
    x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
    x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x01a"),
)


def utf8(kind: str, text: str) -> bytes:
    return e.attribute(kind, e.tlv(e.UTF8, text.encode()))


def made(*relative_names: list[bytes], **parts: bytes) -> bytes:
    return e.certificate(subject=e.name(*relative_names), **parts)


def with_extension(number: str, value: bytes, *others: bytes) -> bytes:
    return e.certificate(extensions=e.extensions(e.extension(number, value), *others))


def with_names(*names: bytes) -> bytes:
    return e.certificate(extensions=e.extensions(e.alternative_names(*names)))


def subject(*relative_names: list[bytes]) -> str:
    return server_variables(made(*relative_names))["SSL_SERVER_S_DN"]


# ---- the variables ----


def test_the_variables_of_a_server_certificate() -> None:
    issued = issuing.issue(
        kind="rsa",
        signer="p256",
        subject=issuing.named("a.example.org"),
        issuer=issuing.named("Authority"),
        names=[x509.DNSName("a.example.org"), x509.DNSName("*.b.example.org"), x509.RFC822Name("a@example.org")],
        serial=0x0A5B,
    )
    assert server_variables(issuing.der(issued)) == {
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
    }


def test_the_variables_of_a_client_certificate() -> None:
    own = issuing.der(issuing.issue(subject=issuing.named("own")))
    variables = client_variables(own, NOW)
    assert variables["SSL_CLIENT_S_DN_CN"] == "own"
    assert variables["SSL_CLIENT_CERT_RFC4523_CEA"] == '{ serialNumber 7, issuer rdnSequence:"CN=own" }'
    same = server_variables(own)
    assert {name.replace("SERVER", "CLIENT"): value for name, value in same.items()}.items() <= variables.items()


@pytest.mark.parametrize("version", [b"", e.V3])
def test_versions(version: bytes) -> None:
    number = "3" if version else "1"
    assert server_variables(e.certificate(version=version))["SSL_SERVER_M_VERSION"] == number


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
def test_begun_days_remain(left: timedelta, days: str) -> None:
    end = datetime(2030, 1, 1, tzinfo=UTC)
    certificate = e.certificate(validity=e.times("200101000000Z", "300101000000Z"))
    assert client_variables(certificate, end - left)["SSL_CLIENT_V_REMAIN"] == days


def test_the_last_day_of_the_calendar() -> None:
    variables = client_variables(made(validity=e.times("500101000000Z", "99991231235959Z")), NOW)
    assert variables["SSL_CLIENT_V_START"] == "Jan  1 00:00:00 1950 GMT"
    assert variables["SSL_CLIENT_V_END"] == "Dec 31 23:59:59 9999 GMT"
    end = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert int(variables["SSL_CLIENT_V_REMAIN"]) == (end - NOW).days + 1


@pytest.mark.parametrize(
    ("start", "text"),
    [
        (datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC), "Dec 31 23:59:59 1999 GMT"),
        (datetime(2049, 11, 30, tzinfo=UTC), "Nov 30 00:00:00 2049 GMT"),
        (datetime(2051, 2, 3, 4, 5, 6, tzinfo=UTC), "Feb  3 04:05:06 2051 GMT"),
    ],
)
def test_times(start: datetime, text: str) -> None:
    issued = issuing.issue(start=start, end=datetime(9999, 12, 31, tzinfo=UTC))
    assert server_variables(issuing.der(issued))["SSL_SERVER_V_START"] == text


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
    """Also those that break RFC 5280, but exist."""
    variables = client_variables(made(serial=e.integer(serial)), NOW)
    assert variables["SSL_CLIENT_M_SERIAL"] == text
    assert variables["SSL_CLIENT_CERT_RFC4523_CEA"].startswith(f"{{ serialNumber {serial}, issuer")


@pytest.mark.parametrize(
    ("kind", "signer", "digest", "key_algorithm", "signature_algorithm"),
    [
        ("rsa", None, hashes.SHA256(), "rsaEncryption", "sha256WithRSAEncryption"),
        ("rsa", None, hashes.SHA384(), "rsaEncryption", "sha384WithRSAEncryption"),
        ("rsa", None, hashes.SHA512(), "rsaEncryption", "sha512WithRSAEncryption"),
        ("rsa", "p256", hashes.SHA256(), "rsaEncryption", "ecdsa-with-SHA256"),
        ("p256", None, hashes.SHA256(), "id-ecPublicKey", "ecdsa-with-SHA256"),
        ("p384", None, hashes.SHA384(), "id-ecPublicKey", "ecdsa-with-SHA384"),
        ("p521", "rsa", hashes.SHA512(), "id-ecPublicKey", "sha512WithRSAEncryption"),
        ("ed25519", None, None, "ED25519", "ED25519"),
        ("ed448", None, None, "ED448", "ED448"),
        ("dsa", None, hashes.SHA256(), "dsaEncryption", "dsa_with_SHA256"),
    ],
)
def test_algorithms(
    kind: str, signer: str | None, digest: hashes.HashAlgorithm | None, key_algorithm: str, signature_algorithm: str
) -> None:
    variables = server_variables(issuing.der(issuing.issue(kind=kind, signer=signer, digest=digest)))
    assert (variables["SSL_SERVER_A_KEY"], variables["SSL_SERVER_A_SIG"]) == (key_algorithm, signature_algorithm)


def test_a_signature_algorithm_with_parameters() -> None:
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    issued = issuing.issue(kind="rsa", rsa_padding=pss)
    assert server_variables(issuing.der(issued))["SSL_SERVER_A_SIG"] == "rsassaPss"


def test_an_algorithm_without_a_name_keeps_its_number() -> None:
    der = e.certificate(algorithm=e.sequence(e.oid("1.2.3.4.5")))
    assert server_variables(der)["SSL_SERVER_A_SIG"] == "1.2.3.4.5"


# ---- distinguished names ----


def test_each_attribute_of_mod_ssl_has_a_variable() -> None:
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


def test_repeated_attributes_are_numbered() -> None:
    variables = server_variables(made([utf8(OU, "a")], [utf8(CN, "x")], [utf8(OU, "b"), utf8(OU, "c")]))
    parts = {name: value for name, value in variables.items() if name.startswith("SSL_SERVER_S_DN_")}
    assert parts == {
        "SSL_SERVER_S_DN_OU": "a",
        "SSL_SERVER_S_DN_OU_1": "b",
        "SSL_SERVER_S_DN_OU_2": "c",
        "SSL_SERVER_S_DN_CN": "x",
    }


HARD_TEXTS = [
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
    "long" * 20,
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


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (_ASN1Type.UTF8String, "Zoë 東京 🜚"),
        (_ASN1Type.BMPString, "Zoë 東京"),
        (_ASN1Type.UniversalString, "Zoë 東京 🜚"),
        (_ASN1Type.PrintableString, "plain"),
        (_ASN1Type.IA5String, "a@b"),
        (_ASN1Type.VisibleString, "plain"),
        (_ASN1Type.NumericString, "123 456"),
    ],
)
def test_kinds_of_strings(kind: _ASN1Type, text: str) -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text, _type=kind)])
    value = server_variables(issuing.der(issuing.issue(subject=name)))["SSL_SERVER_S_DN_CN"]
    assert value.encode("latin-1").decode("utf-8") == text


def test_relative_names_are_reversed_and_their_attributes_joined() -> None:
    assert subject([utf8(C, "NL")], [utf8(O, "o")], [utf8(CN, "a"), utf8(UID, "7")]) == "UID=7+CN=a,O=o,C=NL"
    assert subject() == ""


def test_attributes_without_a_name_or_without_text() -> None:
    """Their values are shown as DER, as OpenSSL does."""
    assert subject([utf8("1.2.3.4", "a\n,")]) == "1.2.3.4=#0C03610A2C"
    assert subject([utf8(f"1.2.{'3.' * 40}4", "a" * 1000)]).endswith(".4=#0C8203E8" + "61" * 1000)
    assert subject([e.attribute("2.5.4.45", e.tlv(3, b"\0\xab"))]) == "x500UniqueIdentifier=#030200AB"


# ---- compared with OpenSSL ----


def _openssl(program: str, der: bytes, place: Path, *options: str) -> str:
    file = place / "certificate.der"
    file.write_bytes(der)
    command = [program, "x509", "-inform", "DER", "-in", str(file), "-noout", *options]
    return subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE).stdout.decode("latin-1")


NAMES = [
    *([utf8(CN, text)] for text in HARD_TEXTS),
    [e.attribute(CN, e.tlv(e.BMP, "Zoë 東京".encode("utf-16-be")))],
    [e.attribute(CN, e.tlv(e.UNIVERSAL, "Zoë 🜚".encode("utf-32-be")))],
    [utf8("0.9.2342.19200300.100.1.25", "org"), utf8("1.2.840.113549.1.9.1", "a@b"), utf8("2.5.4.42", "g")],
    [utf8(number, "x") for number in ("2.5.4.4", "2.5.4.5", "2.5.4.12", "2.5.4.13", "2.5.4.15", "2.5.4.16")],
    [utf8(number, "x") for number in ("2.5.4.9", "2.5.4.17", "2.5.4.20", "2.5.4.41", "2.5.4.43", "2.5.4.44")],
    [utf8(number, "x") for number in ("2.5.4.46", "2.5.4.51", "2.5.4.65", "2.5.4.72", "2.5.4.97", UID)],
    [utf8(f"1.3.6.1.4.1.311.60.2.1.{number}", "x") for number in (1, 2, 3)],
    [utf8(number, "x") for number in ("0.9.2342.19200300.100.1.3", "1.2.840.113549.1.9.2", "1.2.840.113549.1.9.8")],
]


@pytest.mark.peer
def test_distinguished_names_are_those_of_openssl(require_peer: Callable[[str], str], tmp_path: Path) -> None:
    program = require_peer("openssl")
    for relative_name in NAMES:
        certificate = made([utf8(O, "o")], relative_name)
        shown = _openssl(program, certificate, tmp_path, "-subject", "-nameopt", "RFC2253,-esc_msb")
        assert shown == f"subject={server_variables(certificate)['SSL_SERVER_S_DN']}\n"


@pytest.mark.peer
@pytest.mark.parametrize(
    ("kind", "signer"), [("rsa", "p256"), ("p384", "rsa"), ("ed25519", "ed448"), ("ed448", "ed25519"), ("dsa", "dsa")]
)
def test_serials_times_and_algorithms_are_those_of_openssl(
    require_peer: Callable[[str], str], tmp_path: Path, kind: str, signer: str
) -> None:
    issued = issuing.issue(kind=kind, signer=signer, serial=2**159 - 5, end=datetime(2051, 1, 1, tzinfo=UTC))
    certificate = issuing.der(issued)
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


# ---- strange certificates ----


def _check_safe(variables: dict[str, str]) -> None:
    for name, value in variables.items():
        assert re.fullmatch(r"[A-Za-z0-9_]+", name)
        value.encode("latin-1").decode("utf-8")
        assert not re.search(r"[\0-\x1f\x7f]", value)


TEXTS = [(e.UTF8, "utf-8"), (e.TELETEX, "latin-1"), (e.BMP, "utf-16-be"), (e.UNIVERSAL, "utf-32-be")]


@given(
    st.lists(st.tuples(st.sampled_from([CN, OU, "1.2.3"]), st.sampled_from(TEXTS), st.text())),
    st.text(st.characters(max_codepoint=127)),
)
def test_every_value_is_safe_in_an_environ(parts: list[tuple[str, tuple[int, str], str]], host: str) -> None:
    names = [[e.attribute(kind, e.tlv(tag, text.encode(codec, "replace")))] for kind, (tag, codec), text in parts]
    alternative = e.extensions(e.alternative_names(e.tlv(0x82, host.encode()), e.tlv(0x81, host.encode())))
    certificate = made(*names, extensions=alternative)
    _check_safe(client_variables(certificate, NOW))
    _check_safe(server_variables(certificate))


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=4))
def test_a_distinguished_name_can_be_split_again(values: list[str]) -> None:
    whole = subject(*([utf8(CN, value)] for value in reversed(values))).encode("latin-1").decode("utf-8")
    parts = re.findall(r"(?:^|,)CN=((?:\\.|[^\\,])*)", whole, re.S)
    assert [_unescaped(part) for part in parts] == values


def _unescaped(text: str) -> str:
    return re.sub(
        r"\\([0-9A-F]{2}|.)", lambda found: chr(int(found[1], 16)) if len(found[1]) == 2 else found[1], text, flags=re.S
    )


ABSENT = {
    # what the library does not read, and the beginnings of the names of the variables that are missing then
    "a string that is not UTF-8": (made([e.attribute(CN, e.tlv(e.TELETEX, b"Zo\xeb"))]), ("S_DN",)),
    "a number in a name": (made([e.attribute(CN, e.integer(1))]), ("S_DN",)),
    "bits in a common name": (made([e.attribute(CN, e.tlv(3, b"\0\xab"))]), ("S_DN",)),
    "an attribute twice in one relative name": (made([utf8(CN, "a"), utf8(CN, "a")]), ("S_DN",)),
    "an issuer that is not UTF-8": (
        e.certificate(issuer=e.name([e.attribute(CN, e.tlv(e.TELETEX, b"\xeb"))])),
        ("I_DN", "CERT_RFC4523_CEA"),
    ),
    "a serial number of 2,000 bytes": (e.certificate(serial=e.integer(2**16000)), ("M_SERIAL", "CERT_RFC4523_CEA")),
    "the year 0": (e.certificate(validity=e.times("00000101000000Z", "300101000000Z")), ("V_START",)),
    "an extension twice": (
        with_extension(
            "2.5.29.17", e.sequence(e.tlv(0x82, b"a")), e.extension("1.2.3", b""), e.extension("1.2.3", b"")
        ),
        ("SAN",),
    ),
    "another extension that is malformed": (
        with_extension("2.5.29.17", e.sequence(e.tlv(0x82, b"a")), e.extension("2.5.29.19", b"\xff")),
        ("SAN",),
    ),
    "an address of five bytes": (with_names(e.tlv(0x82, b"a"), e.tlv(0x87, bytes(5))), ("SAN",)),
    "an X.400 address": (with_names(e.tlv(0x82, b"a"), e.tlv(0xA3)), ("SAN",)),
}


@pytest.mark.parametrize(("der", "absent"), ABSENT.values(), ids=ABSENT.keys())
def test_what_cannot_be_read_is_left_out_and_the_rest_is_there(der: bytes, absent: tuple[str, ...]) -> None:
    variables = client_variables(der, NOW)
    ordinary = client_variables(with_names(e.tlv(0x82, b"a")), NOW)
    missing = tuple(f"SSL_CLIENT_{name}" for name in absent)
    assert not any(name.startswith(missing) for name in variables)
    expected = {name for name in ordinary if "SAN" not in name and not name.startswith(missing)}
    assert expected <= set(variables)


UNREADABLE = {
    "nothing": b"",
    "no certificate": e.integer(1),
    "a certificate that is cut": e.certificate()[:-1],
    "bytes after it": e.certificate() + b"\0",
    "version 2": e.certificate(version=e.tlv(0xA0, e.integer(1))),
    "version 4": e.certificate(version=e.tlv(0xA0, e.integer(3))),
    "a critical flag that says its default": e.certificate(
        extensions=e.extensions(e.extension("1.2.3", b"", critical=e.tlv(1, b"\0")))
    ),
    "30 February": e.certificate(validity=e.times("200230000000Z", "300101000000Z")),
    "attributes of a relative name in the wrong order": e.certificate(
        subject=e.sequence(e.tlv(0x31, utf8("2.5.4.42", "g"), utf8(CN, "")))
    ),
    "too large": with_extension("1.2.3", bytes(LARGEST)),
}


@pytest.mark.parametrize("der", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_certificate_that_cannot_be_read_has_no_variables_and_no_names(der: bytes) -> None:
    assert server_variables(der) == client_variables(der, NOW) == {}
    with pytest.raises(ValueError, match=r"Error|InvalidVersion"):
        host_names(der)


def test_half_a_surrogate_is_not_shown() -> None:
    """Some versions of the library refuse the whole certificate, others the name."""
    variables = server_variables(made([e.attribute(CN, e.tlv(e.BMP, b"\xd8\0"))]))
    assert not any("S_DN" in name for name in variables)


def test_the_limit_of_the_size_is_named() -> None:
    with pytest.raises(ValueError, match=f"a certificate of {LARGEST + 1} bytes; at most {LARGEST} are read"):
        host_names(bytes(LARGEST + 1))


FULL = issuing.der(issuing.issue(kind="ed25519", names=ALL_NAMES))


def test_every_truncation_is_refused() -> None:
    for length in range(len(FULL)):
        with pytest.raises(ValueError):  # noqa: PT011
            host_names(FULL[:length])


@given(
    st.sampled_from([FULL, e.certificate()]),
    st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=4), st.integers(0, 4)), min_size=1, max_size=4),
)
def test_any_mutation_is_read_or_left_out(der: bytes, changes: list[tuple[int, bytes, int]]) -> None:
    for at, new, removed in changes:
        at %= len(der) + 1
        der = der[:at] + new + der[at + removed :]
    _check_safe(client_variables(der, NOW))


def test_warnings_of_the_library_do_not_reach_the_program() -> None:
    """Whether they are printed or made errors: the variables are there, and standard error is empty."""
    certificates = [
        made(serial=e.integer(-5)),
        made([utf8(CN, "long" * 20)]),
        made([e.attribute(C, e.tlv(e.PRINTABLE, b"NLD"))]),
    ]
    code = (
        "from reserve.ssl.certificate import server_variables as read\n"
        f"for der in {certificates!r}: print(read(der)['SSL_SERVER_M_SERIAL'], read(der)['SSL_SERVER_S_DN'])"
    )
    for option in ("-Walways", "-Werror"):
        done = subprocess.run([sys.executable, option, "-c", code], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        assert done.stdout.splitlines() == ["-05 ", f"01 CN={'long' * 20}", "01 C=NLD"]


def test_a_warning_that_is_an_error_leaves_its_variable_out() -> None:
    """A program may put such a filter before ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        variables = server_variables(made([utf8(CN, "long" * 20)]))
        assert server_variables(made(serial=e.integer(-5))) == {}
    assert variables["SSL_SERVER_M_SERIAL"] == "01"
    assert "SSL_SERVER_S_DN" not in variables


# ---- host names ----


def test_host_names_are_the_alternative_names() -> None:
    issued = issuing.issue(subject=issuing.named("cn.example"), names=ALL_NAMES)
    assert host_names(issuing.der(issued)) == ("a.example.org", "*.example.org", "192.0.2.1", "2001:db8::1")


def test_without_alternative_names_it_is_the_last_common_name() -> None:
    assert host_names(made([utf8(CN, "first.example")], [utf8(CN, "last.example")])) == ("last.example",)
    assert host_names(made()) == ()


def test_the_common_name_is_not_used_beside_alternative_names() -> None:
    issued = issuing.issue(subject=issuing.named("cn.example"), names=[x509.RFC822Name("a@example.org")])
    assert host_names(issuing.der(issued)) == ()


def test_the_names_of_a_certificate_of_trustme() -> None:
    names = ("a.example.org", "*.example.org", "192.0.2.1", "2001:db8::1", "a@example.org")
    leaf = trustme.CA().issue_cert(*names, common_name="someone").cert_chain_pems[0].bytes()
    der = issuing.der(x509.load_pem_x509_certificate(leaf))
    assert host_names(der) == names[:4]
    assert server_variables(der)["SSL_SERVER_S_DN_CN"] == "someone"
