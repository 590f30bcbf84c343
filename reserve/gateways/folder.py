"""Opens files below one folder for clients, and nothing that is outside of it or that is no file.

A :class:`Folder` may be used by any number of threads; it keeps no descriptor between calls, so that a folder that is
replaced (a new release behind a symbolic link) is seen at the next request.

Three things can lead out of a folder. Names: ``..``, an absolute path, a separator or NUL inside a component; these are
refused before any system call. Symbolic links: each directory on the way is opened relative to the one before without
following a link (``openat`` with O_NOFOLLOW); where there is one, the path is resolved, has to lie in the folder, and
then is opened in the same way, so that nobody can put a link into it meanwhile. Special files: what is no regular file
is not opened, because a FIFO blocks, and opening a device can do anything.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Entry", "Folder", "Listed", "OpenedFile"]

_HAS_DIR_FD = os.open in os.supports_dir_fd and os.stat in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
_FILE = os.O_RDONLY | sum(
    getattr(os, flag, 0) for flag in ("O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY", "O_BINARY", "O_NOINHERIT")
)
"""O_NONBLOCK has no effect on a regular file. It keeps a FIFO from blocking that took the place of one just now."""
_DIRECTORY = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
"""O_PATH needs only the permission to search, as any path with the directory in it does."""
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_ABSENT = {
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EINVAL,
    errno.EILSEQ, errno.ENXIO, errno.ENODEV, errno.EMLINK,
}  # fmt: skip
"""Errors that are about the name. All others (no descriptor left, a failing disk) are the server's."""
_IS_A_LINK = (errno.ELOOP, errno.ENOTDIR, errno.EMLINK)
"""What systems say when O_NOFOLLOW finds a symbolic link (FreeBSD: EMLINK), or O_DIRECTORY does so first."""


class OpenedFile(NamedTuple):
    """A regular file that is open for reading; whoever gets it closes :attr:`file`."""

    file: io.FileIO
    info: os.stat_result
    """Of the open descriptor, so that it is the file that is read."""


Entry = OpenedFile | None
"""What a name leads to: a file, or None for a folder."""


class Listed(NamedTuple):
    """An entry in the listing of a folder."""

    name: str
    """As in the file system; bytes that are no text in its encoding are surrogates (``os.fsdecode``)."""
    is_folder: bool


class Folder:
    """A folder whose files clients may have.

    :param root: its path. It may be a symbolic link, and it need not exist yet.
    :param hidden: names that begin with one of these characters are refused.
    :param outside: follow symbolic links out of the folder. Whoever can write into the folder can then publish every
        file that the server can read.
    """

    def __init__(self, root: str | os.PathLike[str], *, hidden: str = ".", outside: bool = False) -> None:
        self.root = os.fspath(root)
        self._hidden = tuple(hidden)
        self._outside = outside

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.root!r})"

    def is_hidden(self, name: str) -> bool:
        """Whether the beginning of a name says that it is not for clients."""
        return name.startswith(self._hidden)

    def open(self, names: Sequence[str]) -> Entry:
        """Open a file.

        :param names: the components of its path, decoded; none of them for the folder itself.
        :return: None if it is a folder.
        :raises FileNotFoundError: there is none that a client may have. The reason makes no difference to the client.
        :raises OSError: the server cannot open anything now.
        """
        self._check(names)
        try:
            if self._outside:
                return _open_path(os.path.join(self.root, *names))
            if not _HAS_DIR_FD:
                return _open_path(os.path.join(*self._resolve(names)))
            try:
                return _open_below(self.root, names)
            except OSError as error:
                if error.errno not in _IS_A_LINK:
                    raise
            base, *real = self._resolve(names)
            return _open_below(base, real)
        except (OSError, ValueError) as error:
            raise _absent(names, error) from None

    def entries(self, names: Sequence[str]) -> list[Listed]:
        """The files and folders in a folder that :meth:`open` finds, sorted by name. Does not open any of them.

        :raises FileNotFoundError: there is no such folder that a client may have.
        :raises OSError: the server cannot open anything now.
        """
        self._check(names)
        found = []
        try:
            if self._outside:
                base, real = self.root, tuple(names)
            else:
                base, *parts = self._resolve(names)
                real = tuple(parts)
            opened: int | str = os.path.join(base, *real)
            if _HAS_DIR_FD and not self._outside and os.scandir in os.supports_fd:
                opened = _walk(base, real, os.O_RDONLY)
            try:
                with os.scandir(opened) as entries:
                    for entry in entries:
                        if not self._is_allowed(entry.name):
                            continue
                        with contextlib.suppress(OSError):  # such as a link into a folder that cannot be searched
                            if entry.is_symlink() and not self._outside:
                                self._resolve((*names, entry.name))
                            if entry.is_dir():
                                found.append(Listed(entry.name, True))
                            elif entry.is_file():
                                found.append(Listed(entry.name, False))
            finally:
                if isinstance(opened, int):
                    os.close(opened)
        except (OSError, ValueError) as error:
            raise _absent(names, error) from None
        return sorted(found)

    def _check(self, names: Sequence[str]) -> None:
        for name in names:
            if not self._is_allowed(name):
                raise FileNotFoundError(errno.ENOENT, "not a name that clients may ask for", name)

    def _is_allowed(self, name: str) -> bool:
        if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
            return False
        if os.name == "nt" and (":" in name or name[-1] in ". " or _is_device(name)):
            return False  # a drive or a stream of a file; another spelling of a name; a device
        return not self.is_hidden(name)

    def _resolve(self, names: Sequence[str]) -> list[str]:
        """The real path of the folder, and the components from there to the real place of what the names lead to.

        What is hidden may be on the way: the link that leads there was made for clients.
        """
        base = os.path.realpath(self.root, strict=True)
        real = os.path.realpath(os.path.join(base, *names), strict=True)
        if real == base:
            return [base]
        prefix = os.path.join(base, "")
        if not real.startswith(prefix):
            raise FileNotFoundError(errno.ENOENT, "a symbolic link leads out of the folder", real)
        return [base, *real[len(prefix) :].split(os.sep)]


