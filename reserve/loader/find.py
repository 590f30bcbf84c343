"""From an application's name to the application: reserve's own apps first, then an importable module.

Runs on the main thread at start. An application is a module with ``launch(args)`` that returns a handler
(``handle(socket, client_address, server)``, or what another bundled application documents). A name without dot and
colon means one of ours first; a dotted name, and ``module:attribute``, always mean a module on the import path.
"""

from __future__ import annotations

import ast
import importlib
import importlib.machinery
import os
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import cast

from reserve.errors import StartupError
from reserve.loader.arguments import Arguments, nearest
from reserve.loader.importer import (
    WSGI_NAMES,
    load,
    parse_target,
    public_callables,
    resolve,
    users_code,
    where,
)
from reserve.loader.shadowing import is_pythons, refuse_hidden

__all__ = ["Application", "bundled_names", "find", "open_foreign", "put_directory_first"]

_BUNDLED = "reserve.apps"
"""The package that has reserve's own applications, one module or package each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What a name turned out to mean."""

    name: str
    module: ModuleType | None
    """The module of a bundled application, else None."""
    note: str = ""
    """Something the person should know, for instance that a file of theirs is hidden by our application."""

    def launch(self, args: Arguments) -> object:
        """Make the handler.

        :param args: ``[program, words...]``; the program already has the name.
        :raises UsageError: words that nobody takes.
        :raises StartupError: the module cannot be imported, or its ``launch`` failed.
        """
        if self.module is None:
            return open_foreign(self.name, args)
        return cast("Callable[[Arguments], object]", self.module.launch)(args)


def bundled_names() -> list[str]:
    """The names of reserve's own applications."""
    return sorted(found.name for found in pkgutil.iter_modules(_folders()) if not found.name.startswith("_"))


def find(name: str) -> Application:
    """Decide what ``name`` means. A bundled application is imported; anything else only when it is launched."""
    if name not in bundled_names():
        return Application(name=name, module=None)
    module = importlib.import_module(f"{_BUNDLED}.{name}")
    if not hasattr(module, "launch"):
        return Application(name=name, module=None)
    local = importlib.machinery.PathFinder.find_spec(name, [os.getcwd()])
    note = ""
    if local is not None and local.origin is not None and not local.origin.startswith(os.path.join(*_folders(), "")):
        note = f"{name} is reserve's own application and hides {local.origin}; {_instead(name, local.origin)}"
    return Application(name=name, module=module, note=note)


def _folders() -> list[str]:
    """Where the bundled applications are: the directories of their package."""
    return list(importlib.import_module(_BUNDLED).__path__)


def _instead(name: str, file: str) -> str:
    """What to do to have the module in ``file`` served, which is not imported for that."""
    if is_pythons(name):
        return f"rename that file: Python has a module {name} of its own"
    try:
        with open(file, "rb") as source:
            body = ast.parse(source.read()).body
    except (OSError, SyntaxError, ValueError):
        body = []
    names = {one.name for one in body if isinstance(one, ast.FunctionDef)}
    for one in body:
        if isinstance(one, (ast.Assign, ast.AnnAssign)):
            targets = one.targets if isinstance(one, ast.Assign) else [one.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    wsgi = [attribute for attribute in WSGI_NAMES if attribute in names and "launch" not in names]
    return f"for that file write {f'http wsgi {name}:{wsgi[0]}' if wsgi else f'{name}:launch'}"


def put_directory_first() -> None:
    """Put the working directory first on the import path, once."""
    directory = os.getcwd()
    if sys.path[:1] != [directory]:
        sys.path.insert(0, directory)
    importlib.invalidate_caches()


def open_foreign(
    name: str, args: Arguments, *, prefixes: tuple[str, ...] = (), instead: tuple[str, ...] = ()
) -> object:
    """Import what ``name`` says and make the application that it stands for.

    ``module`` and ``module:launch`` are called with a list of their arguments; any other ``module:attribute`` and
    ``module:factory()`` is the application itself.

    :param args: ``[program, words...]``; the banner line goes to ``args.served``.
    :param prefixes: packages to look in when the import path has no such module, for names without dot and colon.
    :param instead: attributes that are the application itself when the module has no ``launch``.
    :raises UsageError: a malformed name, or words that nobody takes.
    :raises StartupError: no such module, an error in it, or nothing in it to serve.
    """
    target = parse_target(name)
    refuse_hidden(target.module)
    module = load(target.module)
    if module is None and target.path == () and "." not in name:
        for prefix in prefixes:
            module = module or load(f"{prefix}.{name}")
    if module is None:
        refuse_hidden(target.module)  # what was loaded on the way to it
        places = [f"{os.getcwd()} and the rest of the import path", *prefixes]
        near = None if prefixes else nearest(name, bundled_names())
        hint = f"; did you mean {near}?" if near else ""
        raise StartupError(f"there is no module named {target.module}; looked in {', then in '.join(places)}{hint}")
    own = module.__name__ != target.module
    if target.path and (target.path != ("launch",) or target.call is not None):
        args.refuse_rest(name)
        args.served.append(where(module, ":" + name.partition(":")[2]))
        return resolve(module, target)
    if hasattr(module, "launch"):
        args.refuse_lookalikes()
        args.served.append(where(module) + (": not in this directory, but reserve's own example" if own else ""))
        launch = resolve(module, parse_target(f"{target.module}:launch"))
        if not callable(launch):
            raise StartupError(f"launch of {module.__name__} is a {type(launch).__name__} and cannot be called")
        with users_code(f"launch(args) of {module.__name__}"):
            return cast("object", launch(list(args)))
    for attribute in instead:
        # A part of a package, as flask.app, is not what somebody wants to have served.
        if not isinstance(getattr(module, attribute, module), ModuleType):
            args.refuse_rest(f"{module.__name__}:{attribute}")
            args.served.append(where(module, f":{attribute}"))
            return resolve(module, parse_target(f"{target.module}:{attribute}"))
    looked_for = "neither launch(args) nor " + " nor ".join(instead) if instead else "no launch(args)"
    wsgi = [attribute for attribute in WSGI_NAMES if callable(getattr(module, attribute, None))]
    hint = f"; to serve its {wsgi[0]} with WSGI write: reserve app http wsgi {name}" if wsgi else ""
    raise StartupError(f"{where(module)} has {looked_for}; {public_callables(module)}{hint}")
