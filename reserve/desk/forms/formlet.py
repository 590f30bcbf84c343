"""A page with a form that creates or changes a record: :class:`Formlet`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reserve.desk.content import Content, made
from reserve.desk.forms.elements import FormElement
from reserve.desk.forms.lenses import ValidationError
from reserve.desk.request import Request
from reserve.desk.response import Response
from reserve.desk.router import Servlet

__all__ = ["Formlet", "SaveError"]

_NOT_SAVED = "This could not be saved."
_NOT_VALID = "is not valid."


class SaveError(Exception):
    """Raised by :meth:`Formlet.save`: the record could not be saved, and the form is shown again.

    The argument is a mapping of messages by the names of fields, for :meth:`Formlet.display`. Anything else is a
    message about the form as a whole: it is in the mapping under the empty name.
    """


class Formlet(Servlet):
    """A page with a form. A subclass says what is in it and what to do with it; then it is mounted as a servlet.

    GET shows the form with what :meth:`get_native` returns, HEAD does the same without the body. POST checks what came:
    each element its field, then :meth:`semantic_checks` all together if no field is wrong. If something is wrong, the
    form is shown again with what the user typed and the messages; otherwise :meth:`save` gets the values.

    One instance serves one request, which is its ``request`` as soon as the constructor has ended.

    :param elements: the form elements by the names of their fields.
    """

    def __init__(self, elements: Mapping[str, FormElement]) -> None:
        self.elements = elements
        self.request: Request | None = None

    def get_native(self) -> Any:
        """What the form shows at first: a mapping, or a sqlite3.Row, by the names of the fields.

        What is missing is None. None, or an empty mapping, is an empty form.
        """
        raise NotImplementedError(f"{type(self).__qualname__} has no method get_native()")

    def display(self, fields: dict[str, Any], errors: dict[str, Any]) -> Response | Content:
        """Show the form.

        :param fields: the HTML of each field, for ``{name}`` in a template.
        :param errors: the messages by the names of the fields, and under other names what :meth:`semantic_checks` and
            :class:`SaveError` put there; empty at first.
        """
        raise NotImplementedError(f"{type(self).__qualname__} has no method display()")

    def semantic_checks(self, native: dict[str, Any], errors: dict[str, Any]) -> None:
        """Check the values together, as "ends before it begins". Each mistake is an entry in ``errors``. Default: none.

        :param native: the values by the names of the fields; they may be changed here.
        """

    def save(self, native: dict[str, Any], request: Request) -> Response | Content:
        """Save the values, and respond, usually with a redirect.

        :param native: the values by the names of the fields.
        :raises SaveError: to show the form again, with messages.
        """
        raise NotImplementedError(f"{type(self).__qualname__} has no method save()")

    def do_GET(self, request: Request) -> Any:
        """Show the form with the values of :meth:`get_native`."""
        self.request = request
        native = self.get_native()
        return self._display({key: element.n2i(_item(native, key)) for key, element in self.elements.items()}, {})

    def do_HEAD(self, request: Request) -> Any:
        """Do as for GET; the body is not sent."""
        return self.do_GET(request)

    def do_POST(self, request: Request) -> Any:
        """Check the fields and save them, or show the form again."""
        self.request = request
        intermediate: dict[str, Any] = {}
        native: dict[str, Any] = {}
        errors: dict[str, Any] = {}
        for key, element in self.elements.items():
            intermediate[key] = element.p2i(key, request.POST)
            try:
                native[key] = element.i2n(intermediate[key])
            except ValidationError as error:
                errors[key] = error.args[0] if error.args else _NOT_VALID
        try:
            if not errors:
                self.semantic_checks(native, errors)
            if not errors:
                return self.save(native, request)
        except (SaveError, ValidationError) as error:
            errors = {**errors, **_messages(error)}
        return self._display(intermediate, errors)

    def _display(self, intermediate: dict[str, Any], errors: dict[str, Any]) -> Any:
        fields = {key: made(element.i2h(key, intermediate[key])) for key, element in self.elements.items()}
        return self.display(fields, errors)


def _item(native: Any, key: str) -> Any:
    if native is None:
        return None
    try:
        return native[key]
    except (KeyError, IndexError):  # a sqlite3.Row raises IndexError
        return None


def _messages(error: Exception) -> dict[str, Any]:
    what = error.args[0] if error.args else None
    if isinstance(what, Mapping):
        return dict(what) or {"": _NOT_SAVED}
    return {"": what or _NOT_SAVED}
