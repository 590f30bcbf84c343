"""Answers with what it got: the environ's texts, the body, and the trailers that were there when it had been read."""

import json


def application(environ, start_response):
    early = list(environ.get("wsgi.trailers", ()))
    body = environ["wsgi.input"].read().decode("latin-1")
    got = {name: value for name, value in environ.items() if isinstance(value, str)}
    got.update(body=body, trailers=list(environ.get("wsgi.trailers", ())), early=early)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(got).encode()]
