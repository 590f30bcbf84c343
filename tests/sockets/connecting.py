"""How tests try a listener."""

from __future__ import annotations

import socket
from typing import Any

from tests.waiting import PATIENCE


def can_connect(family: int, address: Any) -> bool:
    """Whether a client can connect to this address."""
    with socket.socket(family) as client:
        client.settimeout(PATIENCE)
        return client.connect_ex(address) == 0
