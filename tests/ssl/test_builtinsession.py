"""The session over memory: what has come already, and what has not left yet, in every order."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reserve.errors import TLSError, WantRead, WantWrite
from reserve.ssl.builtinsession import _ANSWERS, _TURNS
from reserve.testing.adaptersuite.link import Link
from tests import tls
from tests.adversity.test_tls_hostile import Keys, by_hand

versions = pytest.mark.parametrize("version", ["1.2", "1.3"])


@contextlib.contextmanager
def linked(version: str = "1.3") -> Iterator[Link]:
    adapter = tls.adapter()
    adapter.prepare(())
    link = Link(adapter, tls.context(version))
    try:
        yield link
    finally:
        link.close()


def nearly(link: Link) -> bytes:
    """Shake hands with TLS 1.3 up to the client's last flight, which is returned."""
    link.wire.sendall(link.speak())
    assert link.step() == "read"
    link.listen()
    return link.speak()


@versions
def test_the_peers_end_is_the_end_also_behind_our_own(version: str) -> None:
    """The standard library calls it an error there."""
    with linked(version) as link:
        link.shake()
        assert link.secure.close_notify()
        assert link.ended()
        link.wire.sendall(link.encrypt(b"last") + link.close_notify())
        assert link.secure.recv_now(100) == b"last"
        assert link.secure.pending() == 1
        assert link.secure.recv_now(100) == b""
        assert link.secure.recv_now(100) == b""
        assert link.secure.pending() == 0


@pytest.mark.parametrize("ends", [False, True], ids=["open", "ended"])
def test_our_end_does_not_lose_what_came_with_the_handshake(ends: bool) -> None:
    """OpenSSL looks for the answer to it, and takes content for an error."""
    with linked() as link:
        flight = nearly(link) + link.encrypt(b"early")
        link.wire.sendall(flight + (link.close_notify() if ends else b""))
        assert link.step() == "done"
        assert link.secure.pending() >= 5
        assert link.secure.close_notify()
        if not ends:
            assert link.ended()
        assert link.secure.recv_now(100) == b"early"
        if ends:
            assert link.secure.recv_now(100) == b""


def test_an_error_behind_what_came_with_the_handshake_waits_for_its_turn() -> None:
    with linked() as link:
        link.wire.sendall(nearly(link) + link.encrypt(b"early") + b"\x17\x03\x03\0\x20" + bytes(32))
        assert link.step() == "done"
        assert link.secure.recv_now(100) == b"early"
        assert link.secure.pending() == 1
        for _ in range(2):
            with pytest.raises(TLSError):
                link.secure.recv_now(100)


def test_who_was_refused_stays_refused() -> None:
    """Whatever else comes, and however often somebody asks."""
    with linked() as link:
        link.tls = tls.context().wrap_bio(link._incoming, link._outgoing, server_hostname="x.example")
        link.wire.sendall(link.speak().replace(b"x.example", b"\xff.example"))
        with pytest.raises(TLSError, match="ASCII"):
            link.step()
        for more in (b"", b"\x14\x03\x03\0\1\1", b"\x16\x03\x01\0\0"):
            link.wire.sendall(more)
            with pytest.raises(TLSError, match="is not done"):
                link.step()
        assert not link.secure.close_notify()


@pytest.mark.parametrize("error", [ConnectionResetError, BrokenPipeError])
def test_tickets_that_find_no_room_and_then_no_client_do_not_undo_the_handshake(error: type[OSError]) -> None:
    """It was complete; what the client has sent before it went counts."""
    with linked() as link:
        session: Any = link.secure._session
        link.wire.sendall(nearly(link) + link.encrypt(b"the whole request"))

        def full(data: memoryview) -> int:
            raise BlockingIOError

        def gone(data: memoryview) -> int:
            raise error

        session._send = full
        assert link.step() == "write"
        assert link.step() == "write"
        session._send = gone
        assert link.step() == "done"
        assert not link.secure.resumed
        assert link.secure.recv_now(100) == b"the whole request"
        with pytest.raises(error):
            link.secure.send_now(b"answer")


def test_a_client_that_goes_before_the_handshake_is_done_has_none() -> None:
    with linked() as link:
        session: Any = link.secure._session

        def full(data: memoryview) -> int:
            raise BlockingIOError

        def gone(data: memoryview) -> int:
            raise ConnectionResetError

        session._send = full
        link.wire.sendall(link.speak())
        assert link.step() == "write"
        session._send = gone
        with pytest.raises(ConnectionResetError):
            link.step()


