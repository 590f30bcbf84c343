"""The units that ``reserve systemd-unit`` prints, read by systemd itself: no complaint, and little that they may do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import tls
from tests.real.installing import Installed
from tests.real.processes import run

pytestmark = pytest.mark.peer

MOST_EXPOSED = 2.0
"""Of 10, where systemd says OK."""


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--bind", ":80", "--processes", "2"),
        ("--bind", "unix:/run/shop/shop.sock", "--unix-mode", "660", "--unix-owner", ":0", "--user", "www-data"),
        ("--socket", "--bind", "[::]:443", "--redirect-http", ":80", "TLS"),
        ("--socket", "--bind", "unix:/run/shop.sock", "--unix-mode", "660", "--umask", "027", "--stop-timeout", "2m"),
    ],
)
def test_systemd_accepts_the_units(
    installed: Installed, require_peer: Callable[[str], str], tmp_path: Path, options: tuple[str, ...]
) -> None:
    analyze = require_peer("systemd-analyze")
    (tmp_path / "shop.py").write_text("def app(environ, start_response): ...\n")
    (tmp_path / "units").mkdir()
    certificate = ("--tls-cert", str(tls.authority().issue("units", "localhost").both)) if "TLS" in options else ()
    words = [word for word in options if word != "TLS"]
    flags = ["--into", "units", *(["--socket"] if "--socket" in words else [])]
    words = [word for word in words if word != "--socket"]
    command = [installed.reserve, "systemd-unit", *flags, *words, *certificate]
    done = run([*command, "app", "http", "wsgi", "shop:app"], cwd=tmp_path, text=True)
    assert done.returncode == 0, done.stderr
    paths = sorted(map(str, (tmp_path / "units").iterdir()))
    assert [path.rpartition(".")[2] for path in paths].count("service") == 1
    checked = run([analyze, "verify", *paths], text=True)
    assert (checked.returncode, checked.stderr) == (0, "")
    (service,) = [path for path in paths if path.endswith(".service")]
    text = run([analyze, "security", "--offline=true", "--no-pager", service], text=True).stdout
    match = re.search(r"Overall exposure level for shop.service: ([0-9.]+)", text)
    assert match is not None, text
    assert float(match[1]) <= MOST_EXPOSED
