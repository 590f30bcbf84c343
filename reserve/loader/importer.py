"""Importing what belongs to the user, and telling them what went wrong in their own code.

Runs on the main thread at start. Names look like ``blog``, ``mysite.wsgi``, ``mysite.wsgi:application`` or
``shop:create_app('test')``; an expression is read with ``ast`` and never evaluated. Whatever the user's code raises
becomes a ``StartupError`` with the frames of that code only: those of reserve and importlib help nobody.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from reserve.errors import ReserveError, StartupError, UsageError
from reserve.loader.shadowing import explain_hiding

__all__ = [
    "WSGI_NAMES",
    "Target",
    "cannot_take",
    "describe_exit",
    "hint_for_nothing",
    "load",
    "parse_target",
    "public_callables",
    "resolve",
    "shown",
    "users_code",
    "where",
]

WSGI_NAMES = ("application", "app")
"""What a module usually calls its WSGI application."""

_RESERVE = os.path.abspath(sys.modules["reserve"].__path__[0]) + os.sep
_EXAMPLES = os.path.join(_RESERVE, "examples") + os.sep
_IMPORTLIB = os.path.dirname(os.path.abspath(importlib.__file__)) + os.sep

_LONGEST = 80
"""Characters of a value that a message shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """``module:path.to.attribute(arguments)``, taken apart."""

    text: str
    module: str
    path: tuple[str, ...] = ()
    call: tuple[tuple[object, ...], tuple[tuple[str, object], ...]] | None = None
    """Positional and named arguments of a factory; None: the attribute itself is meant."""


def parse_target(text: str) -> Target:
    """Take a name apart.

    :raises UsageError: it is no module's name, or what follows the colon is neither a name nor a call with literals.
    """
    module, colon, expression = text.partition(":")
    if module.endswith(".py") or "/" in module or os.sep in module:
        guess = module[:-3] if module.endswith(".py") else module
        guess = guess.strip("./").replace(os.sep, ".").replace("/", ".")
        raise UsageError(f"{text!r} looks like a file; give the name of the module, as {guess + colon + expression}")
    if not all(module.split(".")):
        raise UsageError(f"{text!r} does not begin with the name of a module, as blog or mysite.wsgi:application")
    if not colon:
        return Target(text=text, module=module)
    wrong = UsageError(
        f"{text!r}: after the colon stands a name, as app or site.app, or a call with literal arguments, "
        f"as create_app('test')"
    )
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
        call = None
        if isinstance(tree, ast.Call):
            positional = tuple(ast.literal_eval(argument) for argument in tree.args)
            named = tuple((str(word.arg), ast.literal_eval(word.value)) for word in tree.keywords if word.arg)
            if len(named) != len(tree.keywords):
                raise wrong
            call = (positional, named)
            tree = tree.func
        path: list[str] = []
        while isinstance(tree, ast.Attribute):
            path.insert(0, tree.attr)
            tree = tree.value
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise wrong from error
    if not isinstance(tree, ast.Name):
        raise wrong
    return Target(text=text, module=module, path=(tree.id, *path), call=call)


def load(name: str) -> ModuleType | None:
    """Import a module; None when there is no such module.

    :raises StartupError: it is there, but importing it failed (also when it imports something that is not there).
    """
    try:
        with users_code(f"importing {name}", let_through=_is_absent(name)):
            return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


def resolve(module: ModuleType, target: Target) -> object:
    """The object that ``target`` names in ``module``; a factory is called.

    :raises StartupError: it is not there, or the factory failed.
    """
    found: object = module
    for position, attribute in enumerate(target.path):
        try:
            with users_code(f"looking up {target.text}", let_through=lambda error: isinstance(error, AttributeError)):
                found = getattr(found, attribute)
        except AttributeError:
            what = ".".join((target.module, *target.path[:position]))
            raise StartupError(f"{what} has no {attribute!r}; {public_callables(module)}") from None
    if target.call is not None:
        if not callable(found):
            what = f"{'.'.join(target.path)} is a {type(found).__name__}"
            raise StartupError(f"{target.text}: {what} and cannot be called")
        positional, named = target.call
        with users_code(f"calling {target.text}"):
            found = found(*positional, **dict(named))
    return found


def public_callables(module: ModuleType) -> str:
    """A sentence about what a module offers, for when it lacks what we looked for."""
    names = sorted(name for name, value in vars(module).items() if not name.startswith("_") and callable(value))
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"the callables of {module.__name__} are: {shown}" if names else f"{module.__name__} has no public callables"


