"""The house: which room may import which, no circles, few files in a folder, no private slang among the names.

Read from the sources with ``ast``; imports under TYPE_CHECKING and inside functions count like all others.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "reserve"

_GROUND = {"errors", "keywords", "paramtypes", "suggest", "wait"}
_SERVING = _GROUND | {"protocol", "sockets", "ssl", "loader", "gateways", "engine", "apps"}
ALLOWED: dict[str, set[str]] = {
    # room of the package: which others it may import, TYPE_CHECKING and function-level imports counted
    "errors": set(),
    "keywords": set(),
    "paramtypes": {"errors"},
    "suggest": set(),
    "wait": set(),
    "protocol": _GROUND,
    "sockets": _GROUND,
    "ssl": _GROUND,
    "loader": _GROUND,
    "gateways": _GROUND,
    "examples": _GROUND | {"Park", "Server", "desk"},  # as a user's program imports them
    "daemon": {"errors"},
    "sdlaunch": _GROUND | {"daemon", "sockets"},
    "engine": _GROUND | {"sockets", "ssl"},
    "control": _GROUND | {"engine", "gateways", "sockets"},
    "apps": _SERVING | {"control"},
    "compat": _SERVING | {"__init__"},
    "browser": set(),
    "desk": _SERVING | {"browser"},
    "options": _SERVING | {"control"},
    "testing": _SERVING,
    "cli": _SERVING | {"browser", "control", "daemon", "options"},
    "supervisor": _GROUND | {"cli", "control", "daemon", "engine", "options", "sockets"},
    "__init__": _SERVING,
    "__main__": {"cli", "daemon", "errors", "supervisor"},
}
VALUES = {
    "reserve.apps.http.settings",
    "reserve.control.metrics.target",
    "reserve.engine.polling.processors",
    "reserve.engine.settings",
    "reserve.loader.otherservers",
    "reserve.protocol.http1.limits",
    "reserve.sockets.addresses",
    "reserve.ssl.settings",
}
"""What the option table reads and fills of the rooms below it: plain values."""
ABOVE_DESK = "reserve.apps.desk"
"""The one application that stands above the toolkit: it serves programs that are written for that."""
TRANSPORT = "reserve.protocol.proxy"
"""The one protocol that the engine knows: the header with which a frontend begins a connection of any protocol."""
OPTIONAL = {
    # module: what it may import beside the standard library
    "reserve.desk.content": {"markupsafe"},
    "reserve.desk.formdata": {"python_multipart"},
    "reserve.desk.session": {"itsdangerous"},
    "reserve.protocol.websocket.session": {"websockets"},
    "reserve.ssl.certificate": {"cryptography"},
    "reserve.ssl.pyopenssl": {"OpenSSL", "cryptography"},
    "reserve.supervisor.watch": {"watchfiles"},
}
_ENGINE_GROUND = {"settings", "metrics", "polling", "clients"}
_ENGINE_SERVING = _ENGINE_GROUND | {"logs", "hooks", "tls", "connections"}
ENGINE_FLOORS: dict[str, set[str]] = {
    # folder or module of the engine: which others of the engine it may import
    "settings": set(),
    "metrics": set(),
    "polling": set(),
    "clients": {"settings"},
    "logs": {"polling"},
    "hooks": {"logs"},
    "tls": {"logs", "polling"},
    "connections": _ENGINE_SERVING,
    "drivers": _ENGINE_SERVING,
    "scheduler": _ENGINE_SERVING,
    "endpoints": _ENGINE_SERVING | {"drivers"},
    "acceptor": _ENGINE_SERVING,
    "scoreboard": set(),
    "admission": _ENGINE_SERVING | {"drivers", "endpoints", "scheduler"},
    "runtime": _ENGINE_SERVING | {"acceptor", "admission", "endpoints", "scheduler", "scoreboard"},
    "shutdown": _ENGINE_SERVING | {"drivers", "runtime", "scheduler"},
    "fork": set(),
    "lifecycle": _ENGINE_SERVING | {"endpoints", "fork", "runtime", "scheduler", "scoreboard", "shutdown"},
    "collect": _ENGINE_SERVING | {"endpoints", "runtime", "scheduler"},
    "server": _ENGINE_SERVING | {"collect", "drivers", "endpoints", "lifecycle", "runtime", "scheduler", "scoreboard"},
}
_DESK_GROUND = {"content", "bag"}
_DESK_INPUT = _DESK_GROUND | {"templates", "templatefolder", "formdata"}
_DESK_VALUES = _DESK_INPUT | {"request", "response", "errorpage"}
_DESK_PARTS = {"forms", "security", "session", "staticfolder"}
DESK_FLOORS: dict[str, set[str]] = {
    # folder or module of desk: which others of desk it may import; those that are not here may import them all
    "browser": set(),
    "content": set(),
    "bag": set(),
    "templates": _DESK_GROUND,
    "templatefolder": _DESK_GROUND | {"templates"},
    "formdata": _DESK_GROUND,
    "request": _DESK_VALUES,
    "response": _DESK_VALUES,
    "errorpage": _DESK_VALUES,
    **{name: _DESK_VALUES | {"router", "forms"} for name in _DESK_PARTS},
    "wsgi": _DESK_VALUES | {"security"},
    "router": _DESK_VALUES | {"wsgi"},  # a router and a guard are WSGI callables themselves
    "transactionguard": _DESK_VALUES | {"wsgi"},
}
MOST_FILES = {
    # folder with folders beside its files: how many files of its own it may have
    "reserve": 6,
    "reserve/apps/http": 16,
    "reserve/cli": 18,
    "reserve/desk": 20,
    "reserve/engine": 13,
    "reserve/engine/connections": 15,
    "reserve/engine/scheduler": 17,
    "reserve/ssl": 15,
    "reserve/testing": 6,
}
SLANG_FILES = {
    "calls", "certified", "collecting", "commandline", "doors", "ending", "foreign", "given", "guard", "hardend",
    "headdriver", "inherit", "life", "machinery", "outage", "overdue", "readiness", "receiving", "repeats", "roster",
    "securesocket", "securetransport", "shortage", "signaldoor", "storing", "textout", "voice",
}  # fmt: skip
"""Names of files that were images, or said nothing, and must not come back."""
SLANG = {
    "bed", "bury", "claimant", "crowded", "cut_short", "deaf", "doors", "draught", "farewell", "give_back", "goodbye",
    "hang_up", "hardend", "haste", "hopeless", "hung_up", "knock", "lay_down", "nudge", "outage", "overdue", "pass_on",
    "repeats", "roster", "say_goodbye", "securesocket", "shortage", "signaldoor", "sleepers", "speak", "step_aside",
    "take_leave", "textout", "torn", "voice",
}  # fmt: skip
"""Names of classes, functions and attributes, likewise."""
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
                if part == "engine" and target.startswith(f"{TRANSPORT}."):
                    continue
                if name.startswith(ABOVE_DESK) and other == "desk":
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


def test_the_policy_of_the_supervisor_is_without_processes_and_clock() -> None:
    """It decides; what it needs of the package are values."""
    values = ("reserve.cli.early.signaltable.", "reserve.errors.", "reserve.supervisor.actions.")
    found = [
        f"{name}:{line} imports {target}"
        for name, tree, is_package in MODULES
        if name in ("reserve.supervisor.actions", "reserve.supervisor.policy")
        for line, target in _imports(name, tree, is_package)
        if target.split(".")[0] in {"reserve", *IMPURE} - {"signal"}
        if not target.startswith(values)
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


# ---- the engine's floors ----


def _floor(name: str) -> str:
    return name.split(".")[2]


def test_the_engine_imports_from_its_lower_floors_only() -> None:
    found = [
        f"{name}:{line} imports {target}"
        for name, tree, is_package in MODULES
        if name.startswith("reserve.engine.")
        for line, target in _imports(name, tree, is_package)
        if target.startswith("reserve.engine.")
        and _floor(target) != _floor(name)
        and _floor(target) not in ENGINE_FLOORS[_floor(name)]
    ]
    assert found == []


def test_every_floor_of_the_engine_has_a_rule_that_is_needed() -> None:
    floors = {_floor(name) for name, _, _ in MODULES if name.startswith("reserve.engine.")}
    assert floors == set(ENGINE_FLOORS)


# ---- the floors of desk ----


def test_desk_imports_from_its_lower_floors_only() -> None:
    found = [
        f"{name}:{line} imports {target}"
        for name, tree, is_package in MODULES
        if name.startswith("reserve.desk.") and _floor(name) in DESK_FLOORS
        for line, target in _imports(name, tree, is_package)
        if target.startswith("reserve.desk.")
        and _floor(target) != _floor(name)
        and _floor(target) not in DESK_FLOORS[_floor(name)]
    ]
    assert found == []


# ---- circles ----


def _circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected components with more than one member, each sorted (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in arrows[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            members = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(members) > 1:
                found.append(sorted(members))

    for name in sorted(arrows):
        if name not in index:
            visit(name)
    return sorted(found)


def _arrows() -> dict[str, set[str]]:
    names = {name for name, _, is_package in MODULES if not is_package}
    arrows: dict[str, set[str]] = {name: set() for name in names}
    for name, tree, is_package in MODULES:
        if is_package:
            continue  # it holds nothing but names of modules below it
        for _, target in _imports(name, tree, is_package):
            arrows[name] |= {other for other in (target, target.rpartition(".")[0]) if other in names and other != name}
    return arrows


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert _circles(_arrows()) == []


def test_a_circle_is_found() -> None:
    assert _circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"a"}}) == [["a", "b", "c"]]


def test_packages_hold_names_only() -> None:
    """Else a circle could go through one."""
    found = [
        f"{name}:{line} imports {target}"
        for name, tree, is_package in MODULES
        if is_package and name not in ("reserve", "reserve.examples.blog", "reserve.examples.datebook")
        for line, target in _imports(name, tree, is_package)
        if target.startswith("reserve.") and not target.startswith(f"{name}.")
    ]
    assert found == []


# ---- folders and names ----


def test_folders_are_small_enough_to_see_at_a_glance() -> None:
    found = []
    for folder in sorted({path.parent for path in PACKAGE.rglob("*.py")}):
        files = [path for path in folder.glob("*.py") if not path.name.startswith("__")]
        most = MOST_FILES.get(folder.relative_to(ROOT).as_posix(), 14)
        if len(files) > most:
            found.append(f"{len(files)} files in {folder.relative_to(ROOT)}, at most {most}")
    assert found == []


def test_no_private_slang_among_the_names() -> None:
    found = [name for name, _, _ in MODULES if name.rpartition(".")[2].lstrip("_") in SLANG_FILES]
    for name, tree, _ in MODULES:
        names = set()
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                names.add(node.name.lstrip("_").lower())
            elif isinstance(node, ast.Attribute):
                names.add(node.attr.lstrip("_"))
        found += [f"{name}: {slang}" for slang in sorted(names & SLANG)]
    assert found == []
