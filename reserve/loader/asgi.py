"""Applications that are called with ``await``, as ASGI ones are: reserve calls ordinary functions only.

Runs on the main thread at start. Without this check, such an application starts, and every request fails.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from reserve.errors import Correction, StartupError
from reserve.loader.importer import WSGI_NAMES, signature_error

__all__ = ["refuse_async"]

_PARAMETERS = ("scope", "receive", "send")


def refuse_async(name: str, app: Any, what: str, words: Sequence[str]) -> None:
    """Refuse an application that has to be awaited.

    :param name: what the user wrote: ``shop:app``.
    :param app: what it gave.
    :param what: what is expected, for the message, as ``a WSGI application``.
    :param words: what stands on the command line in place of ``name`` and serves a WSGI application, without its name.
    :raises StartupError: it is one. For an ASGI application the correction is a command that makes a WSGI application
        of it with the package a2wsgi.
    """
    call = _asynchronous(app)
    if call is None:
        return
    is_class = isinstance(app, type)
    if signature_error(call, 4 if call is not app else 3):  # 4: with self
        advice = "write def in place of async def"
        raise StartupError(f"{name} is async, and {what} is an ordinary callable; {advice}")
    if is_class and signature_error(app, 0):
        raise StartupError(f"{name} is a class of ASGI applications, and {what} is expected; name one of its instances")
    module, expression = _expression(name)
    if is_class:
        expression += "()"
    new, file = _free_module(module)
    source = f"import {module}, a2wsgi; app = a2wsgi.ASGIMiddleware({module}.{expression})"
    write = f"printf '%s\\n' {shlex.quote(source)} > {shlex.quote(file)}"
    if not _is_installed("a2wsgi"):
        write = f"{shlex.quote(sys.executable)} -m pip install a2wsgi && {write}"
    raise StartupError(
        f"{name} is an ASGI application, and {what} is expected; the package a2wsgi makes one of it, without "
        "WebSockets and lifespan events",
        correction=Correction(wrong=(name,), right=(*words, f"{new}:app"), before=write),
    )


def _asynchronous(app: Any) -> Any:
    """The function of ``app`` that has to be awaited, or None. For an object or a class it is ``__call__``."""
    try:
        if inspect.iscoroutinefunction(app) or inspect.isasyncgenfunction(app):
            return app
        # A class is looked at itself: its instances are what is called.
        call = getattr(app if isinstance(app, type) else type(app), "__call__", None)  # noqa: B004
        if inspect.iscoroutinefunction(call):
            return call
        parameters = tuple(inspect.signature(app).parameters) if inspect.isroutine(app) else ()
        return app if parameters == _PARAMETERS else None
    except BaseException:  # __call__, __signature__ and the like are code of the user, which may raise anything
        return None


def _expression(name: str) -> tuple[str, str]:
    """The module of an application, and the expression in that module which gives the application."""
    module, colon, expression = name.partition(":")
    if colon:
        return module, expression
    names = vars(sys.modules[module]) if module in sys.modules else {}
    if "launch" in names:
        return module, f"launch({[module]!r})"
    return module, next((one for one in WSGI_NAMES if one in names), WSGI_NAMES[0])


def _free_module(module: str) -> tuple[str, str]:
    """The name of a module that does not exist in the working directory, and its file as the user's shell finds it."""
    stem = f"{module.rpartition('.')[2]}_wsgi"
    number = 1
    name = stem
    while os.path.exists(f"{name}.py"):
        number += 1
        name = f"{stem}{number}"
    file = f"{name}.py"
    # --chdir has changed the directory since the shell.
    is_same = os.path.realpath(os.environ.get("PWD", os.curdir)) == os.getcwd()
    return name, file if is_same else os.path.abspath(file)


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
