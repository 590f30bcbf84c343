"""``server.stats``: the dictionary that CherryPy's page of statistics reads, with the keys that cheroot has.

The reader of a value that is a function calls it with the dictionary, on any thread. The bytes and the time of the work
are not counted: they are -1, which is what cheroot has while its statistics are off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reserve.compat.cheroot.attributes import ServerAttributes
    from reserve.engine.metrics.stats import Stats

__all__ = ["statistics_of"]


def _not_counted(_: dict[str, Any]) -> int:
    return -1


def statistics_of(server: ServerAttributes) -> dict[str, Any]:
    """Make the dictionary of one server."""

    def current() -> Stats | None:
        return None if server.engine is None else server.engine.stats()

    def accepts(_: dict[str, Any]) -> int:
        stats = current()
        return 0 if stats is None else stats.accepted

    def requests(stats_of_server: dict[str, Any]) -> int:
        stats = current()
        if not stats_of_server["Enabled"]:
            return -1
        return 0 if stats is None else stats.handled

    return {
        "Enabled": False,
        "Bind Address": lambda _: repr(server.bind_addr),
        "Run time": lambda stats: server.runtime() if stats["Enabled"] else -1,
        "Accepts": accepts,
        "Accepts/sec": lambda stats: accepts(stats) / (server.runtime() or 1.0),
        "Queue": lambda _: server.requests.qsize,
        "Threads": lambda _: server.requests.count,
        "Threads Idle": lambda _: server.requests.idle,
        "Socket Errors": 0,
        "Requests": requests,
        "Bytes Read": _not_counted,
        "Bytes Written": _not_counted,
        "Work Time": _not_counted,
        "Read Throughput": _not_counted,
        "Write Throughput": _not_counted,
        "Worker Threads": {},
    }
