"""The options of the public classes: type checkers know them, ``help`` shows them, and a misspelt one is an error."""

from __future__ import annotations

import inspect
import os
import pydoc
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import reserve
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.settings import EngineSettings
from reserve.errors import UsageError
from reserve.protocol.http1.limits import Limits
from reserve.ssl.settings import TLSSettings
from reserve.testing import running
from tests.waiting import PATIENCE

ROOT = Path(reserve.__file__).parent.parent
PROGRAM = """\
import reserve
from reserve.testing import running

def app(environ, start_response): return []
def handle(socket, client_address, server): return None

class Site(reserve.ReserveWSGIServer): pass
class Lines(reserve.Server): pass

reserve.Server(3, handle, own=False, threads=(2, 8), stop_timeout=3, max_output=10, hooks=reserve.Hooks())
reserve.Server(3, handle, thread=4)  # error: Unexpected keyword argument "thread" for "Server"; did you mean "threads"?
reserve.Server(3, handle, threads="4")  # error: Argument "threads" to "Server" has incompatible type "str"
reserve.Server(3, handle, keep_alive=4)  # error: Unexpected keyword argument "keep_alive" for "Server"
Lines(3, handle, threads=4, request_timeout=2.5)
Lines(3, handle, hook=reserve.Hooks())  # error: Unexpected keyword argument "hook" for "Lines"; did you mean "hooks"?
reserve.ReserveWSGIServer(3, app, 4, keep_alive=5, max_body=10, access_log=True, expect="app", spool_dir=None)
reserve.ReserveWSGIServer(3, app, (4, 8), extra=[(4, handle)], own=False, stop_timeout=1.5)
reserve.ReserveWSGIServer(3, app, keepalive=5)  # error: Unexpected keyword argument "keepalive"
reserve.ReserveWSGIServer(3, app, max_body="10m")  # error: Argument "max_body" to "ReserveWSGIServer"
reserve.ReserveWSGIServer(3, app, expect="both")  # error: Argument "expect" to "ReserveWSGIServer"
reserve.ReserveWSGIServer(3, app, settings=None)  # error: Unexpected keyword argument "settings"
Site(3, app, threads=4, root_path="/shop")
Site(3, app, rootpath="/shop")  # error: Unexpected keyword argument "rootpath" for "Site"; did you mean "root_path"?
Site(3, app, max_fields=2.5)  # error: Argument "max_fields" to "Site" has incompatible type "float"
reserve.ssl.BuiltinSSLAdapter("cert.pem", min_version="1.3", protocols=("http/1.1",))
reserve.ssl.BuiltinSSLAdapter("cert.pem", min_version="1.1")  # error: Argument "min_version" to "BuiltinSSLAdapter"
reserve.ssl.BuiltinSSLAdapter("cert.pem", clientca="ca.pem")  # error: Unexpected keyword argument "clientca"
reserve.ssl.PyOpenSSLAdapter("cert.pem", client_ca=3)  # error: Argument "client_ca" to "PyOpenSSLAdapter"
with running(app, threads=1): pass
with running(app, thread=1): pass  # error: Unexpected keyword argument "thread" for "running"
"""
PUBLIC = {
    reserve.Server: {
        "aborted", "addresses", "collector", "companion", "detach", "failure", "healthy", "log", "open_connections",
        "peer", "reload_tls", "reopen_logs", "request_stop", "retire", "retiring", "send", "serve_in_background",
        "set_threads", "settings", "ssl_adapter", "start", "start_tls", "stats", "stop", "stopping", "wait_ready",
        "waiting",
    },
}  # fmt: skip
"""What a program may use, besides the ``with`` statement. A name that comes here is promised."""


def handle(socket: Any, client_address: Any, server: Any) -> None:
    pass


def app(environ: Any, start_response: Any) -> list[bytes]:
    return []


def test_a_type_checker_knows_the_options_of_each_public_class(tmp_path: Path) -> None:
    if not os.environ.get("RESERVE_CI"):
        pytest.importorskip("mypy", reason="mypy is not installed: pip install '.[lint]'")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, "utf-8")
    (tmp_path / "empty.ini").write_text("[mypy]\n", "utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--config-file", tmp_path / "empty.ini", "--cache-dir", tmp_path / "cache"),
            *("--hide-error-context", "--no-error-summary", program),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    found = {int(line): text for line, text in re.findall(r"^\S*program\.py:(\d+): error: (.*)$", done.stdout, re.M)}
    expected = {
        number: line.partition("  # error: ")[2]
        for number, line in enumerate(PROGRAM.splitlines(), 1)
        if "  # error: " in line
    }
    assert found.keys() == expected.keys(), done.stdout + done.stderr
    assert [found[number] for number in expected if not found[number].startswith(expected[number])] == []


