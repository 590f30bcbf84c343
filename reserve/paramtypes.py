"""The types of option values: how a value is written, which values are allowed, and how a value is shown.

Pure functions on text, TOML values and Python values; any thread may call them. A type refuses a value with
``ValueError``. The error has a text only if it says more than ``allowed``; the caller adds the option and the source of
the value. Each settings class has a table of the types of its fields, so that the same bounds hold for programs and for
the command.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeGuard, TypeVar, cast, get_type_hints

from reserve.errors import UsageError

__all__ = [
    "Choice",
    "Count",
    "CountOr",
    "Flag",
    "Kind",
    "Need",
    "Octal",
    "Pair",
    "Range",
    "Seconds",
    "Size",
    "Text",
    "check_settings",
    "defaults_of",
    "keyword_names",
    "shows_settings",
    "without_effect",
]

F = TypeVar("F", bound=Callable[..., Any])

_COUNT = re.compile(r"[0-9]{1,15}")
_SIZE = re.compile(r"([0-9]{1,15})([kmg]?)", re.IGNORECASE)
_SECONDS = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)(ms|s|m|h|d)?")
_OCTAL = re.compile(r"(?:0o)?([0-7]{3,4})")
_FACTORS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")


class Kind:
    """The base class, and the type of any text. Instances are immutable and shared.

    ``metavar`` stands for the value in the help, ``unit`` is for the reference page.
    """

    metavar = "TEXT"
    unit = "text"

    @property
    def allowed(self) -> str:
        """Which values are allowed; it completes the sentence "allowed is ..."."""
        return "a text"

    def parse(self, text: str) -> object:
        """Parse the text of a command line or of an environment variable."""
        return text

    def from_toml(self, value: object) -> object:
        """Convert a value of a TOML file; by default it has to be a string, and is parsed."""
        if not isinstance(value, str):
            raise ValueError("in a file it has to be a string")
        return self.parse(value)

    def accepts(self, value: object) -> bool:
        """Whether a program may use this Python value."""
        return isinstance(value, str)

    def format(self, value: object) -> str:
        """The value as text that :meth:`parse` understands; empty for None."""
        return "" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Count(Kind):
    """A whole number."""

    low: int
    high: int
    metavar: str = "N"
    unit: str = "a number"

    @property
    def allowed(self) -> str:
        return f"a whole number from {self.low} to {self.high}"

    def parse(self, text: str) -> int:
        if not _COUNT.fullmatch(text) or not self.low <= int(text) <= self.high:
            raise ValueError
        return int(text)

    def from_toml(self, value: object) -> int:
        return self.parse(_number_text(value))

    def accepts(self, value: object) -> bool:
        return _is_number(value) and self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class CountOr(Kind):
    """A whole number, or a word that stands for no number."""

    low: int
    high: int
    word: str
    metavar: str = "N"
    unit: str = "a number"

    @property
    def allowed(self) -> str:
        return f"a whole number from {self.low} to {self.high}, or {self.word}"

    def parse(self, text: str) -> int | str:
        return self.word if text == self.word else Count(self.low, self.high).parse(text)

    def from_toml(self, value: object) -> int | str:
        return self.parse(_number_text(value))

    def accepts(self, value: object) -> bool:
        return value == self.word or (_is_number(value) and self.low <= value <= self.high)


@dataclass(frozen=True, slots=True)
class Range(Kind):
    """A whole number, or two numbers, the minimum and the maximum: ``4:32``."""

    low: int
    high: int
    metavar: str = "N|MIN:MAX"
    unit: str = "a number"

    @property
    def allowed(self) -> str:
        return f"a whole number from {self.low} to {self.high}, or two as MIN:MAX, MIN not above MAX"

    def parse(self, text: str) -> int | tuple[int, int]:
        parts = text.split(":")
        if len(parts) > 2 or not all(_COUNT.fullmatch(part) for part in parts):
            raise ValueError
        numbers = [int(part) for part in parts]
        if not self.low <= numbers[0] <= numbers[-1] <= self.high:
            raise ValueError
        return numbers[0] if len(parts) == 1 else (numbers[0], numbers[1])

    def from_toml(self, value: object) -> int | tuple[int, int]:
        return self.parse(_number_text(value))

    def accepts(self, value: object) -> bool:
        minimum, maximum = value if isinstance(value, tuple) and len(value) == 2 else (value, value)
        return _is_number(minimum) and _is_number(maximum) and self.low <= minimum <= maximum <= self.high


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError
    return int(match[1]) * _FACTORS[match[2].lower()]


def _seconds(text: str) -> float:
    match = _SECONDS.fullmatch(text)
    if match is None:
        raise ValueError
    return float(match[1]) * _UNITS[match[2] or "s"]


def _either(examples: list[str]) -> str:
    """``a, b or c``."""
    *first, last = examples
    return f"{', '.join(first)} or {last}" if first else last


@dataclass(frozen=True, slots=True)
class Size(Kind):
    """A number of bytes, with the binary suffixes k, m and g."""

    low: int
    high: int
    metavar: str = "SIZE"
    unit: str = "bytes"

    @property
    def allowed(self) -> str:
        examples = [text for text in ("65536", "64k", "1m", "1g") if self.low <= _size(text) <= self.high]
        return f"bytes from {self.format(self.low)} to {self.format(self.high)}, as {_either(examples)}"

    def parse(self, text: str) -> int:
        size = _size(text)
        if not self.low <= size <= self.high:
            raise ValueError
        return size

    def from_toml(self, value: object) -> int:
        return self.parse(_number_text(value))

    def accepts(self, value: object) -> bool:
        return _is_number(value) and self.low <= value <= self.high

    def format(self, value: object) -> str:
        assert isinstance(value, int)
        for suffix in ("g", "m", "k"):
            if value and value % _FACTORS[suffix] == 0:
                return f"{value // _FACTORS[suffix]}{suffix}"
        return str(value)


@dataclass(frozen=True, slots=True)
class Seconds(Kind):
    """A duration in seconds, or with a suffix ms, s, m, h, d."""

    low: float
    high: float = 604800.0
    metavar: str = "TIME"
    unit: str = "seconds"

    @property
    def allowed(self) -> str:
        examples = [
            text for text in ("10", "1.5", "500ms", "30s", "2m", "1h") if self.low <= _seconds(text) <= self.high
        ]
        return f"a time from {self.format(self.low)} to {self.format(self.high)}, as {_either(examples)}"

    def parse(self, text: str) -> float:
        return self._in_range(_seconds(text))

    def from_toml(self, value: object) -> float:
        return self._in_range(value) if isinstance(value, float) else self.parse(_number_text(value))

    def _in_range(self, seconds: float) -> float:
        if not self.low <= seconds <= self.high:  # a NaN fails here too
            raise ValueError
        return seconds

    def accepts(self, value: object) -> bool:
        return (isinstance(value, float) or _is_number(value)) and self.low <= value <= self.high

    def format(self, value: object) -> str:
        assert isinstance(value, (int, float))
        if 0 < value < 1:
            return f"{value * 1000:g}ms"
        if value and value % 86400 == 0:
            return f"{value / 86400:g}d"
        return f"{value:g}s" if value else "0"


@dataclass(frozen=True, slots=True)
class Flag(Kind):
    """On or off: ``--name`` and ``--no-name`` on the command line, a word in the environment, a boolean in a file."""

    metavar: str = ""
    unit: str = "on or off"

    @property
    def allowed(self) -> str:
        return "true or false (in the environment also 1, 0, yes, no, on, off)"

    def parse(self, text: str) -> bool:
        lowered = text.lower()
        if lowered not in _TRUE + _FALSE:
            raise ValueError
        return lowered in _TRUE

    def from_toml(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise ValueError
        return value

    def accepts(self, value: object) -> bool:
        return isinstance(value, bool)

    def format(self, value: object) -> str:
        return "on" if value else "off"


@dataclass(frozen=True, slots=True)
class Choice(Kind):
    """One of several words."""

    choices: tuple[str, ...]
    metavar: str = "WORD"
    unit: str = "a word"

    @property
    def allowed(self) -> str:
        return f"{', '.join(self.choices[:-1])} or {self.choices[-1]}"

    def parse(self, text: str) -> str:
        if text not in self.choices:
            raise ValueError
        return text

    def accepts(self, value: object) -> bool:
        return isinstance(value, str) and value in self.choices


@dataclass(frozen=True, slots=True)
class Octal(Kind):
    """The permission bits of a file, in octal. In a TOML file it is a string, because a number there is decimal."""

    example: str = "660"
    metavar: str = "MODE"
    unit: str = "octal permission bits"

    @property
    def allowed(self) -> str:
        return f"three or four octal digits, as {self.example} or 0o{self.example} (in a file as a string)"

    def parse(self, text: str) -> int:
        match = _OCTAL.fullmatch(text)
        if match is None:
            raise ValueError
        return int(match[1], 8)

    def from_toml(self, value: object) -> int:
        if not isinstance(value, str):
            raise ValueError
        return self.parse(value)

    def format(self, value: object) -> str:
        return "" if value is None else f"{value:03o}"


@dataclass(frozen=True, slots=True)
class Text(Kind):
    """Text for which ``check`` returns true. It may raise ValueError with a clause that says what is wrong.

    :param rule: which texts those are; it completes the sentence "allowed is ...".
    """

    rule: str
    check: Callable[[str], bool]
    metavar: str = "TEXT"
    unit: str = "text"

    @property
    def allowed(self) -> str:
        return self.rule

    def parse(self, text: str) -> str:
        if "\0" in text or not self.check(text):
            raise ValueError
        return text

    def accepts(self, value: object) -> bool:
        try:
            return isinstance(value, str) and "\0" not in value and self.check(value)
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class Pair(Kind):
    """One environment variable, ``NAME=VALUE``, as a tuple of its name and its value."""

    metavar: str = "NAME=VALUE"
    unit: str = "a variable"

    @property
    def allowed(self) -> str:
        return "NAME=VALUE, where NAME is not empty"

    def parse(self, text: str) -> tuple[str, str]:
        name, equals, value = text.partition("=")
        if not name or not equals or "\0" in text:
            raise ValueError
        return name, value


def check_settings(settings: Any, kinds: Mapping[str, Kind], prefix: str = "") -> None:
    """Check the fields of a settings object. A field whose default is None may be None. One whose default is a tuple
    has a tuple of values of its kind.

    :param settings: an instance of a dataclass.
    :param kinds: the names of the fields and their types.
    :param prefix: what the name of the option has before the name of the field.
    :raises UsageError: for the first field that is out of bounds.
    """
    by_name = {field.name: field for field in fields(settings)}
    for name, kind in kinds.items():
        value, default = getattr(settings, name), by_name[name].default
        option = f"--{prefix}{name}".replace("_", "-")
        if isinstance(default, tuple):
            if not isinstance(value, tuple) or not all(kind.accepts(item) for item in value):
                raise UsageError(
                    f"{name}={value!r:.100} ({option}) has to be a tuple of values; allowed for each is {kind.allowed}"
                )
        elif not kind.accepts(value) and not (value is None and default is None):
            subject = f"{name}={value!r:.100} ({option})"
            # A text, because the annotations are not evaluated. The allowed words are in the message already.
            types = re.sub(r"Literal\[[^]]*\]", "str", str(by_name[name].type))
            if not _has_type(value, types):
                right = _python_value(kind, value, default)
                raise UsageError(
                    f"{subject} is of type {type(value).__name__}; it has to be {types}; allowed is {kind.allowed}",
                    "" if right is None else f"; write {name}={right!r}",
                )
            raise UsageError(f"{subject} is out of bounds; allowed is {kind.allowed}")


@dataclass(frozen=True, slots=True)
class Need:
    """Options that do nothing while others are off. Each settings class has a table of them. Immutable.

    Such an option is a warning, not an error: the server does what it did without it. What says who may reach the
    server, or what protects a connection, is refused at the start instead, by the code that opens the sockets.
    """

    fields: tuple[str, ...]
    """Names of the options, with underscores."""
    needs: tuple[str, ...]
    """Names of the others, of which one has to be on: its value is not empty, 0 or False."""
    result: str = ""
    """What happens, to complete the message."""


def without_effect(
    needs: Iterable[Need], values: Mapping[str, object], defaults: Mapping[str, object]
) -> Iterator[str]:
    """The one rule about options without effect: a sentence for each that has another value than its default while
    none of those that it needs is on.

    :param values: of the options that the table names.
    :param defaults: of the options in ``fields`` of the table.
    """
    for need in needs:
        if any(values[name] for name in need.needs):
            continue
        others = " or ".join(map(_flag, need.needs))
        for name in need.fields:
            if values[name] != defaults[name]:
                yield f"{_flag(name)} has no effect without {others}{need.result and f': {need.result}'}"


def defaults_of(settings_class: type) -> dict[str, object]:
    """The default of each field of a settings class, by its name."""
    return {field.name: field.default for field in fields(settings_class)}


def _flag(name: str) -> str:
    return f"--{name}".replace("_", "-")


def _has_type(value: object, types: str) -> bool:
    """Whether a value has one of the types of an annotation, as ``int | tuple[int, int]``; an int is also a float."""
    names = re.findall(r"\w+", types)
    if isinstance(value, bool):
        return "bool" in names
    return any(base.__name__ in names for base in type(value).__mro__) or (isinstance(value, int) and "float" in names)


def _python_value(kind: Kind, value: object, default: object) -> object:
    """What was probably meant by a value of a wrong type: what its text says, else the default."""
    try:
        meant = kind.parse(str(value))
    except ValueError:
        return default
    return meant if kind.accepts(meant) else default


def _is_number(value: object) -> TypeGuard[int]:
    """Whether a value is an int; bool does not count, although it is a subclass."""
    return isinstance(value, int) and not isinstance(value, bool)


def _number_text(value: object) -> str:
    """The text of a number in a TOML file, where it is a number or a string."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError
    return str(value)


