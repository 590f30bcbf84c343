"""A Flask application with routes, forms, cookies, uploads, a streamed response and a failure."""

import hashlib

from flask import Flask, Response, jsonify, make_response, redirect, render_template_string, request, url_for

app = Flask(__name__)
app.secret_key = "of no use outside the tests"


@app.get("/")
def home():
    return render_template_string("<h1>{{ greeting }}</h1>", greeting="Grüße & more")


@app.get("/post/<int:number>/<path:rest>")
def routed(number, rest):
    return jsonify(number=number, rest=rest, query=request.args.to_dict(flat=False))


@app.post("/form")
def form():
    response = make_response(redirect(url_for("home", _external=True), 303))
    response.set_cookie("name", request.form["name"].encode("ascii", "replace").decode(), httponly=True)
    response.set_cookie("second", "2")
    return response


@app.get("/cookies")
def cookies():
    return jsonify(request.cookies)


@app.post("/upload")
def upload():
    file = request.files["file"]
    content = file.read()
    return jsonify(name=file.filename, size=len(content), sha256=hashlib.sha256(content).hexdigest())


@app.put("/raw")
def raw():
    digest, size = hashlib.sha256(), 0
    while piece := request.stream.read(65536):
        digest.update(piece)
        size += len(piece)
    return jsonify(
        size=size,
        sha256=digest.hexdigest(),
        length=request.headers.get("Content-Length"),
        coding=request.headers.get("Transfer-Encoding"),
        terminated=request.environ.get("wsgi.input_terminated", False),
    )


@app.get("/stream")
def stream():
    return Response((f"line {number}\n" for number in range(2000)), mimetype="text/plain")


@app.get("/broken")
def broken():
    raise LookupError("this page is meant to fail")
