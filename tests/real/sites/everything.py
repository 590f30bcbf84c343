"""Every feature of PEP 3333, each at its own address; ``wsgiref.validate`` checks the application and the server."""

import hashlib
import json
import os
import sys
import tempfile
from wsgiref.validate import validator

CONTENT = b"".join(b"%07d\n" % number for number in range(300_000))
closed = []


class Response:
    """The body of a response; ``close`` records that the server closed it."""

    def __init__(self, name, pieces):
        self.name, self.pieces = name, pieces

    def __iter__(self):
        return iter(self.pieces)

    def close(self):
        closed.append(self.name)


def facts(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    text = {name: value for name, value in environ.items() if isinstance(value, (str, bool, tuple))}
    return [json.dumps(text).encode()]


def written(environ, start_response):
    write = start_response("201 Made By Write", [("Content-Type", "text/plain"), ("Content-Length", "14")])
    write(b"first")
    write(b" and ")
    return Response("written", [b"la", b"st"])


def generated(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b""  # an empty piece sends nothing, and does not end the response
    for number in range(500):
        yield b"%d\n" % number


def replaced(environ, start_response):
    """The second call of start_response replaces the first one, because nothing has been sent yet."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-First", "1")])
    try:
        raise RuntimeError("before the first byte")
    except RuntimeError:
        start_response("503 Sorry", [("Content-Type", "text/plain"), ("X-Second", "2")], sys.exc_info())
    return [b"replaced"]


def aborted(environ, start_response):
    """The head has been sent, so the second call raises, and the response must not look complete."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"so far so good"
    try:
        raise RuntimeError("too late")
    except RuntimeError:
        start_response("500 Oh", [("Content-Type", "text/plain")], sys.exc_info())


def lines(environ, start_response):
    source = environ["wsgi.input"]
    first = source.readline(5)
    second = source.readline()
    several = source.readlines(1)
    rest = list(source)
    start_response("200 OK", [("Content-Type", "application/json")])
    parts = [first.decode(), second.decode(), [line.decode() for line in several], [line.decode() for line in rest]]
    return [json.dumps(parts).encode()]


def digest(environ, start_response):
    """Read a body of any size in pieces."""
    hashed, size = hashlib.sha256(), 0
    while piece := environ["wsgi.input"].read(65536):
        hashed.update(piece)
        size += len(piece)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"size": size, "sha256": hashed.hexdigest(), "method": environ["REQUEST_METHOD"]}).encode()]


def file(environ, start_response):
    content = tempfile.TemporaryFile()  # noqa: SIM115 - the server closes the file
    content.write(CONTENT)
    content.seek(0)
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(CONTENT)))])
    return environ["wsgi.file_wrapper"](content, 65536)


def large(environ, start_response):
    """128 MiB, of which the application holds one block at a time."""
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    block = bytes(range(256)) * 256
    return (block for _ in range(2048))


def empty(environ, start_response):
    start_response("204 No Content", [])
    return []


def fields(environ, start_response):
    start_response(
        "200 Fields",
        [("Content-Type", "text/plain"), ("X-Twice", "a"), ("X-Twice", "b"), ("X-Latin", "caf\xe9"), ("X-Empty", "")],
    )
    return [environ.get("HTTP_X_GIVEN", "").encode("latin-1")]


def logged(environ, start_response):
    environ["wsgi.errors"].write("a line for the error log\n")
    environ["wsgi.errors"].flush()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]


def ended(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(closed).encode()]


def broken(environ, start_response):
    raise LookupError("this page is meant to fail")


PAGES = (facts, written, generated, replaced, aborted, lines, digest, file, large, empty, fields, logged, ended, broken)
CHECKED = {f"/{page.__name__}": validator(page) for page in PAGES}


def application(environ, start_response):
    path = "/" + environ["PATH_INFO"].split("/")[1] if environ["PATH_INFO"] else "/facts"
    if path == "/sendfile":  # without the validator, so that the server sees its own file wrapper and uses sendfile
        return file(environ, start_response)
    return CHECKED.get(path, CHECKED["/facts"])(environ, start_response)
