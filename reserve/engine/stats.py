"""A frozen picture of a running server, for people, tests and metrics."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Stats"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Counted without stopping anyone: the numbers belong to about the same moment."""

    threads: int
    """Workers."""
    busy: int
    """Workers inside an application."""
    queued: int
    """Connections that wait for the leader or for a worker."""
    connections: int
    """Connections that are open; the next four are among them."""
    parked: int
    flushing: int
    lingering: int
    owned: int
    accepted: int
    """Connections accepted since the start."""
    handled: int
    """Handler calls finished since the start (for HTTP: requests, and pieces of bodies written to files)."""
    buffered: int
    """Octets of bodies, answers and heads on their way that wait in memory."""
    spooled: int
    """Octets of bodies and answers that wait in files."""
    timed_out: int
    """Requests interrupted since the start because their answer did not begin in time."""
    stuck: int
    """Threads that did not come out of an interrupted request and were replaced."""
    refused: int
    """Requests refused since the start: no worker was free for them in time, or their answer did not begin in time."""
    tls_handshakes: int
    """TLS handshakes completed since the start."""
    tls_resumed: int
    """Those of them that went on with an earlier session of the client."""
    tls_failed: int
    """Those that failed, did not end in time, or were no TLS."""
    tls_kernel: int
    """Sessions whose output was encrypted by the kernel (kTLS); the others' was by OpenSSL in this process."""
    steals: int
    """How often a stalled handler lost the lead to the monitor."""
