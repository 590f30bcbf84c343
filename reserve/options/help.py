"""The text of ``-h`` and the reference page, both made from the table of options.

Pure; runs on the main thread.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from reserve.loader.otherservers import FOREIGN
from reserve.options.table import ENVIRONMENT, FILE, OPTIONS, Option
from reserve.paramtypes import Choice, Flag

__all__ = ["MIGRATE_HELP", "TASKS_HELP", "help_text", "reference_page", "short_help"]

_USAGE = "reserve [server options] app NAME [app args...] [server options] [-- app args...]"
_WIDTHS = (40, 120)
"""The narrowest and the widest text, in columns."""
_EXAMPLES = (
    ("reserve app http wsgi blog", "a small blog, to try it"),
    ("reserve app http wsgi mysite.wsgi:app", "app in mysite/wsgi.py"),
    ('reserve app http wsgi "shop:create_app()"', "what a factory makes"),
    ("reserve app echo --bind localhost:7000", "a protocol: {names}"),
    ("reserve stacks --control PATH", "where a server with --control PATH hangs; likewise status and top"),
)
_TASKS = (
    (
        "reserve check-config [server options] [app NAME]",
        "check the options and the certificates, and print each value with the place that it comes from; the exit code "
        "is that of a start",
    ),
    ("reserve config-schema", "print the JSON Schema of reserve.toml"),
    (
        "reserve systemd-unit [--name NAME] [--socket] [--into DIR] [server options] app NAME",
        "print the .service of systemd for these options, with few rights, and with --socket also the .socket, so that "
        "systemd opens the addresses and no client notices a restart; --into writes them into a directory",
    ),
    (
        "reserve status [--json] --control PATH",
        "what a server does that was started with --control PATH: processes, threads, requests, connections, memory. "
        "PATH may also be in the environment variable RESERVE_CONTROL, or in reserve.toml",
    ),
    (
        "reserve top [--interval S] [--sort KEY] [--filter TEXT] [--once [--json]] --control PATH",
        "a live view of a server in the terminal: what each thread does, since when and for which client, with rates "
        "and histograms; the key t shows the stack of a thread, h all keys; --once prints one page",
    ),
    (
        "reserve stacks [--pid PID] [--all] [--json] --control PATH",
        "where each thread of each process is: the Python stack, its request and since when, those first that have "
        "run for the longest time; --all: also threads without a request",
    ),
    (
        "reserve connections [--pid PID] [--limit N] [--json] --control PATH",
        "each open connection, what it waits for and for how long still",
    ),
    ("reserve reload --control PATH", "load the application and the options anew, as SIGHUP does"),
    (
        "reserve stop [--now] --control PATH",
        "stop the server after the requests in flight, as SIGTERM does; --now: abort them",
    ),
    (
        "reserve threads MIN:MAX --control PATH",
        "change the number of worker threads of each process until the next reload",
    ),
    ("reserve processes N --control PATH", "change the number of worker processes until the next reload"),
    (
        "reserve log-level LEVEL --control PATH",
        "change the lowest level of messages in the error log until the next reload",
    ),
    ("reserve log-reopen --control PATH", "open the log files again, as SIGUSR1 does"),
    (
        'reserve migrate FILE|"COMMAND"',
        "print the reserve.toml for a gunicorn.conf.py, a uwsgi.ini, or a command line of gunicorn, uwsgi, "
        "waitress-serve, cheroot, granian, hypercorn or uvicorn, and what has no equal; nothing is run",
    ),
)
"""The commands that start no server."""
TASKS_HELP = {line.split()[1]: f"usage: {line}\n\n{textwrap.fill(text, 80)}\n" for line, text in _TASKS}
"""What ``-h`` prints for each of them, by its name."""
MIGRATE_HELP = TASKS_HELP["migrate"]
_FREQUENT = ("bind", "threads", "config", "help-all", "request-timeout", "tls-cert")
"""The options of the short help; the first four if the help is about an application, too."""
_ADDRESSES = next(option.kind.allowed for option in OPTIONS if option.name == "bind")
_FORMS = {
    "ADDR": _ADDRESSES,
    "HOST:PORT[,PREFIX]": "the host and port of a server, and how the names that it gets begin; the default is reserve",
    "SIZE": "bytes, or with a binary suffix: 65536, 64k, 1m, 1g",
    "TIME": "seconds, or with a unit: 10, 1.5, 500ms, 30s, 2m, 1h, 1d",
    "N|MIN:MAX": "one number, or a minimum and a maximum: 8, 4:32",
    "N|keep": "a number, or keep: no change",
    "N|auto": "a number, or auto: as many as the processors that the process may use",
    "MODE": "octal permission bits: 660",
    "/PREFIX=DIR": "a path and a directory: /assets=build/assets",
    "MODULE:FUNCTION": "a function that is imported, and called later: shop.hooks:connect",
    "PATTERN": "names of files, as a shell writes them: *.html, templates/*.html; or a directory",
    "OWNER": "USER, USER:GROUP or :GROUP",
    "USER[:GROUP]": "a user, or a user and a group, as names or numbers",
    "FORMAT": "common, combined, json, or a pattern with atoms, as %(h)s",
    "DESTINATION": "-, a path, syslog:, syslog:HOST:PORT, syslog:/PATH or logger:NAME",
}
"""The forms of values, by the word that stands for them."""
_SIGNALS = """\
## Signals and exit codes

