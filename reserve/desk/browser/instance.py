"""One instance of a program: a second start opens the page of the first one, and returns.

A running program describes itself in a *state file*, in a folder that only its user can read. A second start of the
same program (:func:`program_name`) reads the file, and asks the server that it names whether it is that program
(:func:`ask`); the server proves it with the key in the file. A file that was left after a crash names a port where
nothing or another program answers; it is replaced. While a program starts it holds a lock, so that of two programs that
are started at the same moment one finds the other.

``start=None`` turns this off: such a program opens no page.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import hmac
import http.client
import json
import os
import re
import secrets
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from reserve.gateways.exchange import WSGIApplication

__all__ = [
    "INSTANCE_PATH", "Answer", "Claim", "InstancePath", "State", "ask", "describe_port_user", "main_file",
    "program_name", "state_folder",
]  # fmt: skip

INSTANCE_PATH = "/.desk/instance"
"""Where a server proves which program it is."""
_PATIENCE = 3.0
"""Seconds that a server has for its proof. One whose handler is busy has not answered by then."""
_LOCK_PATIENCE = 10.0
"""Seconds that a second start waits for one that is just starting."""
_LOCK_FILE = "lock"
"""One for all programs, because a file for each could not be removed while another start may wait for its lock."""
_NONCE = re.compile(r"nonce=([0-9a-f]{32})\Z")
_MOST_STATE = 4096
"""Bytes that a state file has at most."""

StartResponse = Callable[..., Any]


class State(NamedTuple):
    """What a running program says about itself.

    :ivar pid: the number of its process.
    :ivar host: the host of its addresses, as in ``http://127.0.0.1:8080``.
    :ivar port: the TCP port.
    :ivar key: the secret of this start.
    :ivar private: its pages need the start address of :func:`reserve.desk.browser.private.make_start_path`.
    """

    pid: int
    host: str
    port: int
    key: bytes
    private: bool

    @property
    def url(self) -> str:
        """The address of its server, without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}" if self.port == 80 else f"http://{host}:{self.port}"


class Answer(enum.Enum):
    """What came of asking a server whether it is the program of a state."""

    PROVED = "it is"
    BUSY = "it took the connection and does not answer"
    OTHER = "it is not, or there is none"


# ---- which program, and where its file is ----


def main_file(main: object, executable: str, *, frozen: bool) -> str | None:
    """The path of the program that runs; None for an interactive session and for ``python -c``.

    :param main: the module ``__main__``.
    :param executable: as ``sys.executable``.
    :param frozen: this program was made by PyInstaller or the like, and ``executable`` is the program.
    """
    path = executable if frozen else getattr(main, "__file__", None)
    return os.path.realpath(path) if path else None


def program_name(path: str, arguments: Iterable[str], address: str, port: int) -> str:
    """The name of a program's state file: the same for each start with the same arguments.

    :param path: the path of the program.
    :param arguments: those of its command line.
    :param address: where it is to listen, as it was given to ``serve_http``.
    :param port: likewise.
    """
    identity = json.dumps([path, list(arguments), address, port])
    stem = re.sub(r"[^A-Za-z0-9_-]", "_", Path(path).stem)[:40]
    return f"{stem}-{hashlib.sha256(identity.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def state_folder(platform: str, environ: Mapping[str, str]) -> Path | None:
    """The folder for state files, which need not exist; None: this user has none.

    :param platform: as ``sys.platform``.
    :param environ: the environment variables.
    """
    if platform == "win32":
        local = environ.get("LOCALAPPDATA")  # only this user, and administrators, can read it
        return Path(local, "reserve-desk") if local else None
    # Under sudo both can be those of another user, who could not use afterwards what root writes there.
    if (runtime := environ.get("XDG_RUNTIME_DIR")) and _is_own(runtime):
        return Path(runtime, "reserve-desk")
    if (home := environ.get("HOME")) and _is_own(home):
        return Path(home, "Library/Caches" if platform == "darwin" else ".cache", "reserve-desk")
    return None


def _is_own(folder: str) -> bool:
    try:
        return os.name != "posix" or os.stat(folder).st_uid == os.geteuid()
    except OSError:
        return False


