"""cheroot's names, served by reserve: a program that was written for cheroot runs after its imports are changed.

``from cheroot import wsgi`` becomes ``from reserve.compat.cheroot import wsgi``, ``from cherrypy import wsgiserver``
becomes ``from reserve.compat import cheroot as wsgiserver``, and so on: the modules ``server``, ``wsgi``,
``ssl.builtin`` and ``ssl.pyopenssl`` are where cheroot has them. cheroot itself is not needed.

The page ``reserve/docs/cheroot.md`` lists every name, and what differs.
"""

from reserve.compat.cheroot.request import Gateway, HTTPConnection, HTTPRequest
from reserve.compat.cheroot.server import HTTPServer, get_ssl_adapter_class, ssl_adapters
from reserve.compat.cheroot.workers.threadpool import ThreadPool
from reserve.compat.cheroot.wsgi import (
    CherryPyWSGIServer,
    PathInfoDispatcher,
    Server,
    WSGIGateway,
    WSGIGateway_10,
    WSGIGateway_u0,
    WSGIPathInfoDispatcher,
    WSGIServer,
    wsgi_gateways,
)

__all__ = [
    "CherryPyWSGIServer",
    "Gateway",
    "HTTPConnection",
    "HTTPRequest",
    "HTTPServer",
    "PathInfoDispatcher",
    "Server",
    "ThreadPool",
    "WSGIGateway",
    "WSGIGateway_10",
    "WSGIGateway_u0",
    "WSGIPathInfoDispatcher",
    "WSGIServer",
    "get_ssl_adapter_class",
    "ssl_adapters",
    "wsgi_gateways",
]
