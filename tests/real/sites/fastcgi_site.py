"""What the tests of FastCGI ask for beyond the site ``variables``; each path has a page of its own."""

import itertools
import os
import time

CONNECTIONS = []
"""Those that were seen."""
ENDED = []


def application(environ, start_response):
    connection = environ["reserve.client_disconnected"].__self__._connection  # nothing public is of a connection
    if not any(known is connection for known in CONNECTIONS):
        CONNECTIONS.append(connection)
    page = environ["PATH_INFO"].rpartition("/")[2]
    if page == "told":
        print("the application tells café", file=environ["wsgi.errors"])
    if page in ("endless", "quiet", "half"):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return globals()[page](environ)
    body = {"connections": len(CONNECTIONS), "ended": ",".join(ENDED), "process": os.getpid()}.get(page, "a page")
    data = str(body).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(data)))])
    return [data]


def endless(environ):
    try:
        while True:
            yield b"x" * 65536
    finally:
        ENDED.append("endless")


def quiet(environ):
    """Waits for the end of its request, at most a minute."""
    try:
        yield b"begin"
        ENDED.append("begun")
        for _ in itertools.takewhile(lambda _: not environ["reserve.client_disconnected"](), range(600)):
            time.sleep(0.1)
        ENDED.append("told" if environ["reserve.client_disconnected"]() else "late")
    finally:
        ENDED.append("quiet")


def half(environ):
    yield b"x" * 100_000
    time.sleep(0.1)  # the web server has sent this part before it gets the end
    raise ValueError("this page is meant to fail")
