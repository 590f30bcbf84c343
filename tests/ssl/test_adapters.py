"""Every adapter passes the suite that is shipped; and what only one client or a look inside can show."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL

from reserve.errors import StartupError, TLSError, UsageError, WantRead
from reserve.ssl import BuiltinSSLAdapter, CertificateFiles, PyOpenSSLAdapter, SSLAdapter, TLSSocket
from reserve.ssl.builtinsession import BuiltinSession
from reserve.ssl.certadapter import CertificateAdapter
from reserve.ssl.clienthello import ClientHello
from reserve.testing import AdapterSuite, check_adapter
from reserve.testing.adaptersuite.link import Link
from tests.authority import Authority, Files
from tests.ssl.plainadapter import PlainAdapter

ADAPTERS: list[type[CertificateAdapter[Any]]] = [BuiltinSSLAdapter, PyOpenSSLAdapter]
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]

both_adapters = pytest.mark.parametrize("adapter", ADAPTERS)
both_versions = pytest.mark.parametrize("version", VERSIONS)
early_and_late = pytest.mark.parametrize("early", [True, False], ids=["the hello is there", "the hello is to come"])


@contextlib.contextmanager
def linked(adapter: SSLAdapter, client: ssl.SSLContext | None, name: str | None = None) -> Iterator[Link]:
    """A connection before its handshake; ``name`` is what the client asks for."""
    link = Link(adapter, client)
    if client is not None and name is not None:
        link.tls = client.wrap_bio(link._incoming, link._outgoing, server_hostname=name)
    try:
        yield link
    finally:
        link.close()


@contextlib.contextmanager
def spoken_to(adapter: SSLAdapter, hello: bytes, early: bool) -> Iterator[tuple[socket.socket, TLSSocket]]:
    """A client's end, and the session to which it has said ``hello``, before or after that was begun."""
    wire, server = socket.socketpair()
    with wire, server:
        server.setblocking(False)
        if early:
            wire.sendall(hello)
        secure = adapter.secure(server)
        if not early:
            wire.sendall(hello)
        with secure:
            yield wire, secure


