"""The text of :mod:`reserve.keywords`: the options of the public classes as types, made from the table of options.

A type checker reads the source and imports nothing, so the options have to stand there as text. Pure; runs when the
table has changed, and in the test that compares the text.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator

from reserve.apps.http.settings import EMBEDDED, HTTPSettings
from reserve.engine.settings import EngineSettings
from reserve.options.table import OPTIONS
from reserve.protocol.http1.limits import Limits
from reserve.ssl.settings import TLSSettings

__all__ = ["keywords_module"]

_HEAD = '''\
"""The options that the public classes take as keyword arguments, with their types, for type checkers and editors.

Made from the table in ``reserve/options/table.py`` by ``python -m reserve.options keywords > reserve/keywords.py``. A
class here is the type of ``**options`` (PEP 692, ``Unpack``); its keys may all be left out.
"""

from __future__ import annotations

from typing import Literal, TypedDict

__all__ = ["EngineOptions", "ServerOptions", "TLSOptions", "WSGIServerOptions"]
'''
_WITHOUT_OPTION = {"protocols": "The protocols that are offered for ALPN. Default: those of the application."}
"""Fields of a settings class that only programs can set."""


def keywords_module() -> str:
    """The source of ``reserve/keywords.py``."""
    lines = [_HEAD.rstrip()]
    lines += _class(
        "EngineOptions",
        "TypedDict",
        "What both servers take: the settings of the engine, except ``threads``.",
        _entries(EngineSettings, without="threads"),
    )
    lines += _class(
        "ServerOptions",
        "EngineOptions",
        "What :class:`reserve.Server` takes.",
        (entry for entry in _entries(EngineSettings) if entry[0] == "threads"),
    )
    lines += _class(
        "WSGIServerOptions",
        "EngineOptions",
        "What :class:`reserve.ReserveWSGIServer` takes: the settings of the engine, of HTTP and its limits.",
        (*_entries(HTTPSettings, without="limits"), *_entries(Limits)),
    )
    lines += _class(
        "TLSOptions",
        "TypedDict",
        "What :class:`reserve.ssl.BuiltinSSLAdapter` and :class:`reserve.ssl.PyOpenSSLAdapter` take.",
        _entries(TLSSettings),
    )
    return "\n".join(lines) + "\n"


def _class(
    name: str, base: str, text: str, entries: Iterator[tuple[str, str, str]] | tuple[tuple[str, str, str], ...]
) -> list[str]:
    lines = ["", "", f"class {name}({base}, total=False):", f'    """{text}"""', ""]
    for key, annotation, description in entries:
        lines.append(f"    {key}: {annotation}")
        lines += _docstring(description)
    return lines


def _entries(settings: type, without: str = "") -> Iterator[tuple[str, str, str]]:
    """The name, the type and the description of each field of a settings class."""
    rows = {option.setting: option for option in OPTIONS if option.home is settings}
    for field in dataclasses.fields(settings):
        if field.name == without:
            continue
        row = rows.get(field.name)
        if row is None:
            text = _WITHOUT_OPTION[field.name]
        else:
            default = EMBEDDED.get(field.name, row.default)
            shown = "" if default is None else f" Default: ``{default!r}``."
            unit = "" if row.kind.unit in ("text", "a word", "a number", "on or off") else f" Unit: {row.kind.unit}."
            text = f"{row.help}{unit}{shown}"
        yield field.name, str(field.type).replace("'", '"'), text


def _docstring(text: str) -> list[str]:
    one = f'    """{text}"""'
    if len(one) <= 120:
        return [one]
    return [
        *textwrap.wrap(f'"""{text}', 120, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False),
        '    """',
    ]
