"""nginx and HAProxy as processes: configured as ``reserve/docs/behind.md`` says, with a log to count requests by."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import reserve
from tests.real.serving import PATIENCE, clean_environ
from tests.waiting import eventually

PAGE = Path(reserve.__file__).parent / "docs" / "behind.md"
TEXT = PAGE.read_text("utf-8")
UPSTREAM = "/run/blog/reserve.sock"
"""Where the page has reserve."""


def block(language: str) -> str:
    """The one configuration of that kind on the page."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert UPSTREAM in found
    return found


def reserve_options() -> list[str]:
    """What the page's command sets, apart from the address and its permissions."""
    (command,) = re.findall(r"^    reserve (app (?:.*\\\n)*.*)$", TEXT, re.MULTILINE)
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:6] == ["app", "http", "wsgi", "blog", "--bind", f"unix:{UPSTREAM}"]
    assert words[6:8] == ["--unix-mode", "660"]
    return words[8:]


@dataclass(frozen=True)
class Entry:
    """One request as the frontend counted it."""

    id: str
    """The X-Request-Id that it put into the request."""
    forwarded: bool
    """Whether it was sent to reserve."""
    answered: bool
    """Whether reserve's own answer came back."""
    seen: str
    """The request that the answer is for, as the application says; empty: no word of it."""
    status: str
    """Of reserve's answer, or of the frontend's own."""
    tries: int
    """How often it was sent."""
    failed: bool
    """Whether the frontend says that reserve's side gave no whole answer."""
    line: str
    """The request line that came from the client."""

    @property
    def method(self) -> str:
        return self.line.partition(" ")[0]


