"""Reading the options from their three sources: file < environment < command line.

Runs on the main thread at start. Each source is checked against ``reserve.options.table``. A mistake is a
``UsageError`` that names the value, its source (in a file the line), and what is allowed. If a source repeats an
option, the last value wins, or all values of a repeatable option count together. A stronger source replaces all values
of a weaker one, except that ``env`` is merged name by name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from reserve.engine.polling.processors import usable_processors
from reserve.engine.settings import EngineSettings
from reserve.errors import Correction, StartupError, UsageError, short_repr
from reserve.loader.otherservers import BY_NAME
from reserve.options.table import (
    ADDRESSES,
    COMMAND,
    ENVIRONMENT,
    FILE,
    FLAGS,
    OPTIONS,
    Option,
    usual_value,
)
from reserve.paramtypes import Choice, Count
from reserve.sockets.addresses import parse_address
from reserve.ssl.settings import TLSSettings
from reserve.suggest import nearest

__all__ = [
    "CONCURRENCY",
    "PORT",
    "OptionValue",
    "Values",
    "collect",
    "convert",
    "probable_variable",
    "read_bounded",
    "read_environment",
    "read_file",
    "unknown_variables",
]

PORT = "the environment variable PORT"
"""Where the address comes from when only the platform says where to listen."""

CONCURRENCY = "the environment variable WEB_CONCURRENCY"
"""Where the number of processes comes from when only the platform says it."""

_PREFIX = "RESERVE_"
_FOREIGN = re.compile(r"RESERVE_(CI|PURE|(.+_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_[0-9]+_.*)|PORT_.*)")
"""Variables that are no options: of this project's CI, the one that switches the code in C off, and those of Kubernetes
for a service named "reserve" or "reserve-...".
"""
_FOREIGN_IF_URL = re.compile(r"RESERVE_(.+_)?PORT")
"""Variables that Kubernetes sets to a URL."""
_SURE = 0.8
"""How much a variable that is not an option has to resemble one to be an error."""
_PERHAPS = 0.7
"""How much it has to resemble one for a message that names it."""
_MAX_FILE = 1 << 20
"""Bytes of a file with options. A larger one is a mistake, as ``--config /dev/zero``."""
_USUAL_PORT, _METRICS_PORT = ":8080", ":9100"
"""What a message proposes for an address without a port, and in its place for ``--metrics-bind``."""
_PORTS = Count(0, 65535, "PORT")
_CONCURRENCY = Count(1, 1024)
_SUPERVISED = ("preload", "reload", "max_requests", "max_memory", "max_lifetime", "user", "group")
"""The options that need a supervisor even of one process."""
_SERVER_HOMES = (None, EngineSettings, TLSSettings)
"""The homes of options that do not belong to the application."""


@dataclass(frozen=True, slots=True)
class OptionValue:
    """An option that a source sets: its value, and the source for messages, as ``--threads``."""

    option: Option
    value: object
    source: str


class Values:
    """The values of all options by the names of their fields (``head_timeout``): those of the sources, else the
    defaults.

    The command makes one at start, on the main thread.

    :param given: the values of the sources, the weakest source first.
    :param file: the file that some of them come from; empty: none.
    :param port: the environment variable ``PORT``; empty: it is not set.
    :param concurrency: the environment variable ``WEB_CONCURRENCY``; empty: it is not set.
    """

    def __init__(self, given: Iterable[OptionValue], file: str = "", port: str = "", concurrency: str = "") -> None:
        self.file = file
        self._port = port
        self._concurrency = concurrency
        self.given: dict[str, OptionValue] = {}
        """What the sources set, by the names of the fields."""
        self.env_sources: dict[str, str] = {}
        """Where each variable of ``env`` comes from, by its name."""
        for item in given:
            if item.option.name == "env":
                pairs = cast("tuple[tuple[str, str], ...]", item.value)
                self.env_sources.update((name, item.source) for name, _ in pairs)
            if item.option.name == "env" and "env" in self.given:
                merged = dict(cast("tuple[tuple[str, str], ...]", self.given["env"].value))
                merged.update(cast("tuple[tuple[str, str], ...]", item.value))
                item = OptionValue(item.option, tuple(merged.items()), item.source)
            self.given[item.option.field] = item
        self._values = {option.field: option.default for option in OPTIONS}
        self._values.update((field, item.value) for field, item in self.given.items())

    def __getitem__(self, field: str) -> object:
        return self._values[field]

    def port_address(self) -> str:
        """The address that ``PORT`` means, on all interfaces; empty: the variable is not set.

        It counts only when nothing else says where to listen, so it is not read before.

        :raises UsageError: it is not a port.
        """
        if not self._port:
            return ""
        try:
            return f"0.0.0.0:{_PORTS.parse(self._port)}"
        except ValueError:
            raise UsageError(
                f"{PORT} is {short_repr(self._port)}; allowed is {_PORTS.allowed}, or say where to listen with --bind"
            ) from None

    def concurrency(self) -> int | None:
        """The number of processes that ``WEB_CONCURRENCY`` asks for; None: it is not set, or an option says it.

        :raises UsageError: it is no number of processes.
        """
        if not self._concurrency or "processes" in self.given:
            return None
        try:
            return _CONCURRENCY.parse(self._concurrency)
        except ValueError:
            raise UsageError(
                f"{CONCURRENCY} is {short_repr(self._concurrency)}; allowed is {_CONCURRENCY.allowed}, or say how many "
                "processes there are with --processes"
            ) from None

    def processes(self) -> int:
        """How many worker processes the options ask for.

        :raises UsageError: ``WEB_CONCURRENCY`` counts, and is no number of processes.
        """
        value = self.concurrency() or self["processes"]
        return value if isinstance(value, int) else usable_processors()

    def need_supervisor(self) -> str:
        """Which option needs a supervisor of worker processes, as ``--processes 4``; empty: none does."""
        if self.processes() > 1:
            return f"{self._source('processes')} {self['processes']}"
        return next((self._source(field) for field in _SUPERVISED if self[field]), "")

    def _source(self, field: str) -> str:
        return self.given[field].source if field in self.given else f"--{field.replace('_', '-')}"

    def engine(self) -> EngineSettings:
        """The settings of the server."""
        fields = {option.field: self._values[option.field] for option in OPTIONS if option.home is EngineSettings}
        return EngineSettings(**cast("dict[str, int]", fields))  # type: ignore[arg-type]

    def tls(self) -> TLSSettings:
        """The settings of the TLS adapter, without the certificates."""
        fields = {option.setting: self._values[option.field] for option in OPTIONS if option.home is TLSSettings}
        return TLSSettings(**cast("dict[str, str]", fields))  # type: ignore[arg-type]

    def application(self) -> dict[str, object]:
        """The argument of an application's ``configure``: the options of neither the server, TLS nor the command."""
        return {option.field: self._values[option.field] for option in OPTIONS if option.home not in _SERVER_HOMES}

    def given_for_application(self) -> list[OptionValue]:
        """Those options of the application that a source sets."""
        return [item for item in self.given.values() if item.option.home not in _SERVER_HOMES]


