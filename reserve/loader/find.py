"""From the name of an application to the application: reserve's own applications first, then an importable module.

Runs on the main thread at start. An application is a module with ``launch(args)`` that returns a handler
(``handle(socket, client_address, server)``, or what another bundled application documents). A name without dot and
colon is first looked up among reserve's own applications. A dotted name, and ``module:attribute``, always mean a module
on the import path.
"""

from __future__ import annotations

import ast
import importlib
import importlib.machinery
import inspect
import os
import pkgutil
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import cast

from reserve.errors import Correction, StartupError, UsageError, type_name
from reserve.loader.arguments import Arguments, correct_options
from reserve.loader.directory import working_directory
from reserve.loader.importer import (
    WSGI_NAMES,
    describe_callables,
    describe_module,
    is_file,
    module_of_file,
    parse_target,
    resolve,
    signature_error,
    try_import,
    usable_names,
    user_code,
)
from reserve.loader.otherservers import converted, has_foreign_name
from reserve.loader.shadowing import is_stdlib_module, refuse_shadowed
from reserve.suggest import nearest

__all__ = [
    "FoundApplication",
    "application_names",
    "bundled_names",
    "complete_words",
    "find",
    "has_application",
    "load_application",
    "put_directory_first",
]

_BUNDLED = "reserve.apps"
"""The package of reserve's own applications, one module or package each."""
_EXAMPLES = "reserve.examples"
"""The package of the examples."""
_HANDLERS = ("chat", "miniredis", "tlsecho")
"""The examples that are handlers; the others are WSGI applications."""
_WSGI = ("http", "wsgi")
"""What stands before the name of a WSGI application."""
_PROTOCOLS = ("http", "scgi", "fcgi", "uwsgi")
"""The applications of reserve that serve ``wsgi NAME``."""
_OTHER_NAMES = {"fastcgi": "fcgi", "ws": "websocket"}
"""What users call an application of reserve, and its name."""
_EXAMPLE = "blog"
"""The name in a proposed line for a user who gave none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundApplication:
    """An application that was found by its name and is not launched yet."""

    name: str
    module: ModuleType | None
    """The module of a bundled application or of an example, else None."""
    note: str = ""
    """A message for the user, for instance that a local file is hidden by a bundled application."""

    @property
    def arguments(self) -> str:
        """The help text about its own arguments, ``ARGUMENTS`` of a bundled application or of an example; or empty."""
        return "" if self.module is None else str(self.module.ARGUMENTS)

    def launch(self, args: Arguments) -> object:
        """Make the handler.

        :param args: ``[program, arguments...]``; the program already includes the name.
        :raises UsageError: arguments that the application does not take.
        :raises StartupError: the module cannot be imported, or its ``launch`` failed.
        """
        if self.module is None:
            return load_application(self.name, args)
        if self.module.__name__.startswith(_EXAMPLES):
            args.refuse_misspelt_options()
        return cast("Callable[[Arguments], object]", self.module.launch)(args)


def bundled_names() -> list[str]:
    """The names of reserve's own applications."""
    modules = pkgutil.iter_modules(_bundled_directories())
    return sorted(module.name for module in modules if not module.name.startswith("_"))


def application_names() -> list[str]:
    """The names of reserve's own applications, and of the examples that are handlers."""
    return sorted([*bundled_names(), *_HANDLERS])


def has_application(name: str) -> bool:
    """Whether a word is the name of an application: one of reserve's own, an example, or a module on the import path.
    Nothing is imported.
    """
    own = {*bundled_names(), *_HANDLERS, *_OTHER_NAMES, "wsgi", _EXAMPLE}
    return name in own or _find_source(name) is not None


def find(name: str) -> FoundApplication:
    """Find an application. A bundled one is imported here; any other module only when it is launched.

    An example is imported here, too. It hides no module of the user: one with its name has precedence.
    """
    if _is_example(name):
        return FoundApplication(name=name, module=importlib.import_module(f"{_EXAMPLES}.{name}"))
    if name not in bundled_names():
        return FoundApplication(name=name, module=None)
    module = importlib.import_module(f"{_BUNDLED}.{name}")
    if not hasattr(module, "launch"):
        return FoundApplication(name=name, module=None)
    local = importlib.machinery.PathFinder.find_spec(name, [working_directory()])
    note = ""
    bundled = os.path.join(*_bundled_directories(), "")
    if local is not None and local.origin is not None and not local.origin.startswith(bundled):
        note = f"{name} is reserve's own application and hides {local.origin}; {_advice(name, local.origin)}"
    return FoundApplication(name=name, module=module, note=note)


