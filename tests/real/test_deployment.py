"""The files of ``deployment.md``, run as they stand there, with other addresses and shorter times."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.steadyload import SteadyLoad, write_application
from tests.clients import free_port
from tests.docs.test_deployment import block, pod, section
from tests.real.conftest import Serve
from tests.real.installing import Installed
from tests.real.processes import clean_environ, running
from tests.real.serving import PATIENCE, ServerProcess, fetch
from tests.waiting import eventually

INSTRUCTION = re.compile(r"^([A-Z]+) (.*)$", re.MULTILINE)


def health(port: int, path: str = "/healthz") -> int:
    """The status with which the path responds; 0: nobody does."""
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            return int(sock.makefile("rb").readline().split()[1])
    except (OSError, IndexError):
        return 0


# ---- Docker ----


def dockerfile() -> dict[str, str]:
    """The instructions of the image that runs, without those of the image that builds it; COPY is the last one."""
    return dict(INSTRUCTION.findall(block("dockerfile").rpartition("\nFROM ")[2]))


@contextlib.contextmanager
def container(program: str, installed: Installed, app: Path, arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Run the command of the image as its process 1, with a root that is read-only, as its user."""
    image = dockerfile()
    user, group = image["USER"].split(":")
    (variable,) = re.findall(r"(\w+)=(\w+)", image["ENV"])
    venv = installed.scripts.parent
    hidden = {"proc", "dev", "sys", "tmp", "venv", "app"}
    mounts: list[str] = []
    for name in sorted(set(os.listdir("/")) - hidden):
        mounts += ["--ro-bind", f"/{name}", f"/{name}"]
    mounts += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--ro-bind", str(venv), str(venv)]
    mounts += ["--symlink", str(venv), "/venv", "--ro-bind", str(app), image["WORKDIR"], "--remount-ro", "/"]
    process = subprocess.Popen(
        [
            program, *mounts, "--unshare-user", "--unshare-pid", "--as-pid-1", "--uid", user, "--gid", group,
            "--clearenv", "--setenv", *variable, "--chdir", image["WORKDIR"], "--die-with-parent", "--",
            *json.loads(image["ENTRYPOINT"]), *arguments,
        ],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=clean_environ(),
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.peer
def test_the_command_of_the_image_runs_as_process_1_with_a_read_only_root(
    installed: Installed, tmp_path: Path, require_peer: Callable[[str], str]
) -> None:
    program = require_peer("bwrap")
    tried = subprocess.run(
        [program, "--ro-bind", "/", "/", "--unshare-user", "--unshare-pid", "true"], capture_output=True, check=False
    )
    if tried.returncode != 0:
        pytest.skip("this user may not make namespaces")
    (tmp_path / "blog.py").write_text(
        "import os\n"
        "def application(environ, start_response):\n"
        "    text = f'{os.getpid()} {os.getuid()} {len(environ[\"wsgi.input\"].read())}'.encode()\n"
        "    start_response('200 OK', [('Content-Length', str(len(text)))])\n"
        "    return [text]\n"
    )
    arguments = json.loads(dockerfile()["CMD"])
    assert arguments[:2] == ["--bind", ":8080"]
    with container(program, installed, tmp_path, ["--bind", "127.0.0.1:0", *arguments[2:]]) as process:
        assert process.stderr is not None
        banner = ""
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/", banner)):
            line = process.stderr.readline()
            assert line, banner
            banner += line
        port = int(found[1])
        body = bytes(2_000_000)  # more than stays in memory, so a file in /tmp is needed
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + b"Content-Length: 2000000\r\n\r\n")
            sock.sendall(body)
            response = sock.makefile("rb").read()
        text = response.partition(b"\r\n\r\n")[2].decode()
        assert re.fullmatch(r"[2-9]\d* 10001 2000000", text)  # process 1 waits for it
        check = json.loads(dockerfile_health().replace(":8080", f":{port}"))
        assert check[0] == "/venv/bin/python"
        assert subprocess.run([installed.python, *check[1:]], check=False).returncode == 0
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        os.kill(int(children.read_text().split()[0]), signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert "reserve: the server has stopped" in process.stderr.read()


def dockerfile_health() -> str:
    """The command of the health check, a list in JSON."""
    return dockerfile()["HEALTHCHECK"].partition(" CMD ")[2]


# ---- Kubernetes ----


def test_the_pod_serves_until_its_services_have_noticed(serve: Serve) -> None:
    arguments = list(pod()["containers"][0]["args"])
    assert arguments[:2] == ["--bind", ":8080"]
    arguments[arguments.index("--drain-delay") + 1] = "1s"
    ready, live = (arguments[arguments.index(name) + 1] for name in ("--ready-path", "--live-path"))
    with serve(*arguments[2:], log=None) as server:
        port = server.address[1]
        assert health(port, ready) == health(port, live) == 200
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: health(port, ready) != 200)
        assert (health(port, ready), health(port, live)) == (503, 200)
        with server.client() as client:
            assert fetch(client, "GET", "/")[0] == 200
        assert server.process.wait(PATIENCE) == 0  # a second signal would stop it at once