def agreed(
    adapter: SSLAdapter, client: ssl.SSLContext, name: str, session: ssl.SSLSession | None
) -> tuple[dict[str, str], ssl.SSLSession]:
    """What an application is told of a client that asks for ``name`` and may resume, and how it may the next time."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client.wrap_bio(incoming, outgoing, server_hostname=name, session=session)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    with spoken_to(adapter, outgoing.read(), True) as (wire, secure):
        wire.setblocking(False)
        for _ in range(4):  # both sides at least as often as they have a flight
            with contextlib.suppress(WantRead):
                secure.handshake_now()
            with contextlib.suppress(BlockingIOError):
                incoming.write(wire.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            wire.sendall(outgoing.read())
        secure.send_now(b"x")
        incoming.write(wire.recv(65536))
        assert tls.read(10) == b"x"  # the tickets of TLS 1.3 came before it
        told = secure.environ()
    assert tls.session is not None
    return told, tls.session


def prepared(adapter: SSLAdapter, *protocols: str) -> SSLAdapter:
    adapter.prepare(protocols)
    return adapter


def shown(link: Link) -> list[str]:
    names = x509.load_der_x509_certificate(link.tls.getpeercert(True)).extensions
    return names.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)


# ---- the suite ----


@pytest.mark.parametrize("name", AdapterSuite.names())
@both_adapters
def test_an_adapter_passes(
    adapter: type[CertificateAdapter[Any]], name: str, certificate: Files, other_certificate: Files
) -> None:
    AdapterSuite(adapter, certificate[:2], other_certificate[:2]).run(name)


def test_what_encrypts_nothing_passes_what_fits(certificate: Files, other_certificate: Files) -> None:
    check_adapter(PlainAdapter, certificate[:2], other_certificate[:2], encrypts=False)


class OverlooksEnds(BuiltinSession):
    def read(self, size: int) -> bytes:
        try:
            return super().read(size)
        except ConnectionAbortedError:
            return b""


class SaysNoGoodbye(BuiltinSession):
    def close_notify(self) -> None:
        """Nothing."""


class HidesWhatIsPending(BuiltinSession):
    def pending(self) -> int:
        return 0


class Blocks(BuiltinSession):
    def handshake(self) -> None:
        self.socket.settimeout(0.2)
        try:
            super().handshake()
        except TimeoutError:
            raise TLSError("too late") from None
        finally:
            self.socket.settimeout(0)


class TakesTwice(BuiltinSession):
    def write(self, data: bytes | memoryview) -> int:
        return min(super().write(data), 16000)


class KnowsNothingOfResumption(BuiltinSession):
    def resumed(self) -> bool:
        return False


class RefersToItself(BuiltinSession):
    __slots__ = ("me",)

    def __init__(self, choose: Callable[[ClientHello], ssl.SSLContext], sock: socket.socket) -> None:
        super().__init__(choose, sock)
        self.me = self


class MistakesErrors(BuiltinSession):
    def read(self, size: int) -> bytes:
        try:
            return super().read(size)
        except TLSError as error:
            raise ConnectionResetError(str(error)) from None


@pytest.mark.parametrize(
    ("session", "check"),
    [
        (OverlooksEnds, "a_cut_is_no_end"),
        (SaysNoGoodbye, "we_say_close_notify"),
        (HidesWhatIsPending, "what_was_decrypted_is_pending"),
        (Blocks, "handshake_byte_by_byte"),
        (TakesTwice, "writes_into_a_full_buffer"),
        (KnowsNothingOfResumption, "sessions_resume"),
        (RefersToItself, "no_cycle_is_left"),
        (MistakesErrors, "garbage_after_the_handshake"),
    ],
)
def test_the_suite_finds_a_broken_session(
    session: type[BuiltinSession], check: str, certificate: Files, other_certificate: Files
) -> None:
    class Broken(BuiltinSSLAdapter):
        def make_session(self, context: Any, sock: socket.socket) -> Any:
            return session(lambda _: context, sock)

    suite = AdapterSuite(Broken, certificate[:2], other_certificate[:2])
    with pytest.raises((AssertionError, OSError)):
        suite.run(check)
    with pytest.raises(AssertionError, match="does not pass"):
        check_adapter(Broken, certificate[:2], other_certificate[:2])


def test_the_suite_finds_a_reload_that_does_nothing(certificate: Files, other_certificate: Files) -> None:
    class Broken(BuiltinSSLAdapter):
        def reload(self) -> None:
            if self._default is None:
                super().reload()

    with pytest.raises(AssertionError, match="new_certificates"):
        check_adapter(Broken, certificate[:2], other_certificate[:2])
    check_adapter(Broken, certificate[:2], other_certificate[:2], reloads=False)


# ---- names, protocols, versions ----


@both_adapters
@both_versions
def test_the_name_that_is_asked_for_chooses_the_certificate(
    adapter: type[CertificateAdapter[Any]],
    version: ssl.TLSVersion,
    authority: Authority,
    certificate: Files,
    other_certificate: Files,
) -> None:
    server = prepared(adapter([CertificateFiles(cert=one.both) for one in (certificate, other_certificate)]))
    client = authority.client(version=version)
    client.check_hostname = False
    for name, expected, sni in [
        ("localhost", "localhost", "localhost"),
        ("other.example", "other.example", "other.example"),
        ("OTHER.example", "other.example", "OTHER.example"),
        ("a.wild.example", "other.example", "a.wild.example"),
        ("a.b.wild.example", "localhost", "a.b.wild.example"),
        ("unknown.example", "localhost", "unknown.example"),
        (None, "localhost", None),
    ]:
        with linked(server, client, name) as link:
            told = link.shake().secure.environ()
            assert expected in shown(link), name
            assert told.get("SSL_TLS_SNI") == sni
            assert told["SSL_SERVER_SAN_DNS_0"] == expected


@both_adapters
@early_and_late
def test_a_name_that_is_no_text_gets_an_alert_or_the_first_certificate(
    adapter: type[CertificateAdapter[Any]], early: bool, certificate: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The standard library's own callback would complain on stderr, through ``sys.unraisablehook``."""
    complaints: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    server = prepared(adapter(certificate.both))
    connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))
    connection.set_tlsext_host_name(b"\xff\xfe.example")
    connection.set_connect_state()
    with contextlib.suppress(SSL.WantReadError):
        connection.do_handshake()
    with spoken_to(server, connection.bio_read(65536), early) as (wire, secure):
        if adapter is BuiltinSSLAdapter:
            with pytest.raises(TLSError, match=r"the server name b'\\xff\\xfe.example' is not in ASCII"):
                secure.handshake_now()
            connection.bio_write(wire.recv(65536))
            with pytest.raises(SSL.Error, match="illegal parameter"):
                connection.do_handshake()
        else:
            with pytest.raises(WantRead):
                secure.handshake_now()
            connection.bio_write(wire.recv(65536))
            connection.do_handshake()
            wire.sendall(connection.bio_read(65536))
            secure.handshake_now()
            assert secure.environ()["SSL_TLS_SNI"] == "\\\\xff\\\\xfe.example"
    assert complaints == []


