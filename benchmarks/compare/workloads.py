"""What is measured: the rows of the report."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.compare.servers import FLOOR, NGINX_APPS, SERVERS
from benchmarks.heads import BROWSER_FIELDS, BROWSER_TARGET, head

__all__ = ["PLACEMENTS", "WORKLOADS", "Workload", "refusal", "scaled"]

PLACEMENTS = ("pinned", "unpinned")
"""The server on one processor and the load on another; or both wherever the system puts them."""
_GIGABYTE = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One row. Without anything else: 32 connections that are kept, a hello request on each as soon as it can be."""

    title: str
    app: str = "hello"
    """In plain_apps, or ``module:name``."""
    connections: int = 32
    active: int | None = None
    """The connections that send more than one request; None: all."""
    depth: int = 1
    """Requests that are sent together on a connection."""
    fresh: bool = False
    """A new connection for each request."""
    request: bytes = head()
    second: bytes = b""
    """Another request, sent instead for every ``every``-th."""
    every: int = 0
    body: int = 0
    """Bytes of zeros after each head."""
    access_log: bool = False
    file: int = 65536
    """Bytes of the file for servers that send one."""
    transfer: int = 0
    """Bytes of the only request, which is measured as a whole; 0: as many requests as the time allows."""
    hog: bool = False
    """Another program computes on the server's processor."""
    shortest: float = 0.0
    """Seconds that are needed for figures that mean something."""
    apart: bool = False
    """Whether the latency of the first request is told apart from that of the second."""
    remark: str = ""
    """What the servers do, where they do not do the same."""

    @property
    def application(self) -> str:
        return self.app if ":" in self.app else f"plain_apps:{self.app}"


_BROWSER = head(BROWSER_TARGET, BROWSER_FIELDS)
_POST_FIELDS = ("Content-Type: application/octet-stream",)


def _post(length: int) -> bytes:
    return head(fields=(*_POST_FIELDS, f"Content-Length: {length}"), method="POST")


WORKLOADS: dict[str, Workload] = {
    "hello": Workload(title="Hello"),
    "browser": Workload(title="A browser's head", request=_BROWSER),
    "hello-log": Workload(title="Hello, with an access log", access_log=True),
    "browser-log": Workload(title="A browser's head, with an access log", request=_BROWSER, access_log=True),
    "connections-256": Workload(title="256 connections", connections=256),
    "connections-1": Workload(title="One connection", connections=1),
    "connections-2000": Workload(title="2,000 connections, of which 32 are active", connections=2000, active=32),
    "post": Workload(title="POST of 1 KiB", app="post", request=_post(1024), body=1024),
    "response-64k": Workload(title="Response of 64 KiB", app="large"),
    "generator": Workload(title="1 MiB from a generator, in pieces of 4 KiB", app="generated", shortest=1.0),
    "pipelined": Workload(title="Pipelined, eight requests together", depth=8),
    "new-connection": Workload(
        title="A new connection for each request", fresh=True, request=head(fields=("Connection: close",))
    ),
    "sleep-5-20": Workload(
        title="5 % of the requests sleep 20 ms", app="sleeping", second=head("/20"), every=20, apart=True
    ),
    "sleep-0.1-50": Workload(
        title="0.1 % of the requests sleep 50 ms", app="sleeping", second=head("/50"), every=1000, apart=True
    ),
    "sleep-all-10": Workload(title="All requests sleep 10 ms", app="sleeping", request=head("/10")),
    "compute-2": Workload(title="Each request computes 2 ms", app="computing", request=head("/2"), shortest=2.0),
    "compute-2-20": Workload(
        title="Each request computes 2 ms, and every tenth 20 ms",
        app="computing",
        request=head("/2"),
        second=head("/20"),
        every=10,
        apart=True,
        shortest=2.0,
    ),
    "flask": Workload(title="Hello in Flask", app="flask_app:app"),
    "django": Workload(title="Hello in Django with its default middleware", app="django_app:app", shortest=1.0),
    "file": Workload(
        title="1 GB by wsgi.file_wrapper", app="send_file", connections=1, transfer=_GIGABYTE, file=_GIGABYTE
    ),
    "upload": Workload(
        title="Upload of 1 GB",
        app="post",
        connections=1,
        request=_post(_GIGABYTE),
        body=_GIGABYTE,
        transfer=_GIGABYTE,
        remark=(
            "reserve and waitress store the body in a file before they run the application, bjoern and fastpysgi keep "
            "it in memory, and nginx throws it away. The others give it to the application while it arrives, as "
            "reserve does with `--stream-bodies` (**-stream**); then a slow client keeps a thread."
        ),
    ),
    "idle-10000": Workload(title="10,000 idle connections", connections=10_000, active=0, shortest=2.0),
    "hog": Workload(title="Hello, while a hog computes on the same processor", hog=True, shortest=1.0),
}
"""By name, in the order of the report."""


_WITHOUT_PIPELINING = ("uwsgi", "bjoern")
"""uWSGI's documentation says so, and bjoern 3.2 responds to the first request only."""


def refusal(name: str, server: str) -> str:
    """Why this server does not take part in this workload; empty: it does."""
    workload = WORKLOADS[name]
    facts = SERVERS[server]
    if facts.only and name not in facts.only:
        return f"only in {', '.join(facts.only)}"
    if server == FLOOR and workload.app not in NGINX_APPS:
        return "runs no Python"
    if workload.access_log and not facts.has_log:
        return "has no access log"
    if server in _WITHOUT_PIPELINING and workload.depth > 1:
        return "does not pipeline"
    return ""


def scaled(workload: Workload, factor: float) -> Workload:
    """The workload with a transfer of another size, for quick runs."""
    if not workload.transfer:
        return workload
    size = int(workload.transfer * factor)
    body = size if workload.body else 0
    return replace(workload, transfer=size, file=size, body=body, request=_post(size) if body else workload.request)
