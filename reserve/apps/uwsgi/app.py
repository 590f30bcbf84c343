"""The uwsgi application: the machine of HTTP with the codec of uwsgi. One for each server."""

from __future__ import annotations

from reserve.apps._cgi.app import CGIApp
from reserve.protocol.uwsgi.codec import UwsgiCodec

__all__ = ["UwsgiApp"]


class UwsgiApp(CGIApp):
    """The application that a :class:`~reserve.engine.server.Server` serves uwsgi with. It makes the drivers.

    The parameters are those of :class:`~reserve.apps.http.app.HTTPApp`.
    """

    codec = UwsgiCodec()
    protocol = "uwsgi"
