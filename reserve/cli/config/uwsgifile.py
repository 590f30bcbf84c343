"""Reading the section ``[uwsgi]`` of an ini file.

Pure; runs on the main thread. A line is a key and a value, and a key may be repeated. The variables of uWSGI (``%n``,
``%(name)``, ``$(NAME)``, ``@(file)``) are not translated: a value with one cannot be known.
"""

from __future__ import annotations

import re

from reserve.cli.config.configuration import Configuration, Setting
from reserve.errors import UsageError

__all__ = ["read_uwsgi_file"]

_VARIABLE = re.compile(r"%\([^)]*\)?|%[a-zA-Z]|\$\([^)]*\)?|@\([^)]*\)?")


def read_uwsgi_file(text: str, origin: str) -> Configuration:
    """The settings of the file; the application is made of ``module`` or ``wsgi-file``, and ``callable``.

    :param origin: the name of the file.
    :raises UsageError: it has no section ``[uwsgi]``.
    """
    result = Configuration("uwsgi", origin)
    section, has_section = "", False
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line[0] in ";#":
            continue
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip()
            has_section = has_section or section == "uwsgi"
        elif section == "uwsgi":
            key, equals, value = (part.strip() for part in line.partition("="))
            result.settings.append(_setting(key, value if equals else "true", number))
    if not has_section:
        raise UsageError(f"{origin} has no section [uwsgi]; reserve migrate reads no other ini files")
    return result


def _setting(key: str, value: str, line: int) -> Setting:
    variable = _VARIABLE.search(value)
    if variable:
        return Setting(key, line=line, unknown=f"{variable[0]:.40} is a variable of uWSGI, which is not translated")
    lowered = value.lower()
    if lowered in ("true", "yes", "on"):
        return Setting(key, True, line)
    if lowered in ("false", "no", "off"):
        return Setting(key, False, line)
    return Setting(key, value, line)
