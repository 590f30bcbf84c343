"""Runs a tutorial of the installed CherryPy as it is; only the port and the server are others.

Its arguments: the port and the name of the tutorial's module.
"""

import os
import runpy
import sys

import cherrypy

quickstart = cherrypy.quickstart


def quickstart_here(root, config):
    cherrypy.config.update(config)
    cherrypy.config.update(
        {
            "server.instance": "reserve.compat.cherrypy.CPWSGIServer",
            "server.socket_port": int(sys.argv[1]),
            "engine.autoreload.on": False,
        }
    )
    quickstart(root)


def announce():
    """Say that the main thread waits where CherryPy expects a KeyboardInterrupt; one before that leaves it hanging."""
    cherrypy.engine.unsubscribe("main", announce)
    os.write(2, b"The main loop runs\n")  # CherryPy loses a signal that comes while the main thread writes its log


cherrypy.engine.subscribe("main", announce)
cherrypy.quickstart = quickstart_here
runpy.run_module(f"cherrypy.tutorial.{sys.argv[2]}", run_name="__main__")
