"""Documents as a server sends them, for the tests of ``reserve top``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]


def histogram(*buckets: int) -> dict[str, Any]:
    """The first buckets have these counts, the others none."""
    return {"bounds": BOUNDS, "counts": [*buckets, *[0] * (len(BOUNDS) + 1 - len(buckets))], "sum": 1.0}


def worker(number: int, request: str = "", seconds: float = 0.0, **fields: Any) -> dict[str, Any]:
    """A thread that runs a request, or is idle without one."""
    return {
        "name": f"reserve-worker-{number}",
        "ident": 7000 + number,
        "native_id": 300 + number,
        "state": "running" if request else "idle",
        "request": request,
        "client": "192.0.2.1:50000" if request else "",
        "seconds": seconds,
        "handled": 3,
        **fields,
    }


def stats(uptime: float = 100.0, *, workers: Sequence[dict[str, Any]] = (), **fields: Any) -> dict[str, Any]:
    """The stats of one process; ``responses`` and others of ``requests`` may be given, too."""
    requests = {
        "responses": [],
        "bytes_received": 0,
        "bytes_sent": 0,
        "duration": histogram(),
        "queue": histogram(),
        "application": histogram(),
    }
    requests.update({name: fields.pop(name) for name in list(fields) if name in requests})
    numbers = (
        "busy", "waiting", "upgraded", "stuck", "queued", "connections", "parked", "flushing", "lingering", "owned",
        "accepted", "reclaimed", "handled", "buffered", "spooled", "timed_out", "refused",
        "client_connections_refused", "client_requests_refused", "tls_handshakes", "tls_failed", "steals",
    )  # fmt: skip
    return {
        **dict.fromkeys(numbers, 0),
        "version": 1,
        "started": 1_000_000.0,
        "uptime": uptime,
        "rss": 45 << 20,
        "software": "reserve 1.2",
        "python": "3.13.1",
        "healthy": True,
        "unhealthy": [],
        "live": True,
        "threads": 8,
        "max_threads": 16,
        "max_connections": 1000,
        "max_queued": 64,
        "buffer_limit": 64 << 20,
        "spool_limit": 1 << 30,
        "workers": list(workers),
        "listeners": [{"address": "127.0.0.1:8000", "backlog": 0, "backlog_limit": 128}],
        "requests": requests,
        **fields,
    }


def process(pid: int = 100, taken: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """What a document says of one process."""
    return {
        "pid": pid,
        "slot": 0,
        "generation": 1,
        "phase": "serving",
        "age": 0.0,
        "responding": True,
        "stats": stats() if taken is None else taken,
        **fields,
    }


def document(time: float = 2_000_000.0, *processes: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A document about these processes, or about one."""
    return {
        "version": 1,
        "time": time,
        "supervisor": None,
        "processes": list(processes) or [process()],
        "former": None,
        **fields,
    }


def supervisor(pid: int = 99, wanted: int = 2, **restarts: int) -> dict[str, Any]:
    """What a document says of the supervisor."""
    return {
        "pid": pid,
        "wanted": wanted,
        "generation": 1,
        "uptime": 500.0,
        "restarts": {"crash": 0, "recycle": 0, "reload": 0, "kill": 0, **restarts},
    }
