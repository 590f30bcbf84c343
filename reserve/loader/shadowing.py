"""Modules of the user with a name that Python's own library has, too: one of the two is hidden, and nobody says so.

Runs on the main thread at start. What was imported before the working directory came first on the path hides a file
there; whatever is imported later is hidden by the file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from types import ModuleType, TracebackType

from reserve.errors import StartupError

__all__ = ["explain_hiding", "is_pythons", "refuse_hidden"]


def is_pythons(name: str) -> bool:
    """Whether the standard library has a module of this name."""
    return name in sys.stdlib_module_names


def refuse_hidden(name: str) -> None:
    """Before ``name`` is imported from the working directory, and when it was not found.

    :raises StartupError: there is such a file, and a module that is loaded already hides it.
    """
    top = name.partition(".")[0]
    loaded, local = sys.modules.get(top), _local(top)
    if loaded is None or local is None or _is(loaded, local):
        return
    # A directory "reserve" is a clone of this project more often than a mistake.
    if is_pythons(top) or (top == "reserve" and local.endswith(".py")):
        file = getattr(loaded, "__file__", None)
        origin = f"is already loaded from {file}" if file else "is built into Python"
        raise StartupError(f"the module {top} {origin}; {_shown(local)} is hidden by it: rename it")


def explain_hiding(error: BaseException, *, imported: bool = False) -> str:
    """A sentence, if ``error`` probably comes of a file here that hides a module of Python's own; else empty.

    :param imported: such a file is to blame, too, when the error was raised while it was imported.
    """
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        for name in (*_blamed(one), *(_importing(one.__traceback__) if imported else ())):
            local = _local(name, directories=False) if is_pythons(name) else None
            if local is not None and (name not in sys.modules or _is(sys.modules[name], local)):
                return f"{_shown(local)} hides Python's own module {name}: rename it"
        one = one.__cause__ or one.__context__
    return ""


def _blamed(error: BaseException) -> Iterator[str]:
    """The modules that an error names itself."""
    if isinstance(error, ImportError) and error.name:
        yield error.name.partition(".")[0]
    elif isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        yield error.obj.__name__.partition(".")[0]
    elif isinstance(error, SyntaxError) and error.filename:
        yield from _here(error.filename)


def _importing(traceback: TracebackType | None) -> Iterator[str]:
    """The modules of the working directory whose import was under way."""
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_name == "<module>":
            yield from _here(code.co_filename)
        traceback = traceback.tb_next


def _here(file: str) -> Iterator[str]:
    directory = os.path.join(os.getcwd(), "")
    if file.startswith(directory):
        yield file[len(directory) :].split(os.sep)[0].removesuffix(".py")


def _local(name: str, *, directories: bool = True) -> str | None:
    """The file, or the directory, that the working directory has for a module.

    :param directories: those without ``__init__.py`` as well, which hide nothing.
    """
    spec = PathFinder.find_spec(name, [os.getcwd()])
    if spec is None or (spec.origin is None and not directories):
        return None
    places = list(spec.submodule_search_locations or ())
    return places[0] if places else spec.origin


def _is(module: ModuleType, local: str) -> bool:
    file = getattr(module, "__file__", None)
    places = [os.path.dirname(file), file] if file else list(getattr(module, "__path__", ()))
    return os.path.realpath(local) in [os.path.realpath(place) for place in places]


def _shown(path: str) -> str:
    return os.path.join(os.curdir, os.path.relpath(path))
