"""``reserve app desk MODULE[:NAME]``: from arguments to the application."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reserve import listen
from reserve.apps.desk import ARGUMENTS, launch
from reserve.engine.server import Server
from reserve.errors import StartupError, UsageError
from reserve.loader.arguments import Arguments
from reserve.testing import running
from tests.apps.http.responses import Response, receive
from tests.extras import library
from tests.projects import Project
from tests.waiting import PATIENCE

library("python_multipart")
library("markupsafe")
library("itsdangerous")

SOURCE = """
    import sqlite3, threading
    from reserve.desk import Response, Router, serve_http
    database = sqlite3.connect(":memory:")
    {name} = Router()
    @{name}.function("/")
    def home():
        return threading.current_thread().name + str(database.execute("select 1").fetchone())
    @{name}.function("/fail")
    def fail():
        raise ValueError("the secret")
    @{name}.function("/bye")
    def bye():
        return Response("bye", shut_down=True)
    number = 5
    if __name__ {compared} "__main__":
        serve_http({name})
"""


@pytest.fixture(autouse=True)
def close_databases(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The programs leave theirs open, as a process does that ends."""
    connect = sqlite3.connect
    with contextlib.ExitStack() as stack:
        monkeypatch.setattr(sqlite3, "connect", lambda path: stack.enter_context(contextlib.closing(connect(path))))
        yield


def program(project: Project, module: str, name: str = "app", compared: str = "==") -> None:
    project(**{module: SOURCE.format(name=name, compared=compared)})


def arguments(*before: str, after: tuple[str, ...] = ()) -> Arguments:
    return Arguments(["reserve desk", *before, *after], literal=len(after), reserved=["--threads", "--bind"])


def fetch(server: Server, path: str, host: str) -> Response:
    """:param host: the field Host."""
    with socket.create_connection(server.addresses[0], PATIENCE) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        return receive(client)


def served(app: Any, visit: Callable[[Server], None], stopped: threading.Event | None = None) -> None:
    """Serve on this thread until ``visit``, on another one, returns.

    :param stopped: set when the server has stopped by itself.
    """
    server = Server(listen("127.0.0.1:0"), app, threads=1)
    errors: list[BaseException] = []

    def run() -> None:
        try:
            assert server.wait_ready(PATIENCE)
            visit(server)
        except BaseException as error:
            errors.append(error)
        finally:
            server.request_stop()

    thread = threading.Thread(target=run)
    thread.start()
    server.start()
    if stopped is not None:
        stopped.set()
    thread.join(PATIENCE)
    assert errors == []


def test_a_program_runs_on_the_thread_that_starts_the_server_and_may_stop_it(project: Project) -> None:
    program(project, "desk_plain")
    args = arguments("desk_plain")
    app = launch(args)
    assert app.single_thread == "desk_plain is a program of reserve.desk"
    assert args.served[0].startswith("desk_plain:app (")
    stopped = threading.Event()

    def visit(server: Server) -> None:
        host = f"localhost:{server.addresses[0][1]}"
        assert fetch(server, "/", host).text == "MainThread(1,)"
        assert "the secret" not in fetch(server, "/fail", host).text
        assert fetch(server, "/", "test").status == 421
        assert fetch(server, "/bye", host).text == "bye"
        assert stopped.wait(PATIENCE)  # by the program

    served(app, visit, stopped)


def test_hosts_and_origins_are_those_of_the_command_line_and_debug_is_an_option(project: Project) -> None:
    program(project, "desk_public", name="site")
    app = launch(arguments("desk_public:site", "--host", "desk.example.org", "--host=*.example.com"))
    app.configure({"debug": True})

    def visit(server: Server) -> None:
        assert fetch(server, "/", "desk.example.org").status == 200
        assert fetch(server, "/", "a.example.com").status == 200
        assert fetch(server, "/", "evil.example").status == 421
        assert "the secret" in fetch(server, "/fail", "localhost").text
        assert "the secret" not in fetch(server, "/fail", "desk.example.org").text

    served(app, visit)


def test_an_unguarded_call_of_serve_http_is_an_error_that_says_what_to_do(project: Project) -> None:
    program(project, "desk_unguarded", compared="!=")
    with pytest.raises(UsageError, match=r"desk_unguarded calls serve_http\(\).* if __name__ == \"__main__\":"):
        launch(arguments("desk_unguarded"))
    from reserve.desk import serve_http

    with pytest.raises(TypeError):  # and no longer the error above
        serve_http(None)  # type: ignore[arg-type]


def test_a_program_without_app_gets_the_name_that_was_probably_meant(project: Project) -> None:
    program(project, "desk_other", name="site")
    with pytest.raises(StartupError, match="desk_other has no app; write: reserve app desk desk_other:site") as info:
        launch(arguments("desk_other"))
    assert info.value.correction is not None
    assert info.value.correction.right == ("desk_other:site",)
    with pytest.raises(StartupError, match="desk_other has no 'nothing'"):
        launch(arguments("desk_other:nothing"))
    with pytest.raises(StartupError, match="is 5, which is no router"):
        launch(arguments("desk_other:number"))
    with pytest.raises(StartupError, match="no module named desk_missing"):
        launch(arguments("desk_missing"))


@pytest.mark.parametrize(
    ("words", "after", "message"),
    [
        ([], (), "the program is missing; write: reserve app desk MODULE"),
        (["a", "b"], (), "takes one program, not a b"),
        (["a"], ("c",), "takes one program, not a c"),
        (["desk_usage", "--hots", "x"], (), "takes no --hots"),
        (["desk_usage", "--host"], (), "--host needs a value"),
        (["desk_usage", "--host", "two words"], (), "hosts are names"),
        (["desk_usage", "--origin", "example.org"], (), "app desk: "),
    ],
)
def test_other_arguments_are_errors(project: Project, words: list[str], after: tuple[str, ...], message: str) -> None:
    program(project, "desk_usage")
    with pytest.raises(UsageError) as info:
        launch(arguments(*words, after=after))
    assert message in str(info.value)


def test_an_application_is_served_as_it_is(project: Project) -> None:
    project(
        desk_wsgi="""
        from reserve.desk import Application
        app = Application(lambda request: "plain", hosts="*")
        """
    )
    app = launch(arguments("desk_wsgi"))
    served(app, lambda server: _check_plain(server))
    with pytest.raises(UsageError, match="give it hosts and cross_origin there"):
        launch(arguments("desk_wsgi", "--host", "a.example"))


def _check_plain(server: Server) -> None:
    assert fetch(server, "/", "anything").text == "plain"


def test_the_help_names_every_option() -> None:
    assert all(word in ARGUMENTS for word in ("MODULE[:NAME]", "--host", "--origin"))


def test_it_needs_a_thread_that_starts_the_server(project: Project, tmp_path: Path) -> None:
    program(project, "desk_background")
    with pytest.raises(UsageError, match="call start"), running(launch(arguments("desk_background"))):
        pass
