"""Status codes and their reason phrases, in the words of RFC 9110 section 15 on every version of Python."""

from __future__ import annotations

from http import HTTPStatus

__all__ = ["status_text"]

REASONS = {status.value: status.phrase for status in HTTPStatus}
# Renamed by RFC 9110; the standard library follows only from 3.13 on.
REASONS |= {413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 422: "Unprocessable Content"}


def status_text(code: int) -> str:
    """``404`` -> ``"404 Not Found"``; an unknown code gets the name of its class."""
    reason = REASONS.get(code) or {2: "Success", 3: "Redirection", 4: "Client Error"}.get(code // 100, "Server Error")
    return f"{code} {reason}"
