"""The servers that are compared, and their commands.

Each has one process that serves and 16 threads where it has threads, unless a measurement says otherwise, and its own
defaults otherwise, except where a default would end a workload: limits of connections and of a body, and timeouts of
idle connections.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.compare.environment import Environment
from benchmarks.process import HOST
from benchmarks.runtime import FORMS

__all__ = ["FLOOR", "NGINX_APPS", "SERVERS", "SUBJECTS", "THREADED", "Server", "Setup", "absent", "nginx_configuration"]

THREADS = 16
_MANY = "20000"
_BIG = "2147483648"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What one start of a server needs to know."""

    environment: Environment
    app: str
    """``module:name`` in the folder of the applications."""
    port: int
    access_log: bool
    folder: Path
    """For files of this start."""
    file: Path
    """The file of the workload that sends one."""
    threads: int = THREADS
    processes: int = 1
    """That serve; only reserve has more than one."""
    certificate: Path | None = None
    """The file of the certificate with which the server speaks TLS; its key is beside it, as ``.key``. None: no TLS."""

    @property
    def python(self) -> str:
        return str(self.environment.python)

    def tls(self, certificate: str, key: str) -> list[str]:
        """The options of TLS, by these names; none without a certificate."""
        if self.certificate is None:
            return []
        return [certificate, str(self.certificate), key, str(self.certificate.with_suffix(".key"))]


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server, or a form of one."""

    distribution: str
    command: Callable[[Setup], list[str]]
    environ: Mapping[str, str] = field(default_factory=dict)
    threaded: bool = False
    """Whether threads run the application."""
    has_log: bool = True
    has_tls: bool = False
    """Whether it can speak TLS, as far as the commands here know."""
    only: tuple[str, ...] = ()
    """The workloads in which it takes part; empty: all that suit it."""


def _reserve(setup: Setup) -> list[str]:
    log = ["--access-log-file", "/dev/null"] if setup.access_log else ["--no-access-log"]
    arguments = ["--bind", f"{HOST}:{setup.port}", "--threads", str(setup.threads), "--keep-alive", "75s"]
    arguments += ["--max-body", "2g", *setup.tls("--tls-cert", "--tls-key")]
    if setup.processes > 1:
        arguments += ["--processes", str(setup.processes)]
    return [setup.python, "-m", "reserve", "app", "http", "wsgi", setup.app, *arguments, *log]


def _reserve_with_one_thread(setup: Setup) -> list[str]:
    return _reserve(replace(setup, threads=1))


def _reserve_that_streams(setup: Setup) -> list[str]:
    return [*_reserve(setup), "--stream-bodies"]


def _cheroot(setup: Setup) -> list[str]:
    if setup.certificate is not None:
        files = [str(setup.certificate), str(setup.certificate.with_suffix(".key"))]
        return [setup.python, "serve_cheroot.py", setup.app, str(setup.port), str(setup.threads), *files]
    arguments = ["--bind", f"{HOST}:{setup.port}", "--threads", str(setup.threads)]
    return [setup.python, "-m", "cheroot", setup.app, *arguments]


def _waitress(setup: Setup) -> list[str]:
    limits = [f"--connection-limit={_MANY}", "--asyncore-use-poll", f"--max-request-body-size={_BIG}"]
    arguments = [f"--listen={HOST}:{setup.port}", f"--threads={setup.threads}", *limits]
    return [setup.python, "-m", "waitress", *arguments, setup.app]


def _gunicorn(setup: Setup, *kind: str) -> list[str]:
    log = ["--access-logfile", "/dev/null"] if setup.access_log else []
    limits = ["--worker-connections", _MANY, "--keep-alive", "75"]
    limits += setup.tls("--certfile", "--keyfile")
    arguments = ["-b", f"{HOST}:{setup.port}", "-w", "1", *kind, *limits, *log, setup.app]
    return [setup.python, "-m", "gunicorn", *arguments]


def _gunicorn_threads(setup: Setup) -> list[str]:
    return _gunicorn(setup, "-k", "gthread", "--threads", str(setup.threads))


def _gunicorn_sync(setup: Setup) -> list[str]:
    return _gunicorn(setup, "-k", "sync")


def _granian(setup: Setup) -> list[str]:
    arguments = ["--interface", "wsgi", "--host", HOST, "--port", str(setup.port), "--workers", "1"]
    arguments += ["--blocking-threads", str(setup.threads), "--backpressure", _MANY]
    arguments += setup.tls("--ssl-certificate", "--ssl-keyfile")
    arguments += ["--access-log" if setup.access_log else "--no-access-log"]
    return [setup.python, "-m", "granian", *arguments, setup.app]


def _uwsgi(setup: Setup) -> list[str]:
    arguments = ["--http", f"{HOST}:{setup.port}", "--http-keepalive", "--http-auto-chunked"]
    arguments += [
        "--threads",
        str(setup.threads),
        "--module",
        setup.app,
        "--need-app",
        "--die-on-term",
        "--wsgi-env-behavior",
        "holy",
    ]
    arguments += ["--logto", "/dev/null"] if setup.access_log else ["--disable-logging"]
    return [setup.python, "-c", "import pyuwsgi; pyuwsgi.run()", *arguments]


def _bjoern(setup: Setup) -> list[str]:
    return [setup.python, "serve_bjoern.py", setup.app, str(setup.port)]


def _fastpysgi(setup: Setup) -> list[str]:
    return [setup.python, "serve_fastpysgi.py", setup.app, str(setup.port)]


NGINX_APPS = frozenset({"hello", "post", "large", "send_file"})
"""The applications of plain_apps that have an equal in nginx, which runs no Python."""


def nginx_configuration(setup: Setup) -> str:
    """One worker that responds to everything as the application would. A body of a request is read and thrown away."""
    log = "/dev/null" if setup.access_log else "off"
    respond = 'return 200 "Hello, world!";'
    if setup.app.endswith((":large", ":send_file")):
        respond = f"root {setup.folder}; try_files /{setup.file.name} =404;"
    # Without `pid` in the folder, nginx would write into the system's.
    return f"""\
