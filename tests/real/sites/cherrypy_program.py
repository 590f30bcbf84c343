"""A CherryPy program whose server is reserve's: the tutorials' pages, and pages that end or restart it.

Its arguments: the port, and what is to be set, as Python: ``server.thread_pool=3``.
"""

import os
import sys

import cherrypy


class Users:
    exposed = True

    def GET(self, name):
        return f"user {name}"


class Root:
    @cherrypy.expose
    def index(self, name="world"):
        return f"hello, {name}, from {os.getpid()}"

    @cherrypy.expose
    def default(self, *segments):
        return repr(segments)

    @cherrypy.expose
    def software(self):
        environ = cherrypy.request.wsgi_environ
        return f"{environ['SERVER_SOFTWARE']} {environ['wsgi.url_scheme']} {cherrypy.request.base}"

    @cherrypy.expose
    def upload(self, file):
        size = 0
        while data := file.file.read(8192):
            size += len(data)
        return f"{file.filename} {size}"

    @cherrypy.expose
    def count(self):
        cherrypy.session["count"] = cherrypy.session.get("count", 0) + 1
        return str(cherrypy.session["count"])

    @cherrypy.expose
    @cherrypy.config(**{"response.stream": True})
    def generated(self):
        cherrypy.response.headers["Content-Type"] = "text/plain"
        return (f"{number}\n" for number in range(1000))

    @cherrypy.expose
    def bye(self):
        cherrypy.engine.exit()
        return "bye"

    @cherrypy.expose
    def interrupt(self):
        raise KeyboardInterrupt

    @cherrypy.expose
    def leave(self):
        raise SystemExit

    @cherrypy.expose
    def restart(self):
        cherrypy.engine.restart()
        return "restarting"


cherrypy.config.update(
    {
        "server.instance": "reserve.compat.cherrypy.CPWSGIServer",
        "server.socket_host": "127.0.0.1",
        "server.socket_port": int(sys.argv[1]),
        "server.shutdown_timeout": 5,
        "engine.autoreload.frequency": 0.1,
    }
)
for word in sys.argv[2:]:
    key, _, value = word.partition("=")
    cherrypy.config.update({key: value if value.startswith("/") else eval(value)})


def announce():
    """Say that the main thread waits where CherryPy expects a KeyboardInterrupt; one before that leaves it hanging.

    Not through CherryPy's log: its signal handlers write there, too, and a signal in the middle of a line is lost.
    """
    cherrypy.engine.unsubscribe("main", announce)
    os.write(2, b"The main loop runs\n")


cherrypy.engine.subscribe("main", announce)
cherrypy.tree.mount(Users(), "/users", {"/": {"request.dispatch": cherrypy.dispatch.MethodDispatcher()}})
cherrypy.quickstart(Root(), "/", {"/": {"tools.sessions.on": True}})
