"""Respond with the request: the texts of the environ, the body, and the trailers before and after reading the body."""

import json


def application(environ, start_response):
    early = list(environ.get("wsgi.trailers", ()))
    body = environ["wsgi.input"].read().decode("latin-1")
    request = {name: value for name, value in environ.items() if isinstance(value, str)}
    request.update(body=body, trailers=list(environ.get("wsgi.trailers", ())), early=early)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(request).encode()]
