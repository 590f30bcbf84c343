"""The checks of handshakes."""

from __future__ import annotations

import os
import random
import socket
import ssl
import struct

from reserve.errors import TLSError, WantRead, WantWrite
from reserve.testing.adaptersuite.link import Link
from reserve.testing.adaptersuite.suite import AdapterSuite, check

_VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


@check("encryption")
def handshake_byte_by_byte(suite: AdapterSuite) -> None:
    """Each octet for itself, and twice told that there is one: the session waits for more, and never blocks."""
    for version in _VERSIONS:
        link = suite.link(suite.client(version))
        assert link.step() == "read", "a session that has received nothing waits to receive"
        state = "read"
        while state != "done":
            octets = link.speak()
            assert octets, "the client has nothing to say, and the session waits for it"
            for at in range(len(octets)):
                assert state == "read", f"after {at} of {len(octets)} octets the session is {state}"
                link.wire.sendall(octets[at : at + 1])
                state = link.step()
                if state == "read":
                    assert link.step() == "read", "an event that was none has changed something"
            link.listen()
        link.speak()
        link.send(b"content")
        assert link.secure.recv_now(100) == b"content"


@check("encryption")
def end_at_each_byte_of_the_handshake(suite: AdapterSuite) -> None:
    """A client that goes away in the middle of its handshake is an error, wherever that is."""
    for version in _VERSIONS:
        client = suite.client(version)
        hello = suite.link(client).speak()
        for count in range(len(hello)):
            link = suite.link(client)
            link.wire.sendall(hello[:count])
            _expect_end(link, f"{count} octets of the ClientHello")
        count = 0
        while True:
            link = suite.link(client)
            link.wire.sendall(link.speak())
            assert link.step() == "read"
            link.listen()
            answer = link.speak()
            if count >= len(answer):
                break
            link.wire.sendall(answer[:count])
            _expect_end(link, f"the ClientHello and {count} of {len(answer)} octets")
            count += 1


def _expect_end(link: Link, where: str) -> None:
    assert link.step() == "read", f"after {where} the handshake is not at its end"
    link.wire.shutdown(socket.SHUT_WR)
    for _ in range(2):  # and it stays so
        try:
            state = link.step()
        except OSError:
            continue
        raise AssertionError(f"the connection ended after {where}, and the session is {state}")
    link.close()


@check("encryption")
def random_octets_instead_of_a_handshake(suite: AdapterSuite) -> None:
    """What is no TLS raises TLSError, with or without the head of a record before it."""
    source = random.Random(5)
    for number in range(60):
        head = (b"", b"\x16\x03\x01", b"\x16\x03\x01\x00\x40", b"\x16\x03\x01\x00\x40\x01\x00\x00\x3c\x03\x03")[
            number % 4
        ]
        link = suite.link()
        link.wire.sendall(head + source.randbytes(400))
        try:
            state = link.step()
        except TLSError:
            continue
        assert state == "read", f"random octets ({number}) made the session {state}"
        link.wire.shutdown(socket.SHUT_WR)
        try:
            link.step()
        except OSError:
            continue
        raise AssertionError(f"random octets ({number}) and then the end: the session is content")


@check("encryption")
def plain_http_instead_of_a_handshake(suite: AdapterSuite) -> None:
    """A request without TLS raises TLSError."""
    link = suite.link()
    link.wire.sendall(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")
    try:
        link.step()
    except TLSError:
        return
    raise AssertionError("a plain request is no handshake")


@check()
def a_client_that_is_gone_already(suite: AdapterSuite) -> None:
    """A connection that was reset, with octets that nobody has received: it fails, and the descriptor, which others
    watch, is closed when the socket is, not before.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with server:
        client.sendall(b"\x16\x03\x01\x02\x00\x01")
        assert server.recv(1, socket.MSG_PEEK)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        server.setblocking(False)
        fd = server.fileno()
        secure = suite.adapter.secure(server)
        assert secure.fileno() == fd, "the session has another descriptor"
        try:
            for _ in range(3):
                secure.handshake_now()
                secure.recv_now(100)
        except (WantRead, WantWrite) as want:
            raise AssertionError("a session waits for a client that is gone") from want
        except OSError:
            os.fstat(fd)  # still open
        else:
            raise AssertionError("a session goes on with a client that is gone")
        finally:
            secure.close()


@check("encryption")
def use_before_the_handshake(suite: AdapterSuite) -> None:
    """Reading shakes hands or raises, and gives nothing that was not encrypted; saying goodbye is harmless."""
    link = suite.link()
    assert link.secure.pending() == 0
    try:
        assert not link.secure.recv_now(10)
    except (WantRead, WantWrite):
        pass
    except OSError:
        return
    link.secure.close_notify()


@check("resumption")
def sessions_resume(suite: AdapterSuite) -> None:
    """A client that comes again goes on with its session, in TLS 1.2 and 1.3."""
    for version in _VERSIONS:
        client = suite.client(version)
        link = suite.link(client).shake()
        assert not link.secure.resumed, "the first session of a client is a new one"
        link.secure.send_now(b"x")
        assert link.receive() == b"x"  # the tickets of TLS 1.3 came before it
        again = suite.link(client, session=link.tls.session).shake()
        assert again.tls.session_reused, f"{version.name}: the session was not resumed"
        assert again.secure.resumed, "the session does not know that it was resumed"
        again.send(b"y")
        assert again.secure.recv_now(10) == b"y"
