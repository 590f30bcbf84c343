"""``python -m benchmarks.webservers``: HTTP, FastCGI, SCGI and uwsgi behind one nginx, and uWSGI itself, in one run.

``reserve app http``, ``fcgi``, ``scgi`` and ``uwsgi``, and uWSGI with threads, run during the whole measurement, each
in a process of its own, all on one processor. One nginx with one worker is in front of them, on the processor of wrk.
It has a location for each server, and two for HTTP and FastCGI: with and without keep-alive connections to the server.
wrk sends requests to one location after another; every other round has the opposite order. The command prints medians
of requests a second and of the processor time for each request, the server's and nginx's, and their ratios to HTTP.
Exit codes: 0 measured, 1 measured but requests failed, 2 something that is needed is missing. Without uWSGI the others
are measured.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import importlib.util
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import reserve
from benchmarks import procfs
from benchmarks.load import Figures, wrk
from benchmarks.process import HOST, Unmeasurable, cores, free_port, started_process
from benchmarks.servers import positive

__all__ = ["BODY_SIZE", "LOCATIONS", "WORKLOADS", "Location", "Sample", "configuration", "main", "report"]

BODY_SIZE = 10_240
"""Bytes of the body of a POST; nginx keeps as many in memory."""

WORKLOADS: dict[str, str] = {
    "hello": "",
    "POST of 10 KB": f'wrk.method = "POST"\nwrk.body = string.rep("x", {BODY_SIZE})\n',
}
"""By name: the script of wrk."""

_APP = "benchmarks.apps:posted"
_UWSGI = "uWSGI"
_PARAMETERS = Path("/etc/nginx")
"""Where nginx's package has ``fastcgi_params`` and the others."""


@dataclass(frozen=True, kw_only=True)
class Location:
    """A location of nginx."""

    path: str
    server: str
    """The name of reserve's application, or uWSGI."""
    protocol: str
    """What nginx speaks with the server: the prefix of its directives."""
    keepalive: bool = False
    """Whether nginx keeps its connections to the server."""


LOCATIONS: dict[str, Location] = {
    "HTTP": Location(path="/http", server="http", protocol="proxy", keepalive=True),
    "HTTP, no keep-alive": Location(path="/http-close", server="http", protocol="proxy"),
    "FastCGI": Location(path="/fcgi", server="fcgi", protocol="fastcgi", keepalive=True),
    "FastCGI, no keep-alive": Location(path="/fcgi-close", server="fcgi", protocol="fastcgi"),
    "SCGI": Location(path="/scgi", server="scgi", protocol="scgi"),
    "uwsgi": Location(path="/uwsgi", server="uwsgi", protocol="uwsgi"),
    "uwsgi of uWSGI": Location(path="/other", server=_UWSGI, protocol="uwsgi"),
}
"""By the name in the table. Neither SCGI nor uwsgi has keep-alive connections. The ratios are to the first one."""

_CONFIGURATION = """\
daemon off;
{user}
worker_processes 1;
pid {folder}/pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_buffer_size 16k;
    client_body_temp_path {folder}/client_body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{upstreams}
    server {{
        listen {host}:{port} backlog=1024;
{locations}
    }}
}}
"""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One run of wrk, and the processor time for each request in microseconds."""

    figures: Figures
    server: float
    nginx: float


Runs = dict[str, dict[str, list[Sample]]]
"""By workload and by the name of the location: the samples of each round."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        nginx = _tools()
        names = _measurable()
        server_core, client_core = cores()
        print(_setting(options, names, nginx, server_core, client_core), flush=True)
        runs = _measure(names, nginx, options, server_core, client_core)
    except Unmeasurable as error:
        sys.stderr.write(f"benchmarks.webservers: {error}\n")
        return 2
    print(report(runs))
    failed = any(sample.figures.failures for rows in runs.values() for samples in rows.values() for sample in samples)
    return 1 if failed else 0


