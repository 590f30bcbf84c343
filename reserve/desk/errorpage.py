"""The pages for what goes wrong: their templates and texts, and how an exception is shown to the one who wrote it.

What :func:`describe_trace` returns shows source code; :class:`reserve.desk.Response` sends it to a browser only for a
request whose ``debug`` is true. Values of variables are never shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reserve.desk.content import Fragment
from reserve.desk.templates import Template
from reserve.gateways.debugpage import ShownFrame, describe_error

__all__ = ["DETAILS", "GENERIC", "GRIPE", "STACK_TRACE", "describe_trace"]

DETAILS: dict[int, str] = {
    200: "It is done.",
    400: "The browser sent something that this program cannot use.",
    403: "This is not allowed.",
    404: "There is no page at this address.",
    405: "This page cannot do that.",
    413: "That is more than this program accepts.",
    500: "The program has made a mistake. Its log says which one.",
    501: "This program does not know that kind of request.",
    503: "The program cannot do this at the moment.",
}
"""What a generic page says about its code, where it has nothing else to say. HTML."""

GENERIC = Template(
    """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 3rem auto; padding: 0 1rem; color: #222 }
h1 { font-weight: 600 } hr { border: 0; border-top: 1px solid #ccc; margin-top: 2rem } footer { color: #777 }
pre { overflow-x: auto; background: #f6f6f4; padding: 1rem; line-height: 1.4 }
.frame pre { padding: .5rem 1rem; margin-top: 0 }
.frame mark { background: #ffe2b8; display: inline-block; width: 100% }
</style></head>
<body><h1>{title}</h1>
{.body}
<hr><footer>reserve</footer>
</body></html>
""",
    name="Response.TEMPLATE_GENERIC",
)
GRIPE = Template(
    """<p>Something went wrong with {command} <a href="{url}">{url}</a>.</p>
""",
    name="Response.TEMPLATE_GRIPE",
)
STACK_TRACE = Template(
    """<h2>{error}</h2>
<p>{handler}</p>
{.frames}
<details><summary>The whole traceback</summary><pre>{trace}</pre></details>
""",
    name="Response.TEMPLATE_STACK_TRACE",
)
_FRAME = Template(
    """<div class="frame"><p>{path}, line {number}, in <code>{name}</code></p>
<pre>{.lines}</pre></div>
""",
    name="frame",
)
_LINE = Template("{number}  {text}\n", name="line")
_MARKED_LINE = Template("<mark>{number}  {text}</mark>\n", name="marked line")

_HERE = str(Path(__file__).parent)


def describe_trace(error: BaseException, handler: str) -> dict[str, Any]:
    """What ``Response.TEMPLATE_STACK_TRACE`` shows of an exception.

    :param handler: the function or class that the router chose; empty if it is not known.
    :return: ``trace``, ``error`` and ``handler``, which are text, and ``frames``, which is HTML: the lines of source
        where it happened, the innermost first, without those of desk itself.
    """
    described = describe_error(error, [_HERE])
    return {
        "trace": described.trace,
        "error": described.heading,
        "frames": Fragment([_show(frame) for frame in described.frames]),
        "handler": f"The handler was {handler}." if handler else "",
    }


def _show(frame: ShownFrame) -> Fragment:
    lines = [
        (_MARKED_LINE if number == frame.number else _LINE)(number=f"{number:5}", text=text)
        for number, text in frame.lines
    ]
    return _FRAME.sub({"path": frame.path, "number": frame.number, "name": frame.name, "lines": Fragment(lines)})
