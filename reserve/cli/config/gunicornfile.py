"""Reading a ``gunicorn.conf.py`` without running it.

Pure; runs on the main thread. The file is parsed with :mod:`ast`, and nothing in it is imported or called. What is
understood: literals, names that were assigned before, ``+`` on texts, arithmetic on whole numbers, f-strings, ``int``
and ``str`` of such values, and ``os.environ.get`` and ``os.getenv`` with a default, whose default counts. The value of
everything else cannot be known, which the setting says. Values are bounded, so that no expression is expensive.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Iterator

from reserve.cli.config.configuration import Configuration, Setting
from reserve.errors import UsageError
from reserve.loader.otherservers import NOT_READ

__all__ = ["read_gunicorn_file"]

_MAX_NUMBER = 1 << 60
_MAX_TEXT = 10_000
_MAX_ITEMS = 1000
_MAX_DEPTH = 40
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv}
_PROCESSORS = {
    "multiprocessing.cpu_count", "os.cpu_count", "os.process_cpu_count", "psutil.cpu_count", "os.sched_getaffinity",
}  # fmt: skip
_GET = {"os.environ.get", "os.getenv"}


class _UnknownError(Exception):
    """A value that cannot be known. The text is the reason, a clause."""


def read_gunicorn_file(text: str, origin: str) -> Configuration:
    """The settings of the file.

    :param origin: the name of the file.
    :raises UsageError: it is not Python.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in its strings
            tree = ast.parse(text)
    except SyntaxError as error:
        raise UsageError(f"{origin}:{error.lineno or 1} is not valid Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"{origin} is not valid Python: {error or 'it is nested too deeply'}") from None
    return _Reader(tree).read(Configuration("gunicorn", origin))


class _Reader:
    """The state while one file is read: the modules that it imports, and the values of its names."""

    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree
        self._modules: dict[str, str] = {}
        self._values: dict[str, object] = {}
        self._reasons: dict[str, str] = {}
        self._variables: list[str] = []

    def read(self, result: Configuration) -> Configuration:
        used = {
            node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        }
        settings: dict[str, Setting] = {}
        for statement in self._tree.body:
            for setting in self._statement(statement):
                settings.pop(setting.name, None)
                settings[setting.name] = setting
        for name, setting in settings.items():
            if name == "wsgi_app" and not setting.unknown:
                result.application = str(setting.value)
            elif name not in used and not name.startswith("_") and name == name.lower():
                result.settings.append(setting)  # others are variables of the file itself
        return result

    def _statement(self, node: ast.stmt) -> Iterator[Setting]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                self._modules[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                self._modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if node.name in NOT_READ:
                yield Setting(node.name, line=node.lineno, unknown=NOT_READ[node.name])
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    yield self._assignment(target.id, node.value, node.lineno)
                else:
                    yield from self._without_value(target, "it is assigned together with others")
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            name = ast.Name(node.target.id, ast.Load())
            yield self._assignment(node.target.id, ast.BinOp(name, node.op, node.value), node.lineno)
        else:
            yield from self._without_value(node, "it is set under a condition, or in a loop")

    def _without_value(self, node: ast.AST, reason: str) -> Iterator[Setting]:
        for one in ast.walk(node):
            if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
                self._reasons[one.id] = reason
                self._values.pop(one.id, None)
                yield Setting(one.id, line=one.lineno, unknown=reason)

    def _assignment(self, name: str, node: ast.expr, line: int) -> Setting:
        self._variables = []
        self._reasons.pop(name, None)
        if name in NOT_READ and not isinstance(node, ast.Constant):
            return Setting(name, line=line, unknown=NOT_READ[name])
        try:
            value = self._evaluate(node, 0)
        except _UnknownError as error:
            self._values.pop(name, None)
            self._reasons[name] = str(error)
            return Setting(name, line=line, unknown=str(error))
        self._values[name] = value
        note = ""
        if self._variables:
            names = ", ".join(dict.fromkeys(self._variables))
            note = f"the default without the environment variable {names}, which reserve does not read for this"
            if names == "PORT":
                note = "the default without PORT; leave bind out, and reserve uses PORT itself"
        return Setting(name, value, line, note=note)

    def _evaluate(self, node: ast.expr, depth: int) -> object:
        if depth > _MAX_DEPTH:
            raise _UnknownError("its expression is nested too deeply")
        if isinstance(node, ast.Constant):
            return self._bounded(node.value)
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            return self._items(node.elts, depth)
        if isinstance(node, ast.Dict):
            return {}  # no setting with a dict has an equal
        if isinstance(node, ast.Name):
            if node.id in self._values:
                return self._values[node.id]
            raise _UnknownError(self._reasons.get(node.id, f"{node.id} is not known"))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            value = self._evaluate(node.operand, depth + 1)
            if isinstance(value, (int, float)):
                return -value
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            left, right = self._evaluate(node.left, depth + 1), self._evaluate(node.right, depth + 1)
            return self._calculated(type(node.op), left, right)
        if isinstance(node, ast.JoinedStr):
            text = ""
            for piece in node.values:
                text += self._piece(piece, depth)
                self._bounded(text)
            return text
        if isinstance(node, (ast.Call, ast.Subscript)):
            return self._called(node, depth)
        raise _UnknownError("its expression would have to be run")

    def _items(self, nodes: list[ast.expr], depth: int) -> list[object]:
        if len(nodes) > _MAX_ITEMS:
            raise _UnknownError("its list is too long")
        items = [self._evaluate(node, depth + 1) for node in nodes]
        if any(isinstance(item, (list, dict)) for item in items):
            raise _UnknownError("it is a list of lists")
        return items

    def _calculated(self, operation: type[ast.operator], left: object, right: object) -> object:
        is_text = isinstance(left, str) and isinstance(right, str) and operation is ast.Add
        is_number = all(isinstance(one, (int, float)) for one in (left, right))
        if not is_text and not is_number:
            raise _UnknownError("its expression would have to be run")
        try:
            return self._bounded(_OPERATORS[operation](left, right))
        except (ArithmeticError, ValueError):
            raise _UnknownError("its arithmetic fails") from None

    def _piece(self, node: ast.expr, depth: int) -> str:
        if isinstance(node, ast.FormattedValue) and node.conversion == -1 and node.format_spec is None:
            return str(self._evaluate(node.value, depth + 1))
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        raise _UnknownError("its f-string has a format")

    def _called(self, node: ast.Call | ast.Subscript, depth: int) -> object:
        if isinstance(node, ast.Subscript):
            name = node.slice.value if isinstance(node.slice, ast.Constant) else None
            if self._dotted(node.value) == "os.environ" and isinstance(name, str):
                raise _UnknownError(f"it is the environment variable {name}, without a default")
            raise _UnknownError("its expression would have to be run")
        function = self._dotted(node.func)
        if function in _PROCESSORS:
            raise _UnknownError(f"it depends on the processors of the machine: {function}()")
        if function in _GET and node.args and isinstance(node.args[0], ast.Constant):
            variable = str(node.args[0].value)
            if len(node.args) == 1 and not node.keywords:
                raise _UnknownError(f"it is the environment variable {variable}, without a default")
            self._variables.append(variable)
            return self._evaluate(node.args[1] if len(node.args) > 1 else node.keywords[0].value, depth + 1)
        if function in ("int", "str", "bool", "float") and len(node.args) == 1 and not node.keywords:
            value = self._evaluate(node.args[0], depth + 1)
            if isinstance(value, (str, int, float)):
                try:
                    return self._bounded({"int": int, "str": str, "bool": bool, "float": float}[function](value))
                except (ValueError, OverflowError):
                    raise _UnknownError(f"{function}() fails with its default") from None
        raise _UnknownError(f"it would have to call {function or 'a function'}()")

    def _dotted(self, node: ast.expr) -> str:
        """The full name of a function: ``multiprocessing.cpu_count``; empty: it has none."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        return ".".join([self._modules.get(node.id, node.id), *reversed(parts)])

    def _bounded(self, value: object) -> object:
        if isinstance(value, str) and len(value) > _MAX_TEXT:
            raise _UnknownError("its text is too long")
        if isinstance(value, (int, float)) and not abs(value) < _MAX_NUMBER:
            raise _UnknownError("its number is too large")
        if value is None or isinstance(value, (str, int, float)):
            return value
        raise _UnknownError("it is neither a text nor a number")
