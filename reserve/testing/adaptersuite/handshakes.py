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
    """Each byte comes alone, and the session is called twice for it: it waits for more, and never blocks."""
    for version in _VERSIONS:
        link = suite.link(suite.client(version))
        assert link.server_step() == "read", "a session that has received nothing waits to receive"
        state = "read"
        while state != "done":
            flight = link.client_flight()
            assert flight, "the client has nothing to send, and the session waits for it"
            for position in range(len(flight)):
                assert state == "read", f"after {position} of {len(flight)} bytes the state is {state}"
                link.wire.sendall(flight[position : position + 1])
                state = link.server_step()
                if state == "read":
                    assert link.server_step() == "read", "a call without new data has changed the state"
            link.feed_client()
        link.client_flight()
        link.send(b"content")
        assert link.tls_socket.recv_now(100) == b"content"


@check("encryption")
def end_at_each_byte_of_the_handshake(suite: AdapterSuite) -> None:
    """A client that closes the connection during its handshake is an error, at whichever byte."""
    for version in _VERSIONS:
        client = suite.client(version)
        hello = suite.link(client).client_flight()
        for count in range(len(hello)):
            link = suite.link(client)
            link.wire.sendall(hello[:count])
            _expect_end(link, f"{count} bytes of the ClientHello")
        count = 0
        while True:
            link = suite.link(client)
            link.wire.sendall(link.client_flight())
            assert link.server_step() == "read"
            link.feed_client()
            flight = link.client_flight()
            if count >= len(flight):
                break
            link.wire.sendall(flight[:count])
            _expect_end(link, f"the ClientHello and {count} of {len(flight)} bytes")
            count += 1


def _expect_end(link: Link, where: str) -> None:
    assert link.server_step() == "read", f"after {where} the handshake is not done"
    link.wire.shutdown(socket.SHUT_WR)
    for _ in range(2):  # the second call raises, too
        try:
            state = link.server_step()
        except OSError:
            continue
        raise AssertionError(f"the connection ended after {where}, and the state is {state}")
    link.close()


@check("encryption")
def random_bytes_instead_of_a_handshake(suite: AdapterSuite) -> None:
    """Bytes that are not TLS raise TLSError, with or without the header of a record before them."""
    source = random.Random(5)
    for number in range(60):
        header = (b"", b"\x16\x03\x01", b"\x16\x03\x01\x00\x40", b"\x16\x03\x01\x00\x40\x01\x00\x00\x3c\x03\x03")[
            number % 4
        ]
        link = suite.link()
        link.wire.sendall(header + source.randbytes(400))
        try:
            state = link.server_step()
        except TLSError:
            continue
        assert state == "read", f"after random bytes ({number}) the state is {state}"
        link.wire.shutdown(socket.SHUT_WR)
        try:
            link.server_step()
        except OSError:
            continue
        raise AssertionError(f"random bytes ({number}) and then the end raised no error")


@check("encryption")
def plain_http_instead_of_a_handshake(suite: AdapterSuite) -> None:
    """A request without TLS raises TLSError."""
    link = suite.link()
    link.wire.sendall(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")
    try:
        link.server_step()
    except TLSError:
        return
    raise AssertionError("a plain request passed for a handshake")


@check()
def a_client_that_has_reset_the_connection(suite: AdapterSuite) -> None:
    """A connection that was reset before its bytes were received: the handshake fails, and the descriptor, which the
    engine watches, is closed with the socket, not before.
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
        tls_socket = suite.adapter.secure(server)
        assert tls_socket.fileno() == fd, "the session has another descriptor"
        try:
            for _ in range(3):
                tls_socket.handshake_now()
                tls_socket.recv_now(100)
        except (WantRead, WantWrite) as want:
            raise AssertionError("a session waits for a client that has reset its connection") from want
        except OSError:
            os.fstat(fd)  # still open
        else:
            raise AssertionError("a session goes on after a reset")
        finally:
            tls_socket.close()


@check("encryption")
def use_before_the_handshake(suite: AdapterSuite) -> None:
    """A read does the handshake or raises, and returns nothing that was not encrypted; close_notify is harmless."""
    link = suite.link()
    assert link.tls_socket.pending() == 0
    try:
        assert not link.tls_socket.recv_now(10)
    except (WantRead, WantWrite):
        pass
    except OSError:
        return
    link.tls_socket.close_notify()


@check("resumption")
def sessions_resume(suite: AdapterSuite) -> None:
    """A client that connects again resumes its session, in TLS 1.2 and 1.3."""
    for version in _VERSIONS:
        client = suite.client(version)
        link = suite.link(client).handshake()
        assert not link.tls_socket.resumed, "the first session of a client is a new one"
        link.tls_socket.send_now(b"x")
        assert link.receive() == b"x"  # the tickets of TLS 1.3 came before it
        again = suite.link(client, session=link.tls.session).handshake()
        assert again.tls.session_reused, f"{version.name}: the session was not resumed"
        assert again.tls_socket.resumed, "the session does not know that it was resumed"
        again.send(b"y")
        assert again.tls_socket.recv_now(10) == b"y"
