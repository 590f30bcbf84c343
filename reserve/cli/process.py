"""What the command changes in its own process before it opens a socket.

Runs on the main thread at start. A program that embeds a server does none of this.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from reserve.errors import StartupError
from reserve.loader.find import put_directory_first

if TYPE_CHECKING:
    from reserve.options.sources import Values

__all__ = ["MAX_OPEN_FILES", "prepare_process", "raise_open_files"]

MAX_OPEN_FILES = 1048576
"""The largest limit of open files that :func:`raise_open_files` asks for."""


def prepare_process(values: Values) -> None:
    """Apply the options that concern the process: the working directory, the environment, the limit of open files.

    Afterwards the working directory is the first entry of the import path.

    :raises StartupError: the working directory cannot be changed, or the spool directory cannot be written to.
    """
    directory = values["chdir"]
    if directory is not None:
        try:
            os.chdir(str(directory))
        except OSError as error:
            source = values.given["chdir"].source
            raise StartupError(f"{source}: cannot change to {directory}: {error.strerror or error}") from error
    spool_dir = values["spool_dir"]
    if spool_dir is not None and not (os.path.isdir(str(spool_dir)) and os.access(str(spool_dir), os.W_OK | os.X_OK)):
        source = values.given["spool_dir"].source
        raise StartupError(f"{source}: {spool_dir} is not a directory that this process may write to")
    os.environ.update(dict(cast("tuple[tuple[str, str], ...]", values["env"])))
    raise_open_files()
    put_directory_first()


def raise_open_files() -> None:
    """Raise the limit of open files (RLIMIT_NOFILE) as far as the system allows; each connection needs a descriptor."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(
            OSError, ValueError
        ):  # some systems refuse even less than the hard limit: serve with what there is
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
