"""``python serve_fastpysgi.py MODULE:NAME PORT``: fastpysgi's command has no option for the size of a body."""

from __future__ import annotations

import sys
from importlib import import_module

import fastpysgi

module, _, name = sys.argv[1].partition(":")
fastpysgi.server.max_content_length = 2_000_000_000
fastpysgi.run(getattr(import_module(module), name), "127.0.0.1", int(sys.argv[2]))
