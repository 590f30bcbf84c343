"""What is measured: the applications, and for each of them the servers with their numbers of threads and processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.compare.servers import SERVERS, SUBJECTS
from benchmarks.compare.workloads import WORKLOADS, Workload
from benchmarks.heads import head

__all__ = ["APPLICATIONS", "LIMIT", "PEERS", "Application", "Row", "counted", "first_form", "rows"]

LIMIT = "two processes"
"""The name of the row for two independent servers, which is the limit of the machine."""
PEERS = ("cheroot", "waitress", "gunicorn", "granian")


@dataclass(frozen=True, kw_only=True)
class Application:
    """What the servers host."""

    name: str
    workload: Workload
    kind: str
    """What the advice calls it: what such an application does most of the time."""
    tls: bool = False
    waits: bool = False
    """Whether threads are the limit and not processors."""
    shortest: float = 0.0
    """Seconds that are needed for figures that mean something."""

    @property
    def title(self) -> str:
        return "Hello over TLS" if self.tls else self.workload.title


def _computing(milliseconds: int, shortest: float = 0.0) -> Application:
    workload = Workload(
        title=f"Each request computes {milliseconds} ms", app="computing", request=head(f"/{milliseconds}")
    )
    name, kind = f"compute-{milliseconds}", f"{milliseconds} ms of Python a request"
    return Application(name=name, workload=workload, kind=kind, shortest=shortest)


APPLICATIONS: dict[str, Application] = {
    application.name: application
    for application in (
        Application(name="hello", workload=WORKLOADS["hello"], kind="next to nothing a request"),
        Application(name="flask", workload=WORKLOADS["flask"], kind="a small Flask view"),
        _computing(1),
        _computing(10, shortest=0.6),
        Application(
            name="wait-10", workload=WORKLOADS["sleep-all-10"], kind="waits 10 ms, as for a database", waits=True
        ),
        Application(name="tls", workload=WORKLOADS["hello"], kind="next to nothing, over TLS", tls=True),
    )
}
"""By name, in the order of the report."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One server of one application, as it is started."""

    server: str
    threads: int
    """Of each process."""
    processes: int = 1

    @property
    def is_limit(self) -> bool:
        return self.server == LIMIT


def first_form(servers: Sequence[str]) -> str | None:
    """The form of reserve of which processes are measured: the one in C, if it takes part; None: no form does."""
    return next((form for form in reversed(SUBJECTS.values()) if form in servers), None)


def rows(application: Application, servers: Sequence[str], threads: Sequence[int]) -> list[Row]:
    """What one round measures of an application.

    :param threads: in ascending order. Two processes have half of the last number each.
    """
    found = [
        Row(server=server, threads=number)
        for number in threads
        for server in servers
        if not application.tls or SERVERS[server].has_tls
    ]
    if first_form(servers):
        half = max(threads[-1] // 2, 1)
        found.append(Row(server=first_form(servers) or "", threads=half, processes=2))
        found.append(Row(server=LIMIT, threads=half if application.waits else 1, processes=2))
    return found


def counted(threads: int) -> str:
    """``1 thread``, ``2 threads``."""
    return "1 thread" if threads == 1 else f"{threads} threads"
