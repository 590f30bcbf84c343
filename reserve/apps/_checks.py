"""Health checks: the responses at ``--health-path``, ``--ready-path`` and ``--live-path``. Pure; any thread.

Who asks for JSON, with ``Accept: application/json`` or the query ``json``, is told why a check fails.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reserve.apps.http.settings import HTTPSettings

__all__ = ["LIVE", "READY", "check_paths", "check_response"]

LIVE, READY = "live", "ready"
"""What a check asks for: whether something else than a restart can help, or whether the server takes new clients."""
_FIELDS = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))


def check_paths(settings: HTTPSettings) -> Mapping[str, str] | None:
    """What a check at each path asks for; None: there are no checks. ``--health-path`` and ``--ready-path`` have
    precedence where ``--live-path`` is the same.
    """
    paths = {settings.live_path: LIVE, settings.ready_path: READY, settings.health_path: READY}
    paths.pop("", None)
    return paths or None


def check_response(
    check: str, environ: Mapping[str, Any], *, live: bool, reasons: tuple[str, ...]
) -> tuple[str, list[tuple[str, str]], bytes]:
    """The status, the header fields and the body.

    :param check: :data:`LIVE` or :data:`READY`.
    :param environ: of the request.
    :param live: something else than a restart can help.
    :param reasons: why the server takes no new clients; empty: it does.
    """
    passed = live if check == LIVE else not reasons
    status = "200 OK" if passed else "503 Service Unavailable"
    word = "ok" if passed else "unhealthy"
    if not _wants_json(environ):
        return status, [("Content-Type", "text/plain; charset=utf-8"), *_FIELDS], f"{word}\n".encode()
    value = {"status": word, "ready": not reasons, "live": live, "reasons": list(reasons)}
    return status, [("Content-Type", "application/json"), *_FIELDS], json.dumps(value).encode() + b"\n"


def _wants_json(environ: Mapping[str, Any]) -> bool:
    if environ.get("QUERY_STRING", "") == "json":
        return True
    types = [part.partition(";")[0].strip().lower() for part in environ.get("HTTP_ACCEPT", "").split(",")]
    return "application/json" in types
