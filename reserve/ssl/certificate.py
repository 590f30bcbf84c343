"""What a certificate says: the host names in it, and the variables ``SSL_SERVER_*`` and ``SSL_CLIENT_*``.

Runs on any thread; plain functions of DER, nothing remembered. They are named and written as Apache's mod_ssl does
("Environment Variables" there). Nothing here says that a certificate is valid: TLS has checked that before.

The package ``cryptography`` (the extra ``tls``) reads the certificate. It refuses or warns about some certificates that
TLS accepts, such as one with a negative serial number. A variable that cannot be read is left out;
:func:`server_variables` and :func:`client_variables` raise nothing and show no warning. The work is linear in the size,
which :data:`LARGEST` bounds.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.x509.oid import NameOID

from reserve.ssl.environ import CONTROLS, escaped, wsgi_text

__all__ = ["LARGEST", "client_variables", "host_names", "server_variables", "validity"]

# The library's warnings are about the certificate, and a user of the program cannot act on them. A filter for this
# module only: warnings.catch_warnings() would change the filters of all threads.
warnings.filterwarnings("ignore", module=r"reserve\.ssl\.certificate\Z")

LARGEST = 102_400
"""Bytes of one certificate; OpenSSL reads no more than this for a whole chain unless it is told to."""
_SERIAL_BITS = 1024
"""RFC 5280 section 4.1.2.2 allows a serial number 160; the limit keeps the conversion to decimal short."""

_SPECIAL = CONTROLS | {ord(character): f"\\{character}" for character in ',+"<>;'}

_SHORT_NAMES = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "street",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.13": "description",
    "2.5.4.15": "businessCategory",
    "2.5.4.16": "postalAddress",
    "2.5.4.17": "postalCode",
    "2.5.4.20": "telephoneNumber",
    "2.5.4.41": "name",
    "2.5.4.42": "GN",
    "2.5.4.43": "initials",
    "2.5.4.44": "generationQualifier",
    "2.5.4.45": "x500UniqueIdentifier",
    "2.5.4.46": "dnQualifier",
    "2.5.4.51": "houseIdentifier",
    "2.5.4.65": "pseudonym",
    "2.5.4.72": "role",
    "2.5.4.97": "organizationIdentifier",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.3": "mail",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
    "1.2.840.113549.1.9.2": "unstructuredName",
    "1.2.840.113549.1.9.8": "unstructuredAddress",
    "1.3.6.1.4.1.311.60.2.1.1": "jurisdictionL",
    "1.3.6.1.4.1.311.60.2.1.2": "jurisdictionST",
    "1.3.6.1.4.1.311.60.2.1.3": "jurisdictionC",
}
"""OpenSSL's short names of the attributes of a distinguished name, by object identifier."""

_SUFFIXES = {
    "C": "C",
    "ST": "ST",
    "L": "L",
    "O": "O",
    "OU": "OU",
    "CN": "CN",
    "title": "T",
    "initials": "I",
    "GN": "G",
    "SN": "S",
    "description": "D",
    "UID": "UID",
    "emailAddress": "Email",
}
"""The attributes that get a variable of their own, and what mod_ssl calls them."""

