"""X.509 certificates (RFC 5280): from DER to the values that TLS variables and server names are made of.

Runs on any thread; no input or output, no clock, no cryptography: nothing here says that a certificate is valid, only
what it says. Every certificate that TLS itself accepted may arrive here, so two rules of DER that certificates in use
break are not enforced: a DEFAULT may be written out, and the parts of one relative name may stand in any order.
The structure is fixed, so the depth is; the work is linear in the size, which :data:`LARGEST` bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from reserve.ssl import der as asn1
from reserve.ssl.der import DERError, Reader
from reserve.ssl.oids import ALGORITHMS, ATTRIBUTES, SUBJECT_ALT_NAME
from reserve.ssl.pem import pem_certificates

__all__ = ["Attribute", "Certificate", "CertificateError", "Name", "parse_certificate", "pem_certificates"]

LARGEST = 102_400
"""Octets of one certificate; OpenSSL reads no more than this for a whole chain unless it is told to."""

_VERSION, _ISSUER_ID, _SUBJECT_ID, _EXTENSIONS = 0xA0, 0x81, 0x82, 0xA3
_EMAIL, _DNS, _URI, _IP = 0x81, 0x82, 0x86, 0x87
_OTHER_NAMES = frozenset({0xA0, 0xA3, 0xA4, 0xA5, 0x88})
_IA5_STRING = 0x16


class CertificateError(ValueError):
    """The bytes are no X.509 certificate. The text says where, and which rule they break."""


class Attribute(NamedTuple):
    """One part of a distinguished name, such as the common name.

    ``name`` is OpenSSL's short name, or the object identifier in dots and decimals; ``value`` is the text, or "#" and
    the DER in hexadecimal when the value is no string; ``encoded`` is the DER of the value.
    """

    name: str
    value: str
    encoded: bytes

    @property
    def is_text(self) -> bool:
        return self.encoded[0] in asn1.TEXT_CODECS


Name = tuple[tuple[Attribute, ...], ...]
"""A distinguished name in certificate order: a tuple of relative names, each with one attribute, seldom more."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says. RFC 5280 section 4.1.

    ``version`` is 1 to 3; the times are aware, in UTC; ``key_algorithm`` and ``signature_algorithm`` are OpenSSL's long
    names, or object identifiers; addresses are in their usual text form; ``has_alternative_names`` tells a certificate
    with other kinds of alternative names from one that has none; ``der`` is what was parsed.
    """

    version: int
    serial: int
    signature_algorithm: str
    issuer_name: Name
    not_before: datetime
    not_after: datetime
    subject_name: Name
    key_algorithm: str
    has_alternative_names: bool
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    email_addresses: tuple[str, ...]
    uris: tuple[str, ...]
    der: bytes

    @property
    def subject(self) -> tuple[tuple[str, str], ...]:
        """Pairs of short name and value, in certificate order."""
        return _pairs(self.subject_name)

    @property
    def issuer(self) -> tuple[tuple[str, str], ...]:
        """Pairs of short name and value, in certificate order."""
        return _pairs(self.issuer_name)


def parse_certificate(der: bytes) -> Certificate:
    """Read one certificate in DER.

    :raises CertificateError: for anything that is not exactly one certificate of at most :data:`LARGEST` octets.
    """
    if len(der) > LARGEST:
        raise CertificateError(f"a certificate of {len(der)} octets; at most {LARGEST} are read")
    try:
        return _certificate(bytes(der))
    except DERError as error:
        raise CertificateError(str(error)) from None


def _certificate(der: bytes) -> Certificate:
    file = Reader(der, "the certificate")
    outer = Reader(file.take(asn1.SEQUENCE), "Certificate")
    file.finish()
    signed = Reader(outer.take(asn1.SEQUENCE), "TBSCertificate")
    algorithm = outer.take(asn1.SEQUENCE)
    asn1.check_bit_string(outer.take(asn1.BIT_STRING))
    outer.finish()

    version = _version(signed.take_optional(_VERSION))
    serial = asn1.read_integer(signed.take(asn1.INTEGER))
    if signed.take(asn1.SEQUENCE) != algorithm:
        raise DERError("the certificate names two signature algorithms (RFC 5280 section 4.1.1.2)")
    issuer = _name(signed.take(asn1.SEQUENCE), "issuer")
    validity = Reader(signed.take(asn1.SEQUENCE), "Validity")
    not_before, not_after = asn1.read_time(validity.element()), asn1.read_time(validity.element())
    validity.finish()
    subject = _name(signed.take(asn1.SEQUENCE), "subject")
    key = Reader(signed.take(asn1.SEQUENCE), "SubjectPublicKeyInfo")
    key_algorithm = _algorithm(key.take(asn1.SEQUENCE))
    asn1.check_bit_string(key.take(asn1.BIT_STRING))
    key.finish()
    if version >= 2:
        for tag in (_ISSUER_ID, _SUBJECT_ID):
            unique_id = signed.take_optional(tag)
            if unique_id is not None:
                asn1.check_bit_string(unique_id)
    extensions = signed.take_optional(_EXTENSIONS) if version == 3 else None
    signed.finish()

    alternative = None if extensions is None else _alternative_names(extensions)
    names = {} if alternative is None else _general_names(alternative)
    return Certificate(
        version=version,
        serial=serial,
        signature_algorithm=_algorithm(algorithm),
        issuer_name=issuer,
        not_before=not_before,
        not_after=not_after,
        subject_name=subject,
        key_algorithm=key_algorithm,
        has_alternative_names=alternative is not None,
        dns_names=tuple(asn1.read_text(_IA5_STRING, name) for name in names.get(_DNS, ())),
        ip_addresses=tuple(_address(octets) for octets in names.get(_IP, ())),
        email_addresses=tuple(asn1.read_text(_IA5_STRING, name) for name in names.get(_EMAIL, ())),
        uris=tuple(asn1.read_text(_IA5_STRING, name) for name in names.get(_URI, ())),
        der=der,
    )


def _version(content: bytes | None) -> int:
    if content is None:
        return 1
    explicit = Reader(content, "Version")
    version = asn1.read_integer(explicit.take(asn1.INTEGER)) + 1
    explicit.finish()
    if not 1 <= version <= 3:
        raise DERError(f"the certificate has version {version}; 1 to 3 exist (RFC 5280 section 4.1.2.1)")
    return version


def _algorithm(content: bytes) -> str:
    identifier = Reader(content, "AlgorithmIdentifier")
    number = asn1.read_object_identifier(identifier.take(asn1.OBJECT_IDENTIFIER))
    if identifier.more():
        identifier.element()
    identifier.finish()
    return ALGORITHMS.get(number, number)


def _name(content: bytes, where: str) -> Name:
    relative_names = []
    names = Reader(content, where)
    while names.more():
        attributes: list[Attribute] = []
        parts = Reader(names.take(asn1.SET), where)
        while parts.more() or not attributes:
            part = Reader(parts.take(asn1.SEQUENCE), where)
            number = asn1.read_object_identifier(part.take(asn1.OBJECT_IDENTIFIER))
            tag, value, encoded = part.element()
            part.finish()
            text = asn1.read_text(tag, value) if tag in asn1.TEXT_CODECS else f"#{encoded.hex().upper()}"
            attributes.append(Attribute(ATTRIBUTES.get(number, number), text, encoded))
        relative_names.append(tuple(attributes))
    return tuple(relative_names)


def _pairs(name: Name) -> tuple[tuple[str, str], ...]:
    return tuple((attribute.name, attribute.value) for relative_name in name for attribute in relative_name)


def _alternative_names(content: bytes) -> bytes | None:
    """The value of the extension subjectAltName; the others are only counted. RFC 5280 section 4.2."""
    explicit = Reader(content, "Extensions")
    extensions = Reader(explicit.take(asn1.SEQUENCE), "Extensions")
    explicit.finish()
    found: dict[str, bytes] = {}
    while extensions.more() or not found:
        extension = Reader(extensions.take(asn1.SEQUENCE), "Extension")
        number = asn1.read_object_identifier(extension.take(asn1.OBJECT_IDENTIFIER))
        critical = extension.take_optional(asn1.BOOLEAN)
        if critical is not None:
            asn1.read_boolean(critical)
        value = extension.take(asn1.OCTET_STRING)
        extension.finish()
        if number in found:
            raise DERError(f"the certificate has the extension {number} twice (RFC 5280 section 4.2)")
        found[number] = value
    return found.get(SUBJECT_ALT_NAME)


def _general_names(content: bytes) -> dict[int, list[bytes]]:
    """The alternative names by tag. RFC 5280 section 4.2.1.6."""
    whole = Reader(content, "subjectAltName")
    names = Reader(whole.take(asn1.SEQUENCE), "subjectAltName")
    whole.finish()
    found: dict[int, list[bytes]] = {}
    while names.more() or not found:
        tag, value, _ = names.element()
        if tag not in (_EMAIL, _DNS, _URI, _IP) and tag not in _OTHER_NAMES:
            raise DERError(f"subjectAltName has a name with tag {tag:#04x}, which no kind of name has")
        found.setdefault(tag, []).append(value)
    return found


def _address(octets: bytes) -> str:
    if len(octets) == 4:
        return ".".join(map(str, octets))
    if len(octets) != 16:
        raise DERError(f"an IP address of {len(octets)} octets; 4 and 16 exist (RFC 5280 section 4.2.1.6)")
    from ipaddress import IPv6Address  # few certificates have one, and the module is slow to import

    return str(IPv6Address(octets))