def report(runs: Runs) -> str:
    """A table of medians, ratios to the first location, and failures, for each workload."""
    lines = []
    for workload, rows in runs.items():
        lines.append(
            f"{workload:24}{'req/s':>8}{'ratio':>7}{'lowest':>8}{'highest':>8}{'p99 ms':>8}"
            f"{'server us':>11}{'ratio':>7}{'nginx us':>10}{'ratio':>7}"
        )
        first: tuple[float, float, float] | None = None
        for name, samples in rows.items():
            rates = [sample.figures.requests_per_second for sample in samples]
            medians = (
                statistics.median(rates),
                statistics.median(sample.server for sample in samples),
                statistics.median(sample.nginx for sample in samples),
            )
            first = first or medians
            rate, server, nginx = (_ratio(value, base) for value, base in zip(medians, first, strict=True))
            p99 = statistics.median(sample.figures.p99 for sample in samples)
            lines.append(
                f"  {name:22}{medians[0]:8.0f}{rate:>7}{min(rates):8.0f}{max(rates):8.0f}{p99:8.1f}"
                f"{medians[1]:11.0f}{server:>7}{medians[2]:10.0f}{nginx:>7}"
            )
            if failures := sum(sample.figures.failures for sample in samples):
                requests = sum(sample.figures.requests for sample in samples)
                lines.append(f"  {name}: {failures} of {requests} requests FAILED")
    return "\n".join(lines)


def _ratio(value: float, base: float) -> str:
    return f"{value / base:.2f}" if base else "-"


