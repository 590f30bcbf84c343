"""Files of the user with the name of a module of Python: one of the two hides the other, and Python does not say so.

Runs on the main thread at start. A module that was imported before the working directory came first on the import path
hides a file there. A file there hides every module that is imported later.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from types import ModuleType, TracebackType

from reserve.errors import StartupError
from reserve.loader.directory import working_directory

__all__ = ["explain_shadowing", "is_stdlib_module", "refuse_shadowed"]


def is_stdlib_module(name: str) -> bool:
    """Whether the standard library has a module of this name."""
    return name in sys.stdlib_module_names


def refuse_shadowed(name: str) -> None:
    """Refuse a module of the working directory that is hidden by a module which is already imported.

    :param name: the module that is about to be imported, or was not found.
    :raises StartupError: it is hidden.
    """
    package = name.partition(".")[0]
    loaded, local = sys.modules.get(package), _find_local(package)
    if loaded is None or local is None or _is_loaded_from(loaded, local):
        return
    # A directory "reserve" is a clone of this project more often than a mistake.
    if is_stdlib_module(package) or (package == "reserve" and local.endswith(".py")):
        file = getattr(loaded, "__file__", None)
        origin = f"is already loaded from {file}" if file else "is built into Python"
        raise StartupError(f"the module {package} {origin}; {_relative(local)} is hidden by it: rename it")


def explain_shadowing(error: BaseException, *, imported: bool = False) -> str:
    """A sentence if the error probably has its cause in a local file that hides a module of Python, else an empty text.

    :param imported: consider also the local files that were being imported when the error was raised.
    """
    try:
        return _explain(error, imported)
    except BaseException:  # name, obj and the like may be code of the user, which may raise anything
        return ""


def _explain(error: BaseException, imported: bool) -> str:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        for name in (*_named_modules(current), *(_importing_modules(current.__traceback__) if imported else ())):
            local = _find_local(name, directories=False) if is_stdlib_module(name) else None
            if local is not None and (name not in sys.modules or _is_loaded_from(sys.modules[name], local)):
                return f"{_relative(local)} hides Python's own module {name}: rename it"
        current = current.__cause__ or current.__context__
    return ""


def _named_modules(error: BaseException) -> Iterator[str]:
    """The modules that the error itself names."""
    if isinstance(error, ImportError) and error.name:
        yield error.name.partition(".")[0]
    elif isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        yield error.obj.__name__.partition(".")[0]
    elif isinstance(error, SyntaxError) and error.filename:
        yield from _local_module(error.filename)


def _importing_modules(traceback: TracebackType | None) -> Iterator[str]:
    """The modules of the working directory whose import had begun and not ended."""
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_name == "<module>":
            yield from _local_module(code.co_filename)
        traceback = traceback.tb_next


def _local_module(file: str) -> Iterator[str]:
    """The name of the module of a file, if the file is in the working directory."""
    directory = os.path.join(working_directory(), "")
    if directory and file.startswith(directory):
        yield file[len(directory) :].split(os.sep)[0].removesuffix(".py")


def _find_local(name: str, *, directories: bool = True) -> str | None:
    """The file or directory in the working directory for a module.

    :param directories: include directories without ``__init__.py``, which hide nothing.
    """
    spec = PathFinder.find_spec(name, [working_directory()])
    if spec is None or (spec.origin is None and not directories):
        return None
    locations = list(spec.submodule_search_locations or ())
    return locations[0] if locations else spec.origin


def _is_loaded_from(module: ModuleType, path: str) -> bool:
    file = getattr(module, "__file__", None)
    locations = [os.path.dirname(file), file] if file else list(getattr(module, "__path__", ()))
    return os.path.realpath(path) in [os.path.realpath(location) for location in locations]


def _relative(path: str) -> str:
    directory = working_directory()
    return os.path.join(os.curdir, os.path.relpath(path, directory)) if directory else path
