"""The HTTP server: ``reserve app http wsgi NAME``."""

from __future__ import annotations

from reserve.apps.http.launch import ARGUMENTS, launch

__all__ = ["ARGUMENTS", "launch"]
