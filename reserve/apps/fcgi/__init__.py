"""The FastCGI server: ``reserve app fcgi wsgi NAME``."""

from __future__ import annotations

from reserve.apps.fcgi.launch import ARGUMENTS, launch

__all__ = ["ARGUMENTS", "launch"]
