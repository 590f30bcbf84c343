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

_THREADS, _EACH = 6, 5


@check()
def many_threads_one_adapter(suite: AdapterSuite) -> None:
    """Sessions of one adapter begin and end on several threads at once."""
    adapter = suite.adapter

    def visit(number: int) -> None:
        for turn in range(_EACH):
            link = suite.link(adapter=adapter).shake()
            data = b"%d.%d" % (number, turn)
            link.send(data)
            assert link.secure.recv_now(100) == data
            link.secure.send_now(data)
            assert link.receive() == data
            link.close()

    _together([lambda number=number: visit(number) for number in range(_THREADS)])  # type: ignore[misc]


@check()
def one_thread_reads_and_one_writes(suite: AdapterSuite) -> None:
    """The socket that applications get: both directions at once, each more than the buffers hold."""
    link = suite.link().shake()
    size = 1_000_000
    link.secure.settimeout(30)
    got: list[bytes] = []

    def read() -> None:
        left = size
        while left:
            data = link.secure.recv(min(left, 65536))
            assert data
            got.append(data)
            left -= len(data)

    def client() -> None:
        content = left = b"c" * size
        received = 0
        waiting = b""
        while left or waiting or received < size:
            if not waiting:
                waiting, left = link.encrypt(left[:16384]) if left else b"", left[16384:]
            with contextlib.suppress(BlockingIOError):
                waiting = waiting[link.wire.send(waiting) :] if waiting else b""
            data = link.receive()
            assert set(data) <= set(b"s")
            received += len(data)
        assert received == len(content)

    _together([read, lambda: link.secure.sendall(b"s" * size), client])
    assert b"".join(got) == b"c" * size


@check()
def no_descriptor_is_left(suite: AdapterSuite) -> None:
    """Neither by sessions that ended well nor by those that never shook hands."""
    suite.link().shake().close()
    before = _descriptors()
    for _ in range(10):
        suite.link().shake().close()
        link = suite.link()
        link.wire.sendall(link.speak()[:20])
        if suite.fits("handshake_byte_by_byte"):
            link.step()
        link.close()
    assert _descriptors() <= before, "descriptors are left open"


@check()
def no_cycle_is_left(suite: AdapterSuite) -> None:
    """A session that is closed and forgotten is gone at once, without the collector of cycles; failed ones, too."""
    adapter, client = suite.adapter, suite.client()
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for fails in (False, True):
            link = Link(adapter, client).shake()
            link.send(b"content")
            assert link.secure.recv_now(100) == b"content"
            if fails:
                link.wire.close()
                with contextlib.suppress(OSError):
                    link.secure.recv_now(100)
            link.close()
            watched = [weakref.ref(one) for one in (link.secure, link.secure._socket)]
            del link
            assert [one() for one in watched] == [None, None], "something still refers to a session that was closed"
    finally:
        if collecting:
            gc.enable()


@check()
def what_applications_are_told(suite: AdapterSuite) -> None:
    """The environ of a session has texts only, and says HTTPS."""
    told = suite.link().shake().secure.environ()
    assert all(type(name) is str and type(value) is str for name, value in told.items())
    if "encryption" in suite.abilities:
        assert told.get("HTTPS") == "on"


@check("reload")
def new_certificates(suite: AdapterSuite) -> None:
    """New sessions get the new certificate, those that are open go on; files that cannot be used change nothing."""
    with suite.files() as (cert, key):
        adapter = suite.make(str(cert), str(key))
        adapter.prepare(())
        assert not adapter.changed(), "the files are the ones that were loaded"
        old = suite.link(adapter=adapter).shake()
        begun = suite.link(adapter=adapter)
        begun.wire.sendall(begun.speak())
        begun.step()

        _replace(cert, suite.second[0])
        assert adapter.changed(), "a file was replaced"
        try:
            adapter.reload()
        except StartupError:
            pass
        else:
            raise AssertionError("the new certificate was taken with the old key")
        assert not adapter.changed(), "what could not be loaded is not to be tried again before it changes"
        assert _shown(suite.link(adapter=adapter).shake().tls) == _shown(old.tls), "the old certificate stays"

        _replace(key, suite.second[1])
        assert adapter.changed()
        adapter.reload()
        assert not adapter.changed()
        new = suite.link(adapter=adapter).shake()
        assert _shown(new.tls) != _shown(old.tls), "a new session has the old certificate"
        for link in (old, begun.shake(), new):
            link.send(b"content")
            assert link.secure.recv_now(100) == b"content"

        for broken in (b"", b"-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n"):
            _replace(cert, broken)
            try:
                adapter.reload()
            except StartupError:
                pass
            else:
                raise AssertionError(f"{broken!r} was taken for a certificate")
        cert.unlink()
        assert adapter.changed()
        try:
            adapter.reload()
        except ReserveError:
            pass
        else:
            raise AssertionError("a file that is not there was taken for a certificate")
        assert _shown(suite.link(adapter=adapter).shake().tls) == _shown(new.tls), "the last good one stays"


def _replace(path: Path, new: str | bytes) -> None:
    """As the programs do that renew certificates: another file takes the name."""
    other = path.with_suffix(".new")
    other.write_bytes(new if isinstance(new, bytes) else Path(new).read_bytes())
    os.replace(other, path)


def _shown(tls: ssl.SSLObject) -> bytes:
    return tls.getpeercert(True) or b""


def _descriptors() -> int:
    found = 0
    for fd in range(4096):
        try:
            os.fstat(fd)
        except OSError:
            continue
        found += 1
    return found


def _together(calls: list[Callable[[], object]]) -> None:
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