def collect(command: Iterable[tuple[Option, str]], environ: Mapping[str, str], directory: str) -> Values:
    """Read all three sources.

    :param command: the options of the command line, from ``reserve.cli.parser``.
    :param directory: the directory of ``reserve.toml`` and ``pyproject.toml``.
    :raises UsageError: an unknown name or a bad value.
    :raises StartupError: a file that cannot be read.
    """
    from_command = list(_read_command(command))
    from_environment = read_environment(environ)
    configs = [item for item in (*from_environment, *from_command) if item.option.name == "config"]
    path = os.path.join(directory, str(configs[-1].value)) if configs else _default_file(directory)
    from_file = read_file(path, configs[-1].source if configs else "") if path else []
    return Values(
        [*from_file, *from_environment, *from_command],
        path if from_file or configs else "",
        environ.get("PORT", ""),
        environ.get("WEB_CONCURRENCY", ""),
    )


def read_environment(environ: Mapping[str, str]) -> list[OptionValue]:
    """Read the options from environment variables; the values of a repeatable option are separated by commas.

    :raises UsageError: a bad value, or a name that is not an option but resembles one.
    """
    options = {option.variable: option for option in OPTIONS}
    result = []
    for name, text in environ.items():
        if not name.startswith(_PREFIX):
            continue
        option = options.get(name)
        if option is None:
            match = None if _is_foreign(name, text) else _similar_option(name)
            if match is not None:
                raise UsageError(f"the environment variable {name} is not an option; did you mean {match.variable}?")
            continue
        if ENVIRONMENT not in option.sources:
            advice = "set the variables themselves" if option.name == "env" else f"write {option.flag}"
            raise UsageError(f"{name} cannot be set in the environment; {advice}")
        source = f"the environment variable {name}"
        if option.repeat:
            values = [convert(option, source, part.strip(), option.kind.parse) for part in text.split(",")]
            result.append(OptionValue(option, tuple(values), source))
        else:
            result.append(OptionValue(option, convert(option, source, text, option.kind.parse), source))
    return result


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """The variables that begin with ``RESERVE_`` and are not options, except those that others are known to set."""
    options = {option.variable for option in OPTIONS}
    names = [name for name in environ if name.startswith(_PREFIX) and name not in options]
    return sorted(name for name in names if not _is_foreign(name, environ[name]))


