"""What people read about options: the text of ``-h`` and the reference page, both made from the table.

Pure; runs on the main thread.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from reserve.options.table import ENVIRONMENT, FILE, OPTIONS, Option
from reserve.paramtypes import Flag

__all__ = ["help_text", "reference_page"]

_USAGE = "reserve [server options] app NAME [app args...] [server options] [-- app args...]"
_INDENT = 32
_SIGNALS = """\
## Signals and exit codes

| signal | what it does |
|---|---|
| SIGTERM, SIGINT (Ctrl-C) | stops: requests in flight have `--stop-timeout` |
| the second of them | stops at once; what is in flight is broken off |
| SIGHUP | loads the certificates again; without TLS it changes nothing and says so |
| SIGHUP because the terminal has gone | as SIGTERM; under `nohup` nothing |

| exit code | what it means |
|---|---|
| 0 | stopped cleanly |
| 1 | could not start: an address in use, an application that cannot be imported, a signal before it served |
| 2 | wrong usage |
| 3 | the stop broke off requests, or left threads behind: `--stop-timeout` was over, or a second signal came |
| another | an application that calls `sys.exit` at its start keeps its code |

Threads of the application that are no daemons, and its `atexit` functions, have what is left of `--stop-timeout` when
all is served.
"""


def help_text(program: str = "", names: tuple[str, ...] = (), arguments: str = "") -> str:
    """The answer to ``-h``.

    :param program: the application so far (``http wsgi blog``) when the command line names one.
    :param names: reserve's own applications.
    :param arguments: what the application accepts itself, when it is one of ours.
    """
    parts = [f"usage: {_USAGE}", ""]
    if program:
        parts += [f"These are the options of the server, in front of the application {program}."]
        if not arguments or len(program.split()) > 2:
            parts += [f"To ask the application itself: reserve app {program} -- -h"]
        if arguments:
            parts += ["", f"app {program.split()[0]} takes:", textwrap.indent(arguments.rstrip(), "  ")]
    else:
        parts += [
            "NAME is one of reserve's own applications" + (f" ({', '.join(names)})" if names else "") + ", or a module",
            "with launch(args). For a WSGI application: reserve app http wsgi mysite.wsgi:application",
        ]
    for group, options in _groups():
        parts += ["", f"{group}:", *(_line(option) for option in options)]
    parts += [
        "",
        "Each option is also a variable (RESERVE_THREADS=8) and a key (threads = 8) in the table [server] of",
        "reserve.toml or [tool.reserve] of pyproject.toml; file < environment < command line.",
        "Exit codes: 0 stopped cleanly, 1 could not start, 2 wrong usage, 3 the stop broke off requests or left",
        "threads behind (--stop-timeout was over, or a second signal came).",
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
        "- In the environment: `RESERVE_THREADS=8`; several values of one option have commas between them. A name that",
        "  resembles an option's (`RESERVE_THREAD`) is an error; any other that begins with `RESERVE_` and is no",
        "  option is left to the application, and named in one line at the start.",
        "- In a file: `threads = 8` in the table `[server]` of `reserve.toml`, or `[tool.reserve]` of `pyproject.toml`",
        "  in the working directory; `--config FILE` names another. `head-timeout` may be written `head_timeout`.",
        "- File < environment < command line. Several values are replaced as a whole; `env` is merged name by name.",
        "- Times are seconds, or have a unit: `500ms`, `30s`, `2m`, `1h`, `1d`. Sizes are octets, or `64k`, `1m`, `1g`",
        "  (binary).",
    ]
    parts += ["", _SIGNALS.rstrip()]
    for group, options in _groups():
        parts += ["", f"## {group}", ""]
        for option in options:
            parts += _entry(option)
    return "\n".join(parts) + "\n"


def _groups() -> Iterator[tuple[str, list[Option]]]:
    for group in dict.fromkeys(option.group for option in OPTIONS):
        yield group, [option for option in OPTIONS if option.group == group]


def _spelled(option: Option) -> str:
    flags = sorted(option.flags, key=len) if option.short else option.flags
    return ", ".join(flags) + (f" {option.kind.metavar}" if option.kind.metavar else "")


def _default(option: Option) -> str:
    if option.default is None or option.default in ((), ""):
        return ""
    return option.kind.show(option.default)


def _line(option: Option) -> str:
    default = _default(option) if FILE in option.sources else ""
    text = option.help + (f" [{default}]" if default else "")
    left = f"  {_spelled(option)}"
    lines = textwrap.wrap(text, 110 - _INDENT)
    if len(left) < _INDENT - 1:
        lines[0] = left.ljust(_INDENT) + lines[0]
        rest = lines[1:]
        return "\n".join([lines[0], *(" " * _INDENT + line for line in rest)])
    return "\n".join([left, *(" " * _INDENT + line for line in lines)])


def _entry(option: Option) -> list[str]:
    entry = [f"### `{_spelled(option)}`", "", option.help, ""]
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
