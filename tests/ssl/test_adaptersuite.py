"""Every adapter passes the suite that reserve ships, and the suite finds broken sessions."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from reserve.errors import TLSError
from reserve.ssl import BuiltinSSLAdapter
from reserve.ssl.builtinsession import BuiltinSession
from reserve.ssl.certadapter import CertificateAdapter
from reserve.ssl.clienthello import ClientHello
from reserve.testing import AdapterSuite, check_adapter
from tests.authority import Files
from tests.ssl.links import each_adapter
from tests.ssl.plainadapter import PlainAdapter


@pytest.mark.parametrize("name", AdapterSuite.names())
@each_adapter
def test_an_adapter_passes(
    adapter: type[CertificateAdapter[Any]], name: str, certificate: Files, other_certificate: Files
) -> None:
    AdapterSuite(adapter, certificate[:2], other_certificate[:2]).run(name)


def test_an_adapter_that_does_not_encrypt_passes_the_checks_that_fit(
    certificate: Files, other_certificate: Files
) -> None:
    check_adapter(PlainAdapter, certificate[:2], other_certificate[:2], encrypts=False)


class IgnoresMissingCloseNotify(BuiltinSession):
    def read(self, size: int) -> bytes:
        try:
            return super().read(size)
        except ConnectionAbortedError:
            return b""


class SendsNoCloseNotify(BuiltinSession):
    def close_notify(self) -> None:
        """Nothing."""


class ReportsNothingPending(BuiltinSession):
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


class ReportsTooFewBytesWritten(BuiltinSession):
    def write(self, data: bytes | memoryview) -> int:
        return min(super().write(data), 16000)


class ReportsNoResumption(BuiltinSession):
    def resumed(self) -> bool:
        return False


class RefersToItself(BuiltinSession):
    __slots__ = ("me",)

    def __init__(self, select_context: Callable[[ClientHello], ssl.SSLContext], sock: socket.socket) -> None:
        super().__init__(select_context, sock)
        self.me = self


class RaisesAnotherError(BuiltinSession):
    def read(self, size: int) -> bytes:
        try:
            return super().read(size)
        except TLSError as error:
            raise ConnectionResetError(str(error)) from None


@pytest.mark.parametrize(
    ("session", "check"),
    [
        (IgnoresMissingCloseNotify, "an_end_without_close_notify_raises"),
        (SendsNoCloseNotify, "the_server_sends_close_notify"),
        (ReportsNothingPending, "what_was_decrypted_is_pending"),
        (Blocks, "handshake_byte_by_byte"),
        (ReportsTooFewBytesWritten, "writes_into_a_full_buffer"),
        (ReportsNoResumption, "sessions_resume"),
        (RefersToItself, "no_cycle_is_left"),
        (RaisesAnotherError, "garbage_after_the_handshake"),
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

    with pytest.raises(AssertionError, match="reload_takes_new_certificates"):
        check_adapter(Broken, certificate[:2], other_certificate[:2])
    check_adapter(Broken, certificate[:2], other_certificate[:2], reloads=False)
