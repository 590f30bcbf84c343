"""What the commands print for people. Pure but for the lines of source files, which a stack shows."""

from __future__ import annotations

import linecache
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from reserve.control.top.cells import printable
from reserve.control.totals import Histogram, Totals, totals
from reserve.errors import counted

__all__ = ["connections_text", "duration", "size", "stacks_text", "status_text", "summary_of"]

_MOST_CHARACTERS = 65536
"""Of a line."""
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def duration(seconds: float) -> str:
    """``1 d 2 h``, ``3 min 20 s``, ``1.2 s``, ``35 ms``."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.{0 if seconds >= 0.01 else 1}f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    rest = round(seconds)
    for index, (length, unit) in enumerate(_UNITS):
        if rest >= length:
            next_length, next_unit = _UNITS[index + 1] if index + 1 < len(_UNITS) else (1, "s")
            more = rest % length // next_length
            return f"{rest // length} {unit}" + (f" {more} {next_unit}" if more else "")
    return f"{rest} s"


def size(count: float) -> str:
    """``512 B``, ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return ""


def status_text(document: Mapping[str, Any]) -> str:
    """The summary of a document."""
    total = totals(document)
    lines = [f"{total.software or 'reserve'} on {total.python or 'Python'}: {_health(total)}"]
    lines.append(f"process {total.pid}, running for {duration(total.uptime)}")
    rows = list(_rows(document, total))
    width = max(len(name) for name, _ in rows)
    lines += ["", *(f"{name:<{width}}  {text}" for name, text in rows)]
    if document.get("supervisor") is not None:
        lines += ["", *_table(list(_process_rows(document)), right=(0, 1, 4, 5, 6, 7, 8, 9))]
    return _joined(lines)


def _joined(lines: Iterable[str]) -> str:
    """The lines, without anything that moves the cursor of a terminal: clients, the application and a worker process,
    which may be in the hands of another user, choose texts in them.
    """
    return "\n".join(printable(line, most=_MOST_CHARACTERS) for line in lines)


def _health(total: Totals) -> str:
    return "healthy" if total.healthy else f"NOT HEALTHY: {'; '.join(total.unhealthy)}"


def _rows(document: Mapping[str, Any], total: Totals) -> Iterator[tuple[str, str]]:
    if document.get("supervisor") is not None:
        states = ", ".join(f"{count} {name}" for name, count in total.states.items() if count)
        yield "processes", f"{total.wanted} wanted; {states or 'none'}"
        reasons = ", ".join(f"{count} {name}" for name, count in total.restarts.items() if count)
        if reasons:
            yield "replaced", reasons
    more = [f"{total.waiting} only wait"] if total.waiting else []
    more += [f"{total.upgraded} more upgraded"] if total.upgraded else []
    more += [f"{total.stuck} STUCK"] if total.stuck else []
    yield "threads", ", ".join([f"{total.busy} of {total.threads} busy, at most {total.max_threads}", *more])
    yield "waiting", f"{counted(total.waiting_requests, 'request')} for a thread, at most {total.max_queued}"
    yield "requests", _requests(total)
    for name, histogram in (("duration", total.duration), ("queued for", total.queue)):
        if histogram.count:
            yield name, summary_of(histogram)
    refused = total.refused + total.client_requests_refused + total.client_connections_refused
    if refused or total.timed_out:
        yield (
            "refused",
            f"{refused} ({total.refused} overload, {total.client_requests_refused} requests and "
            f"{total.client_connections_refused} connections of one client); {total.timed_out} timed out",
        )
    yield "connections", f"{total.connections} of {total.max_connections} open, {total.parked} idle or reading"
    memory = [size(total.rss)] if total.rss else []
    memory.append(f"buffers {size(total.buffered)} of {size(total.buffer_limit)}")
    memory.append(f"files {size(total.spooled)} of {size(total.spool_limit)}")
    yield "memory", ", ".join(memory)
    if total.tls_handshakes or total.tls_failed:
        yield "TLS", f"{total.tls_handshakes} handshakes, {total.tls_resumed} resumed; {total.tls_failed} failed"
    for listener in total.listeners:
        backlog = f", {listener.backlog} of {listener.backlog_limit} in the backlog" if listener.backlog >= 0 else ""
        yield "listens on", listener.address + backlog
    if total.log_lines_dropped:
        yield "log", f"{total.log_lines_dropped} lines lost"


