r"""The ``SSL_*`` variables of a request, named and written as Apache's mod_ssl does ("Environment Variables" there).

Runs on any thread; plain functions, no clock, nothing remembered. What belongs to a connection may be made once for it;
only ``SSL_CLIENT_V_REMAIN`` changes with time.

Every value is safe in a WSGI environ: text is UTF-8 shown as latin-1 (PEP 3333), and no control character survives from
a certificate or a client; the one exception are the line ends inside PEM. In a whole name (``SSL_CLIENT_S_DN``) a
control character becomes ``\0A`` and the characters that RFC 2253 section 2.4 names get a backslash; in a single part
of it (``SSL_CLIENT_S_DN_CN``), and everywhere else, only control characters and the backslash are escaped. Where
mod_ssl writes ``UNKNOWN`` for an algorithm without a name, the object identifier stands here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from reserve.errors import UsageError
from reserve.ssl.pem import to_pem
from reserve.ssl.x509 import Attribute, Certificate, Name

__all__ = ["client_variables", "server_variables", "session_variables"]

_CONTROLS = {code: f"\\{code:02X}" for code in (*range(0x20), 0x7F)} | {ord("\\"): "\\\\"}
_SPECIAL = _CONTROLS | {ord(character): f"\\{character}" for character in ',+"<>;'}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_PROTOCOLS = {"TLSv1.0": "TLSv1", "TLS 1.0": "TLSv1", "TLS 1.1": "TLSv1.1", "TLS 1.2": "TLSv1.2", "TLS 1.3": "TLSv1.3"}

_PARTS = {
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
"""The parts of a name that get a variable of their own, and how mod_ssl calls them."""

SHORTEST_KEY = 56
"""Bits. A cipher with fewer was made for export; mod_ssl draws the line here."""


def session_variables(
    *,
    protocol: str,
    cipher: str,
    use_bits: int,
    algorithm_bits: int,
    server_name: str | None,
    session_id: bytes | None,
    resumed: bool,
    alpn: str | None,
    interface: str | None = None,
    library: str | None = None,
) -> dict[str, str]:
    """What the handshake agreed on.

    :param protocol: as the ``ssl`` module spells it: "TLSv1.3".
    :param use_bits: the secret bits of the cipher; ``algorithm_bits``: the bits that its algorithm has.
    :param server_name: what the client sent (SNI), if it did.
    :param alpn: the protocol agreed on; it becomes ``SSL_TLS_ALPN``, which is ours: mod_ssl has no name for it.
    :param interface: the program, "reserve/1.0"; ``library``: the TLS library, "OpenSSL 3.0.19 27 Jan 2026".

    What is None or empty has no variable. ``SSL_SECURE_RENEG`` is always "false": renegotiation is never allowed.
    """
    variables = {
        "HTTPS": "on",
        "SSL_PROTOCOL": _PROTOCOLS.get(protocol, protocol),
        "SSL_CIPHER": cipher,
        "SSL_CIPHER_EXPORT": "true" if use_bits < SHORTEST_KEY else "false",
        "SSL_CIPHER_USEKEYSIZE": str(use_bits),
        "SSL_CIPHER_ALGKEYSIZE": str(algorithm_bits),
        "SSL_COMPRESS_METHOD": "NULL",
        "SSL_SECURE_RENEG": "false",
        "SSL_SESSION_RESUMED": "Resumed" if resumed else "Initial",
    }
    if session_id:
        variables["SSL_SESSION_ID"] = session_id.hex()
    if interface:
        variables["SSL_VERSION_INTERFACE"] = interface
    if library:
        variables["SSL_VERSION_LIBRARY"] = "/".join(library.split()[:2])
    if server_name:
        variables["SSL_TLS_SNI"] = _plain(server_name)
    if alpn:
        variables["SSL_TLS_ALPN"] = _plain(alpn)
    return variables  # the rest are words of the library's: escaping them took longer than all else here


def server_variables(certificate: Certificate) -> dict[str, str]:
    """``SSL_SERVER_*``: what the certificate that the client was shown says."""
    return _certificate_variables("SSL_SERVER_", certificate)


def client_variables(
    certificate: Certificate | None, chain: Sequence[Certificate], *, verify: str, now: datetime
) -> dict[str, str]:
    """``SSL_CLIENT_*``: who the client is.

    :param certificate: the client's own, None when it sent none; only ``SSL_CLIENT_VERIFY`` is left then.
    :param chain: the certificates that came behind it, in the order they came.
    :param verify: "NONE" (no certificate), "SUCCESS", "GENEROUS" (a certificate that nobody checked) or
        "FAILED:" and the reason.
    :param now: an aware time; ``SSL_CLIENT_V_REMAIN`` counts the begun days from it to the end of the validity.
    :raises UsageError: ``verify`` is none of these, or contradicts ``certificate``.
    """
    absent = certificate is None
    if not (verify.startswith("FAILED:") or (verify == "NONE" if absent else verify in ("SUCCESS", "GENEROUS"))):
        raise UsageError(f"verify={verify[:40]!r} {'without' if absent else 'with'} a client's certificate")
    variables = {"SSL_CLIENT_VERIFY": _plain(verify)}
    if certificate is None:
        return variables
    variables |= _certificate_variables("SSL_CLIENT_", certificate)
    # mod_ssl counts from the day after the last; 9999-12-31 has none, so the day is added to the difference.
    remaining = certificate.not_after - now + timedelta(days=1)
    variables["SSL_CLIENT_V_REMAIN"] = str(max(remaining.days, 0))
    variables["SSL_CLIENT_CERT_RFC4523_CEA"] = (
        f'{{ serialNumber {certificate.serial}, issuer rdnSequence:"{_name(certificate.issuer_name)}" }}'
    )
    for number, issuer in enumerate(chain):
        variables[f"SSL_CLIENT_CERT_CHAIN_{number}"] = to_pem(issuer.der)
    return variables


def _certificate_variables(prefix: str, certificate: Certificate) -> dict[str, str]:
    variables = {
        f"{prefix}M_VERSION": str(certificate.version),
        f"{prefix}M_SERIAL": _serial(certificate.serial),
        f"{prefix}V_START": _time(certificate.not_before),
        f"{prefix}V_END": _time(certificate.not_after),
        f"{prefix}S_DN": _name(certificate.subject_name),
        f"{prefix}I_DN": _name(certificate.issuer_name),
        f"{prefix}A_KEY": certificate.key_algorithm,
        f"{prefix}A_SIG": certificate.signature_algorithm,
        f"{prefix}CERT": to_pem(certificate.der),
    }
    variables |= _parts(f"{prefix}S_DN_", certificate.subject)
    variables |= _parts(f"{prefix}I_DN_", certificate.issuer)
    for kind, names in (("Email", certificate.email_addresses), ("DNS", certificate.dns_names)):
        for number, name in enumerate(names):
            variables[f"{prefix}SAN_{kind}_{number}"] = _plain(name)
    return variables


def _parts(prefix: str, pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """One variable for each part: the first of a kind has no number, the second ends in ``_1``."""
    variables: dict[str, str] = {}
    seen: dict[str, int] = {}
    for name, value in pairs:
        part = _PARTS.get(name)
        if part is not None:
            number = seen.get(part, 0)
            seen[part] = number + 1
            variables[f"{prefix}{part}_{number}" if number else f"{prefix}{part}"] = _plain(value)
    return variables


def _name(name: Name) -> str:
    """RFC 2253: the last relative name first, as OpenSSL's ``-nameopt RFC2253,-esc_msb`` writes it."""
    return _native(",".join("+".join(map(_attribute, reversed(relative_name))) for relative_name in reversed(name)))


def _attribute(attribute: Attribute) -> str:
    name, value, encoded = attribute
    if not attribute.is_text or name[0].isdigit():  # RFC 2253 section 2.4: a type without a name, or not a string
        return f"{name}=#{encoded.hex().upper()}"
    text = value.translate(_SPECIAL)
    if value[:1] in (" ", "#"):
        text = f"\\{text}"
    if value[-1:] == " " and len(value) > 1:
        text = f"{text[:-1]}\\ "
    return f"{name}={text}"


def _plain(text: str) -> str:
    return _native(text.translate(_CONTROLS))


def _native(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("latin-1")


def _serial(serial: int) -> str:
    digits = f"{abs(serial):X}"
    return f"{'-' if serial < 0 else ''}{'0' if len(digits) % 2 else ''}{digits}"


def _time(time: datetime) -> str:
    return f"{_MONTHS[time.month - 1]} {time.day:2} {time:%H:%M:%S} {time.year} GMT"
