"""An SQLite connection of the module, a wrapper that rolls back what was left open, and an end by a response."""

import logging
import sqlite3
import sys

from reserve.desk import Response, Router, Template, implementation, serve_http

logging.basicConfig(level=logging.CRITICAL)
app = Router()
connection = sqlite3.connect(":memory:")
connection.row_factory = sqlite3.Row
connection.execute("create table entry (what text, cents int)")
connection.commit()
Template.REGISTRY[":euro"] = lambda cents: "{}.{:02}".format(*divmod(cents, 100))
lines = implementation.TemplateLoop("<table>", "<tr><td>{what}<td>{cents:euro}</tr>", "</table>", "<p>empty</p>")


@app.function("/")
def show():
    return lines.loop(connection.execute("select * from entry order by rowid"))


@app.servlet("/pay/*")
class Pay:
    def __init__(self, cents):
        self.cents = int(cents)

    def do_POST(self, request):
        connection.execute("insert into entry values (?, ?)", (request.POST["what"], self.cents))
        if "forget" not in request.GET:
            connection.commit()
        if "fail" in request.GET:
            connection.execute("insert into entry values ('lost', 1)")
            raise RuntimeError("after the insert")
        return Response.redirect("/")


@app.function("/stop")
def stop():
    return Response(["closed with ", connection.execute("select count(*) from entry").fetchone()[0]], shut_down=True)


def guarded(request):
    try:
        response = app(request)
    finally:
        if connection.in_transaction:
            connection.rollback()
            response = Response.swear(request, "<p>rolled back</p>")
    return response


if __name__ == "__main__":
    serve_http(guarded, port=int(sys.argv[1]), start=None)
    print("closed")
