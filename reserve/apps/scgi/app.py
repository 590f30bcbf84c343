"""The SCGI application: the machine of HTTP with the codec of SCGI. One for each server."""

from __future__ import annotations

from reserve.apps._cgi.app import CGIApp
from reserve.protocol.scgi.codec import SCGICodec

__all__ = ["SCGIApp"]


class SCGIApp(CGIApp):
    """The application that a :class:`~reserve.engine.server.Server` serves SCGI with. It makes the drivers.

    The parameters are those of :class:`~reserve.apps.http.app.HTTPApp`.
    """

    codec = SCGICodec()
    protocol = "SCGI"
