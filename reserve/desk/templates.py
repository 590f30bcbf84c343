"""Templates: HTML with fields in braces. They are made once, at import, and may be called by any thread.

``{name}`` is escaped, ``{.name}`` is put in as it is, and ``{name:how}`` goes through a function of
:attr:`Template.REGISTRY` first and is escaped then. Other braces, as in CSS and JavaScript, are text: a field has no
spaces in it. There are no conditions and no expressions: those are Python's. Escaping is explained in
:mod:`reserve.desk.content`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

from reserve.desk.content import Content, Fragment, Literal, escape, literal, made, ready
from reserve.errors import short_repr, type_name
from reserve.suggest import suggestion

__all__ = ["AbstractTemplate", "Parameters", "SubAssembly", "Template", "TemplateError", "TemplateLoop"]

_MOST_NAMES = 30
"""How many known names an error message lists."""


class Parameters(Protocol):
    """The values for the fields of a template: a mapping, or anything else with items by name, as a sqlite3.Row."""

    def __getitem__(self, name: str, /) -> Any: ...


class TemplateError(KeyError, ValueError):
    """A mistake in a template or in the values that it is given.

    :param problem: a sentence about the mistake.
    :param template: the name of the template; without one, the beginning of its text.
    :param line: the line in its file or text, from 1; 0 if it is about no line.
    """

    def __init__(self, problem: str, *, template: str = "", line: int = 0) -> None:
        where = ", ".join([*([f"template {template}"] if template else []), *([f"line {line}"] if line else [])])
        super().__init__(f"{where}: {problem}" if where else problem)
        self.problem = problem
        self.template = template
        self.line = line

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError shows the repr


class AbstractTemplate:
    """Whatever turns named values into content. A class of your own needs :meth:`sub`."""

    def __call__(self, /, **parameters: Any) -> Any:
        """Fill in the template: ``page(title="Tasks", body=tasks)``."""
        return made(self.sub(parameters))

    def sub(self, parameters: Parameters) -> Content:
        """Fill in the template from a mapping, or from any object with items by name, such as a sqlite3.Row.

        What it returns is HTML, except for a str: that is text, which ``{name}`` in another template escapes.
        """
        raise NotImplementedError(f"{type(self).__qualname__} has no method sub()")

    def assembly(self, /, **bindings: str | AbstractTemplate) -> SubAssembly:
        """Make a template of this one, in which some of the fields are templates themselves.

        ``page.assembly(title="About {user}", body="<p>{text}</p>")`` is a template of ``user``, ``text`` and what is
        left of the fields of ``page``. A field that has the name of the one it is in, as ``{.body}`` in the text for
        ``body``, is what the caller gives.

        :param bindings: for each name a template, or a str that is made one.
        :raises TemplateError: for an unknown ``{name:how}`` in a str.
        :raises TypeError: for anything else.
        """
        return SubAssembly(self, bindings)

    def __html__(self) -> str:
        raise _not_filled_in(self)


class _Field(NamedTuple):
    """One ``{...}`` of a template."""

    text: str
    """The field as it is written, with its braces."""
    name: str
    line: int
    raw: bool
    convert: Callable[[Any], Any] | None


class Template(AbstractTemplate):
    """HTML with fields in braces.

    :param text: the HTML. ``{name}``, ``{.name}`` and ``{name:how}`` are fields; everything else stays as it is.
    :param name: for error messages, such as the name of a file.
    :param first_line: the line of that file on which ``text`` begins.
    :raises TemplateError: for ``how`` that is not in the registry, and for ``{.name:how}``.
    :raises TypeError: for a text that is no str.
    """

    PATTERN = re.compile(r"\{(\.?)([_a-zA-Z]\w*)(:\w+)?\}")

    REGISTRY: ClassVar[dict[str, Callable[[Any], Any]]] = {
        ":num": lambda number: None if number is None else f"{number:,}",
        ":cents": lambda number: None if number is None else f"{number:,.2f}",
    }
    """The functions for ``{name:how}``, by ``":how"``. A program adds its own before it makes the templates with them.
    A function gets the value and returns content, which is then escaped. There are ``:num`` (1,234) and ``:cents``
    (1,234.50)."""

    def __init__(self, text: str, *, name: str = "", first_line: int = 1) -> None:
        if not isinstance(text, str):
            raise TypeError(f"the text of a template is a str, got {type_name(text)}")
        self.name = name or short_repr(" ".join(text.split()))
        self._parts: list[Literal | _Field] = []
        done, line = 0, first_line
        for match in self.PATTERN.finditer(text):
            line += text.count("\n", done, match.start())  # a field has no line end
            if done < match.start():
                self._parts.append(literal(text[done : match.start()]))
            self._parts.append(self._field(match, line))
            done = match.end()
        if done < len(text):
            self._parts.append(literal(text[done:]))

    def _field(self, match: re.Match[str], line: int) -> _Field:
        dot, name, how = match.groups()
        if not how:
            return _Field(match[0], name, line, bool(dot), None)
        if dot:
            problem = f"{match[0]}: use either the dot or {how!r}: a value that a function has changed is escaped"
            raise TemplateError(problem, template=self.name, line=line)
        try:
            return _Field(match[0], name, line, False, self.REGISTRY[how])
        except KeyError:
            known = list(self.REGISTRY)
            problem = (
                f"{match[0]}: there is no {how!r} in Template.REGISTRY; it has {_listed(known)}{suggestion(how, known)}"
            )
            raise TemplateError(problem, template=self.name, line=line) from None

    def sub(self, parameters: Parameters) -> Fragment:
        """Fill in the template from a mapping, or from any object with items by name, such as a sqlite3.Row.

        :raises TemplateError: if a name is not given.
        """
        return Fragment([part if isinstance(part, Literal) else self._filled(part, parameters) for part in self._parts])

    def _filled(self, field: _Field, parameters: Parameters) -> Content:
        try:
            value = parameters[field.name]
        except (KeyError, IndexError):  # a sqlite3.Row raises IndexError
            raise self._missing(field, parameters) from None
        except TypeError as error:
            if hasattr(parameters, "keys"):
                raise
            raise self._without_names(field, parameters) from error
        if field.raw:
            return ready(value)
        try:
            return escape(value if field.convert is None else field.convert(value))
        except Exception as error:
            error.add_note(f"(while filling in {field.text} in template {self.name}, line {field.line})")
            raise

    def _missing(self, field: _Field, parameters: Parameters) -> TemplateError:
        try:
            known = [str(name) for name in parameters.keys()]  # type: ignore[attr-defined]  # noqa: SIM118
        except AttributeError:
            known = []
        given = f"these are: {_listed(known)}" if known else "nothing is"
        problem = (
            f"{field.text}: {field.name!r} is not given; {given}{suggestion(field.name, known)} "
            f"(for braces that are text, write '{{ {field.name} }}')"
        )
        return TemplateError(problem, template=self.name, line=field.line)

    def _without_names(self, field: _Field, parameters: object) -> TemplateError:
        hint = "; for rows with names, set connection.row_factory = sqlite3.Row" if type(parameters) is tuple else ""
        problem = f"{field.text}: the values need names, as in a dict, got {short_repr(parameters)}{hint}"
        return TemplateError(problem, template=self.name, line=field.line)


class SubAssembly(AbstractTemplate):
    """A template some of whose fields are templates: see :meth:`AbstractTemplate.assembly`, which makes one.

    :param base: the template whose fields are filled.
    :param bindings: the templates for them, or str that are made one.
    """

    def __init__(self, base: AbstractTemplate, bindings: Mapping[str, str | AbstractTemplate]) -> None:
        self.base = base
        self.bindings = {
            key: _template(binding, f"the field {key!r} of an assembly") for key, binding in bindings.items()
        }

    def sub(self, parameters: Parameters) -> Any:
        """Fill in the parts, each from ``parameters``, and then the base from the parts and ``parameters``."""
        values = _as_dict(parameters)
        parts = {key: made(binding.sub(parameters)) for key, binding in self.bindings.items()}
        return made(self.base.sub({**values, **parts}))


class TemplateLoop:
    """A list on a page: what comes before it, the body for each item, what comes after it, and what an empty one gets.

    :param preamble: a template, or a str that is made one; as are the others.
    :param body: filled in once for each item.
    :param epilogue: after the last item.
    :param otherwise: instead of all of these if there is no item; None (the default) is nothing.
    :raises TypeError: for what is neither a str nor a template.
    """

    def __init__(
        self,
        preamble: str | AbstractTemplate,
        body: str | AbstractTemplate,
        epilogue: str | AbstractTemplate,
        otherwise: str | AbstractTemplate | None = None,
    ) -> None:
        self.preamble = _template(preamble, "the preamble of a loop")
        self.body = _template(body, "the body of a loop")
        self.epilogue = _template(epilogue, "the epilogue of a loop")
        self.otherwise = None if otherwise is None else _template(otherwise, "the otherwise of a loop")

    def loop(self, items: Iterable[Parameters], context: Mapping[str, Any] | None = None) -> Fragment:
        """Fill in the loop: ``tasks.loop(cursor)``.

        The items are read here, up to the last one, so a cursor is free afterwards.

        :param items: a mapping, or a sqlite3.Row, for each repetition of the body.
        :param context: values for all parts; in the body those of the item come first. Default: none.
        :raises TemplateError: if a name is not given.
        """
        common: Mapping[str, Any] = {} if context is None else context
        bodies = [self.body.sub({**common, **_as_dict(item)} if common else item) for item in items]
        if bodies:
            return Fragment([self.preamble.sub(common), *bodies, self.epilogue.sub(common)])
        return Fragment() if self.otherwise is None else ready(self.otherwise.sub(common))

    def __html__(self) -> str:
        raise _not_filled_in(self)


def _not_filled_in(template: object) -> TypeError:
    how = "loop(items)" if isinstance(template, TemplateLoop) else "calling it"
    return TypeError(f"a {type_name(template)} is no content before it is filled in, by {how}")


def _template(value: object, what: str) -> AbstractTemplate:
    if isinstance(value, str):
        return Template(value)
    if callable(getattr(value, "sub", None)):  # acts like a template
        return value  # type: ignore[return-value]
    raise TypeError(f"{what} is a str or a template, got {type_name(value)}")


def _as_dict(parameters: Any) -> dict[str, Any]:
    if not hasattr(parameters, "keys"):
        hint = "; for rows with names, set connection.row_factory = sqlite3.Row" if type(parameters) is tuple else ""
        raise TemplateError(f"the values need names, as in a dict, got {short_repr(parameters)}{hint}")
    return dict(parameters)


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - _MOST_NAMES} more" if len(ordered) > _MOST_NAMES else ""
    return ", ".join(ordered[:_MOST_NAMES]) + more
