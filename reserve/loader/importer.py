"""Importing modules of the user, and messages about mistakes in them.

Runs on the main thread at start. A name looks like ``blog``, ``mysite.wsgi``, ``mysite.wsgi:application`` or
``shop:create_app('test')``; an expression is parsed with ``ast`` and never evaluated. An exception of the user's code
becomes a ``StartupError`` with the frames of that code only, because the frames of reserve and importlib do not help.
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

from reserve.errors import (
    Correction,
    Frame,
    ReserveError,
    StartupError,
    UsageError,
    describe_without_source,
    list_frames,
    safe_str,
    short_repr,
    type_name,
)
from reserve.loader.directory import working_directory
from reserve.loader.shadowing import explain_shadowing
from reserve.suggest import nearest

__all__ = [
    "WSGI_NAMES",
    "Target",
    "describe_callables",
    "describe_exit",
    "describe_module",
    "explain_none",
    "is_file",
    "module_of_file",
    "parse_target",
    "resolve",
    "signature_error",
    "try_import",
    "usable_names",
    "user_code",
]

WSGI_NAMES = ("application", "app")
"""The usual names of the WSGI application in a module."""

_FACTORIES = ("create_app", "make_app", "get_app", "create_application", "make_application", "get_application")
"""The usual names of functions that make one."""

_RESERVE = os.path.abspath(sys.modules["reserve"].__path__[0]) + os.sep
_EXAMPLES = os.path.join(_RESERVE, "examples") + os.sep
_IMPORTLIB = os.path.dirname(os.path.abspath(importlib.__file__)) + os.sep

_NAME_OF_IMPORT = ImportError.__dict__["name"].__get__
"""The ``name`` of an ImportError, whatever a class of the user has made of it."""

_MAX_CALLABLES = 20
"""How many callables of a module a message lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The parts of ``module:path.to.attribute(arguments)``."""

    text: str
    module: str
    path: tuple[str, ...] = ()
    call: tuple[tuple[object, ...], tuple[tuple[str, object], ...]] | None = None
    """The positional and keyword arguments of a factory; None: the attribute itself is the application."""


def parse_target(text: str) -> Target:
    """Split a name into its parts.

    :raises UsageError: it does not begin with the name of a module, or what follows the colon is neither a name nor a
        call with literal arguments.
    """
    module, colon, expression = text.partition(":")
    if is_file(text):
        right, directory = module_of_file(text)
        raise UsageError(
            f"{text!r} looks like a file; give the name of the module",
            f", as {right}",
            Correction(wrong=(text,), right=(right,), end=("--chdir", directory) if directory else ()),
        )
    if not all(module.split(".")):
        raise UsageError(f"{text!r} does not begin with the name of a module, as blog or mysite.wsgi:application")
    if not colon:
        return Target(text=text, module=module)
    usage_error = UsageError(
        f"{text!r}: after the colon stands a name, as app or site.app, or a call with literal arguments, "
        f"as create_app('test')",
        correction=None if expression else Correction(wrong=(text,), right=(module,)),
    )
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
        call = None
        if isinstance(tree, ast.Call):
            positional = tuple(ast.literal_eval(argument) for argument in tree.args)
            keywords = tuple((str(item.arg), ast.literal_eval(item.value)) for item in tree.keywords if item.arg)
            if len(keywords) != len(tree.keywords):
                raise usage_error
            call = (positional, keywords)
            tree = tree.func
        path: list[str] = []
        while isinstance(tree, ast.Attribute):
            path.insert(0, tree.attr)
            tree = tree.value
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise usage_error from error
    if not isinstance(tree, ast.Name):
        raise usage_error
    return Target(text=text, module=module, path=(tree.id, *path), call=call)


def is_file(text: str) -> bool:
    """Whether a name looks like that of a file: ``mysite/wsgi.py:app``."""
    module = text.partition(":")[0]
    return module.endswith(".py") or "/" in module or os.sep in module


def module_of_file(text: str) -> tuple[str, str]:
    """The name of the module in a file, with what follows the colon, and the directory that it is imported from.

    The directory is empty if it is the working directory.
    """
    file, colon, expression = text.partition(":")
    path = os.path.normpath(file.removesuffix(".py"))
    directory = ""
    if os.path.isabs(path) or path.startswith(os.pardir):
        directory, path = os.path.split(os.path.abspath(path))
        while os.path.exists(os.path.join(directory, "__init__.py")):
            directory, package = os.path.split(directory)
            path = os.path.join(package, path)
        inside = os.path.relpath(directory)
        if not inside.startswith(os.pardir):
            directory, path = "", os.path.normpath(os.path.join(inside, path))
    return path.replace(os.sep, ".").removesuffix(".__init__") + colon + expression, directory


def try_import(name: str) -> ModuleType | None:
    """Import a module; None if there is no such module.

    :raises StartupError: the module exists, but importing it failed (also if it imports a module that does not exist).
    """
    try:
        with user_code(f"importing {name}", reraise=_is_missing(name)):
            return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


def resolve(module: ModuleType, target: Target) -> object:
    """The object that ``target`` names in ``module``; a factory is called, and its result returned.

    :raises StartupError: there is no such object, or the factory failed.
    """
    value: object = module
    for position, attribute in enumerate(target.path):
        try:
            with user_code(f"looking up {target.text}", reraise=lambda error: issubclass(type(error), AttributeError)):
                value = getattr(value, attribute)
        except AttributeError:
            owner = ".".join((target.module, *target.path[:position]))
            right = _nearest_attribute(module, attribute) if position == 0 else ""
            raise StartupError(
                f"{owner} has no {attribute!r}; {describe_callables(module)}",
                correction=Correction(wrong=(target.text,), right=(f"{target.module}:{right}",)) if right else None,
            ) from None
    if target.call is not None:
        if not callable(value):
            name = ".".join(target.path)
            raise StartupError(f"{target.text}: {name} is a {type_name(value)} and cannot be called")
        positional, keywords = target.call
        with user_code(f"calling {target.text}"):
            value = value(*positional, **dict(keywords))
    return value


def usable_names(module: ModuleType) -> list[str]:
    """What of a module is probably a WSGI application, as it stands after the colon: ``app``, ``create_app()``."""
    names = [name for name in WSGI_NAMES if callable(vars(module).get(name))]
    for name in _FACTORIES:
        factory = vars(module).get(name)
        if callable(factory) and not signature_error(factory, 0):
            names.append(f"{name}()")
    return names


def _nearest_attribute(module: ModuleType, attribute: str) -> str:
    """What was probably meant by an attribute that a module does not have; empty: unknown."""
    names = [name for name, value in vars(module).items() if not name.startswith("_") and callable(value)]
    similar = nearest(attribute, [name for name in names if not signature_error(vars(module)[name], 2)])
    return similar or next(iter(usable_names(module)), "")


def describe_callables(module: ModuleType) -> str:
    """A sentence that lists the public callables of a module that does not have the attribute which was looked for."""
    names = sorted(name for name, value in vars(module).items() if not name.startswith("_") and callable(value))
    if not names:
        return f"{module.__name__} has no public callables"
    listed = ", ".join(names[:_MAX_CALLABLES]) + (", ..." if len(names) > _MAX_CALLABLES else "")
    return f"the callables of {module.__name__} are: {listed}"


def describe_module(module: ModuleType, attribute: str = "") -> str:
    """A module with its file, and what is taken from it (``:app``), for messages and the start banner."""
    file = getattr(module, "__file__", None)
    return f"{module.__name__}{attribute} ({file})" if file else f"{module.__name__}{attribute}"


@contextmanager
def user_code(action: str, *, reraise: Callable[[Exception], bool] | None = None) -> Iterator[None]:
    """Turn an exception of the user's code into a ``StartupError`` that shows the frames of that code only.

    Reserve's own errors pass unchanged, and so do ``SystemExit`` and ``KeyboardInterrupt``, which are no mistakes.

    :param action: what the code does, for the message, as ``importing blog``.
    :param reraise: which exceptions pass unchanged, because the caller handles them.
    """
    try:
        yield
    except ReserveError:
        raise
    except Exception as error:
        if reraise is not None and reraise(error):
            raise
        explanation = explain_shadowing(error)
        hint = f"\n{explanation}" if explanation else ""
        raise StartupError(f"{action} failed:\n{_format_user_traceback(error)}{hint}") from error


def explain_none(name: str, expected: str) -> str:
    """Why ``name`` probably gave None; begins with a semicolon.

    :param expected: what it should have given, as ``the application``.
    """
    text, colon, attribute = name.partition(":")
    module = sys.modules.get(text)
    if not colon and module is not None and not _gives(module, "launch"):
        colon, attribute = ":", next((candidate for candidate in WSGI_NAMES if _gives(module, candidate)), "launch")
    if not colon or attribute == "launch":
        return f"; did its launch(args) forget to return {expected}?"
    if attribute.endswith(")"):
        return f"; did {attribute.partition('(')[0]}() forget to return {expected}?"
    return f"; {attribute} is None once the module is imported"


def _gives(module: ModuleType, name: str) -> bool:
    """Like ``hasattr``, but a ``__getattr__`` of the module may raise anything."""
    try:
        return hasattr(module, name)
    except BaseException:
        return False


def describe_exit(error: SystemExit) -> str:
    """The predicate of a message about an application that exited during its start: the code, and the line."""
    frames = _user_frames(list_frames(error))
    frames = [frame for frame in frames if "_sitebuiltins" not in frame[0]]  # the module of exit()
    location = f", in {frames[-1][0]}, line {frames[-1][1]}" if frames else ""
    code = "" if error.code is None else short_repr(error.code)
    return f"ended the process before the server started: sys.exit({code}){location}"


def signature_error(function: Callable[..., Any], count: int) -> str:
    """Why ``function`` cannot be called with ``count`` positional arguments; empty if it can.

    It is empty also for a callable of an extension module that hides its signature: then only the first call fails.
    """
    has_signature = False
    try:
        # The signature of a decorator's wrapper counts, and not that of the function inside it.
        signature = inspect.signature(function, follow_wrapped=False)
        has_signature = True
        signature.bind(*[None] * count)
    except TypeError as error:
        return safe_str(error) if has_signature else ""
    except BaseException:  # __signature__ and the like are code of the user, which may raise anything
        return ""
    return ""


def _is_missing(name: str) -> Callable[[Exception], bool]:
    """A test whether an error means that the module ``name``, or a package that contains it, does not exist."""

    def is_missing(error: Exception) -> bool:
        if not issubclass(type(error), ModuleNotFoundError):
            return False
        missing = _NAME_OF_IMPORT(error)
        if not isinstance(missing, str):
            return False
        is_part = name == missing or name.startswith(f"{missing}.")
        return is_part and not _user_frames(list_frames(error))

    return is_missing


def _format_user_traceback(error: Exception) -> str:
    try:
        report = traceback.TracebackException.from_exception(error)
        _remove_internal_frames(report, set())
        return "".join(report.format()).rstrip()
    except BaseException:  # formatting runs code of the user, which may raise anything: see format_exception()
        return describe_without_source(error, _user_frames(list_frames(error)))


def _remove_internal_frames(report: traceback.TracebackException | None, seen: set[int]) -> None:
    if report is None or id(report) in seen:
        return
    seen.add(id(report))
    frames = [frame for frame in report.stack if not _is_internal(frame.filename)]
    # None leaves out the line "Traceback (most recent call last)", which would introduce nothing.
    report.stack = traceback.StackSummary.from_list(frames) if frames else None  # type: ignore[assignment]
    _remove_internal_frames(report.__cause__, seen)
    _remove_internal_frames(report.__context__, seen)
    for member in getattr(report, "exceptions", None) or ():
        _remove_internal_frames(member, seen)


def _user_frames(frames: list[Frame]) -> list[Frame]:
    return [frame for frame in frames if not _is_internal(frame[0])]


def _is_internal(filename: str) -> bool:
    """Whether a file belongs to importlib or to reserve, the examples excepted."""
    if filename.startswith("<frozen importlib"):
        return True
    path = os.path.normpath(os.path.join(working_directory(), filename))
    return path.startswith(_IMPORTLIB) or (path.startswith(_RESERVE) and not path.startswith(_EXAMPLES))