def configuration(folder: Path, port: int, addresses: Mapping[str, str], names: Sequence[str]) -> str:
    """The configuration of nginx.

    :param folder: for its files.
    :param addresses: by server: where it listens, as ``127.0.0.1:PORT`` or ``unix:PATH``.
    :param names: of the locations.
    """
    upstreams, locations = [], []
    for name in names:
        location = LOCATIONS[name]
        protocol, upstream = location.protocol, location.path[1:]
        keepalive = "keepalive 64; keepalive_requests 1000000000; " if location.keepalive else ""
        upstreams.append(f"    upstream {upstream} {{ server {addresses[location.server]}; {keepalive}}}")
        if protocol == "proxy":
            directives = f"proxy_pass http://{upstream};"
            if location.keepalive:
                directives += ' proxy_http_version 1.1; proxy_set_header Connection "";'
        else:
            directives = f"include {_PARAMETERS}/{protocol}_params; {protocol}_pass {upstream};"
            if location.keepalive:
                directives += " fastcgi_keep_conn on;"
        locations.append(f"        location = {location.path} {{ {directives} }}")
    return _CONFIGURATION.format(
        user="user root;" if os.geteuid() == 0 else "",  # otherwise its worker could not connect to UNIX sockets
        folder=folder,
        host=HOST,
        port=port,
        upstreams="\n".join(upstreams),
        locations="\n".join(locations),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.webservers", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=positive, default=5, help="how often each location is measured (5)")
    parser.add_argument("--seconds", type=positive, default=1, help="how long each time, with each workload (1)")
    parser.add_argument("--threads", type=positive, default=16, help="worker threads of each server (16)")
    parser.add_argument("--connections", type=positive, default=32, help="keep-alive connections to nginx (32)")
    parser.add_argument("--tcp", action="store_true", help="nginx reaches the servers over TCP, not UNIX sockets")
    return parser


def _tools() -> str:
    """The path of nginx, after a look whether everything is installed that cannot be left out."""
    if shutil.which("wrk") is None:
        raise Unmeasurable("wrk is not installed; on Debian: apt-get install wrk")
    # Debian has it in a folder that only root has on its path.
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        raise Unmeasurable("nginx is not installed; on Debian: apt-get install nginx")
    for location in LOCATIONS.values():
        if location.protocol != "proxy" and not (file := _PARAMETERS / f"{location.protocol}_params").exists():
            raise Unmeasurable(f"nginx's file {file} is missing; Debian's package nginx-common has it")
    return nginx


def _measurable() -> list[str]:
    """The names of the locations whose servers are installed; a line on standard error says what is left out."""
    if importlib.util.find_spec("pyuwsgi") is not None:
        return list(LOCATIONS)
    sys.stderr.write(f"benchmarks.webservers: {_UWSGI} is left out: pip install pyuwsgi installs it\n")
    return [name for name, location in LOCATIONS.items() if location.server != _UWSGI]


def _setting(
    options: argparse.Namespace, names: Sequence[str], nginx: str, server_core: int | None, client_core: int | None
) -> str:
    run = subprocess.run([nginx, "-v"], capture_output=True, text=True, timeout=10, check=True)
    versions = [f"reserve {reserve.__version__}", f"nginx {run.stderr.strip().rpartition('/')[2]}"]
    if any(LOCATIONS[name].server == _UWSGI for name in names):
        versions.append(f"{_UWSGI} {version('pyuwsgi')}")
    processors = (
        "nothing is bound to a processor, so servers, nginx and wrk compete for the processors"
        if server_core is None
        else f"servers on processor {server_core}, nginx and wrk on {client_core}"
    )
    return (
        f"{platform.python_implementation()} {platform.python_version()}, {', '.join(versions)}\n{processors}\n"
        f"{options.threads} threads, {options.connections} connections to nginx, "
        f"{'TCP' if options.tcp else 'UNIX sockets'} to the servers, "
        f"medians of {options.rounds} rounds of {options.seconds} s"
    )


def _measure(
    names: Sequence[str], nginx: str, options: argparse.Namespace, server_core: int | None, client_core: int | None
) -> Runs:
    runs: Runs = {workload: {name: [] for name in names} for workload in WORKLOADS}
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary, contextlib.ExitStack() as stack:
        folder = Path(temporary)
        scripts = {workload: folder / f"{number}.lua" for number, workload in enumerate(WORKLOADS)}
        for workload, script in scripts.items():
            script.write_text(WORKLOADS[workload], "utf-8")
        pids, addresses = {}, {}
        for server in dict.fromkeys(LOCATIONS[name].server for name in names):
            address = f"{HOST}:{free_port()}" if options.tcp else f"unix:{folder}/{server}.sock"
            addresses[server] = address
            pids[server] = stack.enter_context(_server(server, address, folder, options.threads, server_core))
        nginx_pid, port = stack.enter_context(_nginx(nginx, addresses, names, folder, client_core))

        def load(name: str, workload: str, seconds: int) -> Figures:
            return wrk(
                f"http://{HOST}:{port}{LOCATIONS[name].path}",
                seconds=seconds,
                connections=options.connections,
                script=scripts[workload],
                core=client_core,
            )

        for name in names:
            load(name, next(iter(WORKLOADS)), 1)  # warms the server up
        for number in range(options.rounds):
            for name in names if number % 2 == 0 else reversed(names):
                watched = (pids[LOCATIONS[name].server], nginx_pid)
                for workload in WORKLOADS:
                    before = [procfs.usage(pid).cpu_seconds for pid in watched]
                    figures = load(name, workload, options.seconds)
                    used = [procfs.usage(pid).cpu_seconds - old for pid, old in zip(watched, before, strict=True)]
                    server, proxy = (1e6 * seconds / max(figures.requests, 1) for seconds in used)
                    runs[workload][name].append(Sample(figures=figures, server=server, nginx=proxy))
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    print(f"measured in {time.monotonic() - start:.0f} s\n")
    return runs


def _server(
    name: str, address: str, folder: Path, threads: int, core: int | None
) -> contextlib.AbstractContextManager[int]:
    """Run a server that listens on the address while the ``with`` block runs; give its process id."""
    path = address.removeprefix("unix:")
    if name == _UWSGI:
        command = [sys.executable, "-c", "import pyuwsgi; pyuwsgi.run()", "--socket", path, "--module", _APP]
        command += ["--threads", str(threads), "--disable-logging"]
    else:
        command = [sys.executable, "-m", "reserve", "app", name, "wsgi", _APP, "--bind", address]
        command += ["--threads", str(threads), "--no-access-log"]

    def accepts() -> bool:
        if address == path:
            socket.create_connection((HOST, int(path.rpartition(":")[2])), 2).close()
        else:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(path)
        return True

    return started_process(f"the server of {name}", command, accepts, log=folder / f"{name}.log", core=core)


@contextlib.contextmanager
def _nginx(
    nginx: str, addresses: Mapping[str, str], names: Sequence[str], folder: Path, core: int | None
) -> Iterator[tuple[int, int]]:
    """Run nginx while the ``with`` block runs; give its process id and its port.

    :raises Unmeasurable: it did not start, or a location does not respond to both workloads with 200.
    """
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(configuration(folder, port, addresses, names), "utf-8")
    command = [nginx, "-e", "stderr", "-p", str(folder), "-c", str(config)]

    def accepts() -> bool:
        socket.create_connection((HOST, port), 2).close()
        return True

    log = folder / "nginx.log"
    with started_process("nginx", command, accepts, log=log, core=core) as pid:
        for name in names:
            for body in (None, bytes(BODY_SIZE)):
                with contextlib.closing(http.client.HTTPConnection(HOST, port, timeout=10)) as client:
                    client.request("GET" if body is None else "POST", LOCATIONS[name].path, body)
                    status = client.getresponse().status
                if status != 200:
                    end = log.read_text("utf-8", "replace")[-500:].strip()
                    raise Unmeasurable(f"{name} behind nginx responded with {status}: {end}")
        yield pid, port


if __name__ == "__main__":
    sys.exit(main())