def _is_example(name: str) -> bool:
    """Whether a name means the example: a handler, and the import path has no such module."""
    return name in _HANDLERS and _find_source(name) is None


def _bundled_directories() -> list[str]:
    return list(importlib.import_module(_BUNDLED).__path__)


def _advice(name: str, file: str) -> str:
    """How to serve the module in ``file``. The file is parsed, but not imported."""
    if is_stdlib_module(name):
        return f"rename that file: Python has a module {name} of its own"
    try:
        with open(file, "rb") as source:
            body = ast.parse(source.read()).body
    except (OSError, SyntaxError, ValueError):
        body = []
    names = {statement.name for statement in body if isinstance(statement, ast.FunctionDef)}
    for statement in body:
        if isinstance(statement, (ast.Assign, ast.AnnAssign)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    wsgi = [attribute for attribute in WSGI_NAMES if attribute in names and "launch" not in names]
    return f"for that file write {f'http wsgi {name}:{wsgi[0]}' if wsgi else f'{name}:launch'}"


def complete_words(words: Sequence[str]) -> list[str]:
    """The words that were probably meant after ``app``: ``x:app`` becomes ``http wsgi x:app``.

    The application is not imported; its source is parsed, if there is one.

    :param words: what stands there, or should stand there. Empty: an example is named.
    """
    first, *rest = words or ("",)
    if first in _OTHER_NAMES and not _find_source(first):
        first = _OTHER_NAMES[first]
    protocol = first if first in _PROTOCOLS else "http"
    if first == protocol and rest[:1] == ["wsgi"]:
        first, rest = "wsgi", rest[1:]
    if first in (protocol, "wsgi"):
        name = rest[0] if rest else _EXAMPLE
        return [protocol, "wsgi", *_name_and_rest(name, rest[1:])]
    if first in bundled_names() or _is_example(first):
        return [first, *rest]
    if not first:
        return [*_WSGI, _EXAMPLE]
    words = _name_and_rest(first, rest)
    return words if _is_handler(words[0]) else [*_WSGI, *words]


def _name_and_rest(first: str, rest: Sequence[str]) -> list[str]:
    """A name and what follows it. If it takes no arguments, options of other servers become ours."""
    name, *options = _module_words(first)
    meant = None if _takes_arguments(name) else converted([name, *rest], lambda argument: None)
    if meant is None:
        return [name, *options, *rest]
    for position, word in enumerate(meant[1:], 1):
        if word.isdecimal() and not meant[position - 1].startswith("-"):
            meant[position : position + 1] = ["--bind", f"localhost:{word}"]
            break
    return [meant[0], *options, *meant[1:]]


def _takes_arguments(name: str) -> bool:
    """Whether an application has a ``launch(args)``, or may have one."""
    module, _, attribute = name.partition(":")
    if attribute:
        return attribute == "launch"
    try:
        with open(_find_source(module) or "", "rb") as file:
            return b"launch" in file.read()
    except OSError:
        return True


def _module_words(name: str) -> list[str]:
    """A name; for a file its module, and the option for its directory."""
    if not is_file(name):
        return [name]
    module, directory = module_of_file(name)
    return [module, "--chdir", directory] if directory else [module]


def _is_handler(name: str) -> bool:
    """Whether the source of a module seems to have a handler(socket, client_address, server)."""
    module, _, attribute = name.partition(":")
    path = _find_source(module)
    try:
        with open(path or os.devnull, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):
        return False
    top = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    if attribute not in ("", "launch") or (not attribute and "launch" not in top):
        return any(
            isinstance(node, ast.FunctionDef) and node.name == attribute and _takes_3(node) for node in tree.body
        )
    return any(isinstance(node, ast.FunctionDef) and _takes_3(node) for node in ast.walk(tree))


def _takes_3(function: ast.FunctionDef) -> bool:
    names = [argument.arg for argument in function.args.args if argument.arg not in ("self", "cls")]
    return len(names) == 3 and names[-1].lstrip("_") == "server"


def _find_source(name: str) -> str | None:
    """The file of a module, without importing it or its packages; None: there is no such module."""
    path: Sequence[str] = [os.getcwd(), *sys.path]
    origin = None
    for part in name.split("."):
        try:
            spec = importlib.machinery.PathFinder.find_spec(part, list(path))
        except (ImportError, ValueError):
            return None
        if spec is None:
            return None
        origin = spec.origin
        path = spec.submodule_search_locations or ()
    return origin


def put_directory_first() -> None:
    """Put the working directory, which exists, first on the import path, unless it is there already."""
    directory = working_directory()
    if sys.path[:1] != [directory]:
        sys.path.insert(0, directory)
    importlib.invalidate_caches()


def load_application(
    name: str, args: Arguments, *, packages: tuple[str, ...] = (), attributes: tuple[str, ...] = ()
) -> object:
    """Import a module of the user and return the application in it.

    ``launch`` of ``module`` and ``module:launch`` is called with the list of its arguments, and returns the
    application. Any other ``module:attribute``, and the result of ``module:factory()``, is the application itself.

    :param args: ``[program, arguments...]``; a line for the banner is added to ``args.served``.
    :param packages: where to look, for names without dot and colon, if the import path has no such module.
    :param attributes: the attributes that are the application itself if the module has no ``launch``.
    :raises UsageError: a malformed name, or arguments that the application does not take.
    :raises StartupError: no such module, an error in it, or no application in it.
    """
    target = parse_target(name)
    refuse_shadowed(target.module)
    module = try_import(target.module)
    if (module is None or _is_mere_directory(module)) and target.path == () and "." not in name:
        for package in packages:
            module = try_import(f"{package}.{name}") or module
    if module is None:
        refuse_shadowed(target.module)  # by a module that the attempt has imported
        directory = working_directory()
        unreadable = "" if os.access(directory, os.R_OK | os.X_OK) else " (which this process may not read)"
        locations = [f"{directory}{unreadable} and the rest of the import path", *packages]
        # wsgi is what stands after a name; it is no misspelt uwsgi.
        is_kind_known = bool(packages or attributes)
        match = None if is_kind_known or name == _WSGI[1] else _meant_application(name)
        raise StartupError(
            f"there is no module named {target.module}; looked in {', then in '.join(locations)}",
            f"; did you mean {match}?" if match else "",
            _correct_missing(name, match, args.before, is_kind_known=is_kind_known),
        )
    if target.path and (target.path != ("launch",) or target.call is not None):
        args.refuse_rest(name)
        args.served.append(describe_module(module, ":" + name.partition(":")[2]))
        return resolve(module, target)
    if hasattr(module, "launch"):
        args.refuse_misspelt_options()
        is_example = module.__name__ != target.module
        note = ": not in this directory, but reserve's own example" if is_example else ""
        args.served.append(describe_module(module) + note)
        launch = resolve(module, parse_target(f"{target.module}:launch"))
        if not callable(launch):
            raise StartupError(f"launch of {module.__name__} is a {type_name(launch)} and cannot be called")
        try:
            with user_code(f"launch(args) of {module.__name__}"):
                return cast("object", launch(list(args)))
        except UsageError as error:
            if error.correction is None and any(has_foreign_name(argument) for argument in args.before):
                error.correction = correct_options(args.before, args.reserved)
            raise
    for attribute in attributes:
        # A submodule, as flask.app, is not an application.
        if not isinstance(getattr(module, attribute, module), ModuleType):
            args.refuse_rest(f"{module.__name__}:{attribute}")
            args.served.append(describe_module(module, f":{attribute}"))
            return resolve(module, parse_target(f"{target.module}:{attribute}"))
    missing = "neither launch(args) nor " + " nor ".join(attributes) if attributes else "no launch(args)"
    wsgi = [attribute for attribute in WSGI_NAMES if callable(getattr(module, attribute, None))]
    hint = f"; to serve its {wsgi[0]} with WSGI write: reserve app http wsgi {name}" if wsgi else ""
    raise StartupError(
        f"{describe_module(module)} has {missing}; {describe_callables(module)}",
        hint,
        _correct_launch(name, module, args.before, attributes),
    )


def _is_mere_directory(module: ModuleType) -> bool:
    """Whether what was imported is a directory without ``__init__.py``, which has nothing to serve."""
    return getattr(module, "__file__", None) is None and hasattr(module, "__path__")


def _meant_application(name: str) -> str | None:
    """The application of reserve, or the example, that a name resembles; None: there is none."""
    return _OTHER_NAMES.get(name) or nearest(name, application_names())


def _correct_missing(
    name: str, match: str | None, arguments: Sequence[str], *, is_kind_known: bool
) -> Correction | None:
    """What was probably meant by the name of a module that does not exist.

    :param match: the bundled application with a similar name.
    :param arguments: those that follow the name.
    :param is_kind_known: what stands before the name says how it is served: ``http wsgi`` or ``websocket``.
    """
    if not is_kind_known and (name == "wsgi" or match is not None):
        words = (match or name, *arguments)
        return Correction(wrong=(name, *arguments), right=tuple(complete_words(words)))
    if not is_kind_known and _find_source(f"{_EXAMPLES}.{name}"):
        return Correction(wrong=(name,), right=(*_WSGI, name))
    if not is_kind_known and name.partition(":")[0] in application_names():
        return Correction(wrong=(name,), right=tuple(complete_words([name.partition(":")[0]])))
    stem = name.partition("(")[0]
    module, dot, attribute = stem.rpartition(".")
    source = _find_source(module) if dot and ":" not in name else None
    if source is not None:  # mysite.wsgi.application, or mysite.wsgo
        right = _correct_path(module, attribute, source)
        if right is None:
            return None
        right += name[len(stem) :]
        return Correction(wrong=(name,), right=(right,) if is_kind_known else (*_WSGI, right))
    module, _, attribute = name.partition(":")
    local = [path.removesuffix(".py") for path in os.listdir() if path.endswith(".py")]
    similar = nearest(module.lower(), {one.lower(): one for one in local})
    if similar is not None:
        right = name.replace(module, next(one for one in local if one.lower() == similar), 1)
        return Correction(wrong=(name,), right=(right,))
    return None


def _correct_path(module: str, attribute: str, source: str) -> str | None:
    """What was probably meant by ``module.attribute`` that is no module: an attribute of the module, or a submodule.

    :param source: the file of the module.
    """
    try:
        with open(source, encoding="utf-8") as file:
            names = set(re.findall(r"\w+", file.read()))
    except (OSError, ValueError):  # no Python file, so its attributes are unknown
        return f"{module}:{attribute}"
    if attribute in names:
        return f"{module}:{attribute}"
    found = nearest(attribute, names & set(WSGI_NAMES))
    if found is not None:
        return f"{module}:{found}"
    if os.path.basename(source) != "__init__.py":
        return None
    submodules = [one.name for one in pkgutil.iter_modules([os.path.dirname(source)])]
    found = nearest(attribute, submodules) or next((one for one in submodules if one == "wsgi"), None)
    return f"{module}.{found}" if found is not None else None


def _correct_launch(
    name: str, module: ModuleType, arguments: Sequence[str], attributes: tuple[str, ...]
) -> Correction | None:
    """What was probably meant by a module without ``launch``: the WSGI application in it, or the only handler.

    :param attributes: those that are the application itself; they tell whether it is one of WSGI.
    """
    if attributes not in ((), WSGI_NAMES):
        handlers = [
            attribute
            for attribute, value in vars(module).items()
            if getattr(value, "__module__", "") == module.__name__
            and (
                any(hasattr(value, one) for one in attributes)
                or (inspect.isfunction(value) and not signature_error(value, 1))
            )
        ]
        return Correction(wrong=(name,), right=(f"{name}:{handlers[0]}",)) if len(handlers) == 1 else None
    usable = usable_names(module)
    if name == "wsgi" and not attributes and arguments and not arguments[0].startswith("-"):
        return Correction(wrong=(name,), right=_WSGI)
    if not usable:
        if name.isidentifier() and _find_source(f"{name}.wsgi"):  # the package of a Django project
            right = f"{name}.wsgi"
            return Correction(wrong=(name,), right=(right,) if attributes else (*_WSGI, right))
        return None
    right = name if usable[0] in WSGI_NAMES else f"{name}:{usable[0]}"
    return Correction(wrong=(name,), right=(right,) if attributes else (*_WSGI, right))
