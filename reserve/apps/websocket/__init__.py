"""The WebSocket server: ``reserve app websocket MODULE[:NAME]``."""

from __future__ import annotations

from reserve.apps.websocket.launch import ARGUMENTS, launch

__all__ = ["ARGUMENTS", "launch"]
