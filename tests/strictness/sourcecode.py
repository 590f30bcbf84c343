"""Reads the texts of messages from the source code, for the tests that look for a message without a row."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

__all__ = ["patterns"]


def patterns(node: ast.expr) -> Iterator[str]:
    """A regular expression for each text that a message expression can produce."""
    if isinstance(node, ast.Constant):
        yield re.escape(node.value)
    elif isinstance(node, ast.JoinedStr):
        yield "".join(re.escape(part.value) if isinstance(part, ast.Constant) else "(?s:.*)" for part in node.values)
    elif isinstance(node, ast.IfExp):
        yield from patterns(node.body)
        yield from patterns(node.orelse)
