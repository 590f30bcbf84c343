"""What was measured in one cell of the adversity table, whether it is what reserve promises, and the tables."""

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
    """Honest requests as soon as the bad clients were in place."""
    held: list[Response] = field(default_factory=list)
    """Honest requests after the bad clients were held for the window."""
    quiet_after: float | None = None
    """Where the bad clients give it work: seconds from the first batch until the server had nothing to do any more."""
    wanted: int = 0
    connected: int = 0
    in_place: int = 0
    still_there: int = 0
    """Bad clients that the server had not cut off when the window ended."""
    first_cut: float | None = None
    last_cut: float | None = None
    cut: int = 0
    """How many were cut off within the time that was waited for it."""
    unseen_cut: float | None = None
    """Seconds until the server had closed the last connection of clients that do not read and saw nothing of it."""
    orphans: int = 0
    """Connections that the server had closed then, and the kernel kept with all the data in them."""
    statuses: dict[str, int] = field(default_factory=dict)
    """What the bad clients were answered."""
    cpu_percent: float = 0.0
    """Of one core, in the window, with nobody else asking anything."""
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
    """The first honest request after the bad clients have gone."""
    log_lines: int = 0
    """Lines on standard error while it happened."""

    @property
    def answers(self) -> list[Response]:
        return self.at_once + self.held

    @property
    def bytes_per_client(self) -> float | None:
        """Growth of resident memory for each bad client that is connected."""
        return (self.rss_held - self.rss_before) * 1024 / self.still_there if self.still_there else None


def milliseconds(answers: Sequence[Response]) -> tuple[float, float] | None:
    """Median and worst; None without answers."""
    if not answers:
        return None
    times = [answer.seconds * 1000 for answer in answers]
    return statistics.median(times), max(times)


def brief(cell: Cell) -> str:
    """The honest client's side: "1.2 / 3.4", "503: 0.9 / 1.4", "> 10 s", or both batches where the bad clients give
    the server work at first.
    """
    if cell.note:
        return cell.note
    if cell.quiet_after is not None:
        return (
            f"at first {_batch(cell.at_once, cell.cap)}; {cell.quiet_after:.0f} s later {_batch(cell.held, cell.cap)}"
        )
    return _batch(cell.answers, cell.cap)


def broken(row: Row, cell: Cell) -> list[str]:
    """What reserve promises for this row and this server did not do, in words; empty also where nothing is known."""
    times = milliseconds(cell.answers)
    if cell.note or times is None:
        return []
    found = []
    if row.expect:
        allowed = row.expect.split(" or ")
        if wrong := sorted({answer.outcome for answer in cell.answers} - set(allowed)):
            found.append(f"{' and '.join(wrong)} instead of {row.expect}")
        if times[1] > row.gate_ms:
            found.append(f"worst {times[1]:.1f} ms, more than {row.gate_ms:g}")
        if min(answer.seconds for answer in cell.answers) * 1000 < row.gate_from_ms:
            found.append(f"an answer before {row.gate_from_ms:g} ms")
    most = (
        ("CPU %", cell.cpu_percent, row.cpu_percent),
        ("octets for each client", cell.bytes_per_client, row.per_client),
        ("MiB at the peak", cell.rss_peak / 1024, row.peak_mib),
        ("ms until it had recovered", cell.recovery.seconds * 1000 if cell.recovery else None, row.recovery_ms),
        ("connections left in the kernel", cell.orphans, 0),
        ("log lines", cell.log_lines, row.log_lines),
        ("descriptors afterwards", cell.descriptors_after, None if row.goes_on else cell.descriptors_before),
        ("threads afterwards", cell.threads_after, None if row.goes_on else cell.threads_before),
    )
    for what, value, limit in most:
        if value is not None and limit is not None and value > limit:
            found.append(f"{value:.0f} {what}, more than {limit:g}")
    if cell.recovery and cell.recovery.outcome != "200":
        found.append(f"{cell.recovery.outcome} after the bad clients had gone")
    return found


def cuts(cell: Cell) -> str:
    """How many were cut off and when: "200 (10.0-10.1 s)"."""
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
    "cut": cuts,
    "answered": lambda cell: " ".join(f"{status}x{count}" for status, count in cell.statuses.items()) or "-",
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
    "recovery ms": lambda cell: "-" if cell.recovery is None else _one(cell.recovery),
    "log lines": lambda cell: str(cell.log_lines),
}


def main_table(rows: Sequence[Row], servers: Sequence[str], cells: Iterable[Cell]) -> list[list[str]]:
    """Rows by servers; a ! marks what reserve promises and did not keep."""
    found = {(cell.row, cell.server): cell for cell in cells}
    table = [["bad clients", *servers]]
    for row in rows:
        line = [row.about]
        for server in servers:
            cell = found.get((row.name, server))
            mark = "! " if cell and server == "reserve" and broken(row, cell) else ""
            line.append(mark + brief(cell) if cell else "")
        table.append(line)
    return table


def detail_table(cells: Iterable[Cell]) -> list[list[str]]:
    return [list(COLUMNS), *([show(cell) for show in COLUMNS.values()] for cell in cells if not cell.note)]


def promises(cells: Iterable[tuple[Row, Cell]]) -> list[str]:
    """A line for each promise that reserve broke."""
    return [f"{cell.row}: {text}" for row, cell in cells if cell.server == "reserve" for text in broken(row, cell)]


def plain(table: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[index]) for line in table) for index in range(len(table[0]))]
    lines = ((word.ljust(width) for word, width in zip(line, widths, strict=True)) for line in table)
    return "\n".join("  ".join(line).rstrip() for line in lines)


def markdown(table: Sequence[Sequence[str]]) -> str:
    head, *rest = table
    lines = [head, ["---"] * len(head), *rest]
    return "\n".join("| " + " | ".join(word.replace("|", "\\|") for word in line) + " |" for line in lines)


def as_json(row: Row, cell: Cell) -> dict[str, Any]:
    return asdict(cell) | {"about": row.about, "broken": broken(row, cell), "milliseconds": milliseconds(cell.answers)}


def _batch(answers: Sequence[Response], cap: float) -> str:
    times = milliseconds(answers)
    if times is None:
        return "nothing asked"
    if all(answer.outcome == "timeout" for answer in answers):
        return f"> {cap:g} s"
    text = f"{times[0]:.1f} / {times[1]:.1f}"
    what = outcomes(answers)
    return f"{what}: {text}" if what else text


def _worst(answers: Sequence[Response]) -> str:
    times = milliseconds(answers)
    what = outcomes(answers)
    return "-" if times is None else f"{times[1]:.1f}" + (f" ({what})" if what else "")


def _one(answer: Response) -> str:
    return f"{answer.seconds * 1000:.0f}" + ("" if answer.outcome == "200" else f" ({answer.outcome})")
