"""The page for an exception of an application that ``--debug`` shows to its developer, and the parts of one.

The worker that ran the application calls it. Whatever is called on an object of the application may raise anything, so
only the exception's text is asked for, guarded, and values of variables are never shown: they may be secrets, and their
``repr`` is code of the application. Everything is text until it is escaped. No page has a script, or offers to run one.
"""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from reserve.errors import Frame, RequestTimeout, describe_exception, list_frames, safe_str, type_name

__all__ = ["HEADERS", "ErrorDescription", "ShownFrame", "debug_page", "describe_error"]

_CONTEXT = 3
"""Lines of source that are shown before and after the one of a frame."""
_MAX_FRAMES = 20
_MAX_TRACE = 100_000
"""Characters of a traceback that are shown: one of endless recursion through two functions is long."""
_MAX_HEADING = 2000
"""Characters of the message of an exception that are shown above its traceback: it may hold what a form has sent."""
_MAX_LINE = 500
"""Characters of a line of source: a file may be generated."""
_MAX_VALUE = 500
"""Characters of one value of the request."""
_HIDDEN = ("HTTP_AUTHORIZATION", "HTTP_COOKIE", "HTTP_PROXY_AUTHORIZATION")
"""What lets somebody act for a user: pages are copied into bug reports."""
_REQUEST = (
    "SERVER_PROTOCOL",
    "QUERY_STRING",
    "CONTENT_TYPE",
    "CONTENT_LENGTH",
    "REMOTE_ADDR",
    "SCRIPT_NAME",
    "PATH_INFO",
)

HEADERS = [
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
]
"""Fields of the response, beside Content-Type: a page of another site gets nothing of it."""


class ShownFrame(NamedTuple):
    """One frame with the lines of source around it."""

    path: str
    number: int
    name: str
    lines: list[tuple[int, str]]
    """Numbers and texts; empty if there is no source."""


class ErrorDescription(NamedTuple):
    """An exception, as text."""

    heading: str
    """Its type and its message, cut."""
    frames: list[ShownFrame]
    """The innermost first, without those of the server."""
    trace: str
    """The whole traceback, with those of its causes, cut."""


def describe_error(error: BaseException, own_folders: Sequence[str]) -> ErrorDescription:
    """Describe an exception. Raises MemoryError, and RequestTimeout when the time of the run is over.

    :param own_folders: paths with a slash at the end; frames in files below them are left out, if there are others.
    """
    frames = list_frames(error)
    others = [frame for frame in frames if not frame[0].startswith(tuple(own_folders))] or frames
    trace = describe_exception(error)
    if len(trace) > _MAX_TRACE:
        trace = f"{trace[: _MAX_TRACE // 2]}\n...\n{trace[-_MAX_TRACE // 2 :]}"
    text = safe_str(error)
    heading = f"{type_name(error)}: {text}" if text else type_name(error)
    if len(heading) > _MAX_HEADING:
        heading = f"{heading[:_MAX_HEADING]}..."
    return ErrorDescription(heading, [_with_source(frame) for frame in others[: -_MAX_FRAMES - 1 : -1]], trace)


def _with_source(frame: Frame) -> ShownFrame:
    path, number, name = frame
    lines = []
    try:
        for at in range(max(1, number - _CONTEXT), number + _CONTEXT + 1):
            text = linecache.getline(path, at).rstrip()
            if text or at == number:
                lines.append((at, text if len(text) <= _MAX_LINE else f"{text[:_MAX_LINE]}..."))
    except RequestTimeout:
        raise
    except BaseException:  # of a loader of the application, which has to give the source
        lines = []
    return ShownFrame(path, number, name, lines)


def debug_page(error: BaseException, environ: Mapping[str, Any], *, html: bool) -> bytes:
    """The body of the response, in UTF-8. Raises as :func:`describe_error`.

    :param environ: of the request; values that the application has replaced by something else than text are left out.
    :param html: otherwise plain text, for a client that is no browser.
    """
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    own_folders = [os.path.join(folder, part, "") for part in ("engine", "gateways", os.path.join("apps", "http"))]
    described = describe_error(error, own_folders)
    request = _describe_request(environ)
    text = _html(described, request) if html else _plain(described, request)
    return text.encode("utf-8", "backslashreplace")


def _describe_request(environ: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values; the first one is the request itself."""

    def value_of(key: str) -> str:
        value = environ.get(key)
        if type(value) is not str:
            return ""
        if key in _HIDDEN:
            return "(not shown)"
        return value if len(value) <= _MAX_VALUE else f"{value[:_MAX_VALUE]}..."

    target = value_of("REQUEST_URI") or value_of("SCRIPT_NAME") + value_of("PATH_INFO")
    fields = sorted(key for key in list(environ) if type(key) is str and key.startswith("HTTP_"))
    shown = [("request", f"{value_of('REQUEST_METHOD')} {target}")]
    for key in (*_REQUEST, *fields):
        if value := value_of(key):
            name = key.removeprefix("HTTP_").replace("_", "-").title() if key.startswith("HTTP_") else key
            shown.append((name, value))
    return shown


def _plain(error: ErrorDescription, request: Sequence[tuple[str, str]]) -> str:
    lines = "".join(f"{name}: {_on_one_line(value)}\n" for name, value in request)
    return f"{error.trace}\n\n{lines}\n{_NOTE}\n"


def _html(error: ErrorDescription, request: Sequence[tuple[str, str]]) -> str:
    frames = "".join(map(_html_of_frame, error.frames))
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>\n" for name, value in request)
    title = escape(_on_one_line(error.heading)[:100])
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>{_STYLE}</style></head>
<body><h1>{escape(error.heading)}</h1>
<p>{escape(request[0][1])}</p>
{frames}<h2>The whole traceback</h2>
<pre>{escape(error.trace)}</pre>
<h2>The request</h2>
<table>
{rows}</table>
<hr><footer>{escape(_NOTE)} Python {escape(sys.version.split()[0])}.</footer>
</body></html>
"""


def _html_of_frame(frame: ShownFrame) -> str:
    lines = []
    for number, text in frame.lines:
        line = f"{number:5}  {escape(text)}"
        lines.append(f"<mark>{line}</mark>\n" if number == frame.number else f"{line}\n")
    place = f"{escape(frame.path)}, line {frame.number}, in <code>{escape(frame.name)}</code>"
    return f'<div class="frame"><p>{place}</p>\n<pre>{"".join(lines)}</pre></div>\n'


def _on_one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)


_NOTE = "reserve --debug shows this to clients on this machine only; all others get a plain 500."
_STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 3rem auto; padding: 0 1rem; color: #222 }
h1 { font-size: 1.4rem; white-space: pre-wrap; overflow-wrap: anywhere } h2 { font-size: 1.1rem; margin-top: 2rem }
pre { overflow-x: auto; background: #f6f6f4; padding: 1rem; line-height: 1.4 }
.frame pre { padding: .5rem 1rem; margin-top: 0 } .frame p { margin-bottom: .3rem }
mark { background: #ffe2b8; display: inline-block; width: 100% }
th { text-align: left; vertical-align: top; padding-right: 1rem; font-weight: 600 } td { overflow-wrap: anywhere }
hr { border: 0; border-top: 1px solid #ccc; margin-top: 2rem } footer { color: #777 }
"""
