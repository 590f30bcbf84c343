"""The SCGI server: ``reserve app scgi wsgi NAME``."""

from __future__ import annotations

from reserve.apps.scgi.launch import ARGUMENTS, launch

__all__ = ["ARGUMENTS", "launch"]
