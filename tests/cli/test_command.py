from __future__ import annotations

import errno
import io
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

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
from reserve.apps.http.redirect import RedirectApp
from reserve.cli.banner import urls
from reserve.cli.command import main
from reserve.cli.console import Console
from reserve.cli.signals import StopSignals
from reserve.engine.settings import EngineSettings
from reserve.ssl import BuiltinSSLAdapter, PyOpenSSLAdapter, TLSSettings
from tests.waiting import eventually

ROOT = str(Path(reserve.__file__).parent.parent)
HANDLER = (
    "def handle(socket, client_address, server):\n    socket.sendall(b'hello')\ndef launch(args):\n    return handle\n"
)
CONFIGURED = """
class App:
    def configure(self, values):
        self.values = values
    def __call__(self, socket, client_address, server): ...
def launch(args):
    return App()
"""


class FakeServer:
    """Keeps what it was made with; ``start`` runs ``while_serving`` instead of serving."""

    made: ClassVar[list[FakeServer]] = []
    while_serving: ClassVar[Callable[[FakeServer], None]] = staticmethod(lambda server: None)

    ssl_adapter: Any = None
    aborted = 0

    def __init__(
        self,
        fds: list[socket.socket],
        handle: Any,
        *,
        without_tls: list[socket.socket],
        extra: list[tuple[list[socket.socket], Any]],
        settings: EngineSettings,
        own: bool,
    ) -> None:
        self.sockets, self.handle, self.settings, self.own = fds, handle, settings, own
        self.without_tls, self.extra = without_tls, extra
        self.stops: list[float | None] = []
        self.addresses = [sock.getsockname() for sock in fds]
        self.reloads: list[str] = []
        self.tls = SimpleNamespace(look_now=lambda: self.reloads.append("look"))
        self.log = SimpleNamespace(info=self.reloads.append)
        FakeServer.made.append(self)

    def request_stop(self, timeout: float | None = None) -> None:
        self.stops.append(timeout)

    def start(self) -> None:
        type(self).while_serving(self)
        for sock in (*self.sockets, *self.without_tls, *(sock for sockets, _ in self.extra for sock in sockets)):
            sock.close()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a few modules; the process is as before afterwards."""
    modules = set(sys.modules)
    logger = logging.getLogger("reserve")
    before = (list(logger.handlers), logger.level, logger.propagate, logger.disabled)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for name in [name for name in os.environ if name.startswith(("RESERVE_", "LISTEN_"))]:
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
def passed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], socket.socket]]:
    """``passed(name)`` makes a listening socket that the command will find as inherited."""
    import reserve.sockets.listeners as listeners

    found: list[tuple[str, socket.socket]] = []
    monkeypatch.setattr(listeners, "inherited", lambda environ: list(found))

    def add(name: str) -> socket.socket:
        sock = socket.create_server(("127.0.0.1", 0))
        found.append((name, sock))
        return sock

    yield add
    for _, sock in found:
        sock.close()


# ---- what starts ----


def test_it_serves_and_ends_with_zero(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["app", "cli_plain", "-b", "127.0.0.1:0", "--threads", "4"]) == 0
    (server,) = FakeServer.made
    assert server.settings == EngineSettings(threads=4)
    assert server.own is True
    assert server.handle.__name__ == "handle"
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"reserve {reserve.__version__} serves cli_plain ({place / 'cli_plain.py'})",
        f"    on 127.0.0.1:{server.addresses[0][1]}",
        "    with 4 threads; Ctrl-C stops it after the requests in flight",
    ]


def test_without_bind_it_is_the_default_and_the_banner_says_so(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import reserve.sockets.listeners as listeners

    asked: list[str] = []

    def listen(*addresses: str, backlog: int, unix_mode: int | None, unix_owner: str | None) -> list[socket.socket]:
        asked.extend(addresses)
        assert (backlog, unix_mode, unix_owner) == (7, None, None)
        return [socket.create_server(("127.0.0.1", 0))]

    monkeypatch.setattr(listeners, "listen", listen)
    assert main(["app", "cli_plain", "--backlog", "7"]) == 0
    assert asked == ["127.0.0.1:8080"]
    assert "(the default; --bind changes it)" in capsys.readouterr().err


def test_several_addresses_with_unix_mode(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = place / "s.sock"
    modes: list[int] = []
    FakeServer.while_serving = staticmethod(lambda server: modes.append(path.stat().st_mode & 0o777))
    assert main(["app", "cli_plain", "-b:0", "-b", f"unix:{path}", "--unix-mode=600", "--threads=1"]) == 0
    assert modes == [0o600]
    assert [len(server.sockets) for server in FakeServer.made] == [2]
    err = capsys.readouterr().err
    assert f"    on unix:{path}\n" in err
    assert "with 1 thread;" in err
    assert not path.exists()


def test_directory_and_variables_come_before_the_import(place: Path) -> None:
    (place / "sub").mkdir()
    source = "import os\nseen = os.environ['CLI_COLOUR'], os.getcwd()\n" + HANDLER + "handle.seen = seen\n"
    (place / "sub" / "cli_sub.py").write_text(source)
    assert main(["--chdir", "sub", "--env=CLI_COLOUR=red", "app", "cli_sub", "-b127.0.0.1:0"]) == 0
    assert FakeServer.made[0].handle.seen == ("red", str(place / "sub"))


def test_an_application_gets_its_options(place: Path) -> None:
    assert main(["app", "cli_configured", "-b", "127.0.0.1:0", "--keep-alive", "3", "--max-head=1k"]) == 0
    values = FakeServer.made[0].handle.values
    assert (values["keep_alive"], values["max_head"], values["access_log"]) == (3.0, 1024, True)
    assert not {"threads", "bind", "env", "config", "log_level"} & set(values)


def test_words_for_the_application(place: Path) -> None:
    (place / "cli_words.py").write_text(
        "def launch(args):\n    handle = lambda s, a, v: None\n    handle.args = args\n    return handle\n"
    )
    line = ["app", "cli_words", "one", "-b", "127.0.0.1:0", "--colour", "--", "-h", "--threads"]
    assert main(line) == 0
    assert FakeServer.made[0].handle.args == ["reserve cli_words", "one", "--colour", "-h", "--threads"]


def test_the_error_log_survives_an_application_that_configures_logging(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = "import logging.config\nlogging.config.dictConfig({'version': 1})\n" + HANDLER
    (place / "cli_logging.py").write_text(source)
    FakeServer.while_serving = staticmethod(lambda server: logging.getLogger("reserve").warning("a worker sneezed"))
    assert main(["app", "cli_logging", "-b", "127.0.0.1:0", "--log-level", "warning"]) == 0
    assert " WARNING: a worker sneezed\n" in capsys.readouterr().err
    assert not logging.getLogger("reserve").isEnabledFor(logging.INFO)


# ---- inherited sockets ----


def test_inherited_sockets_are_served(
    place: Path, passed: Callable[[str], socket.socket], capsys: pytest.CaptureFixture[str]
) -> None:
    sockets = [passed("web"), passed("unknown")]
    assert main(["app", "cli_plain"]) == 0
    assert FakeServer.made[0].sockets == sockets
    err = capsys.readouterr().err
    assert "   (inherited as web)\n" in err
    assert "   (inherited)\n" in err


def test_bind_beside_inherited_sockets_is_an_error(
    place: Path, passed: Callable[[str], socket.socket], capsys: pytest.CaptureFixture[str]
) -> None:
    fd = passed("web").fileno()
    try:
        assert main(["app", "cli_plain", "-b", "127.0.0.1:0"]) == 2
    finally:
        os.close(fd)  # a descriptor that is refused stays as it was
    assert (
        "a socket was passed to this process as well; leave --bind out to serve what was passed, or name it too: "
        f"--bind fd:{fd}" in capsys.readouterr().err
    )
    assert FakeServer.made == []


def test_inherited_sockets_may_be_named(place: Path, passed: Callable[[str], socket.socket]) -> None:
    fd = passed("web").fileno()
    assert main(["app", "cli_plain", "-b", "127.0.0.1:0", "-b", f"fd:{fd}"]) == 0
    assert [sock.fileno() for sock in FakeServer.made[0].sockets] == [-1, -1]
    assert len(FakeServer.made[0].addresses) == 2


# ---- TLS ----


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of certificates and keys."""
    folder = tmp_path_factory.mktemp("issued")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    for name in ("a", "b"):
        made = authority.issue_cert(f"{name}.test")
        (folder / f"{name}.pem").write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
        made.private_key_pem.write_to_path(str(folder / f"{name}.key"))
        made.private_key_and_cert_chain_pem.write_to_path(str(folder / f"{name}.both"))
    key = load_pem_private_key((folder / "a.key").read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption("gehe\u00efm".encode()))
    (folder / "locked.key").write_bytes(locked)
    (folder / "password").write_text("gehe\u00efm\r\nsecond line", "utf-8")
    (folder / "wrong").write_text("secret\n")
    (folder / "junk").write_text("neither key nor certificate\n")
    return folder


