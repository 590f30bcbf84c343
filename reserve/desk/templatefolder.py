"""Templates in files of one folder, read when they are first asked for.

A file is a template, or one of two composite forms. Their parts are separated by ``<?name?>``, so that editors still
take the file for HTML; spaces around a part do not count, and the end tag may be left out:

- ``<extend>base <?title?>Tasks <?body?><p>{text}</p></extend>`` is ``base`` with these parts for its fields
  (:meth:`~reserve.desk.templates.AbstractTemplate.assembly`);
- ``<loop><ul> <?begin?><li>{name}</li> <?end?></ul> <?else?><p>None.</p></loop>`` is a
  :class:`~reserve.desk.templates.TemplateLoop`; ``end`` and ``else`` may be missing.

Files are UTF-8.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar

from reserve.desk.templates import AbstractTemplate, SubAssembly, Template, TemplateError, TemplateLoop
from reserve.errors import counted, short_repr
from reserve.suggest import suggestion

__all__ = ["TemplateFolder", "TemplateNotFound"]

Result = TypeVar("Result")

_SECTION = re.compile(r"<\?(.*?)\?>", re.DOTALL)
_NO_SUCH_FILE = {errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP}
_MOST_NAMES = 30
"""How many known names an error message lists."""


class TemplateNotFound(TemplateError, FileNotFoundError):
    """There is no template of that name in the folder, or the name is none that a template can have."""


class _Part(NamedTuple):
    text: str
    line: int


class TemplateFolder:
    """The templates in a folder, by name: ``tpl = TemplateFolder("templates")``, then ``tpl("page")(title="Tasks")``.

    Each file is read once, when it is first asked for. Any thread may ask.

    :param path: the folder. A relative one begins at the working directory; in a program made by PyInstaller it
        begins at the program's own files, if the folder is among them.
    :param extension: what a file name has after the name of the template; default ``.tpl``.
    :raises NotADirectoryError: if there is no such folder.
    """

    BEGIN_ASSY = "<extend>"
    END_ASSY = "</extend>"
    BEGIN_LOOP = "<loop>"
    END_LOOP = "</loop>"

    def __init__(self, path: str | os.PathLike[str], extension: str = ".tpl") -> None:
        self.folder = _located(Path(path))
        if not self.folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "there is no such folder of templates", os.fspath(path))
        self.extension = extension or ""
        self._store: dict[str, Any] = {}

    def __call__(self, filename: str) -> Any:
        """The template of this name; a :class:`TemplateLoop` for a file with ``<loop>``.

        :param filename: the name of the file without the extension. ``forms/task`` is a file in a folder of the folder.
        :raises TemplateNotFound: for an unknown name; it lists the known ones. A name with a backslash,
            a colon, NUL, or a part that is empty or begins with a dot is never looked up: none leads out of the folder.
        :raises TemplateError: for a mistake in the file; it says in which line.
        :raises OSError: if the file cannot be read.
        """
        return self._get(filename, ())

    def names(self) -> list[str]:
        """The names of all templates in the folder, sorted."""
        found = []
        for path in self.folder.rglob(f"*{self.extension}"):
            name = path.relative_to(self.folder).as_posix()
            name = name[: len(name) - len(self.extension)]
            if _is_safe(name) and path.is_file():
                found.append(name)
        return sorted(found)

    def wrap(self, handle: Callable[..., Result]) -> Callable[..., Result]:
        """A handle that reads changed templates again, for development: ``serve_http(tpl.wrap(app))``.

        Every request begins with an empty cache, and is then passed to ``handle``.
        """

        @functools.wraps(handle, updated=())
        def wrapper(*arguments: Any, **keywords: Any) -> Result:
            self._store.clear()
            return handle(*arguments, **keywords)

        if hasattr(handle, "single_thread"):
            wrapper.single_thread = handle.single_thread  # type: ignore[attr-defined]
        return wrapper

    def _get(self, name: str, children: tuple[str, ...]) -> Any:
        """The template of this name, which ``children`` extend, each the one after it."""
        try:
            return self._store[name]
        except KeyError:
            pass
        if name in children:
            circle = " extends ".join([*children[children.index(name) :], name])
            raise TemplateError(f"extends itself: {circle}", template=name)
        template = self._store[name] = self._read(name, children)
        return template

    def _read(self, name: str, children: tuple[str, ...]) -> AbstractTemplate | TemplateLoop:
        raw = self._text(name, children)
        text = raw.lstrip()
        line = 1 + raw.count("\n", 0, len(raw) - len(text))
        if text.startswith(self.BEGIN_ASSY):
            return self._assembly(
                name, self._parts(name, text, line, self.BEGIN_ASSY, self.END_ASSY), (*children, name)
            )
        if text.startswith(self.BEGIN_LOOP):
            return self._loop(name, self._parts(name, text, line, self.BEGIN_LOOP, self.END_LOOP))
        return Template(text, name=name, first_line=line)

    def _text(self, name: str, children: tuple[str, ...]) -> str:
        if not _is_safe(name):
            self._not_found(name, "this cannot be the name of a template", children)
        path = self.folder / f"{name}{self.extension}"
        try:
            return path.read_text("utf-8-sig")
        except UnicodeDecodeError as error:
            line = 1 + error.object.count(b"\n", 0, error.start)
            problem = f"the file is not UTF-8: byte {error.object[error.start]:#04x}"
            raise TemplateError(problem, template=name, line=line) from error
        except UnicodeEncodeError:  # half of a surrogate pair
            self._not_found(name, "this cannot be the name of a template", children)
        except OSError as error:
            if error.errno not in _NO_SUCH_FILE:
                raise
            self._not_found(name, f"there is no file {path}", children)

    def _not_found(self, name: str, problem: str, children: tuple[str, ...]) -> NoReturn:
        known = self.names()
        listed = ", ".join(known[:_MOST_NAMES])
        more = f" and {len(known) - _MOST_NAMES} more" if len(known) > _MOST_NAMES else ""
        those = f"; there {'is' if len(known) == 1 else 'are'} {counted(len(known), 'template')}: {listed}{more}"
        by = f" (which {children[-1]} extends)" if children else ""
        problem = f"{problem}{by}{those if known else '; the folder has no template'}{suggestion(str(name), known)}"
        raise TemplateNotFound(problem, template=short_repr(name)) from None

    def _parts(self, name: str, text: str, line: int, begin: str, end: str) -> dict[str | None, _Part]:
        """The parts of a composite template: up to the first ``<?key?>`` under None, then each under its key."""
        stop = text.rfind(end)
        if stop < 0:
            stop = len(text)
        elif (rest := text[stop + len(end) :].strip()) != "":
            at = line + text.count("\n", 0, len(text) - len(text[stop + len(end) :].lstrip()))
            raise TemplateError(f"nothing may follow {end}, got {short_repr(rest)}", template=name, line=at)

        def part(start: int, stop: int) -> _Part:
            here = text[start:stop]
            blank = len(here) - len(here.lstrip())
            return _Part(here.strip(), line + text.count("\n", 0, start + blank))

        parts: dict[str | None, _Part] = {}
        key: str | None = None
        left = len(begin)
        for match in _SECTION.finditer(text, left, stop):
            parts[key] = part(left, match.start())
            key = match[1].strip()
            left = match.end()
            at = line + text.count("\n", 0, match.start())
            if not key.isidentifier():
                problem = f"{match[0]:.60} begins a part, and {short_repr(key)} cannot be the name of one"
                raise TemplateError(problem, template=name, line=at)
            if key in parts:
                raise TemplateError(f"a second {match[0]}", template=name, line=at)
        parts[key] = part(left, stop)
        return parts

    def _assembly(self, name: str, parts: dict[str | None, _Part], children: tuple[str, ...]) -> SubAssembly:
        base_name, line = parts.pop(None)
        try:
            own = type(self).__call__ is not TemplateFolder.__call__  # a subclass that chooses other files for names
            base = self(base_name) if own else self._get(base_name, children)
        except TemplateNotFound as error:
            error.add_note(f"({self.BEGIN_ASSY}{base_name} is in template {name}, line {line})")
            raise
        if not isinstance(base, AbstractTemplate):
            raise TemplateError(f"{base_name!r} is a loop, which cannot be extended", template=name, line=line)
        return SubAssembly(base, {str(key): self._part_template(name, part) for key, part in parts.items()})

    def _loop(self, name: str, parts: dict[str | None, _Part]) -> TemplateLoop:
        line = parts[None].line
        for key in parts:
            if key not in (None, "begin", "end", "else"):
                known = ["begin", "end", "else"]
                problem = f"a loop has the parts begin, end and else, and no {key!r}{suggestion(str(key), known)}"
                raise TemplateError(problem, template=name, line=parts[key].line)
        if "begin" not in parts:
            problem = "the loop has no <?begin?>, with which the part that is repeated begins"
            raise TemplateError(problem, template=name, line=line)
        blank = _Part("", line)
        return TemplateLoop(
            self._part_template(name, parts[None]),
            self._part_template(name, parts["begin"]),
            self._part_template(name, parts.get("end", blank)),
            self._part_template(name, parts["else"]) if "else" in parts else None,
        )

    def _part_template(self, name: str, part: _Part) -> Template:
        return Template(part.text, name=name, first_line=part.line)


def _located(folder: Path) -> Path:
    unpacked = getattr(sys, "_MEIPASS", None)  # where PyInstaller has the files of the program
    if unpacked is not None and (bundled := Path(unpacked) / folder).is_dir():
        return bundled  # an absolute path stays as it is
    return folder


def _is_safe(name: str) -> bool:
    """Whether the name stays in the folder: parts between slashes that are not empty and do not begin with a dot."""
    if not isinstance(name, str) or any(character in name for character in "\0\\:"):
        return False
    return all(part and not part.startswith(".") for part in name.split("/"))
