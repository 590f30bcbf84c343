r"""The ``SSL_*`` variables of a request, named and written as Apache's mod_ssl does ("Environment Variables" there).

Those of the session are made here, those of certificates in :mod:`reserve.ssl.certificate`. Runs on any thread; plain
functions, nothing remembered.

Every value is safe in a WSGI environ: text is the bytes of UTF-8 as characters of latin-1 (PEP 3333), and a control
character from a certificate or a client becomes ``\0A``; only PEM has line ends. A backslash is escaped with another
one; in a whole name (``SSL_CLIENT_S_DN``) so are the characters that RFC 2253 section 2.4 lists.
"""

from __future__ import annotations

__all__ = ["CONTROLS", "escaped", "pem", "session_variables", "wsgi_text"]

CONTROLS = {code: f"\\{code:02X}" for code in (*range(0x20), 0x7F)} | {ord("\\"): "\\\\"}
"""The escapes of control characters and of the backslash, for ``str.translate``."""


def session_variables(
    *,
    protocol: str,
    cipher: str,
    bits: int,
    server_name: str | None,
    session_id: bytes | None,
    resumed: bool,
    alpn: str | None,
) -> dict[str, str]:
    """The variables of what the handshake agreed on.

    :param protocol: as OpenSSL spells it: "TLSv1.3".
    :param bits: the secret bits of the cipher.
    :param server_name: what the client sent (SNI), if it did.
    :param alpn: the protocol agreed on; it becomes ``SSL_TLS_ALPN``, which is ours: mod_ssl has no name for it.

    What is None or empty has no variable. ``SSL_SECURE_RENEG`` is always "false": renegotiation is never allowed.
    ``SSL_CIPHER_EXPORT`` is always "false": OpenSSL has had no such cipher since 1.1.0.
    """
    variables = {
        "HTTPS": "on",
        "SSL_PROTOCOL": protocol,
        "SSL_CIPHER": cipher,
        "SSL_CIPHER_EXPORT": "false",
        "SSL_CIPHER_USEKEYSIZE": str(bits),
        "SSL_CIPHER_ALGKEYSIZE": str(bits),
        "SSL_COMPRESS_METHOD": "NULL",
        "SSL_SECURE_RENEG": "false",
        "SSL_SESSION_RESUMED": "Resumed" if resumed else "Initial",
    }
    if session_id:
        variables["SSL_SESSION_ID"] = session_id.hex()
    if server_name:
        variables["SSL_TLS_SNI"] = escaped(server_name)
    if alpn:
        variables["SSL_TLS_ALPN"] = escaped(alpn)
    return variables  # the others come from the library; escaping them took longer than everything else here


def pem(der: bytes) -> str:
    """A certificate in PEM (RFC 7468)."""
    from ssl import DER_cert_to_PEM_cert  # here: it brings in OpenSSL, and pyOpenSSL has one of its own

    return DER_cert_to_PEM_cert(der)


def escaped(text: str) -> str:
    """Text from a certificate or a client as a value of the environ."""
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text  # as nearly every text, and this is asked for each connection
    return wsgi_text(text.translate(CONTROLS))


def wsgi_text(text: str) -> str:
    """Text as PEP 3333 requires it: its UTF-8 bytes, each as the character of latin-1."""
    return text.encode("utf-8", "backslashreplace").decode("latin-1")
