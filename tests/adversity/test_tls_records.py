"""Clients that stop in the middle of a TLS record: a record's head and half of its content, and then nothing.

The octets are there and the poller reports them, but there is nothing that anybody could read: it must not spin, take a
thread, or put a deadline off.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from reserve.apps.http.settings import HTTPSettings
from tests import tls
from tests.adversity.holding import Watched, honest, watched
from tests.apps.http.responses import request, split
from tests.waiting import eventually

COUNT = 200
HEAD, BODY, IDLE, LINGER = 10.0, 20.0, 15.0, 2.0  # the deadlines, by default
HTTP = HTTPSettings(access_log=False)
UPLOAD = request("POST", body=b"x" * 100)
CHUNKED = request("POST", body=b"x" * 100, chunks=60)
Held = list[tuple[socket.socket, tls.HandMade]]


@contextlib.contextmanager
def halves(site: Watched, first: bytes, then: bytes, keep: float = 0.5) -> Iterator[tuple[Held, list[bytes]]]:
    """Clients that send ``first`` as a whole, and of the record with ``then`` only a part; and what they hold back."""
    held: Held = []
    rests: list[bytes] = []
    with contextlib.ExitStack() as stack:
        for _ in range(COUNT):
            client = stack.enter_context(site.connect_plain())
            hand = tls.HandMade()
            hand.shake(client)
            if first:
                client.sendall(hand.wraps(first))
            record = hand.wraps(then)
            cut = max(1, int(len(record) * keep))
            client.sendall(record[:cut])
            held.append((client, hand))
            rests.append(record[cut:])
        yield held, rests


def drips(held: Held, rests: list[bytes], at: int) -> None:
    for (client, _), rest in zip(held, rests, strict=True):
        client.sendall(rest[at : at + 1])


def everything(client: socket.socket, hand: tls.HandMade) -> bytes:
    return b"".join(iter(lambda: hand.hears(client), b""))


CASES = [
    pytest.param(b"", request(), HEAD, False, id="the first"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: te", b"st\r\n\r\n", HEAD, True, id="in the head"),
    pytest.param(UPLOAD[:-100], UPLOAD[-100:], BODY, True, id="before the body"),
    pytest.param(UPLOAD[:-50], UPLOAD[-50:], BODY, True, id="in the body"),
    pytest.param(CHUNKED[:-60], CHUNKED[-60:], BODY, True, id="in a chunked body"),
]


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99], ids=["one octet", "half of it", "nearly all"])
@pytest.mark.parametrize(("first", "then", "deadline", "told"), CASES)
def test_half_a_record(first: bytes, then: bytes, deadline: float, told: bool, keep: float) -> None:
    with watched(honest, http=HTTP, secure=True) as site, halves(site, first, then, keep) as (held, _):
        site.wait_until_parked(COUNT)
        site.assert_serves()
        eventually(lambda: (now := site.server.stats()).connections == COUNT and now.handled == 3)
        site.clock.advance(deadline - 1)
        site.assert_serves()
        eventually(lambda: site.server.stats().parked == COUNT)
        site.clock.advance(2 + BODY * told)
        for client, hand in held:
            answers = split(everything(client, hand))
            assert [(answer.status, answer.whole) for answer in answers] == ([(408, True)] if told else [])
        site.clock.advance(LINGER + 1)
        eventually(lambda: site.server.stats().connections == 0)
        for client, _ in held:
            client.close()
        site.assert_serves()
        site.assert_nothing_left()


@pytest.mark.parametrize(("first", "then", "deadline", "told"), CASES)
def test_a_record_that_drips_does_not_put_the_deadline_off(
    first: bytes, then: bytes, deadline: float, told: bool
) -> None:
    with watched(honest, http=HTTP, secure=True) as site, halves(site, first, then, 0.0) as (held, rests):
        site.wait_until_parked(COUNT)
        site.assert_serves()
        for turn in range(int(deadline // 3)):
            site.clock.advance(3)
            drips(held, rests, turn)
            site.assert_serves()
        eventually(lambda: site.server.stats().parked == COUNT)
        site.clock.advance(3)
        for client, hand in held:
            answers = split(everything(client, hand))
            assert [answer.status for answer in answers] == ([408] if told else [])
        for client, _ in held:
            client.close()
        site.assert_nothing_left()


@pytest.mark.parametrize("keep", [0.0, 0.5], ids=["one octet", "half of it"])
def test_half_a_record_is_no_wish_of_a_connection_that_is_kept(keep: float) -> None:
    with watched(honest, http=HTTP, secure=True) as site, halves(site, request(), request(), keep) as (held, rests):
        for client, hand in held:
            assert split(hand.hears(client))[0].body == b"honest"
        eventually(lambda: (now := site.server.stats()).parked == now.connections == COUNT)
        site.clock.advance(IDLE - 1)
        (first, hand), *others = held
        first.sendall(rests[0])  # that one was only slow
        assert split(hand.hears(first))[0].body == b"honest"
        eventually(lambda: site.server.stats().parked == COUNT)
        site.clock.advance(2)
        assert {everything(client, hand) for client, hand in others} == {b""}
        eventually(lambda: site.server.stats().connections == 1)
        for client, _ in held:
            client.close()
        site.assert_nothing_left()


def test_half_a_record_does_not_make_the_leader_turn() -> None:
    """Counted in polls: the octets of half a record stay in the session, and the poller is silent about them."""
    with watched(honest, http=HTTP, secure=True) as site, halves(site, b"", request(), 0.5):
        eventually(lambda: (now := site.server.stats()).parked == now.connections == COUNT)
        eventually(lambda: site.server._queue._reactor.polling)
        polls = 0
        poller = site.server._runtime.poller
        original = poller.poll

        def poll(timeout: float | None) -> list[tuple[int, int]]:
            nonlocal polls
            polls += 1
            return original(timeout)

        poller.poll = poll  # type: ignore[method-assign]
        site.assert_serves(3)
        assert polls <= 40  # those of one client that connects, shakes hands and asks three times


def test_many_records_of_one_octet_each() -> None:
    """The most records that a request can be made of."""
    raw = request("POST", "/", body=b"x" * 500)
    with watched(honest, http=HTTP, secure=True) as site, site.connect_plain() as client:
        hand = tls.HandMade()
        hand.shake(client)
        client.sendall(b"".join(hand.wraps(bytes([octet])) for octet in raw))
        assert split(hand.hears(client))[0].body == b"honest"


def test_a_pipeline_within_one_record_is_answered_to_its_end() -> None:
    """What TLS has in its own buffer counts as readable: no event announces it."""
    for size in (2, 100, 600):
        with watched(honest, http=HTTP, secure=True) as site, site.connect_plain() as client:
            hand = tls.HandMade()
            hand.shake(client)
            client.sendall(hand.wraps(request() * size + request("GET", "/", "Connection: close")))
            answers = split(everything(client, hand))
            assert [answer.body for answer in answers] == [b"honest"] * (size + 1)
