"""Print the reference page of ``reserve.desk``, made from its docstrings.

``python -m tests.deskapi > reserve/docs/desk-api.md`` prints the page again. ``tests/docs/test_desk_api.py`` checks
that it is up to date.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import sys
import textwrap
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import reserve.desk
from reserve.desk import forms, implementation

__all__ = ["page"]

HEAD = """# Reference of `reserve.desk`

Made from the docstrings by `python -m tests.deskapi > reserve/docs/desk-api.md`; do not edit it. [The
tutorial](desk.md) has an example of everything.
"""
GROUPS = {
    "Names of `reserve.desk`": [(name, getattr(reserve.desk, name)) for name in reserve.desk.__all__],
    "More names in `reserve.desk.implementation`": [
        (name, getattr(implementation, name)) for name in implementation.__all__ if name not in reserve.desk.__all__
    ],
    "Names of `reserve.desk.forms`": [(name, getattr(forms, name)) for name in forms.__all__],
}


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_contents(), *(line for title, names in GROUPS.items() for line in _group(title, names))])


def _is_documented(value: object) -> bool:
    return isinstance(value, (type, FunctionType))


def _contents() -> Iterator[str]:
    for title, names in GROUPS.items():
        links = [f"[{name}](#{name.lower()})" for name, value in sorted(names) if _is_documented(value)]
        if links:
            yield textwrap.fill(f"{title}: {', '.join(links)}.", 120, break_on_hyphens=False) + "\n"


def _group(title: str, names: list[tuple[str, Any]]) -> Iterator[str]:
    yield f"## {title}\n"
    constants = [(name, value) for name, value in names if not _is_documented(value) and not inspect.ismodule(value)]
    for name, value in sorted((name, value) for name, value in names if _is_documented(value)):
        yield f"### {name}\n"
        if isinstance(value, type):
            yield from _class(name, value)
        else:
            yield f"```python\n{name}{_signature(value)}\n```\n"
            yield _markdown(value)
    if constants:
        yield "### Ready-made\n"
        for name, value in sorted(constants, key=lambda pair: pair[0]):
            yield f"- `{name}` (a `{type(value).__name__}`): {_inline(_constant(name, type(value)))}"
        yield ""


def _class(name: str, cls: type) -> Iterator[str]:
    bases = ", ".join(base.__name__ for base in cls.__bases__ if base not in (object, tuple))
    if hasattr(cls, "_fields"):
        yield f"```python\n{name}({', '.join(cls._fields)})\n```\n"
    elif "__init__" in vars(cls):
        yield f"```python\n{name}{_signature(cls.__init__, skip=1, result=False)}\n```\n"
    else:
        yield f"```python\nclass {name}({bases})\n```\n" if bases else f"```python\nclass {name}\n```\n"
    yield _markdown(cls)
    attributes = [f"- `{attribute}`: {_inline(text)}" for attribute, text in _attributes(cls)]
    if attributes:
        yield "Attributes:\n"
        yield from (textwrap.fill(line, 120, subsequent_indent="  ", break_on_hyphens=False) for line in attributes)
        yield ""
    methods = [line for key, value in vars(cls).items() for line in _method(key, value)]
    if methods:
        yield "Methods:\n"
        yield from methods
        yield ""


def _method(key: str, value: object) -> Iterator[str]:
    function = _function(value)
    if function is None or (key.startswith("_") and key not in ("__call__", "__html__")):
        return
    if function.__doc__:  # a method without one does what the docstring of the method that it overrides says
        skip = 0 if isinstance(value, staticmethod) else 1
        label = key if isinstance(value, property) else f"{key}{_signature(function, skip=skip, width=1000)}"
        yield f"- `{label}`\n"
        yield textwrap.indent(_reformat(inspect.cleandoc(function.__doc__)), "  ")


def _function(value: object) -> FunctionType | None:
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    if isinstance(value, property):
        value = value.fget
    return value if isinstance(value, FunctionType) else None


def _signature(function: Any, *, skip: int = 0, width: int = 110, result: bool = True) -> str:
    """The parameters with their types and defaults, on one line if they fit."""
    signature = inspect.signature(function)
    parts, kind = [], None
    for parameter in list(signature.parameters.values())[skip:]:
        if parameter.kind is parameter.KEYWORD_ONLY and kind not in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL):
            parts.append("*")
        kind = parameter.kind
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(kind, "")
        annotation = "" if parameter.annotation is parameter.empty else f": {_type(parameter.annotation)}"
        default = "" if parameter.default is parameter.empty else f" = {_default(parameter.default)}"
        parts.append(f"{stars}{parameter.name}{annotation}{default}")
    returned = signature.return_annotation
    arrow = "" if returned is signature.empty or not result else f" -> {_type(returned)}"
    line = f"({', '.join(parts)}){arrow}"
    lines = "".join(f"    {part},\n" for part in parts)
    return line if len(line) <= width else f"(\n{lines}){arrow}"


def _default(value: object) -> str:
    """A default as a program writes it; the name of an object that is ready-made."""
    return next((name for names in GROUPS.values() for name, each in names if each is value), repr(value))


def _type(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def _constant(name: str, cls: type) -> str:
    """The docstring of a ready-made object, which is in the module of its class."""
    tree = ast.parse(inspect.getsource(sys.modules[cls.__module__]))
    return dict(_documented([tree.body]))[name]


def _attributes(cls: type) -> Iterator[tuple[str, str]]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
    yield from _documented(bodies)


def _documented(bodies: list[list[ast.stmt]]) -> Iterator[tuple[str, str]]:
    """What has a docstring of its own, as a string after its assignment."""
    for body in bodies:
        for first, second in itertools.pairwise(body):
            if not (isinstance(second, ast.Expr) and isinstance(second.value, ast.Constant)):
                continue
            if isinstance(first, (ast.Assign, ast.AnnAssign)):
                target = first.target if isinstance(first, ast.AnnAssign) else first.targets[0]
                name = ast.unparse(target).removeprefix("self.")
                if not name.startswith("_"):
                    yield name, " ".join(str(second.value.value).split())


def _markdown(value: object) -> str:
    text = inspect.getdoc(value)
    assert text, f"{value} has no docstring"
    return _reformat(text) + "\n"


def _reformat(text: str) -> str:
    """A docstring as Markdown: its fields (``:param x:``) become a list."""
    text = re.sub(
        r"::\n\n((?:    .*\n|\n)+)",
        lambda match: f":\n\n```python\n{textwrap.dedent(match[1]).strip()}\n```\n\n",
        text + "\n",
    )
    # Tables stay as they are, in a block.
    text = re.sub(r"((?:^=.*\n|^\S.*\n)*^=+ +=+\n)", r"```\n\1```\n", text, flags=re.M)
    text = re.sub(r"^:(?:param|ivar) (\w+): *", r"- `\1`: ", text, flags=re.M)
    text = re.sub(r"^:raises? ([\w.]+): *", r"- raises `\1`: ", text, flags=re.M)
    text = re.sub(r"^:returns?: *", "- returns: ", text, flags=re.M)
    text = re.sub(r"^    (?=\S)", "  ", text, flags=re.M)
    return _inline(text.rstrip())


def _inline(text: str) -> str:
    text = re.sub(r":mod:`([^`]+)`", r"`\1`", text)
    text = re.sub(r":\w+:`[~.]?(?:reserve\.[\w.]*\.)?([^`]+)`", r"`\1`", text)
    parts = text.split("```")  # every other part is a block of code
    return "```".join(part if number % 2 else part.replace("``", "`") for number, part in enumerate(parts))


if __name__ == "__main__":
    sys.stdout.write(page())
