"""Where options come from, and what they come to: file < environment < command line.

Runs on the main thread at start. Each source is checked against the table in ``options.py``; every mistake is a
``UsageError`` that says what came, from where, and what is allowed. A repeated scalar: the last wins. Addresses of a
stronger source replace those of a weaker one; variables (``env``) are merged name by name.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import cast

from reserve.engine.settings import EngineSettings
from reserve.errors import StartupError, UsageError
from reserve.loader.arguments import nearest
from reserve.options.table import ADDRESSES, COMMAND, ENVIRONMENT, FILE, OPTIONS, Option
from reserve.sockets.addresses import parse_address
from reserve.ssl.settings import TLSSettings

__all__ = ["Given", "Values", "collect", "read_environment", "read_file", "unknown_variables"]

_PREFIX = "RESERVE_"
_FOREIGN = re.compile(r"RESERVE_(CI|(.+_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT_[0-9]+_.*)|PORT_.*)")
"""Variables that are not options: our own test run, and what Kubernetes sets for services called "reserve-..."."""
_URL = re.compile(r"RESERVE_(.+_)?PORT")
"""And this, when it holds an address."""
_SERVERS = (None, EngineSettings, TLSSettings)
"""The homes of options that are no application's."""
_TOOL = re.compile(rb"^\s*\[\s*tool\s*\.\s*[\"']?reserve\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Given:
    """One option that somebody gave: its value, and how they spelled it there."""

    option: Option
    value: object
    source: str


class Values:
    """All options: what was given, and the defaults of everything else. Looked up by field name (``head_timeout``)."""

    def __init__(self, given: Iterable[Given]) -> None:
        self.given: dict[str, Given] = {}
        for one in given:
            if one.option.name == "env" and "env" in self.given:
                before = dict(cast("tuple[tuple[str, str], ...]", self.given["env"].value))
                before.update(cast("tuple[tuple[str, str], ...]", one.value))
                one = Given(one.option, tuple(before.items()), one.source)
            self.given[one.option.field] = one
        self._all = {option.field: option.default for option in OPTIONS}
        self._all.update((field, one.value) for field, one in self.given.items())

    def __getitem__(self, field: str) -> object:
        return self._all[field]

    def engine(self) -> EngineSettings:
        """What the server is made with."""
        fields = {one.field: self._all[one.field] for one in OPTIONS if one.home is EngineSettings}
        return EngineSettings(**cast("dict[str, int]", fields))

    def tls(self) -> TLSSettings:
        """What the TLS adapter is made with, beside the certificates."""
        fields = {one.setting: self._all[one.field] for one in OPTIONS if one.home is TLSSettings}
        return TLSSettings(**cast("dict[str, str]", fields))  # type: ignore[arg-type]

    def application(self) -> dict[str, object]:
        """What an application with ``configure`` gets: every option that is neither the server's nor the command's."""
        return {one.field: self._all[one.field] for one in OPTIONS if one.home not in _SERVERS}

    def given_for_application(self) -> list[Given]:
        """The same, but only what somebody gave."""
        return [one for one in self.given.values() if one.option.home not in _SERVERS]


def collect(command: Iterable[tuple[Option, str]], environ: Mapping[str, str], directory: str) -> Values:
    """Read all three sources.

    :param command: the options of the command line as ``commandline.scan`` found them.
    :param directory: where ``reserve.toml`` and ``pyproject.toml`` are looked for.
    :raises UsageError: an unknown name or a bad value.
    :raises StartupError: a file that cannot be read.
    """
    from_command = list(_read_command(command))
    from_environment = read_environment(environ)
    named = [one for one in (*from_environment, *from_command) if one.option.name == "config"]
    if named:
        from_file = read_file(os.path.join(directory, str(named[-1].value)), named[-1].source)
    else:
        from_file = _read_default_file(directory)
    return Values([*from_file, *from_environment, *from_command])


def read_environment(environ: Mapping[str, str]) -> list[Given]:
    """The options among environment variables; a repeatable one has commas between its values.

    :raises UsageError: a bad value, or a name that is none but resembles one; others are the application's own.
    """
    options = {option.variable: option for option in OPTIONS}
    found = []
    for name, text in environ.items():
        if not name.startswith(_PREFIX):
            continue
        option = options.get(name)
        if option is None:
            near = None if _is_foreign(name, text) else _near(name)
            if near is not None:
                raise UsageError(f"the environment variable {name} is no option; did you mean {near.variable}?")
            continue
        if ENVIRONMENT not in option.sources:
            instead = "set the variables themselves" if option.name == "env" else f"write {option.flag}"
            raise UsageError(f"{name} cannot be set in the environment; {instead}")
        source = f"the environment variable {name}"
        if option.repeat:
            values = [_checked(option, source, part.strip(), option.kind.parse) for part in text.split(",")]
            found.append(Given(option, tuple(values), source))
        else:
            found.append(Given(option, _checked(option, source, text, option.kind.parse), source))
    return found


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """The variables that begin as options do, and are none; what resembles one is refused by the other function."""
    options = {option.variable for option in OPTIONS}
    named = [name for name in environ if name.startswith(_PREFIX) and name not in options]
    return sorted(name for name in named if not _is_foreign(name, environ[name]))


def _is_foreign(name: str, text: str) -> bool:
    return bool(_FOREIGN.fullmatch(name) or (_URL.fullmatch(name) and "://" in text))


def _near(name: str) -> Option | None:
    known = {one.field: one for one in OPTIONS if ENVIRONMENT in one.sources}
    near = nearest(name[len(_PREFIX) :].lower(), known)
    return None if near is None else known[near]


def read_file(path: str, source: str = "") -> list[Given]:
    """The options in a TOML file: the table ``[server]``, or ``[tool.reserve]`` of a file named ``pyproject.toml``.

    :param source: who named the file, for the message when it is not there.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        by = f" (named by {source})" if source else ""
        raise StartupError(f"cannot read the options in {path}{by}: {error.strerror or error}") from error
    parser = _toml()
    if parser is None:
        raise StartupError(f"reading {path} needs Python 3.11 or the package tomli; pip install tomli")
    try:
        document = cast("dict[str, object]", parser.loads(data.decode("utf-8")))
    except ValueError as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
    if os.path.basename(path) == "pyproject.toml":
        tool = document.get("tool")
        table = tool.get("reserve", {}) if isinstance(tool, dict) else {}
        return list(_read_table(table, f"{path} [tool.reserve]"))
    for key in document:
        if key != "server":
            near = "; did you mean [server]?" if nearest(key, ["server"]) else "; options stand in the table [server]"
            raise UsageError(f"{path} has {key!r} at its top{near}")
    return list(_read_table(document.get("server", {}), f"{path} [server]"))


def _read_default_file(directory: str) -> list[Given]:
    own = os.path.join(directory, "reserve.toml")
    if os.path.exists(own):
        return read_file(own)
    project = os.path.join(directory, "pyproject.toml")
    try:
        with open(project, "rb") as file:
            data = file.read()
    except OSError:
        return []  # nobody asked for it; most directories have none
    # A project's file is there for other tools too: without a parser, look whether it concerns us at all.
    concerns_us = b"reserve" in data if _toml() else _TOOL.search(data)
    return read_file(project) if concerns_us else []


def _read_table(table: object, place: str) -> Iterable[Given]:
    if not isinstance(table, dict):
        raise UsageError(f"{place} is {table!r:.60}; it has to be a table")
    options = {option.field: option for option in OPTIONS if FILE in option.sources}
    seen: set[str] = set()
    for key, value in table.items():
        field = key.replace("-", "_")
        option = options.get(field)
        source = f"{key} in {place}"
        if option is None:
            near = nearest(field, options)
            hint = f"did you mean {options[near].name}?" if near else "reserve -h lists the options"
            raise UsageError(f"{source} is no option; {hint}")
        if field in seen:
            raise UsageError(f"{source} is given twice, as {option.name} and as {field}")
        seen.add(field)
        if not option.repeat:
            yield Given(option, _checked(option, source, value, option.kind.from_toml), source)
            continue
        if isinstance(value, dict) and option.name == "env":
            wrong = [name for name, text in value.items() if not isinstance(text, str)]
            if wrong:
                raise UsageError(f"{source}: {wrong[0]} is {value[wrong[0]]!r:.60}; allowed is a string")
            value = [f"{name}={text}" for name, text in value.items()]
        parts = value if isinstance(value, list) else [value]
        yield Given(option, tuple(_checked(option, source, part, option.kind.from_toml) for part in parts), source)


def _read_command(command: Iterable[tuple[Option, str]]) -> Iterable[Given]:
    repeated: dict[str, list[object]] = {}
    for option, text in command:
        assert COMMAND in option.sources
        source = option.flag
        value = _checked(option, source, text, option.kind.parse)
        if option.repeat:
            repeated.setdefault(option.name, []).append(value)
            value = tuple(repeated[option.name])
        yield Given(option, value, source)


def _checked(option: Option, source: str, value: object, read: Callable[..., object]) -> object:
    try:
        result = read(value)
        if option.name in ADDRESSES:
            parse_address(str(result))  # its error says which part is wrong, and what was probably meant
        return result
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from None
    except ValueError as error:
        shown = repr(value)
        shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
        reason = f" ({error})" if str(error) else ""
        raise UsageError(f"{source} is {shown}; allowed is {option.kind.allowed}{reason}") from None


def _toml() -> ModuleType | None:
    """The parser: in the standard library from 3.11 on, a package of the same shape before."""
    for name in ("tomllib", "tomli"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    return None
