"""The architecture page and the decision records name things; each of them has to exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "reserve" / "docs"
PAGES = [DOCS / "architecture.md", *sorted((DOCS / "decisions").glob("0*.md"))]
DOTTED = re.compile(r"^(reserve(?:\.\w+)+)$")
METHOD = re.compile(r"^([A-Z]\w+)\.(\w+)$")
CLASS = re.compile(r"^[A-Z][a-z]+[A-Za-z]*$|^[A-Z]+[a-z]\w*$")
FILE = re.compile(r"^(?:reserve|tests|benchmarks)/[\w/.]+$")


def quoted(page: Path) -> Iterator[str]:
    yield from re.findall(r"`([^`\n]+)`", page.read_text("utf-8"))


def defined() -> dict[str, set[str]]:
    """Class name to the names in its body, for all of the package."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "reserve").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                names = found.setdefault(node.name, set())
                for inner in ast.walk(node):
                    if isinstance(inner, ast.FunctionDef):
                        names.add(inner.name)
                    elif (
                        isinstance(inner, ast.Attribute)
                        and isinstance(inner.value, ast.Name)
                        and inner.value.id == "self"
                    ):
                        names.add(inner.attr)
                    elif isinstance(inner, (ast.AnnAssign, ast.Assign)):
                        targets = [inner.target] if isinstance(inner, ast.AnnAssign) else inner.targets
                        names.update(target.id for target in targets if isinstance(target, ast.Name))
    return found


def resolves(dotted: str) -> bool:
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(value, part):
                return False
            value = getattr(value, part)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_name_exists(page: Path) -> None:
    classes = defined()
    checked = 0
    for name in quoted(page):
        bare = name.removesuffix("()")
        if DOTTED.match(bare):
            assert resolves(bare), f"{page.name}: {name}"
        elif FILE.match(bare):
            assert (ROOT / bare).exists(), f"{page.name}: {name}"
        elif method := METHOD.match(bare):
            assert method[2] in classes.get(method[1], set()), f"{page.name}: {name}"
        elif CLASS.match(bare) and (bare in CODE_WORDS or page.name == "architecture.md"):
            assert bare in classes, f"{page.name}: {name}"
        else:
            continue
        checked += 1
    assert checked or page.name not in {"architecture.md"}


CODE_WORDS = {"Wait", "Run", "Again", "Close", "Park", "State", "RemoteError"}
"""Single words in backquotes that mean classes in decision records, which have header names, too. On the architecture
page every word that looks like a class is one.
"""


def test_a_name_that_does_not_exist_is_found() -> None:
    assert resolves("reserve.engine.scheduler.lead.Lead")
    assert not resolves("reserve.engine.scheduler.lead.Leader")
    assert not resolves("reserve.engines")
    assert "lend" in defined()["Connection"]
    assert "lent_out" not in defined()["Connection"]


def test_every_decision_is_listed() -> None:
    index = (DOCS / "decisions" / "README.md").read_text("utf-8")
    listed = re.findall(r"\((0\d{3}-[\w-]+\.md)\)", index)
    assert sorted(listed) == sorted(path.name for path in (DOCS / "decisions").glob("0*.md"))
