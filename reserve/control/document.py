"""The one document about all processes of a server: what the control socket, the metrics and the status page read.

A document is plain JSON: dictionaries, lists, texts, numbers, true, false and null. Pure; any thread.

    {"version": 1, "time": seconds since the epoch,
     "supervisor": null or {"pid", "wanted", "generation", "uptime",
                            "restarts": {"crash", "recycle", "reload", "kill"}},
     "processes": [{"pid", "slot", "generation", "phase", "age", "responding", "stats"}],
     "former": null or the counters of processes that have ended}

``phase`` is ``starting``, ``serving``, ``retiring`` or ``stopping``. ``stats`` has the fields of
:class:`~reserve.engine.metrics.stats.Stats`, and is null as long as the process has told none. ``age`` is the seconds
since it has told them, ``responding`` says whether it has responded to the last question in time. A counter of all
processes together, with ``former``, never decreases.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = [
    "COUNTERS",
    "HISTOGRAMS",
    "RESTARTS",
    "VERSION",
    "add_counters",
    "counters_of",
    "document",
    "plain",
    "process",
]

VERSION = 1
"""Of the structure. It grows when a field gets another meaning or goes; a new field does not change it."""
COUNTERS = (
    "accepted",
    "reclaimed",
    "handled",
    "timed_out",
    "refused",
    "client_connections_refused",
    "client_requests_refused",
    "tls_handshakes",
    "tls_resumed",
    "tls_failed",
    "tls_kernel",
    "hand_overs",
    "log_lines_dropped",
    "steals",
)
"""The fields of the stats that count since the start of a process; ``requests`` does, too."""
HISTOGRAMS = ("duration", "queue", "application")
"""The histograms in ``requests``."""
RESTARTS = ("crash", "recycle", "reload", "kill")
"""Why a process was replaced: it has ended by itself, it asked for it, a reload, or it had not stopped in time."""


def plain(value: Any) -> Any:
    """A value as JSON has it: dataclasses become dictionaries, tuples lists, and numbers that JSON has not become 0."""
    if isinstance(value, float):
        return value if math.isfinite(value) else 0.0
    if value is None or isinstance(value, (str, int)):
        return value
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    return [plain(item) for item in value]


def process(
    stats: Mapping[str, Any] | None,
    *,
    pid: int,
    phase: str,
    slot: int = 0,
    generation: int = 1,
    age: float = 0.0,
    responding: bool = True,
) -> dict[str, Any]:
    """What a document says of one process. See the module."""
    return {
        "pid": pid,
        "slot": slot,
        "generation": generation,
        "phase": phase,
        "age": age,
        "responding": responding,
        "stats": stats,
    }


def document(
    time: float,
    processes: Sequence[Mapping[str, Any]],
    supervisor: Mapping[str, Any] | None = None,
    former: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The document. See the module.

    :param time: seconds since the epoch.
    """
    return {
        "version": VERSION,
        "time": time,
        "supervisor": supervisor,
        "processes": list(processes),
        "former": former or None,
    }


def counters_of(stats: Mapping[str, Any]) -> dict[str, Any]:
    """The counters among the stats of a process, as JSON."""
    return add_counters({}, stats)


def add_counters(total: Mapping[str, Any], stats: Mapping[str, Any]) -> dict[str, Any]:
    """The sum of two sets of counters; each may lack some, because another version has made it.

    :param total: counters, or nothing.
    :param stats: stats, or counters.
    """
    result = dict(total)
    for name in COUNTERS:
        if name in stats:
            result[name] = int(result.get(name, 0)) + int(stats[name])
    requests = stats.get("requests")
    if requests is not None:
        result["requests"] = _add_requests(result.get("requests") or {}, requests)
    return result


def _add_requests(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    responses: dict[tuple[str, int], int] = {}
    for method, status, count in (*one.get("responses", ()), *other.get("responses", ())):
        responses[method, status] = responses.get((method, status), 0) + count
    result: dict[str, Any] = {
        "responses": [[method, status, count] for (method, status), count in sorted(responses.items())]
    }
    for name in ("bytes_received", "bytes_sent"):
        result[name] = int(one.get(name, 0)) + int(other.get(name, 0))
    for name in HISTOGRAMS:
        result[name] = _add_histograms([part[name] for part in (one, other) if name in part])
    return result


def _add_histograms(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of histograms. One with other bounds, which another version has made, is left out."""
    total: dict[str, Any] = {"bounds": [], "counts": [], "sum": 0.0}
    for part in parts:
        if not total["counts"]:
            total = {"bounds": list(part["bounds"]), "counts": list(part["counts"]), "sum": float(part["sum"])}
        elif list(part["bounds"]) == total["bounds"]:
            total["counts"] = [mine + its for mine, its in zip(total["counts"], part["counts"], strict=True)]
            total["sum"] += part["sum"]
    return total