@both_adapters
@both_versions
def test_nobody_resumes_what_was_agreed_on_under_another_certificate(
    adapter: type[CertificateAdapter[Any]], version: ssl.TLSVersion, certificate: Files, other_certificate: Files
) -> None:
    """RFC 6066 section 3. With each of the two as the first one."""
    both = [CertificateFiles(cert=one.both) for one in (certificate, other_certificate)]
    client = _trusting()
    client.minimum_version = client.maximum_version = version
    for certificates in (both, both[::-1]):
        server = prepared(adapter(certificates))
        for name, again in itertools.permutations(("localhost", "other.example"), 2):
            _, earlier = agreed(server, client, name, None)
            told, _ = agreed(server, client, again, earlier)
            assert (told["SSL_SESSION_RESUMED"], told["SSL_TLS_SNI"]) == ("Initial", again)
            assert told["SSL_SERVER_SAN_DNS_0"] == again
            told, _ = agreed(server, client, name, earlier)
            assert (told["SSL_SESSION_RESUMED"], told["SSL_TLS_SNI"]) == ("Resumed", name)
            assert told["SSL_SERVER_SAN_DNS_0"] == name


@both_adapters
@both_versions
def test_the_first_protocol_of_the_server_that_the_client_knows_is_chosen(
    adapter: type[CertificateAdapter[Any]], version: ssl.TLSVersion, certificate: Files, authority: Authority
) -> None:
    for offered, chosen in [(["b", "a"], "a"), (["x", "b"], "b"), ([], None)]:
        server = prepared(adapter(certificate.both), "a", "b")
        client = authority.client(version=version)
        client.set_alpn_protocols(offered)
        with linked(server, client, "localhost") as link:
            told = link.shake().secure.environ()
            assert link.tls.selected_alpn_protocol() == chosen
            assert told.get("SSL_TLS_ALPN") == chosen
    own = prepared(adapter(certificate.both, protocols=("mine",)), "a", "b")
    client.set_alpn_protocols(["a", "mine"])
    with linked(own, client, "localhost") as link:
        link.shake()
        assert link.tls.selected_alpn_protocol() == "mine"
    with linked(
        prepared(adapter(certificate.both)), client, "localhost"
    ) as link:  # nothing is asked, nobody is refused
        link.shake()
        assert link.tls.selected_alpn_protocol() is None


@both_adapters
@both_versions
def test_a_client_that_speaks_none_of_our_protocols_gets_an_alert(
    adapter: type[CertificateAdapter[Any]], version: ssl.TLSVersion, certificate: Files, authority: Authority
) -> None:
    """RFC 7301 section 3.2."""
    client = authority.client(version=version)
    client.set_alpn_protocols(["x\n", "y"])
    with linked(prepared(adapter(certificate.both), "a", "b"), client, "localhost") as link:
        link.wire.sendall(link.speak())
        with pytest.raises(TLSError, match=r"the client wants to speak b'x\\n, y', and only a, b is spoken"):
            link.step()
        link.listen()
        with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
            link.speak()


@both_adapters
def test_the_lowest_version_and_the_ciphers_are_kept_to(
    adapter: type[CertificateAdapter[Any]], certificate: Files, authority: Authority
) -> None:
    server = prepared(adapter(certificate.both, min_version="1.3"))
    with linked(server, authority.client(version=ssl.TLSVersion.TLSv1_2), "localhost") as link:
        link.wire.sendall(link.speak())
        with pytest.raises(TLSError, match=r"version|protocol"):
            link.step()
    server = prepared(adapter(certificate.both, ciphers="ECDHE-ECDSA-CHACHA20-POLY1305"))
    with linked(server, authority.client(version=ssl.TLSVersion.TLSv1_2), "localhost") as link:
        assert link.shake().secure.environ()["SSL_CIPHER"] == "ECDHE-ECDSA-CHACHA20-POLY1305"
        assert link.secure.environ()["SSL_PROTOCOL"] == "TLSv1.2"
    client = authority.client(version=ssl.TLSVersion.TLSv1_2)
    client.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    with linked(server, client, "localhost") as link:
        link.wire.sendall(link.speak())
        with pytest.raises(TLSError, match="no shared cipher"):
            link.step()


