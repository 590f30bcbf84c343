"""From ``module:function`` to the function: the hooks of a configuration.

Runs on the main thread at start. A hook is named like an application, and mistakes are explained like those in the name
of an application; it is not called here.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any

from reserve.errors import Correction, StartupError, UsageError, short_repr
from reserve.loader.directory import working_directory
from reserve.loader.importer import (
    Target,
    describe_callables,
    describe_exit,
    parse_target,
    resolve,
    signature_error,
    try_import,
)
from reserve.loader.shadowing import refuse_shadowed
from reserve.suggest import nearest

__all__ = ["check_hook", "load_hook"]


def check_hook(name: str, source: str) -> Target:
    """The parts of the name. Nothing is imported.

    :param source: where the name comes from, for messages: ``--on-ready``.
    :raises UsageError: it is not ``module:function``.
    """
    try:
        target = parse_target(name)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from error
    if not target.path or target.call is not None:
        raise UsageError(
            f"{source}: {name!r} does not name a function; write module:function without parentheses, as "
            "shop.hooks:connect"
        )
    return target


def load_hook(name: str, source: str, flag: str, arguments: int) -> Callable[..., Any]:
    """Import the module and return the function.

    :param source: where the name comes from, for messages.
    :param flag: the option on the command line, for the corrected line.
    :param arguments: with how many arguments the server calls it.
    :raises UsageError: it is not ``module:function``.
    :raises StartupError: there is no such module or function, the module fails, or the function cannot be called so.
    """
    target = check_hook(name, source)
    try:
        refuse_shadowed(target.module)
        module = try_import(target.module)
    except SystemExit as error:
        raise StartupError(f"{source}: importing {target.module} {describe_exit(error)}") from error
    except StartupError as error:
        raise StartupError(f"{source}: {error}") from error
    if module is None:
        directory = working_directory()
        local = [path.removesuffix(".py") for path in os.listdir(directory) if path.endswith(".py")]
        raise StartupError(
            f"{source}: there is no module named {target.module}; looked in {directory} and the rest of the import "
            "path",
            correction=_correction(flag, name, nearest(target.module, local), ".".join(target.path)),
        )
    try:
        hook = resolve(module, target)
    except StartupError as error:
        names = [one for one, value in vars(module).items() if not one.startswith("_") and callable(value)]
        match = nearest(target.path[0], names) if len(target.path) == 1 else None
        correction = _correction(flag, name, target.module, match)
        raise StartupError(f"{source}: {error}", correction=correction) from error
    if not callable(hook):
        raise StartupError(
            f"{source}: {name} is {short_repr(hook)}, which cannot be called; {describe_callables(module)}"
        )
    call = hook if inspect.isroutine(hook) else getattr(type(hook), "__call__", None)  # noqa: B004
    if inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(call):
        raise StartupError(f"{source}: {name} is async, and a hook is an ordinary function; write def in place of it")
    reason = signature_error(hook, arguments)
    if reason:
        what = "one argument, the reserve.RequestEnd" if arguments else "no arguments"
        raise StartupError(f"{source}: {name} cannot be called with {what}: {reason}")
    return hook


def _correction(flag: str, name: str, module: str | None, function: str | None) -> Correction | None:
    """What was probably meant by ``name``; None: a part of it is not known."""
    if module is None or function is None:
        return None
    return Correction(option=flag, wrong=(name,), right=(f"{module}:{function}",))
