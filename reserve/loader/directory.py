"""The working directory, which may not exist: another process can delete it, also while this one runs.

Any thread may call this.
"""

from __future__ import annotations

import os

__all__ = ["working_directory"]


def working_directory() -> str:
    """The absolute path of the working directory; empty if it was deleted, or may not be known.

    A path below it that begins with the empty text is a relative one, and no file is found there.
    """
    try:
        return os.getcwd()
    except OSError:
        return ""
