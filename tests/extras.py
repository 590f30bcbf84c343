"""Libraries that only some tests need: such a test is skipped without them, and fails in ``.ci/run``."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest

__all__ = ["library"]


def library(name: str) -> Any:
    """Import a module of the extra ``test``, for a test module or a test."""
    if os.environ.get("RESERVE_CI") == "1":
        return importlib.import_module(name)
    return pytest.importorskip(name)
