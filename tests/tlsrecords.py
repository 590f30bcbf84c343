"""Records that no TLS library makes, in the clear and encrypted with a client's keys."""

from __future__ import annotations

import hashlib
import socket
import struct
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from tests import tls

ALERT, HANDSHAKE, APPLICATION_DATA = 21, 22, 23
"""The types of records (RFC 8446 section 5.1)."""


def record(kind: int, content: bytes, version: int = 0x0303) -> bytes:
    """A record in the clear."""
    return struct.pack(">BHH", kind, version, len(content)) + content


FATAL_ALERT = record(ALERT, b"\x02\x28")  # handshake_failure


class ClientKeys:
    """The sending side of a TLS 1.3 client, which encrypts any record (RFC 8446 sections 5.2 and 7).

    :param secret: the client's first traffic secret.
    """

    def __init__(self, secret: bytes) -> None:
        self._use(secret)

    def _use(self, secret: bytes) -> None:
        self._secret = secret
        self._cipher = AESGCM(self._expand("key", 32))
        self._nonce = int.from_bytes(self._expand("iv", 12), "big")
        self._number = 0

    def _expand(self, label: str, size: int) -> bytes:
        name = b"tls13 " + label.encode()
        info = struct.pack(">HB", size, len(name)) + name + b"\0"
        return HKDFExpand(SHA384(), size, info).derive(self._secret)

    def record(self, content: bytes, kind: int = APPLICATION_DATA) -> bytes:
        """An encrypted record."""
        inner = content + bytes([kind])
        header = struct.pack(">BHH", APPLICATION_DATA, 0x0303, len(inner) + 16)
        nonce = (self._nonce ^ self._number).to_bytes(12, "big")
        self._number += 1
        return header + self._cipher.encrypt(nonce, inner, header)

    def key_update(self, *, requested: bool) -> bytes:
        """A KeyUpdate; what follows is encrypted with the next keys.

        :param requested: it requests one of the server's.
        """
        update = self.record(b"\x18\x00\x00\x01" + bytes([requested]), HANDSHAKE)
        self._use(self._expand("traffic upd", hashlib.sha384().digest_size))
        return update


def handshake_with_keys(client: socket.socket, folder: Path) -> tuple[ClientKeys, tls.MemoryTLSClient]:
    """Do a TLS 1.3 handshake through a socket; the client's keys, and the client.

    :param folder: for a file with the keys, which is deleted.
    """
    context = tls.client_context("1.3")
    log = folder / "keys"
    context.keylog_filename = str(log)
    memory_client = tls.MemoryTLSClient(context)
    memory_client.handshake(client)
    context.keylog_filename = None  # type: ignore[assignment]  # closes the file
    cipher = memory_client.tls.cipher()
    assert cipher is not None
    assert cipher[0] == "TLS_AES_256_GCM_SHA384"
    lines = dict((line.split()[0], line.split()[2]) for line in log.read_text().splitlines() if line[0] != "#")
    log.unlink()
    return ClientKeys(bytes.fromhex(lines["CLIENT_TRAFFIC_SECRET_0"])), memory_client