@pytest.fixture
def at_issued(issued: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder as working directory, where the modules of ``place`` are found as well."""
    monkeypatch.chdir(issued)
    monkeypatch.setattr(sys, "path", [str(place), *sys.path])
    return issued


LISTENS = ["app", "cli_plain", "-b", "127.0.0.1:0"]


def test_every_bind_is_tls_but_the_others(at_issued: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--tls-cert", "a.pem", "--tls-cert=b.pem", "--tls-key", "a.key", "--tls-key", "b.key"]
    more = ["-b", "127.0.0.1:0", "--plain-bind", "127.0.0.1:0", "--tls-min-version", "1.3", "--tls-check=0"]
    assert main([*LISTENS, *words, *more]) == 0
    (server,) = FakeServer.made
    assert isinstance(server.ssl_adapter, BuiltinSSLAdapter)
    assert [files.cert for files in server.ssl_adapter.certificates] == ["a.pem", "b.pem"]
    assert server.ssl_adapter.settings == TLSSettings(min_version="1.3")
    assert server.settings == EngineSettings(tls_check=0)
    assert [len(server.sockets), len(server.without_tls), server.extra] == [2, 1, []]
    shown = [line.rpartition("   ")[2] for line in capsys.readouterr().err.splitlines()[1:4]]
    assert shown == ["(TLS)", "(TLS)", "(without TLS)"]


def test_keys_may_be_with_their_certificates_or_locked(at_issued: Path) -> None:
    assert main([*LISTENS, "--tls-cert", "a.both", "--tls-cert", "b.both"]) == 0
    words = ["--tls-cert", "a.pem", "--tls-key", "locked.key", "--tls-password-file", "password"]
    assert main([*LISTENS, *words]) == 0
    assert len(FakeServer.made) == 2


def test_the_other_adapter(
    at_issued: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--tls-cert", "a.both", "--tls-adapter", "pyopenssl"]
    assert main([*LISTENS, *words]) == 0
    assert isinstance(FakeServer.made[0].ssl_adapter, PyOpenSSLAdapter)
    capsys.readouterr()
    monkeypatch.delitem(sys.modules, "reserve.ssl.pyopenssl")
    monkeypatch.setitem(sys.modules, "OpenSSL", None)
    assert main([*LISTENS, *words]) == 1
    said = capsys.readouterr().err
    assert re.fullmatch(r"reserve: \S+ needs pyOpenSSL, .*pip install 'reserve\[pyopenssl\]'\n", said)


def test_redirects_stand_beside_the_application(at_issued: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--redirect-http", "127.0.0.1:0", "--plain-bind", f"unix:{at_issued / 's'}", "--unix-mode", "600"]
    assert main(["app", "http", "wsgi", "blog", "-b", "127.0.0.1:0", *words, "--tls-cert", "a.both"]) == 0
    (server,) = FakeServer.made
    ((sockets, redirects),) = server.extra
    assert isinstance(redirects, RedirectApp)
    assert (len(sockets), redirects.port) == (1, server.addresses[0][1])
    lines = [line.strip() for line in capsys.readouterr().err.splitlines() if line.startswith("    on ")]
    assert lines[0] == f"on https://127.0.0.1:{redirects.port}/"
    assert lines[1] == f"on unix:{at_issued / 's'}   (without TLS)"
    assert re.fullmatch(r"on http://127\.0\.0\.1:\d+/   \(redirects to https\)", lines[2])


def test_redirects_to_the_port_that_clients_see(at_issued: Path) -> None:
    words = ["-b", "127.0.0.1:0", "--tls-cert", "a.both", "--redirect-http", "127.0.0.1:0", "--redirect-port", "443"]
    assert main(["app", "http", "wsgi", "blog", *words]) == 0
    ((_, redirects),) = FakeServer.made[0].extra
    assert redirects.port == 443


def test_inherited_sockets_by_their_names(
    at_issued: Path, passed: Callable[[str], socket.socket], capsys: pytest.CaptureFixture[str]
) -> None:
    plain, redirect, web, other = (passed(name) for name in ("plain", "redirect", "web", "unknown"))
    assert main(["app", "http", "wsgi", "blog", "--tls-cert", "a.both"]) == 0
    (server,) = FakeServer.made
    assert (server.sockets, server.without_tls) == ([web, other], [plain])
    assert [sockets for sockets, _ in server.extra] == [[redirect]]
    err = capsys.readouterr().err
    assert re.findall(r"on (https?)://\S+   \((.+)\)\n", err) == [
        ("https", "inherited as web"),
        ("https", "inherited"),
        ("http", "without TLS; inherited as plain"),
        ("http", "redirects to https; inherited as redirect"),
    ]


def test_without_a_certificate_the_names_mean_nothing(place: Path, passed: Callable[[str], socket.socket]) -> None:
    sockets = [passed("plain"), passed("redirect")]
    assert main(["app", "cli_plain"]) == 0
    assert (FakeServer.made[0].sockets, FakeServer.made[0].without_tls) == (sockets, [])


def test_an_inherited_socket_may_be_named_plain(at_issued: Path, passed: Callable[[str], socket.socket]) -> None:
    fd, web = passed("web").fileno(), passed("web")
    assert main(["app", "cli_plain", "--tls-cert", "a.both", "--plain-bind", f"fd:{fd}"]) == 0
    (server,) = FakeServer.made
    assert server.sockets == [web]
    assert len(server.without_tls) == 1


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--tls-key", "a.key"], 2, "--tls-key is for TLS, which needs a certificate: --tls-cert FILE\n"),
        (["--handshake-timeout", "3"], 2, "--handshake-timeout is for TLS, which needs a certificate"),
        (["--plain-bind", "127.0.0.1:0"], 2, "--plain-bind is for TLS, which needs a certificate"),
        (["--tls-cert", "a.pem", "--tls-cert", "b.pem", "--tls-key", "a.key"], 2, "--tls-cert is given 2 times and "),
        (["--tls-cert", "a.pem", "--tls-key", "a.key", "--tls-key", "b.key"], 2, "--tls-cert is given once and "),
        (["--tls-cert", "a.both", "--tls-client-cert", "required"], 2, "needs client_ca (--tls-client-ca)"),
        (["--tls-cert", "a.both", "--tls-client-ca", "ca.pem"], 2, "(--tls-client-ca, --tls-crl) do nothing unless"),
        (["--tls-cert", "a.both", "--redirect-http", ":0"], 2, "(--redirect-http) are for HTTP applications (reserve"),
        (
            ["--tls-cert", "a.both", "--redirect-port", "443"],
            2,
            "--redirect-port is for redirects to https, and there ",
        ),
        (["--redirect-port", "443"], 2, "--redirect-port is for TLS, which needs a certificate"),
        (["--redirect-port", "0"], 2, "--redirect-port"),
        (["--tls-cert", "a.both", "--plain-bind", "[::1]:7"], 2, "[::1]:7 is given as --bind and as --plain-bind; it"),
        (
            ["--tls-cert", "nowhere"],
            1,
            "the certificate nowhere (--tls-cert) cannot be read: No such file or ",
        ),
        (["--tls-cert", "."], 1, "the certificate . (--tls-cert) cannot be read: Is a directory\n"),
        (["--tls-cert", "junk"], 1, "junk (--tls-cert) holds no certificate that can be used: there is no"),
        (["--tls-cert", "a.pem"], 1, "a.pem (--tls-cert) holds no private key in PEM; --tls-key names the file th"),
        (["--tls-cert", "a.pem", "--tls-key", "nowhere"], 1, "the file nowhere (--tls-key) cannot be read: No such"),
        (["--tls-cert", "a.pem", "--tls-key", "junk"], 1, "junk (--tls-key) holds no private key in PEM\n"),
        (
            ["--tls-cert", "a.pem", "--tls-key", "b.key"],
            1,
            "b.key (--tls-key) does not belong to the certificate a.pem",
        ),
        (["--tls-cert", "a.pem", "--tls-key", "locked.key"], 1, "it is encrypted, and no password was given (--tls-p"),
        (
            ["--tls-cert", "a.pem", "--tls-key", "locked.key", "--tls-password-file", "wrong"],
            1,
            "the password (--tls-password-file) does not open the private key locked.key (--tls-key)\n",
        ),
        (["--tls-cert", "a.both", "--tls-password-file", "nowhere"], 1, "the password file nowhere (--tls-password-f"),
        (["--tls-cert", "a.both", "--tls-ciphers", "ROT13"], 1, "OpenSSL knows no cipher of 'ROT13' (--tls-ciphers)\n"),
        (
            ["--tls-cert", "a.both", "--tls-client-cert", "optional", "--tls-client-ca", "junk"],
            1,
            "junk (--tls-client-ca) cannot be used for clients' certificates: there is no PEM block CERTIFICATE in it",
        ),
        (
            ["--tls-cert", "a.both", "--tls-client-cert=required", "--tls-client-ca=a.pem", "--tls-crl=a.pem"],
            1,
            "a.pem (--tls-crl) cannot be used for clients' certificates: there is no PEM block X509 CRL in it\n",
        ),
    ],
)
def test_a_mistake_about_tls(
    at_issued: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str
) -> None:
    bind = ["-b", "[::1]:7"] if "[::1]:7" in words else ["-b", "127.0.0.1:0"]
    assert main(["app", "cli_plain", *bind, *words]) == code
    err = capsys.readouterr().err
    assert err.startswith("reserve: ")
    assert message in err
    assert err.count("\n") == 1
    assert FakeServer.made == []


def test_a_certificate_that_may_not_be_read(
    at_issued: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def forbidden(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_bytes", forbidden)  # root may read everything, so no file can show it
    assert main([*LISTENS, "--tls-cert", "a.both"]) == 1
    assert capsys.readouterr().err == "reserve: the certificate a.both (--tls-cert) cannot be read: Permission denied\n"


def test_a_hang_up_has_the_certificates_looked_at(at_issued: Path) -> None:
    def while_serving(server: FakeServer) -> None:
        for count in (1, 2):
            signal.raise_signal(signal.SIGHUP)
            eventually(lambda count=count: len(server.reloads) == count)

    before = signal.getsignal(signal.SIGHUP)
    FakeServer.while_serving = staticmethod(while_serving)
    assert main([*LISTENS, "--tls-cert", "a.both"]) == 0
    assert signal.getsignal(signal.SIGHUP) is before
    assert FakeServer.made[0].stops == []


def test_without_a_certificate_a_hang_up_finds_nothing_to_reload(place: Path) -> None:
    def while_serving(server: FakeServer) -> None:
        signal.raise_signal(signal.SIGHUP)
        eventually(lambda: server.reloads)

    before = signal.getsignal(signal.SIGHUP)
    FakeServer.while_serving = staticmethod(while_serving)
    assert main(LISTENS) == 0
    (server,) = FakeServer.made
    assert server.stops == []
    (line,) = server.reloads
    assert line.startswith("SIGHUP: there is nothing to reload; ")
    assert signal.getsignal(signal.SIGHUP) is before


def test_a_hang_up_during_the_import_changes_nothing(place: Path) -> None:
    (place / "cli_hung.py").write_text("import signal\nsignal.raise_signal(signal.SIGHUP)\n" + HANDLER)
    assert main(["app", "cli_hung", "-b", "127.0.0.1:0"]) == 0


@pytest.mark.parametrize(
    ("before", "gone", "stops"),
    [
        (signal.SIG_DFL, True, [None]),
        (signal.SIG_DFL, False, []),
        (signal.SIG_IGN, True, []),  # nohup
    ],
)
def test_a_terminal_that_goes_is_an_orderly_stop(
    place: Path, monkeypatch: pytest.MonkeyPatch, before: signal.Handlers, gone: bool, stops: list[None]
) -> None:
    terminal = [True]
    monkeypatch.setattr("reserve.cli.signals._has_terminal", lambda: terminal[0])

    def while_serving(server: FakeServer) -> None:
        terminal[0] = not gone
        for count in (1, 2):  # the kernel and the shell send one each, and that is no second signal
            signal.raise_signal(signal.SIGHUP)
            eventually(lambda count=count: server.stops or len(server.reloads) == count)

    was = signal.signal(signal.SIGHUP, before)
    try:
        FakeServer.while_serving = staticmethod(while_serving)
        assert main(LISTENS) == 0
    finally:
        signal.signal(signal.SIGHUP, was)
    assert FakeServer.made[0].stops == stops


# ---- what a mistake gets ----


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ([], 2, "reserve: the word 'app' is missing; write: reserve app NAME\n"),
        (["http", "wsgi", "blog"], 2, "write: reserve app http wsgi blog\n"),
        (["app"], 2, "reserve: the application's name is missing"),
        (["app", "cli_plain", "--threads", "x"], 2, "reserve: --threads is 'x'; allowed is a whole number"),
        (["app", "cli_plain", "--threads"], 2, "reserve: --threads needs a value"),
        (["app", "cli_plain", "--thread", "4"], 2, "did you mean --threads? put it after -- to pass it on\n"),
        (["app", "cli_plain", "--keep-alive", "4"], 2, "reserve: --keep-alive is for HTTP applications"),
        (["app", "cli_plain", "-b", "8080"], 2, "reserve: --bind: cannot listen on '8080'"),
        (
            ["app", "cli_plain", "--unix-mode", "600"],
            2,
            "reserve: --unix-mode is for --bind unix:PATH, and there is no",
        ),
        (["app", "cli_plain", "-b", "192.0.2.1:0"], 1, "reserve: cannot listen on 192.0.2.1:0: "),
        (["app", "cli_plain", "--chdir", "nowhere"], 1, "reserve: --chdir: cannot change to nowhere: No such file"),
        (["app", "cli_configured", "--spool-dir", "nowhere"], 1, "reserve: --spool-dir: nowhere is not a directory"),
        (["app", "cli_plain", "--config", "nowhere"], 1, "(named by --config): No such file"),
        (["app", "cli_nowhere"], 1, "reserve: there is no module named cli_nowhere; looked in "),
        (["app", "cli_none"], 1, "reserve: cli_none gave None, which is not a handler"),
        (["app", "cli_plain.py"], 2, "looks like a file"),
    ],
)
def test_one_sentence_and_the_exit_code(
    place: Path, capsys: pytest.CaptureFixture[str], line: list[str], code: int, message: str
) -> None:
    (place / "cli_none.py").write_text("def launch(args): ...\n")
    free = [] if any(word.startswith("-b") for word in line) or line[:1] != ["app"] else ["-b", "127.0.0.1:0"]
    assert main(line[:2] + free + line[2:] if len(line) > 1 else line) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert FakeServer.made == []


def test_a_busy_address(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "cli_loud.py").write_text("print('imported')\n" + HANDLER)
    with closing(socket.create_server(("127.0.0.1", 0))) as busy:
        port = busy.getsockname()[1]
        assert main(["app", "cli_loud", "-b", f"127.0.0.1:{port}"]) == 1
    out, err = capsys.readouterr()
    assert f"reserve: cannot listen on 127.0.0.1:{port}: " in err
    assert out == ""  # a wrong address does not cost an import


def test_a_bad_application_leaves_nothing_behind(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "cli_bad.py").write_text("1 / 0\n")
    path = place / "s.sock"
    assert main(["app", "cli_bad", "-b", f"unix:{path}", "-b", "127.0.0.1:0"]) == 1
    assert not path.exists()
    assert capsys.readouterr().err.splitlines() == [
        "reserve: importing cli_bad failed:",
        "Traceback (most recent call last):",
        f'  File "{place / "cli_bad.py"}", line 1, in <module>',
        *(["    1 / 0", "    ~~^~~"] if sys.version_info >= (3, 11) else ["    1 / 0"]),
        "ZeroDivisionError: division by zero",
    ]


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        ("import sys\nsys.exit(3)\n", 3, "sys.exit(3), in {file}, line 2"),
        ("raise SystemExit\n", None, "sys.exit(), in {file}, line 1"),
        ("import _sitebuiltins\n_sitebuiltins.Quitter('', '')(4)\n", 4, "sys.exit(4), in {file}, line 2"),
        ("def launch(args):\n    raise SystemExit(0)\n", 0, "sys.exit(0), in {file}, line 2"),
    ],
)
def test_an_application_that_exits_is_named_and_leaves_nothing_behind(
    place: Path, capsys: pytest.CaptureFixture[str], source: str, code: object, said: str
) -> None:
    (place / "cli_exit.py").write_text(source)
    path = place / "s.sock"
    with pytest.raises(SystemExit) as caught:
        main(["app", "cli_exit", "-b", f"unix:{path}"])
    assert caught.value.code == code
    assert not path.exists()
    said = said.format(file=place / "cli_exit.py")
    assert capsys.readouterr().err == f"reserve: cli_exit ended the process before it served: {said}\n"


def test_an_application_that_says_itself_why_it_exits(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "cli_exit.py").write_text("import sys\nsys.exit('no database')\n")
    with pytest.raises(SystemExit) as caught:
        main(["app", "cli_exit", "-b", "127.0.0.1:0"])
    assert caught.value.code == "no database"
    assert capsys.readouterr().err == ""


def test_an_application_that_shows_its_help_is_not_blamed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "cli_help.py").write_text(
        "import argparse\ndef launch(args):\n    argparse.ArgumentParser().parse_args(args[1:])\n"
    )
    with pytest.raises(SystemExit) as caught:
        main(["app", "cli_help", "-b", "127.0.0.1:0", "--", "-h"])
    assert caught.value.code == 0
    assert capsys.readouterr().err == ""


def test_a_stop_that_cut_something_off_has_a_code_of_its_own(place: Path) -> None:
    def while_serving(server: FakeServer) -> None:
        server.aborted = 2

    FakeServer.while_serving = staticmethod(while_serving)
    assert main(LISTENS) == 3


@pytest.mark.parametrize("stream", [None, "full"])
def test_a_banner_that_cannot_be_written_is_no_reason(
    place: Path, monkeypatch: pytest.MonkeyPatch, stream: str | None
) -> None:
    served: list[FakeServer] = []
    FakeServer.while_serving = staticmethod(served.append)
    (place / "http.py").write_text("")  # which a word is said about
    (place / "cli_app.py").write_text("def app(environ, start_response): ...\n")
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stderr", None if stream is None else full)
        assert main(["app", "http", "wsgi", "cli_app", "-b", "127.0.0.1:0"]) == 0
        assert main(["app", "cli_nowhere", "-b", "127.0.0.1:0"]) == 1
    assert served == FakeServer.made


def test_a_hidden_file_is_mentioned(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "http.py").write_text("")
    main(["app", "http", "-b", "127.0.0.1:0"])
    assert capsys.readouterr().err.startswith(
        f"reserve: http is reserve's own application and hides {place / 'http.py'}"
    )


@pytest.mark.parametrize("name", ["cli_wsgi:app", "cli_wsgi"])
def test_a_wsgi_application_is_no_handler(place: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (place / "cli_wsgi.py").write_text("def app(environ, start_response): ...\ndef launch(args):\n    return app\n")
    assert main(["app", name, "-b", "127.0.0.1:0"]) == 1
    assert capsys.readouterr().err == (
        f"reserve: {name} cannot be called as a handler(socket, client_address, server): too many positional "
        f"arguments; to serve it with WSGI write: reserve app http wsgi {name}\n"
    )
    assert FakeServer.made == []


def test_a_handler_that_takes_too_little(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "cli_short.py").write_text("def handle(socket): ...\n")
    assert main(["app", "cli_short:handle", "-b", "127.0.0.1:0"]) == 1
    assert capsys.readouterr().err.endswith("(socket, client_address, server): too many positional arguments\n")


def test_variables_that_are_no_options_are_named_once(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RESERVE_API_KEY", "secret")
    assert main(["app", "cli_plain", "-b", "127.0.0.1:0"]) == 0
    err = capsys.readouterr().err
    assert err.startswith("reserve: RESERVE_API_KEY in the environment is no option of reserve, and left alone\n")
    assert "secret" not in err
    for number in range(6):
        monkeypatch.setenv(f"RESERVE_X{number}", "")
    assert main(["app", "cli_plain", "-b", "127.0.0.1:0"]) == 0
    assert capsys.readouterr().err.startswith(
        "reserve: RESERVE_API_KEY, RESERVE_X0, RESERVE_X1, RESERVE_X2, RESERVE_X3 and 2 more in the environment are no "
    )


@pytest.mark.parametrize("module", ["http", "ssl"])
def test_a_file_that_hides_what_reserve_needs(tmp_path: Path, module: str) -> None:
    (tmp_path / f"{module}.py").write_text("def app(environ, start_response): ...\n")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RESERVE_")}
    line = ["app", "http", "wsgi", f"{module}:app", "-b", "127.0.0.1:0"]
    program = f"import sys; sys.path[:1] = []; sys.argv[1:] = {line}; from reserve.__main__ import main; exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path, env={**environ, "PYTHONPATH": ROOT}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert last.endswith(f"; ./{module}.py hides Python's own module {module}: rename it")
    assert "Traceback" not in done.stderr


# ---- help ----


def test_help_names_the_application(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-h"]) == 0
    assert capsys.readouterr().out.startswith("usage: reserve [server options] app NAME")
    assert main(["app", "http", "wsgi", "blog", "--threads", "-x", "--help"]) == 0
    out = capsys.readouterr().out
    assert "reserve app http wsgi blog -- -h" in out
    assert "--mount /PREFIX=NAME" in out
    assert main(["app", "cli_plain", "-h"]) == 0
    assert "reserve app cli_plain -- -h" in capsys.readouterr().out
    assert FakeServer.made == []


def test_version(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"reserve {reserve.__version__}\n"


@pytest.mark.parametrize(
    ("address", "scheme", "expected"),
    [
        ("127.0.0.1:8080", "http", ["http://127.0.0.1:8080/"]),
        ("0.0.0.0:80", "http", ["http://0.0.0.0/", "http://localhost/"]),
        ("[::]:8080", "http", ["http://[::]:8080/", "http://localhost:8080/"]),
        ("[::1]:80", "http", ["http://[::1]/"]),
        ("unix:/run/x.sock", "http", ["unix:/run/x.sock"]),
        ("[::]:7", "", ["[::]:7"]),
    ],
)
def test_urls(address: str, scheme: str, expected: list[str]) -> None:
    assert urls(address, scheme) == expected


# ---- signals ----


def test_the_first_signal_drains_and_the_second_stops_at_once(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def while_serving(server: FakeServer) -> None:
        signal.raise_signal(signal.SIGTERM)
        eventually(lambda: server.stops == [None])
        signal.raise_signal(signal.SIGINT)
        eventually(lambda: server.stops == [None, 0])

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    FakeServer.while_serving = staticmethod(while_serving)
    assert main(["app", "cli_plain", "-b", "127.0.0.1:0", "--stop-timeout", "9"]) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    err = capfd.readouterr().err
    assert "requests in flight have 9 s, a second signal stops at once\n" in err
    assert err.endswith("reserve: stopping at once\n")


def test_a_signal_right_behind_the_banner_is_an_orderly_stop(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            if "Ctrl-C stops it" in text:
                signal.raise_signal(signal.SIGTERM)
            return super().write(text)

    monkeypatch.setattr(sys, "stderr", Stream())
    assert main(["app", "cli_plain", "-b", "127.0.0.1:0"]) == 0
    assert FakeServer.made[0].stops == [None]


def test_a_signal_counts_while_the_main_thread_waits_for_a_lock(place: Path) -> None:
    def while_serving(server: FakeServer) -> None:
        lock = threading.Lock()
        lock.acquire()
        server.request_stop = lambda timeout=None: lock.release()  # type: ignore[method-assign]
        main_thread = threading.get_ident()

        def kill() -> None:
            eventually(lambda: "waits" in sys._current_frames()[main_thread].f_locals)
            # To this thread, so that the signal does not break off what the main thread waits in.
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

        killer = threading.Thread(target=kill)
        killer.start()
        waits = True
        assert lock.acquire(timeout=20) is waits
        killer.join()

    FakeServer.while_serving = staticmethod(while_serving)
    assert main(["app", "cli_plain", "-b", "127.0.0.1:0"]) == 0


def test_a_signal_during_the_import_leaves_nothing_behind(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "cli_slow.py").write_text("import signal\nsignal.raise_signal(signal.SIGTERM)\n")
    path = place / "s.sock"
    assert main(["app", "cli_slow", "-b", f"unix:{path}"]) == 1
    assert not path.exists()
    assert capsys.readouterr().err == "reserve: interrupted before it served\n"


def test_ours_count_when_the_application_took_the_signal(place: Path) -> None:
    source = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + HANDLER
    (place / "cli_taker.py").write_text(source)
    before = signal.getsignal(signal.SIGTERM)
    FakeServer.while_serving = staticmethod(lambda server: signal.raise_signal(signal.SIGTERM))
    assert main(["app", "cli_taker", "-b", "127.0.0.1:0"]) == 0
    assert FakeServer.made[0].stops == [None]
    assert signal.getsignal(signal.SIGTERM) is before


def test_off_the_main_thread_no_signal_is_touched() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[Any] = []

    def run() -> None:
        signals = StopSignals(Console())
        signals.open()
        seen.append(signal.getsignal(signal.SIGTERM))
        signals.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


# ---- the real thing ----


@contextmanager
def running(directory: Path, *line: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The command in a process of its own: the process, and the port that its banner shows."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RESERVE_")}
    environ["PYTHONPATH"] = ROOT
    process = subprocess.Popen(
        [sys.executable, "-m", "reserve", "app", *line, "-b", "127.0.0.1:0"],
        cwd=directory, env=environ, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        lines: list[str] = []
        while not (lines and "Ctrl-C" in lines[-1]):
            lines.append(process.stderr.readline())
            assert lines[-1], f"no banner but {lines}"
        yield process, int(lines[1].rpartition(":")[2])
    finally:
        process.kill()
        process.communicate()


def test_a_client_is_answered_and_a_signal_ends_it(tmp_path: Path) -> None:
    (tmp_path / "cli_plain.py").write_text(HANDLER)
    for number in (signal.SIGINT, signal.SIGTERM):
        with running(tmp_path, "cli_plain") as (process, port):
            with socket.create_connection(("127.0.0.1", port), timeout=60) as client, client.makefile("rb") as answer:
                assert answer.read() == b"hello"
            process.send_signal(number)
            _, err = process.communicate(timeout=60)
            assert process.returncode == 0
            assert err.startswith("reserve: stopping; requests in flight have 30 s")


def test_a_second_signal_does_not_wait_for_a_handler(tmp_path: Path) -> None:
    (tmp_path / "cli_stuck.py").write_text(
        "def handle(socket, client_address, server):\n    socket.sendall(b'!')\n    socket.settimeout(None)\n"
        "    socket.recv(1)\ndef launch(args):\n    return handle\n"
    )
    with running(tmp_path, "cli_stuck", "--stop-timeout", "1h") as (process, port):
        assert process.stderr is not None
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            assert client.recv(1) == b"!"
            process.send_signal(signal.SIGTERM)
            assert "stopping; requests in flight have 3600 s" in process.stderr.readline()
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
            assert process.returncode == 3