def defaults(function: Callable[..., Any]) -> dict[str, object]:
    return {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}


def values(settings: Any) -> dict[str, object]:
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__ if name != "limits"}


def test_the_signatures_show_every_option_with_its_default() -> None:
    engine, http, limits, tls = (values(one()) for one in (EngineSettings, HTTPSettings, Limits, TLSSettings))
    for function in (reserve.Server, running):
        assert defaults(function).items() >= engine.items()
    assert defaults(reserve.ReserveWSGIServer).items() >= {**engine, **http, **limits, "access_log": False}.items()
    assert defaults(reserve.ssl.BuiltinSSLAdapter).items() >= tls.items()
    for function in (reserve.Server, reserve.ReserveWSGIServer, reserve.ssl.BuiltinSSLAdapter, running):
        kinds = {parameter.kind for parameter in inspect.signature(function).parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds


def test_a_subclass_with_a_constructor_of_its_own_shows_its_own_parameters() -> None:
    class Site(reserve.Server):
        def __init__(self, port: int) -> None:
            raise NotImplementedError

    class Same(reserve.Server):
        pass

    assert list(inspect.signature(Site).parameters) == ["port"]
    assert defaults(Same) == defaults(reserve.Server)


def test_help_names_each_option_and_the_logger() -> None:
    text = pydoc.plain(pydoc.render_doc(reserve.ReserveWSGIServer))
    assert re.search(r"threads: 'int \| tuple\[int, int\]' = 16\b", text)
    assert "keep_alive: float = 15.0" in text
    for public in (reserve.Server, reserve.ReserveWSGIServer):
        assert "the logger ``reserve``" in " ".join(str(public.__doc__).split())


@pytest.mark.parametrize("public", PUBLIC, ids=lambda public: public.__name__)
def test_nothing_but_what_is_promised_is_public(public: type) -> None:
    assert {name for name in dir(public) if not name.startswith("_")} == PUBLIC[public]
    server = reserve.ReserveWSGIServer(reserve.listen("127.0.0.1:0"), app)
    assert [name for name in vars(server) if not name.startswith("_")] == []
    server.stop()


@pytest.mark.parametrize(
    ("make", "name", "near"),
    [
        (lambda listener, **options: reserve.Server(listener, handle, **options), "thread", "threads"),
        (lambda listener, **options: reserve.Server(listener, handle, **options), "hook", "hooks"),
        (lambda listener, **options: reserve.ReserveWSGIServer(listener, app, **options), "rootpath", "root_path"),
        (lambda listener, **options: reserve.ReserveWSGIServer(listener, app, **options), "redirects", "redirect"),
        (lambda listener, **options: reserve.ssl.BuiltinSSLAdapter("x", **options), "minversion", "min_version"),
    ],
)
def test_a_misspelt_option_is_an_error_with_the_nearest_name(make: Callable[..., Any], name: str, near: str) -> None:
    (listener,) = reserve.listen("127.0.0.1:0")
    with listener, pytest.raises(UsageError, match=f"named? '{name}'|option '{name}'") as caught:
        make(listener, **{name: 1})
    assert str(caught.value).endswith(f"; did you mean '{near}'?")


@pytest.mark.parametrize("make", [reserve.Server, reserve.ReserveWSGIServer])
@pytest.mark.parametrize("name", ["backlog", "unix_mode", "unix_owner"])
def test_an_option_of_listeners_is_refused_with_the_call_that_takes_it(make: Callable[..., Any], name: str) -> None:
    (listener,) = reserve.listen("127.0.0.1:0")
    with listener, pytest.raises(UsageError, match=f"named '{name}'") as caught:
        make(listener, handle, **{name: 5})
    call = str(caught.value).partition("; the server is given sockets that are open already: write ")[2]
    assert call == f"reserve.listen(ADDRESS, {name}=...)"
    assert name in inspect.signature(reserve.listen).parameters


def test_options_given_by_name_go_before_the_settings() -> None:
    settings = EngineSettings(threads=3, max_output=5)
    server = reserve.Server(reserve.listen("127.0.0.1:0"), handle, settings=settings, threads=2)
    assert (server.settings.threads, server.settings.max_output) == (2, 5)
    server.stop()