def where(module: ModuleType, attribute: str = "") -> str:
    """The module, what is taken from it (``:app``), and its file, for messages and the start banner."""
    file = getattr(module, "__file__", None)
    return f"{module.__name__}{attribute} ({file})" if file else f"{module.__name__}{attribute}"


@contextmanager
def users_code(doing: str, *, let_through: Callable[[Exception], bool] | None = None) -> Iterator[None]:
    """Run somebody else's code: what it raises becomes a ``StartupError`` that shows their own frames.

    Our own errors pass unchanged, and so do ``SystemExit`` and ``KeyboardInterrupt``, which are not failures.

    :param doing: completes "failed while ...", for instance ``importing blog``.
    :param let_through: which exceptions the caller wants to see itself.
    """
    try:
        yield
    except ReserveError:
        raise
    except Exception as error:
        if let_through is not None and let_through(error):
            raise
        hidden = explain_hiding(error)
        hint = f"\n{hidden}" if hidden else ""
        raise StartupError(f"{doing} failed:\n{_own_frames(error)}{hint}") from error


def hint_for_nothing(name: str, what: str) -> str:
    """What has probably happened when ``name`` gave None in place of ``what``; begins with a semicolon."""
    text, colon, attribute = name.partition(":")
    module = sys.modules.get(text)
    if not colon and module is not None and not hasattr(module, "launch"):
        colon, attribute = ":", next((one for one in WSGI_NAMES if hasattr(module, one)), "launch")
    if not colon or attribute == "launch":
        return f"; did its launch(args) forget to return {what}?"
    if attribute.endswith(")"):
        return f"; did {attribute.partition('(')[0]}() forget to return {what}?"
    return f"; {attribute} is None once the module is imported"


def describe_exit(error: SystemExit) -> str:
    """What to tell of an application that ended the process at its start: with which code, and where."""
    frames = _users(traceback.extract_tb(error.__traceback__))
    frames = [frame for frame in frames if "_sitebuiltins" not in frame.filename]  # where exit() lives
    place = f", in {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
    what = "" if error.code is None else repr(error.code)
    return f"ended the process before it served: sys.exit({what}){place}"


def _is_absent(name: str) -> Callable[[Exception], bool]:
    """Whether an error means that ``name`` itself, or a package on the way to it, does not exist."""

    def is_absent(error: Exception) -> bool:
        if not isinstance(error, ModuleNotFoundError) or error.name is None:
            return False
        on_the_way = name == error.name or name.startswith(f"{error.name}.")
        return on_the_way and not _users(traceback.extract_tb(error.__traceback__))

    return is_absent


def _own_frames(error: Exception) -> str:
    report = traceback.TracebackException.from_exception(error)
    _strip(report, set())
    return "".join(report.format()).rstrip()


def _strip(report: traceback.TracebackException | None, seen: set[int]) -> None:
    if report is None or id(report) in seen:
        return
    seen.add(id(report))
    kept = _users(report.stack)
    # Without a frame there is nothing for the usual first line to announce; None leaves it out.
    report.stack = traceback.StackSummary.from_list(kept) if kept else None  # type: ignore[assignment]
    _strip(report.__cause__, seen)
    _strip(report.__context__, seen)
    for one in getattr(report, "exceptions", None) or ():
        _strip(one, seen)


def _users(stack: list[traceback.FrameSummary]) -> list[traceback.FrameSummary]:
    return [frame for frame in stack if not _is_ours(frame.filename)]


def _is_ours(filename: str) -> bool:
    if filename.startswith("<frozen importlib"):
        return True
    path = os.path.abspath(filename)
    return path.startswith(_IMPORTLIB) or (path.startswith(_RESERVE) and not path.startswith(_EXAMPLES))


def cannot_take(called: Callable[..., Any], count: int) -> str:
    """Why ``called`` cannot be called with so many positional arguments; empty when it can, or hides its signature."""
    try:
        # What a decorator adds or takes away counts; what it wraps does not.
        signature = inspect.signature(called, follow_wrapped=False)
    except (TypeError, ValueError):
        return ""  # a callable of an extension module may hide it; the first call will tell
    try:
        signature.bind(*[None] * count)
    except TypeError as error:
        return str(error)
    return ""


def shown(value: object) -> str:
    """The repr of a value, not too long for a sentence."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
