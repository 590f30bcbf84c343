"""Octets that no TLS client sends, in and behind the handshake: closed, logged once, and the next client is served."""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import ssl
import struct
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from reserve.apps.http.settings import HTTPSettings
from reserve.ssl.builtinsession import BuiltinSession
from tests import tls
from tests.adversity.holding import Watched, honest, watched
from tests.apps.http.responses import request, split
from tests.clients import close_with_reset
from tests.waiting import eventually

HTTP = HTTPSettings(access_log=False)
each_version = pytest.mark.parametrize("version", ["1.2", "1.3"])


def sends(site: Watched, raw: bytes) -> bytes:
    """What comes for these octets until the server closes the connection by itself."""
    with site.connect_plain() as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(raw)
        return until_closed(client)


def until_closed(client: socket.socket) -> bytes:
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(65536):
            got += data
    return got


def record(kind: int, content: bytes, version: int = 0x0303) -> bytes:
    return struct.pack(">BHH", kind, version, len(content)) + content


def hello(version: str = "1.3") -> bytes:
    return tls.HandMade(tls.context(version)).says()


def old_hello(minor: int) -> bytes:
    """The ClientHello of a client that knows TLS 1.0 or 1.1 at most: two suites, a server name, nothing else."""
    name = b"localhost"
    listed = struct.pack(">BH", 0, len(name)) + name
    extension = struct.pack(">HHH", 0, len(listed) + 2, len(listed)) + listed
    suites = bytes.fromhex("c013c00a00ff")
    body = (
        struct.pack(">BB", 3, minor)
        + bytes(range(32))
        + b"\x00"
        + struct.pack(">H", len(suites))
        + suites
        + b"\x01\x00"
        + struct.pack(">H", len(extension))
        + extension
    )
    return record(22, b"\x01" + struct.pack(">I", len(body))[1:] + body, 0x0301)


