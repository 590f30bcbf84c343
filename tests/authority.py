"""``Authority``: issues certificates for tests, revokes them, and makes clients that trust it."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

_START, _END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC)


class Files(NamedTuple):
    """The paths of one certificate, of its key, and of a file with both."""

    cert: str
    key: str
    both: str


class Authority:
    """An authority for tests. Each file is replaced in one step, so that a reader never gets a part of it.

    :param folder: where its files are.
    :ivar pem: the path of its own certificate.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ca = trustme.CA()
        self.pem = self._write("ca.pem", self._ca.cert_pem.bytes())

    def issue(self, name: str, *identities: str, **options: Any) -> Files:
        """Make the files ``name.*`` for these host names, IP addresses or e-mail addresses."""
        issued = self._ca.issue_cert(*identities, **options)
        return Files(
            cert=self._write(f"{name}.crt", b"".join(blob.bytes() for blob in issued.cert_chain_pems)),
            key=self._write(f"{name}.key", issued.private_key_pem.bytes()),
            both=self._write(f"{name}.pem", issued.private_key_and_cert_chain_pem.bytes()),
        )

    def revoke(self, *revoked: Files) -> str:
        """Write the list of revoked certificates: these, and no others. Returns its path."""
        issuer = x509.load_pem_x509_certificate(self._ca.cert_pem.bytes())
        builder = (
            x509.CertificateRevocationListBuilder().issuer_name(issuer.subject).last_update(_START).next_update(_END)
        )
        for files in revoked:
            serial = x509.load_pem_x509_certificate(Path(files.cert).read_bytes()).serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_START).build()
            builder = builder.add_revoked_certificate(entry)
        key = load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        return self._write("crl.pem", builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))  # type: ignore[arg-type]

    def client(self, certificate: Files | None = None, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """A client that trusts this authority and no other. ``version``: the only one that it has."""
        context = ssl.create_default_context(cafile=self.pem)
        if version is not None:
            context.minimum_version = context.maximum_version = version
        if certificate is not None:
            context.load_cert_chain(certificate.both)
        return context

    def _write(self, name: str, content: bytes) -> str:
        path, temporary = self._folder / name, self._folder / f"{name}.new"
        temporary.write_bytes(content)
        os.replace(temporary, path)
        return str(path)
