"""The start banner, and the URLs in it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from reserve.cli.banner import urls
from reserve.cli.command import main
from tests.cli.fakes import FakeServer


@pytest.mark.parametrize(
    ("address", "scheme", "expected"),
    [
        ("127.0.0.1:8080", "http", ["http://127.0.0.1:8080/"]),
        ("0.0.0.0:80", "http", ["http://0.0.0.0/", "http://localhost/"]),
        ("[::]:8080", "http", ["http://[::]:8080/", "http://localhost:8080/"]),
        ("[::1]:80", "http", ["http://[::1]/"]),
        ("unix:/run/x.sock", "http", ["unix:/run/x.sock"]),
        ("[::]:7", "", ["[::]:7"]),
    ],
)
def test_an_address_has_these_urls(address: str, scheme: str, expected: list[str]) -> None:
    assert urls(address, scheme) == expected


@pytest.mark.parametrize("stream", [None, "full"])
def test_the_server_starts_even_if_the_banner_cannot_be_written(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, stream: str | None
) -> None:
    served: list[FakeServer] = []
    FakeServer.while_serving = staticmethod(served.append)
    (workdir / "http.py").write_text("")  # causes another message, because the bundled application hides it
    (workdir / "cli_app.py").write_text("def app(environ, start_response): ...\n")
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stderr", None if stream is None else full)
        assert main(["app", "http", "wsgi", "cli_app", "-b", "127.0.0.1:0"]) == 0
        assert main(["app", "cli_nowhere", "-b", "127.0.0.1:0"]) == 1
    assert served == FakeServer.made
