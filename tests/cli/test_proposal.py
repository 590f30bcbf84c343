"""The line at the end of a message: it works when a user pastes it into the shell."""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from reserve.cli.command import main
from reserve.cli.proposal import shell_line
from reserve.loader.find import bundled_names, complete_words, find
from tests.cli.fakes import HANDLER, FakeServer
from tests.clients import free_port
from tests.waiting import PATIENCE

SHOP = """
def app(environ, start_response):
    return []
def create_app():
    return app
"""
FACTORY = "def create_app():\n    return lambda environ, start_response: []\n"
UNCALLED = "def app():\n    return lambda environ, start_response: []\n"
ASGI = """
async def app(scope, receive, send): ...
class Site:
    async def __call__(self, scope, receive, send): ...
site = Site()
def create(name):
    return site
def plain(scope, receive, send):
    return app(scope, receive, send)
"""
A2WSGI = """
def ASGIMiddleware(app):
    assert callable(app)
    return lambda environ, start_response: [app]
"""
SHOP_LINE = "app http wsgi cli_shop:app"


@pytest.fixture
def shop(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with WSGI and other applications. The default address is a free port."""
    monkeypatch.setattr("reserve.cli.binds._DEFAULT", "127.0.0.1:0")
    (workdir / "cli_shop.py").write_text(SHOP)
    (workdir / "cli_factory.py").write_text(FACTORY)
    (workdir / "cli_uncalled.py").write_text(UNCALLED)
    (workdir / "cli_handler.py").write_text(HANDLER)
    (workdir / "cli_asgi.py").write_text(ASGI)
    (workdir / "cli_chat.py").write_text("class Chat:\n    def on_message(self, ws, message): ...\n")
    (workdir / "cli_ws_function.py").write_text("def hello(ws): ...\n")
    (workdir / "cli_package").mkdir()
    (workdir / "cli_package" / "__init__.py").write_text("")
    (workdir / "cli_package" / "site.py").write_text(SHOP)
    (workdir / "cli_project").mkdir()
    (workdir / "cli_project" / "__init__.py").write_text("")
    (workdir / "cli_project" / "wsgi.py").write_text(SHOP)
    (workdir / "TMP").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(workdir / "TMP"))
    return workdir


def proposed(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The line that the command proposes in place of a wrong one."""
    assert main(shlex.split(line)) in (1, 2)
    message = capsys.readouterr().err
    assert message.count("\n") == 1, message
    assert FakeServer.made == []
    before, separator, right = message.rstrip("\n").rpartition("; write: ")
    assert separator, message
    assert "write" not in before
    return right


def serves(line: str) -> bool:
    program, *argv = shlex.split(line)
    assert program == "reserve"
    return main(argv) == 0 and len(FakeServer.made) == 1


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        # the words before the name
        ("", "app http wsgi blog"),
        ("app", "app http wsgi blog"),
        ("--threads 4", "--threads 4 app http wsgi blog"),
        ("blog", "app http wsgi blog"),
        ("http", "app http wsgi blog"),
        ("app blog", "app http wsgi blog"),
        ("app http", "app http wsgi blog"),
        ("app http blog", "app http wsgi blog"),
        ("app http wsgi", "app http wsgi blog"),
        ("app wsgi", "app http wsgi blog"),
        ("cli_shop:app", SHOP_LINE),
        ("http wsgi cli_shop:app", SHOP_LINE),
        ("wsgi cli_shop:app", SHOP_LINE),
        ("app wsgi cli_shop:app", SHOP_LINE),
        ("app cli_shop:app", SHOP_LINE),
        ("app http cli_shop:app --threads 4", f"{SHOP_LINE} --threads 4"),
        ("app --threads 4 http cli_shop:app", "app --threads 4 http wsgi cli_shop:app"),
        ("cli_shop", "app http wsgi cli_shop"),
        ("app cli_shop", "app http wsgi cli_shop"),
        ("cli_handler", "app cli_handler"),
        ("cli_handler:launch", "app cli_handler:launch"),
        ("app http wsgi cli_handler:handle", "app cli_handler:handle"),
        ("app echo:app", "app echo"),
        ("app echoo", "app echo"),
        ("app htttp", "app http wsgi blog"),
        # the name
        ("app http wsgi cli_shop.py", "app http wsgi cli_shop"),
        ("app http wsgi ./cli_shop.py:app", SHOP_LINE),
        ("app http wsgi cli_package/site.py", "app http wsgi cli_package.site"),
        ("app http wsgi cli_package/site:app", "app http wsgi cli_package.site:app"),
        ("cli_package/site.py:app", "app http wsgi cli_package.site:app"),
        ("app http wsgi --mount /=cli_shop.py", "app http wsgi --mount /=cli_shop"),
        ("app http wsgi cli_shop.app", SHOP_LINE),
        ("app http wsgi 'cli_shop.create_app()'", "app http wsgi 'cli_shop:create_app()'"),
        ("app cli_package.site.app", "app http wsgi cli_package.site:app"),
        ("app http wsgi cli_package.sitee", "app http wsgi cli_package.site"),
        ("app http wsgi cli_package.site.apps", "app http wsgi cli_package.site:app"),
        ("app http wsgi cli_project", "app http wsgi cli_project.wsgi"),
        ("app cli_project", "app http wsgi cli_project.wsgi"),
        ("app http wsgi cli_project.application", "app http wsgi cli_project.wsgi"),
        ("app http wsgi cli_shop:", "app http wsgi cli_shop"),
        ("app http wsgi cli_shop:application", SHOP_LINE),
        ("app http wsgi Cli_Shop:app", SHOP_LINE),
        ("app http wsgi cli_shop:create_app", "app http wsgi 'cli_shop:create_app()'"),
        ("app http wsgi cli_factory", "app http wsgi 'cli_factory:create_app()'"),
        ("app cli_factory", "app http wsgi 'cli_factory:create_app()'"),
        ("app http wsgi cli_uncalled", "app http wsgi 'cli_uncalled:app()'"),
        # other protocols
        ("app scgi", "app scgi wsgi blog"),
        ("app scgi wsgi", "app scgi wsgi blog"),
        ("app uwsgi cli_shop:app", "app uwsgi wsgi cli_shop:app"),
        ("uwsgi wsgi cli_shop:app", "app uwsgi wsgi cli_shop:app"),
        ("app scgi wsgi cli_shop:create_app", "app scgi wsgi 'cli_shop:create_app()'"),
        ("app fcgi", "app fcgi wsgi blog"),
        ("app fcgi cli_shop:app", "app fcgi wsgi cli_shop:app"),
        ("app fastcgi wsgi cli_shop:app", "app fcgi wsgi cli_shop:app"),
        ("fastcgi cli_shop:app", "app fcgi wsgi cli_shop:app"),
        ("app http scgi wsgi cli_shop:app", "app scgi wsgi cli_shop:app"),
        # paths
        ("app http wsgi --mount cli_shop", "app http wsgi --mount /cli_shop=cli_shop"),
        ("app http wsgi --mount=a=cli_shop", "app http wsgi --mount=/a=cli_shop"),
        (f"{SHOP_LINE} --websocket cli_chat:Chat", f"{SHOP_LINE} --websocket /cli_chat=cli_chat:Chat"),
        (f"{SHOP_LINE} --websocket ws=cli_chat:Chat", f"{SHOP_LINE} --websocket /ws=cli_chat:Chat"),
        # WebSocket
        ("app ws cli_chat:Chat", "app websocket cli_chat:Chat"),
        ("app http websocket cli_chat:Chat", "app websocket cli_chat:Chat"),
        ("app websocket cli_chat", "app websocket cli_chat:Chat"),
        ("app websocket cli_ws_function", "app websocket cli_ws_function:hello"),
        (f"{SHOP_LINE} --websocket /chat=cli_chat", f"{SHOP_LINE} --websocket /chat=cli_chat:Chat"),
        (f"{SHOP_LINE} --websocket /chat=Cli_Chat:Chat", f"{SHOP_LINE} --websocket /chat=cli_chat:Chat"),
        # arguments of an application that takes none
        (f"{SHOP_LINE} app", SHOP_LINE),
        (f"{SHOP_LINE} 8000", f"{SHOP_LINE} --bind localhost:8000"),
        (f"{SHOP_LINE} -- x", SHOP_LINE),
        # several mistakes: none of them leads to another message
        ("cli_shop.py --threads", "app http wsgi cli_shop --threads 16"),
        ("--threads=0 cli_shop:app --log-level=INFO", "--threads 16 app http wsgi cli_shop:app --log-level info"),
        # values of options
        (f"{SHOP_LINE} --threads", f"{SHOP_LINE} --threads 16"),
        (f"{SHOP_LINE} --keep-alive=10sec", f"{SHOP_LINE} --keep-alive 10s"),
        (f"{SHOP_LINE} --max-body 10MB", f"{SHOP_LINE} --max-body 10m"),
        (f"{SHOP_LINE} --log-level warn", f"{SHOP_LINE} --log-level warning"),
        (f"{SHOP_LINE} --access-log=-", f"{SHOP_LINE} --access-log"),
        (f"{SHOP_LINE} --access-log=off", f"{SHOP_LINE} --no-access-log"),
        (f"{SHOP_LINE} --open-files unlimited", f"{SHOP_LINE} --open-files keep"),
        (f"{SHOP_LINE} --trusted-proxies '*'", f"{SHOP_LINE} --trusted-proxies 127.0.0.1"),
        (f"{SHOP_LINE} --ws-origins https://a.example/", f"{SHOP_LINE} --ws-origins https://a.example"),
        (f"{SHOP_LINE} --ws-origins https://a.example:443", f"{SHOP_LINE} --ws-origins same"),
        (f"{SHOP_LINE} --proxy-protocol v2", f"{SHOP_LINE} --proxy-protocol v2 --trusted-proxies 127.0.0.1"),
        (f"{SHOP_LINE} --no-access-log=1", f"{SHOP_LINE} --no-access-log"),
        (f"{SHOP_LINE} --no-access-log=off", f"{SHOP_LINE} --access-log"),
    ],
)
def test_the_proposed_line_serves(shop: Path, capsys: pytest.CaptureFixture[str], wrong: str, right: str) -> None:
    line = proposed(wrong, capsys)
    assert line == f"reserve {right}"
    assert serves(line)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("--bind localhost", "--bind localhost:8080"),
        ("--bind=localhost", "--bind localhost:8080"),
        ("-blocalhost", "--bind localhost:8080"),
        ("-b 8080", "-b localhost:8080"),
        ("--bind 127.0.0.1:1,127.0.0.1:2", "--bind 127.0.0.1:1 --bind 127.0.0.1:2"),
        ("-b :1,[::1],s.sock", "-b :1 --bind '[::1]:8080' --bind unix:s.sock"),
        ("--bind http://127.0.0.1:8080/path", "--bind 127.0.0.1:8080"),
        ("--bind https://localhost", "--bind localhost:8080"),
        ("--bind tcp://[::1]:80", "--bind '[::1]:80'"),
        ("--bind http+unix://%2Frun%2Fx", "--bind unix:/run/x"),
        ("--bind ./s", "--bind unix:./s"),
        ("--bind /run/s", "--bind unix:/run/s"),
        ("--bind '*:80'", "--bind :80"),
        ("--bind ::1:80", "--bind '[::1]:80'"),
        ("--bind ::", "--bind '[::]:8080'"),
        ("--bind fd://3", "--bind fd:3"),
        ("--bind localhost:http", "--bind localhost:8080"),
        ("--bind localhost:99999", "--bind localhost:8080"),
        ("--bind", "--bind 127.0.0.1:8080"),
    ],
)
def test_an_address_that_is_none_is_proposed_as_one(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wrong: str, right: str
) -> None:
    line = proposed(f"{SHOP_LINE} {wrong}", capsys)
    assert line == f"reserve {SHOP_LINE} {right}"
    opened: list[str] = []
    listen = "reserve.sockets.listeners.listen_by_address"
    monkeypatch.setattr(listen, lambda *addresses, **rest: opened.extend(addresses) or [])
    assert serves(line)
    assert opened == [
        argument for argument in shlex.split(right) if not argument.startswith("-b") and argument != "--bind"
    ]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("-- -h", "-h"),
        ("app -- -h", "app -h"),
        ("app http -- -h", "app http -h"),
        ("app http wsgi -- --help", "app http wsgi -h"),
        (f"{SHOP_LINE} -- -h", f"{SHOP_LINE} -h"),
        ("app echo -- -h", "app echo -h"),
        ("help", "-h"),
        ("version", "--version"),
    ],
)
def test_a_line_that_asks_for_help_is_proposed_as_one_that_prints_it(
    shop: Path, capsys: pytest.CaptureFixture[str], wrong: str, right: str
) -> None:
    line = proposed(wrong, capsys)
    assert line == f"reserve {right}"
    assert main(shlex.split(line)[1:]) == 0
    out, err = capsys.readouterr()
    assert out
    assert not err


