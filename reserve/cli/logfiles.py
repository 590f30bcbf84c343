"""The files of logs: ``--access-log-file`` and ``--error-log-file``, opened while the process has the rights of root.

Runs on the main thread at start. The file of the error log becomes standard error when the server is ready, so that
what an application, a library or the interpreter writes there is in it as well, and a start that fails is reported to
those who have started it. :mod:`reserve.engine.logs.logfile` has the files, and opens them again on SIGUSR1.
"""

from __future__ import annotations

import errno
import os
import shlex
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from reserve.apps._accesslog.destinations import STDOUT, path_of
from reserve.cli.privileges import file_owner
from reserve.daemon.pidfile import PidFile
from reserve.engine.logs.logfile import (
    LogFile,
    Reopened,
    keep_log_files,
    open_log_file,
    reopen_log_files,
    rights_for,
)
from reserve.errors import Correction, StartupError

if TYPE_CHECKING:
    from reserve.options.sources import Values

__all__ = ["make_pid_file", "open_log_files", "redirect_stderr", "reopened", "sentences"]

_STDERR = 2


def open_log_files(values: Values) -> LogFile | None:
    """Open the files that the options name, relative to the working directory; those of earlier options are closed.

    :returns: the file of the error log, for :func:`redirect_stderr`; None: it stays standard error.
    :raises StartupError: one cannot be opened.
    """
    owner = file_owner(values)
    error_file = None
    paths = []
    for field in ("access_log_file", "error_log_file"):
        path = str(values[field] or "")
        path = path_of(path) if field == "access_log_file" or path == STDOUT else path
        if not path or (field == "access_log_file" and not values["access_log"]):
            continue
        try:
            file = open_log_file(path, owner, for_log=False)
        except OSError as error:
            source = values.given[field].source
            missing = error.errno == errno.ENOENT and os.path.dirname(path)
            correction = Correction(before=f"mkdir -p {shlex.quote(os.path.dirname(path))}") if missing else None
            raise StartupError(
                f"{source}: cannot open {path}: {error.strerror or error}", correction=correction
            ) from None
        paths.append(file.path)
        error_file = file if field == "error_log_file" else error_file
    keep_log_files(paths)
    return error_file


def make_pid_file(values: Values, directory: str = "") -> PidFile | None:
    """The file of ``--pid-file``; None: there is none.

    :param directory: from which a relative path counts; empty: the working directory.
    """
    if values["pid_file"] is None:
        return None
    path = os.path.join(directory, str(values["pid_file"]))
    return PidFile(path, values.given["pid_file"].source, partial(rights_for, owner=file_owner(values)))


def redirect_stderr(file: LogFile | None) -> None:
    """Make the file of the error log standard error, if there is one."""
    if file is None:
        return
    if sys.stderr is not None:
        with suppress(AttributeError, OSError, ValueError):  # replaced by the application
            sys.stderr.flush()
    file.replace_stream(_STDERR)


def reopened(name: str) -> list[tuple[bool, str]]:
    """Open all log files again, and say for each whether that was possible, in a sentence.

    :param name: of the signal.
    """
    return sentences(reopen_log_files(), name)


def sentences(results: Iterable[Reopened], name: str) -> list[tuple[bool, str]]:
    """Say for each file whether it was opened again, in a sentence.

    :param name: of what has asked for it: a signal, or a command.
    """
    return [
        (True, f"{name}: {result.path} is opened again")
        if result.error is None
        else (
            False,
            f"{name}: {result.path} cannot be opened again, so lines go on into the file that was open: "
            f"{result.error.strerror or result.error}",
        )
        for result in results
    ]
