"""Start all servers of one application, and put load on one after another, wherever the system puts them.

The servers of a row wait idle while another row is measured, so that no round pays for their starts, and the rounds
alternate closely. HTTP is loaded by ``benchmarks/compare/generator.c``, and TLS, which that program does not speak, by
wrk: both are written in C and have one thread.
"""

from __future__ import annotations

import contextlib
import json
import re
import resource
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import procfs
from benchmarks.compare import generator
from benchmarks.compare.environment import Environment
from benchmarks.compare.servers import SERVERS, Setup
from benchmarks.compare.workloads import Workload
from benchmarks.load import Figures, wrk
from benchmarks.process import HOST, Unmeasurable, responds, started_process
from benchmarks.runtime import HOSTED
from benchmarks.threads.results import Build, Memory, Point
from benchmarks.threads.rows import Application, Row, counted

__all__ = [
    "MODULES",
    "Plan",
    "Served",
    "build_of",
    "import_error",
    "measure",
    "memory",
    "module_of",
    "ports",
    "served",
    "switches_gil_on",
]

MODULES = {
    "reserve": "reserve.apps.http.launch",
    "reserve-c": "reserve.apps.http.launch, reserve.apps.http._straightline",
    "cheroot": "cheroot.wsgi, cheroot.ssl.builtin",
    "waitress": "waitress",
    "gunicorn": "gunicorn.workers.gthread",
    "granian": "granian, granian._granian",
}
"""By server: the modules that its process imports."""
_MANY = 64
"""The threads of the server whose memory is compared with that of one thread."""
_START_TIMEOUT = 60.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is the same in every measurement of one build."""

    environment: Environment
    generator: Path
    """The compiled program."""
    seconds: float
    warmup: float
    connections: int
    steps: int
    """Rounds of plain_apps.spin in one millisecond."""
    certificate: Path


@dataclass(frozen=True, kw_only=True)
class Served:
    """The servers of one row: one, or two for the limit."""

    row: Row
    pids: Sequence[int]
    ports: Sequence[int]


# ---- builds ----
def build_of(environment: Environment) -> Build:
    """The version of an interpreter, and whether it has the GIL."""
    code = (
        "import json, platform, sys; gil = getattr(sys, '_is_gil_enabled', lambda: True)(); "
        "print(json.dumps([platform.python_version(), gil]))"
    )
    version, gil = json.loads(_run(environment, code))
    return Build(version=version, gil=gil)


def module_of(application: Application) -> str:
    """The module of an application, which servers import."""
    return application.workload.application.partition(":")[0]


def import_error(environment: Environment, modules: str) -> str:
    """Why modules that are installed cannot be imported; empty: they can be."""
    try:
        _run(environment, f"import {modules}")
    except Unmeasurable as error:
        reason = str(error).strip().splitlines()[-1]
        return f"it cannot be imported ({re.sub(r'/[^ :]*/', '', reason)})"  # without the folders of this machine
    return ""


def switches_gil_on(environment: Environment, server: str, application: Application) -> bool:
    """Whether what a server imports for an application switches the GIL on, in a build that starts without it."""
    code = f"import sys, {MODULES[server]}, {module_of(application)}; print(int(sys._is_gil_enabled()))"
    return bool(int(_run(environment, code)))


def _run(environment: Environment, code: str) -> str:
    done = subprocess.run(
        [str(environment.python), "-c", code], cwd=HOSTED, capture_output=True, text=True, timeout=_START_TIMEOUT
    )
    if done.returncode != 0:
        raise Unmeasurable(f"{environment.python} failed: {done.stderr.strip()[-400:]}")
    return done.stdout


# ---- servers ----
def ports(count: int) -> list[int]:
    """So many different ports on which no process listened a moment ago."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [int(probe.getsockname()[1]) for probe in probes]


@contextlib.contextmanager
def served(
    application: Application, rows: Sequence[Row], plan: Plan, folder: Path, note: Callable[[str], None]
) -> Iterator[list[Served]]:
    """Run the servers of these rows during the ``with`` block, two of them starting at a time.

    :param folder: for files of the servers.
    :param note: called with a sentence for each row that does not start, and is not among those that serve.
    """
    with contextlib.ExitStack() as stack:
        free = iter(ports(sum(_instances(row) for row in rows)))
        starts = [(row, [next(free) for _ in range(_instances(row))]) for row in rows]
        futures = []
        with ThreadPoolExecutor(2) as pool:
            for row, found in starts:
                futures.append(pool.submit(_start, application, row, found, plan, folder))
                stack.callback(_end, futures[-1])
        running = []
        for (row, _), future in zip(starts, futures, strict=True):
            try:
                running.append(future.result()[0])
            except Unmeasurable as error:
                note(f"{row.server} with {counted(row.threads)}, {application.name}: {' '.join(str(error).split())}")
        yield running


def _end(future: Future[tuple[Served, contextlib.ExitStack]]) -> None:
    """End the servers that a start has left, also if the others have failed."""
    if future.exception() is None:
        future.result()[1].close()


def _instances(row: Row) -> int:
    """How many servers a row has."""
    return row.processes if row.is_limit else 1


