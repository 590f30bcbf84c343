"""``python serve_cheroot.py MODULE:NAME PORT THREADS CERTIFICATE KEY``: cheroot's command has no options for TLS."""

from __future__ import annotations

import sys
from importlib import import_module

from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Server

module, _, name = sys.argv[1].partition(":")
application = getattr(import_module(module), name)
server = Server(("127.0.0.1", int(sys.argv[2])), application, numthreads=int(sys.argv[3]), request_queue_size=1024)
server.ssl_adapter = BuiltinSSLAdapter(sys.argv[4], sys.argv[5])
server.safe_start()
