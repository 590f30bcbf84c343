"""Fixtures: a working directory with modules, inherited sockets, and certificates."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

import reserve
import reserve.engine.server
from tests.cli.fakes import CONFIGURED, HANDLER, FakeServer


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a few modules. Afterwards the state of the process is restored."""
    modules = set(sys.modules)
    logger = logging.getLogger("reserve")
    before = (list(logger.handlers), logger.level, logger.propagate, logger.disabled)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for name in [
        name for name in os.environ if name.startswith(("RESERVE_", "LISTEN_")) or name in ("PORT", "WEB_CONCURRENCY")
    ]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(FakeServer, "made", [])
    monkeypatch.setattr(FakeServer, "while_serving", staticmethod(lambda server: None))
    monkeypatch.setattr(reserve.engine.server, "Server", FakeServer)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cli_plain.py").write_text(HANDLER)
    (tmp_path / "cli_configured.py").write_text(CONFIGURED)
    yield tmp_path
    logger.handlers[:], logger.level, logger.propagate, logger.disabled = before
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def inherit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], socket.socket]]:
    """``inherit(name)`` makes a listening socket that the command finds as inherited."""
    import reserve.sockets.listeners as listeners

    sockets: list[tuple[str, socket.socket]] = []
    monkeypatch.setattr(listeners, "inherited_sockets", lambda environ: list(sockets))

    def add(name: str) -> socket.socket:
        sock = socket.create_server(("127.0.0.1", 0))
        sockets.append((name, sock))
        return sock

    yield add
    for _, sock in sockets:
        sock.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of certificates and keys."""
    directory = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    for name in ("a", "b"):
        issued = authority.issue_cert(f"{name}.test")
        (directory / f"{name}.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(directory / f"{name}.key"))
        issued.private_key_and_cert_chain_pem.write_to_path(str(directory / f"{name}.both"))
    key = load_pem_private_key((directory / "a.key").read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption("gehe\u00efm".encode()))
    (directory / "locked.key").write_bytes(locked)
    (directory / "password").write_text("gehe\u00efm\r\nsecond line", "utf-8")
    (directory / "wrong").write_text("secret\n")
    (directory / "junk").write_text("neither key nor certificate\n")
    return directory


@pytest.fixture
def tls_workdir(certificates: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of certificates as working directory; the modules of ``workdir`` can be imported too."""
    monkeypatch.chdir(certificates)
    monkeypatch.setattr(sys, "path", [str(workdir), *sys.path])
    return certificates
