"""200 frontends that stall in the header of the PROXY protocol; two threads; a clock that stands still.

A frontend that sends its header is served while they wait; then they are closed at the deadline. The bytes that have
arrived wake no thread again and again.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from reserve.apps.http.settings import HTTPSettings
from tests import tls
from tests.adversity.holding import Watched, honest, over_both, watched
from tests.apps.http.responses import receive, request
from tests.clients import until_closed
from tests.protocol.proxy.headers import SIGNATURE, V1, addresses, tlv, v2
from tests.waiting import eventually

COUNT = 200
DEADLINE = 5.0  # --handshake-timeout, by default
HTTP = HTTPSettings(access_log=False)
LARGE = v2(addresses(), tlv(0xE0, bytes(12000)))
HALVES = {
    "nothing": b"",
    "one byte": V1[:1],
    "half a line": V1[:20],
    "all but one byte of it": V1[:-1],
    "half a signature": SIGNATURE[:6],
    "no address": v2()[:16],
    "all but one byte": v2()[:-1],
    "half a large header": LARGE[:9000],
}


@contextlib.contextmanager
def site(secure: bool) -> Iterator[Watched]:
    with watched(honest, http=HTTP, secure=secure, proxy_protocol="any", trusted_proxies="127.0.0.1") as site:
        yield site


def assert_serves(site: Watched) -> None:
    with site.connect_plain() as plain:
        plain.sendall(V1)
        with tls.wrap_client(plain) if site.secure else plain as client:
            client.sendall(request())
            assert receive(client).body == b"honest"


@contextlib.contextmanager
def crowd(site: Watched, sent: bytes) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(site.connect_plain()) for _ in range(COUNT)]
        for client in clients:
            client.sendall(sent)
        site.wait_until_parked(COUNT)
        yield clients


@over_both
@pytest.mark.parametrize("sent", HALVES.values(), ids=HALVES)
def test_they_are_closed_at_the_deadline_and_hold_no_thread(sent: bytes, secure: bool) -> None:
    with site(secure) as served, crowd(served, sent) as clients:
        assert_serves(served)
        served.clock.advance(DEADLINE - 1)
        assert_serves(served)
        eventually(lambda: served.server.stats().connections == COUNT)
        assert served.server.stats().handled == 2
        served.clock.advance(2)
        assert {until_closed(client)[0] for client in clients} == {b""}
        assert_serves(served)
        for client in clients:
            client.close()
        served.assert_nothing_left()
    if sent:
        assert served.log[0].endswith("was not complete within 5 s (--handshake-timeout)")
    assert len(served.log) == (2 if sent else 0)  # one line, and how many more there were


def test_a_byte_now_and_then_does_not_extend_the_deadline() -> None:
    with site(False) as served, crowd(served, b"") as clients:
        for byte in V1[: int(DEADLINE)]:
            for client in clients:
                client.sendall(bytes([byte]))
            assert_serves(served)
            eventually(lambda: served.server.stats().connections == COUNT)
            served.clock.advance(1)
        assert {until_closed(client)[0] for client in clients} == {b""}
        for client in clients:
            client.close()
        served.assert_nothing_left()


@over_both
def test_half_a_head_after_a_whole_header_has_its_own_deadline(secure: bool) -> None:
    sent = V1 + (tls.MemoryTLSClient().flight()[:20] if secure else request()[:20])
    with site(secure) as served, crowd(served, sent) as clients:
        served.clock.advance(11)
        assert {until_closed(client)[0][9:12] for client in clients} == {b"" if secure else b"408"}
        served.clock.advance(3)
        for client in clients:
            client.close()
        served.assert_nothing_left()
