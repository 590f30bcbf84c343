"""Programs that are written for :mod:`reserve.desk`: ``reserve app desk MODULE``."""

from __future__ import annotations

from reserve.apps.desk.launch import ARGUMENTS, launch

__all__ = ["ARGUMENTS", "launch"]
