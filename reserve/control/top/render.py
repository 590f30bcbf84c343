"""From a view to the lines of a screen. Pure: each line takes exactly the columns of the terminal.

Where the screen is small, the sections that matter least are left out, and the last line says which.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from reserve.control.top.cells import fit, printable
from reserve.control.top.histograms import bars
from reserve.control.top.model import Listener, Process, Thread, View
from reserve.control.top.state import Screen, State
from reserve.control.top.table import Column, Line, Look, Span, Style, Table, flow, text_of, wrapped
from reserve.control.top.units import per_second, short_bytes, short_count, short_duration, short_seconds
from reserve.control.totals import Histogram

__all__ = ["page", "screen"]

_LONG, _VERY_LONG = 5.0, 30.0
"""Seconds after which a run is shown as a warning, and as bad."""
_LEAST = 12, 3
"""Columns and lines below which there is no screen."""
_LEAST_BARS = 8
_PLAIN_PROCESSES = 4
"""Rows of processes that a screen shows before it takes more from the threads."""
_HELP = """\
reserve top: what the threads of the server do, the longest first

up, down, k, j    select a thread (also page up, page down, home, end)
Enter, t          show the stack of the selected thread
s                 sort by the next of time, process, thread, state, request,
                  client
/                 show only threads with these words in process, name, state,
                  request or client; Enter keeps the filter, Escape ends it
p                 pause, and go on
1                 show or hide the row of each process
h, ?              this help
q, Ctrl-C         quit

SINCE     how long the thread has done what it does, with its request
latency   from the request received to the response handed over
waited    from the request received to the thread that runs it
ran       from the call of the application to its end
          One bar for each bucket, from 1 ms to more than 30 s; p95 6ms: 95 of
          100 requests took no longer. All three are of the last 10 seconds.
