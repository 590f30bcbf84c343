"""HTML elements from Python: :func:`tag`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from reserve.desk.content import Content, Fragment, escape, literal

__all__ = ["tag"]

_KIND = re.compile(r"[A-Za-z][A-Za-z0-9:._-]*")
_ATTRIBUTE = re.compile(r"""[^\s\x00-\x1f\x7f-\x9f"'<>/=]+""")


def tag(kind: str, attributes: Mapping[str, Any], content: Content) -> Fragment:
    """Make an HTML element.

    :param kind: its name: ``"input"``.
    :param attributes: their values are escaped, and may be anything with a ``str``. An attribute whose value is None is
        written without one: ``{"required": None}``.
    :param content: the content between the tags, as it is: it is HTML. For text, use
        :func:`reserve.desk.content.escape`. None is for elements that have no content and no end tag.
    :raises ValueError: for a name of an element or attribute that would end the tag or begin another attribute.
    """
    if not _KIND.fullmatch(kind):
        raise ValueError(f"not a name of an HTML element: {kind!r:.80}")
    parts: list[Content] = [literal(f"<{kind}")]
    for name, value in attributes.items():
        if not _ATTRIBUTE.fullmatch(name):
            raise ValueError(f"not a name of an HTML attribute: {name!r:.80}")
        parts.append(literal(f" {escape(name)}"))
        if value is not None:
            parts += [literal('="'), escape(value), literal('"')]
    parts += [literal("/>")] if content is None else [literal(">"), Fragment([content]), literal(f"</{kind}>")]
    return Fragment(parts)