def _start(
    application: Application, row: Row, found: Sequence[int], plan: Plan, folder: Path
) -> tuple[Served, contextlib.ExitStack]:
    server = "reserve-c" if row.is_limit and plan.environment.extensions else "reserve" if row.is_limit else row.server
    with contextlib.ExitStack() as stack:
        pids = []
        for port in found:
            setup = Setup(
                environment=plan.environment,
                app=application.workload.application,
                port=port,
                access_log=False,
                folder=folder,
                file=folder / "file",
                threads=row.threads,
                processes=1 if row.is_limit else row.processes,
                certificate=plan.certificate if application.tls else None,
            )
            log = folder / f"stderr-{port}"
            pid = started_process(
                server,
                SERVERS[server].command(setup),
                _is_ready(setup, log),
                log=log,
                environ=_variables(plan, folder) | dict(SERVERS[server].environ),
                cwd=HOSTED,
                start_timeout=_START_TIMEOUT,
            )
            pids.append(stack.enter_context(pid))
        return Served(row=row, pids=pids, ports=list(found)), stack.pop_all()


def _variables(plan: Plan, folder: Path) -> Mapping[str, str]:
    return {"PYTHONPATH": str(HOSTED), "TMPDIR": str(folder), "BENCHMARK_STEPS": str(plan.steps)}


def _is_ready(setup: Setup, log: Path) -> Callable[[], bool]:
    def ready() -> bool:
        if setup.processes > 1 and b"processes serve" not in log.read_bytes():
            return False
        return responds(setup.port) if setup.certificate is None else _responds_to_tls(setup.port, setup.certificate)

    return ready


def _responds_to_tls(port: int, certificate: Path) -> bool:
    context = ssl.create_default_context(cafile=str(certificate))
    with (
        socket.create_connection((HOST, port), 2) as sock,
        context.wrap_socket(sock, server_hostname=HOST) as probe,
    ):
        probe.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return probe.recv(5) == b"HTTP/"


# ---- load ----
def measure(one: Served, application: Application, plan: Plan) -> Point:
    """Put load on the servers of one row, on two at the same time with half of the connections each.

    :raises Unmeasurable: the load generator failed, or no request got a response.
    """
    workload = replace(application.workload, connections=max(plan.connections // len(one.ports), 1))
    load = _load_of_tls if application.tls else _load_of_http
    point = load(one, workload, replace(plan, seconds=max(plan.seconds, application.shortest)))
    if not point.rate:
        raise Unmeasurable("no request got a response")
    return point


def _load_of_http(one: Served, workload: Workload, plan: Plan) -> Point:
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(len(one.ports)) as pool:
        loads = [
            stack.enter_context(
                generator.started(plan.generator, workload, port, seconds=plan.seconds, warmup=plan.warmup, core=None)
            )
            for port in one.ports
        ]
        window = _Window(one)
        found = list(pool.map(generator.Generator.measure, loads))
        server, others = window.close(sum(load.busy * load.seconds for load in found))
    seconds = max(load.seconds for load in found)
    return Point(
        rate=sum(load.rate for load in found),
        p50=max(load.latency.p50 for load in found),
        p99=max(load.latency.p99 for load in found),
        failures=sum(load.failures for load in found),
        server=server / seconds,
        load=sum(load.busy for load in found),
        others=others,
    )


def _load_of_tls(one: Served, workload: Workload, plan: Plan) -> Point:
    """wrk knows whole seconds only, has no warm-up, and its handshakes are in the measurement."""
    seconds = max(1, round(plan.seconds))

    def run(port: int) -> Figures:
        return wrk(f"https://{HOST}:{port}/", seconds=seconds, connections=workload.connections)

    with ThreadPoolExecutor(len(one.ports)) as pool:
        window, before = _Window(one), _children()
        found = list(pool.map(run, one.ports))
        load = _children() - before
        server, others = window.close(load)
    return Point(
        rate=sum(figures.requests_per_second for figures in found),
        p50=max(figures.p50 for figures in found),
        p99=max(figures.p99 for figures in found),
        failures=sum(figures.failures for figures in found),
        server=server / seconds,
        load=load / seconds,
        others=others,
    )


class _Window:
    """What processor time the servers of a row and the whole machine use, from now on until it is closed."""

    def __init__(self, one: Served) -> None:
        self._one = one
        self._start = time.monotonic()
        self._own, self._server, self._machine = time.process_time(), _used(one), procfs.machine_seconds()

    def close(self, load: float) -> tuple[float, float]:
        """Seconds that the servers have used, and processors that other programs used on average.

        :param load: seconds that the load generators have used. Those of this process are no other program's either.
        """
        server = _used(self._one) - self._server
        others = procfs.machine_seconds() - self._machine - server - load - (time.process_time() - self._own)
        return server, max(others, 0.0) / (time.monotonic() - self._start)


def _used(one: Served) -> float:
    """Seconds of processor time of the servers of a row."""
    times = [procfs.cpu_times(pid) for pid in one.pids]
    return sum(each.user + each.system for each in times)


def _children() -> float:
    """Seconds of processor time of the programs that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# ---- memory ----
def memory(server: str, application: Application, plan: Plan, folder: Path) -> Memory:
    """The memory of a thread: that of a server with many threads, less that of one with one thread.

    :param application: one that waits, so that each thread has a request at the same time.
    :raises Unmeasurable: a server did not start, or the load generator failed.
    """
    problems: list[str] = []
    sizes = []
    rows = [Row(server=server, threads=number) for number in (1, _MANY)]
    workload = replace(application.workload, connections=_MANY)
    with served(application, rows, plan, folder, problems.append) as both:
        if problems:
            raise Unmeasurable(problems[0])
        for one in both:
            idle = procfs.usage(one.pids[0]).rss_kib
            with generator.started(plan.generator, workload, one.ports[0], seconds=0.1, warmup=0.2, core=None) as load:
                load.measure()
            sizes.append((idle, procfs.usage(one.pids[0]).rss_kib))
    idle, used = ((many - one) / (_MANY - 1) for one, many in zip(*sizes, strict=True))
    return Memory(server=server, idle=idle, used=used)
