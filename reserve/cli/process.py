"""What the command changes in its own process before it opens a socket.

Runs on the main thread at start. A program that embeds a server does none of this.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from reserve.engine import fork
from reserve.errors import StartupError
from reserve.loader.directory import working_directory
from reserve.loader.find import put_directory_first

if TYPE_CHECKING:
    from reserve.options.sources import Values

__all__ = [
    "allow_open_files",
    "change_directory",
    "changed_directory",
    "open_files_for",
    "prepare_process",
    "set_open_files",
    "set_umask",
    "too_many_files",
]

_FOR_EACH_CONNECTION = 2
"""Descriptors: its socket, and a file for a body or a response that is too large for memory."""
_FOR_THE_REST = 4096
"""Descriptors of the application, the listeners and the logs."""


def prepare_process(values: Values, *, forks_workers: bool = False) -> None:
    """Apply the options that concern the process: the working directory, the environment, the limit of open files,
    the umask.

    Afterwards the working directory is the first entry of the import path.

    :param forks_workers: this process serves no connections itself. The processes that it forks set the limit of open
        files (:func:`allow_open_files`).
    :raises StartupError: the working directory does not exist or cannot be changed, the spool directory cannot be
        written to, or the limit of open files cannot be set.
    """
    change_directory(values)
    if not working_directory():
        raise StartupError("the working directory was deleted; start in another one, or name it with --chdir DIR")
    spool_dir = values["spool_dir"]
    if spool_dir is not None and not (os.path.isdir(str(spool_dir)) and os.access(str(spool_dir), os.W_OK | os.X_OK)):
        source = values.given["spool_dir"].source
        raise StartupError(f"{source}: {spool_dir} is not a directory that this process may write to")
    os.environ.update(dict(cast("tuple[tuple[str, str], ...]", values["env"])))
    if not forks_workers:
        allow_open_files(values)
    set_umask(values)
    put_directory_first()


def allow_open_files(values: Values) -> None:
    """Set the soft limit of open files as the options say: see :func:`set_open_files`."""
    given = values.given.get("open_files")
    set_open_files(
        cast("int | str | None", values["open_files"]), values.engine().max_connections, given.source if given else ""
    )


def set_umask(values: Values) -> None:
    """Apply ``--umask``: before the listeners are opened, whose files it is for."""
    umask = values["umask"]
    if umask is not None:
        os.umask(cast("int", umask))


def change_directory(values: Values) -> None:
    """Change to ``--chdir``.

    :raises StartupError: that is not possible.
    """
    directory = values["chdir"]
    if directory is not None:
        try:
            os.chdir(str(directory))
        except OSError as error:
            source = values.given["chdir"].source
            raise StartupError(f"{source}: cannot change to {directory}: {error.strerror or error}") from error


@contextlib.contextmanager
def changed_directory(values: Values) -> Iterator[None]:
    """In this block ``--chdir`` is the working directory.

    :raises StartupError: the working directory does not exist or cannot be changed.
    """
    previous = os.open(".", os.O_RDONLY)
    try:
        change_directory(values)
        yield
    finally:
        os.fchdir(previous)
        os.close(previous)


class _RaisedLimit:
    """The soft limit from before the start. A forked child restores it, because it serves no connections.

    A child that is not made by :func:`os.fork` (:mod:`subprocess`, :func:`os.system`, :func:`os.posix_spawn`) runs no
    code of this process, so it inherits the raised limit.
    """

    def __init__(self, previous: int, current: int) -> None:
        self._previous, self._current = previous, current

    def close_copies(self) -> None:
        """In the child: restore the limit, unless the application has set another one."""
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == self._current:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self._previous, hard))


_raised_limit: _RaisedLimit | None = None
"""Keeps alive what :mod:`reserve.engine.fork` watches; the limit belongs to the process, and so does this."""


def open_files_for(max_connections: int) -> int:
    """How many descriptors a server may need."""
    return max_connections * _FOR_EACH_CONNECTION + _FOR_THE_REST


def set_open_files(wanted: int | str | None, max_connections: int, source: str) -> None:
    """Set the soft limit of open files (RLIMIT_NOFILE); each connection needs a descriptor.

    :param wanted: ``--open-files``; None: as many as the server may need.
    :param max_connections: ``--max-connections``.
    :param source: where ``wanted`` comes from, for the message.
    :raises StartupError: the hard limit is lower than a number that was asked for.
    """
    global _raised_limit
    try:
        import resource
    except ImportError:  # not a POSIX system
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if isinstance(wanted, int):
        limit = wanted
        if hard != resource.RLIM_INFINITY and limit > hard:
            raise StartupError(f"{source}: {limit} is more than the hard limit of open files, {hard} (ulimit -Hn)")
    elif wanted is None and soft != resource.RLIM_INFINITY:
        limit = open_files_for(max_connections)
        limit = max(soft, limit if hard == resource.RLIM_INFINITY else min(limit, hard))
    else:
        return
    if limit == soft:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    except (OSError, ValueError) as error:
        if wanted is not None:
            raise StartupError(f"{source}: the system refuses a limit of {limit} open files: {error}") from error
        return  # some systems refuse even less than the hard limit: serve with what there is
    if limit > soft:
        _raised_limit = _RaisedLimit(soft, limit)
        fork.watch(_raised_limit)


def too_many_files(error: BaseException) -> str:
    """What an error means, if no more files can be opened; empty: it is another one."""
    if not isinstance(error, OSError) or error.errno not in (errno.EMFILE, errno.ENFILE):
        return ""
    try:
        import resource
    except ImportError:  # not a POSIX system
        resource = None  # type: ignore[assignment]
    if error.errno == errno.ENFILE or resource is None:
        return f"the server cannot start: {error.strerror}"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = "any number" if hard == resource.RLIM_INFINITY else hard
    return (
        f"the server cannot start: {error.strerror}; this process may have {soft} (ulimit -n), and {most} with "
        "--open-files (ulimit -Hn)"
    )
