"""Fixtures that run a web server in front of the installed command."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.real.conftest import Serve
from tests.real.serving import ServerProcess
from tests.real.webservers.servers import SOCKET, Apache, Haproxy, Lighttpd, Nginx, WebServer, configuration, replaced


@dataclass(frozen=True)
class Kind:
    """One configuration of the page."""

    server: type[WebServer]
    language: str
    word: str
    """What only this one of the page's configurations in its language has."""
    protocol: str
    chunked: bool
    """Whether the web server accepts bodies in chunks."""
    options: tuple[str, ...] = ()
    """What the page's command has more."""


KEPT = ("--keep-alive", "75s")
FASTCGI_SOCKET = f'fastcgi.server = (\n    "/" => ((\n        "socket" => "{SOCKET}"'
KINDS = {
    "nginx scgi": Kind(Nginx, "nginx", "scgi_pass", "scgi", True),
    "nginx uwsgi": Kind(Nginx, "nginx", f"uwsgi_pass unix:{SOCKET}", "uwsgi", True),
    "apache scgi": Kind(Apache, "apache", "|scgi://", "scgi", False),
    "apache uwsgi": Kind(Apache, "apache", "|uwsgi://", "uwsgi", False),
    "lighttpd scgi": Kind(Lighttpd, "lighttpd", '("mod_scgi")\nscgi.server', "scgi", True),
    "lighttpd uwsgi": Kind(Lighttpd, "lighttpd", "scgi.protocol", "uwsgi", True),
    "nginx fcgi": Kind(Nginx, "nginx", "fastcgi_pass", "fcgi", True, KEPT),
    "apache fcgi": Kind(Apache, "apache", "|fcgi://", "fcgi", True, KEPT),
    "lighttpd fcgi": Kind(Lighttpd, "lighttpd", FASTCGI_SOCKET, "fcgi", True, KEPT),
    "haproxy fcgi": Kind(Haproxy, "haproxy", "use-fcgi-app", "fcgi", False, KEPT),
}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))


@dataclass
class Deployment:
    """A web server, and reserve behind it."""

    web: WebServer
    server: ServerProcess


Deploy = Callable[..., contextlib.AbstractContextManager[Deployment]]


@pytest.fixture
def deploy(serve: Serve, require_peer: Callable[[str], str], short_path: Path) -> Deploy:
    """``deploy(kind, *arguments)``: a context manager that runs both.

    :param edit: changes the page's configuration.
    """

    @contextlib.contextmanager
    def run(
        kind: Kind,
        *arguments: str,
        bind: str = "",
        edit: Callable[[str], str] = lambda text: text,
        log: tuple[str, ...] | None = (),
    ) -> Iterator[Deployment]:
        program = require_peer(kind.server.program)
        short_path.chmod(0o755)  # Apache's workers are another user
        path = f"{short_path}/reserve"
        text = edit(configuration(kind.language, kind.word))
        if not bind:
            bind = f"unix:{path}"
            text = replaced(text, SOCKET, path)
        options = ("--unix-mode", "666") if bind.startswith("unix:") else ()
        with serve("app", kind.protocol, "wsgi", *arguments, *kind.options, *options, bind=bind, log=log) as server:
            web = kind.server(program, short_path, text)
            with web.running():
                yield Deployment(web, server)

    return run