def _requests(total: Totals) -> str:
    classes: dict[int, int] = {}
    for _, status, count in total.responses:
        classes[status // 100] = classes.get(status // 100, 0) + count
    parts = ", ".join(f"{kind}xx {count}" for kind, count in sorted(classes.items()))
    return f"{total.requests} handled" + (f": {parts}" if parts else "")


def summary_of(histogram: Histogram) -> str:
    """The median and the 99th percentile of a histogram that is not empty."""
    median, most = (histogram.quantile(share) or 0.0 for share in (0.5, 0.99))
    longest = max(histogram.bounds, default=0.0)
    if most < longest:
        return f"median {duration(median)}, 99 % within {duration(most)}"
    if median < longest:
        return f"median {duration(median)}, more than 1 % longer than {duration(longest)}"
    return f"more than half longer than {duration(longest)}"


def _process_rows(document: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    yield "PID", "SLOT", "PHASE", "", "GEN", "BUSY", "THREADS", "WAITING", "CONNS", "HANDLED", "MEMORY"
    for process in document["processes"]:
        stats = process["stats"]
        remark = (
            "" if process["responding"] else f"NO RESPONSE for {duration(process['age'])}" if stats else "no response"
        )
        row = [str(process["pid"]), str(process["slot"]), process["phase"], remark, str(process["generation"])]
        if stats is not None:
            names = ("busy", "threads", "waiting_requests", "connections", "handled")
            row += [str(stats.get(name, "")) for name in names] + [size(stats.get("rss", 0))]
        yield row


def _table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> Iterator[str]:
    """The lines of a table whose columns are as wide as they have to be; a column without any text is left out."""
    columns = max(len(row) for row in rows)
    full = [[*row, *[""] * (columns - len(row))] for row in rows]
    widths = [max(len(row[column]) for row in full) for column in range(columns)]
    for row in full:
        cells = [
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
            if width
        ]
        yield "  ".join(cells).rstrip()


def stacks_text(result: Mapping[str, Any], *, everything: bool) -> str:
    """The stacks of the threads, those that have run something for the longest time first.

    :param everything: also those of threads that run no request.
    """
    lines: list[str] = []
    for process in result["processes"]:
        if lines:
            lines.append("")
        lines.append(f"process {process['pid']}{_remark(process)}")
        if process.get("note"):
            lines.append(f"  {process['note']}")
        others = []
        for thread in process.get("threads", ()):
            if everything or thread["state"] not in ("", "idle", "leading"):
                lines += _thread(thread)
            else:
                others.append(thread["name"] or f"thread {thread['native_id']}")
        if others:
            lines.append(
                f"  {counted(len(others), 'thread')} without a request (--all shows them): {', '.join(others)}"
            )
    return _joined(lines)


def _remark(process: Mapping[str, Any]) -> str:
    if process.get("error"):
        return f": {process['error']}"
    if not process["responding"]:
        return ": no response; it is stopped, starting, or C code holds its GIL: py-spy dump --pid " + str(
            process["pid"]
        )
    return ""


def _thread(thread: Mapping[str, Any]) -> Iterator[str]:
    request = f" {thread['request']}" if thread["request"] else ""
    client = f" from {thread['client']}" if thread["client"] else ""
    seconds = f" for {duration(thread['seconds'])}" if thread["seconds"] else ""
    state = thread["state"].upper() if thread["state"] == "stuck" else thread["state"]
    yield f"  {thread['name'] or thread['native_id']}: {state or 'no worker'}{request}{client}{seconds}"
    for frame in thread["frames"][thread["skip"] :]:
        if not frame["file"]:
            yield f"    {frame['function']}"
            continue
        yield f'    File "{frame["file"]}", line {frame["line"]}, in {frame["function"]}'
        source = linecache.getline(frame["file"], frame["line"]).strip()
        if source:
            yield f"      {source}"


def connections_text(result: Mapping[str, Any]) -> str:
    """The open connections."""
    lines: list[str] = []
    for process in result["processes"]:
        if lines:
            lines.append("")
        total = f": {counted(process['total'], 'connection')}" if "total" in process else ""
        lines.append(f"process {process['pid']}{total}{_remark(process)}")
        rows: list[Sequence[str]] = [("CLIENT", "STATE", "WAITS FOR", "SECONDS LEFT", "UNSENT", "REQUEST")]
        for row in process.get("connections", ()):
            left = f"{row['seconds_left']:.1f}" if row["seconds_left"] >= 0 else ""
            state = row["state"] + (" TLS" if row["tls"] else "")
            unsent = size(row["unsent"]) if row["unsent"] else ""
            rows.append((row["client"], state, row["waits_for"], left, unsent, row["request"]))
        if len(rows) > 1:
            lines += [f"  {line}" for line in _table(rows, right=(3, 4))]
        if process.get("left_out"):
            lines.append(f"  {process['left_out']} more (--limit)")
    return _joined(lines)