@both_adapters
def test_a_client_cannot_renegotiate(adapter: type[CertificateAdapter[Any]], certificate: Files) -> None:
    server = prepared(adapter(certificate.both))
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    client = SSL.Connection(context)
    client.set_connect_state()
    with linked(server, None) as link:
        for _ in range(3):
            with contextlib.suppress(SSL.WantReadError):
                client.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                link.wire.sendall(client.bio_read(65536))
            link.step()
            with contextlib.suppress(BlockingIOError):
                client.bio_write(link.wire.recv(65536))
        assert client.renegotiate()
        with contextlib.suppress(SSL.WantReadError):
            client.do_handshake()
        link.wire.sendall(client.bio_read(65536))
        with contextlib.suppress(WantRead):  # a warning alert is the answer; or the connection ends
            assert link.secure.recv_now(10) != b""
        client.bio_write(link.wire.recv(65536))
        with pytest.raises(SSL.Error, match="no renegotiation"):
            client.do_handshake()


# ---- clients' certificates ----


def _handshake(server: SSLAdapter, client: ssl.SSLContext) -> dict[str, str]:
    with linked(server, client, "localhost") as link:
        return link.shake().secure.environ()


@both_adapters
@both_versions
def test_clients_certificates(
    adapter: type[CertificateAdapter[Any]],
    version: ssl.TLSVersion,
    certificate: Files,
    authority: Authority,
    tmp_path: Path,
) -> None:
    known = authority.issue("client", "me@example.org")
    stranger = Authority(tmp_path).issue("stranger", "you@example.org")
    none, with_it = authority.client(version=version), authority.client(known, version)
    with_strange = authority.client(stranger, version)

    assert "SSL_CLIENT_VERIFY" not in _handshake(prepared(adapter(certificate.both)), with_it)

    optional = prepared(adapter(certificate.both, client_cert="optional", client_ca=authority.pem))
    assert _handshake(optional, none)["SSL_CLIENT_VERIFY"] == "NONE"
    told = _handshake(optional, with_it)
    assert told["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert told["SSL_CLIENT_SAN_Email_0"] == "me@example.org"
    assert told["SSL_CLIENT_CERT"].startswith("-----BEGIN CERTIFICATE-----\n")
    with pytest.raises(TLSError, match="certificate verify failed"):
        _handshake(optional, with_strange)

    required = prepared(adapter(certificate.both, client_cert="required", client_ca=authority.pem))
    assert _handshake(required, with_it)["SSL_CLIENT_VERIFY"] == "SUCCESS"
    with pytest.raises(TLSError, match="peer did not return a certificate"):
        _handshake(required, none)


@both_adapters
@both_versions
def test_revoked_certificates_are_refused_and_a_new_list_is_taken(
    adapter: type[CertificateAdapter[Any]],
    version: ssl.TLSVersion,
    certificate: Files,
    authority: Authority,
) -> None:
    issued = [authority.issue(name, f"{name}@x.org") for name in ("good", "bad")]
    good, bad = (authority.client(files, version) for files in issued)
    server = prepared(
        adapter(certificate.both, client_cert="required", client_ca=authority.pem, crl=authority.revoke())
    )
    for client in (good, bad):
        assert _handshake(server, client)["SSL_CLIENT_VERIFY"] == "SUCCESS"
    authority.revoke(issued[1])
    assert server.changed()
    server.reload()
    assert _handshake(server, good)["SSL_CLIENT_VERIFY"] == "SUCCESS"
    with pytest.raises(TLSError, match="certificate verify failed"):
        _handshake(server, bad)


# ---- files ----


@pytest.fixture
def encrypted(certificate: Files, tmp_path: Path) -> Files:
    key = serialization.load_pem_private_key(Path(certificate.key).read_bytes(), None)
    path = tmp_path / "encrypted.key"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"open sesame"),
        )
    )
    return Files(certificate.cert, str(path), "")


@both_adapters
@pytest.mark.parametrize("password", ["open sesame", b"open sesame", lambda: "open sesame"])
def test_an_encrypted_key(adapter: type[CertificateAdapter[Any]], encrypted: Files, password: Any) -> None:
    assert _handshake(prepared(adapter(encrypted.cert, encrypted.key, password)), _trusting())["HTTPS"] == "on"


@both_adapters
def test_a_password_that_is_not_needed_is_no_mistake(
    adapter: type[CertificateAdapter[Any]], certificate: Files
) -> None:
    assert _handshake(prepared(adapter(certificate.cert, certificate.key, "unused")), _trusting())["HTTPS"] == "on"


