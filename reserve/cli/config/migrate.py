"""``reserve migrate``: from the configuration of another server to a ``reserve.toml``.

Runs on the main thread; reads one file, and runs nothing of it. Every option of the other server is either a line of
the result or a comment that says why it is not. The table of :mod:`reserve.loader.otherservers` says what is equal.
Each value is checked like one of a file, so that the result is accepted by ``reserve check-config``. Values that may be
secrets (those of ``env``, and of options without an equal) are not printed.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence

from reserve.cli.config.configuration import Configuration, Setting
from reserve.cli.config.gunicornfile import read_gunicorn_file
from reserve.cli.config.serverlines import names_server, read_server_line
from reserve.cli.config.uwsgifile import read_uwsgi_file
from reserve.errors import StartupError, UsageError
from reserve.loader.otherservers import (
    BY_NAME,
    DEFAULT_ADDRESSES,
    NOT_READ,
    OWN_NAMES,
    ForeignOption,
    address_of,
)
from reserve.options.filevalues import file_value, toml_text
from reserve.options.sources import convert, read_bounded
from reserve.options.table import ADDRESSES, FILE, FLAGS, USUAL_ADDRESS, Option
from reserve.paramtypes import Flag, Octal
from reserve.sockets.addresses import parse_address

__all__ = ["migrate", "migrated"]

_USAGE = (
    'reserve migrate takes a file (gunicorn.conf.py, uwsgi.ini) or a command line: reserve migrate "gunicorn shop:app"'
)
_WIDTH = 40
"""The column of the comments."""
_MAX_SHOWN = 200
"""Characters of a reason in a comment."""
_PROTOCOLS = {"--socket": "uwsgi", "-s": "uwsgi", "--uwsgi-socket": "uwsgi", "--fastcgi-socket": "fcgi",
              "--scgi-socket": "scgi"}  # fmt: skip
"""The application of reserve for the protocol of a socket of uWSGI; all others are HTTP."""
_MODULE = ("--module", "--wsgi-file", "--file", "-w")
_FALSE = ("0", "false", "no", "off", "none", "")


def migrate(words: Sequence[str], directory: str) -> str:
    """The text of the ``reserve.toml`` for a file or a command line.

    :param words: the arguments of the command: the name of a file, or a command line in one word or in several.
    :param directory: the directory in which the file is looked for.
    :raises UsageError: it is neither, or not of a server that is known.
    :raises StartupError: the file cannot be read.
    """
    if not words or not any(word.strip() for word in words):
        raise UsageError(_USAGE)
    if len(words) == 1:
        path = os.path.join(directory, words[0])
        if "\0" not in path and os.path.exists(path) and not names_server(words):
            return migrated(_read_file(path, words[0]))
        try:
            words = shlex.split(words[0])
        except ValueError as error:
            raise UsageError(f"the command line cannot be split into words: {error}") from None
        if len(words) == 1 and not names_server(words):
            raise UsageError(f"there is no file {words[0]!r:.200}; {_USAGE}")
    return migrated(read_server_line(words))


def _read_file(path: str, name: str) -> Configuration:
    try:
        text = read_bounded(path).decode("utf-8-sig")
    except OSError as error:
        raise StartupError(f"cannot read {name}: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise UsageError(f"{name} is not UTF-8 text") from None
    if name.endswith(".py"):
        return read_gunicorn_file(text, name)
    if name.endswith(".ini"):
        return read_uwsgi_file(text, name)
    raise UsageError(f"{name} is neither a gunicorn.conf.py nor a uwsgi.ini; {_USAGE}")


def migrated(configuration: Configuration) -> str:
    """The text of the ``reserve.toml`` for a configuration."""
    return _Conversion(configuration).text()


class _Conversion:
    """The state of one conversion: the values of our options so far, with the settings that they come from."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._values: dict[str, list[object]] = {}
        self._origins: dict[str, list[Setting]] = {}
        self._remarks: list[str] = []
        self._address: dict[str, Setting] = {}
        self._protocols: list[str] = []
        self._module = configuration.application
        self._callable = ""
        self._is_call = False
        for setting in configuration.settings:
            self._take(setting)
        self._take_host_and_port()

    def text(self) -> str:
        """The whole file."""
        lines = [f"# Made by reserve migrate from {self._configuration.origin}. Start the server with:"]
        lines += [f"#   {self._line(protocol)}" for protocol in self._protocols or ["http"]]
        lines.append("[server]")
        for name in sorted(self._values, key=list(FLAGS).index):
            option, values = FLAGS[name], self._values[name]
            shown = file_value(option, tuple(values) if option.repeat else values[-1])
            origins = self._origins[name] if option.repeat else self._origins[name][-1:]
            origin = "; ".join(dict.fromkeys(setting.origin for setting in origins))
            lines.append(f"{option.name} = {toml_text(shown)}".ljust(_WIDTH - 1) + f" # {origin}")
        if len(self._protocols) > 1:
            self._remarks.append("one server speaks one protocol: start one for each, with its own bind")
        default = DEFAULT_ADDRESSES.get(self._configuration.server)
        if "--bind" not in self._values and default is not None and default != USUAL_ADDRESS:
            server = self._configuration.server
            left = f"# bind = {toml_text([default])}"
            lines.append(left.ljust(_WIDTH - 1) + f" # the default of {server}; that of reserve is {USUAL_ADDRESS}")
        if self._remarks:
            lines += ["", "# Not carried over, or to be looked at:", *(f"# - {remark}" for remark in self._remarks)]
        return "".join(f"{_one_line(line)}\n" for line in lines)

    def _line(self, protocol: str) -> str:
        name = self._module or "MODULE:APPLICATION"
        if self._callable and ":" not in name:
            name += f":{self._callable}"
        if self._is_call and not name.endswith(")"):
            name += "()"
        return f"reserve app {protocol} wsgi {shlex.quote(name)}"

    def _take(self, setting: Setting) -> None:
        name = OWN_NAMES.get(self._configuration.server, {}).get(setting.option, setting.option)
        entry, option = BY_NAME.get(name), FLAGS.get(name)
        if setting.value is None and not setting.unknown:
            return  # the default of their server
        if entry is None and name.startswith("--no-") and f"--{name[5:]}" in BY_NAME:
            return  # it is switched off, as it is here
        if setting.name in NOT_READ:
            self._remark(setting, setting.unknown or NOT_READ[setting.name])
        elif entry is not None:
            self._take_foreign(setting, name, entry)
        elif option is not None and option.default is False and _is_off(setting.value):
            return  # likewise
        elif option is not None and FILE in option.sources:
            self._take_value(setting, option)
        else:
            self._remark(setting, setting.unknown or "reserve migrate does not know it, and nothing is carried over")

    def _take_foreign(self, setting: Setting, name: str, entry: ForeignOption) -> None:
        if entry.value in ("name", "call") or name == "--callable":
            self._take_application(setting, name, entry)
        elif entry.is_flag and _is_off(setting.value):
            return  # it is off, as it is here
        elif setting.unknown:
            ours = f"; {entry.flag.removeprefix('--')} is nearest" if entry.ours else ""
            self._remark(setting, setting.unknown + ours)
        elif name in ("--host", "-p", "--port"):
            self._address[entry.value] = setting
        elif not entry.ours:
            self._remark(setting, entry.why)
        elif entry.is_flag:
            option = FLAGS[entry.flag]
            if isinstance(option.kind, Flag) and FILE in option.sources:
                self._add(setting, option, entry.flag == option.flag)
        elif not entry.value:
            self._remark(setting, "; ".join(part for part in (entry.why, f"the nearest is {entry.ours}") if part))
        else:
            if entry.flag == "--bind" and self._configuration.server == "uwsgi":
                protocol = _PROTOCOLS.get(name, "http")
                if protocol not in self._protocols:
                    self._protocols.append(protocol)
                if name in ("--https", "--https-socket"):
                    self._take_tls_address(setting)
                    return
            self._take_value(setting, FLAGS[entry.flag], entry.value)

    def _take_application(self, setting: Setting, name: str, entry: ForeignOption) -> None:
        if setting.unknown:
            self._remark(setting, setting.unknown)
        elif entry.value == "call":
            self._is_call = not _is_off(setting.value)
        elif name in _MODULE:
            module = str(setting.value)
            if module.endswith(".py"):
                module = module.removesuffix(".py").removeprefix("./").replace("/", ".")
            self._module = module
        else:
            self._callable = str(setting.value)

    def _take_value(self, setting: Setting, option: Option, form: str = "{}") -> None:
        """Take over a value that may be one of several, and is checked."""
        if setting.unknown:
            self._remark(setting, f"{setting.unknown}; {option.name} sets it")
            return
        if option.name == "env":
            self._take_variables(setting)
            return
        items = setting.value if isinstance(setting.value, list) else [setting.value]
        if isinstance(setting.value, dict) or (len(items) > 1 and not option.repeat):
            if not (isinstance(setting.value, list) and option.name in ("trusted-proxies", "forwarded-fields")):
                self._remark(setting, f"{option.name} takes one value")
                return
            items = [",".join(map(str, items))]
        for item in items:
            text = f"{item:03o}" if isinstance(option.kind, Octal) and type(item) is int else _text(item)
            try:
                for one in self._addresses(text, form) if option.name in ADDRESSES else [form.format(text)]:
                    self._add(setting, option, convert(option, option.name, one, option.kind.parse))
            except UsageError as error:
                self._remark(setting, f"{error.reason or error}")
        if setting.note and option.flag in self._values:
            self._remark(setting, setting.note)

    def _take_tls_address(self, setting: Setting) -> None:
        """An address of uWSGI with its certificate and key: ``:443,cert.pem,key.pem``."""
        parts = str(setting.value).split(",")
        for part, flag in zip(parts, ("--bind", "--tls-cert", "--tls-key"), strict=False):
            self._take_value(Setting(setting.name, part, setting.line), FLAGS[flag])
        if len(parts) > 3:
            self._remark(setting, "what follows the key is not carried over; see the options --tls-*")

    def _take_variables(self, setting: Setting) -> None:
        """Environment variables, whose values are not printed."""
        items = setting.value if isinstance(setting.value, list) else [setting.value]
        names = ", ".join(str(item).partition("=")[0] for item in items)
        self._remark(setting, f"sets {names}; the values may be secrets and are not printed; [server.env] sets them")

    def _take_host_and_port(self) -> None:
        if not self._address:
            return
        default_host, _, default_port = DEFAULT_ADDRESSES.get(self._configuration.server, USUAL_ADDRESS).rpartition(":")
        host, port = self._address.get("{}:8080"), self._address.get("localhost:{}")
        text = address_of(str(host.value) if host else default_host, str(port.value) if port else default_port)
        origin = next(setting for setting in (host, port) if setting)
        self._take_value(Setting(origin.name, text, origin.line), FLAGS["--bind"])

    def _addresses(self, text: str, form: str) -> Iterator[str]:
        """Our addresses for an address of another server."""
        for scheme, ours in (("fd://", "fd:"), ("unix://", "unix:"), ("http://", ""), ("https://", "")):
            if text.startswith(scheme):
                text = ours + text.removeprefix(scheme).rstrip("/")
        text = form.format(text)
        if "/" in text and not text.startswith("unix:"):
            text = f"unix:{text}"
        if self._configuration.server == "waitress" and " " in text:
            for one in text.split():
                yield from self._addresses(one, "{}")
            return
        if self._configuration.server in ("gunicorn", "hypercorn") and ":" not in text:
            text += ":8000"  # their default
        try:
            parse_address(text)
        except UsageError as error:
            if error.correction is None or not error.correction.right:
                raise
            yield from error.correction.right
        else:
            yield text

    def _add(self, setting: Setting, option: Option, value: object) -> None:
        origins = self._origins.setdefault(option.flag, [])
        if origins and not option.repeat and origins[-1].option != setting.option:
            self._remark(setting, f"{option.name} has the value of {origins[-1].origin}")
            return
        origins.append(setting)
        self._values.setdefault(option.flag, []).append(value)

    def _remark(self, setting: Setting, reason: str) -> None:
        self._remarks.append(f"{setting.origin:.100}: {reason[:_MAX_SHOWN]}")


def _text(value: object) -> str:
    """A value as on a command line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _is_off(value: object) -> bool:
    return value is None or str(value).strip().lower() in _FALSE


def _one_line(text: str) -> str:
    """A line of the file: no character of it begins another line or moves the cursor of a terminal."""
    return "".join(
        char if char.isprintable() else f"\\u{ord(char):04x}" for char in text.encode("utf-8", "replace").decode()
    )
