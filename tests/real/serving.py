"""A command that serves, as a process of its own: started, known by its banner, stopped by a signal."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.waiting import PATIENCE as PATIENCE

SITES = Path(__file__).parent / "sites"
BANNER_ENDS = "Ctrl-C stops it after the requests in flight"
STOPPING = "reserve: stopping; requests in flight have 30 s, a second signal stops at once"


def clean_environ(**variables: str) -> dict[str, str]:
    """Nothing of the tests' own settings gets into a process: it has to find reserve where pip put it."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "PYTEST", "RESERVE_", "LISTEN_"))
    }
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "default::ResourceWarning", **variables}


class Served:
    """Runs ``command`` while the ``with`` block runs; then SIGTERM, and it has to end with ``ends``.

    What it said on standard error between its banner and its end has to be ``says``, line by line (a pattern for the
    whole line each) and nothing else, so that no warning and no traceback goes unseen.

    :param command: the words; they make a process that prints reserve's banner.
    :param says: the lines expected between the banner and the stop; None: the test looks at ``said`` itself.
    :param ends: the exit code.
    :param waits: enter the block when the banner is there, not before.
    :param cwd: its working directory, by default that of the sites.
    """

    def __init__(
        self,
        *command: str,
        says: Sequence[str] | None = (),
        ends: int = 0,
        cwd: Path = SITES,
        environ: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        waits: bool = True,
    ) -> None:
        self._command = command
        self._says = says
        self._ends = ends
        self._options = {"cwd": cwd, "env": clean_environ(**(environ or {})), "pass_fds": pass_fds}
        self._waits = waits
        self._changed = threading.Condition()
        self._ended = False
        self.lines: list[str] = []
        """What it has said on standard error."""
        self.printed: list[str] = []
        """What it has said on standard output; complete after the block."""

    def __enter__(self) -> Served:
        self.process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **self._options,  # type: ignore[call-overload]
        )
        self._readers = [
            threading.Thread(target=self._read_errors),
            threading.Thread(target=lambda: self.printed.extend(self.process.stdout)),
        ]
        for reader in self._readers:
            reader.start()
        if self._waits:
            try:
                self.wait_for_banner()
            except BaseException:
                self._clean_up()
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        try:
            if kind is None:
                self.stop()
        finally:
            self._clean_up()

    def _clean_up(self) -> None:
        self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()
        for pipe in (self.process.stdout, self.process.stderr):
            pipe.close()

    def stop(self) -> None:
        """Ask it to end, and check how it did."""
        self.wait_for_banner()
        if self.process.poll() is None and STOPPING not in self.lines:
            self.process.send_signal(signal.SIGTERM)
        self.wait_for_end()
        if self._says is not None:
            matching = len(self.said) == len(self._says) and all(map(re.fullmatch, self._says, self.said))
            assert matching, f"expected {self._says} between banner and end; it said:{self._told}"

    def wait_for_end(self, code: int | None = None) -> None:
        """Block until the process has ended, with ``code`` (default: the one that it was made with)."""
        self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        expected = self._ends if code is None else code
        assert self.process.returncode == expected, f"it ended with {self.process.returncode} and said:{self._told}"

    def wait_for_line(self, wanted: Callable[[str], bool] | str) -> str:
        """Block until it says a line on standard error."""
        is_it = (lambda line: wanted in line) if isinstance(wanted, str) else wanted

        def found() -> str | None:
            return next((line for line in self.lines if is_it(line)), None)

        with self._changed:
            self._changed.wait_for(lambda: self._ended or found() is not None, PATIENCE)
            line = found()
        assert line is not None, f"it did not say {wanted!r}, but:{self._told}"
        return line

    def wait_for_banner(self) -> None:
        """Block until it serves."""
        self.wait_for_line(BANNER_ENDS)

    @property
    def banner(self) -> list[str]:
        """The lines of the banner."""
        self.wait_for_banner()
        first = next(index for index, line in enumerate(self.lines) if re.match(r"reserve \S+ serves ", line))
        last = next(index for index, line in enumerate(self.lines) if BANNER_ENDS in line)
        return self.lines[first : last + 1]

    @property
    def said(self) -> list[str]:
        """What it said after the banner, apart from the line of an orderly stop."""
        return [line for line in self.lines[self.lines.index(self.banner[-1]) + 1 :] if line != STOPPING]

    @property
    def _told(self) -> str:
        return "".join(f"\n    {line}" for line in self.lines)

    @property
    def places(self) -> list[str]:
        """Every address in the banner, as written there."""
        return [match[1] for line in self.banner if (match := re.fullmatch(r"    on (\S+)(?:   \(.*\))?", line))]

    @property
    def url(self) -> str:
        """The first address, without the slash at its end."""
        return self.places[0].rstrip("/")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the first address."""
        host, _, port = self.url.rpartition("/")[2].rpartition(":")
        return host.strip("[]"), int(port)

    def client(self) -> contextlib.closing[http.client.HTTPConnection]:
        """A client of the first address; it connects with its first request."""
        return contextlib.closing(http.client.HTTPConnection(*self.address, timeout=PATIENCE))

    def connect(self) -> socket.socket:
        """A plain connection to the first address."""
        return socket.create_connection(self.address, PATIENCE)

    def shake_hands(self, context: ssl.SSLContext, name: str = "a.test") -> ssl.SSLSocket:
        """A TLS connection to the first address that asks for ``name``."""
        plain = self.connect()
        try:
            return context.wrap_socket(plain, server_hostname=name)
        except BaseException:
            plain.close()
            raise

    def peak_memory(self) -> int:
        """The most memory that the process has ever held, in octets."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        match = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.M)
        assert match is not None
        return int(match[1]) * 1024

    def _read_errors(self) -> None:
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def fetch(
    client: http.client.HTTPConnection,
    method: str,
    path: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """One request and its whole answer."""
    chunked = not (body is None or isinstance(body, bytes))
    client.request(method, path, body=body, headers=dict(headers or {}), encode_chunked=chunked)  # type: ignore[arg-type]
    answer = client.getresponse()
    return answer.status, answer.headers, answer.read()
