"""The checks of what sessions share: the adapter and its certificates, threads, descriptors, memory."""

from __future__ import annotations

import contextlib
import gc
import os
import ssl
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

from reserve.errors import ReserveError, StartupError
from reserve.testing.adaptersuite.link import Link
from reserve.testing.adaptersuite.suite import AdapterSuite, check

_THREADS, _SESSIONS_EACH = 6, 5


@check()
def many_threads_one_adapter(suite: AdapterSuite) -> None:
    """Sessions of one adapter begin and end on several threads at once."""
    adapter = suite.adapter

    def visit(number: int) -> None:
        for turn in range(_SESSIONS_EACH):
            link = suite.link(adapter=adapter).handshake()
            data = b"%d.%d" % (number, turn)
            link.send(data)
            assert link.tls_socket.recv_now(100) == data
            link.tls_socket.send_now(data)
            assert link.receive() == data
            link.close()

    _run_in_threads([lambda number=number: visit(number) for number in range(_THREADS)])  # type: ignore[misc]


@check()
def one_thread_reads_and_one_writes(suite: AdapterSuite) -> None:
    """The socket that applications get transfers more than its buffers hold, in both directions at once."""
    link = suite.link().handshake()
    size = 1_000_000
    link.tls_socket.settimeout(30)
    pieces: list[bytes] = []

    def read() -> None:
        remaining = size
        while remaining:
            data = link.tls_socket.recv(min(remaining, 65536))
            assert data
            pieces.append(data)
            remaining -= len(data)

    def client() -> None:
        content = unsent = b"c" * size
        received = 0
        record = b""
        while unsent or record or received < size:
            if not record:
                record, unsent = link.encrypt(unsent[:16384]) if unsent else b"", unsent[16384:]
            with contextlib.suppress(BlockingIOError):
                record = record[link.wire.send(record) :] if record else b""
            data = link.receive()
            assert set(data) <= set(b"s")
            received += len(data)
        assert received == len(content)

    _run_in_threads([read, lambda: link.tls_socket.sendall(b"s" * size), client])
    assert b"".join(pieces) == b"c" * size


@check()
def no_descriptor_is_left(suite: AdapterSuite) -> None:
    """Neither sessions that ended well nor those without a handshake leave descriptors open."""
    suite.link().handshake().close()
    before = _descriptors()
    for _ in range(10):
        suite.link().handshake().close()
        link = suite.link()
        link.wire.sendall(link.client_flight()[:20])
        if suite.fits("handshake_byte_by_byte"):
            link.server_step()
        link.close()
    assert _descriptors() <= before, "descriptors are left open"


@check()
def no_cycle_is_left(suite: AdapterSuite) -> None:
    """A session that was closed is freed by its reference count, without the garbage collector; a failed one, too."""
    adapter, client = suite.adapter, suite.client()
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for fails in (False, True):
            link = Link(adapter, client).handshake()
            link.send(b"content")
            assert link.tls_socket.recv_now(100) == b"content"
            if fails:
                link.wire.close()
                with contextlib.suppress(OSError):
                    link.tls_socket.recv_now(100)
            link.close()
            references: list[weakref.ref[object]] = [weakref.ref(link.tls_socket), weakref.ref(link.tls_socket._socket)]
            del link
            assert [reference() for reference in references] == [None, None], "a closed session is still referred to"
    finally:
        if was_enabled:
            gc.enable()


@check()
def variables_for_applications(suite: AdapterSuite) -> None:
    """The environ of a session has text values only, and HTTPS."""
    variables = suite.link().handshake().tls_socket.environ()
    assert all(type(name) is str and type(value) is str for name, value in variables.items())
    if "encryption" in suite.abilities:
        assert variables.get("HTTPS") == "on"


@check("reload")
def reload_takes_new_certificates(suite: AdapterSuite) -> None:
    """New sessions get the new certificate, open ones go on; files that cannot be used change nothing."""
    with suite.files() as (cert, key):
        adapter = suite.make(str(cert), str(key))
        adapter.prepare(())
        assert not adapter.changed(), "the files have not changed"
        old = suite.link(adapter=adapter).handshake()
        begun = suite.link(adapter=adapter)
        begun.wire.sendall(begun.client_flight())
        begun.server_step()

        _replace(cert, suite.second[0])
        assert adapter.changed(), "a file was replaced, and changed() is false"
        try:
            adapter.reload()
        except StartupError:
            pass
        else:
            raise AssertionError("the new certificate was taken with the old key")
        assert not adapter.changed(), "files that could not be loaded are tried again before they change"
        assert _certificate(suite.link(adapter=adapter).handshake().tls) == _certificate(old.tls), "the old one stays"

        _replace(key, suite.second[1])
        assert adapter.changed()
        adapter.reload()
        assert not adapter.changed()
        new = suite.link(adapter=adapter).handshake()
        assert _certificate(new.tls) != _certificate(old.tls), "a new session has the old certificate"
        for link in (old, begun.handshake(), new):
            link.send(b"content")
            assert link.tls_socket.recv_now(100) == b"content"

        for broken in (b"", b"-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n"):
            _replace(cert, broken)
            try:
                adapter.reload()
            except StartupError:
                pass
            else:
                raise AssertionError(f"{broken!r} passed for a certificate")
        cert.unlink()
        assert adapter.changed()
        try:
            adapter.reload()
        except ReserveError:
            pass
        else:
            raise AssertionError("a missing file passed for a certificate")
        assert _certificate(suite.link(adapter=adapter).handshake().tls) == _certificate(new.tls), (
            "the last good one stays"
        )


def _replace(path: Path, new: str | bytes) -> None:
    """Replace a file by renaming another one, as programs do that renew certificates."""
    other = path.with_suffix(".new")
    other.write_bytes(new if isinstance(new, bytes) else Path(new).read_bytes())
    os.replace(other, path)


def _certificate(tls: ssl.SSLObject) -> bytes:
    """The server's certificate that a client has received."""
    return tls.getpeercert(True) or b""


def _descriptors() -> int:
    count = 0
    for fd in range(4096):
        try:
            os.fstat(fd)
        except OSError:
            continue
        count += 1
    return count


def _run_in_threads(calls: list[Callable[[], object]]) -> None:
    failures: list[BaseException] = []

    def guarded(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
