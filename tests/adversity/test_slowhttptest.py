"""Debian's slowhttptest in its four modes: the server stays available from the first second to the last."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.testing import running
from tests.waiting import PATIENCE

pytestmark = pytest.mark.peer

LARGE = b"0123456789" * 100_000


def app(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [LARGE]


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param(["-H", "-i", "1"], id="slow headers"),
        pytest.param(["-B", "-i", "1"], id="slow bodies"),
        pytest.param(["-R"], id="ranges"),
        pytest.param(["-X", "-w", "10", "-y", "20", "-z", "5", "-n", "1"], id="slow reading"),
    ],
)
def test_the_server_stays_available_throughout(
    mode: list[str], require_peer: Callable[[str], str], tmp_path: Path
) -> None:
    program = require_peer("slowhttptest")
    with running(app, http=HTTPSettings(access_log=False), threads=2) as served:
        command = [program, *mode, "-c", "300", "-r", "300", "-l", "4", "-p", "3", "-u", f"{served.url}/"]
        command += ["-g", "-o", str(tmp_path / "table"), "-v", "1"]
        completed = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        stats = served.server.stats()
        assert stats.threads == 2
        assert stats.accepted > 250, completed.stdout + completed.stderr
    # The columns: seconds, closed, pending, connected, error, and whether the probe got a response.
    rows = (tmp_path / "table.csv").read_text().splitlines()
    assert len(rows) > 2, completed.stdout + completed.stderr
    service = rows[0].split(",").index("Service Available")
    assert {row.split(",")[service] for row in rows[1:]} == {rows[1].split(",")[service]} != {"0"}, rows
    assert not re.search(r"service available:\s*\S*NO", completed.stdout), completed.stdout