# ---- several servers behind a load balancer ----


def haproxy_configuration(front: str, ports: list[int], folder: Path) -> str:
    """The page's configuration for these servers; checks follow each other ten times as fast."""
    text = block("haproxy").replace("bind :80", f"bind unix@{front}").replace("inter 1s", "inter 100ms")
    return with_ports(text, ports)


def nginx_configuration(front: str, ports: list[int], folder: Path) -> str:
    """The page's configuration for these servers, and around it what Debian's has."""
    user = "user root;" if os.geteuid() == 0 else ""
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "".join(f"{name}_temp_path {folder}/{name};\n" for name in names)
    text = with_ports(block("nginx").replace("listen 80;", f"listen unix:{front};"), ports)
    return (
        f"daemon off;\n{user}\npid {folder}/pid;\nerror_log stderr warn;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{folders}{text}}}\n"
    )


def with_ports(text: str, ports: list[int]) -> str:
    for number, port in enumerate(ports, 8001):
        assert f"127.0.0.1:{number}" in text
        text = text.replace(f"127.0.0.1:{number}", f"127.0.0.1:{port}")
    return text


def server_options() -> list[str]:
    """The options of the page's command, without the address and the application; the drain is ten times as fast."""
    (line,) = re.findall(r"^```sh\nreserve (.*)\n```$", section("Several servers behind HAProxy"), re.MULTILINE)
    words = shlex.split(line)
    assert words[:2] == ["--bind", "127.0.0.1:8001"]
    words[words.index("--drain-delay") + 1] = "600ms"
    return words[2 : words.index("app")]


@pytest.mark.peer
@pytest.mark.parametrize("name", ["haproxy", "nginx"])
def test_a_rolling_restart_behind_a_load_balancer_fails_no_request(
    name: str, installed: Installed, tmp_path: Path, short_path: Path, require_peer: Callable[[str], str]
) -> None:
    """Behind nginx the clients only fetch: it does not repeat what it has begun to send (as the page says)."""
    program, front = require_peer(name), str(short_path / "front")
    write_application(tmp_path / "restarted.py", "1")
    options = server_options()
    if name == "nginx":
        options = options[: options.index("--drain-delay")] + options[options.index("--drain-delay") + 2 :]

    def start(bind: str) -> ServerProcess:
        command = [installed.reserve, "--bind", bind, *options, "app", "http", "wsgi", "restarted:application"]
        return ServerProcess(*command, log=None, cwd=tmp_path).__enter__()

    servers = [start("127.0.0.1:0") for _ in range(3)]
    try:
        ports = [server.address[1] for server in servers]
        make = haproxy_configuration if name == "haproxy" else nginx_configuration
        config = tmp_path / "config"
        config.write_text(make(front, ports, tmp_path), "utf-8")
        command = {
            "haproxy": [program, "-db", "-f", str(config)],
            "nginx": [program, "-e", "stderr", "-p", str(tmp_path), "-c", str(config)],
        }[name]
        stop = {"haproxy": signal.SIGUSR1, "nginx": signal.SIGQUIT}[name]
        uploads = 2 if name == "haproxy" else 0
        with (
            running(command, lambda: accepts(front), stop_signal=stop, errors=tmp_path / "errors", cwd=tmp_path),
            SteadyLoad(front, keep_alive=6, others=uploads) as load,
        ):
            for number, port in enumerate(ports):
                load.pass_requests(100)
                servers[number].__exit__(None)
                write_application(tmp_path / "restarted.py", str(number + 2))
                servers[number] = start(f"127.0.0.1:{port}")
                eventually(lambda port=port: health(port) == 200)
                wait_for_version(load, str(number + 2))
        assert load.tally.failures == []
        assert load.tally.sent > 300
    finally:
        for server in servers:
            server.__exit__(None)


