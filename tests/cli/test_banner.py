"""The start banner, and the URLs in it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from reserve.cli.banner import urls
from reserve.cli.command import main
from tests.cli.fakes import ARGV, FakeServer


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


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("reserve.toml", "[server]\nthreads = 3\n", []),
        ("pyproject.toml", "[tool.reserve]\nthreads = 3\n", []),
        ("other.toml", "[server]\nthreads = 3\n", ["--config", "other.toml"]),
    ],
)
def test_the_banner_names_the_file_that_options_were_read_from(
    workdir: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, options: list[str]
) -> None:
    (workdir / name).write_text(text)
    assert main([*ARGV, *options]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert f"    with the options in {workdir / name}" in lines
    assert FakeServer.made[0].settings.threads == 3


@pytest.mark.parametrize("text", [None, "[project]\nname = 'reserve'\n"])
def test_the_banner_names_no_file_that_has_no_options(
    workdir: Path, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    if text is not None:
        (workdir / "pyproject.toml").write_text(text)
    assert main(ARGV) == 0
    assert "options in" not in capsys.readouterr().err
