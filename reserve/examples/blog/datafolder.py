"""The directory that holds the blog's data: made on the first launch, checked on every one.

Runs once, on the thread that launches. The default lies in the system's temporary directory, where other users of the
machine may have put something under its name first; so it is used only when it is a real directory of ours that nobody
else can enter.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from reserve.errors import StartupError

__all__ = ["default_folder", "prepared_folder"]


def prepared_folder(folder: Path) -> Path:
    """Make the directory that ``--data`` names, with its parents, unless it is there; return its absolute path.

    :raises StartupError: it cannot be made or written to, or is not a directory.
    """
    try:
        folder = folder.absolute()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise StartupError(f"blog: --data {folder} is not a directory; name another one") from None
    except OSError as error:
        raise StartupError(f"blog: cannot make the directory --data {folder}: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StartupError(f"blog: cannot write into --data {folder}; change its permissions or name another directory")
    return folder


def default_folder() -> Path:
    """Make or check the private directory ``reserve-blog-<uid>`` in the temporary directory (``TMPDIR`` moves that).

    :raises StartupError: something else has the name, or others may enter it.
    """
    # Without user ids (Windows) the temporary directory itself belongs to one user.
    uid = os.getuid() if hasattr(os, "getuid") else None
    folder = Path(tempfile.gettempdir()).absolute() / ("reserve-blog" if uid is None else f"reserve-blog-{uid}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise StartupError(f"blog: cannot use {folder}: {error.strerror}; name another one with --data") from error
    if not stat.S_ISDIR(found.st_mode):
        raise StartupError(f"blog: {folder} is not a directory of its own; name another one with --data")
    if uid is not None and (found.st_uid != uid or found.st_mode & 0o077):
        raise StartupError(f"blog: {folder} is open to other users of this machine; name another directory with --data")
    return folder
