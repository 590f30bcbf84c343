"""Which of several certificates a client gets: a table of host names, looked up by server name (SNI).

Any thread may look up at any time; names are added before the table is shared. RFC 6066 section 3 defines what a client
sends, RFC 9525 section 6.3 what a wildcard matches. A lookup costs two dictionary accesses, whatever the client has
sent and however many names there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

__all__ = ["NameTable"]

Value = TypeVar("Value")


class NameTable(Generic[Value]):
    """Values by server name; an adapter has one, with a context for each name.

    A name matches itself, without regard to case and to one dot at its end. ``*.example.org`` matches every name with
    exactly one label before ``.example.org``, unless that name is in the table itself. A ``*`` anywhere else, or as a
    part of a label, matches nothing (RFC 9525 section 6.3), and an address matches only itself.
    """

    def __init__(self) -> None:
        self._exact: dict[str, Value] = {}
        self._wildcards: dict[str, Value] = {}

    def add(self, names: Iterable[str], value: Value) -> None:
        """Map these names to ``value``; a name that is mapped already keeps its value."""
        for name in names:
            key = _key(name)
            label, _, parent = key.partition(".")
            if "*" not in key and key:
                self._exact.setdefault(key, value)
            elif label == "*" and parent and "*" not in parent:
                self._wildcards.setdefault(parent, value)

    def find(self, server_name: str | None) -> Value | None:
        """The value for a server name; None for an unknown name, and when the client has sent none."""
        if not server_name:
            return None
        key = _key(server_name)
        if key in self._exact:
            return self._exact[key]
        label, _, parent = key.partition(".")
        if not label or parent.rpartition(".")[2].isdigit():  # an IPv4 address; no domain has a number at its end
            return None
        return self._wildcards.get(parent)


def _key(name: str) -> str:
    return name.removesuffix(".").lower()
