"""Content: what handlers return and templates make. Nested parts, which are joined once, when the response is made.

No copies are made on the way: a template that is put into another one is an item of a list there. :func:`flatten` walks
through the nest and yields bytes. Nothing here is shared between requests or threads.

Escaping is that of MarkupSafe: what is safe between tags is also safe inside an attribute in double or single quotes.
Attributes without quotes cannot be made safe by any escaping; write the quotes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias

try:
    import markupsafe
except ImportError as error:
    raise ImportError(
        f"desk needs the library MarkupSafe, which cannot be imported ({error}): pip install 'reserve[desk]'",
        name=error.name,
    ) from error

__all__ = ["Content", "Fragment", "HasHTML", "Literal", "escape", "flatten", "literal", "made", "ready"]

MAX_DEPTH = 10_000
"""Lists in lists in lists: how deep. More of them means that a list contains itself."""


class HasHTML(Protocol):
    """Any object that knows its own HTML: those of MarkupSafe, and of the libraries that work with it."""

    def __html__(self) -> str: ...


Content: TypeAlias = (
    "str | bytes | bytearray | memoryview | float | HasHTML | Mapping[Any, Any] | Iterable[Content] | object | None"
)
"""Text (sent as UTF-8), bytes, a number, None (nothing), a mapping (``key: value`` lines), or an iterable of these.

What is none of these (a date, a Decimal) is sent as its ``str``, and an object with ``__html__`` as that.
"""


class Fragment(list[Any]):
    """HTML that is ready to be sent, as a list of nested parts; ``{name}`` in a template leaves it as it is.

    Templates, loops, :func:`reserve.desk.forms.tag` and form elements return one. ``str(fragment)`` is its text. A
    program that makes one, or appends to one, says that the parts are HTML: ``Fragment(["<br>"])``. ``+``, ``+=`` and
    slices give a plain list, of which ``{name}`` escapes what is not ready.

    :param parts: the content, as for ``list``.
    """

    __slots__ = ()

    def __html__(self) -> str:
        return b"".join(flatten(self)).decode("utf-8", "replace")

    def __str__(self) -> str:
        return self.__html__()

    def __iadd__(self, other: Iterable[Any]) -> list[Any]:  # type: ignore[misc,override]  # no Fragment any more
        return [*self, *other]


class Literal(bytes):
    """The bytes between the fields of a template: HTML in UTF-8, also when they are taken out of their Fragment."""

    __slots__ = ()

    def __html__(self) -> str:
        return self.decode("utf-8", "replace")


def ready(content: Content) -> Fragment:
    """The content as a Fragment: for what has to be HTML by its nature, such as the result of a template."""
    return content if isinstance(content, Fragment) else Fragment([content])


def made(content: Content) -> Content:
    """What a template or form element of a program has returned: its lists and bytes are HTML.

    A str alone is text, which ``{name}`` escapes, because it may be what a user typed; unless it has ``__html__``.
    """
    return content if isinstance(content, str) else ready(content)


def literal(text: str) -> Literal:
    """The text as HTML: for what the author of a program or template has written, never for what a user typed."""
    return Literal(text.encode("utf-8", "replace"))


def flatten(content: Content) -> Iterator[bytes]:
    r"""Walk through nested content and yield its parts as bytes, in order, without the empty ones.

    A str becomes UTF-8 (``?`` for half of a surrogate pair), None nothing, a mapping one line ``key: value\r\n`` for
    each entry, an object with ``__html__`` what that returns, another iterable the content of its items, and what is
    none of these its ``str``.

    Iterators are consumed. What they raise is passed on.

    :raises ValueError: for lists more than 10,000 levels deep, as in a list that contains itself.
    """
    stack: list[Iterator[object]] = [iter((content,))]
    while stack:
        for item in stack[-1]:
            if isinstance(item, str):
                part = item.encode("utf-8", "replace")
            elif isinstance(item, bytes):
                part = item
            elif item is None:
                continue
            elif isinstance(item, Fragment):
                stack.append(iter(item))
                break
            elif isinstance(item, (bytearray, memoryview)):
                part = bytes(item)
            elif (to_html := getattr(type(item), "__html__", None)) is not None:
                part = str(to_html(item)).encode("utf-8", "replace")
            elif isinstance(item, Mapping):
                stack.append(_lines(item))
                break
            elif isinstance(item, Iterable):
                stack.append(iter(item))
                break
            else:
                part = str(item).encode("utf-8", "replace")
            if part:
                yield part
        else:
            stack.pop()
        if len(stack) > MAX_DEPTH:
            raise ValueError(f"content is nested more than {MAX_DEPTH} levels deep: does a list contain itself?")


def escape(value: Content) -> markupsafe.Markup | Fragment:
    """Make text safe as HTML: what ``{name}`` in a template does with the value of ``name``.

    A :class:`Fragment`, a ``markupsafe.Markup`` and any other object with ``__html__`` are HTML already. In a str,
    ``& < > " '`` are escaped; bytes are UTF-8 text, None is nothing, a number, a date and the like is its ``str``. In a
    list or another iterable (which is consumed) and in a mapping every item is treated in the same way.
    """
    kind = type(value)
    if kind is str or kind is int or kind is float:  # most of what is shown; the abstract classes below are slow
        return markupsafe.escape(value)
    if isinstance(value, (Fragment, markupsafe.Markup)):
        return value
    if value is None:
        return markupsafe.Markup()
    if isinstance(value, str) or hasattr(kind, "__html__"):
        return markupsafe.escape(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return markupsafe.escape(bytes(value).decode("utf-8", "replace"))
    if isinstance(value, Mapping):
        return Fragment([escape(part) for part in _lines(value)])
    if isinstance(value, Iterable):
        return Fragment([escape(item) for item in value])
    return markupsafe.escape(str(value))


def _lines(mapping: Mapping[Any, Any]) -> Iterator[object]:
    for key, value in mapping.items():
        yield from (key, ": ", value, "\r\n")
