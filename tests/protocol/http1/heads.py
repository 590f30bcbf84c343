"""Makes response heads, and takes them apart."""

from __future__ import annotations

from typing import Any

from reserve.protocol.http1.response import ResponseHead, response_head

DATE = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
SERVER = b"Server: reserve\r\n"
CL5 = ("Content-Length", "5")


def head(status: Any = "200 OK", headers: Any = (), **changes: Any) -> ResponseHead:
    arguments: dict[str, Any] = {
        "minor": 1, "head_request": False, "keep_alive": True, "length": None, "date": DATE, "server": SERVER
    }  # fmt: skip
    first = response_head(status, list(headers), **{**arguments, **changes})
    again = response_head(status, list(headers), **{**arguments, **changes})
    assert first.data == again.data, "a cached line differs"
    return first


def lines(result: ResponseHead) -> list[str]:
    assert result.data.endswith(b"\r\n\r\n")
    return result.data.decode("latin-1")[:-4].split("\r\n")


def added_lines(result: ResponseHead) -> set[str]:
    """The field lines without Date and Server."""
    fields = lines(result)[1:]
    assert len(fields) == len(set(fields))
    return set(fields) - {DATE.decode().strip(), SERVER.decode().strip()}