| signal | what the server does |
|---|---|
| SIGTERM, SIGINT (Ctrl-C) | it stops; requests in flight have `--stop-timeout` to finish |
| a second one of them | it stops at once and aborts the requests in flight |
| a third one, or any after the server has stopped | it ends at once; in its last moments signals are ignored |
| SIGHUP | new processes, with new code, configuration and certificates, take over; no request is lost |
| SIGUSR2 | as SIGHUP, and a new version of reserve takes over |
| SIGHUP because the terminal was closed | it stops, as after SIGTERM; under `nohup` as after any other SIGHUP |
| SIGQUIT | it stops at once, as after a second SIGTERM |
| any other | nothing that ends it without a line: [the table of all signals](signals.md) |

| exit code | meaning |
|---|---|
| 0 | the server has stopped, and no request was aborted |
| 1 | the server could not start: an address in use, an application that cannot be imported, a signal during the start |
| 2 | wrong usage |
| 3 | requests were aborted or threads left running: `--stop-timeout` was over, or a second signal or SIGQUIT came |
| 4 | the server could not go on: the application or a library in it has closed descriptors of the server |
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


def short_help(program: str = "", names: tuple[str, ...] = (), arguments: str = "", width: int = 80) -> str:
    """The output of ``-h``, which fits a screen of 24 lines of 80 columns.

    The parameters are those of :func:`help_text`.
    """
    width = min(max(width, _WIDTHS[0]), _WIDTHS[1])
    lines = _wrapped(f"usage: {_USAGE}", width, "    ")
    if program:
        lines += ["", *_about(program, arguments, width)]
    else:
        lines += ["", "examples:"]
        for command, text in _EXAMPLES:
            lines += _columns(f"  {command}", text.format(names=", ".join(names)), 45, width)
    lines += ["", "frequent server options:"]
    for option in OPTIONS:
        if option.name in (_FREQUENT[:4] if program else _FREQUENT):
            text = re.split(r"\. |; |: |, | \(combined", option.help)[0].rstrip(".") + _shown_default(option)
            lines += _columns(f"  {_synopsis(option)}", text, 26, width)
    lines += ["", *_wrapped(f"ADDR is {_ADDRESSES}.", width, "    ")]
    return "\n".join(lines) + "\n"


