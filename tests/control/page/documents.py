"""Documents about all processes, as the collector gives them, for tests of what shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


def histogram(**counts: int) -> dict[str, Any]:
    """A histogram with these counts, by bucket: ``b3=10`` is the fourth one."""
    values = [counts.get(f"b{at}", 0) for at in range(len(BOUNDS) + 1)]
    return {"bounds": BOUNDS, "counts": tuple(values), "sum": float(sum(values))}


def requests(**changes: Any) -> dict[str, Any]:
    """What a process counts about requests."""
    return {
        "responses": (),
        "bytes_received": 0,
        "bytes_sent": 0,
        "duration": histogram(),
        "queue": histogram(),
        "application": histogram(),
        **changes,
    }


def thread(number: int = 0, **changes: Any) -> dict[str, Any]:
    """One worker thread, which is idle."""
    return {
        "name": f"reserve-worker-{number}",
        "ident": 1000 + number,
        "native_id": 2000 + number,
        "state": "idle",
        "request": "",
        "client": "",
        "seconds": 0.0,
        "handled": 0,
        **changes,
    }


def stats(**changes: Any) -> dict[str, Any]:
    """The numbers of one process, which has nothing to do."""
    zero = (
        "busy waiting upgraded file_threads queued connections parked flushing lingering owned accepted reclaimed "
        "handled buffered spooled spooled_responses timed_out stuck refused client_connections_refused "
        "client_requests_refused tls_handshakes tls_resumed tls_failed tls_kernel steals hand_overs log_lines_dropped"
    )
    return {
        **dict.fromkeys(zero.split(), 0),
        "version": 1,
        "pid": 4711,
        "started": 1_700_000_000.0,
        "uptime": 3725.0,
        "rss": 48 * 1024 * 1024,
        "software": "reserve 0.9",
        "python": "CPython 3.13.1",
        "healthy": True,
        "unhealthy": (),
        "live": True,
        "retiring": False,
        "threads": 4,
        "max_threads": 4,
        "max_connections": 10000,
        "max_queued": 1000,
        "waiting_requests": 0,
        "buffer_limit": 256 * 1024 * 1024,
        "spool_limit": 1024 * 1024 * 1024,
        "upgraded_threads": (),
        "workers": tuple(thread(number) for number in range(4)),
        "listeners": ({"address": "127.0.0.1:8080", "backlog": 0, "backlog_limit": 1024},),
        "requests": requests(),
        **changes,
    }


def process(pid: int = 4711, *, phase: str = "serving", responding: bool = True, **changes: Any) -> dict[str, Any]:
    """One process. ``changes`` are those of its numbers, beside ``age`` and ``slot``."""
    age, slot = changes.pop("age", 0.0), changes.pop("slot", 0)
    return {
        "pid": pid,
        "slot": slot,
        "generation": 1,
        "phase": phase,
        "age": age,
        "responding": responding,
        "stats": stats(pid=pid, **changes),
    }


def document(
    *processes: Mapping[str, Any], supervisor: bool = False, former: Mapping[str, Any] | None = None, **changes: Any
) -> dict[str, Any]:
    """A document; by default about one process that has nothing to do."""
    all_of_them: Sequence[Mapping[str, Any]] = processes or (process(),)
    restarts = {"crash": 0, "recycle": 0, "reload": 0, "kill": 0}
    above = {"pid": 4700, "wanted": len(all_of_them), "generation": 1, "uptime": 7300.0, "restarts": restarts}
    return {
        "version": 1,
        "time": 1_700_000_000.0,
        "supervisor": above if supervisor else None,
        "processes": list(all_of_them),
        "former": dict(former) if former is not None else None,
        **changes,
    }
