"""Each row of what an application may send, over a socket; and each error in the code has a row."""

from __future__ import annotations

import ast
import io
import re
import socket
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import reserve
from reserve.testing import RunningServer, running
from tests.apps.http.doubles import QUIET, hooks_logging_to
from tests.apps.http.responses import request, take
from tests.strictness.responsepage import page
from tests.strictness.responserows import RESPONSES
from tests.strictness.rows import CLOSED, OPEN, RESET, ResponseRow
from tests.strictness.sourcecode import patterns

PACKAGE = Path(reserve.__file__).parent
ROWS = [row for tables in RESPONSES.values() for group in tables.values() for row in group.rows]
MENDED = [row for group in RESPONSES["Mended"].values() for row in group.rows]
CANARY = b"canary"


class Text(str):
    """A ``str`` whose methods say something else than its characters."""

    __slots__ = ()

    def __str__(self) -> str:
        return "wrong"

    def encode(self, *args: Any) -> bytes:
        return b"wrong\r\n"


class Data(bytes):
    """A subclass of ``bytes``."""

    def __len__(self) -> int:
        return 1


class List(list[bytes]):
    """A subclass of ``list``."""


class Closing:
    """A result whose ``close`` raises."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)

    def close(self) -> None:
        raise LookupError("close")


def failure() -> Any:
    """The ``exc_info`` of an exception."""
    try:
        raise KeyError("failure")
    except KeyError:
        return sys.exc_info()


def application(row: ResponseRow, file: Path) -> Any:
    """The application of a row at ``/``; every other path gets the response that shows where the first one ends."""
    names = {
        "Text": Text, "Data": Data, "List": List, "Closing": Closing, "failure": failure, "FILE": file, "io": io,
        "sys": sys,
    }  # fmt: skip
    exec(f"def application(environ, start):\n    {row.code}\n", names)
    example: Any = names["application"]

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/":
            start_response("200 OK", [])
            return [CANARY]
        return example(environ, start_response)

    return app


def named(row: ResponseRow) -> str:
    return row.name


def decode(raw: bytes, method: str) -> tuple[str, list[str], bytes, bool] | None:
    """Status, lines of the head, body, and whether its end has arrived; None: the head is not complete."""
    head, end, rest = raw.partition(b"\r\n\r\n")
    if not end:
        return None
    line, *lines = head.decode("latin-1").split("\r\n")
    assert line.startswith("HTTP/1.1 ")
    framing = [line for line in lines if re.match(r"(?i)content-length|transfer-encoding|connection", line)]
    block = "\r\n".join([line, *framing, "", ""]).encode("latin-1")
    response, following = take(block + rest, head=method == "HEAD")
    assert following == b""
    return line[9:], lines, response.body, response.whole


def read_one(client: socket.socket, method: str) -> tuple[str, list[str], bytes]:
    """Receive one response on a connection that stays open."""
    raw = b""
    while True:
        data = client.recv(65536)
        assert data, raw
        raw += data
        decoded = decode(raw, method)
        if decoded is not None and decoded[3]:
            return decoded[:3]


def read_all(client: socket.socket, method: str) -> tuple[str, list[str], bytes, str]:
    """Receive until the connection ends; the last item says how."""
    raw = b""
    try:
        while data := client.recv(65536):
            raw += data
    except ConnectionResetError:
        ends = RESET
    else:
        ends = ""
    decoded = decode(raw, method)
    assert decoded is not None
    return *decoded[:3], ends or (CLOSED if decoded[3] else "closed, incomplete")


def exchange(served: RunningServer, row: ResponseRow) -> None:
    """Send the request of a row, and check all that its client gets."""
    with served.connect() as client:
        client.sendall(request(row.method, "/", *row.lines, minor=row.minor))
        if row.ends == OPEN:
            status, lines, body = read_one(client, row.method)
            client.sendall(request("GET", "/canary"))
            assert read_one(client, "GET")[2] == CANARY
        else:
            status, lines, body, ends = read_all(client, row.method)
            assert ends == row.ends
    assert status == row.status
    names = {line.partition(":")[0].lower() for line in row.fields}
    assert [line for line in lines if line.partition(":")[0].lower() in names] == list(row.fields)
    assert {line.partition(":")[0].lower() for line in lines}.isdisjoint(name.lower() for name in row.absent)
    assert {"date", "server"} <= {line.partition(":")[0].lower() for line in lines}
    assert body == (Path("/proc/version").read_bytes() if row.body is None else row.body)


# ---- the page ----


def test_the_committed_page_is_up_to_date() -> None:
    committed = (PACKAGE / "docs" / "responses.md").read_text("utf-8")
    assert committed == page(), "run: python -m tests.strictness responses > reserve/docs/responses.md"


def test_names_of_a_table_and_examples_are_unique() -> None:
    for tables in RESPONSES.values():
        for group in tables.values():
            assert len({row.name for row in group.rows}) == len(group.rows)
    assert len({(row.code, row.method, row.minor) for row in ROWS}) == len(ROWS)


# ---- the server ----


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_the_client_and_the_log_get_what_the_row_says(row: ResponseRow, tmp_path: Path) -> None:
    if "/proc/" in row.code and not Path("/proc/version").exists():
        pytest.skip("this system has no /proc")
    file = tmp_path / "file"
    file.write_bytes(b"0123456789")
    log: list[str] = []
    with running(application(row, file), http=QUIET, hooks=hooks_logging_to(log)) as served:
        for _ in range(2 if row in MENDED else 1):  # the log says it once
            exchange(served, row)
    assert [row.log in entry for entry in log] == ([True] if row.log else []), log


# ---- the code ----

NOT_IN_THE_LOG = {
    # Raised in code of the application that runs after its response, where no request fails of it.
    "start_response() was called after the response had ended",
    "write() was called after the response had ended",
    # Only for a caller that is no gateway: the gateway checks the types before.
    "the status is 200, a int; it is a str like '200 OK'",
    "a response header is 'X-A: b'; it is a tuple of two str (PEP 3333)",
    "response header 'X-A': name and value are str, not str and int (PEP 3333)",
}
MESSAGE_AT = {"ApplicationError": 0, "warn": 1, "_warn": 1, "warn_once": 2}
"""Which argument of the call has the message."""


def messages_in(source: str) -> Iterator[str]:
    """A pattern for each message about an application, of the errors and of the warnings."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in MESSAGE_AT and len(node.args) > MESSAGE_AT[name]:
                message = node.args[MESSAGE_AT[name]]
                yield from (f"{text} \\(logged once\\)" if MESSAGE_AT[name] else text for text in patterns(message))


def test_every_message_about_an_application_has_a_row() -> None:
    messages = [
        (path.name, message)
        for folder in ("protocol/http1", "apps/http", "gateways")
        for path in (PACKAGE / folder).rglob("*.py")
        for message in messages_in(path.read_text("utf-8"))
    ]
    assert len(messages) > 25
    rows = {row.log for row in ROWS if row.log} | NOT_IN_THE_LOG
    assert [item for item in messages if not any(re.fullmatch(item[1], text) for text in rows)] == []
    for text in rows:
        of_the_example = re.match(
            r"ZeroDivisionError|KeyError|(the application|close\(\) of the response) failed: ", text
        )
        assert of_the_example or any(re.fullmatch(message, text) for _, message in messages), text


def test_the_search_finds_messages() -> None:
    source = 'raise ApplicationError(f"a {b}" if c else "d")\nself._warn("kind", "e")\n'
    source += 'x.warn_once(environ, "kind", f"f{g}")\n'
    assert set(messages_in(source)) == {"a\\ (?s:.*)", "d", r"e \(logged once\)", r"f(?s:.*) \(logged once\)"}
