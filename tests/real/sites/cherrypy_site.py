"""A CherryPy application without CherryPy's own server: the tree of CherryPy is a WSGI application."""

import cherrypy


class Root:
    @cherrypy.expose
    def index(self, name="world"):
        return f"hello, {name}"

    @cherrypy.expose
    def upload(self, file):
        with file.file as content:
            return str(len(content.read()))

    @cherrypy.expose
    @cherrypy.config(**{"response.stream": True})
    def stream(self):
        cherrypy.response.headers["Content-Type"] = "text/plain"
        return (f"{number}\n" for number in range(1000))

    @cherrypy.expose
    def count(self):
        cherrypy.session["count"] = cherrypy.session.get("count", 0) + 1
        return str(cherrypy.session["count"])


cherrypy.config.update({"environment": "embedded", "log.screen": False})
cherrypy.tree.mount(Root(), "/", {"/": {"tools.sessions.on": True}})
application = cherrypy.tree
