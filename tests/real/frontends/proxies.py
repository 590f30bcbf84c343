"""nginx and HAProxy as processes, with the configurations of ``reserve/docs/behind.md`` and a log of all requests."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import reserve
from tests.real.processes import running
from tests.waiting import PATIENCE

PAGE = Path(reserve.__file__).parent / "docs" / "behind.md"
TEXT = PAGE.read_text("utf-8")
UPSTREAM = "/run/blog/reserve.sock"
"""The path of reserve's socket on the page."""


def configuration(language: str, page: str = TEXT) -> str:
    """The only configuration in this language on a page."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert UPSTREAM in text
    return text


def reserve_options() -> list[str]:
    """The options of the page's command, without the address and its permissions."""
    command, *_ = re.findall(r"^    reserve (app (?:.*\\\n)*.*)$", TEXT, re.MULTILINE)
    arguments = shlex.split(command.replace("\\\n", " "))
    assert arguments[:6] == ["app", "http", "wsgi", "blog", "--bind", f"unix:{UPSTREAM}"]
    assert arguments[6:8] == ["--unix-mode", "660"]
    return arguments[8:]


@dataclass(frozen=True)
class Entry:
    """One request in the log of the frontend."""

    id: str
    """The X-Request-Id that the frontend put into the request."""
    forwarded: bool
    """Whether the frontend sent the request to reserve."""
    responded: bool
    """Whether the response came from reserve."""
    seen: str
    """The id of the request that the application responded to, from its response; empty: the response has none."""
    status: str
    """The status of the response, whether it came from reserve or from the frontend."""
    tries: int
    """How often the frontend sent the request to reserve."""
    failed: bool
    """Whether the frontend says that it got no complete response from reserve."""
    line: str
    """The request line that the client sent."""

    @property
    def method(self) -> str:
        return self.line.partition(" ")[0]


class Frontend(ABC):
    """A frontend between ``address`` and reserve. It runs during ``running()``; ``entries()`` is complete afterwards.

    :param program: the path of the program.
    :param folder: the folder for its files; the name has to be short, because it is part of the path of a UNIX socket.
    :param upstream: the address of reserve: ``unix:PATH`` or ``HOST:PORT``.
    :param impatient: whether to replace the timeouts of the page for clients by two seconds.
    :param buffering: whether to let it buffer whole messages (nginx only).
    """

    program: str
    language: str
    """The language of the configuration on the page."""
    stop_signal: signal.Signals
    """The signal that ends the frontend after its current requests."""
    page = TEXT
    """The page with the configuration."""

    def __init__(
        self, program: str, folder: Path, upstream: str, *, impatient: bool = False, buffering: bool = False
    ) -> None:
        self.path, self.folder, self.buffering = program, folder, buffering
        self.address = str(folder / "front")
        self.log = folder / "log"
        text = configuration(self.language, self.page)
        self.config = folder / "config"
        self.config.write_text(self.adapted(self._impatient(text) if impatient else text, upstream), "utf-8")

    @abstractmethod
    def adapted(self, text: str, upstream: str) -> str:
        """The page's configuration with the addresses of the test, and with a log."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command that runs the frontend in the foreground."""

    @abstractmethod
    def is_entry(self, line: str) -> bool:
        """Whether a line of the log is about a request."""

    @abstractmethod
    def parse(self, line: str) -> Entry:
        """Parse a line of the log."""

    @abstractmethod
    def _impatient(self, text: str) -> str:
        """The page's configuration with timeouts of two seconds for clients."""

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the frontend while the block runs."""
        with (
            self.log.open("ab") as log,
            running(
                self.command(),
                self._accepts,
                stop_signal=self.stop_signal,
                errors=self.folder / "errors",
                output=log,
                cwd=self.folder,
            ),
        ):
            yield

    def connect(self) -> socket.socket:
        """A connection of a client to the frontend."""
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(PATIENCE)
            sock.connect(self.address)
        except BaseException:
            sock.close()
            raise
        return sock

    def entries(self) -> list[Entry]:
        """Every request in the log."""
        return [self.parse(line) for line in self.log.read_bytes().decode("latin-1").split("\n") if self.is_entry(line)]

    def _accepts(self) -> bool:
        try:
            self.connect().close()
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True


def replaced(text: str, old: str, new: str) -> str:
    """The text with ``new`` in place of ``old``, which has to occur in it."""
    assert old in text, f"{PAGE.name} has no {old!r}"
    return text.replace(old, new)


class Nginx(Frontend):
    program, language, stop_signal = "nginx", "nginx", signal.SIGQUIT

    def adapted(self, text: str, upstream: str) -> str:
        text = replaced(text, f"unix:{UPSTREAM}", upstream)
        text = replaced(text, "listen 80;", f"listen unix:{self.address};")
        if self.buffering:
            text = replaced(text, "buffering off;", "buffering on;")
        user = "user root;" if os.geteuid() == 0 else ""  # otherwise its worker could not open the sockets
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
        fields = json.loads(line, strict=False)
        tries = len(fields["to"].split(",")) if fields["to"] else 0
        status = fields["status"]
        responded, failed = bool(fields["from"]), status in ("502", "504")
        return Entry(fields["id"], tries > 0, responded, fields["seen"], status, tries, failed, fields["line"])

    def _impatient(self, text: str) -> str:
        upstream, server = text.split("\nserver {")
        server, count = re.subn(r"\b((?:keepalive|client_header|client_body)_timeout) \d+s;", r"\1 2s;", server)
        assert count == 3
        return f"{upstream}\nserver {{{server}"


class Haproxy(Frontend):
    program, language, stop_signal = "haproxy", "haproxy", signal.SIGUSR1

    def adapted(self, text: str, upstream: str) -> str:
        text = replaced(text, f"unix@{UPSTREAM}", upstream.replace("unix:", "unix@"))
        text = replaced(text, "bind :80", f"bind unix@{self.address}")
        # By default HAProxy truncates a log line after 1024 bytes, and drops a line while another thread writes one.
        text = replaced(text, "log stdout format", "nbthread 1\n    log stdout len 65535 format")
        counted = "counted %ID %ST %ts %s %rc %[capture.res.hdr(0)] %[capture.res.hdr(1)] %r"
        text = replaced(text, "    option httplog\n", "")
        captures = "".join(f"    capture response header {field} len 64\n" for field in ("Server", "X-Seen"))
        return replaced(text, "    default_backend", f'    log-format "{counted}"\n{captures}    default_backend')

    def command(self) -> list[str]:
        return [self.path, "-db", "-f", str(self.config)]

    def is_entry(self, line: str) -> bool:
        return line.startswith("counted ")  # the log also has a line about the stop of HAProxy

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


FRONTENDS: dict[str, type[Frontend]] = {"nginx": Nginx, "haproxy": Haproxy}