def test_a_goodbye_that_was_begun_is_finished_and_said_once(hand: Hand) -> None:
    hand.room = 10
    for _ in range(2):
        with pytest.raises(WantWrite):
            hand.secure.close_notify_now()
        assert not hand.secure.close_notify()
    hand.room = 1 << 30
    hand.secure.close_notify_now()
    assert hand.secure.close_notify()
    hand.secure.close_notify_now()
    assert hand.hand.hears(hand.wire) == b""
    hand.wire.setblocking(False)
    with pytest.raises(BlockingIOError):
        hand.wire.recv(1)


@pytest.mark.parametrize("pieces", range(_TURNS - 2, _TURNS + 3))
def test_a_handshake_in_pieces_never_waits_for_the_socket_with_a_piece_in_hand(pieces: int) -> None:
    with linked() as link:
        session: Any = link.secure._session
        hello = link.speak()
        size = -(-len(hello) // pieces)
        session._receive = lambda _: link.secure.raw_recv(size)
        link.wire.sendall(hello)
        answered = 0
        for _ in range(pieces + 1):
            assert link.step() == "read"
            answered += link.listen()
            try:
                link.secure.raw_recv(1, socket.MSG_PEEK)
            except BlockingIOError:  # nothing would wake it
                break
        assert answered


class Hand:
    """A TLS 1.3 client by hand, and the server's session, whose socket takes what ``room`` says."""

    def __init__(self, folder: Path) -> None:
        self.wire, server = socket.socketpair()
        self.wire.settimeout(20)
        adapter = tls.adapter()
        adapter.prepare(())
        self.secure = adapter.secure(server)
        self.secure.settimeout(20)
        shaking = threading.Thread(target=self.secure.do_handshake)
        shaking.start()
        self.keys: Keys
        self.keys, self.hand = by_hand(self.wire, folder)
        shaking.join()
        self.session: Any = self.secure._session
        self.room = 1 << 30
        self._send = self.session._send
        self.session._send = self._limited

    def _limited(self, data: memoryview) -> int:
        if not self.room:
            raise BlockingIOError
        sent: int = self._send(data[: self.room])
        self.room -= sent
        return sent

    def heard(self) -> bytes:
        """All content up to the server's end, which is now."""
        self.secure.close()
        found = []
        while data := self.hand.hears(self.wire):
            found.append(data)
        return b"".join(found)

    def close(self) -> None:
        self.wire.close()
        self.secure.close()


@pytest.fixture
def hand(tmp_path: Path) -> Iterator[Hand]:
    made = Hand(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("room", [0, 50])
def test_what_left_while_something_was_read_is_not_sent_twice(hand: Hand, room: int) -> None:
    """A write finds no room; the answer to a key update flushes it; then the write comes again."""
    hand.room = room
    with pytest.raises(WantWrite):
        hand.secure.send_now(b"x" * 1000)
    hand.room = 1 << 30
    # OpenSSL keeps the last answer back.
    hand.wire.sendall(hand.keys.update(ask=True) + hand.keys.update(ask=True) + hand.keys.record(b"question", 23))
    assert hand.secure.recv_now(100) == b"question"
    assert hand.secure.send_now(b"x" * 1000) == 1000
    assert hand.secure.send_now(b"end") == 3
    assert hand.heard() == b"x" * 1000 + b"end"


def test_answers_that_find_no_room_go_before_the_next_content(hand: Hand) -> None:
    hand.room = 10
    for number in range(3):
        hand.wire.sendall(hand.keys.update(ask=True) + hand.keys.record(b"%d" % number, 23))
        assert hand.secure.recv_now(100) == b"%d" % number
    with pytest.raises(WantWrite):
        hand.secure.send_now(b"content")
    hand.room = 1 << 30
    assert hand.secure.send_now(b"content") == 7
    assert hand.heard() == b"content"


def test_answers_that_nobody_takes_do_not_pile_up(hand: Hand) -> None:
    """A client that puts content between its key updates sends nothing that is empty, and still owes us room."""
    hand.room = 0

    def endless() -> None:
        for _ in range(2 * _ANSWERS // (27 * 100)):
            hand.wire.sendall(b"".join(hand.keys.update(ask=True) + hand.keys.record(b"x", 23) for _ in range(100)))
            with contextlib.suppress(WantRead):
                while hand.secure.recv_now(65536):
                    pass

    with pytest.raises(TLSError, match="answers"):
        endless()
    assert hand.session._outgoing.pending < 2 * _ANSWERS
