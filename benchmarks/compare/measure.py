"""Measure one server in one workload once: a new process, a warm-up, the measurement."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import procfs
from benchmarks.compare import generator
from benchmarks.compare.environment import Environment
from benchmarks.compare.results import Cell, Sample
from benchmarks.compare.servers import SERVERS, Setup
from benchmarks.compare.workloads import Workload, scaled
from benchmarks.process import HOST, Unmeasurable, cores, free_port, pinned, started_process
from benchmarks.runtime import HOSTED
from benchmarks.servers import raise_descriptors

__all__ = ["Plan", "calibrate", "measure"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is the same in every measurement."""

    environment: Environment
    generator: Path
    """The compiled program."""
    seconds: float
    warmup: float
    scale: float
    """How large transfers are: 1 is a gigabyte."""
    steps: int
    """Rounds of plain_apps.spin in one millisecond."""


def calibrate(environment: Environment) -> int:
    """How many rounds of ``plain_apps.spin`` take a millisecond of processor time: the median of five tries."""
    code = (
        "import statistics, time\nfrom plain_apps import spin\n"
        "def once():\n    start = time.process_time()\n    spin(200_000)\n    return time.process_time() - start\n"
        "print(round(200 / statistics.median(once() for _ in range(5))))"
    )
    with pinned(cores()[0]):
        done = subprocess.run(
            [str(environment.python), "-c", code], cwd=HOSTED, capture_output=True, text=True, timeout=60
        )
    if done.returncode != 0:
        raise Unmeasurable(f"the applications cannot be imported: {done.stderr.strip()[-400:]}")
    return max(int(done.stdout), 1)


def measure(cell: Cell, workload: Workload, plan: Plan) -> None:
    """Add a sample to the cell, or a note why there is none."""
    server_core, load_core = cores() if cell.placement == "pinned" else (None, None)
    try:
        sample = _sample(cell, scaled(workload, plan.scale), plan, server_core, load_core)
    except Unmeasurable as error:
        cell.note = " ".join(str(error).split())[:300]
    else:
        cell.samples.append(sample)


def _sample(cell: Cell, workload: Workload, plan: Plan, server_core: int | None, load_core: int | None) -> Sample:
    server = SERVERS[cell.server]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        file = folder / "file"
        with file.open("wb") as sent:
            sent.truncate(workload.file)
        setup = Setup(
            environment=plan.environment,
            app=workload.application,
            port=free_port(),
            access_log=workload.access_log,
            folder=folder,
            file=file,
        )
        command = server.command(setup)
        # The folders are those of this machine, and say nothing to others.
        cell.command = [
            Path(word).name if word.startswith("/") and not word.startswith("/dev/") else word for word in command
        ]
        variables = {
            "PYTHONPATH": str(HOSTED),
            "TMPDIR": str(folder),
            "BENCHMARK_FILE": str(file),
            "BENCHMARK_STEPS": str(plan.steps),
        }
        pid = stack.enter_context(
            started_process(
                cell.server,
                command,
                lambda: _is_ready(setup.port),
                log=folder / "stderr",
                core=server_core,
                environ=variables | dict(server.environ),
                before_exec=_raise_descriptors,
                cwd=HOSTED,
            )
        )
        if workload.hog:
            stack.enter_context(_hog(server_core))
        seconds = max(plan.seconds, workload.shortest)
        before = procfs.usage(pid)
        load = stack.enter_context(
            generator.started(plan.generator, workload, setup.port, seconds=seconds, warmup=plan.warmup, core=load_core)
        )
        if not workload.active and workload.active is not None:
            time.sleep(0.5)  # the work of the last connections
        start = procfs.cpu_times(pid)
        result = load.measure()
        end = procfs.cpu_times(pid)
        after = procfs.usage(pid)
    if not result.requests and workload.active != 0:
        raise Unmeasurable(f"no request got a response in {result.seconds:.0f} s")
    return Sample(
        load=result,
        user=end.user - start.user,
        system=end.system - start.system,
        memory=after.rss_kib,
        peak=after.peak_kib,
        before=before.rss_kib,
        transferred=workload.transfer,
    )


def _raise_descriptors() -> None:
    raise_descriptors()


def _is_ready(port: int) -> bool:
    """Whether the server has responded to a request, of which nobody expects what it contains."""
    with socket.create_connection((HOST, port), 2) as probe:
        probe.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return probe.recv(5) == b"HTTP/"


@contextlib.contextmanager
def _hog(core: int | None) -> Iterator[None]:
    """Compute on a processor while the block runs."""
    with pinned(core):
        process = subprocess.Popen([sys.executable, "-c", "while True: pass"], stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()
