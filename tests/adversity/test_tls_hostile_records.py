"""Bytes that no TLS client sends after its handshake: closed, logged once, and they hold up no other client."""

from __future__ import annotations

import contextlib
import random
import socket
import ssl
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from reserve.ssl.builtinsession import BuiltinSession
from tests import tls
from tests.adversity.tlssite import connected, tls_site, until_closed
from tests.apps.http.responses import request, split
from tests.tlsrecords import ALERT, APPLICATION_DATA, FATAL_ALERT, handshake_with_keys, record
from tests.waiting import PATIENCE, eventually


@tls.each_version
@pytest.mark.parametrize("half", [b"", b"GET / HTTP/1.1\r\nHo", request("POST", body=b"x" * 100)[:-50]])
@pytest.mark.parametrize("garbage", ["random", "plain", "oversized", "content of zeros", "fatal alert"])
def test_garbage_in_the_middle_of_a_session(version: str, half: bytes, garbage: str) -> None:
    raw = {
        "random": random.Random(3).randbytes(500),
        "plain": request(),
        "oversized": struct.pack(">BHH", APPLICATION_DATA, 0x0303, 16384 + 257) + bytes(16384 + 257),
        "content of zeros": record(APPLICATION_DATA, bytes(100)),
        "fatal alert": FATAL_ALERT,
    }[garbage]
    with tls_site() as site:
        for _ in range(5):
            with connected(site, version) as (client, memory_client):
                if half:
                    client.sendall(memory_client.encrypt(half))
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
    with tls_site() as site:
        host, port = site.served.address
        done = subprocess.run(
            [openssl, "s_client", "-connect", f"{host}:{port}", "-tls1_2", "-no_ign_eof"],
            input=b"R\nGET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
            capture_output=True,
            timeout=PATIENCE,
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


# ---- records without content ----


@pytest.mark.parametrize("requested", [False, True], ids=["alone", "and requests the server's"])
def test_a_flood_of_key_updates(requested: bool, tmp_path: Path) -> None:
    """A client may renew its keys; one that does nothing else is served, or closed, and holds up no other."""
    with tls_site() as site, site.connect_plain() as client:
        keys, memory_client = handshake_with_keys(client, tmp_path)
        with contextlib.suppress(ConnectionError):
            updates = b"".join(keys.key_update(requested=requested) for _ in range(1000))
            client.sendall(updates + keys.record(request()))
        site.assert_serves()
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            assert split(memory_client.receive(client))[0].body == b"honest"
        client.close()
        site.assert_nothing_left()
    assert len(site.log) <= 1, site.log


def test_an_endless_flood_of_key_updates_is_received_in_turns_and_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One read of OpenSSL's on the socket would go on for as long as they come, and hold the leading thread."""
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
    with tls_site() as site:
        with site.connect_plain() as client:
            keys, _ = handshake_with_keys(client, tmp_path)
            received.clear()
            with contextlib.suppress(ConnectionError):
                client.sendall(b"".join(keys.key_update(requested=False) for _ in range(20000)))
            until_closed(client)
        eventually(lambda: site.server.stats().connections == 0)
        assert max(received) <= 2
        assert sum(received) <= 8  # of the 540,000 bytes it has received no more than it must
        eventually(lambda: site.log)  # the log's thread writes it
        (line,) = site.log
        assert "TLS: more than 65536 bytes of records without content" in line
        site.assert_serves()
        site.assert_nothing_left()


def test_responses_to_key_updates_that_the_client_does_not_read(tmp_path: Path) -> None:
    """Each requests one of the server's, which fill its buffer; they are fewer than a client may send in a row."""
    with tls_site() as site:
        for listener in site.server._endpoints.listeners:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with site.connect_plain(window=2048) as client:
            keys, _ = handshake_with_keys(client, tmp_path)
            client.setblocking(False)
            flood = b"".join(keys.key_update(requested=True) for _ in range(2000))
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
    with tls_site() as site, site.connect_plain() as client:
        keys, memory_client = handshake_with_keys(client, tmp_path)
        with contextlib.suppress(ConnectionError):
            client.sendall(b"".join(keys.record(b"") for _ in range(count)) + keys.record(request()))
        site.assert_serves()
        if count == 10:
            assert split(memory_client.receive(client))[0].body == b"honest"
        client.close()
        site.clock.advance(3)
        site.assert_nothing_left()
    assert len(site.log) <= 1, site.log


def test_warnings_after_the_handshake(tmp_path: Path) -> None:
    """TLS 1.3 has no warnings but close_notify and user_canceled."""
    with tls_site() as site:
        for raw in (b"\x01\x5a", b"\x01\x64", b"\x02\x28"):
            with site.connect_plain() as client:
                keys, _ = handshake_with_keys(client, tmp_path)
                with contextlib.suppress(ConnectionError):
                    client.sendall(keys.record(raw, ALERT) + keys.record(raw, ALERT) + keys.record(request()))
                site.assert_serves()
                client.close()
        site.clock.advance(3)
        site.assert_nothing_left()
