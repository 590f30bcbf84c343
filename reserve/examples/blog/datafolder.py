"""The directory of the blog's data: the first launch creates it, and every launch checks it.

The thread that launches the blog calls these functions once. The default directory is in the system's temporary
directory, where another user of the machine may have created something with the same name first. So it is used only
when it is a real directory that belongs to this user and that no other user can enter.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from reserve.errors import StartupError

__all__ = ["default_folder", "prepared_folder"]


def prepared_folder(folder: Path) -> Path:
    """Create the directory that ``--data`` names, with its parents, unless it exists; return its absolute path.

    :raises StartupError: it cannot be created or written to, or is not a directory.
    """
    try:
        folder = folder.absolute()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise StartupError(f"blog: --data {folder} is not a directory; name another one") from None
    except OSError as error:
        raise StartupError(f"blog: cannot create the directory --data {folder}: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StartupError(f"blog: cannot write into --data {folder}; change its permissions or name another directory")
    return folder


def default_folder() -> Path:
    """Create or check the private directory ``reserve-blog-<uid>`` in the temporary directory (see ``TMPDIR``).

    :raises StartupError: something else has this name, or other users may enter the directory.
    """
    # Without user ids (Windows) the temporary directory itself belongs to one user.
    uid = os.getuid() if hasattr(os, "getuid") else None
    folder = Path(tempfile.gettempdir()).absolute() / ("reserve-blog" if uid is None else f"reserve-blog-{uid}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        info = folder.lstat()
    except OSError as error:
        raise StartupError(f"blog: cannot use {folder}: {error.strerror}; name another one with --data") from error
    if not stat.S_ISDIR(info.st_mode):
        raise StartupError(f"blog: {folder} is a link or a file, not a directory; name another one with --data")
    if uid is not None and (info.st_uid != uid or info.st_mode & 0o077):
        raise StartupError(f"blog: {folder} is open to other users of this machine; name another directory with --data")
    return folder