class Front(ABC):
    """A frontend between ``address`` and reserve. Run it with ``running()``; ``entries()`` is complete after that.

    :param folder: for its files; its name has to be short, as sockets are in it.
    :param upstream: where reserve is: ``unix:PATH`` or ``HOST:PORT``.
    :param impatient: wait two seconds for a client where the page has more.
    :param buffering: let it buffer whole messages (nginx).
    """

    program: str
    language: str
    quit: signal.Signals
    """What ends it after the work at hand."""

    def __init__(
        self, program: str, folder: Path, upstream: str, *, impatient: bool = False, buffering: bool = False
    ) -> None:
        self.path, self.folder, self.buffering = program, folder, buffering
        self.address = str(folder / "front")
        self.log = folder / "log"
        text = block(self.language)
        self.config = folder / "config"
        self.config.write_text(self.adapt(self._impatient(text) if impatient else text, upstream), "utf-8")

    @abstractmethod
    def adapt(self, text: str, upstream: str) -> str:
        """The page's configuration with these addresses and a log."""

    @abstractmethod
    def command(self) -> list[str]:
        """What runs it in the foreground."""

    @abstractmethod
    def is_entry(self, line: str) -> bool:
        """Whether a line of the log counts a request."""

    @abstractmethod
    def parse(self, line: str) -> Entry:
        """One line of the log."""

    @abstractmethod
    def _impatient(self, text: str) -> str: ...

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        errors = self.folder / "errors"
        with self.log.open("ab") as log, errors.open("wb") as said:
            process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=said,
                cwd=self.folder,
                env=clean_environ(),
                start_new_session=True,
            )
        try:
            eventually(lambda: process.poll() is not None or self._accepts())
            assert process.poll() is None, f"{self.program} ended at once: {errors.read_text('utf-8', 'replace')}"
            yield
            process.send_signal(self.quit)
            process.wait(PATIENCE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # nginx has a child
            process.wait()

    def connect(self) -> socket.socket:
        """A client's connection."""
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(PATIENCE)
            sock.connect(self.address)
        except BaseException:
            sock.close()
            raise
        return sock

    def entries(self) -> list[Entry]:
        """Every request that it has counted."""
        return [self.parse(line) for line in self.log.read_bytes().decode("latin-1").split("\n") if self.is_entry(line)]

    def _accepts(self) -> bool:
        try:
            self.connect().close()
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True


def replaced(text: str, old: str, new: str) -> str:
    """Replace what has to be there."""
    assert old in text, f"{PAGE.name} has no {old!r}"
    return text.replace(old, new)


class Nginx(Front):
    program, language, quit = "nginx", "nginx", signal.SIGQUIT

    def adapt(self, text: str, upstream: str) -> str:
        text = replaced(text, f"unix:{UPSTREAM}", upstream)
        text = replaced(text, "listen 80;", f"listen unix:{self.address};")
        if self.buffering:
            text = replaced(text, "buffering off;", "buffering on;")
        user = "user root;" if os.geteuid() == 0 else ""  # or its worker could not get at the sockets
        names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        folders = "".join(f"{name}_temp_path {self.folder}/{name};\n" for name in names)
        return f"""
daemon off;
{user}
worker_processes 1;
pid {self.folder}/pid;
error_log stderr warn;
events {{ worker_connections 512; }}
http {{
{folders}
log_format counted escape=json '{{"id":"$request_id","to":"$upstream_addr","status":"$status",'
    '"from":"$upstream_http_server","seen":"$upstream_http_x_seen","line":"$request"}}';
access_log {self.log} counted;
{text}
}}
"""

    def command(self) -> list[str]:
        return [self.path, "-e", "stderr", "-p", str(self.folder), "-c", str(self.config)]

    def is_entry(self, line: str) -> bool:
        return bool(line)

    def parse(self, line: str) -> Entry:
        found = json.loads(line, strict=False)
        tries = len(found["to"].split(",")) if found["to"] else 0
        status = found["status"]
        answered, failed = bool(found["from"]), status in ("502", "504")
        return Entry(found["id"], tries > 0, answered, found["seen"], status, tries, failed, found["line"])

    def _impatient(self, text: str) -> str:
        upstream, server = text.split("\nserver {")
        server, count = re.subn(r"\b((?:keepalive|client_header|client_body)_timeout) \d+s;", r"\1 2s;", server)
        assert count == 3
        return f"{upstream}\nserver {{{server}"


class Haproxy(Front):
    program, language, quit = "haproxy", "haproxy", signal.SIGUSR1

    def adapt(self, text: str, upstream: str) -> str:
        text = replaced(text, f"unix@{UPSTREAM}", upstream.replace("unix:", "unix@"))
        text = replaced(text, "bind :80", f"bind unix@{self.address}")
        # A line of the log is cut at 1024 octets unless it may be longer, and dropped when another thread writes one.
        text = replaced(text, "log stdout format", "nbthread 1\n    log stdout len 65535 format")
        counted = "counted %ID %ST %ts %s %rc %[capture.res.hdr(0)] %[capture.res.hdr(1)] %r"
        text = replaced(text, "    option httplog\n", "")
        captures = "".join(f"    capture response header {field} len 64\n" for field in ("Server", "X-Seen"))
        return replaced(text, "    default_backend", f'    log-format "{counted}"\n{captures}    default_backend')

    def command(self) -> list[str]:
        return [self.path, "-db", "-f", str(self.config)]

    def is_entry(self, line: str) -> bool:
        return line.startswith("counted ")  # it also says there that it stops

    def parse(self, line: str) -> Entry:
        _, name, status, ending, server, retries, source, seen, request = line.split(" ", 8)
        request = re.sub("#([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), request)
        forwarded = server != "<NOSRV>"
        tries = int(retries.lstrip("+")) + forwarded
        failed = ending[0] in "Ss"
        return Entry(name, forwarded, source != "-", seen.strip("-"), status, tries, failed, request)

    def _impatient(self, text: str) -> str:
        text, count = re.subn(r"\btimeout (client|http-request|http-keep-alive) \d+s", r"timeout \1 2s", text)
        assert count == 3
        return text


FRONTS: dict[str, type[Front]] = {"nginx": Nginx, "haproxy": Haproxy}
