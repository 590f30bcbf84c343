"""Imports go one way, and only where the architecture says; read from the sources with ``ast``."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "reserve"

_GROUND = {"errors", "paramtypes", "suggest", "wait"}
_SERVING = _GROUND | {"protocol", "sockets", "ssl", "loader", "gateways", "engine", "apps"}
ALLOWED: dict[str, set[str]] = {
    # room of the package: which others it may import, TYPE_CHECKING and function-level imports counted
    "errors": set(),
    "paramtypes": {"errors"},
    "suggest": set(),
    "wait": set(),
    "protocol": _GROUND,
    "sockets": _GROUND,
    "ssl": _GROUND,
    "loader": _GROUND,
    "gateways": _GROUND,
    "examples": _GROUND,
    "sdlaunch": _GROUND | {"sockets"},
    "engine": _GROUND | {"sockets", "ssl"},
    "apps": _SERVING,
    "options": _SERVING,
    "testing": _SERVING,
    "cli": _SERVING | {"options"},
    "__init__": _SERVING,
    "__main__": {"cli"},
}
VALUES = {
    "reserve.apps.http.settings",
    "reserve.engine.settings",
    "reserve.protocol.http1.limits",
    "reserve.sockets.addresses",
    "reserve.ssl.settings",
}
"""What the option table reads and fills of the rooms below it: plain values."""
OPTIONAL = {
    # module: what it may import beside the standard library
    "reserve.ssl.certificate": {"cryptography"},
    "reserve.ssl.pyopenssl": {"OpenSSL", "cryptography"},
    "reserve.options.sources": {"tomli"},
}
IMPURE = {
    "_thread", "asyncio", "concurrent", "multiprocessing", "os", "queue", "sched", "select", "selectors", "signal",
    "socket", "ssl", "subprocess", "threading", "time",
}  # fmt: skip
"""What turns bytes-in-values-out code into code with a clock, a thread or a socket."""


def _modules() -> Iterator[tuple[str, ast.Module, bool]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        yield name, ast.parse(path.read_text("utf-8"), str(path)), is_package


def _imports(name: str, tree: ast.Module, is_package: bool) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that is imported; ``from reserve import x`` counts as ``reserve.x``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = name.split(".") if is_package else name.split(".")[:-1]
                parents = parents[: len(parents) - (node.level - 1)]
                base = ".".join([*parents, base] if base else parents)
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def _part(name: str) -> str:
    return name.split(".")[1] if "." in name else "__init__"


MODULES = list(_modules())


def _complaints() -> Iterator[str]:
    for name, tree, is_package in MODULES:
        part = _part(name)
        if part not in ALLOWED:
            yield f"{name}: no rule says what {part!r} may import; add one to ALLOWED"
            continue
        for line, target in _imports(name, tree, is_package):
            root, _, rest = target.partition(".")
            if root == "reserve":
                other = rest.split(".")[0] if rest else "__init__"
                if other == "__version__" or (other == part and name != "reserve"):
                    continue
                if other not in ALLOWED[part]:
                    yield f"{name}:{line} imports {target}: {part} stands below or beside {other}"
                elif part == "options" and other not in _GROUND and not target.startswith(tuple(VALUES)):
                    yield f"{name}:{line} imports {target}: the option table needs plain values only"
            elif root not in {*sys.stdlib_module_names, "_typeshed", *OPTIONAL.get(name, ())}:
                # only type checkers see _typeshed
                yield f"{name}:{line} imports {target}: the core needs the standard library only"


def test_the_walk_sees_the_package() -> None:
    names = {name for name, _, _ in MODULES}
    assert {"reserve", "reserve.errors", "reserve.sockets.listeners", "reserve.sdlaunch"} <= names


def test_imports_go_one_way() -> None:
    assert list(_complaints()) == []


def test_protocol_is_without_input_output_threads_and_clock() -> None:
    found = [
        f"{name}:{line} imports {target}"
        for name, tree, is_package in MODULES
        if _part(name) == "protocol"
        for line, target in _imports(name, tree, is_package)
        if target.split(".")[0] in IMPURE
    ]
    assert found == []


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("reserve.engine.x", "from reserve.protocol import y", "reserve.protocol.y"),
        ("reserve.engine.x", "import reserve.apps.http", "reserve.apps.http"),
        ("reserve.engine.x", "from ..gateways import wsgi", "reserve.gateways.wsgi"),
        ("reserve.engine.x", "from . import y", "reserve.engine.y"),
        ("reserve.engine.x", "from .y import z", "reserve.engine.y.z"),
        ("reserve.engine.x", "def f():\n    from reserve import Server", "reserve.Server"),
    ],
)
def test_every_form_of_import_is_understood(name: str, source: str, expected: str) -> None:
    assert [target for _, target in _imports(name, ast.parse(source), False)] == [expected]
