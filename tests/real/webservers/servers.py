"""nginx, Apache, lighttpd and HAProxy as processes, with the configurations of ``reserve/docs/webservers.md``."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import reserve
from tests.clients import free_port
from tests.real.processes import running
from tests.waiting import PATIENCE

PAGE = Path(reserve.__file__).parent / "docs" / "webservers.md"
TEXT = PAGE.read_text("utf-8")
SOCKET = "/run/blog/reserve.sock"
"""The path of reserve's socket on the page."""


def configuration(language: str, word: str) -> str:
    """The only configuration on the page in a language that has a word in it."""
    texts = re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    (text,) = [text for text in texts if word in text]
    return str(text)


def replaced(text: str, old: str, new: str) -> str:
    """The text with ``new`` in place of ``old``, which has to occur in it."""
    assert old in text, f"the configuration has no {old!r}"
    return text.replace(old, new)


class WebServer(ABC):
    """A web server in front of reserve, on a free port of the loopback interface.

    :param path: of its program.
    :param folder: for its files; other users may enter it.
    :param text: its configuration, with the addresses of the page.
    """

    program: str
    stop_signal = signal.SIGTERM

    def __init__(self, path: str, folder: Path, text: str) -> None:
        self.path, self.folder = path, folder
        self.port = free_port()
        self.config = folder / "webserver.conf"
        self.config.write_text(self.adapted(text), "utf-8")
        self.errors = folder / "errors"

    @abstractmethod
    def adapted(self, text: str) -> str:
        """The configuration with the addresses of the test, and what a distribution has in its main file."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command that runs it in the foreground."""

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run it while the block runs."""
        with (self.folder / "output").open("ab") as output:
            options = {"stop_signal": self.stop_signal, "errors": self.errors, "output": output, "cwd": self.folder}
            with running(self.command(), self._accepts, **options):  # type: ignore[arg-type]
                yield

    def client(self) -> contextlib.closing[http.client.HTTPConnection]:
        """A client; it connects with its first request."""
        return contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE))

    def _accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), PATIENCE).close()
        except ConnectionRefusedError:
            return False
        return True


class Nginx(WebServer):
    program, stop_signal = "nginx", signal.SIGQUIT

    def adapted(self, text: str) -> str:
        text = replaced(text, "listen 80;", f"listen 127.0.0.1:{self.port};")
        for name in ("scgi_params", "uwsgi_params", "fastcgi_params"):
            text = text.replace(f"include {name};", f"include /etc/nginx/{name};")
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
access_log off;
{folders}
{text}
}}
"""

    def command(self) -> list[str]:
        return [self.path, "-e", "stderr", "-p", str(self.folder), "-c", str(self.config)]


class Apache(WebServer):
    program = "apache2"

    def adapted(self, text: str) -> str:
        modules = ["mpm_event", "authz_core", "alias", "proxy", "proxy_scgi", "proxy_uwsgi", "proxy_fcgi"]
        if "fcgid-script" in text:
            modules.append("fcgid")
        load = "".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n" for name in modules)
        user = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
        return f"""
ServerRoot {self.folder}
DefaultRuntimeDir {self.folder}
PidFile {self.folder}/pid
ErrorLog {self.folder}/log
ServerName blog.example
Listen 127.0.0.1:{self.port}
{load}
{user}
<IfModule fcgid_module>
FcgidIPCDir {self.folder}/sockets
FcgidProcessTableFile {self.folder}/processes
</IfModule>
{replaced(text, "<VirtualHost *:80>", f"<VirtualHost *:{self.port}>")}
"""

    def command(self) -> list[str]:
        return [self.path, "-f", str(self.config), "-DFOREGROUND"]


class Lighttpd(WebServer):
    program, stop_signal = "lighttpd", signal.SIGINT

    def adapted(self, text: str) -> str:
        return f"""
server.document-root = "{self.folder}"
server.bind = "127.0.0.1"
server.port = {self.port}
server.upload-dirs = ("{self.folder}")
{text}
"""

    def command(self) -> list[str]:
        return [self.path, "-D", "-f", str(self.config)]


class Haproxy(WebServer):
    program, stop_signal = "haproxy", signal.SIGUSR1

    def adapted(self, text: str) -> str:
        return replaced(text, "bind :80", f"bind 127.0.0.1:{self.port}")

    def command(self) -> list[str]:
        return [self.path, "-db", "-f", str(self.config)]