def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@both_adapters
def test_files_that_cannot_be_used(
    adapter: type[CertificateAdapter[Any]],
    authority: Authority,
    certificate: Files,
    other_certificate: Files,
    encrypted: Files,
    tmp_path: Path,
) -> None:
    garbage, mixed = tmp_path / "garbage.pem", tmp_path / "mixed.pem"
    garbage.write_bytes(b"garbage")
    # Whoever wrote it would trust a stranger's authority without knowing.
    mixed.write_bytes(Path(authority.revoke()).read_bytes() + Path(other_certificate.cert).read_bytes())
    missing = str(tmp_path / "missing.pem")
    for arguments, options, expected in [
        ((missing, certificate.key), {}, "missing.pem .--tls-cert. cannot be read: No such file"),
        ((certificate.cert, missing), {}, "missing.pem .*cannot be read: No such file"),
        ((garbage, certificate.key), {}, "garbage.pem .--tls-cert. holds no certificate"),
        ((certificate.cert, garbage), {}, "garbage.pem .--tls-key. holds no private key in PEM"),
        ((certificate.cert,), {}, "localhost.crt .--tls-cert. holds no private key in PEM; --tls-key"),
        (
            (certificate.cert, other_certificate.key),
            {},
            "other.key .--tls-key. does not belong to .*localhost.crt .--tls-cert.",
        ),
        ((encrypted.cert, encrypted.key), {}, "encrypted, and no password was given"),
        ((encrypted.cert, encrypted.key, "wrong"), {}, "does not open the private key .*encrypted.key .--tls-key."),
        ((certificate.both,), {"ciphers": "NONSENSE"}, "knows no cipher of 'NONSENSE'"),
        (
            (certificate.both,),
            {"client_cert": "required", "client_ca": missing},
            "missing.pem .--tls-client-ca. cannot be used for clients.*No such",
        ),
        (
            (certificate.both,),
            {"client_cert": "required", "client_ca": str(garbage)},
            "garbage.pem .--tls-client-ca. cannot be used for clients",
        ),
        (
            (certificate.both,),
            {"client_cert": "required", "client_ca": certificate.cert, "crl": str(garbage)},
            "garbage.pem .--tls-crl. cannot be used for clients.* no PEM block X509 CRL",
        ),
        (
            (certificate.both,),
            {"client_cert": "required", "client_ca": certificate.cert, "crl": str(mixed)},
            "mixed.pem .--tls-crl. cannot be used for clients.* a certificate in it; authorities belong to",
        ),
    ]:
        with pytest.raises(StartupError, match=expected):
            prepared(adapter(*arguments, **options))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="did you mean 'ciphers'"):
        adapter(certificate.both, cipher="x")


@both_adapters
def test_a_session_before_the_certificate_is_refused(
    adapter: type[CertificateAdapter[Any]], certificate: Files
) -> None:
    one, two = socket.socketpair()
    with one, two, pytest.raises(UsageError, match=r"prepare\(\) comes before"):
        adapter(certificate.both).secure(one)


@both_adapters
def test_a_link_to_the_files_may_be_turned(
    adapter: type[CertificateAdapter[Any]], certificate: Files, other_certificate: Files, tmp_path: Path
) -> None:
    """As the programs do that keep every certificate and let a link show the newest."""
    link = tmp_path / "current.pem"
    link.symlink_to(certificate.both)
    server = prepared(adapter(link))
    link.unlink()
    link.symlink_to(other_certificate.both)
    assert server.changed()
    server.reload()
    with linked(server, _trusting()) as made:
        assert "other.example" in shown(made.shake())


def test_what_is_missing_is_named_when_pyopenssl_is_not_installed(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parents[2] / "reserve", tmp_path / "reserve")
    (tmp_path / "OpenSSL.py").write_text("raise ImportError('not here')")
    code = "import reserve.ssl as s\ntry: s.PyOpenSSLAdapter\nexcept Exception as e: print(type(e).__name__, e)"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert found.stdout.startswith("StartupError PyOpenSSLAdapter needs pyOpenSSL"), found.stderr
    assert "pip install 'reserve[pyopenssl]'" in found.stdout


@both_adapters
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_the_peer_sends_is_received_after_our_half_is_closed(
    adapter: type[CertificateAdapter[Any]], when: str, certificate: Files
) -> None:
    with linked(prepared(adapter(certificate.both)), _trusting()) as link:
        link.shake()
        sent = link.encrypt(b"still here")
        if when == "before":
            link.wire.sendall(sent)
        link.secure.shutdown(socket.SHUT_WR)
        assert link.ended()
        if when == "after":
            link.wire.sendall(sent)
        assert link.secure.recv_now(100) == b"still here"