refused   requests and connections that the server did not serve, by reason
backlog   connections that the system keeps until the server accepts them
Any key goes back."""


@dataclass(slots=True)
class _Section:
    """Lines that are shown or left out together."""

    name: str
    lines: list[Line]
    order: int
    """Those with the greatest numbers are left out first."""


@dataclass(slots=True)
class _Omitted:
    """What does not fit."""

    sections: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)

    def text(self) -> str:
        """``not shown: backlog, client``; empty if there is nothing."""
        names = dict.fromkeys([*self.sections, *self.columns])
        return f"not shown: {', '.join(names)}" if names else ""


def screen(view: View | None, state: State, look: Look, lines: int, *, problem: str = "") -> list[Line]:
    """Exactly ``lines`` lines for a terminal.

    :param view: None: no document has come yet.
    :param problem: why the server does not respond; empty: it does.
    """
    if look.columns < _LEAST[0] or lines < _LEAST[1]:
        shown = [_line("too small", look, Style.BAD)]
    elif state.screen is Screen.HELP:
        shown = [_line(text, look) for text in _HELP.split("\n")]
        if len(shown) > lines:
            shown[lines - 1 :] = [_line("the window is too small for the rest of the help", look, Style.HEADING)]
    elif state.screen is Screen.STACK and state.stack is not None:
        shown = _stack(state, look, lines)
    elif view is None:
        shown = [_line(printable(problem or "waiting for the server", unicode=look.unicode), look, Style.BAD)]
    else:
        shown = _live(view, state, look, lines, problem)
    return (shown + [_line("", look)] * lines)[:lines]


def page(view: View, state: State, look: Look) -> str:
    """Everything as plain text, as many lines as there are."""
    omitted = _Omitted()
    sections = [*_summary(view, look, "", paused=False), *_processes_section(view, look, omitted)]
    table, _ = _thread_table(view, state.threads(view), look, omitted)
    shown = [line for section in sections for line in section.lines] + table
    if omitted.text():
        shown.append(_line(omitted.text(), look))
    return "\n".join(text_of(line).rstrip() for line in shown)


# ---- the live screen ----


def _live(view: View, state: State, look: Look, height: int, problem: str) -> list[Line]:
    omitted = _Omitted()
    threads = state.threads(view)
    selected = state.selected(threads)
    sections = _summary(view, look, problem, paused=state.is_paused)
    processes = _processes_section(view, look, omitted) if state.shows_processes else []
    for section in processes:
        _shorten(section, view, max(_PLAIN_PROCESSES, height // 4), look)
    sections += processes
    room = height - 1  # the last line has the keys
    for section in sorted(sections, key=lambda section: -section.order):
        least = 1 + min(max(len(threads), 1), max(3, height // 4))  # of the table of threads
        if sum(len(section.lines) for section in sections) + least > room and section.order:
            sections.remove(section)
            omitted.sections.insert(0, section.name)
    shown = [line for section in sections for line in section.lines]
    rows = max(room - len(shown) - 1, 0)
    state.page = max(rows, 1)
    first = _first_row(selected, rows, len(threads))
    table, _ = _thread_table(view, threads[first : first + rows], look, omitted, selected - first)
    shown += table[: room - len(shown)]
    if not threads and rows:
        text = "no thread passes the filter" if view.threads else "there are no threads"
        shown.append(_line(text, look, Style.DIM))
    if len(threads) > rows > 0:
        omitted.sections.append(f"{len(threads) - rows} threads")
    shown += [_line("", look)] * (room - len(shown))
    return [*shown[:room], _footer(state, look, omitted)]


def _first_row(selected: int, rows: int, count: int) -> int:
    """The first row that is shown, so that the selected one is among them."""
    return min(max(selected - rows + 1, 0), max(count - rows, 0)) if rows else 0


def _footer(state: State, look: Look, omitted: _Omitted) -> Line:
    if state.typed is not None:
        return _line(f"filter: {printable(state.typed, unicode=look.unicode)}_", look, Style.HEADING)
    words = f":{printable(state.filter, unicode=look.unicode)}" if state.filter else ""
    pause = "p go on" if state.is_paused else "p pause"
    keys = ["t stack", f"s sort:{state.sort}", f"/ filter{words}", "h help", "q quit", pause, "1 processes"]
    missing = omitted.text()
    parts: list[Sequence[Span]] = [((key, Style.HEADING),) for key in keys]
    if missing:
        parts.insert(0, ((fit(missing, min(len(missing), look.columns), ellipsis=look.ellipsis), Style.HEADING),))
    return flow(parts, look, Style.HEADING)[0]


# ---- the lines above the tables ----


def _summary(view: View, look: Look, problem: str, *, paused: bool) -> list[_Section]:
    sections = [_Section("server", _head(view, look, problem, paused=paused), 0)]
    rates, totals = view.rates, view.totals
    requests: list[Sequence[Span]] = [
        _pair("requests", f"{per_second(rates.requests)}/s", Style.BOLD),
        _pair("5xx", f"{per_second(rates.errors)}/s", Style.BAD if rates.errors else Style.PLAIN),
        _pair("in", f"{short_bytes(rates.received)}/s"),
        _pair("out", f"{short_bytes(rates.sent)}/s"),
        _pair("accepted", f"{per_second(rates.accepted)}/s"),
        _pair("handshakes", f"{per_second(rates.handshakes)}/s"),
    ]
    room = look.columns - sum(sum(len(text) for text, _ in part) + 2 for part in requests)
    if room >= _LEAST_BARS and view.trend:
        requests.append(((bars(view.trend[-room:], unicode=look.unicode), Style.GOOD),))
    sections.append(_Section("requests", [flow(requests, look)[0]], 1))
    threads = [
        _pair("threads", f"{totals.busy} busy of {totals.threads}"),
        (("max ", Style.DIM), (str(totals.max_threads), Style.PLAIN)),
        _pair("waiting", str(totals.waiting)),
        _pair("upgraded", str(totals.upgraded)),
        _pair("stuck", str(totals.stuck), Style.BAD if totals.stuck else Style.PLAIN),
        _pair("queue", _of(totals.queued, totals.max_queued), Style.WARNING if totals.queued else Style.PLAIN),
    ]
    sections.append(_Section("threads", [flow(threads, look)[0]], 2))
    connections = [_pair("connections", _of(totals.connections, totals.max_connections))]
    connections += [_pair(name, str(getattr(totals, name))) for name in ("parked", "flushing", "lingering", "owned")]
    connections.append(_pair("reclaimed", short_count(totals.reclaimed)))
    sections.append(_Section("connections", [flow(connections, look)[0]], 6))
    memory = [
        _pair("memory", short_bytes(totals.rss)),
        _pair("buffers", _of_bytes(totals.buffered, totals.buffer_limit)),
        _pair("in files", _of_bytes(totals.spooled, totals.spool_limit)),
        _pair("lead: steals", short_count(totals.steals)),
    ]
    if any(count for count in totals.restarts.values()):
        memory.append(
            _pair("restarts", ", ".join(f"{count} {reason}" for reason, count in totals.restarts.items() if count))
        )
    sections.append(_Section("memory", [flow(memory, look)[0]], 8))
    sections.append(_Section("latency", [_distribution("latency", view.duration, view, look)], 3))
    sections.append(_Section("waited", [_distribution("waited ", view.queue, view, look)], 4))
    sections.append(_Section("ran", [_distribution("ran    ", view.application, view, look)], 9))
    sections.append(_Section("refused", [flow(_refusals(view), look)[0]], 5))
    listeners = [part for listener in totals.listeners for part in (_backlog(listener, look),)]
    if listeners:
        listeners[0] = (("backlog ", Style.DIM), *listeners[0])
        sections.append(_Section("backlog", [flow(listeners, look)[0]], 7))
    return sections


def _head(view: View, look: Look, problem: str, *, paused: bool) -> list[Line]:
    parts: list[Sequence[Span]] = [((_shown(view.totals.software or "reserve", look), Style.BOLD),)]
    reasons = "; ".join(view.totals.unhealthy)
    if problem:
        parts.append((("NO RESPONSE", Style.BAD),))
        reasons = f"the last known numbers; {problem}"
    elif view.totals.healthy:
        parts.append((("healthy", Style.GOOD),))
    else:
        parts.append((("NOT HEALTHY", Style.BAD),))
    if paused:
        parts.append((("PAUSED", Style.WARNING),))
    parts.append(_pair("up", short_duration(view.totals.uptime)))
    count = len(view.processes)
    parts.append(_pair("processes", f"{count} of {view.totals.wanted}" if view.has_supervisor else str(count)))
    if view.interval:
        parts.append(_pair("rates over", short_seconds(view.interval)))
    if view.newer_version:
        reasons = f"{reasons}; " if reasons else ""
        reasons += f"the server sends version {view.newer_version} of its numbers, newer than this program"
    lines = [flow(parts, look)[0]]
    if reasons:
        lines.append(_line(f"  {_shown(reasons, look)}", look, Style.BAD))
    return lines


def _distribution(name: str, histogram: Histogram, view: View, look: Look) -> Line:
    parts: list[Sequence[Span]] = [((f"{name} ", Style.DIM), ("-", Style.PLAIN))]
    if histogram.counts and histogram.bounds:
        first, last = (short_seconds(bound).replace(".0", "") for bound in (histogram.bounds[0], histogram.bounds[-1]))
        picture = bars(histogram.counts, unicode=look.unicode)
        parts = [((f"{name} {first} ", Style.DIM), (picture, Style.GOOD), (f" {last}", Style.DIM))]
    for share in (0.5, 0.95, 0.99):
        value = histogram.quantile(share)
        text = short_seconds(value) if value != float("inf") else f">{short_seconds(histogram.bounds[-1])}"
        style = Style.BAD if value is not None and value >= _VERY_LONG else Style.PLAIN
        parts.append(_pair(f"p{share * 100:.0f}", fit(text, 6), style))
    parts.append(((f"{short_count(histogram.count)} in {short_duration(view.window)}", Style.DIM),))
    return flow(parts, look)[0]


def _refusals(view: View) -> Iterator[Sequence[Span]]:
    is_first = True
    for refusal in sorted(view.refusals, key=lambda refusal: not refusal.total):  # those that fit are those that matter
        text = short_count(refusal.total)
        if refusal.rate:
            text += f" ({per_second(refusal.rate)}/s)"
        spans = _pair(refusal.reason, text, Style.WARNING if refusal.rate else Style.PLAIN)
        yield (("refused ", Style.DIM), *spans) if is_first else spans
        is_first = False


def _backlog(listener: Listener, look: Look) -> Sequence[Span]:
    address = _shown(listener.address, look)
    if listener.backlog < 0:
        return ((f"{address} ", Style.PLAIN), ("unknown", Style.DIM))
    text = _of(listener.backlog, max(listener.backlog_limit, 0))
    is_long = listener.backlog_limit > 0 and listener.backlog * 2 >= listener.backlog_limit
    style = Style.BAD if is_long else Style.WARNING if listener.backlog else Style.PLAIN
    return ((f"{address} ", Style.PLAIN), (text, style))


# ---- the tables ----

_PROCESS_COLUMNS = (
    Column("PID", 9, 5, right=True),
    Column("GEN", 2, 3, right=True),
    Column("PHASE", 8, 8),
    Column("BUSY", 7, 5, right=True),
    Column("QUEUED", 3, 6, right=True),
    Column("CONNS", 5, 5, right=True),
    Column("MEMORY", 4, 6, right=True),
    Column("REQ/S", 6, 6, right=True),
    Column("UP", 1, 6, right=True),
    Column("", 10, 0, 0),
)
_THREAD_COLUMNS = (
    Column("SINCE", 9, 6, 8, right=True),
    Column("STATE", 6, 7, 9),
    Column("PID", 3, 5, right=True),
    Column("THREAD", 5, 8, 14),
    Column("CLIENT", 4, 6, 21),
    Column("REQUEST", 10, 12, 0),
)


def _processes_section(view: View, look: Look, omitted: _Omitted) -> list[_Section]:
    table = Table(
        _PROCESS_COLUMNS,
        [_process_row(process, look) for process in view.processes],
        [_process_style(process) for process in view.processes],
    )
    lines, left_out = table.lines(look)
    omitted.columns += left_out
    return [_Section("processes", lines, 2)]


def _shorten(section: _Section, view: View, most: int, look: Look) -> None:
    """Keep at most ``most`` processes, those that do not respond before all others."""
    rows = section.lines[1:]
    if len(rows) <= most:
        return
    order = sorted(range(len(rows)), key=lambda index: (view.processes[index].is_responding, index))
    kept = sorted(order[: most - 1])
    more = _line(f"and {len(rows) - len(kept)} more processes", look, Style.DIM)
    section.lines = [section.lines[0], *(rows[index] for index in kept), more]


def _process_row(process: Process, look: Look) -> Sequence[str]:
    phase = process.phase if process.is_responding else f"not responding for {short_duration(process.age)}"
    return (
        str(process.pid),
        str(process.generation),
        _shown(phase, look),
        f"{process.busy}/{process.threads}",
        str(process.queued),
        str(process.connections),
        short_bytes(process.rss) if process.rss else "-",
        per_second(process.rate),
        short_duration(process.uptime),
        "",
    )


def _process_style(process: Process) -> Style:
    if not process.is_responding:
        return Style.BAD
    return Style.WARNING if process.stuck or process.queued else Style.PLAIN


def _thread_table(
    view: View, threads: Sequence[Thread], look: Look, omitted: _Omitted, selected: int = -1
) -> tuple[list[Line], list[str]]:
    table = Table(
        _THREAD_COLUMNS,
        [_thread_row(thread, look) for thread in threads],
        [_thread_style(thread) for thread in threads],
    )
    lines, left_out = table.lines(look, selected)
    omitted.columns += left_out
    return lines, left_out


def _thread_row(thread: Thread, look: Look) -> Sequence[str]:
    state = thread.state if thread.is_current else f"{thread.state}?"
    return (
        "" if thread.is_idle else _since(thread.seconds),
        _shown(state, look),
        str(thread.pid),
        _shown(thread.name.removeprefix("reserve-"), look),
        _shown(thread.client, look),
        _shown(thread.request, look),
    )


def _since(seconds: float) -> str:
    """Milliseconds at first: whole ones, because they change with each document."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    return f"{seconds:.1f}s" if seconds < 10 else short_duration(seconds)


