"""The certificate reader, beside ``cryptography`` and ``trustme``, and against everything that is no certificate."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timezone
from ipaddress import ip_address

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from reserve.ssl import der as asn1
from reserve.ssl.x509 import LARGEST, Certificate, CertificateError, parse_certificate, pem_certificates
from tests.ssl import encoding as e
from tests.ssl import issuing

UTC = timezone.utc
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
FULL = issuing.der(
    issuing.issue(
        kind="ed25519",
        names=ALL_NAMES,
        extensions=[
            x509.BasicConstraints(ca=True, path_length=3),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
        ],
    )
)


def parse(certificate: x509.Certificate) -> Certificate:
    return parse_certificate(issuing.der(certificate))


def test_what_trustme_issues() -> None:
    authority = trustme.CA()
    names = ("a.example.org", "*.example.org", "192.0.2.1", "2001:db8::1", "a@example.org")
    leaf = authority.issue_cert(*names, common_name="someone")
    text = b"".join(blob.bytes() for blob in leaf.cert_chain_pems) + authority.cert_pem.bytes()
    own, root = map(parse_certificate, pem_certificates(text))
    assert own.version == 3
    assert own.dns_names == ("a.example.org", "*.example.org")
    assert own.ip_addresses == ("192.0.2.1", "2001:db8::1")
    assert own.email_addresses == ("a@example.org",)
    assert own.uris == ()
    assert ("CN", "someone") in own.subject
    assert own.issuer == root.subject == root.issuer
    assert own.has_alternative_names
    assert not root.has_alternative_names


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
    certificate = parse(issuing.issue(kind=kind, signer=signer, digest=digest))
    assert (certificate.key_algorithm, certificate.signature_algorithm) == (key_algorithm, signature_algorithm)


def test_a_signature_algorithm_with_parameters() -> None:
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    assert parse(issuing.issue(kind="rsa", rsa_padding=pss)).signature_algorithm == "rsassaPss"


def test_an_algorithm_without_a_name_keeps_its_number() -> None:
    der = e.certificate(algorithm=e.sequence(e.oid("1.2.3.4.5")))
    assert parse_certificate(der).signature_algorithm == "1.2.3.4.5"


@pytest.mark.parametrize("serial", [1, 127, 128, 255, 256, 2**64, 2**158 + 1, 2**159 - 1])
def test_serials(serial: int) -> None:
    assert parse(issuing.issue(serial=serial)).serial == serial


@pytest.mark.parametrize("serial", [0, -1, -128, -129, -(2**127), 2**1022, 2**1023 - 1, -(2**1023)])
def test_serials_that_break_rfc_5280_but_exist(serial: int) -> None:
    assert parse_certificate(e.certificate(serial=e.integer(serial))).serial == serial


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (datetime(1950, 1, 1, tzinfo=UTC), datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2050, 1, 1, tzinfo=UTC)),
        (datetime(2051, 2, 3, 4, 5, 6, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_times(start: datetime, end: datetime) -> None:
    certificate = parse(issuing.issue(start=start, end=end))
    assert (certificate.not_before, certificate.not_after) == (start, end)
    assert certificate.not_before.utcoffset() == certificate.not_after.utcoffset() == start.utcoffset()


def test_every_kind_of_alternative_name() -> None:
    certificate = parse_certificate(FULL)
    assert certificate.dns_names == ("a.example.org", "*.example.org")
    assert certificate.ip_addresses == ("192.0.2.1", "2001:db8::1")
    assert certificate.email_addresses == ("a@example.org",)
    assert certificate.uris == ("spiffe://example.org/a",)


def test_no_alternative_names_and_none_that_is_read() -> None:
    without = parse(issuing.issue())
    assert (without.has_alternative_names, without.dns_names, without.ip_addresses) == (False, (), ())
    others = parse(issuing.issue(names=ALL_NAMES[-3:]))
    assert (others.has_alternative_names, others.dns_names, others.ip_addresses) == (True, (), ())


@pytest.mark.parametrize("version", [b"", e.tlv(0xA0, e.integer(0))])
def test_version_1(version: bytes) -> None:
    assert parse_certificate(e.certificate(version=version)).version == 1


def test_version_2_with_unique_identifiers() -> None:
    ids = e.tlv(0x81, b"\0one") + e.tlv(0x82, b"\4\xf0")
    assert parse_certificate(e.certificate(version=e.tlv(0xA0, e.integer(1)), unique_ids=ids)).version == 2


def test_a_critical_flag_that_says_its_default() -> None:
    names = e.extension("2.5.29.17", e.sequence(e.tlv(0x82, b"a.example")), critical=e.tlv(1, b"\0"))
    assert parse_certificate(e.certificate(extensions=e.extensions(names))).dns_names == ("a.example",)


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
def test_strings_as_cryptography_writes_them(kind: _ASN1Type, text: str) -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text, _type=kind)])
    certificate = parse(issuing.issue(subject=name))
    assert certificate.subject == (("CN", text),)
    assert certificate.subject_name[0][0].is_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (e.tlv(e.TELETEX, b"Zo\xeb"), "Zoë"),
        (e.tlv(e.UTF8), ""),
        (e.tlv(e.BMP, "𝄞".encode("utf-16-be")), "𝄞"),
        (e.tlv(e.PRINTABLE, b"a*b@c_d"), "a*b@c_d"),
        (e.tlv(e.UTF8, b"a\0b\r\nc"), "a\0b\r\nc"),
    ],
)
def test_strings_that_only_others_write(value: bytes, text: str) -> None:
    der = e.certificate(subject=e.name([e.attribute("2.5.4.3", value)]))
    assert parse_certificate(der).subject == (("CN", text),)


def test_a_value_that_is_no_string_is_shown_as_der() -> None:
    der = e.certificate(subject=e.name([e.attribute("2.5.4.45", e.tlv(3, b"\0\xab"))]))
    (attribute,) = parse_certificate(der).subject_name[0]
    assert attribute == ("x500UniqueIdentifier", "#030200AB", b"\x03\x02\x00\xab")
    assert not attribute.is_text


def test_names_keep_their_order_and_their_groups() -> None:
    subject = x509.Name(
        [
            x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COUNTRY_NAME, "NL")]),
            x509.RelativeDistinguishedName(
                [x509.NameAttribute(NameOID.COMMON_NAME, "a"), x509.NameAttribute(NameOID.USER_ID, "7")]
            ),
            x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COMMON_NAME, "b")]),
        ]
    )
    certificate = parse(issuing.issue(subject=subject))
    expected = [[attribute.value for attribute in relative] for relative in x509_subject(certificate).rdns]
    assert [[attribute.value for attribute in relative] for relative in certificate.subject_name] == expected
    assert [name for name, _ in certificate.subject][::3] == ["C", "CN"]
    assert sorted(map(len, certificate.subject_name)) == [1, 1, 2]


def x509_subject(certificate: Certificate) -> x509.Name:
    return x509.load_der_x509_certificate(certificate.der).subject


def test_short_names() -> None:
    kinds = {
        NameOID.COMMON_NAME: "CN",
        NameOID.COUNTRY_NAME: "C",
        NameOID.STATE_OR_PROVINCE_NAME: "ST",
        NameOID.LOCALITY_NAME: "L",
        NameOID.ORGANIZATION_NAME: "O",
        NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
        NameOID.EMAIL_ADDRESS: "emailAddress",
        NameOID.SURNAME: "SN",
        NameOID.GIVEN_NAME: "GN",
        NameOID.TITLE: "title",
        NameOID.DOMAIN_COMPONENT: "DC",
        NameOID.USER_ID: "UID",
        NameOID.SERIAL_NUMBER: "serialNumber",
        x509.ObjectIdentifier("1.2.3.4"): "1.2.3.4",
    }
    name = x509.Name([x509.NameAttribute(kind, "xy") for kind in kinds])
    assert parse(issuing.issue(subject=name)).subject == tuple((short, "xy") for short in kinds.values())


def test_an_empty_name() -> None:
    assert parse_certificate(e.certificate(subject=e.name())).subject == ()


@given(st.lists(st.tuples(st.sampled_from([NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME]), st.text(min_size=1))))
def test_any_text_comes_back(parts: list[tuple[x509.ObjectIdentifier, str]]) -> None:
    parts = [(kind, text) for kind, text in parts if text.isprintable() and len(text.encode()) <= 64]
    encoded = [[e.attribute(kind.dotted_string, e.tlv(e.UTF8, text.encode()))] for kind, text in parts]
    certificate = parse_certificate(e.certificate(subject=e.name(*encoded)))
    assert [value for _, value in certificate.subject] == [text for _, text in parts]
    assert [value for _, value in certificate.subject] == [str(part.value) for part in x509_subject(certificate)]


MALFORMED = {
    "empty": (b"", "ends where an element should begin"),
    "one octet": (b"\x30", "ends where"),
    "no sequence": (e.integer(1), "tag 0x02 where 0x30"),
    "indefinite length": (b"\x30\x80\x00\x00", "indefinite"),
    "long tag": (b"\x3f\x30\x00", "tag number above 30"),
    "long form of a short length": (b"\x30\x81\x01\x00", "shortest form"),
    "length with a leading zero": (b"\x30\x82\x00\x80" + bytes(128), "shortest form"),
    "length of five octets": (b"\x30\x85\x01\x00\x00\x00\x00", "too long"),
    "length that is cut": (b"\x30\x82\x01", "cut"),
    "length past the end": (b"\x30\x84\xff\xff\xff\xff\x00", "is cut"),
    "octets behind it": (FULL + b"\0", "1 octets too many"),
    "two algorithms": (e.certificate(inner_algorithm=e.sequence(e.oid("1.2.3"))), "two signature algorithms"),
    "algorithm with two parameters": (
        e.certificate(algorithm=e.sequence(e.oid("1.2.3"), e.integer(1), e.integer(1))),
        "too many",
    ),
    "version 0": (e.certificate(version=e.tlv(0xA0, e.integer(-1))), "version 0"),
    "version 4": (e.certificate(version=e.tlv(0xA0, e.integer(3))), "version 4"),
    "two versions": (e.certificate(version=e.tlv(0xA0, e.integer(2), e.integer(2))), "too many"),
    "serial without octets": (e.certificate(serial=e.tlv(2)), "INTEGER has 0 octets"),
    "serial too long": (e.certificate(serial=e.integer(2**1023)), "INTEGER has 129 octets"),
    "serial with a leading zero": (e.certificate(serial=e.tlv(2, b"\0\x01")), "shortest form"),
    "serial with leading ones": (e.certificate(serial=e.tlv(2, b"\xff\x80")), "shortest form"),
    "time without seconds": (e.certificate(validity=e.times("2001010000Z", "300101000000Z")), "YYMMDDHHMMSSZ"),
    "time without Z": (e.certificate(validity=e.sequence(e.tlv(e.UTC_TIME, b"2001010000000"))), "YYMMDDHHMMSSZ"),
    "time with a zone": (e.certificate(validity=e.sequence(e.tlv(e.UTC_TIME, b"200101000000+0100"))), "YYMMDDHHMMSSZ"),
    "time with a fraction": (e.certificate(validity=e.times("20500101000000.5Z", "")), "YYMMDDHHMMSSZ"),
    "time with a sign": (e.certificate(validity=e.sequence(e.tlv(e.UTC_TIME, b"+10101000000Z"))), "YYMMDDHHMMSSZ"),
    "30 February": (e.certificate(validity=e.times("200230000000Z", "300101000000Z")), "does not exist: 200230000000Z"),
    "second 60": (e.certificate(validity=e.times("200101000060Z", "300101000000Z")), "does not exist"),
    "year 0": (e.certificate(validity=e.times("00000101000000Z", "300101000000Z")), "does not exist"),
    "time that is an integer": (e.certificate(validity=e.sequence(e.integer(1), e.integer(1))), "neither UTCTime"),
    "one time": (e.certificate(validity=e.times("200101000000Z")), "ends where"),
    "three times": (e.certificate(validity=e.times(*["200101000000Z"] * 3)), "too many"),
    "empty relative name": (e.certificate(subject=e.name([])), "ends where"),
    "attribute of three": (
        e.certificate(subject=e.name([e.sequence(e.oid("2.5.4.3"), e.integer(1), e.integer(1))])),
        "too many",
    ),
    "UTF8String": (e.certificate(subject=e.name([e.attribute("2.5.4.3", e.tlv(e.UTF8, b"\xff"))])), "valid utf-8"),
    "surrogate in UTF8String": (
        e.certificate(subject=e.name([e.attribute("2.5.4.3", e.tlv(e.UTF8, b"\xed\xa0\x80"))])),
        "valid utf-8",
    ),
    "BMPString of three octets": (
        e.certificate(subject=e.name([e.attribute("2.5.4.3", e.tlv(e.BMP, b"\0a\0"))])),
        "valid utf-16",
    ),
    "UniversalString past Unicode": (
        e.certificate(subject=e.name([e.attribute("2.5.4.3", e.tlv(e.UNIVERSAL, b"\0\x11\0\0"))])),
        "valid utf-32",
    ),
    "PrintableString": (e.certificate(subject=e.name([e.attribute("2.5.4.3", e.tlv(e.PRINTABLE, b"\xe9"))])), "ascii"),
    "empty identifier": (e.certificate(subject=e.name([e.sequence(e.tlv(6), e.integer(1))])), "IDENTIFIER has 0"),
    "identifier too long": (
        e.certificate(subject=e.name([e.sequence(e.tlv(6, b"\x81" * 128 + b"\0"), e.integer(1))])),
        "IDENTIFIER has 129",
    ),
    "identifier that is cut": (
        e.certificate(subject=e.name([e.sequence(e.tlv(6, b"\x55\x81"), e.integer(1))])),
        "inside a number",
    ),
    "identifier with padding": (
        e.certificate(subject=e.name([e.sequence(e.tlv(6, b"\x55\x80\x01"), e.integer(1))])),
        "shortest form",
    ),
    "key without bits": (e.certificate(key=e.sequence(e.ED25519, e.tlv(3))), "unused bits"),
    "bits that are not there": (e.certificate(key=e.sequence(e.ED25519, e.tlv(3, b"\x01"))), "unused bits"),
    "eight unused bits": (e.certificate(signature=e.tlv(3, b"\x08\x00")), "unused bits"),
    "unused bits that are set": (e.certificate(signature=e.tlv(3, b"\x01\x01")), "unused bits"),
    "unique identifiers in version 1": (e.certificate(version=b"", unique_ids=e.tlv(0x81, b"\0a")), "too many"),
    "extensions in version 2": (
        e.certificate(version=e.tlv(0xA0, e.integer(1)), extensions=e.extensions(e.alternative_names())),
        "too many",
    ),
    "no extensions in them": (e.certificate(extensions=e.extensions()), "ends where"),
    "an extension twice": (
        e.certificate(extensions=e.extensions(e.extension("1.2.3", b""), e.extension("1.2.3", b""))),
        "extension 1.2.3 twice",
    ),
    "critical is 1": (
        e.certificate(extensions=e.extensions(e.extension("1.2.3", b"", critical=e.tlv(1, b"\x01")))),
        "neither 00 nor FF",
    ),
    "no names": (e.certificate(extensions=e.extensions(e.alternative_names())), "ends where"),
    "name of an unknown kind": (
        e.certificate(extensions=e.extensions(e.alternative_names(e.tlv(0x89, b"a")))),
        "tag 0x89",
    ),
    "name that is not ascii": (
        e.certificate(extensions=e.extensions(e.alternative_names(e.tlv(0x82, "é.example".encode())))),
        "ascii",
    ),
    "address of five octets": (
        e.certificate(extensions=e.extensions(e.alternative_names(e.tlv(0x87, bytes(5))))),
        "IP address of 5 octets",
    ),
    "something behind the names": (
        e.certificate(extensions=e.extensions(e.extension("2.5.29.17", e.sequence(e.tlv(0x82, b"a")) + b"\0"))),
        "1 octets too many",
    ),
    "something behind the extensions": (e.certificate(behind=e.integer(1)), "too many"),
    "too large": (bytes(LARGEST + 1), "at most 102400"),
}


@pytest.mark.parametrize(("der", "message"), MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_certificate(der: bytes, message: str) -> None:
    with pytest.raises(CertificateError, match=message):
        parse_certificate(der)


def test_the_made_certificate_is_one() -> None:
    """Otherwise the table above would prove nothing: each row changes one part of this."""
    assert parse_certificate(e.certificate()).subject == (("CN", "subject"),)
    assert x509.load_der_x509_certificate(e.certificate()).subject.rfc4514_string() == "CN=subject"


def test_every_truncation_is_refused() -> None:
    for length in range(len(FULL)):
        with pytest.raises(CertificateError):
            parse_certificate(FULL[:length])


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    with pytest.raises(CertificateError):
        parse_certificate(data)


@given(
    st.sampled_from([FULL, e.certificate()]),
    st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=4), st.integers(0, 4)), min_size=1, max_size=4),
)
def test_any_mutation_is_read_or_refused(der: bytes, changes: list[tuple[int, bytes, int]]) -> None:
    for at, new, removed in changes:
        at %= len(der) + 1
        der = der[:at] + new + der[at + removed :]
    try:
        certificate = parse_certificate(der)
    except CertificateError:
        return
    assert certificate.der == der


def test_every_single_octet_changed() -> None:
    read = 0
    for at in range(len(FULL)):
        for value in {0x00, 0x80, 0xFF, FULL[at] ^ 1, FULL[at] ^ 0x20}:
            try:
                parse_certificate(FULL[:at] + bytes([value]) + FULL[at + 1 :])
            except CertificateError:
                continue
            read += 1
    assert read > len(FULL) // 4  # the key and the signature may be anything


@pytest.mark.parametrize("count", [500, 1000, 2000])
def test_work_is_linear_in_the_number_of_names(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    names = [e.tlv(0x82, b"host%d.example" % number) for number in range(count)]
    der = e.certificate(extensions=e.extensions(e.alternative_names(*names)))
    octets = 0
    element = asn1.Reader.element

    def counted(self: asn1.Reader) -> asn1.Element:
        nonlocal octets
        found = element(self)
        octets += len(found.encoded)
        return found

    monkeypatch.setattr(asn1.Reader, "element", counted)
    assert len(parse_certificate(der).dns_names) == count
    assert octets < 8 * len(der)


def test_nesting_costs_nothing() -> None:
    deep = b""
    for _ in range(20_000):
        deep = e.tlv(0x30, deep) if len(deep) < LARGEST - 1000 else deep
    der = e.certificate(extensions=e.extensions(e.extension("1.2.3", deep)))
    assert parse_certificate(der).version == 3


def test_the_import_is_cheap() -> None:
    code = (
        "import sys; before = set(sys.modules); import reserve.ssl.environ, reserve.ssl.sni;"
        "print(sorted({'ipaddress', 'socket', 'ssl', 'base64', 'urllib'} & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
