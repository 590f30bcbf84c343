"""``python serve_bjoern.py MODULE:NAME PORT``: bjoern has no command."""

from __future__ import annotations

import sys
from importlib import import_module

import bjoern

module, _, name = sys.argv[1].partition(":")
bjoern.run(getattr(import_module(module), name), "127.0.0.1", int(sys.argv[2]))
