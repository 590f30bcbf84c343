"""Names with several values each: the fields of a form, the arguments of a query, the headers of a request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ["Bag", "Headers", "Pairs"]

Pairs = Mapping[str, Any] | Iterable[tuple[str, Any]]
"""What a :class:`Bag` can be made of. A Bag is such a thing, too."""


class Bag:
    """Like a dict of the *last* value of each name, which also keeps the values before it, in their order.

    ``bag["name"]`` and ``get`` give one value, ``get_list`` all of them. ``bag["name"] = value`` *adds* a value;
    ``del bag["name"]`` removes all of them. Iteration gives each name once. A bag belongs to one request.

    :param pairs: a mapping, another bag, or pairs of name and value. Default: none.
    """

    def __init__(self, pairs: Pairs | Bag | None = None) -> None:
        self.multiple: dict[str, list[Any]] = {}
        """All values of each name, in the order in which they came."""
        if pairs is not None:
            self.update(pairs)

    @property
    def single(self) -> dict[str, Any]:
        """A new dict with the last value of each name."""
        return {name: values[-1] for name, values in self.multiple.items()}

    def get(self, name: str, default: Any = None) -> Any:
        """The last value of a name, or ``default``."""
        values = self.multiple.get(name)
        return values[-1] if values else default

    def get_list(self, name: str) -> list[Any]:
        """A new list of all values of a name; empty if there is none."""
        return list(self.multiple.get(name, ()))

    def update(self, pairs: Pairs | Bag) -> None:
        """Add values; those that are there stay."""
        for name, value in pairs.items() if isinstance(pairs, (Mapping, Bag)) else pairs:
            self[name] = value

    def keys(self) -> Iterable[str]:
        """Each name once, so that ``dict(bag)`` and ``f(**bag)`` take the last value of each."""
        return self.multiple.keys()

    def items(self) -> Iterator[tuple[str, Any]]:
        """Pairs of name and value: a name with three values comes three times."""
        for name, values in self.multiple.items():
            for value in values:
                yield name, value

    def __getitem__(self, name: str) -> Any:
        return self.multiple[name][-1]

    def __setitem__(self, name: str, value: Any) -> None:
        self.multiple.setdefault(name, []).append(value)

    def __delitem__(self, name: str) -> None:
        del self.multiple[name]

    def __contains__(self, name: object) -> bool:
        return name in self.multiple

    def __iter__(self) -> Iterator[str]:
        return iter(self.multiple)

    def __len__(self) -> int:
        return len(self.multiple)

    def __str__(self) -> str:
        return str(self.multiple)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.items())!r:.200})"


class Headers(Bag):
    """The headers of a request. Upper and lower case of a name are the same; ``items`` gives lower case."""

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)

    def get_list(self, name: str) -> list[Any]:
        return super().get_list(name.lower())

    def __getitem__(self, name: str) -> Any:
        return super().__getitem__(name.lower())

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name.lower(), value)

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())