def _thread_style(thread: Thread) -> Style:
    if thread.is_idle:
        return Style.DIM
    if thread.state in ("stuck",) or not thread.is_current:
        return Style.BAD
    if thread.state in ("waiting", "upgraded"):  # they are meant to take long
        return Style.PLAIN
    return Style.BAD if thread.seconds >= _VERY_LONG else Style.WARNING if thread.seconds >= _LONG else Style.PLAIN


# ---- the stack of a thread ----


def _stack(state: State, look: Look, height: int) -> list[Line]:
    stack = state.stack
    assert stack is not None
    thread = stack.thread
    what = f"{thread.request} for {short_duration(thread.seconds)}" if thread.request else thread.state
    title = _shown(f"{thread.name} of process {thread.pid}: {what}", look)
    if stack.error:
        body = [(piece, Style.BAD) for piece in wrapped(_shown(stack.error, look), look.columns)]
    elif stack.lines is None:
        body = [("asking the server", Style.DIM)]
    else:
        body = [
            (piece, Style.PLAIN if text.startswith("    ") else Style.BOLD)
            for text in stack.lines
            for piece in wrapped(printable(text.expandtabs(), unicode=look.unicode, most=2000), look.columns)
        ]
    room = max(height - 2, 1)
    state.page = room
    state.scroll = min(state.scroll, max(len(body) - room, 0))
    shown = [_line(title, look, Style.HEADING)]
    shown += [_line(text, look, style) for text, style in body[state.scroll : state.scroll + room]]
    shown += [_line("", look)] * (height - 1 - len(shown))
    more = len(body) - room - state.scroll
    keys = ["q back", "r again", "up and down scroll", *([f"{more} more lines"] if more > 0 else [])]
    return [*shown[: height - 1], flow([((key, Style.HEADING),) for key in keys], look, Style.HEADING)[0]]


# ---- pieces ----


def _line(text: str, look: Look, style: Style = Style.PLAIN) -> Line:
    """A line of one style; the text comes from :func:`printable` or has only ASCII."""
    return ((fit(text, look.columns, ellipsis=look.ellipsis), style),)


def _shown(text: str, look: Look) -> str:
    return printable(text, unicode=look.unicode)


def _pair(name: str, value: str, style: Style = Style.PLAIN) -> Sequence[Span]:
    return ((f"{name} ", Style.DIM), (value, style))


def _of(count: int, limit: int) -> str:
    return f"{count} of {limit}" if limit else str(count)


def _of_bytes(count: int, limit: int) -> str:
    return f"{short_bytes(count)} of {short_bytes(limit)}" if limit else short_bytes(count)
