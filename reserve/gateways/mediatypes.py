"""The media types of files by their extensions, the same on every machine. Pure; any thread may call it."""

from __future__ import annotations

import mimetypes
import os
from functools import cache

__all__ = ["OCTETS", "media_type"]

OCTETS = "application/octet-stream"
"""For a name that says nothing: browsers save such a file."""
_TYPES = {
    ".avif": "image/avif",
    ".br": OCTETS,
    ".bz2": "application/x-bzip2",
    ".cjs": "text/javascript",
    ".flac": "audio/flac",
    ".gz": "application/gzip",
    ".ini": "text/plain",
    ".jpeg": "image/jpeg",
    ".js": "text/javascript",
    ".jxl": "image/jxl",
    ".log": "text/plain",
    ".m4a": "audio/mp4",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".ogv": "video/ogg",
    ".otf": "font/otf",
    ".rst": "text/plain",
    ".tgz": "application/gzip",
    ".toml": "application/toml",
    ".tpl": "text/plain",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xhtml": "application/xhtml+xml",
    ".xz": "application/x-xz",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zst": "application/zstd",
}
"""What the module mimetypes of some Python does not know, or knows under an older name."""


@cache
def _types() -> dict[str, str]:
    """Extension to type, the same on every machine: a new ``MimeTypes`` has no types of the system's own files."""
    return {**mimetypes.MimeTypes().types_map[True], **_TYPES}


def media_type(name: str, *, charset: str = "utf-8", default: str = OCTETS) -> str:
    """The Content-Type of a file.

    Only the extension counts. That of a compressed file (``.tar.gz``) is the type of the compressed file, because the
    client asked for that.

    :param name: of the file.
    :param charset: of text; empty to say nothing about it.
    :param default: for an extension that is not known.
    """
    kind = _types().get(os.path.splitext(name)[1].lower(), default)
    return f"{kind}; charset={charset}" if charset and kind.startswith("text/") and ";" not in kind else kind
