"""What responds at a path of the server's own (such as ``--metrics-path``) while every worker is busy."""

from __future__ import annotations

from typing import Any, Protocol

from reserve.gateways.static import StaticResponse

__all__ = ["Page"]


class Page(Protocol):
    """One path; owned by the HTTP application, and called by its file threads, several at once."""

    def respond(self, environ: dict[str, Any]) -> StaticResponse:
        """The response to a request without a body, of any method. It may wait for two seconds, not for longer."""
