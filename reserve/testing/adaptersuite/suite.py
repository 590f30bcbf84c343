"""``AdapterSuite``: the list of checks, which of them an adapter can pass, and the timer against one that blocks."""

from __future__ import annotations

import contextlib
import faulthandler
import shutil
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from reserve.testing.adaptersuite.link import Link, LinkError

if TYPE_CHECKING:
    from reserve.ssl.adapter import SSLAdapter

__all__ = ["AdapterSuite", "Check", "check", "check_adapter"]

_TIMEOUT = 60.0
"""Seconds that one check may take; only an adapter that blocks needs more than a few."""

Check: TypeAlias = "Callable[[AdapterSuite], None]"
_CHECKS: dict[str, tuple[Check, frozenset[str]]] = {}


def check(*needs: str) -> Callable[[Check], Check]:
    """Add a function to the suite.

    :param needs: ``encryption``, ``resumption``, ``reload``: the abilities of adapters that the check is for.
    """

    def register(function: Check) -> Check:
        _CHECKS[function.__name__] = function, frozenset(needs)
        return function

    return register


class AdapterSuite:
    """The checks of one adapter. A test owns it and runs one check at a time.

    :param make: makes a new adapter from the paths of a certificate and its key in PEM; the suite prepares it.
    :param first: the paths of a certificate chain and its private key.
    :param second: the same of another one, which replaces the files.
    :param encrypts: False: the adapter sends everything as it is; checks of TLS are left out.
    :param resumes: False: it never resumes a session.
    :param reloads: False: it loads its certificate once.

    With pytest: ``@pytest.mark.parametrize("name", AdapterSuite.names())``, and ``suite.run(name)`` in the test.
    """

    def __init__(
        self,
        make: Callable[[str, str], SSLAdapter],
        first: tuple[str, str],
        second: tuple[str, str],
        *,
        encrypts: bool = True,
        resumes: bool = True,
        reloads: bool = True,
    ) -> None:
        self.make = make
        self.first = first
        self.second = second
        able = {"encryption": encrypts, "resumption": encrypts and resumes, "reload": encrypts and reloads}
        self.abilities = frozenset(name for name, is_able in able.items() if is_able)
        self._links: list[Link] = []
        self._adapter: SSLAdapter | None = None

    @staticmethod
    def names() -> tuple[str, ...]:
        """The names of all checks."""
        return tuple(_CHECKS)

    def fits(self, name: str) -> bool:
        """Say whether the check is for an adapter with these abilities."""
        return _CHECKS[name][1] <= self.abilities

    def run(self, name: str) -> None:
        """Run one check. Raises AssertionError when the adapter does not pass it."""
        function, _ = _CHECKS[name]
        self._adapter = None
        blocked = threading.Event()

        def wake() -> None:
            blocked.set()
            faulthandler.dump_traceback(all_threads=True)
            for link in list(self._links):
                with contextlib.suppress(OSError):
                    link.wire.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(_TIMEOUT, wake)
        timer.daemon = True
        timer.start()
        try:
            function(self)
        except Exception:
            if not blocked.is_set():
                raise
        finally:
            timer.cancel()
            timer.join()
            for link in self._links:
                link.close()
            self._links.clear()
        if blocked.is_set():
            raise LinkError(f"{name}: the session blocked for {_TIMEOUT:g} s; the stacks are on stderr")

    # ---- for the checks ----

    @property
    def adapter(self) -> SSLAdapter:
        """The adapter, the same one throughout a check."""
        if self._adapter is None:
            self._adapter = self.make(*self.first)
            self._adapter.prepare(())
        return self._adapter

    @contextlib.contextmanager
    def files(self) -> Iterator[tuple[Path, Path]]:
        """Copies of the first certificate and its key, which the check may replace."""
        with tempfile.TemporaryDirectory(prefix="reserve-adapter-") as folder:
            cert, key = Path(folder, "cert.pem"), Path(folder, "key.pem")
            shutil.copy(self.first[0], cert)
            shutil.copy(self.first[1], key)
            yield cert, key

    def client(self, version: ssl.TLSVersion | None = None) -> ssl.SSLContext | None:
        """A client's context that trusts every server; None if the adapter does not encrypt."""
        if "encryption" not in self.abilities:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if version is not None:
            context.minimum_version = context.maximum_version = version
        return context

    def link(
        self,
        client: ssl.SSLContext | None = None,
        *,
        adapter: SSLAdapter | None = None,
        session: ssl.SSLSession | None = None,
    ) -> Link:
        """A new connection before its handshake; closed at the end of the check."""
        link = Link(adapter or self.adapter, client or self.client(), session)
        self._links.append(link)
        return link


def check_adapter(
    make: Callable[[str, str], SSLAdapter],
    first: tuple[str, str],
    second: tuple[str, str],
    *,
    encrypts: bool = True,
    resumes: bool = True,
    reloads: bool = True,
) -> None:
    """Run all checks that an adapter's abilities allow: see :class:`AdapterSuite` for the parameters.

    ``check_adapter(MyAdapter, ("a.pem", "a.key"), ("b.pem", "b.key"))``. It needs no server and no network, and takes
    some seconds. Raises AssertionError with the name of the first check that the adapter does not pass.
    """
    suite = AdapterSuite(make, first, second, encrypts=encrypts, resumes=resumes, reloads=reloads)
    for name in filter(suite.fits, suite.names()):
        try:
            suite.run(name)
        except Exception as error:
            raise AssertionError(f"the adapter does not pass {name}: {type(error).__name__}: {error}") from error
