"""Uploaded pictures: recognised by their first bytes, and stored as files whose names are hashes of their content.

Any thread may call any method. The same name always has the same content, so a browser may cache a picture without
asking again, and two threads may store the same picture at the same time. The file name and the type that a client
sends are never used.
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
    """Return the kind of picture (a key of :data:`MEDIA_TYPES`) by its signature, or None when there is none."""
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
    """A folder of pictures; it is created if it is missing. A :class:`Blog` has one, which all its threads use.

    :param folder: its parent has to exist.
    :raises StartupError: the folder cannot be created.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise StartupError(f"blog: cannot create the folder {folder}: {error.strerror}") from error

    def add(self, content: bytes) -> str:
        """Store a picture and return its name.

        :raises ValueError: the content is not a PNG, JPEG, GIF or WebP file.
        """
        kind = kind_of(content)
        if kind is None:
            raise ValueError("The picture is not a PNG, JPEG, GIF or WebP file.")
        name = f"{hashlib.sha256(content).hexdigest()[:32]}.{kind}"
        target = self.folder / name
        if not target.exists():
            # The file gets its final name when it is complete and on the disk, so a crash leaves no partial picture.
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
        """Open a stored picture for reading; return None when there is no picture with this name."""
        if not NAME.fullmatch(name):
            return None
        try:
            return (self.folder / name).open("rb")
        except FileNotFoundError:
            return None
