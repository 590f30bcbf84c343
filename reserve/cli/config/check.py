"""``reserve check-config``: the values that a start would use, and where each of them comes from.

Runs on the main thread. It makes the checks of a start that open no socket and import no application: the options of
all sources, addresses that contradict each other, the working directory and the certificates. The output is a valid
``reserve.toml`` with the source of each value in a comment; defaults are comments. The values of ``env`` are not shown:
they may be secrets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import cast

from reserve.apps.http.settings import HTTP_NEEDS
from reserve.cli.application import refuse_shared_paths
from reserve.cli.binds import check_addresses, check_idle
from reserve.cli.config.hooks import check_hooks
from reserve.cli.control.sockets import check_controls
from reserve.cli.privileges import account
from reserve.cli.process import change_directory
from reserve.cli.tls import make_adapter
from reserve.engine.settings import ENGINE_NEEDS
from reserve.errors import UsageError
from reserve.options.filevalues import file_value, toml_text
from reserve.options.sources import CONCURRENCY, PORT, Values
from reserve.options.table import ADDRESSES, COMMAND_NEEDS, FILE, FLAGS, OPTIONS, USUAL_ADDRESS, Option
from reserve.paramtypes import without_effect

__all__ = ["checked_options", "refuse_unusable", "warnings"]

_WIDTH = 40
"""The column of the comments."""


def refuse_unusable(values: Values) -> None:
    """Make the checks of a start that are possible without a socket and without the application.

    It changes the working directory to ``--chdir``, from which relative names of files count.

    :raises UsageError: options that contradict each other.
    :raises StartupError: a directory or a file that cannot be used.
    """
    change_directory(values)
    check_addresses(values, {name: cast("tuple[str, ...]", values[FLAGS[f"--{name}"].field]) for name in ADDRESSES})
    account(values)
    values.engine()
    if values["exit_idle"] and values.need_supervisor():
        raise UsageError(
            f"{values.given['exit_idle'].source} is for a server of one process, without --preload and --reload: a "
            "supervisor would start another process at once"
        )
    check_controls(values)
    check_hooks(values)
    refuse_shared_paths(values)
    make_adapter(values)


def warnings(values: Values) -> list[str]:
    """What a start would say about options that do nothing because others are off."""
    all_values = {option.field: values[option.field] for option in OPTIONS}
    all_values["static"] = True  # the argument of an application (reserve app static DIR) is not known here
    defaults = {option.field: option.default for option in OPTIONS}
    return list(without_effect((*ENGINE_NEEDS, *HTTP_NEEDS, *COMMAND_NEEDS), all_values, defaults))


def checked_options(values: Values, directory: str) -> str:
    """The text that the command prints.

    :param directory: the directory in which files are looked for.
    :raises UsageError: ``PORT`` is not a port, and counts; or ``--exit-idle`` is for sockets that are passed.
    """
    addresses = {name: cast("tuple[str, ...]", values[FLAGS[f"--{name}"].field]) for name in ADDRESSES}
    check_idle(values, addresses, has_sockets=True)  # the environment of the service may have some
    lines = list(_head(values, directory))
    for option in OPTIONS:
        if FILE in option.sources:
            lines += _lines(option, values)
    return "\n".join(lines) + "\n"


def _head(values: Values, directory: str) -> Iterator[str]:
    yield f"# file: {_printable(values.file) if values.file else 'none'}"
    ours, project = (os.path.join(directory, name) for name in ("reserve.toml", "pyproject.toml"))
    for path in (ours, project):
        if values.file and path != values.file and os.path.exists(path) and (path == ours or _has_table(path)):
            yield f"# not read: {_printable(path)}"
    yield "[server]"


def _has_table(path: str) -> bool:
    """Whether a pyproject.toml has a table for reserve, in which a user expects to find what counts."""
    import tomllib

    try:
        with open(path, "rb") as file:
            return "reserve" in tomllib.loads(file.read(1 << 20).decode("utf-8-sig")).get("tool", {})
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return False


def _lines(option: Option, values: Values) -> Iterator[str]:
    given = values.given.get(option.field)
    source = _printable(given.source) if given else "default"
    value = values[option.field]
    if option.name == "env":
        for name, source in values.env_sources.items():
            yield _columns(f"# env.{_printable(name)} = ...", _printable(source))
        return
    if option.name == "bind" and not value:
        port_address = values.port_address()
        value = (port_address or USUAL_ADDRESS,)
        source = f"{PORT if port_address else 'default'}, if no socket is passed to the process"
    if option.name == "processes" and values.concurrency() is not None:
        value, source = values.concurrency(), CONCURRENCY
    shown = file_value(option, value)
    if shown is None or shown == []:
        yield _columns(f"# {option.name} is not set", source)
    else:
        mark = "# " if source.startswith("default") else ""
        yield _columns(f"{mark}{option.name} = {toml_text(shown)}", source)


def _columns(left: str, source: str) -> str:
    return f"{left.ljust(_WIDTH - 1)} # {source}"


def _printable(text: str) -> str:
    """A text that stays within its comment."""
    return text if text.isprintable() else repr(text)
