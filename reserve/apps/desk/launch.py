"""``reserve app desk MODULE[:NAME]``: serves a program that is written for :mod:`reserve.desk` on the full server.

Runs on the main thread at start. The program may have a call of ``serve_http`` at its end, as long as that does not run
when it is imported: ``if __name__ == "__main__":``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reserve.errors import Correction, StartupError, UsageError, short_repr
from reserve.loader.arguments import Arguments, correct_options, option_hint
from reserve.loader.find import load_application

if TYPE_CHECKING:
    from reserve.apps.desk.app import DeskApp

__all__ = ["ARGUMENTS", "launch"]

ARGUMENTS = """\
MODULE[:NAME]          serve a program for reserve.desk on the main thread: its router, or another callable of
                       a request, as diary:site; without NAME what is called app
--host NAME            a name that it has beside localhost, as desk.example.org, or "*"; may be repeated
--origin URL           whose pages may send forms, as https://www.example.org; may be repeated
"""

_NAME = "app"
_VALUES = ("--host", "--origin")
_MOST_NAMES = 5
"""How many objects of a module that could be meant a message lists."""


def launch(args: Sequence[str]) -> DeskApp:
    """Make the application that ``args`` describes.

    :param args: ``["reserve desk", NAME, ...]``.
    :raises UsageError: unknown arguments, a host or an origin that is none, or a program that calls ``serve_http`` when
        it is imported.
    :raises StartupError: a program that cannot be imported, or has no such handle; a library of desk is missing.
    """
    arguments = Arguments.of(args)
    names, values = _parse(arguments)
    if len(names) != 1 or arguments.after:
        what = f"takes one program, not {' '.join([*names, *arguments.after])}" if names else "the program is missing"
        raise UsageError(f"app desk: {what}", "; write: reserve app desk MODULE")
    (name,) = names
    try:
        from reserve.desk.serving import refusing_calls
        from reserve.desk.wsgi import Application
    except ImportError as error:
        raise StartupError(str(error)) from error  # it says which library is missing
    from reserve.apps.desk.app import DeskApp

    reason = (
        f"{name} calls serve_http() when it is imported, but reserve app desk serves it itself; put that call at its "
        'end, below the line: if __name__ == "__main__":'
    )
    with refusing_calls(reason):
        handle = _load(name, arguments)
    if isinstance(handle, Application):
        if values["--host"] or values["--origin"]:
            raise UsageError(f"{name} is an Application already: give it hosts and cross_origin there")
        return DeskApp(lambda stop: handle, name)
    try:
        return DeskApp(
            lambda stop: Application(
                handle,
                hosts=values["--host"],
                cross_origin=values["--origin"],
                on_shut_down=stop,
            ),
            name,
        )
    except ValueError as error:
        raise UsageError(f"app desk: {error}") from error


def _parse(arguments: Arguments) -> tuple[list[str], dict[str, list[str]]]:
    """The names of programs, and the values of each option."""
    names: list[str] = []
    values: dict[str, list[str]] = {flag: [] for flag in _VALUES}
    iterator = iter(arguments.before)
    for position, argument in enumerate(iterator):
        flag, equals, value = argument.partition("=")
        if flag in _VALUES:
            value = value if equals else next(iterator, "")
            if not value:
                raise UsageError(f"app desk: {flag} needs a value; reserve app desk -h says which")
            values[flag].append(value)
        elif argument.startswith("-"):
            flags = (*arguments.reserved, *_VALUES)
            why, hint = option_hint(argument, flags)
            words = arguments.before[position:]
            raise UsageError(
                f"app desk takes no {argument}{why}",
                hint or ("" if why else f"; it takes:\n{ARGUMENTS.rstrip()}"),
                correct_options(words, flags),
            )
        else:
            names.append(argument)
    return names, values


def _load(name: str, arguments: Arguments) -> Any:
    """Import the program, and find its handle."""
    module, colon, _ = name.partition(":")
    target = name if colon else f"{module}:{_NAME}"
    try:
        handle = load_application(target, arguments.derive(f"desk {target}", (), ()))
    except StartupError as error:
        likely = [] if colon else _likely_names(sys.modules.get(module))
        if not likely:
            raise
        listed = " or ".join(f"{module}:{one}" for one in likely[:_MOST_NAMES])
        raise StartupError(
            f"{module} has no {_NAME}",
            f"; write: reserve app desk {listed}",
            Correction(wrong=(name,), right=(f"{module}:{likely[0]}",)) if len(likely) == 1 else None,
        ) from error
    if not callable(handle):
        raise StartupError(f"{target} is {short_repr(handle)}, which is no router, nor another callable of a request")
    return handle


def _likely_names(module: Any) -> list[str]:
    """The routers and the like in a module that has no ``app``."""
    from reserve.desk.wsgi import Application, WSGIHandle

    if module is None or hasattr(module, _NAME):
        return []
    return [name for name, value in vars(module).items() if isinstance(value, (Application, WSGIHandle))]
