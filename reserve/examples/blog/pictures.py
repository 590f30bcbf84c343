"""Uploaded pictures: told apart by their first bytes, kept as files named after their content.

Any thread may call any method. A name stands for the same bytes for ever, so a picture may be cached without asking
again, and two threads that store the same one cannot disturb each other. What a client claims about a file, its name
or its type, is never used.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from typing import TYPE_CHECKING, BinaryIO

from reserve.errors import StartupError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MEDIA_TYPES", "Pictures", "kind_of"]

MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp"}
NAME = re.compile(r"[0-9a-f]{32}\.(png|jpeg|gif|webp)")


def kind_of(content: bytes) -> str | None:
    """Return the kind of picture (a key of :data:`MEDIA_TYPES`) that the signature shows, or None."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if content.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "webp"
    return None


class Pictures:
    """A folder of pictures, made if it is missing.

    :raises StartupError: it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise StartupError(f"blog: cannot make the folder {folder}: {error.strerror}") from error

    def add(self, content: bytes) -> str:
        """Store a picture and return its name.

        :raises ValueError: the bytes are no PNG, JPEG, GIF or WebP.
        """
        kind = kind_of(content)
        if kind is None:
            raise ValueError("The picture is not a PNG, JPEG, GIF or WebP file.")
        name = f"{hashlib.sha256(content).hexdigest()[:32]}.{kind}"
        target = self.folder / name
        if not target.exists():
            # Under its final name a file is whole from the first moment, also if the machine stops now.
            descriptor, temporary = tempfile.mkstemp(dir=self.folder, prefix=".new-")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, target)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
                raise
        return name

    def open(self, name: str) -> BinaryIO | None:
        """Open a stored picture for reading, or return None when there is none of that name."""
        if not NAME.fullmatch(name):
            return None
        try:
            return (self.folder / name).open("rb")
        except FileNotFoundError:
            return None