def _absent(names: Sequence[str], error: OSError | ValueError) -> OSError:
    """The exception for an error: about the name, or the server's own."""
    if isinstance(error, OSError) and error.errno not in _ABSENT:
        return error
    return FileNotFoundError(errno.ENOENT, str(error), "/".join(names))


def _is_device(name: str) -> bool:
    """Whether Windows takes a name for a device, whatever its folder and extension are."""
    stem = name.partition(".")[0].rstrip().upper()
    return stem in ("CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$") or (
        len(stem) == 4 and stem[:3] in ("COM", "LPT") and stem[3].isdigit()
    )


def _walk(root: str, names: Sequence[str], flags: int) -> int:
    """A descriptor of a folder below another. No component after ``root`` may be a symbolic link (ELOOP, ENOTDIR)."""
    last = len(names)
    directory = os.open(root, _DIRECTORY if last else flags | os.O_DIRECTORY | os.O_CLOEXEC)
    for count, name in enumerate(names, 1):
        try:
            wanted = _DIRECTORY if count < last else flags | os.O_DIRECTORY | os.O_CLOEXEC
            below = os.open(name, wanted | _NOFOLLOW, dir_fd=directory)
        finally:
            os.close(directory)
        directory = below
    return directory


def _open_below(root: str, names: Sequence[str]) -> Entry:
    """Open a file below a folder; None for a folder. No component after ``root`` may be a symbolic link."""
    if not names:
        return None if stat.S_ISDIR(os.stat(root).st_mode) else _not_a_file(root)
    directory = _walk(root, names[:-1], _DIRECTORY)
    try:
        name = names[-1]
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
        if stat.S_ISDIR(mode):
            return None
        if not stat.S_ISREG(mode):
            return _not_a_file(name)
        return _opened(os.open(name, _FILE | _NOFOLLOW, dir_fd=directory), name)
    finally:
        os.close(directory)


def _open_path(path: str) -> Entry:
    """Open a file wherever symbolic links lead; None for a folder."""
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        return None
    if not stat.S_ISREG(mode):
        return _not_a_file(path)
    return _opened(os.open(path, _FILE), path)


def _opened(descriptor: int, name: str) -> Entry:
    """The file of a descriptor, if it still is a regular one."""
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            return _not_a_file(name)
        return OpenedFile(io.FileIO(descriptor, "rb"), info)
    except BaseException:
        os.close(descriptor)
        raise


def _not_a_file(name: str) -> Entry:
    raise FileNotFoundError(errno.ENOENT, "a FIFO, a socket or a device is not sent", name)
