"""The formats of the access log: ``common``, ``combined``, ``json``, and patterns with the atoms of gunicorn.

A format is compiled once, at the start, into one function that makes a line of a record. What a client has sent cannot
end a line, or a text of a JSON object: everything but printable ASCII is escaped. Lines are made on the log's thread.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii
from operator import itemgetter
from typing import Any

from reserve.apps._accesslog.record import DetailedRecord, Record
from reserve.protocol.dates import MONTHS
from reserve.suggest import nearest

try:
    from reserve.apps._accesslog import _lines
except ImportError:  # there was no compiler where this was installed, or it is another interpreter
    usual_lines = None
else:
    usual_lines = None if os.environ.get("RESERVE_PURE") == "1" else _lines.usual_lines

__all__ = ["ATOMS", "COMBINED", "NOTHING", "WORDS", "Format", "Needs", "compile_format", "format_record", "is_format"]

WORDS = ("common", "combined", "json")
"""The formats with names."""

_UNSAFE = re.compile(r"[^ !#-\[\]-~]")  # a quote, a backslash, controls, anything that is not ASCII


@dataclass(frozen=True, slots=True)
class Needs:
    """What a format shows beside the fields of a :class:`Record`: the driver collects nothing else. Immutable."""

    details: bool = False
    """A record has to be a :class:`DetailedRecord`."""
    written: bool = False
    """The line is put when the last byte of the response has left, or the connection has ended."""
    request_id: bool = False
    keys: tuple[str, ...] = ()
    """Keys of the environ, as it is before the application runs."""
    variables: tuple[str, ...] = ()
    """Keys of the environ, as it is after the application has run."""
    response_fields: tuple[str, ...] = ()
    """Names of fields of the response, in lower case."""


NOTHING = Needs()


@dataclass(frozen=True, slots=True)
class Format:
    """A compiled format. Immutable."""

    render: Callable[[Any], str]
    """Makes the line of a record, without its end: a :class:`Record` or a :class:`DetailedRecord`."""
    needs: Needs = NOTHING
    encode_usual: Callable[[Sequence[Any]], bytes] | None = None
    """:meth:`encode` at a lower price; None: ``render`` makes each line."""

    def encode(self, records: Sequence[Any]) -> bytes:
        """The lines of records, with their ends. On the log's thread.

        :param records: at least one, as it waited: plain tuples, or with details if the format needs those.
        """
        if self.encode_usual is not None:
            return self.encode_usual(records)
        render = self.render
        if self.needs.details:
            lines = [render(record) for record in records]
        else:
            lines = [render(Record._make(record)) for record in records]
        return _encoded(lines)


def _encoded(lines: Sequence[str]) -> bytes:
    return "\n".join((*lines, "")).encode("utf-8", "backslashreplace")


# ---- texts ----


class _Escapes(dict[int, str]):
    """For ``str.translate``: every character as the log shows it. Complete for latin-1; others are computed."""

    def __missing__(self, code: int) -> str:
        return f"\\x{code:02x}"


_ESCAPES = _Escapes({code: f"\\x{code:02x}" if _UNSAFE.match(chr(code)) else chr(code) for code in range(256)})


def _escape(text: str) -> str:
    """Replace every unsafe character by a hexadecimal escape, so that a client cannot put a line end, a quote or a
    terminal code into the log.
    """
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return text.translate(_ESCAPES)


_second: tuple[int, int, str] = (-1, 0, "")
"""The second that was formatted last, the time zone and the text. Several log threads may use it, since it is replaced
as a whole.
"""


def _timestamp(seconds: float) -> str:
    global _second
    second = int(seconds)
    known = _second
    if known[0] == second and known[1] == time.timezone:
        return known[2]
    local = time.localtime(second)
    offset = local.tm_gmtoff // 60
    sign = "-" if offset < 0 else "+"
    text = (
        f"{local.tm_mday:02d}/{MONTHS[local.tm_mon - 1]}/{local.tm_year}:"
        f"{local.tm_hour:02d}:{local.tm_min:02d}:{local.tm_sec:02d} "
        f"{sign}{abs(offset) // 60:02d}{abs(offset) % 60:02d}"
    )
    _second = second, time.timezone, text
    return text


def _iso(seconds: float) -> str:
    """RFC 3339, in UTC, with milliseconds."""
    utc = time.gmtime(seconds)
    milliseconds = int(seconds % 1 * 1000)
    return (
        f"{utc.tm_year:04d}-{utc.tm_mon:02d}-{utc.tm_mday:02d}T{utc.tm_hour:02d}:{utc.tm_min:02d}:{utc.tm_sec:02d}"
        f".{milliseconds:03d}Z"
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.6f}"


def _parts(record: Record | DetailedRecord) -> tuple[str, str, str]:
    """(method, target, version). What a cut request line does not have is empty; a malformed one that has no parts is
    all target.
    """
    if record.method:
        return record.method, record.target, record.version
    method, blank, rest = record.target.partition(" ")
    if not blank:
        return "", record.target, ""
    target, _, version = rest.rpartition(" ")
    if not version.startswith("HTTP/"):
        target, version = rest, ""
    return method, target, version


# ---- the formats with names ----


def format_record(record: Record | DetailedRecord) -> str:
    """One line of the combined format, without its line end."""
    return (
        f'{_escape(record.host) or "-"} - - [{_timestamp(record.timestamp)}] "{_escape(record.request)}" '
        f'{record.status} {record.bytes_sent or "-"} "{_escape(record.referer) or "-"}" '
        f'"{_escape(record.user_agent) or "-"}"'
    )


_STATUSES = [f'" {status} ' for status in range(1000)]
"""By status: it and what is on both sides of it in a line. An element of a list costs less than a text of a number."""
_SIZES = ["-", *(str(size) for size in range(1, 1024))]
"""By size, for the small ones."""
_SAFE = bytes(code for code in range(32, 127) if chr(code) not in '"\\')
_OWN = b'"' * 6 + b"\n"
"""What is left of a line of the combined format without the safe characters, if no text in it has any other."""
_time_of = itemgetter(0)


def _combined(records: Sequence[Any]) -> bytes:
    """What :func:`format_record` makes of each record. Where ``_lines.c`` was compiled, and all are usual, that makes
    them (not with ``RESERVE_PURE=1``). Otherwise the usual ones cost less than half of that: the texts of one
    second and of numbers are known, and all lines are looked at together for characters that have to be escaped.
    """
    if usual_lines is not None:
        second = float(int(records[0][0]))
        data = usual_lines(list(records), second, f' - - [{_timestamp(second)}] "'.encode())
        if data is not None:
            return data
    times = sorted(map(_time_of, records))  # they are nearly in order, and so this costs less than min() and max()
    begin = float(int(times[0]))
    end = begin + 1
    if times[-1] >= end:
        first = [record for record in records if record[0] < end]
        return _combined(first) + _combined([record for record in records if record[0] >= end])
    time_text, statuses, sizes = f' - - [{_timestamp(begin)}] "', _STATUSES, _SIZES
    try:
        lines = [
            f"{host or '-'}{time_text}{method} {target} {version}{statuses[status]}"
            f'{sizes[size] if size < 1024 else size} "{referer or "-"}" "{user_agent or "-"}"\n'
            if method
            else ""
            for _, host, method, target, version, status, size, referer, user_agent in records
        ]
    except IndexError:  # a status that HTTP does not have
        return _encoded([format_record(Record._make(record)) for record in records])
    text = "".join(lines)
    if text.isascii():
        data = text.encode()
        if data.translate(None, _SAFE) == _OWN * len(lines):
            return data
    for index, line in enumerate(lines):
        if not (line.isascii() and line[:-1].isprintable() and "\\" not in line and line.count('"') == 6):
            lines[index] = f"{format_record(Record._make(records[index]))}\n"
    return "".join(lines).encode()


def _common(record: Record | DetailedRecord) -> str:
    return (
        f'{_escape(record.host) or "-"} - - [{_timestamp(record.timestamp)}] "{_escape(record.request)}" '
        f"{record.status} {record.bytes_sent or '-'}"
    )


def _quoted(text: str) -> str:
    """A text in JSON, in ASCII; bytes that are UTF-8 as the characters that they are."""
    if not text.isascii():
        with suppress(UnicodeError):  # shown as latin-1
            text = text.encode("latin-1").decode("utf-8")
    return encode_basestring_ascii(text).replace("\x7f", "\\u007f")


def _or_null(text: str) -> str:
    return _quoted(text) if text else "null"


def _number(value: float | None) -> str:
    return "null" if value is None else f"{value:.6f}"


_PID = os.getpid  # of a forked worker it is another one


def _json(record: DetailedRecord) -> str:
    details = record.details
    method, target, version = _parts(record)
    return (
        f'{{"time":"{_iso(record.timestamp)}","client":{_or_null(record.host)},'
        f'"method":{_or_null(method)},'
        f'"target":{_or_null(target)},"protocol":{_or_null(version)},"status":{record.status},'
        f'"bytes":{record.bytes_sent},"received":{details.received},"sent":{details.head_sent + record.bytes_sent},'
        f'"referer":{_or_null(record.referer)},"user_agent":{_or_null(record.user_agent)},'
        f'"frontend":{_number(details.frontend)},"queue":{_number(details.queue)},"app":{_number(details.app)},'
        f'"ttfb":{_number(details.ttfb)},"write":{_number(details.write)},"duration":{_number(details.duration)},'
        f'"tls":{_or_null(details.tls)},"thread":{_or_null(details.thread)},"process":{_PID()},'
        f'"request_id":{_or_null(details.request_id)},"traceparent":{_or_null(details.traceparent)}}}'
    )


# ---- patterns ----

_Show = Callable[[Any], object]

_START_KEY, _TRACE_KEY, _ID_KEY, _USER_KEY = (
    "HTTP_X_REQUEST_START",
    "HTTP_TRACEPARENT",
    "HTTP_X_REQUEST_ID",
    "HTTP_AUTHORIZATION",
)


@dataclass(frozen=True, slots=True)
class _Atom:
    show: _Show
    needs: Needs = field(default=NOTHING)


def _timed(show: _Show, **needs: Any) -> _Atom:
    return _Atom(show, Needs(details=True, **needs))


def _target(record: Record) -> str:
    return _escape(_parts(record)[1])


def _duration(factor: float) -> _Show:
    def show(record: DetailedRecord) -> str:
        duration = record.details.duration
        return "-" if duration is None else str(int(duration * factor))

    return show


ATOMS: Mapping[str, _Atom] = {
    "h": _Atom(lambda record: _escape(record.host) or "-"),
    "l": _Atom(lambda record: "-"),
    "u": _timed(lambda record: _escape(record.details.user) or "-", keys=(_USER_KEY,)),
    "t": _Atom(lambda record: f"[{_timestamp(record.timestamp)}]"),
    "r": _Atom(lambda record: _escape(record.request)),
    "m": _Atom(lambda record: _escape(_parts(record)[0]) or "-"),
    "U": _Atom(lambda record: _target(record).partition("?")[0] or "-"),
    "q": _Atom(lambda record: _target(record).partition("?")[2]),
    "H": _Atom(lambda record: _escape(_parts(record)[2]) or "-"),
    "s": _Atom(lambda record: record.status),
    "B": _Atom(lambda record: record.bytes_sent),
    "b": _Atom(lambda record: record.bytes_sent or "-"),
    "f": _Atom(lambda record: _escape(record.referer) or "-"),
    "a": _Atom(lambda record: _escape(record.user_agent) or "-"),
    "T": _timed(_duration(1)),
    "D": _timed(_duration(1_000_000)),
    "M": _timed(_duration(1000)),
    "L": _timed(lambda record: _seconds(record.details.duration)),
    "p": _Atom(lambda record: f"<{_PID()}>"),
    "queue": _timed(lambda record: _seconds(record.details.queue)),
    "app": _timed(lambda record: _seconds(record.details.app)),
    "ttfb": _timed(lambda record: _seconds(record.details.ttfb)),
    "write": _timed(lambda record: _seconds(record.details.write), written=True),
    "duration": _timed(lambda record: _seconds(record.details.duration)),
    "frontend": _timed(lambda record: _seconds(record.details.frontend), keys=(_START_KEY,)),
    "received": _timed(lambda record: record.details.received),
    "sent": _timed(lambda record: record.details.head_sent + record.bytes_sent),
    "tls": _timed(lambda record: _escape(record.details.tls) or "-"),
    "thread": _timed(lambda record: _escape(record.details.thread) or "-"),
    "process": _Atom(lambda record: _PID()),
    "request_id": _timed(lambda record: _escape(record.details.request_id) or "-", request_id=True),
    "traceparent": _timed(lambda record: _escape(record.details.traceparent) or "-", keys=(_TRACE_KEY,)),
}
"""The atoms without a name in braces."""

_JSON_NEEDS = Needs(details=True, written=True, request_id=True, keys=(_START_KEY, _TRACE_KEY))
COMBINED = Format(format_record, encode_usual=_combined)
_NAMED = {"common": Format(_common), "combined": COMBINED, "json": Format(_json, _JSON_NEEDS)}
_DIRECTIVE = re.compile(r"%(?:\(([^()]*)\)s|(%)|)")
_VARIABLE = re.compile(r"\{([^{}]+)\}([ioe])")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def compile_format(text: str) -> Format:
    """Make the format that a word or a pattern stands for.

    :param text: ``common``, ``combined``, ``json``, or a pattern such as ``%(h)s "%(r)s" %(s)s %(queue)s``.
    :raises ValueError: says what is wrong with it, and what was probably meant.
    """
    if text in _NAMED:
        return _NAMED[text]
    shows: list[_Show] = []
    needs = NOTHING
    template: list[str] = []
    at = 0
    for match in _DIRECTIVE.finditer(text):
        template.append(text[at : match.start()])
        at = match.end()
        if match[2]:
            template.append("%%")
        elif match[1] is None:
            shown = text[match.start() : match.start() + 12]
            raise ValueError(f"after % in {shown!r} there is no atom, as %(h)s; a percent sign is %%")
        else:
            atom = _atom(match[1])
            shows.append(atom.show)
            needs = _united(needs, atom.needs)
            template.append("%s")
    template.append(text[at:])
    joined = "".join(template)
    if not shows:
        meant = nearest(text, WORDS, similarity=0.6)
        raise ValueError(f"it has no atom, as %(h)s{f'; did you mean {meant!r}?' if meant else ''}")
    if not joined.isprintable() and not joined.replace("\t", " ").isprintable():
        raise ValueError("it has a character that cannot be printed, and a line is one line")
    functions = tuple(shows)
    return Format(lambda record: joined % tuple([show(record) for show in functions]), needs)


def _atom(name: str) -> _Atom:
    atom = ATOMS.get(name)
    if atom is not None:
        return atom
    match = _VARIABLE.fullmatch(name)
    if match is None:
        if "{" in name:
            meant = f"{{{name.strip('{').partition('}')[0]}}}i"
        else:
            meant = nearest(name, ATOMS) or nearest(name, ATOMS, similarity=0.4) or _by_case(name)
        raise ValueError(f"there is no atom %({name:.60})s; the nearest is %({meant})s")
    word, kind = match[1], match[2]
    if kind == "e":
        return _timed(lambda record: _escape(record.details.variables.get(word, "")) or "-", variables=(word,))
    if not _NAME.fullmatch(word):
        raise ValueError(f"{word[:60]!r} is no name of a header field")
    if kind == "o":
        lower = word.lower()
        return _timed(lambda record: _escape(record.details.response_fields.get(lower, "")) or "-",
                      response_fields=(lower,))  # fmt: skip
    key = f"HTTP_{word.upper().replace('-', '_')}"
    key = key.removeprefix("HTTP_") if key in ("HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH") else key
    return _timed(lambda record: _escape(record.details.before.get(key, "")) or "-", keys=(key,))


def _by_case(name: str) -> str:
    """An atom of the same letter in the other case, else the one that every pattern has."""
    return next((known for known in ATOMS if known.lower() == name.lower()), "h")


def _united(one: Needs, other: Needs) -> Needs:
    return Needs(
        one.details or other.details,
        one.written or other.written,
        one.request_id or other.request_id,
        tuple(dict.fromkeys((*one.keys, *other.keys))),
        tuple(dict.fromkeys((*one.variables, *other.variables))),
        tuple(dict.fromkeys((*one.response_fields, *other.response_fields))),
    )


def is_format(text: str) -> bool:
    """Whether a text is a format. Raises ValueError if it is none, with the reason."""
    compile_format(text)
    return True
