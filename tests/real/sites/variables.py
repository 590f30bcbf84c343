"""Tells the variables of its environ, and responds in every way that a web server might treat differently."""

import hashlib
import json
from urllib.parse import parse_qs


def application(environ, start_response):
    body = environ["wsgi.input"].read()
    want = parse_qs(environ["QUERY_STRING"]).get("want", ["facts"])[0]
    return globals()[f"respond_{want}"](environ, start_response, body)


def respond_facts(environ, start_response, body):
    facts = {name: value for name, value in environ.items() if isinstance(value, (str, bool))}
    facts["body"] = [len(body), hashlib.sha256(body).hexdigest()]
    data = json.dumps(facts).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(data)))])
    return [data]


def respond_stream(environ, start_response, body):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (b"%07d\n" % number for number in range(100_000))


def respond_empty(environ, start_response, body):
    start_response("204 No Content", [("X-A", "b")])
    return []


def respond_unchanged(environ, start_response, body):
    start_response("304 Not Modified", [("ETag", '"x"')])
    return []


def respond_moved(environ, start_response, body):
    start_response("303 See Other", [("Location", "/elsewhere"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    return []


def respond_status(environ, start_response, body):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Status", "500 wrong"), ("X-A", "b")])
    return [b"right"]


def respond_missing(environ, start_response, body):
    start_response("404 Not Here", [("Content-Type", "text/plain")])
    return [b"not here"]


def respond_failure(environ, start_response, body):
    raise ValueError("this page is meant to fail")


def respond_half(environ, start_response, body):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"x" * 100_000
    raise ValueError("this page is meant to fail")


def respond_short(environ, start_response, body):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "200000")])
    yield b"x" * 100_000
    raise ValueError("this page is meant to fail")