@pytest.mark.parametrize(
    ("line", "end"),
    [
        (
            "app websocket cli_shop",
            "callables of cli_shop are: app, create_app; to serve its app with WSGI write: "
            "reserve app http wsgi cli_shop",
        ),
        ("app websocket blog", "the rest of the import path"),
        (f"{SHOP_LINE} --websocket /ws=echo:handle", "the rest of the import path"),
    ],
)
def test_no_line_is_proposed_that_serves_no_websocket_handler(
    shop: Path, capsys: pytest.CaptureFixture[str], line: str, end: str
) -> None:
    assert main(shlex.split(line)) == 1
    assert capsys.readouterr().err.rstrip("\n").endswith(end)


@pytest.mark.parametrize("line", ["app echo --websocket /a=b", "app scgi wsgi cli_shop:app --websocket=/a=b"])
def test_an_option_of_another_application_is_said_to_be_one(
    shop: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    assert main(shlex.split(line)) == 2
    assert "reserve app http wsgi NAME --websocket /PATH=NAME" in capsys.readouterr().err


def test_every_protocol_that_hosts_wsgi_is_completed() -> None:
    hosting = [name for name in bundled_names() if "wsgi NAME" in find(name).arguments]
    assert "fcgi" in hosting
    for name in hosting:
        assert complete_words([name]) == [name, "wsgi", "blog"]


def test_a_file_in_another_directory_is_proposed_with_that_directory(
    shop: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "cli_far.py").write_text(SHOP)
    inside = f"app http wsgi {shop}/cli_package/site.py:app"
    assert proposed(inside, capsys) == "reserve app http wsgi cli_package.site:app"
    for wrong in (f"app http wsgi {elsewhere}/cli_far.py:app", f"{elsewhere}/cli_far.py:app"):
        assert proposed(wrong, capsys) == f"reserve app http wsgi cli_far:app --chdir {elsewhere}"
    assert serves(f"reserve app http wsgi cli_far:app --chdir {elsewhere}")


@pytest.mark.parametrize(
    ("line", "expression"),
    [
        ("app http wsgi cli_asgi:app --threads 4", "cli_asgi.app"),
        ("app http wsgi cli_asgi", "cli_asgi.app"),
        ("app http wsgi cli_asgi:site", "cli_asgi.site"),
        ("app http wsgi cli_asgi:Site", "cli_asgi.Site()"),
        ("app http wsgi cli_asgi:plain", "cli_asgi.plain"),
        ("""app http wsgi 'cli_asgi:create("it is")'""", 'cli_asgi.create("it is")'),
        ("app cli_asgi:app", "cli_asgi.app"),
    ],
)
def test_an_asgi_application_is_named_and_the_line_makes_a_wsgi_application_of_it(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str, expression: str
) -> None:
    monkeypatch.setenv("PWD", str(shop))
    (shop / "cli_asgi_wsgi.py").write_text("is_taken = True")
    installing = proposed(line, capsys)
    assert installing.startswith(f"{sys.executable} -m pip install a2wsgi && printf ")
    (shop / "a2wsgi.py").write_text(A2WSGI)
    printing = proposed(line, capsys)
    assert installing.endswith(printing)
    shell, _, command = printing.rpartition(" && ")
    subprocess.run(["sh", "-c", shell], cwd=shop, check=True, timeout=PATIENCE)
    written = (shop / "cli_asgi_wsgi2.py").read_text()
    assert written == f"import cli_asgi, a2wsgi; app = a2wsgi.ASGIMiddleware({expression})\n"
    assert command.startswith("reserve app http wsgi cli_asgi_wsgi2:app")
    assert serves(command)


def test_an_async_function_that_is_not_asgi_is_refused(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "cli_async.py").write_text("async def app(environ, start_response): ...\n")
    assert main(["app", "http", "wsgi", "cli_async"]) == 1
    assert capsys.readouterr().err == (
        "reserve: cli_async is async, and a WSGI application is an ordinary callable; write def in place of async def\n"
    )


def test_a_value_from_the_environment_gets_a_hint_and_no_line(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RESERVE_BIND", "localhost")
    assert main(shlex.split(SHOP_LINE)) == 2
    assert capsys.readouterr().err == (
        "reserve: the environment variable RESERVE_BIND: cannot listen on 'localhost': the port is missing; "
        "write localhost:8080. An address is HOST:PORT, [IPV6]:PORT, :PORT, unix:PATH, unix:@NAME or fd:N.\n"
    )


def test_the_line_has_the_program_as_the_user_started_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "reserve"
    program.touch(0o755)
    monkeypatch.setattr(sys, "argv", [str(program)])
    assert shell_line(["a b"]) == f"{program} 'a b'"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shell_line(["a b"]) == "reserve 'a b'"
    monkeypatch.setattr(sys, "argv", ["/usr/lib/reserve/__main__.py"])
    assert shell_line(["x"]) == f"{sys.executable} -m reserve x"
    monkeypatch.setattr(sys, "argv", ["/usr/bin/another-program"])
    assert shell_line(["x"]) == "reserve x"


def test_a_name_that_is_in_no_file_is_not_proposed(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cli_package.nothing", "cli_shop.nothing"):
        assert main(["app", "http", "wsgi", name]) == 1
        message = capsys.readouterr().err
        assert f"there is no module named {name}" in message
        assert "write" not in message


# ---- addresses, paths and files of what watches the server ----


def test_an_address_in_use_gets_another_port(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the option, because the address does not tell which one of several it is."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = f"127.0.0.1:{busy.getsockname()[1]}"
        assert main(shlex.split(f"--metrics-bind {address} {SHOP_LINE}")) == 1
        message = capsys.readouterr().err
        assert message.startswith(f"reserve: --metrics-bind: cannot listen on {address}: Address already in use")
        assert serves(message.rstrip().rpartition("; write: ")[2])


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("--metrics-bind 127.0.0.1:0", ""),
        ("--metrics-bind 127.0.0.1:7 --metrics-bind 127.0.0.1:7", "--metrics-bind 127.0.0.1:7"),
        ("--metrics-bind unix:a/b/metrics", "mkdir -p a/b && --metrics-bind unix:a/b/metrics"),
        ("--control a/b/control", "mkdir -p a/b && --control a/b/control"),
        ("--access-log-file a/access.log", "mkdir -p a && --access-log-file a/access.log"),
        ("--error-log-file a/error.log", "mkdir -p a && --error-log-file a/error.log"),
        ("--metrics-path /m --status-path /m", "--metrics-path /m --status-path /m-status"),
        ("--live-path /x --health-path /x", "--live-path /x-live --health-path /x"),
        ("--statsd localhost", "--statsd 127.0.0.1:8125"),
        ("--metrics-bind", "--metrics-bind 127.0.0.1:9100"),
        ("--control", "--control /tmp/reserve.control"),
        ("--control-readonly", "--control-readonly /tmp/reserve-readonly.control"),
        ("--threads", "--threads 16"),
    ],
)
def test_what_watches_the_server(wrong: str, right: str, shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not right:
        assert serves(f"reserve {wrong} {SHOP_LINE}")
        return
    before, joined, options = right.rpartition(" && ")
    expected = f"{before}{joined}reserve {options} {SHOP_LINE}"
    assert proposed(f"{wrong} {SHOP_LINE}", capsys) == expected


def test_addresses_of_two_purposes(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    same = f"127.0.0.1:{port}"
    line = proposed(f"-b {same} --metrics-bind {same} {SHOP_LINE}", capsys)
    assert line.startswith(f"reserve -b {same} --metrics-bind 127.0.0.1:")
    assert serves(line)
