"""Documents from the control socket of another server."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest

from reserve.control.client import ControlError
from reserve.control.page.remote import RemoteCollector
from tests.control.page.documents import document


def test_it_asks_for_the_status(tmp_path: Path) -> None:
    path = str(tmp_path / "control.sock")
    asked = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rwb") as stream:
            asked.append(json.loads(stream.readline()))
            response = {"id": asked[0]["id"], "ok": True, "result": document()}
            stream.write(json.dumps(response).encode() + b"\n")

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        result = RemoteCollector(path).collect()
        thread.join()
    assert result["processes"][0]["pid"] == 4711
    assert [request["command"] for request in asked] == ["status"]


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=r"control\.sock"):
        RemoteCollector(str(tmp_path / "control.sock")).collect()