_ALGORITHMS = {
    "1.2.840.113549.1.1.1": "rsaEncryption",
    "1.2.840.113549.1.1.4": "md5WithRSAEncryption",
    "1.2.840.113549.1.1.5": "sha1WithRSAEncryption",
    "1.2.840.113549.1.1.10": "rsassaPss",
    "1.2.840.113549.1.1.11": "sha256WithRSAEncryption",
    "1.2.840.113549.1.1.12": "sha384WithRSAEncryption",
    "1.2.840.113549.1.1.13": "sha512WithRSAEncryption",
    "1.2.840.113549.1.1.14": "sha224WithRSAEncryption",
    "1.2.840.10040.4.1": "dsaEncryption",
    "1.2.840.10040.4.3": "dsaWithSHA1",
    "2.16.840.1.101.3.4.3.1": "dsa_with_SHA224",
    "2.16.840.1.101.3.4.3.2": "dsa_with_SHA256",
    "1.2.840.10045.2.1": "id-ecPublicKey",
    "1.2.840.10045.4.1": "ecdsa-with-SHA1",
    "1.2.840.10045.4.3.1": "ecdsa-with-SHA224",
    "1.2.840.10045.4.3.2": "ecdsa-with-SHA256",
    "1.2.840.10045.4.3.3": "ecdsa-with-SHA384",
    "1.2.840.10045.4.3.4": "ecdsa-with-SHA512",
    "1.3.101.112": "ED25519",
    "1.3.101.113": "ED448",
}
"""OpenSSL's long names of the algorithms of keys and signatures, by object identifier."""

Part = Callable[[x509.Certificate], dict[str, str]]
"""Some variables of a certificate, without the prefix of their names. May raise any Exception."""


def host_names(der: bytes) -> tuple[str, ...]:
    """The hosts that a certificate is for: DNS names, then IP addresses.

    Without any alternative name, of any kind, it is the last common name, if there is one: the most specific of them.

    :raises ValueError: the certificate cannot be read, or is larger than :data:`LARGEST`.
    """
    try:
        return _host_names(_load(der))
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def server_variables(der: bytes) -> dict[str, str]:
    """``SSL_SERVER_*``, from the certificate that the client was shown. Those that cannot be read are left out."""
    return _variables(der, "SSL_SERVER_", _PARTS)


def client_variables(der: bytes, now: datetime) -> dict[str, str]:
    """``SSL_CLIENT_*``, from the client's own certificate. Those that cannot be read are left out.

    :param now: an aware time; ``SSL_CLIENT_V_REMAIN`` counts the begun days from it to the end of the validity.
    """

    def remaining(certificate: x509.Certificate) -> dict[str, str]:
        # mod_ssl counts from the day after the last; 9999-12-31 has none, so the day is added to the difference.
        left = certificate.not_valid_after_utc - now + timedelta(days=1)
        return {"V_REMAIN": str(max(left.days, 0))}

    return _variables(der, "SSL_CLIENT_", (*_PARTS, remaining, _exact_assertion))


def validity(der: bytes) -> tuple[datetime, datetime] | None:
    """The first and the last moment at which a certificate is valid; None: it cannot be read."""
    try:
        certificate = _load(der)
        return certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except Exception:
        return None


def _load(der: bytes) -> x509.Certificate:
    if len(der) > LARGEST:
        raise ValueError(f"a certificate of {len(der)} bytes; at most {LARGEST} are read")
    return x509.load_der_x509_certificate(der)


def _host_names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common_names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return tuple(str(attribute.value) for attribute in common_names[-1:])
    return (*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress)))


def _variables(der: bytes, prefix: str, parts: Sequence[Part]) -> dict[str, str]:
    variables: dict[str, str] = {}
    with contextlib.suppress(Exception):  # the library has many of its own; and a warning may be an error (-W error)
        certificate = _load(der)
        for part in parts:
            with contextlib.suppress(Exception):
                variables |= part(certificate)
    return {f"{prefix}{name}": value for name, value in variables.items()}


def _distinguished_name(variable: str, name: x509.Name) -> dict[str, str]:
    """One variable for the whole name, and one for each part: the second of a kind ends in ``_1``."""
    # RFC 2253: the last relative name first, as OpenSSL's ``-nameopt RFC2253,-esc_msb`` writes it.
    whole = ",".join("+".join(map(_attribute, reversed(list(relative)))) for relative in reversed(name.rdns))
    variables = {variable: wsgi_text(whole)}
    counts: Counter[str] = Counter()
    for attribute in name:
        suffix = _SUFFIXES.get(_short_name(attribute))
        if suffix is not None:
            number = counts[suffix]
            counts[suffix] += 1
            variables[f"{variable}_{suffix}_{number}" if number else f"{variable}_{suffix}"] = escaped(
                str(attribute.value)
            )
    return variables