def probable_variable(name: str) -> str:
    """The variable of an option that was probably meant by one that is not an option; empty: none.

    The rest of the name may be the option of another server, as in ``RESERVE_WORKERS``. A name that resembles an option
    less than those of which :func:`read_environment` makes an error may also be one of the application.
    """
    entry = BY_NAME.get("--" + name[len(_PREFIX) :].lower().replace("_", "-"))
    option = FLAGS.get(entry.flag) if entry is not None else _similar_option(name, _PERHAPS)
    return option.variable if option is not None and ENVIRONMENT in option.sources else ""


def _is_foreign(name: str, text: str) -> bool:
    return bool(_FOREIGN.fullmatch(name) or (_FOREIGN_IF_URL.fullmatch(name) and "://" in text))


def _similar_option(name: str, similarity: float = _SURE) -> Option | None:
    options = {option.field: option for option in OPTIONS if ENVIRONMENT in option.sources}
    match = nearest(name[len(_PREFIX) :].lower(), options, similarity=similarity)
    return None if match is None else options[match]


def read_file(path: str, source: str = "") -> list[OptionValue]:
    """Read the options from a TOML file: the table ``[server]``, or ``[tool.reserve]`` of a ``pyproject.toml``.

    :param source: the source of the path, for the message if the file cannot be read.
    :raises UsageError: it is too large or not TOML, or has an unknown key or a bad value.
    :raises StartupError: it cannot be read.
    """
    try:
        data = read_bounded(path)
    except OSError as error:
        named_by = f" (named by {source})" if source else ""
        raise StartupError(f"cannot read the options in {path}{named_by}: {error.strerror or error}") from error
    import tomllib  # not at the top: most starts read no file

    from reserve.options.keylines import key_lines

    try:
        # TOML has no byte order mark, but editors write one. tomllib ends lines in the same way.
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        document: dict[str, object] = tomllib.loads(text)
    except ValueError as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
    except RecursionError:
        raise UsageError(f"{path} is not valid for options: its values are nested too deeply") from None
    lines = key_lines(text)
    if os.path.basename(path) == "pyproject.toml":
        tool = document.get("tool")
        table = tool.get("reserve", {}) if isinstance(tool, dict) else {}
        return list(_read_table(table, _Place(path, ("tool", "reserve"), lines)))
    for key in document:
        if key != "server":
            hint = "did you mean [server]?" if nearest(key, ["server"]) else "options belong in the table [server]"
            raise UsageError(f"{path}:{lines.get((key,), 1)} has {key!r} at its top level; {hint}")
    return list(_read_table(document.get("server", {}), _Place(path, ("server",), lines)))


def read_bounded(path: str) -> bytes:
    """The content of a file with options of this or another server.

    :raises OSError: it cannot be read.
    :raises UsageError: it has more than a MiB.
    """
    with open(path, "rb") as file:
        data = file.read(_MAX_FILE + 1)
    if len(data) > _MAX_FILE:
        raise UsageError(f"{path} has more than {_MAX_FILE} bytes; a file with options has to be smaller")
    return data


def _default_file(directory: str) -> str:
    """The file that is read if no option names one; empty: there is none."""
    path = os.path.join(directory, "reserve.toml")
    if os.path.exists(path):
        return path
    path = os.path.join(directory, "pyproject.toml")
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_FILE)
    except OSError:
        return ""  # most directories have none
    # Other tools use this file too. If it has nothing for reserve, it need not be valid TOML.
    return path if b"reserve" in data else ""


@dataclass(frozen=True, slots=True)
class _Place:
    """A table of a file, for the sources of its values."""

    path: str
    table: tuple[str, ...]
    lines: Mapping[tuple[str, ...], int]

    def __str__(self) -> str:
        return self.of()

    def of(self, *key: str) -> str:
        """The file, the line of a key of the table, and the table, as ``reserve.toml:3 [server]``."""
        return f"{self.path}:{self.lines.get((*self.table, *key), 1)} [{'.'.join(self.table)}]"