def shows_settings(*classes: type, **defaults: object) -> Callable[[F], F]:
    """Let ``help`` and :func:`inspect.signature` show what the ``**options`` of a function are.

    The decorator changes what is shown, not what is called: the function goes on to get the options that were given,
    and no others. Type checkers read the source, in which ``options`` is a class of :mod:`reserve.keywords`.

    :param classes: the settings classes whose fields are the options, each with its type and default.
    :param defaults: other defaults, for fields whose default the function does not use.
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        shown = {name: one for name, one in signature.parameters.items() if one.kind is not one.VAR_KEYWORD}
        for settings in classes:
            types = get_type_hints(settings)
            for field in fields(settings):
                if field.default is not MISSING and field.name not in shown:  # else it is settings of its own
                    shown[field.name] = inspect.Parameter(
                        field.name,
                        inspect.Parameter.KEYWORD_ONLY,
                        default=defaults.get(field.name, field.default),
                        annotation=types[field.name],
                    )
        cast("Any", function).__signature__ = signature.replace(parameters=list(shown.values()))
        return function

    return decorate


def keyword_names(function: Callable[..., Any]) -> list[str]:
    """The names that a function takes as keywords, also those that :func:`shows_settings` shows."""
    parameters = inspect.signature(function).parameters.values()
    return [one.name for one in parameters if one.kind is not one.VAR_KEYWORD and one.name != "self"]
