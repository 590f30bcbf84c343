"""The text of ``-h`` and the reference page, both made from the table of options.

Pure; runs on the main thread.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from reserve.loader.otherservers import FOREIGN
from reserve.options.table import ENVIRONMENT, FILE, OPTIONS, Option
from reserve.paramtypes import Flag

__all__ = ["help_text", "reference_page"]

_USAGE = "reserve [server options] app NAME [app args...] [server options] [-- app args...]"
_INDENT = 32
_WIDTH = 110
_SIGNALS = """\
## Signals and exit codes

| signal | what the server does |
|---|---|
| SIGTERM, SIGINT (Ctrl-C) | it stops; requests in flight have `--stop-timeout` to finish |
| a second one of them | it stops at once and aborts the requests in flight |
| a third one, or any after the server has stopped | it ends at once; in its last moments signals are ignored |
| SIGHUP | it loads the certificates again; without TLS it logs that there is nothing to reload |
| SIGHUP because the terminal was closed | it stops, as after SIGTERM; under `nohup` as after any other SIGHUP |
| SIGQUIT | it stops at once, as after a second SIGTERM |
| any other | nothing that ends it without a line: [the table of all signals](signals.md) |

| exit code | meaning |
|---|---|
| 0 | the server has stopped, and no request was aborted |
| 1 | the server could not start: an address in use, an application that cannot be imported, a signal during the start |
| 2 | wrong usage |
| 3 | requests were aborted or threads left running: `--stop-timeout` was over, or a second signal or SIGQUIT came |
| another | the application called `sys.exit` with it during the start |

After the last request, non-daemon threads of the application and its `atexit` functions have the rest of
`--stop-timeout` to finish. So do the destructors of its objects; if one of them hangs, the exit code is 1.
"""

_OTHER_SERVERS = """\
## Coming from another server

Options of gunicorn, uWSGI, waitress, granian, uvicorn and hypercorn, and what reserve has in their place. A message
about one of them proposes the command line with ours.

| their option | what reserve has |
|---|---|"""


def help_text(program: str = "", names: tuple[str, ...] = (), arguments: str = "") -> str:
    """The output of ``-h``.

    :param program: the application (``http wsgi blog``), if the command line names one.
    :param names: the names of reserve's own applications.
    :param arguments: the arguments that the application takes, if it is one of reserve's own.
    """
    parts = [f"usage: {_USAGE}", ""]
    if program:
        parts += [f"These are the options of the server that runs the application {program}."]
        is_attribute = ":" in program and not program.endswith(":launch")  # it takes no arguments
        if (not arguments or len(program.split()) > 2) and not is_attribute:
            parts += [f"For the options of the application: reserve app {program} -- -h"]
        if arguments:
            parts += ["", f"app {program.split()[0]} takes:", textwrap.indent(arguments.rstrip(), "  ")]
    else:
        parts += [
            "NAME is one of reserve's own applications" + (f" ({', '.join(names)})" if names else "") + ", or a module",
            "with a function launch(args). For a WSGI application: reserve app http wsgi mysite.wsgi:application",
        ]
    for group, options in _groups():
        parts += ["", f"{group}:", *(_line(option) for option in options)]
    parts += [
        "",
        "Each option is also an environment variable (RESERVE_THREADS=8), and a key (threads = 8) in the table",
        "[server] of reserve.toml or [tool.reserve] of pyproject.toml; file < environment < command line.",
        "Exit codes: 0 stopped, and no request was aborted; 1 could not start; 2 wrong usage; 3 requests were aborted",
        "or threads left running (--stop-timeout was over, or a second signal came).",
    ]
    return "\n".join(parts) + "\n"


def reference_page() -> str:
    """The page ``reserve/docs/options.md``."""
    parts = [
        "# Options",
        "",
        "Made from the table in `reserve/options/table.py` by `python -m reserve.options > reserve/docs/options.md`.",
        "",
        f"    {_USAGE}",
        "",
        "- On the command line: `--threads 8`, `--threads=8`; no abbreviations; the last of a repeated option wins.",
        "- In the environment: `RESERVE_THREADS=8`; several values of one option are separated by commas. A name that",
        "  resembles that of an option (`RESERVE_THREAD`) is an error. Any other name that begins with `RESERVE_` and",
        "  is not an option is ignored, and a message at the start lists it.",
        "- In a file: `threads = 8` in the table `[server]` of `reserve.toml`, or `[tool.reserve]` of `pyproject.toml`",
        "  in the working directory; `--config FILE` names another. `head-timeout` may be written `head_timeout`.",
        "- File < environment < command line. All values of a repeatable option are replaced together; `env` is merged",
        "  name by name.",
        "- Times are seconds, or have a unit: `500ms`, `30s`, `2m`, `1h`, `1d`. Sizes are bytes, or have a binary",
        "  suffix: `64k`, `1m`, `1g`.",
    ]
    parts += ["", _SIGNALS.rstrip()]
    for group, options in _groups():
        parts += ["", f"## {group}", ""]
        for option in options:
            parts += _entry(option)
    parts += ["", _OTHER_SERVERS]
    for entry in FOREIGN:
        names = ", ".join(f"`{name}`" for name in entry.names.split())
        advice = "; ".join(part for part in (entry.ours, entry.why) if part)
        advice = re.sub(r"--[a-z-]+( [A-Za-z]*[A-Z]+[:=A-Z]*)?", r"`\g<0>`", advice)  # with the name of its value
        parts.append(f"| {names} | {advice} |")
    return "\n".join(parts) + "\n"


def _groups() -> Iterator[tuple[str, list[Option]]]:
    for group in dict.fromkeys(option.group for option in OPTIONS):
        yield group, [option for option in OPTIONS if option.group == group]


def _synopsis(option: Option) -> str:
    flags = sorted(option.flags, key=len) if option.short else option.flags
    return ", ".join(flags) + (f" {option.kind.metavar}" if option.kind.metavar else "")


def _default(option: Option) -> str:
    if option.default is None or option.default in ((), ""):
        return ""
    return option.kind.format(option.default)


def _line(option: Option) -> str:
    """The lines of one option in the output of ``-h``."""
    default = _default(option) if FILE in option.sources else ""
    text = option.help + (f" [{default}]" if default else "")
    left = f"  {_synopsis(option)}"
    lines = textwrap.wrap(text, _WIDTH - _INDENT)
    if len(left) < _INDENT - 1:
        lines[0] = left.ljust(_INDENT) + lines[0]
        return "\n".join([lines[0], *(" " * _INDENT + line for line in lines[1:])])
    return "\n".join([left, *(" " * _INDENT + line for line in lines)])


def _entry(option: Option) -> list[str]:
    """The lines of one option on the reference page."""
    entry = [f"### `{_synopsis(option)}`", "", option.help, ""]
    if option.sources == ("command",):
        return entry
    if not isinstance(option.kind, Flag):
        entry.append(f"- Allowed: {option.kind.allowed}.")
    default = _default(option)
    entry.append(f"- Default: {f'`{default}`' if default else 'none'}. Unit: {option.kind.unit}.")
    if ENVIRONMENT in option.sources:
        entry.append(f"- Environment: `{option.variable}`.")
    if FILE in option.sources:
        entry.append(f"- File: `{option.name}`.")
    return [*entry, ""]