def _read_table(table: object, place: _Place) -> Iterable[OptionValue]:
    if not isinstance(table, dict):
        raise UsageError(f"{place} is {table!r:.60}; it has to be a table")
    options = {option.field: option for option in OPTIONS if FILE in option.sources}
    seen: set[str] = set()
    for key, value in table.items():
        field = key.replace("-", "_")
        option = options.get(field)
        source = f"{key} in {place.of(key)}"
        if option is None:
            raise UsageError(f"{source} is not an option; {_key_hint(field, options)}")
        if field in seen:
            raise UsageError(f"{source} is given twice, as {option.name} and as {field}")
        seen.add(field)
        if not option.repeat:
            yield OptionValue(option, convert(option, source, value, option.kind.from_toml), source)
            continue
        if isinstance(value, dict) and option.name == "env":
            for name, text in value.items():
                if not isinstance(text, str):  # which is not shown: it may be a secret
                    raise UsageError(f"{name} in {place.of(key, name)}: env.{name} is no string; write it in quotes")
            value = [f"{name}={text}" for name, text in value.items()]
        items = value if isinstance(value, list) else [value]
        yield OptionValue(option, tuple(convert(option, source, item, option.kind.from_toml) for item in items), source)


def _key_hint(field: str, options: Mapping[str, Option]) -> str:
    """What is said of a key that is not an option: the nearest one, or that of another server with its meaning."""
    match = nearest(field, options)
    if match is not None:
        return f"did you mean {options[match].name}?"
    entry = BY_NAME.get("--" + field.replace("_", "-"))
    if entry is not None:
        ours = entry.flag.removeprefix("--")
        return "; ".join(part for part in (entry.why, ours and f"the nearest is {ours}") if part)
    return "reserve --help-all lists the options"


def _read_command(command: Iterable[tuple[Option, str]]) -> Iterable[OptionValue]:
    repeated: dict[str, list[object]] = {}
    for option, text in command:
        assert COMMAND in option.sources
        source = option.flag
        value = convert(option, source, text, option.kind.parse)
        if option.repeat:
            repeated.setdefault(option.name, []).append(value)
            value = tuple(repeated[option.name])
        yield OptionValue(option, value, source)


def convert(option: Option, source: str, value: object, parse: Callable[..., object]) -> object:
    """Parse one value of an option.

    :param source: where the value comes from, for the message.
    :param parse: :meth:`~reserve.paramtypes.Kind.parse` of the option's kind, or ``from_toml``.
    :raises UsageError: the value is not allowed.
    """
    try:
        result = parse(value)
        if option.name in ADDRESSES:
            parse_address(str(result))  # its error says which part is wrong, and what was probably meant
        return result
    except UsageError as error:
        reason = error.reason
        hint, correction = str(error).removeprefix(reason), error.correction
        meant = () if correction is None else correction.right
        if option.name == "metrics-bind" and _USUAL_PORT[1:] not in str(value):  # the application has that port
            hint = hint.replace(_USUAL_PORT, _METRICS_PORT)
            meant = tuple(address.replace(_USUAL_PORT, _METRICS_PORT) for address in meant)
        correction = None if correction is None else correction._replace(option=option.flag, right=meant)
        raise UsageError(f"{source}: {reason}", hint, correction) from None
    except ValueError as error:
        reason = f" ({error})" if str(error) else ""
        if option.name == "env" and "=" in str(value):
            value = str(value).partition("=")[0] + "=..."  # what follows may be a secret
        right = _probable_value(option, value)
        correction = Correction(wrong=(str(value),), right=(right,), option=option.flag) if right else None
        raise UsageError(
            f"{source} is {short_repr(value)}; allowed is {option.kind.allowed}{reason}", correction=correction
        ) from None


def _probable_value(option: Option, value: object) -> str:
    """What was probably meant by a value that is not allowed: another spelling, else the default; empty: unknown."""
    lowered = str(value).strip().lower()
    attempts = [lowered, lowered.removesuffix("b"), lowered.removesuffix("ib"), lowered.rstrip("/")]
    attempts.append(re.sub(r"\s*(ms|[smhd])[a-z]*$", r"\1", lowered))
    if option.kind.metavar == "PATH" and lowered:
        attempts.append(f"/{str(value).strip()}")
    if isinstance(option.kind, Choice):
        attempts.append(nearest(lowered, option.kind.choices, similarity=0.6) or "")
    for attempt in attempts:
        with suppress(ValueError):
            option.kind.parse(attempt)
            return attempt
    return usual_value(option)
