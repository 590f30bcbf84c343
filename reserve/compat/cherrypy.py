"""CherryPy's own server on reserve: one entry of CherryPy's configuration.

``cherrypy.config.update({"server.instance": "reserve.compat.cherrypy.CPWSGIServer"})`` before ``cherrypy.quickstart``
or ``cherrypy.engine.start``, or in a file ``server.instance: "reserve.compat.cherrypy.CPWSGIServer"`` in ``[global]``.
CherryPy makes the server itself, from its settings ``server.*``. CherryPy requires cheroot; this module imports only
CherryPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import reserve
from reserve.compat.cheroot.server import get_ssl_adapter_class
from reserve.compat.cheroot.wsgi import Server

__all__ = ["CPWSGIServer"]


class CPWSGIServer(Server):
    """The WSGI server of CherryPy's tree, with the settings ``server.*`` of CherryPy. CherryPy owns it.

    :param server_adapter: the ``cherrypy._cpserver.Server`` with the settings. Default: ``cherrypy.server``.
    """

    def __init__(self, server_adapter: Any = None) -> None:
        cherrypy = import_module("cherrypy")
        if server_adapter is None:
            server_adapter = cherrypy.server
        self.server_adapter = server_adapter
        self.version = f"CherryPy/{cherrypy.__version__} reserve/{reserve.__version__}"
        self.wsgi_version = server_adapter.wsgi_version
        self.max_request_header_size = server_adapter.max_request_header_size or 0
        self.max_request_body_size = server_adapter.max_request_body_size or 0
        super().__init__(
            server_adapter.bind_addr,
            cherrypy.tree,
            server_adapter.thread_pool,
            server_adapter.socket_host or server_adapter.socket_file or None,
            max=server_adapter.thread_pool_max,
            request_queue_size=server_adapter.socket_queue_size,
            timeout=server_adapter.socket_timeout,
            shutdown_timeout=server_adapter.shutdown_timeout,
            accepted_queue_size=server_adapter.accepted_queue_size,
            accepted_queue_timeout=server_adapter.accepted_queue_timeout,
            peercreds_enabled=server_adapter.peercreds,
            peercreds_resolve_enabled=server_adapter.peercreds_resolve,
        )
        self.protocol = server_adapter.protocol_version
        self.nodelay = server_adapter.nodelay
        self.stats["Enabled"] = getattr(server_adapter, "statistics", False)
        if server_adapter.ssl_context or server_adapter.ssl_certificate:
            adapter = get_ssl_adapter_class(server_adapter.ssl_module or "builtin")(
                server_adapter.ssl_certificate,
                server_adapter.ssl_private_key,
                server_adapter.ssl_certificate_chain,
                server_adapter.ssl_ciphers,
            )
            if server_adapter.ssl_context:
                adapter.context = server_adapter.ssl_context
            self.ssl_adapter = adapter
        self._engine_log = cherrypy.engine.log

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        """Write a line into CherryPy's log."""
        self._engine_log(msg, level, traceback)
