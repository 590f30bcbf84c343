"""The suite as a whole: which checks there are, which of them fit an adapter, and the guard against one that blocks."""

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

_PATIENCE = 60.0
"""Seconds that one check may take; only one that blocks comes near."""

Check: TypeAlias = "Callable[[AdapterSuite], None]"
_CHECKS: dict[str, tuple[Check, frozenset[str]]] = {}


def check(*needs: str) -> Callable[[Check], Check]:
    """Make a function a part of the suite.

    :param needs: ``encryption``, ``resumption``, ``reload``: what an adapter must be able to do for it to make sense.
    """

    def register(function: Check) -> Check:
        _CHECKS[function.__name__] = function, frozenset(needs)
        return function

    return register


class AdapterSuite:
    """The checks of one adapter.

    :param make: makes a new adapter from the paths of a certificate and its key, which are in PEM; what it returns is
        prepared here.
    :param first: the paths of a certificate chain and its private key.
    :param second: the same of another one, that the files are replaced with.
    :param encrypts: False: it passes everything on as it is; checks of TLS are left out.
    :param resumes: False: it never goes on with an earlier session.
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
        """Say whether the check makes sense for this adapter."""
        return _CHECKS[name][1] <= self.abilities

    def run(self, name: str) -> None:
        """Run one check. Raises AssertionError when the adapter does not pass."""
        function, _ = _CHECKS[name]
        self._adapter = None
        blocked = threading.Event()

        def wake() -> None:
            blocked.set()
            faulthandler.dump_traceback(all_threads=True)
            for link in list(self._links):
                with contextlib.suppress(OSError):
                    link.wire.shutdown(socket.SHUT_RDWR)

        guard = threading.Timer(_PATIENCE, wake)
        guard.daemon = True
        guard.start()
        try:
            function(self)
        except Exception:
            if not blocked.is_set():
                raise
        finally:
            guard.cancel()
            guard.join()
            for link in self._links:
                link.close()
            self._links.clear()
        if blocked.is_set():
            raise LinkError(f"{name}: the session has blocked for {_PATIENCE:g} s; the stacks are on stderr")

    # ---- for the checks ----

    @property
    def adapter(self) -> SSLAdapter:
        """One that is the same throughout a check."""
        if self._adapter is None:
            self._adapter = self.make(*self.first)
            self._adapter.prepare(())
        return self._adapter

    @contextlib.contextmanager
    def files(self) -> Iterator[tuple[Path, Path]]:
        """A certificate and a key that may be replaced: copies of the first."""
        with tempfile.TemporaryDirectory(prefix="reserve-adapter-") as folder:
            cert, key = Path(folder, "cert.pem"), Path(folder, "key.pem")
            shutil.copy(self.first[0], cert)
            shutil.copy(self.first[1], key)
            yield cert, key

    def client(self, version: ssl.TLSVersion | None = None) -> ssl.SSLContext | None:
        """A client's context that trusts everybody; None if there is nothing to encrypt."""
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
        made = Link(adapter or self.adapter, client or self.client(), session)
        self._links.append(made)
        return made


def check_adapter(
    make: Callable[[str, str], SSLAdapter],
    first: tuple[str, str],
    second: tuple[str, str],
    *,
    encrypts: bool = True,
    resumes: bool = True,
    reloads: bool = True,
) -> None:
    """Check everything that the engine needs of an adapter: see :class:`AdapterSuite` for the parameters.

    ``check_adapter(MyAdapter, ("a.pem", "a.key"), ("b.pem", "b.key"))``. It needs no server and no network, and takes
    some seconds. Raises AssertionError with the name of the first check that the adapter does not pass.
    """
    suite = AdapterSuite(make, first, second, encrypts=encrypts, resumes=resumes, reloads=reloads)
    for name in filter(suite.fits, suite.names()):
        try:
            suite.run(name)
        except Exception as error:
            raise AssertionError(f"the adapter does not pass {name}: {type(error).__name__}: {error}") from error
