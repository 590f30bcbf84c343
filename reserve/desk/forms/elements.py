"""Form elements: from a value of the program to HTML, and from what the browser sends back to a value.

An element may serve many fields: it does not know a field's name, and keeps nothing of a request. What the browser
sends is not trusted: a field may be missing, there twice, a file, or hold what the page did not offer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from reserve.desk.bag import Bag
from reserve.desk.content import Content, Fragment, escape, literal
from reserve.desk.formdata import FileUpload
from reserve.desk.forms.lenses import TYPICAL, ChoiceLens, Lens, ValidationError
from reserve.desk.forms.tag import tag

__all__ = ["Entry", "FormElement", "Memo", "Pick", "option"]


class FormElement:
    """Base class. The four methods are named by what they turn into what.

    ======  ====================================================================================
    letter  meaning
    ======  ====================================================================================
    n       native: a value of the program
    i       intermediate: what the user typed, right or wrong, so that it can be shown again
    h       HTML
    p       POST: the fields of a request
    ======  ====================================================================================
    """

    def n2i(self, value: Any) -> Any:
        """The intermediate value for a native one; None is a value that is not there."""
        raise NotImplementedError(f"{type(self).__qualname__} has no method n2i()")

    def p2i(self, name: str, POST: Bag) -> Any:
        """The intermediate value of the field ``name`` of a request. Never fails because of what the browser sent."""
        raise NotImplementedError(f"{type(self).__qualname__} has no method p2i()")

    def i2h(self, name: str, intermediate: Any) -> Content:
        """The HTML of the field ``name`` with an intermediate value in it, escaped by :func:`tag` or by ``escape``.

        A str is text, which ``{name}`` in a template escapes.
        """
        raise NotImplementedError(f"{type(self).__qualname__} has no method i2h()")

    def i2n(self, intermediate: Any) -> Any:
        """The native value for an intermediate one.

        :raises ValidationError: if there is none, with a message for the user.
        """
        raise NotImplementedError(f"{type(self).__qualname__} has no method i2n()")


class Entry(FormElement):
    """A field of one line: ``<input>``.

    With ``type="file"`` the native value is a :class:`~reserve.desk.formdata.FileUpload`; if the user has chosen no
    file, it is what the lens makes of blank text. The form needs ``enctype="multipart/form-data"``. A file is not shown
    again: browsers do not allow it.

    :param lens: default :data:`~reserve.desk.forms.lenses.TYPICAL`: text that may not be blank.
    :param attributes: attributes of the tag; None for one without a value (``required=None``). Underscores before a
        name are removed: ``_class="wide"``. ``type`` is text if not given. A ``maxlength`` is enforced: what is longer
        is cut, as no browser sends it.
    :raises ValueError: if maxlength is no number.
    """

    def __init__(self, *, lens: Lens = TYPICAL, **attributes: Any) -> None:
        self.maxlength = int(attributes.get("maxlength") or 0)
        self.lens = lens
        self.attributes = _attributes(attributes)

    def n2i(self, value: Any) -> Any:
        return "" if self._is_file() else self.lens.string_for_browser(value)

    def p2i(self, name: str, POST: Bag) -> Any:
        value = POST.get(name, "")
        if self._is_file():
            return value if isinstance(value, FileUpload) and (value.filename or value.content) else ""
        if not isinstance(value, str):  # a file for a field that asks for none
            return ""
        return self._shortened(value) if self.maxlength else value

    def i2h(self, name: str, intermediate: Any) -> Content:
        value = {} if self._is_file() else {"value": _text(intermediate)}
        return tag("input", {"type": "text", **self.attributes, "name": name, **value}, None)

    def i2n(self, intermediate: Any) -> Any:
        return self.lens.native_from_string(intermediate)

    def _is_file(self) -> bool:
        return str(self.attributes.get("type")).lower() == "file"

    def _shortened(self, value: str) -> str:
        return value[: self.maxlength]


class Memo(Entry):
    r"""A field of several lines: ``<textarea>``. Lines end in ``\r\n``, as browsers send them.

    Parameters are those of :class:`Entry`. A line end counts as one character of ``maxlength``, as it does in browsers.
    """

    def i2h(self, name: str, intermediate: Any) -> Content:
        text = _text(intermediate)
        if text.startswith(("\n", "\r")):
            text = f"\n{text}"  # browsers drop the first line end in a textarea
        return tag("textarea", {**self.attributes, "name": name}, escape(text))

    def _is_file(self) -> bool:
        return False

    def _shortened(self, value: str) -> str:
        lines = value.replace("\r\n", "\n")
        return value if len(lines) <= self.maxlength else lines[: self.maxlength].replace("\n", "\r\n")


def option(value: str, label: str, selected: bool) -> Fragment:
    """One ``<option>`` of a selection: what the browser sends for it, what the user sees, and whether it is chosen."""
    begin = literal('<option selected value="' if selected else '<option value="')
    return Fragment([begin, escape(value), literal('">'), escape(label), literal("</option>")])


class Pick(FormElement):
    """A selection of one or several of the choices of a lens: ``<select>``.

    A single one begins with an empty choice, unless it is required and has a value that is offered: otherwise a browser
    would choose the first by itself. The native value of a multiple one is a set.

    :param lens: has the choices.
    :param required: the message if nothing is chosen; empty (the default) if that is allowed.
    :param multiple: true to allow several.
    :param attributes: attributes of the tag, as for :class:`Entry`.
    :raises TypeError: for ``multiple`` among the attributes in other letters.
    """

    def __init__(self, lens: ChoiceLens, required: str = "", multiple: bool = False, **attributes: Any) -> None:
        if any(key.lower().strip("_") == "multiple" for key in attributes):
            raise TypeError("write multiple=True in small letters: it is a parameter of Pick")
        self.lens = lens
        self.required = required
        self.multiple = multiple
        self.attributes = _attributes(attributes)
        if multiple:
            self.attributes["multiple"] = ""

    def option_tags(self, intermediate: Any) -> Iterable[tuple[str, str, bool]]:
        """Text, label and whether it is chosen, of each choice."""
        pairs = [(str(value), str(label)) for value, label in self.lens.string_pairs()]
        chosen: Collection[str] = set(intermediate or ()) if self.multiple else {_text(intermediate)}
        if not self.multiple and not (self.required and any(value in chosen and value for value, _ in pairs)):
            yield "", "", False
        for value, label in pairs:
            yield value, label, value in chosen

    def n2i(self, value: Any) -> Any:
        if self.multiple:
            return {self.lens.string_for_browser(item) for item in (() if value is None else value)}
        return self.lens.string_for_browser(value)

    def p2i(self, name: str, POST: Bag) -> Any:
        if self.multiple:
            return [value for value in POST.get_list(name) if isinstance(value, str) and value]
        value = POST.get(name, "")
        return value if isinstance(value, str) else ""

    def i2h(self, name: str, intermediate: Any) -> Content:
        options = [option(*choice) for choice in self.option_tags(intermediate)]
        return tag("select", {**self.attributes, "name": name}, Fragment(options))

    def i2n(self, intermediate: Any) -> Any:
        if self.required and not intermediate:
            raise ValidationError(self.required)
        if self.multiple:
            return {self.lens.native_from_string(value) for value in intermediate}
        return self.lens.native_from_string(intermediate)


def _attributes(keywords: dict[str, Any]) -> dict[str, str | None]:
    return {key.lstrip("_"): None if value is None else str(value) for key, value in keywords.items()}


def _text(intermediate: Any) -> str:
    return "" if intermediate is None else str(intermediate)
