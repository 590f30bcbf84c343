"""The results of one cell of the adversity table, their comparison with what reserve promises, and the tables."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.adversity_rows import Row
from benchmarks.honest import Response, outcomes


@dataclass(kw_only=True)
class Cell:
    """One row on one server. Memory in KiB, times in seconds."""

    row: str
    server: str
    note: str = ""
    """Why there are no numbers: "not offered: --health-path", or how the start failed."""
    cap: float = 0.0
    at_once: list[Response] = field(default_factory=list)
    """Honest requests that began when the bad clients were in place."""
    held: list[Response] = field(default_factory=list)
    """Honest requests after the window in which the server only held the bad clients."""
    quiet_after: float | None = None
    """Where the bad clients give the server work: seconds from the first batch until that work was done."""
    wanted: int = 0
    connected: int = 0
    in_place: int = 0
    still_there: int = 0
    """Bad clients that were still connected when the window ended."""
    first_cut: float | None = None
    last_cut: float | None = None
    cut: int = 0
    """Bad clients that the server disconnected within the time of ``--cut-wait``."""
    unseen_cut: float | None = None
    """Seconds until the server had closed the last connection, where the clients do not read and so did not see it."""
    orphans: int = 0
    """Connections that the server had closed by then, and that the kernel kept because of unsent data."""
    statuses: dict[str, int] = field(default_factory=dict)
    """The statuses that the bad clients received."""
    cpu_percent: float = 0.0
    """Of one core, in the window, in which no honest request was sent."""
    rss_before: int = 0
    rss_held: int = 0
    rss_peak: int = 0
    rss_after: int = 0
    spooled: int = 0
    descriptors_before: int = 0
    descriptors_held: int = 0
    descriptors_after: int = 0
    threads_before: int = 0
    threads_after: int = 0
    recovery: Response | None = None
    """The first honest request after the bad clients have closed."""
    log_lines: int = 0
    """Lines on standard error during the measurement."""

    @property
    def responses(self) -> list[Response]:
        return self.at_once + self.held

    @property
    def bytes_per_client(self) -> float | None:
        """Growth of resident memory for each bad client that is connected."""
        return (self.rss_held - self.rss_before) * 1024 / self.still_there if self.still_there else None


def milliseconds(responses: Sequence[Response]) -> tuple[float, float] | None:
    """Median and worst; None without responses."""
    if not responses:
        return None
    times = [response.seconds * 1000 for response in responses]
    return statistics.median(times), max(times)


def brief(cell: Cell) -> str:
    """The honest responses as text: "1.2 / 3.4", "503: 0.9 / 1.4", "> 10 s", or both batches where the bad clients
    give the server work at first.
    """
    if cell.note:
        return cell.note
    if cell.quiet_after is not None:
        return (
            f"at first {_batch(cell.at_once, cell.cap)}; {cell.quiet_after:.0f} s later {_batch(cell.held, cell.cap)}"
        )
    return _batch(cell.responses, cell.cap)


def broken(row: Row, cell: Cell) -> list[str]:
    """The promises of this row that the results of this server break, one text each; empty without results."""
    times = milliseconds(cell.responses)
    if cell.note or times is None:
        return []
    problems = []
    if row.expect:
        allowed = row.expect.split(" or ")
        if wrong := sorted({response.outcome for response in cell.responses} - set(allowed)):
            problems.append(f"{' and '.join(wrong)} instead of {row.expect}")
        if times[1] > row.max_ms:
            problems.append(f"worst {times[1]:.1f} ms, more than {row.max_ms:g}")
        if min(response.seconds for response in cell.responses) * 1000 < row.min_ms:
            problems.append(f"a response before {row.min_ms:g} ms")
    limits = (
        ("CPU %", cell.cpu_percent, row.cpu_percent),
        ("bytes for each client", cell.bytes_per_client, row.per_client),
        ("MiB at the peak", cell.rss_peak / 1024, row.peak_mib),
        ("ms until it had recovered", cell.recovery.seconds * 1000 if cell.recovery else None, row.recovery_ms),
        ("connections left in the kernel", cell.orphans, 0),
        ("log lines", cell.log_lines, row.log_lines),
        ("descriptors afterwards", cell.descriptors_after, None if row.still_busy else cell.descriptors_before),
        ("threads afterwards", cell.threads_after, None if row.still_busy else cell.threads_before),
    )
    for what, value, limit in limits:
        if value is not None and limit is not None and value > limit:
            problems.append(f"{value:.0f} {what}, more than {limit:g}")
    if cell.recovery and cell.recovery.outcome != "200":
        problems.append(f"{cell.recovery.outcome} after the bad clients had closed")
    return problems


def closed(cell: Cell) -> str:
    """How many clients the server disconnected, and when: "200 (10.0-10.1 s)"."""
    if cell.unseen_cut is not None:
        return f"closed unseen ({cell.unseen_cut:.1f} s), {cell.orphans} left in the kernel"
    if cell.first_cut is None or cell.last_cut is None:
        return "none"
    return f"{cell.cut} ({cell.first_cut:.1f}-{cell.last_cut:.1f} s)"


COLUMNS: dict[str, Callable[[Cell], str]] = {
    "row": lambda cell: cell.row,
    "server": lambda cell: cell.server,
    "in place": lambda cell: f"{cell.in_place}/{cell.wanted}",
    "held": lambda cell: str(cell.still_there),
    "closed": closed,
    "statuses": lambda cell: " ".join(f"{status}x{count}" for status, count in cell.statuses.items()) or "-",
    "at once ms": lambda cell: _worst(cell.at_once),
    "held ms": lambda cell: _worst(cell.held),
    "CPU %": lambda cell: f"{cell.cpu_percent:.1f}",
    "RSS MiB before/held/peak/after": lambda cell: "/".join(
        f"{kib / 1024:.0f}" for kib in (cell.rss_before, cell.rss_held, cell.rss_peak, cell.rss_after)
    ),
    "B/client": lambda cell: "-" if cell.bytes_per_client is None else f"{cell.bytes_per_client:.0f}",
    "disk MiB": lambda cell: f"{cell.spooled / 1024:.0f}",
    "fds before/held/after": lambda cell: f"{cell.descriptors_before}/{cell.descriptors_held}/{cell.descriptors_after}",
    "threads": lambda cell: f"{cell.threads_before}/{cell.threads_after}",
    "recovery ms": lambda cell: "-" if cell.recovery is None else _single(cell.recovery),
    "log lines": lambda cell: str(cell.log_lines),
}


def main_table(rows: Sequence[Row], servers: Sequence[str], cells: Iterable[Cell]) -> list[list[str]]:
    """The honest responses by row and server; a ! marks a broken promise of reserve."""
    by_place = {(cell.row, cell.server): cell for cell in cells}
    table = [["bad clients", *servers]]
    for row in rows:
        line = [row.about]
        for server in servers:
            cell = by_place.get((row.name, server))
            mark = "! " if cell and server == "reserve" and broken(row, cell) else ""
            line.append(mark + brief(cell) if cell else "")
        table.append(line)
    return table


def detail_table(cells: Iterable[Cell]) -> list[list[str]]:
    """Everything that was measured, one line for each cell."""
    return [list(COLUMNS), *([show(cell) for show in COLUMNS.values()] for cell in cells if not cell.note)]


def promises(cells: Iterable[tuple[Row, Cell]]) -> list[str]:
    """The broken promises of reserve, one line each."""
    return [f"{cell.row}: {text}" for row, cell in cells if cell.server == "reserve" for text in broken(row, cell)]


def plain(table: Sequence[Sequence[str]]) -> str:
    """The table as text in columns."""
    widths = [max(len(line[index]) for line in table) for index in range(len(table[0]))]
    lines = ((cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in table)
    return "\n".join("  ".join(line).rstrip() for line in lines)


def markdown(table: Sequence[Sequence[str]]) -> str:
    """The table in Markdown."""
    head, *lines = table
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
        for line in (head, ["---"] * len(head), *lines)
    )


def as_json(row: Row, cell: Cell) -> dict[str, Any]:
    return asdict(cell) | {
        "about": row.about,
        "broken": broken(row, cell),
        "milliseconds": milliseconds(cell.responses),
    }


def _batch(responses: Sequence[Response], cap: float) -> str:
    times = milliseconds(responses)
    if times is None:
        return "no request sent"
    if all(response.outcome == "timeout" for response in responses):
        return f"> {cap:g} s"
    text = f"{times[0]:.1f} / {times[1]:.1f}"
    what = outcomes(responses)
    return f"{what}: {text}" if what else text


def _worst(responses: Sequence[Response]) -> str:
    times = milliseconds(responses)
    what = outcomes(responses)
    return "-" if times is None else f"{times[1]:.1f}" + (f" ({what})" if what else "")


def _single(response: Response) -> str:
    return f"{response.seconds * 1000:.0f}" + ("" if response.outcome == "200" else f" ({response.outcome})")
