"""The checks that every TLS adapter has to pass, without a server: ``reserve.testing.check_adapter``."""

from __future__ import annotations

from reserve.testing.adaptersuite import content, handshakes, sharing
from reserve.testing.adaptersuite.suite import AdapterSuite, check_adapter

__all__ = ["AdapterSuite", "check_adapter", "content", "handshakes", "sharing"]
