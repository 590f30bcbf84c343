"""Programs written for the package kali 0.0.8 run after ``kali`` is changed to ``reserve.desk`` in their imports.

The programs are in the folder ``programs``, each with a file of requests and the responses that it has to give: those
of kali itself, recorded once. Where desk differs on purpose, the record has what kali did under ``kali``, or the reason
under ``why``. Two differences are in all of them: quotes are escaped as ``&#34;``, and a textarea has no ``type``. A
body that is ``null`` is a page of the toolkit's own, such as the one for 404, whose text is free.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.extras import library
from tests.waiting import PATIENCE, eventually

for name in ("itsdangerous", "markupsafe", "python_multipart"):
    library(name)

PROGRAMS = Path(__file__).parent / "programs"
NAMES = sorted(path.stem for path in PROGRAMS.glob("*.py"))
ENDS = {"counters": "served 4", "ledger": "closed"}
"""The programs whose last response ends them, and what they print then."""


@contextmanager
def serving(name: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, str(PROGRAMS / f"{name}.py"), str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PROGRAMS.parents[2])},
    )

    def is_up() -> bool:
        assert process.poll() is None, process.communicate()[0]
        with closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        eventually(is_up)
        yield process, port
    finally:
        process.kill()
        process.communicate()


def ask(connection: http.client.HTTPConnection, method: str, target: str, headers: dict[str, str], body: str) -> Any:
    connection.request(method, target, body.encode("latin-1") or None, headers)
    response = connection.getresponse()
    kind = response.getheader("content-type")
    return {
        "status": response.status,
        "type": None if kind is None else kind.partition(";")[0],
        "location": response.getheader("location"),
        "body": response.read().decode("utf-8", "surrogateescape"),
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_program_for_kali_gives_the_same_responses(name: str) -> None:
    exchanges = json.loads((PROGRAMS / f"{name}.json").read_text("utf-8"))
    with serving(name) as (process, port):
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
            for exchange in exchanges:
                got = ask(connection, *exchange["request"])
                if exchange["body"] is None:
                    got["body"] = None
                assert got == {key: exchange[key] for key in got}, exchange["request"]
        if name in ENDS:
            output, _ = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, output
            assert output.rstrip().endswith(ENDS[name])


def test_the_programs_import_only_what_kali_has() -> None:
    """So that each of them runs under kali, after changing ``reserve.desk`` to ``kali``."""
    public = {
        "serve_http", "Request", "Template", "Response", "Router", "StaticFolder", "TemplateFolder", "Servlet",
        "FileUpload", "forms", "implementation",
    }  # fmt: skip
    for name in NAMES:
        text = (PROGRAMS / f"{name}.py").read_text("utf-8")
        imported = {
            each for line in re.findall(r"^from reserve\.desk import (.*)$", text, re.M) for each in line.split(", ")
        }
        assert imported <= public, name
        assert len(re.findall(r"^(?:from|import) reserve", text, re.M)) == len(
            re.findall(r"^(?:from reserve\.desk(?:\.implementation)? import|import reserve\.desk$)", text, re.M)
        )
