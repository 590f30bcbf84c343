"""``reserve app scgi wsgi NAME`` and ``reserve app uwsgi wsgi NAME``: the arguments are those of ``app http``."""

from __future__ import annotations

from importlib import import_module

import pytest

from reserve.apps._wsgi import ARGUMENTS
from reserve.errors import UsageError
from reserve.loader.arguments import Arguments
from reserve.loader.find import bundled_names, find
from reserve.testing import MemoryClient
from tests.apps.cgi.protocols import Protocol, each_protocol
from tests.projects import Project

APP = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [__name__.encode(), environ["SCRIPT_NAME"].encode(), environ["PATH_INFO"].encode()]
"""


@each_protocol
def test_the_command_finds_it(protocol: Protocol) -> None:
    assert protocol.name in bundled_names()
    found = find(protocol.name)
    assert found.module is import_module(f"reserve.apps.{protocol.name}")
    assert found.arguments == ARGUMENTS


@each_protocol
def test_applications_are_mounted(protocol: Protocol, project: Project) -> None:
    project(cgi_a=APP, cgi_b=APP)
    app = find(protocol.name).launch(
        Arguments([f"reserve {protocol.name}", "wsgi", "cgi_a", "--mount", "/b=cgi_b:app"], reserved=["--bind"])
    )
    assert type(app) is protocol.make_app
    for path, expected in (("/x", b"cgi_a/x"), ("/b/x", b"cgi_b/b/x")):
        assert protocol.read(MemoryClient(app).send(protocol.request(path))).body == expected


@each_protocol
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "app {}: the kind of application is missing (wsgi, static); write: reserve app {} wsgi NAME"),
        (["asgi"], "app {}: 'asgi' is none of its kinds (wsgi, static); write: reserve app {} wsgi NAME"),
        (["wsgi"], "app {} wsgi: the application's name is missing; write: reserve app {} wsgi NAME"),
        (["--x", "wsgi"], "app {} takes no --x; it takes:\n"),
    ],
)
def test_messages_name_the_protocol(protocol: Protocol, arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        find(protocol.name).launch(Arguments([f"reserve {protocol.name}", *arguments]))
    assert str(caught.value).startswith(message.replace("{}", protocol.name))
