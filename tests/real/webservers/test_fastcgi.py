"""FastCGI behind real web servers: kept connections, their logs, clients that disconnect, and processes they start."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shlex
import shutil
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.real.installing import Installed
from tests.real.processes import run, running
from tests.real.serving import SITES, fetch
from tests.real.test_frameworks import BINARY, multipart, require_framework, sha256
from tests.real.webservers.conftest import KINDS, Deploy, Kind
from tests.real.webservers.servers import TEXT, Apache, Lighttpd, Nginx, WebServer, configuration, replaced
from tests.real.webservers.test_sites import facts_of
from tests.waiting import eventually

pytestmark = pytest.mark.peer
FASTCGI = {name: kind for name, kind in KINDS.items() if kind.protocol == "fcgi"}
each_kind = pytest.mark.parametrize("kind", FASTCGI.values(), ids=list(FASTCGI))


def page(web: WebServer, path: str) -> str:
    """A page of the site, on a connection of its own."""
    with web.client() as client:
        status, _, body = fetch(client, "GET", path)
        assert status == 200, (status, body)
        return body.decode()


def unbuffered(text: str) -> str:
    return replaced(
        text, "fastcgi_pass", "fastcgi_buffering off;\n        fastcgi_request_buffering off;\n fastcgi_pass"
    )


def unkept(text: str) -> str:
    return replaced(replaced(text, "    keepalive 16;\n", ""), "        fastcgi_keep_conn on;\n", "")


@each_kind
def test_connections_are_kept(deploy: Deploy, kind: Kind) -> None:
    with deploy(kind, "fastcgi_site") as site, site.web.client() as client:
        for _ in range(30):
            assert fetch(client, "GET", "/")[::2] == (200, b"a page")
        connections = int(page(site.web, "/connections"))
    # lighttpd does not keep any; each process of Apache has its own.
    assert connections == 31 if kind.server is Lighttpd else connections <= 8


def test_connections_need_not_be_kept(deploy: Deploy) -> None:
    with deploy(KINDS["nginx fcgi"], "fastcgi_site", edit=unkept) as site:
        for _ in range(10):
            page(site.web, "/")
        assert page(site.web, "/connections") == "11"


def test_a_server_that_keeps_no_connections_causes_no_error(deploy: Deploy) -> None:
    with deploy(KINDS["nginx fcgi"], "fastcgi_site", "--keep-alive", "0") as site:
        for _ in range(30):
            page(site.web, "/")
    assert "upstream" not in site.web.errors.read_text()


@each_kind
def test_errors_of_the_application_get_into_the_log_of_the_web_server(deploy: Deploy, kind: Kind) -> None:
    with deploy(kind, "fastcgi_site") as site:
        page(site.web, "/told")
        logs = [site.web.errors, site.web.folder / "output", site.web.folder / "log"]
        eventually(lambda: any(b"the application tells caf" in log.read_bytes() for log in logs if log.exists()))


@each_kind
@pytest.mark.parametrize("name", ["endless", "quiet"])
def test_an_application_notices_that_its_client_has_disconnected(deploy: Deploy, kind: Kind, name: str) -> None:
    if name == "quiet" and kind.server is not Nginx:  # HAProxy 2.6 does both, and mostly this
        pytest.skip("this web server looks after its client only when it has something to send")
    with deploy(kind, "fastcgi_site", log=None) as site:
        with site.web.client() as client:
            client.request("GET", f"/{name}")
            if name == "endless":  # nginx keeps what it has not filled a buffer with
                client.getresponse().read(5)
            if name == "quiet":
                eventually(lambda: page(site.web, "/ended") == "begun")
        eventually(lambda: name in page(site.web, "/ended"))
        assert name == "endless" or page(site.web, "/ended") == "begun,told,quiet"
        assert page(site.web, "/") == "a page"


@pytest.mark.parametrize(
    ("kind", "edit"),
    [
        *(pytest.param(kind, lambda text: text, id=name) for name, kind in FASTCGI.items()),
        pytest.param(KINDS["nginx fcgi"], unbuffered, id="nginx unbuffered"),
    ],
)
def test_a_response_that_fails_half_way_does_not_look_complete(
    deploy: Deploy, kind: Kind, edit: Callable[[str], str]
) -> None:
    """Over UNIX sockets, too, which cannot be reset."""
    with deploy(kind, "fastcgi_site", edit=edit, log=None) as site:
        with site.web.client() as client:
            try:
                status, _, _ = fetch(client, "GET", "/half")
            except (http.client.HTTPException, ConnectionResetError):
                status = 0
        assert status != 200
        assert page(site.web, "/") == "a page"


@pytest.mark.parametrize("stream", [(), ("--stream-bodies",)])
def test_nginx_without_buffers(deploy: Deploy, stream: tuple[str, ...]) -> None:
    with deploy(KINDS["nginx fcgi"], "variables", *stream, edit=unbuffered) as site:
        for body in (BINARY[:1_000_000], iter([BINARY[:300_000], BINARY[300_000:1_000_000]])):
            facts = facts_of(site.web, "/", "POST", body)
            assert facts["body"] == [1_000_000, sha256(BINARY[:1_000_000])]
        with site.web.client() as client:
            assert fetch(client, "GET", "/?want=stream")[2] == b"".join(b"%07d\n" % n for n in range(100_000))


def test_haproxy_may_ask_for_values(deploy: Deploy) -> None:
    def ask(text: str) -> str:
        return replaced(text, "option keep-conn", "option keep-conn\n    option get-values\n    option mpxs-conns")

    with deploy(KINDS["haproxy fcgi"], "fastcgi_site", edit=ask) as site:
        for _ in range(10):
            assert page(site.web, "/") == "a page"


# ---- started by the web server, or by spawn-fcgi ----


@contextlib.contextmanager
def started(web: WebServer) -> Iterator[WebServer]:
    with web.running():
        yield web


def _command_for_others(installed: Installed, folder: Path) -> str:
    """The installed package on the system's Python, for a user who may not enter the folders of the tests: mod_fcgid
    starts no process as root.
    """
    python = "/usr/bin/python3"
    version = "{}.{}".format(*sys.version_info[:2])
    if not Path(python).exists() or version not in run([python, "--version"], text=True).stdout:
        pytest.skip(f"{python} is not Python {version}, and may not have what the tests of this Python use")
    libraries = Path(pytest.__file__).parent.parent
    for file in (libraries / "flask", SITES / "variables.py"):
        for parent in file.parents:
            if not parent.stat().st_mode & stat.S_IXOTH:
                pytest.skip(f"other users may not enter {parent}")
    (package,) = installed.scripts.parent.glob("lib/python*/site-packages/reserve")
    shutil.copytree(package, folder / "lib" / "reserve", dirs_exist_ok=True)
    return f"env PYTHONPATH={folder}/lib:{SITES}:{libraries} {python} -m reserve"


Start = Callable[[str], contextlib.AbstractContextManager[WebServer]]


@pytest.fixture(params=["lighttpd", "apache2", "spawn-fcgi"])
def start(
    request: pytest.FixtureRequest, installed: Installed, require_peer: Callable[[str], str], short_path: Path
) -> Start:
    """``start(name)``: a context manager of a web server that starts the application, or for which spawn-fcgi does."""
    short_path.chmod(0o755)
    (short_path / "sockets").mkdir()
    (short_path / "sockets").chmod(0o777)  # the umask

    def lighttpd(name: str) -> contextlib.AbstractContextManager[WebServer]:
        text = configuration("lighttpd", "bin-path")
        text = replaced(text, "/usr/local/bin/reserve app fcgi wsgi blog", f"{installed.reserve} app fcgi wsgi {name}")
        text = replaced(text, "/run/blog/lighttpd.sock", f"{short_path}/socket")
        text = replaced(text, '"max-procs"', f'"bin-environment" => ("PYTHONPATH" => "{SITES}"),\n        "max-procs"')
        return started(Lighttpd(require_peer("lighttpd"), short_path, text))

    def apache2(name: str) -> contextlib.AbstractContextManager[WebServer]:
        program = require_peer("apache2")
        if not Path("/usr/lib/apache2/modules/mod_fcgid.so").exists():
            require_peer("mod_fcgid")
        (script,) = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
        command = f"{_command_for_others(installed, short_path)} app fcgi wsgi {name}"
        file = short_path / "blog.fcgi"
        file.write_text(replaced(script, "/usr/local/bin/reserve app fcgi wsgi blog", command))
        file.chmod(0o755)
        text = configuration("apache", "fcgid-script").replace("/srv/blog", str(short_path))
        return started(Apache(program, short_path, text))

    @contextlib.contextmanager
    def spawned(name: str) -> Iterator[WebServer]:
        socket = f"{short_path}/spawned"
        (line,) = re.findall(r"^    (spawn-fcgi .*)$", TEXT, re.MULTILINE)
        line = replaced(replaced(line, "/run/blog/reserve.sock", socket), "/usr/local/bin/reserve", installed.reserve)
        line = replaced(line, "wsgi blog", f"wsgi {name}")
        if os.geteuid() != 0:  # only root gives a socket to another group
            line = replaced(line, "-G www-data ", "")
        program = require_peer("spawn-fcgi")
        web = Nginx(
            require_peer("nginx"),
            short_path,
            replaced(configuration("nginx", "fastcgi_pass"), "/run/blog/reserve.sock", socket),
        )
        log = short_path / "spawned.log"
        with (
            running(
                [program, *shlex.split(line)[1:]],
                lambda: log.exists() and b"Ctrl-C stops it" in log.read_bytes(),
                stop_signal=signal.SIGTERM,
                errors=log,
                cwd=SITES,
            ),
            started(web),
        ):
            assert stat.S_IMODE(Path(socket).stat().st_mode) == 0o660
            yield web

    starts: dict[str, Start] = {"lighttpd": lighttpd, "apache2": apache2, "spawn-fcgi": spawned}
    return starts[request.param]


def test_a_web_server_starts_the_application(start: Start) -> None:
    with start("variables") as web:
        for path in ("/", "/a%20b/c", "/a/"):
            facts = facts_of(web, f"{path}?x")
            assert (facts["SCRIPT_NAME"], facts["PATH_INFO"]) == ("", path.replace("%20", " "))
            assert (facts["QUERY_STRING"], facts["REMOTE_ADDR"]) == ("x", "127.0.0.1")
        for body in (b"", BINARY[:1_000_000]):
            assert facts_of(web, "/", "POST", body)["body"] == [len(body), sha256(body)]
        facts = facts_of(web, "/", "PUT", iter([BINARY[:70_000]]))
        assert facts["body"] == [70_000, sha256(BINARY[:70_000])]


def test_an_application_that_a_web_server_started_ends_with_it(start: Start) -> None:
    with start("fastcgi_site") as web:
        process = int(page(web, "/process"))
        page(web, "/told")
    eventually(lambda: not Path(f"/proc/{process}").exists() or _is_zombie(process))


def _is_zombie(process: int) -> bool:
    return "\nState:\tZ" in Path(f"/proc/{process}/status").read_text()


def test_flask_and_django_started_by_a_web_server(start: Start) -> None:
    require_framework("flask")
    require_framework("django")
    with start("flask_site") as web, web.client() as client:
        fields, content = multipart(BINARY)
        response = fetch(client, "POST", "/upload", content, fields)
        assert sha256(BINARY).encode() in response[2]
    with start("django_site:application") as web, web.client() as client:
        assert fetch(client, "POST", "/echo", b"with a length")[2] == b"with a length"
