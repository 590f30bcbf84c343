"""``reserve.gateways.mediatypes``: the type of a file by its extension."""

from __future__ import annotations

import mimetypes
from pathlib import Path

import pytest

from reserve.gateways.mediatypes import _types, media_type


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.html", "text/html; charset=utf-8"),
        ("a.HTM", "text/html; charset=utf-8"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.mjs", "text/javascript; charset=utf-8"),
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.md", "text/markdown; charset=utf-8"),
        ("a.json", "application/json"),
        ("a.svg", "image/svg+xml"),
        ("a.webp", "image/webp"),
        ("a.woff2", "font/woff2"),
        ("a.wasm", "application/wasm"),
        ("a.pdf", "application/pdf"),
        ("a.tar.gz", "application/gzip"),
        ("a.js.gz", "application/gzip"),
        ("a.html.br", "application/octet-stream"),
        ("data:text/html,x.png", "image/png"),
        ("http://x/a.png?.html", "text/html; charset=utf-8"),
        ("README", "application/octet-stream"),
        (".html", "application/octet-stream"),
        ("a.unknown", "application/octet-stream"),
    ],
)
def test_media_types(name: str, expected: str) -> None:
    assert media_type(name) == expected


def test_types_of_the_system_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mime.types").write_text("text/x-surprise html unknown\n")
    monkeypatch.setattr(mimetypes, "inited", False)
    monkeypatch.setattr(mimetypes, "knownfiles", [str(tmp_path / "mime.types")])
    _types.cache_clear()
    assert media_type("a.html") == "text/html; charset=utf-8"
    assert media_type("a.unknown") == "application/octet-stream"
    assert media_type("a.txt", charset="") == "text/plain"
    assert media_type("README", default="text/plain") == "text/plain; charset=utf-8"
