"""The servers that are compared under TLS: certificates, commands, configurations, all in one folder; their start."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.load import Unmeasurable, free_port, pinned

__all__ = ["COMMANDS", "KEYS", "make_certificates", "started"]

KEYS = ("p256", "rsa2048")
_KINDS = {"p256": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "rsa2048": ["-newkey", "rsa:2048"]}
_ROOT = Path(__file__).resolve().parent.parent

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


def make_certificates(folder: Path) -> None:
    """Self-made certificates for 127.0.0.1, one for each kind of key, and a file of 100 MB."""
    for key, words in _KINDS.items():
        subprocess.run(
            ["openssl", "req", "-x509", *words, "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
             "-keyout", str(folder / f"{key}.key"), "-out", str(folder / f"{key}.pem")],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
    with (folder / "100M").open("wb") as file:
        file.truncate(100_000_000)


def _reserve(folder: Path, key: str, port: int, threads: int) -> list[str]:
    return [
        sys.executable, "-m", "reserve", "app", "http", "wsgi", "benchmarks.apps:tls_app",
        "--bind", f"127.0.0.1:{port}", "--threads", str(threads), "--no-access-log", "--keep-alive", "600",
        "--tls-cert", str(folder / f"{key}.pem"), "--tls-key", str(folder / f"{key}.key"),
    ]  # fmt: skip


def _cheroot(folder: Path, key: str, port: int, threads: int) -> list[str]:
    files = [str(folder / f"{key}.pem"), str(folder / f"{key}.key")]
    return [sys.executable, "-c", _CHEROOT, str(port), str(threads), *files]


def _gunicorn(folder: Path, key: str, port: int, threads: int) -> list[str]:
    return [
        sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "-w", "1", "-k", "gthread",
        "--threads", str(threads), "--keep-alive", "600", "--certfile", str(folder / f"{key}.pem"),
        "--keyfile", str(folder / f"{key}.key"), "benchmarks.apps:tls_app",
    ]  # fmt: skip


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
"""Each starts one process (nginx: with one worker) for a folder, a kind of key, a port and a number of threads."""


@contextlib.contextmanager
def started(name: str, folder: Path, key: str, threads: int) -> Iterator[tuple[int, int]]:
    """One of them on the first processor, once it shakes hands: its process and its port. It is killed at the end.

    Raises Unmeasurable when it does not.
    """
    port = free_port()
    paths = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": paths, "TLS_FILE": str(folder / "100M")}
    with (folder / "stderr").open("wb") as log, pinned(0):
        process = subprocess.Popen(
            COMMANDS[name](folder, key, port, threads),
            cwd=_ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait(process, name, port, folder / f"{key}.pem", folder / "stderr")
        yield process.pid, port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(process: subprocess.Popen[bytes], name: str, port: int, cert: Path, log: Path) -> None:
    context = ssl.create_default_context(cafile=str(cert))
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with (
                socket.create_connection(("127.0.0.1", port), 2) as sock,
                context.wrap_socket(sock, server_hostname="127.0.0.1"),
            ):
                return
        except OSError:
            time.sleep(0.02)
    raise Unmeasurable(f"{name} did not answer: {log.read_text('utf-8', 'replace')[-800:]}")