def _make_private(folder: Path) -> None:
    """Make a folder that only this user can read. Raises OSError if it cannot be made, or belongs to another user."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name == "posix":
        status = os.lstat(folder)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise PermissionError(f"{folder} belongs to another user, or is a link")
        if status.st_mode & 0o077:
            os.chmod(folder, 0o700)


# ---- the file ----


def _write(path: Path, state: State) -> None:
    """Write a state file at once: a reader gets the former one or this. Its permissions are 0600."""
    fields = {**state._asdict(), "key": state.key.hex()}
    descriptor, name = tempfile.mkstemp(prefix=".", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            json.dump(fields, file)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _read(path: Path) -> State | None:
    """The state in a file; None: there is no file, or it holds something else."""
    try:
        with open(path, "rb") as file:
            fields = json.loads(file.read(_MOST_STATE))
        state = State(**{**fields, "key": bytes.fromhex(fields["key"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    right = (
        type(state.pid) is int and type(state.port) is int and type(state.host) is str and type(state.private) is bool
    )
    return state if right and 0 < state.port < 65536 and state.pid > 0 and len(state.key) >= 16 else None


# ---- the question ----


def ask(state: State, *, patience: float = _PATIENCE) -> Answer:
    """Ask the server that a state names whether it is the program that wrote the state.

    :param patience: the seconds to wait for the answer.
    """
    nonce = secrets.token_hex(16)
    client = http.client.HTTPConnection(state.host, state.port, timeout=patience)
    try:
        client.connect()
    except OSError:
        client.close()
        return Answer.OTHER
    try:
        client.request("GET", f"{INSTANCE_PATH}?nonce={nonce}")
        response = client.getresponse()
        proof = response.read(200)
    except TimeoutError:
        return Answer.BUSY
    except (OSError, http.client.HTTPException):
        return Answer.OTHER
    finally:
        client.close()
    return Answer.PROVED if hmac.compare_digest(proof, _prove(state.key, nonce)) else Answer.OTHER


def _prove(key: bytes, nonce: str) -> bytes:
    return hmac.digest(key, f"instance:{nonce}".encode(), "sha256").hex().encode()


class InstancePath:
    """A WSGI application around another one, which proves to a second start that it is the first.

    :param app: the application.
    :param key: the secret in the state file.
    :param asked: called for each question; then a page is opened soon.
    """

    def __init__(self, app: WSGIApplication, key: bytes, asked: Callable[[], object]) -> None:
        self._app = app
        self._key = key
        self._asked = asked

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != INSTANCE_PATH:
            return self._app(environ, start_response)
        nonce = _NONCE.match(environ.get("QUERY_STRING", ""))
        kind = ("Content-Type", "text/plain; charset=us-ascii")
        if nonce is None:
            start_response("400 Bad Request", [kind])
            return [b"a question is ?nonce= and 32 hexadecimal digits\n"]
        self._asked()
        start_response("200 OK", [kind, ("Cache-Control", "no-store")])
        return [_prove(self._key, nonce[1])]


# ---- the start ----


class Claim:
    """The start of one instance. The thread that starts the server owns it, and uses it in a ``with`` block.

    The lock is held from the beginning of the block until another instance is found, or until :meth:`publish`. If the
    folder cannot be used, each start is the first.

    :param folder: the folder of state files; None: there is none.
    :param name: as :func:`program_name` returns it.
    :ivar running: the instance that runs already; None: this is the first.
    :ivar proved: that instance has proved that it is the one; else it is busy.
    """

    def __init__(self, folder: Path | None, name: str) -> None:
        self._path = None if folder is None else folder / f"{name}.json"
        self._lock: int | None = None
        self._published: State | None = None
        self.running: State | None = None
        self.proved = False

    def __enter__(self) -> Claim:
        if self._path is None:
            return self
        try:
            _make_private(self._path.parent)
            self._lock = os.open(self._path.with_name(_LOCK_FILE), os.O_RDWR | os.O_CREAT, 0o600)
            _lock(self._lock)
        except OSError:
            if self._lock is None:
                self._path = None
                return self
        try:
            self._look(self._path)
        except BaseException:
            self._unlock()
            raise
        return self

    def _look(self, path: Path) -> None:
        state = _read(path)
        if state is None:
            return
        answer = ask(state)
        if answer is Answer.PROVED or (answer is Answer.BUSY and _is_alive(state.pid)):
            self.running, self.proved = state, answer is Answer.PROVED
            self._unlock()

    def publish(self, state: State) -> None:
        """The server listens: write its state file, so that a second start finds it."""
        if self._path is not None:
            with contextlib.suppress(OSError):  # as on a full disk: then a second start does not find it
                _write(self._path, state)
                self._published = state
        self._unlock()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._path is not None and self._published is not None and _read(self._path) == self._published:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _lock(descriptor: int) -> None:
    """Wait until no other process has the lock. Raises OSError when that takes too long; closing it ends the lock."""
    deadline = time.monotonic() + _LOCK_PATIENCE
    while True:
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    """A process of this number runs. On Windows, where a signal of 0 would end it: it is taken for granted."""
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


# ---- a port that something else uses ----


def describe_port_user(port: int, proc: Path = Path("/proc")) -> str | None:
    """The program that listens on a TCP port, as ``"python3 other.py (process 123)"``; None: it is not known.

    Linux says it, and other users' programs only to root.
    """
    inodes = {inode for name in ("tcp", "tcp6") for inode in _listening(proc / "net" / name, port)}
    for folder in proc.iterdir() if inodes and proc.is_dir() else ():
        if not folder.name.isdigit():
            continue
        try:
            found = any(os.readlink(entry) in inodes for entry in (folder / "fd").iterdir())
            command = (folder / "cmdline").read_bytes() if found else b""
        except OSError:  # it belongs to another user, or has ended
            continue
        if found:
            words = command.rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")
            return f"{words:.200} (process {folder.name})"
    return None


def _listening(table: Path, port: int) -> Iterable[str]:
    try:
        lines = table.read_text("ascii").splitlines()[1:]
    except OSError:
        return
    for line in lines:
        fields = line.split()
        if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
            yield f"socket:[{fields[9]}]"