daemon off; master_process off; worker_processes 1; pid {setup.folder}/nginx.pid; error_log stderr;
worker_rlimit_nofile 65536;
events {{ worker_connections {_MANY}; }}
http {{
    access_log {log}; sendfile on; tcp_nopush on; default_type text/plain; keepalive_requests 1000000000;
    client_max_body_size 2g; client_body_temp_path {setup.folder}; proxy_temp_path {setup.folder};
    fastcgi_temp_path {setup.folder}; uwsgi_temp_path {setup.folder}; scgi_temp_path {setup.folder};
    server {{ listen {HOST}:{setup.port} backlog=4096; location / {{ {respond} }} }}
}}
"""


def _nginx(setup: Setup) -> list[str]:
    path = setup.folder / "nginx.conf"
    path.write_text(nginx_configuration(setup), "utf-8")
    return [setup.environment.nginx or "nginx", "-e", "stderr", "-p", str(setup.folder), "-c", str(path)]


FLOOR = "nginx"
SUBJECTS = {"pure": "reserve", "c": "reserve-c"}
"""By form: the name of reserve in that form."""
_PURE = FORMS["pure"]
_COMPUTING = ("compute-2", "compute-2-20")
_UPLOADING = ("upload",)
SERVERS: dict[str, Server] = {
    "reserve": Server(distribution="reserve", command=_reserve, environ=_PURE, has_tls=True),
    "reserve-c": Server(distribution="reserve", command=_reserve, has_tls=True),
    "reserve-1": Server(distribution="reserve", command=_reserve_with_one_thread, environ=_PURE, only=_COMPUTING),
    "reserve-c-1": Server(distribution="reserve", command=_reserve_with_one_thread, only=_COMPUTING),
    "reserve-stream": Server(distribution="reserve", command=_reserve_that_streams, environ=_PURE, only=_UPLOADING),
    "reserve-c-stream": Server(distribution="reserve", command=_reserve_that_streams, only=_UPLOADING),
    "cheroot": Server(distribution="cheroot", command=_cheroot, threaded=True, has_log=False, has_tls=True),
    "waitress": Server(distribution="waitress", command=_waitress, threaded=True, has_log=False),
    "gunicorn": Server(distribution="gunicorn", command=_gunicorn_threads, threaded=True, has_tls=True),
    "gunicorn-sync": Server(distribution="gunicorn", command=_gunicorn_sync, only=("flask", "django")),
    "granian": Server(distribution="granian", command=_granian, threaded=True, has_tls=True),
    "uwsgi": Server(distribution="pyuwsgi", command=_uwsgi, threaded=True),
    "bjoern": Server(distribution="bjoern-binary", command=_bjoern, has_log=False),
    "fastpysgi": Server(distribution="fastpysgi", command=_fastpysgi, has_log=False),
    FLOOR: Server(distribution=FLOOR, command=_nginx),
}
"""By name. ``reserve`` is the pure form, ``reserve-c`` the one with the extension module, ``-1`` is one thread, and
``-stream`` gives a body to the application while it arrives.
"""
THREADED = tuple(name for name, server in SERVERS.items() if server.threaded)


def absent(name: str, environment: Environment) -> str:
    """Why the server cannot be measured here; empty: it can be."""
    server = SERVERS[name]
    if server.distribution == FLOOR:
        return "" if environment.nginx else "nginx is not installed; on Debian: apt-get install nginx"
    if name.startswith("reserve-c") and not environment.extensions:
        return "reserve was installed without an extension module"
    if environment.has(server.distribution):
        return ""
    return f"{server.distribution} cannot be installed: {environment.failures.get(server.distribution, 'no reason')}"
