"""Early hints before the response, and a line in the log after it."""

from __future__ import annotations

from typing import Any

__all__ = ["application"]


def application(environ: Any, start_response: Any) -> list[bytes]:
    environ["wsgi.early_hints"]([("Link", "</style.css>; rel=preload; as=style")])
    environ["reserve.after_response"](lambda: print("after", environ["PATH_INFO"], file=environ["wsgi.errors"]))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]