def accepts(front: str) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(front)
    except OSError:
        return False
    return True


def wait_for_version(load: SteadyLoad, version: str) -> None:
    """Wait until the load balancer has found the server that was started again."""

    def seen() -> bool:
        with load.tally.lock:
            return any(name.startswith(f"{version} ") for name in load.tally.answered_by)

    eventually(seen)


# ---- rotation of logs ----


@pytest.mark.peer
@pytest.mark.parametrize("processes", ["1", "2"])
def test_rotated_logs_go_on(
    installed: Installed, tmp_path: Path, require_peer: Callable[[str], str], processes: str
) -> None:
    program = require_peer("logrotate")

    def here(text: str) -> str:
        return text.replace("/var/log/blog", str(tmp_path)).replace("/run/blog", str(tmp_path))

    (line,) = re.findall(r"^```sh\nreserve (.*)\n```$", section("Rotation of logs"), re.MULTILINE)
    config = tmp_path / "logrotate.conf"
    assert "copytruncate" not in block("logrotate")
    config.write_text("su root root\n" * (os.geteuid() == 0) + here(block("logrotate")))
    access, error = tmp_path / "access.log", tmp_path / "error.log"
    port = free_port()
    process = subprocess.Popen(
        [installed.reserve, "--bind", f"127.0.0.1:{port}", "--processes", processes, *shlex.split(here(line))],
        cwd=tmp_path,
        env=clean_environ(),
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: health(port) in (200, 404))

        def request(path: str) -> None:
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
                sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                assert sock.makefile("rb").read().startswith(b"HTTP/1.1 ")

        for turn in range(2):
            request(f"/before{turn}")
            eventually(lambda: access.read_text().count(f"GET /before{turn} ") == 1)  # noqa: B023
            done = subprocess.run(
                [program, "-f", "-s", str(tmp_path / "state"), str(config)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            eventually(lambda: access.exists() and "opened again" in (error.read_text() if error.exists() else ""))
            count = 0

            def arrives() -> bool:
                nonlocal count
                count += 1
                request(f"/after{turn}")  # noqa: B023
                return f"GET /after{turn} " in access.read_text()  # noqa: B023

            eventually(arrives)
            old = (tmp_path / "access.log.1").read_text()
            eventually(
                lambda: ((tmp_path / "access.log.1").read_text() + access.read_text()).count(f"/after{turn} ") == count  # noqa: B023
            )
            assert f"GET /before{turn} " in old
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0


@pytest.mark.peer
def test_jq_reads_every_line(serve: Serve, tmp_path: Path, require_peer: Callable[[str], str]) -> None:
    program = require_peer("jq")
    log = tmp_path / "access.log"
    targets = ["/", "/%22%0a", "/\\x", "/" + "a" * 3000]
    agents = ['"', "\\", "\xe9", "\u65e5".encode().decode("latin-1"), "\t", "x" * 3000, "{}", "\x7f", "\x9b[2J"]
    with serve(
        "app", "http", "wsgi", "everything", "--access-log-file", str(log), "--access-log-format", "json", log=None
    ) as server:
        for target in targets:
            for agent in agents:
                with socket.create_connection(server.address, PATIENCE) as sock:
                    head = f"GET {target} HTTP/1.1\r\nHost: x\r\nUser-Agent: {agent}\r\nConnection: close\r\n\r\n"
                    sock.sendall(head.encode("latin-1"))
                    sock.makefile("rb").read()
    lines = log.read_bytes().splitlines()
    assert len(lines) == len(targets) * len(agents)
    done = subprocess.run([program, "-c", ".status"], input=log.read_bytes(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == len(lines)