def help_text(program: str = "", names: tuple[str, ...] = (), arguments: str = "", width: int = 110) -> str:
    """The output of ``--help-all``.

    :param program: the application (``http wsgi blog``), if the command line names one.
    :param names: the names of reserve's own applications.
    :param arguments: the arguments that the application takes, if it is one of reserve's own.
    :param width: columns of a line; a word that is longer is not broken.
    """
    width = min(max(width, _WIDTHS[0]), _WIDTHS[1])
    lines = [*_wrapped(f"usage: {_USAGE}", width, "    "), ""]
    if program:
        lines += _about(program, arguments, width)
    else:
        own = f" ({', '.join(names)})" if names else ""
        text = f"NAME is one of reserve's own applications{own}, or a module with a function launch(args)."
        text += " For a WSGI application:"
        lines += [*_wrapped(text, width), *_wrapped("reserve app http wsgi mysite.wsgi:application", width, "    ")]
        lines += _wrapped("To write a small program for reserve.desk, to begin with:", width)
        lines += _wrapped("reserve desk new NAME", width, "    ")
    for group, options in _groups():
        lines += ["", f"{group}:"]
        for option in options:
            text = option.help
            if isinstance(option.kind, Choice):
                text += f" One of {option.kind.allowed}."
            default = _shown_default(option) if FILE in option.sources else ""
            lines += _columns(f"  {_synopsis(option)}", text + default, 32, width)
    lines += ["", "Commands that start no server:"]
    for line, text in _TASKS:
        lines += _columns(f"  {line}", text, 32, width)
    lines += ["", "Values:"]
    for metavar, form in _FORMS.items():
        lines += _columns(f"  {metavar}", form, 14, width)
    lines += [
        "",
        *_wrapped(
            "Each option is also an environment variable (RESERVE_THREADS=8), and a key (threads = 8) in the table "
            "[server] of reserve.toml or [tool.reserve] of pyproject.toml; file < environment < command line.",
            width,
        ),
        *_wrapped(
            "Exit codes: 0 stopped, and no request was aborted; 1 could not start; 2 wrong usage; 3 requests were "
            "aborted or threads left running (--stop-timeout was over, or a second signal came); 4 the server could "
            "not go on (its descriptors were closed).",
            width,
        ),
    ]
    return "\n".join(lines) + "\n"


def _about(program: str, arguments: str, width: int) -> list[str]:
    """The lines about the application that the command line names."""
    lines = _wrapped(f"These are the options of the server that runs the application {program}.", width)
    is_attribute = ":" in program and not program.endswith(":launch")  # it takes no arguments
    if (not arguments or len(program.split()) > 2) and not is_attribute:
        lines += _wrapped(f"For the options of the application: reserve app {program} -- -h", width)
    if arguments:
        lines += ["", f"app {program.split()[0]} takes:"]
        for line in _joined(arguments):
            left, _, text = line.partition("  ")
            lines += _columns(f"  {left}", text.strip(), 25, width)
    return lines


def _joined(arguments: str) -> list[str]:
    """The lines of the text about an application's arguments, one for each argument."""
    lines: list[str] = []
    for line in arguments.rstrip().splitlines():
        if line.startswith(" ") and lines:
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    return lines


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _columns(left: str, text: str, column: int, width: int) -> list[str]:
    """``left`` and beside it ``text``, from a column on; under it, if ``left`` or the text needs the room."""
    if width < column + 32:  # columns of words that are too narrow to be read
        column = 8
    indent = " " * column
    lines = [indent + line for line in _wrapped(text, width - column)]
    if lines and len(left) < column - 1:
        lines[0] = left.ljust(column) + lines[0].lstrip()
        return lines
    return [*_wrapped(left, width, "    "), *lines]


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
        "  is not an option is ignored, and a message at the start lists it, maybe with the one that was meant.",
        "- In a file: `threads = 8` in the table `[server]` of `reserve.toml`, or `[tool.reserve]` of `pyproject.toml`",
        "  in the working directory; `--config FILE` names another. `head-timeout` may be written `head_timeout`.",
        "- [Configuration](configuration.md) has examples; `reserve check-config` shows all values and their sources.",
        "- [Hooks](hooks.md) are functions that the server calls when something begins or ends.",
        "- File < environment < command line. All values of a repeatable option are replaced together; `env` is merged",
        "  name by name.",
        "- Times are seconds, or have a unit: `500ms`, `30s`, `2m`, `1h`, `1d`. Sizes are bytes, or have a binary",
        "  suffix: `64k`, `1m`, `1g`.",
    ]
    parts += ["", "## Contents", "", f"- {_link('Signals and exit codes')}"]
    for group, options in _groups():
        links = ", ".join(_link(_synopsis(option), f"`{option.flag}`") for option in options)
        parts += _wrapped(f"- {_link(group)}: {links}", 120, "  ")
    parts += [f"- {_link('Coming from another server')}", "", _SIGNALS.rstrip()]
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


def _link(heading: str, text: str = "") -> str:
    """A link to a heading of the page, as GitHub names its anchors."""
    anchor = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
    return f"[{text or heading}](#{anchor})"


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


def _shown_default(option: Option) -> str:
    default = _default(option)
    return f" [{default}]" if default else ""


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
