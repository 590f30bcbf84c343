"""The servers that are compared under TLS: their certificates, commands and configurations, in one folder."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.process import Unmeasurable, free_port, started_process
from benchmarks.servers import command

__all__ = ["COMMANDS", "FLOORS", "KEYS", "in_rounds", "make_certificates", "started"]

KEYS = ("p256", "rsa2048")
_KEY_OPTIONS = {"p256": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "rsa2048": ["-newkey", "rsa:2048"]}
_APP = "benchmarks.apps:tls_app"

_CHEROOT = """\
import sys
from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Server
from benchmarks.apps import tls_app
port, threads, cert, key = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
server = Server(("127.0.0.1", port), tls_app, numthreads=threads, request_queue_size=1024)
server.ssl_adapter = BuiltinSSLAdapter(cert, key)
server.safe_start()
"""

_NGINX = """\
daemon off;
pid {folder}/nginx.pid;
error_log stderr crit;
worker_processes 1;
events {{ worker_connections 20000; }}
http {{
    access_log off;
    keepalive_timeout 600;
    keepalive_requests 100000000;
    sendfile on;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{port} ssl backlog=1024;
        ssl_certificate {cert};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:SSL:10m;
        location = / {{ default_type text/plain; return 200 "Hello, world!\\n"; }}
        location = /100M {{ alias {folder}/100M; }}
    }}
}}
"""


def in_rounds(
    program: str, names: Sequence[str], rounds: int, tools: Sequence[str], measure: Callable[[str, Path], None]
) -> bool:
    """Measure every server in each round, in reversed order in every other one. False: something is missing, and
    standard error says what.

    :param program: the name of the benchmark, for messages.
    :param names: of the servers.
    :param tools: the programs that are needed beside them.
    :param measure: is called with the name of a server and a folder that has the certificates.
    """
    try:
        for tool in (*tools, *(("nginx",) if "nginx" in names else ())):
            if shutil.which(tool) is None:
                raise Unmeasurable(f"{tool} is not installed")
        with tempfile.TemporaryDirectory(prefix="benchmark-tls-") as temporary:
            folder = Path(temporary)
            folder.chmod(0o755)  # for nginx's worker, which does not run as root
            make_certificates(folder)
            for number in range(rounds):
                for name in names if number % 2 == 0 else reversed(names):
                    measure(name, folder)
                    print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
    except Unmeasurable as error:
        sys.stderr.write(f"{program}: {error}\n")
        return False
    return True


def make_certificates(folder: Path) -> None:
    """Create a self-signed certificate for 127.0.0.1 for each kind of key, and a file of 100 MB."""
    for key, options in _KEY_OPTIONS.items():
        subprocess.run(
            ["openssl", "req", "-x509", *options, "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
             "-keyout", str(folder / f"{key}.key"), "-out", str(folder / f"{key}.pem")],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
    with (folder / "100M").open("wb") as file:
        file.truncate(100_000_000)


def _reserve(folder: Path, key: str, port: int, threads: int) -> list[str]:
    options = ["--no-access-log", "--keep-alive", "600"]
    options += ["--tls-cert", str(folder / f"{key}.pem"), "--tls-key", str(folder / f"{key}.key")]
    return command("reserve", _APP, threads, port, options)


def _cheroot(folder: Path, key: str, port: int, threads: int) -> list[str]:
    files = [str(folder / f"{key}.pem"), str(folder / f"{key}.key")]
    return [sys.executable, "-c", _CHEROOT, str(port), str(threads), *files]


def _gunicorn(folder: Path, key: str, port: int, threads: int) -> list[str]:
    options = ["--keep-alive", "600"]
    options += ["--certfile", str(folder / f"{key}.pem"), "--keyfile", str(folder / f"{key}.key")]
    return command("gunicorn", _APP, threads, port, options)


def _nginx(folder: Path, key: str, port: int, threads: int) -> list[str]:
    config = folder / f"nginx-{port}.conf"
    files = {"cert": folder / f"{key}.pem", "key": folder / f"{key}.key"}
    config.write_text(_NGINX.format(folder=folder, port=port, **files), "utf-8")
    return ["nginx", "-p", str(folder), "-c", str(config)]


COMMANDS: dict[str, Callable[[Path, str, int, int], list[str]]] = {
    "reserve": _reserve,
    "cheroot": _cheroot,
    "gunicorn": _gunicorn,
    "nginx": _nginx,
}
"""By name: a function of a folder, a kind of key, a port and a number of threads that gives the command.

Each command starts one process (nginx: with one worker).
"""


def _floor(form: str, tickets: int) -> Callable[[Path, str, int, int], list[str]]:
    def command_of(folder: Path, key: str, port: int, threads: int) -> list[str]:
        files = [str(folder / f"{key}.pem"), str(folder / f"{key}.key")]
        return [sys.executable, "-m", "benchmarks.tls_floor", form, str(port), *files, str(tickets)]

    return command_of


FLOORS: dict[str, Callable[[Path, str, int, int], list[str]]] = {
    "floor-descriptor": _floor("descriptor", 2),
    "floor-memory": _floor("memory", 2),
    "floor-loop": _floor("loop", 2),
    "floor-accepting": _floor("accepting", 2),
    "floor-watched": _floor("watched", 2),
    "floor-descriptor-no-tickets": _floor("descriptor", 0),
    "floor-memory-no-tickets": _floor("memory", 0),
}
"""Likewise: programs that do nothing but handshakes and one response with the standard library."""


@contextlib.contextmanager
def started(name: str, folder: Path, key: str, threads: int) -> Iterator[tuple[int, int]]:
    """Run a server on the first processor until the end of the block; give its process id and its port.

    :raises StartError: it ended, or completed no handshake in time.
    """
    port = free_port()
    context = ssl.create_default_context(cafile=str(folder / f"{key}.pem"))

    def completes_handshake() -> bool:
        with (
            socket.create_connection(("127.0.0.1", port), 2) as sock,
            context.wrap_socket(sock, server_hostname="127.0.0.1"),
        ):
            return True

    with started_process(
        name,
        (COMMANDS | FLOORS)[name](folder, key, port, threads),
        completes_handshake,
        log=folder / "stderr",
        core=0,
        environ={"TLS_FILE": str(folder / "100M")},
    ) as pid:
        yield pid, port
