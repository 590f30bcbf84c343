"""The uwsgi server: ``reserve app uwsgi wsgi NAME``."""

from __future__ import annotations

from reserve.apps.uwsgi.launch import ARGUMENTS, launch

__all__ = ["ARGUMENTS", "launch"]
