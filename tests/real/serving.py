"""A server as a process of its own: a test starts it, reads its address from the banner, and stops it with a signal."""

from __future__ import annotations

import contextlib
import http.client
import re
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.real.processes import clean_environ as clean_environ
from tests.waiting import PATIENCE as PATIENCE

SITES = Path(__file__).parent / "sites"
BANNER_ENDS = "Ctrl-C stops it after the requests in flight"
STOPPING = "reserve: stopping; requests in flight have 30 s, a second signal stops at once"
STOPPED = "reserve: the server has stopped"


class ServerProcess:
    """A process that serves while the ``with`` block runs. Then SIGTERM stops it, and its output is checked.

    The thread of the test owns it; two threads of its own read its output. The lines on standard error between the
    banner and the end have to be exactly those of ``log``, so that a test notices every other warning and traceback.

    :param command: the command line; it has to start a process that prints reserve's banner.
    :param log: a pattern for each whole line expected between the banner and the end; None: the test checks ``log``.
    :param exit_code: the exit code that the process has to end with.
    :param cwd: the working directory.
    :param environ: environment variables in addition to those of :func:`clean_environ`.
    :param pass_fds: descriptors that the process inherits.
    :param wait: enter the block only when the process has printed its banner.
    """

    def __init__(
        self,
        *command: str,
        log: Sequence[str] | None = (),
        exit_code: int = 0,
        cwd: Path = SITES,
        environ: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        wait: bool = True,
    ) -> None:
        self._command = command
        self._expected_log = log
        self._exit_code = exit_code
        self._options = {"cwd": cwd, "env": clean_environ(**(environ or {})), "pass_fds": pass_fds}
        self._wait = wait
        self._changed = threading.Condition()
        self._ended = False
        self.stderr: list[str] = []
        """The lines on standard error so far."""
        self.stdout: list[str] = []
        """The lines on standard output so far; complete after the block."""

    def __enter__(self) -> ServerProcess:
        self.process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **self._options,  # type: ignore[call-overload]
        )
        self._readers = [
            threading.Thread(target=self._read_stderr),
            threading.Thread(target=lambda: self.stdout.extend(self.process.stdout)),
        ]
        for reader in self._readers:
            reader.start()
        if self._wait:
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
        """Send SIGTERM unless the process stops already; wait for its end, and check exit code and log."""
        self.wait_for_banner()
        if self.process.poll() is None and STOPPING not in self.stderr:
            self.process.send_signal(signal.SIGTERM)
        self.wait_for_end()
        if self._expected_log is not None:
            patterns, lines = self._expected_log, self.log
            assert len(lines) == len(patterns), f"expected {patterns} between banner and end, not:{self._output}"
            assert all(map(re.fullmatch, patterns, lines)), f"expected {patterns}, not:{self._output}"

    def wait_for_end(self) -> None:
        """Wait until the process has ended, and check its exit code."""
        self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        code = self.process.returncode
        assert code == self._exit_code, f"exit code {code}, not {self._exit_code}; standard error:{self._output}"

    def wait_for_line(self, wanted: Callable[[str], bool] | str) -> str:
        """Wait for a line on standard error that contains a text, or for which a function returns True."""
        matches = (lambda line: wanted in line) if isinstance(wanted, str) else wanted

        def first_match() -> str | None:
            return next((line for line in self.stderr if matches(line)), None)

        with self._changed:
            self._changed.wait_for(lambda: self._ended or first_match() is not None, PATIENCE)
            line = first_match()
        assert line is not None, f"no line with {wanted!r}; standard error:{self._output}"
        return line

    def wait_for_banner(self) -> None:
        """Wait until the process serves."""
        self.wait_for_line(BANNER_ENDS)

    @property
    def banner(self) -> list[str]:
        """The lines of the banner."""
        self.wait_for_banner()
        first = next(index for index, line in enumerate(self.stderr) if re.match(r"reserve \S+ serves ", line))
        last = next(index for index, line in enumerate(self.stderr) if BANNER_ENDS in line)
        return self.stderr[first : last + 1]

    @property
    def log(self) -> list[str]:
        """The lines on standard error after the banner, without the line about an orderly shutdown."""
        return [
            line for line in self.stderr[self.stderr.index(self.banner[-1]) + 1 :] if line not in (STOPPING, STOPPED)
        ]

    @property
    def _output(self) -> str:
        return "".join(f"\n    {line}" for line in self.stderr)

    @property
    def addresses(self) -> list[str]:
        """Every address in the banner, as written there."""
        return [match[1] for line in self.banner if (match := re.fullmatch(r"    on (\S+)(?:   \(.*\))?", line))]

    @property
    def url(self) -> str:
        """The first address, without the slash at its end."""
        return self.addresses[0].rstrip("/")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the first address."""
        host, _, port = self.url.rpartition("/")[2].rpartition(":")
        return host.strip("[]"), int(port)

    def client(self) -> contextlib.closing[http.client.HTTPConnection]:
        """An HTTP client for the first address; it connects with its first request."""
        return contextlib.closing(http.client.HTTPConnection(*self.address, timeout=PATIENCE))

    def connect(self) -> socket.socket:
        """A plain connection to the first address."""
        return socket.create_connection(self.address, PATIENCE)

    def connect_tls(self, context: ssl.SSLContext, name: str = "a.test") -> ssl.SSLSocket:
        """A TLS connection to the first address, with the server name ``name``."""
        plain = self.connect()
        try:
            return context.wrap_socket(plain, server_hostname=name)
        except BaseException:
            plain.close()
            raise

    def peak_memory(self) -> int:
        """The largest resident memory of the process so far, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        match = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.M)
        assert match is not None
        return int(match[1]) * 1024

    def _read_stderr(self) -> None:
        for line in self.process.stderr:
            with self._changed:
                self.stderr.append(line.rstrip("\n"))
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
    """Send one request; return status, fields and body of the response.

    :param body: bytes, or an iterable of bytes that is sent in chunks.
    """
    chunked = not (body is None or isinstance(body, bytes))
    client.request(method, path, body=body, headers=dict(headers or {}), encode_chunked=chunked)  # type: ignore[arg-type]
    response = client.getresponse()
    return response.status, response.headers, response.read()
