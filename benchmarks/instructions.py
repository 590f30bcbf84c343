"""``python -m benchmarks.instructions``: the instructions that reserve executes for a request, against a baseline.

valgrind's callgrind counts the instructions of user space, all threads together, from the moment that a warm server
waits for requests. The count hardly depends on what else the machine does, so that it can be a test. Exit codes: 0 no
more than 3 % above the baseline, 1 more, 2 it could not be measured, 3 no baseline for this Python.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.compare.environment import install, locked
from benchmarks.heads import BROWSER_FIELDS, BROWSER_TARGET, head
from benchmarks.process import HOST, Unmeasurable, free_port, responds, started_process
from benchmarks.runtime import CLONE, FORMS, Runtime, installed
from benchmarks.servers import chosen

__all__ = [
    "ALLOWED",
    "BASELINE",
    "CASES",
    "Counts",
    "Verdict",
    "build",
    "confirmed",
    "count",
    "judged",
    "main",
    "missing_tools",
    "read_baseline",
]

BASELINE = Path(__file__).with_name("instructions.json")
"""By build of Python (:func:`build`), by form and by case: instructions a request. A commit that changes it
says why."""
ALLOWED = 1.03
"""How many times the baseline a count may be."""
CONNECTIONS = 16
THREADS = 16
_ROUNDS = 40
"""Requests on each connection in one window."""
_WINDOWS = 5
"""The result is the smallest of these: what disturbs a window only adds to it. With an access log there
is one long window."""
_OPTIMIZING = ("--enable-optimizations", "--with-lto")
"""Options of Python's configure that change the counts."""
_START_TIMEOUT = 120.0
_RESPONSE_TIMEOUT = 120.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request that is counted."""

    request: bytes
    app: str = "hello"
    """Of ``compare/hosted/instructions_app.py``."""
    access_log: bool = False
    base: str = ""
    """For a case with the access log: the same request without it."""
    depth: int = 1
    """How many requests a client sends together, before it reads their responses."""
    fresh: bool = False
    """A new connection for each request: the count has all that it costs, from the accept to the close."""


_BROWSER = head(BROWSER_TARGET, BROWSER_FIELDS)
_POST = head(fields=("Content-Type: application/octet-stream", "Content-Length: 1024"), method="POST") + b"x" * 1024
CASES: dict[str, Case] = {
    "hello": Case(request=head()),
    "browser": Case(request=_BROWSER),
    "post": Case(request=_POST, app="post"),
    "pipelined": Case(request=head(), depth=8),
    "hello-log": Case(request=head(), access_log=True, base="hello"),
    "browser-log": Case(request=_BROWSER, access_log=True, base="browser"),
    "new-connection": Case(request=head(fields=("Connection: close",)), fresh=True),
}

TARGETS: dict[str, dict[str, int]] = {
    "pure": {"hello": 60_000, "browser": 110_000},
    "c": {"hello": 18_000, "browser": 28_000},
}
LOG_TARGETS = {"pure": 12_000, "c": 4_000}
"""What the access log may add."""

Counts = Mapping[str, int]
"""By case: instructions a request."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one count says."""

    form: str
    case: str
    counted: int
    baseline: int | None
    target: int | None
    """The goal of the project for this figure: for an access log, of the difference to the case without it. None: there
    is none.
    """
    added: int | None = None
    """For an access log: that difference."""

    @property
    def ratio(self) -> float | None:
        return self.counted / self.baseline if self.baseline else None

    @property
    def passed(self) -> bool:
        """Whether the count is close enough to its baseline, or has none."""
        return self.ratio is None or self.ratio <= ALLOWED

    @property
    def met(self) -> bool:
        return self.target is None or (self.counted if self.added is None else self.added) <= self.target

    def goal(self) -> str:
        """Whether the goal is met, and by which number; empty: there is no goal."""
        if self.target is None:
            return ""
        figure = f"{self.counted:,d}" if self.added is None else f"adds {self.added:,d}"
        return f"{'met' if self.met else 'missed'}: {figure} of {self.target:,d}"

    def line(self) -> str:
        """A row of the table that the command prints."""
        baseline = f"{self.baseline:9,d} {self.ratio:6.3f}" if self.baseline and self.ratio else f"{'none':>9} {'':6}"
        note = ""
        if not self.passed:
            note = f"   MORE THAN {ALLOWED - 1:.0%} ABOVE THE BASELINE"
        elif self.ratio is not None and self.ratio < 2 - ALLOWED:
            note = "   far below the baseline, which --update lowers"
        return f"{self.form:6}{self.case:22}{self.counted:9,d} {baseline}   {self.goal()}{note}".rstrip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Count, print, and return the exit code."""
    options = _parser().parse_args(arguments)
    stored = read_baseline()
    forms, cases = chosen("--forms", options.forms, FORMS), chosen("--cases", options.cases, CASES)
    verdicts: list[Verdict] = []
    unknown = False
    try:
        if absent := missing_tools():
            raise Unmeasurable(f"{' and '.join(absent)} not installed; on Debian: apt-get install valgrind")
        print(f"{build()}\n{_setting()}")
        print(f"{'':28}{'count':>9} {'baseline':>9} {'ratio':>6}   target")
        runtime = _installed() if options.installed else CLONE
        for form in forms:
            if form == "c" and not runtime.extensions():
                print("c     not built: no extension module of reserve is loaded")
                continue
            known = stored.get(build(), {}).get(form, {})
            counts = confirmed(form, cases, known, runtime)
            unknown = unknown or not known
            for verdict in judged(form, counts, known):
                verdicts.append(verdict)
                print(verdict.line(), flush=True)
            if options.update:
                stored.setdefault(build(), {})[form] = {**known, **counts}
    except Unmeasurable as error:
        sys.stderr.write(f"benchmarks.instructions: {error}\n")
        return 2
    if options.update:
        BASELINE.write_text(json.dumps(stored, indent=2, sort_keys=True) + "\n", "utf-8")
        return 0
    if unknown:
        sys.stderr.write(f"benchmarks.instructions: {BASELINE.name} has nothing for {build()}; --update stores it\n")
        return 3
    return 0 if all(verdict.passed for verdict in verdicts) else 1


def build() -> str:
    """What the baseline calls this Python. Two builds of one version differ by more than a regression may."""
    parts = [f"{platform.python_implementation()} {platform.python_version()}", platform.python_compiler()]
    parts += [option for option in _OPTIMIZING if option in (sysconfig.get_config_var("CONFIG_ARGS") or "")]
    return ", ".join([*parts, platform.machine()])


def read_baseline(path: Path = BASELINE) -> dict[str, dict[str, dict[str, int]]]:
    """By build of Python, by form and by case."""
    return dict(json.loads(path.read_text("utf-8"))) if path.exists() else {}


def judged(form: str, counts: Counts, baseline: Counts) -> list[Verdict]:
    """What the counts say, one verdict for each."""
    verdicts = []
    for case, counted in counts.items():
        base = CASES[case].base
        verdicts.append(
            Verdict(
                form=form,
                case=case,
                counted=counted,
                baseline=baseline.get(case),
                target=LOG_TARGETS[form] if base in counts else TARGETS[form].get(base or case),
                added=counted - counts[base] if base in counts else None,
            )
        )
    return verdicts


def missing_tools() -> list[str]:
    """The programs that a count needs and that are not installed."""
    return [name for name in ("valgrind", "callgrind_control") if shutil.which(name) is None]


def count(form: str, cases: Sequence[str] = tuple(CASES), runtime: Runtime = CLONE) -> dict[str, int]:
    """Count the instructions of each case, with a new server for each application, with an access log and without.

    :raises Unmeasurable: the server or callgrind failed.
    """
    counts: dict[str, int] = {}
    groups: dict[tuple[bool, str], list[str]] = {}
    for case in cases:
        groups.setdefault((CASES[case].access_log, CASES[case].app), []).append(case)
    for (access_log, app), group in groups.items():
        with _server(form, runtime, app, access_log=access_log) as counter:
            for case in group:
                counts[case] = counter.count(CASES[case])
    return {case: counts[case] for case in cases}


def confirmed(form: str, cases: Sequence[str], baseline: Counts, runtime: Runtime = CLONE) -> dict[str, int]:
    """:func:`count`, once more for the cases that are too far above their baseline: the smaller count is the result."""
    counts = count(form, cases, runtime)
    above = [verdict.case for verdict in judged(form, counts, baseline) if not verdict.passed]
    again = count(form, above, runtime) if above else {}
    return {case: min(counted, again.get(case, counted)) for case, counted in counts.items()}


class _Counter:
    """A running server and the callgrind in which it runs."""

    def __init__(self, pid: int, port: int, folder: Path) -> None:
        self._pid = pid
        self._port = port
        self._folder = folder
        self._dumps: set[Path] = set()

    def count(self, case: Case) -> int:
        """Instructions a request: the smallest count of several windows.

        With an access log there is one window as long as all of them, because the log's thread writes many lines
        together, and the last ones after the window.
        """
        request = case.request * case.depth
        with contextlib.ExitStack() as stack:
            if case.fresh:
                exchange = partial(_exchange_on_new_connections, self._port, request)
            else:
                exchange = partial(
                    _exchange,
                    [stack.enter_context(_connect(self._port)) for _ in range(CONNECTIONS)],
                    request,
                    depth=case.depth,
                )
            exchange(_ROUNDS)  # whatever the server makes on first use
            self._control("-i", "on")
            windows = []
            number, rounds = (1, _WINDOWS * _ROUNDS) if case.access_log else (_WINDOWS, _ROUNDS)
            rounds //= case.depth
            for _ in range(number):
                exchange(2)
                self._control("-z")
                exchange(rounds)
                self._control("-d")
                windows.append(self._newest() / (rounds * CONNECTIONS * case.depth))
            self._control("-i", "off")
        return round(min(windows))

    def _control(self, *arguments: str) -> None:
        command = ["callgrind_control", *arguments, str(self._pid)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_RESPONSE_TIMEOUT)
        if done.returncode != 0:
            raise Unmeasurable(f"{' '.join(command)} failed: {(done.stdout + done.stderr).strip()}")

    def _newest(self) -> int:
        dumps = set(self._folder.glob("counts.*"))
        (path,) = dumps - self._dumps
        self._dumps = dumps
        for line in path.read_text("utf-8", "replace").splitlines():
            name, _, value = line.partition(":")
            if name in ("summary", "totals"):
                return int(value.split()[0])
        raise Unmeasurable(f"{path.name} of callgrind has no total")


@contextlib.contextmanager
def _server(form: str, runtime: Runtime, app: str, *, access_log: bool) -> Iterator[_Counter]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
        folder = Path(temporary)
        tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/counts", "--instr-atstart=no"]
        options = ["--bind", f"{HOST}:{port}", "--threads", str(THREADS)]
        options += ["--access-log-file", os.devnull] if access_log else ["--no-access-log"]
        server = [runtime.python, "-m", "reserve", "app", "http", "wsgi", f"instructions_app:{app}", *options]
        with started_process(
            f"reserve ({form}) in valgrind",
            [*tool, *server],
            lambda: responds(port),
            log=folder / "stderr",
            # The order of sets, and the addresses at which objects are, would change from run to run.
            environ={**FORMS[form], "PYTHONHASHSEED": "0", "PYTHONPATH": runtime.path},
            cwd=runtime.cwd,
            start_timeout=_START_TIMEOUT,
        ) as pid:
            yield _Counter(pid, port, folder)


def _connect(port: int) -> socket.socket:
    return socket.create_connection((HOST, port), _RESPONSE_TIMEOUT)


def _exchange_on_new_connections(port: int, request: bytes, rounds: int) -> None:
    """Like :func:`_exchange`, with new connections in each round, which end when the server closes them."""
    for _ in range(rounds):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(_connect(port)) for _ in range(CONNECTIONS)]
            _exchange(clients, request, 1)
            for client in clients:
                if client.recv(1):
                    raise Unmeasurable("the server sent more than a response")


def _exchange(clients: Sequence[socket.socket], request: bytes, rounds: int, *, depth: int = 1) -> None:
    """Send the requests on every connection, then read every response, again and again.

    :param depth: how many requests ``request`` is.
    """
    for _ in range(rounds):
        for client in clients:
            client.sendall(request)
        for client in clients:
            _read_responses(client, depth)


def _read_responses(client: socket.socket, count: int) -> None:
    received = b""
    while count:
        piece = client.recv(65536)
        if not piece:
            raise Unmeasurable(f"the server closed a connection after {received!r}")
        received += piece
        while count:
            top, found, body = received.partition(b"\r\n\r\n")
            if not found:
                break
            if not top.startswith(b"HTTP/1.1 200 "):
                raise Unmeasurable(f"the server responded with {top.partition(chr(13).encode())[0]!r}")
            lines = top.lower().split(b"\r\n")
            length = next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
            if len(body) < length:
                break
            received = body[length:]
            count -= 1


def _installed() -> Runtime:
    """The reserve in the environment of ``benchmarks.compare``, installed from the clone a moment ago."""
    with locked():
        return installed(str(install()))


def _setting() -> str:
    done = subprocess.run(["valgrind", "--version"], capture_output=True, text=True, timeout=60)
    return (
        f"{done.stdout.strip()}, {platform.machine()}; {THREADS} threads, {CONNECTIONS} connections, "
        f"the smallest of {_WINDOWS} windows of {_ROUNDS * CONNECTIONS} requests"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--forms", default="", help=f"by default all: {','.join(FORMS)}")
    parser.add_argument("--cases", default="", help=f"by default all: {','.join(CASES)}")
    parser.add_argument(
        "--installed", action="store_true", help="install the clone first, with its extension module, and count that"
    )
    parser.add_argument("--update", action="store_true", help=f"store the counts in {BASELINE.name}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