ALERT = record(21, b"\x02\x28")  # fatal: handshake_failure
SSLV2 = b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x07\x00\xc0\x03\x00\x80\x01\x00\x80\x06\x00\x40" + bytes(25)
HOSTILE: dict[str, bytes] = {
    "TLS 1.0": old_hello(1),
    "TLS 1.1": old_hello(2),
    "SSL 2": SSLV2,
    "an alert instead of a ClientHello": ALERT,
    "a warning instead of it": record(21, b"\x01\x00"),
    "content instead of it": record(23, b"x" * 100),
    "a Finished instead of it": record(22, b"\x14\x00\x00\x0c" + bytes(12)),
    "an oversized record": struct.pack(">BHH", 22, 0x0301, 16384 + 257) + bytes(16384 + 257),
    "the largest length": b"\x16\x03\x01\xff\xff" + bytes(70000),
    "many empty records": record(22, b"") * 1000,
    "a message of 16 MB": record(22, b"\x01\xff\xff\xff" + bytes(16000)) * 8,
    "an unknown type": record(99, b"x" * 50),
    "zeros": bytes(1000),
    "a telephone": b"\x16" * 1000,
    "a hello and then garbage": hello() + random.Random(1).randbytes(2000),
    "a hello and then an alert": hello() + ALERT,
    "two hellos": hello() + hello(),
    "a hello and then content": hello() + record(23, b"x" * 100),
    "a hello and then plain HTTP": hello() + request(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_handshake(name: str) -> None:
    with watched(honest, http=HTTP, secure=True) as site:
        for _ in range(5):
            sends(site, HOSTILE[name])
        site.clock.advance(3)  # what lingered is over
        eventually(lambda: site.server.stats().connections == 0)
        assert site.server.stats().handled == 0
        assert (site.server.stats().tls_handshakes, site.server.stats().tls_failed) == (0, 5)
        site.assert_serves()
        site.assert_nothing_left()
    assert 1 <= len(site.log) <= 2, site.log  # the first, and the number of those like it
    assert "the TLS handshake failed" in site.log[0] or "no TLS on a port of TLS" in site.log[0]


@pytest.mark.parametrize(("name", "alert"), [("TLS 1.0", 70), ("TLS 1.1", 70), ("a hello and then content", None)])
def test_the_client_is_told_why(name: str, alert: int | None) -> None:
    with watched(honest, http=HTTP, secure=True) as site:
        got = sends(site, HOSTILE[name])
        if alert is None:
            assert got[0] == 22
        else:
            assert (got[0], got[5:7]) == (21, bytes([2, alert]))  # protocol_version (RFC 8446 section 6.2)
        site.clock.advance(3)


def survives(openings: Iterable[bytes]) -> None:
    """Each is all that a client says: none of them is served, and nothing is left of them."""
    with watched(honest, http=HTTP, secure=True) as site:
        for raw in openings:
            with site.connect_plain() as client:
                client.sendall(raw)
                client.shutdown(socket.SHUT_WR)
                until_closed(client)
        eventually(lambda: site.server.stats().connections == 0)
        assert site.server.stats().handled == 0
        site.assert_serves()
        site.assert_nothing_left()
    assert not [line for line in site.log if "Traceback" in line]


def test_random_octets() -> None:
    source = random.Random(20260101)

    def made() -> bytes:
        raw = bytearray(source.randbytes(source.randint(1, 600)))
        if source.random() < 0.7:
            raw[0] = 22
        if source.random() < 0.5:
            raw[1:3] = b"\x03\x01"
        return bytes(raw)

    survives(made() for _ in range(150))


@each_version
def test_a_hello_with_one_octet_changed(version: str) -> None:
    source = random.Random(20260102)

    def made() -> bytes:
        raw = bytearray(hello(version))
        raw[source.randrange(len(raw))] ^= 1 << source.randrange(8)
        return bytes(raw)

    survives(made() for _ in range(150))


@each_version
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
def test_an_end_at_each_octet_of_the_handshake(version: str, reset: bool) -> None:
    """Of the ClientHello, and of everything that the client says to the answer."""
    with watched(honest, http=HTTP, secure=True) as site:
        using = tls.context(version)
        ended = 0
        for flight in (1, 2):
            size = 1
            while True:
                with site.connect_plain() as client:
                    hand = tls.HandMade(using)
                    saying = hand.says()
                    if flight == 2:
                        client.sendall(saying)
                        saying = b""
                        while not saying:
                            saying = hand.says(client.recv(65536))
                    whole = len(saying)
                    client.sendall(saying[:size])
                    if reset:
                        close_with_reset(client)
                    else:
                        client.shutdown(socket.SHUT_WR)
                        until_closed(client)
                ended += 1
                if size >= whole:
                    break
                size += 1
        eventually(lambda: site.server.stats().connections == 0)
        now = site.server.stats()
        assert now.accepted == ended
        assert now.handled == 0
        assert now.tls_handshakes <= 1  # the last one was whole
        assert now.tls_handshakes + now.tls_failed <= ended
        if not reset:  # a reset may come before the first look at the connection
            assert (now.tls_handshakes, now.tls_failed) == (1, ended - 1)
        site.assert_serves()
        site.assert_nothing_left()
    kinds = {line.partition(": ")[2] for line in site.log if not line.startswith("and ")}
    assert len(site.log) <= 2 * len(kinds)  # for each kind the first, and the number of the others
    assert len(kinds) <= 4, kinds
    assert not [line for line in site.log if "Traceback" in line]


@pytest.mark.parametrize("raw", [request(), b"GET", b"POST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"])
def test_plain_http_is_told_that_this_is_tls(raw: bytes) -> None:
    with watched(honest, http=HTTP, secure=True) as site:
        got = b""
        for _ in range(3):
            with site.connect_plain() as client:
                client.sendall(raw)
                client.shutdown(socket.SHUT_WR)
                got = until_closed(client)
        (answer,) = split(got)
        assert (answer.status, answer.whole) == (400, True)
        assert answer.fields["connection"] == "close"
        assert b"https://" in answer.body
        eventually(lambda: site.server.stats().connections == 0)
        assert (site.server.stats().handled, site.server.stats().tls_failed) == (0, 3)
        site.assert_serves()
        site.assert_nothing_left()
    assert 1 <= len(site.log) <= 2
    assert "no TLS on a port of TLS" in site.log[0]


# ---- behind the handshake ----


@each_version
@pytest.mark.parametrize("half", [b"", b"GET / HTTP/1.1\r\nHo", request("POST", body=b"x" * 100)[:-50]])
@pytest.mark.parametrize("garbage", ["random", "plain", "oversized", "content of zeros", "fatal alert"])
def test_garbage_in_the_midst_of_a_session(version: str, half: bytes, garbage: str) -> None:
    raw = {
        "random": random.Random(3).randbytes(500),
        "plain": request(),
        "oversized": struct.pack(">BHH", 23, 0x0303, 16384 + 257) + bytes(16384 + 257),
        "content of zeros": record(23, bytes(100)),
        "fatal alert": ALERT,
    }[garbage]
    with watched(honest, http=HTTP, secure=True) as site:
        for _ in range(5):
            with site.connect_plain() as client:
                hand = tls.HandMade(tls.context(version))
                hand.shake(client)
                if half:
                    client.sendall(hand.wraps(half))
                client.sendall(raw)
                until_closed(client)
        site.clock.advance(3)
        site.assert_nothing_left()
        assert site.server.stats().handled == 0
        assert (site.server.stats().tls_handshakes, site.server.stats().tls_failed) == (5, 0)
        site.assert_serves()
    assert 1 <= len(site.log) <= 2, site.log
    assert ": TLS: " in site.log[0]


@pytest.mark.peer
def test_renegotiation_is_refused(require_peer: Callable[[str], str]) -> None:
    """By a client that begins it: TLS 1.2, ``openssl s_client`` and its command R."""
    openssl = require_peer("openssl")
    with watched(honest, http=HTTP, secure=True) as site:
        host, port = site.served.address
        done = subprocess.run(
            [openssl, "s_client", "-connect", f"{host}:{port}", "-tls1_2", "-no_ign_eof"],
            input=b"R\nGET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert b"RENEGOTIATING" in done.stdout + done.stderr
        assert b"honest" not in done.stdout
        assert b"no renegotiation" in done.stderr
        eventually(lambda: site.server.stats().connections == 0)
        assert site.server.stats().tls_handshakes == 1
        site.assert_serves()
        site.assert_nothing_left()
    assert len(site.log) <= 1, site.log


class Keys:
    """The sending side of a TLS 1.3 client, by hand: records that no library makes (RFC 8446 sections 5.2 and 7)."""

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

    def record(self, content: bytes, kind: int) -> bytes:
        inner = content + bytes([kind])
        head = struct.pack(">BHH", 23, 0x0303, len(inner) + 16)
        nonce = (self._nonce ^ self._number).to_bytes(12, "big")
        self._number += 1
        return head + self._cipher.encrypt(nonce, inner, head)

    def update(self, *, ask: bool) -> bytes:
        """A KeyUpdate; what follows is encrypted with the next keys."""
        made = self.record(b"\x18\x00\x00\x01" + bytes([ask]), 22)
        self._use(self._expand("traffic upd", hashlib.sha384().digest_size))
        return made


def by_hand(client: socket.socket, folder: Path) -> tuple[Keys, tls.HandMade]:
    """Shake hands with TLS 1.3, and learn the client's keys."""
    using = tls.context("1.3")
    log = folder / "keys"
    using.keylog_filename = str(log)
    hand = tls.HandMade(using)
    hand.shake(client)
    using.keylog_filename = None  # type: ignore[assignment]  # closes the file
    cipher = hand.tls.cipher()
    assert cipher is not None
    assert cipher[0] == "TLS_AES_256_GCM_SHA384"
    lines = dict((line.split()[0], line.split()[2]) for line in log.read_text().splitlines() if line[0] != "#")
    log.unlink()
    return Keys(bytes.fromhex(lines["CLIENT_TRAFFIC_SECRET_0"])), hand


@pytest.mark.parametrize("ask", [False, True], ids=["alone", "and asks for the server's"])
def test_a_flood_of_key_updates(ask: bool, tmp_path: Path) -> None:
    """A client may renew its keys; one that does nothing else is served, or cut, and holds nobody up."""
    with watched(honest, http=HTTP, secure=True) as site, site.connect_plain() as client:
        keys, hand = by_hand(client, tmp_path)
        with contextlib.suppress(ConnectionError):
            client.sendall(b"".join(keys.update(ask=ask) for _ in range(1000)) + keys.record(request(), 23))
        site.assert_serves()
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            assert split(hand.hears(client))[0].body == b"honest"
        client.close()
        site.assert_nothing_left()
    assert len(site.log) <= 1, site.log


def test_an_endless_flood_of_key_updates_is_taken_in_turns_and_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One read of OpenSSL's on the socket would go on for as long as they come, and hold the leader."""
    received: list[int] = []
    read, feed = BuiltinSession.read, BuiltinSession._feed

    def counted_read(session: BuiltinSession, size: int) -> bytes:
        received.append(0)
        return read(session, size)

    def counted_feed(session: BuiltinSession) -> int:
        if received:  # else it is the handshake
            received[-1] += 1
        return feed(session)

    monkeypatch.setattr(BuiltinSession, "read", counted_read)
    monkeypatch.setattr(BuiltinSession, "_feed", counted_feed)
    with watched(honest, http=HTTP, secure=True) as site:
        with site.connect_plain() as client:
            keys, _ = by_hand(client, tmp_path)
            received.clear()
            with contextlib.suppress(ConnectionError):
                client.sendall(b"".join(keys.update(ask=False) for _ in range(20000)))
            until_closed(client)
        eventually(lambda: site.server.stats().connections == 0)
        assert max(received) <= 2
        assert sum(received) <= 8  # of the 540,000 octets it has looked at no more than it must
        eventually(lambda: site.log)  # the log's thread writes it
        (line,) = site.log
        assert "TLS: more than 65536 octets of records without content" in line
        site.assert_serves()
        site.assert_nothing_left()


def test_answers_to_key_updates_that_nobody_reads(tmp_path: Path) -> None:
    """Each asks for one of the server's, which fill its buffer; they are fewer than a client may send in a row."""
    with watched(honest, http=HTTP, secure=True) as site:
        for listener in site.server._endpoints.listeners:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with site.connect_plain(window=2048) as client:
            keys, _ = by_hand(client, tmp_path)
            client.setblocking(False)
            flood = b"".join(keys.update(ask=True) for _ in range(2000))
            with contextlib.suppress(BlockingIOError, ConnectionError):
                while flood:
                    flood = flood[client.send(flood) :]
            site.assert_serves()
            eventually(lambda: site.server.stats().parked == site.server.stats().connections == 1)
            site.assert_serves()
            site.clock.advance(11)  # the deadline of the head
            eventually(lambda: site.server.stats().connections == 0)
        site.assert_nothing_left()


@pytest.mark.parametrize("count", [10, 32, 1000])
def test_records_without_content(count: int, tmp_path: Path) -> None:
    """OpenSSL takes 32 in a row; then it is a flood."""
    with watched(honest, http=HTTP, secure=True) as site, site.connect_plain() as client:
        keys, hand = by_hand(client, tmp_path)
        with contextlib.suppress(ConnectionError):
            client.sendall(b"".join(keys.record(b"", 23) for _ in range(count)) + keys.record(request(), 23))
        site.assert_serves()
        if count == 10:
            assert split(hand.hears(client))[0].body == b"honest"
        client.close()
        site.clock.advance(3)
        site.assert_nothing_left()
    assert len(site.log) <= 1, site.log


def test_warnings_behind_the_handshake(tmp_path: Path) -> None:
    """TLS 1.3 knows no warnings but close_notify and user_canceled."""
    with watched(honest, http=HTTP, secure=True) as site:
        for raw in (b"\x01\x5a", b"\x01\x64", b"\x02\x28"):
            with site.connect_plain() as client:
                keys, _ = by_hand(client, tmp_path)
                with contextlib.suppress(ConnectionError):
                    client.sendall(keys.record(raw, 21) + keys.record(raw, 21) + keys.record(request(), 23))
                site.assert_serves()
                client.close()
        site.clock.advance(3)
        site.assert_nothing_left()
