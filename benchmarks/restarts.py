"""Restart a server again and again under a steady load, and count the requests that were sent and that failed.

Run it with ``python -m benchmarks.restarts``; ``--help`` lists the options. Every server is the command ``reserve``
with two processes, or with one for the kinds that say so. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process import HOST, ROOT, Unmeasurable, free_port, started_process
from benchmarks.procfs import tree
from benchmarks.steadyload import SteadyLoad, write_application

__all__ = ["KINDS", "Outcome", "main", "restart"]

_PATIENCE = 60.0
"""Seconds in which a restart has to be complete."""
_BETWEEN = 150
"""Requests between two restarts."""


@dataclass(frozen=True)
class Kind:
    """One way to restart."""

    about: str
    options: tuple[str, ...]
    act: Callable[[Run], None]
    """Restarts once; returns when that is complete."""
    lossless: bool = True
    """No request may fail."""


@dataclass
class Run:
    """A server under load, as the actions see it."""

    pid: int
    application: Path
    load: SteadyLoad
    version: int = 1

    def workers(self) -> set[int]:
        """The processes that serve: the children of the supervisor, or the one process itself."""
        processes = set(tree(self.pid))
        return processes - {self.pid} if len(processes) > 1 else processes

    def seen(self) -> set[str]:
        """Versions and processes that have answered so far."""
        with self.load.tally.lock:
            return set(self.load.tally.answered_by)

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition, or raise :class:`Unmeasurable`."""
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise Unmeasurable(f"{what} did not happen in {_PATIENCE:g} s")
            time.sleep(0.02)

    def change(self, number: int) -> None:
        """Write a new version, send a signal, and wait until only processes of the new version are left."""
        self.version += 1
        before = self.workers()
        write_application(self.application, str(self.version))
        os.kill(self.pid, number)
        self.wait_until(
            lambda: any(name.startswith(f"{self.version} ") for name in self.seen()) and not before & self.children(),
            f"the change to version {self.version}",
        )

    def children(self) -> set[int]:
        """The processes without the first one."""
        return set(tree(self.pid)) - {self.pid}


def _reload(run: Run) -> None:
    run.change(signal.SIGHUP)


def _hand_over(run: Run) -> None:
    run.change(signal.SIGUSR2)


def _recycle(run: Run) -> None:
    before = len(run.seen())
    run.wait_until(lambda: len(run.seen()) > before, "a recycle")


def _kill(run: Run) -> None:
    victim = min(run.workers())
    count = len(run.workers())
    os.kill(victim, signal.SIGKILL)
    run.wait_until(lambda: victim not in run.workers() and len(run.workers()) >= count, "the replacement")


def _bad_version(run: Run) -> None:
    before = run.workers()
    good = run.application.read_text(encoding="utf-8")
    run.application.write_text("this is no Python\n", encoding="utf-8")
    os.kill(run.pid, signal.SIGHUP)
    run.load.pass_requests(_BETWEEN)
    run.wait_until(lambda: run.workers() == before, "the return to the old version")
    run.application.write_text(good, encoding="utf-8")


KINDS = {
    "reload": Kind("rolling reload (SIGHUP)", ("--processes", "2"), _reload),
    "reload-one": Kind("reload with one process", (), _reload),
    "handover": Kind("hand-over to a new program (SIGUSR2)", ("--processes", "2"), _hand_over),
    "recycle": Kind("recycles (--max-requests)", ("--processes", "2", "--max-requests", "300"), _recycle),
    "bad": Kind("a version that does not start", ("--processes", "2"), _bad_version),
    "kill": Kind("kill -9 of a worker process", ("--processes", "2"), _kill, lossless=False),
}


@dataclass(frozen=True)
class Outcome:
    """What one kind has cost."""

    kind: str
    rounds: int
    sent: int
    told: int
    failures: tuple[str, ...]
    processes: int
    """How many different processes have answered."""


def restart(
    name: str,
    rounds: int,
    folder: Path,
    *,
    certificate: tuple[str, str, str] | None = None,
    unix: bool = False,
    program: Sequence[str] = (sys.executable, "-m", "reserve"),
) -> Outcome:
    """Restart a server so often under load.

    :param name: one of :data:`KINDS`.
    :param folder: where the application and the log are written.
    :param certificate: certificate, key and authority of a server with TLS; None: without TLS.
    :param unix: listen on a UNIX socket.
    :param program: the command.
    """
    kind = KINDS[name]
    application = folder / "restarted.py"
    write_application(application, "1")
    port = free_port()
    address = str(folder / "restarted.sock") if unix else (HOST, port)
    bind = f"unix:{address}" if isinstance(address, str) else f"{HOST}:{port}"
    command = [*program, "--chdir", str(folder), "--bind", bind, "--log-level", "info"]
    command += ["--keep-alive", "5", *kind.options]
    context = None
    if certificate is not None:
        cert, key, trusted = certificate
        command += ["--tls-cert", cert, "--tls-key", key]
        context = ssl.create_default_context(cafile=trusted)
    command += ["app", "http", "wsgi", "restarted:application"]

    def is_ready() -> bool:
        return Path(address).exists() if isinstance(address, str) else _accepts(port)

    log = folder / f"{name}.log"
    with started_process("reserve", command, is_ready, log=log, environ={"PYTHONPATH": str(ROOT)}) as pid:
        with SteadyLoad(address, tls=context) as load:
            run = Run(pid, application, load)
            load.pass_requests(_BETWEEN)
            if kind.options:
                run.wait_until(lambda: b"processes serve" in log.read_bytes(), "the start of all processes")
            for _ in range(rounds):
                kind.act(run)
                load.pass_requests(_BETWEEN)
        tally = load.tally
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    return Outcome(name, rounds, tally.sent, tally.told, tuple(tally.failures), len(tally.answered_by))


def _accepts(port: int) -> bool:
    with socket.create_connection((HOST, port), 1.0):
        return True


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.restarts", description=__doc__)
    parser.add_argument("--kinds", default=",".join(KINDS), help="the kinds, separated by commas")
    parser.add_argument("--rounds", type=int, default=20, help="restarts of each kind (20)")
    parser.add_argument("--unix", action="store_true", help="over a UNIX socket")
    options = parser.parse_args(arguments)
    unknown = set(options.kinds.split(",")) - KINDS.keys()
    if unknown:
        parser.error(f"there is no kind {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, and return the exit code: 1 if a request failed that must not."""
    options = _parse(arguments)
    lost = 0
    print("| kind | rounds | requests | told to close | processes | failed |")
    print("|---|---|---|---|---|---|")
    for name in options.kinds.split(","):
        with tempfile.TemporaryDirectory() as folder:
            try:
                outcome = restart(name, options.rounds, Path(folder), unix=options.unix)
            except Unmeasurable as error:
                sys.stderr.write(f"{name}: {error}\n")
                return 2
        lost += len(outcome.failures) if KINDS[name].lossless else 0
        print(
            f"| {KINDS[name].about} | {outcome.rounds} | {outcome.sent} | {outcome.told} | {outcome.processes} "
            f"| {len(outcome.failures)} |",
            flush=True,
        )
        for failure in outcome.failures[:5]:
            sys.stderr.write(f"  {failure}\n")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