def _attribute(attribute: x509.NameAttribute[str | bytes]) -> str:
    name, value = _short_name(attribute), attribute.value
    if isinstance(value, bytes) or name[0].isdigit():
        return f"{name}=#{_encoded_value(attribute).hex().upper()}"  # RFC 4514 section 2.4
    text = value.translate(_SPECIAL)
    if value[:1] in (" ", "#"):
        text = f"\\{text}"
    if value[-1:] == " " and len(value) > 1:
        text = f"{text[:-1]}\\ "
    return f"{name}={text}"


def _encoded_value(attribute: x509.NameAttribute[str | bytes]) -> bytes:
    """The DER of the value, which the library gives only as the end of a whole name."""
    rest = x509.Name([attribute]).public_bytes()
    for content in (False, False, False, True):  # into the name, its set and its pair; past the type
        header, length = _header(rest)
        rest = rest[header + length if content else header :]
    return rest


def _header(der: bytes) -> tuple[int, int]:
    """The sizes in bytes of the tag and the length in front of a value, and of the value (X.690 section 8.1.3)."""
    count = der[1] & 0x7F
    return (2 + count, int.from_bytes(der[2 : 2 + count], "big")) if der[1] & 0x80 else (2, count)


def _short_name(attribute: x509.NameAttribute[str | bytes]) -> str:
    number = attribute.oid.dotted_string
    return _SHORT_NAMES.get(number, number)


def _alternative_names(certificate: x509.Certificate) -> dict[str, str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    kinds = (("Email", names.get_values_for_type(x509.RFC822Name)), ("DNS", names.get_values_for_type(x509.DNSName)))
    return {f"SAN_{kind}_{number}": escaped(name) for kind, values in kinds for number, name in enumerate(values)}


def _exact_assertion(certificate: x509.Certificate) -> dict[str, str]:
    issuer = _distinguished_name("", certificate.issuer)[""]
    return {"CERT_RFC4523_CEA": f'{{ serialNumber {_serial(certificate)}, issuer rdnSequence:"{issuer}" }}'}


def _serial(certificate: x509.Certificate) -> int:
    serial = certificate.serial_number
    if serial.bit_length() > _SERIAL_BITS:
        raise ValueError(f"a serial number of {serial.bit_length()} bits; at most {_SERIAL_BITS} are read")
    return serial


def _hexadecimal(number: int) -> str:
    digits = f"{abs(number):X}"
    return f"{'-' if number < 0 else ''}{'0' if len(digits) % 2 else ''}{digits}"


def _algorithm(identifier: x509.ObjectIdentifier) -> str:
    # mod_ssl writes UNKNOWN for an algorithm without a name.
    return _ALGORITHMS.get(identifier.dotted_string, identifier.dotted_string)


def _time(moment: datetime) -> str:
    return f"{moment.ctime()[4:]} GMT"  # "Jan  2 03:04:05 2020": ctime() is the same in every locale


_PARTS: tuple[Part, ...] = (
    lambda certificate: {"M_VERSION": str(certificate.version.value + 1)},
    lambda certificate: {"M_SERIAL": _hexadecimal(_serial(certificate))},
    lambda certificate: {"V_START": _time(certificate.not_valid_before_utc)},
    lambda certificate: {"V_END": _time(certificate.not_valid_after_utc)},
    lambda certificate: _distinguished_name("S_DN", certificate.subject),
    lambda certificate: _distinguished_name("I_DN", certificate.issuer),
    lambda certificate: {"A_KEY": _algorithm(certificate.public_key_algorithm_oid)},
    lambda certificate: {"A_SIG": _algorithm(certificate.signature_algorithm_oid)},
    _alternative_names,
)
