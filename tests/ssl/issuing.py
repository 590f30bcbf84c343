"""Real certificates, made and signed with the package ``cryptography``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

START, END = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2035, 1, 2, 3, 4, 5, tzinfo=UTC)

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey


@cache
def key(kind: str) -> Key:
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))  # the same certificates in every run
    if kind == "ed448":
        return ed448.Ed448PrivateKey.generate()
    if kind == "dsa":
        return dsa.generate_private_key(1024)  # type: ignore[return-value]
    return ec.generate_private_key({"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}[kind])


def named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def issue(
    *,
    kind: str = "p256",
    signer: str | None = None,
    digest: HashAlgorithm | None = None,
    subject: x509.Name | None = None,
    issuer: x509.Name | None = None,
    names: Sequence[x509.GeneralName] = (),
    serial: int = 7,
    start: datetime = START,
    end: datetime = END,
    extensions: Sequence[x509.ExtensionType] = (),
    **signing: object,
) -> x509.Certificate:
    """``signer`` is the kind of the issuer's key; without it the certificate signs itself."""
    subject = named("subject") if subject is None else subject
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer)
        .public_key(key(kind).public_key())
        .serial_number(serial)
        .not_valid_before(start)
        .not_valid_after(end)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    signer = signer or kind
    if not signer.startswith("ed"):
        digest = digest or SHA256()
    return builder.sign(key(signer), digest, **signing)  # type: ignore[arg-type]


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def dns_names(der: bytes) -> list[str]:
    """The DNS names in a certificate."""
    names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return names.value.get_values_for_type(x509.DNSName)
