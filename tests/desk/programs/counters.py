"""Pages made by functions: counters, wildcards, query arguments, nested content, errors."""

import sys

from reserve.desk import Response, Router, serve_http

app = Router()
visits = {"front": 0}


@app.function("/")
def front():
    visits["front"] += 1
    assert visits["front"] % 3, "every third visit fails"
    return ["<h1>Counters</h1>", ["visit ", visits["front"]], b"<hr>", ("over ", 9.5, " ", True)]


@app.function("/times/*/*")
def times(a, b):
    return Response.plain_text([a, " * ", b, " = ", int(a) * int(b), "\r\n"])


@app.function("/greet")
def greet(name="you", *, mark="!"):
    return f"Hello, {name}{mark}"


@app.function("/zoo/*")
def animal(kind):
    return "an animal: " + kind


@app.function("/zoo/lion/*")
def lion(name):
    return "the lion " + name


@app.function("/zoo/*/food")
def food(kind):
    return "food for " + kind


@app.function("/list/")
def listing():
    return (f"<li>{number}</li>" for number in range(3))


@app.function("/facts")
def facts():
    return Response({"Legs": 4, "Tail": "yes"}, headers={"Content-Type": "text/plain"})


@app.function("/made")
def made():
    return Response("made", code=201, headers={"X-Kind": "brand new"})


@app.function("/away")
def away():
    return Response.redirect("/greet?name=Ann+B")


@app.function("/none")
def none():
    return Response("", code=204)


def where(request):
    return Response.plain_text(
        f"{request.command}|{request.mount_depth}|{'/'.join(request.path_suffix())}|{request.has_suffix()}"
    )


app.delegate("/deep/er", where)


def urls(request):
    return Response.plain_text(
        [request.app_url(["x y", "z"]), "\n", request.root_url(["a"], {"q": "\u00fc&"}), "\n", request.args[0]]
    )


app.delegate_folder("/urls/*/", urls)


@app.function("/stop")
def stop():
    return Response("bye", shut_down=True)


if __name__ == "__main__":
    serve_http(app, port=int(sys.argv[1]), start=None)
    print("served", visits["front"])
